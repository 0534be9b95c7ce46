"""The real Si set: pip is replaced by a small program, the archive by a small one; nothing here uses the network."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from napari_aptdefect.errors import DownloadError, MissingFileError
from napari_aptdefect.io import samples
from napari_aptdefect.stage import Progress

CONTENT = {name: f"content of {name}".encode() * 50 for name in samples.SI_FILES}

FAKE_PIP = """
import pathlib, shutil, sys, time
arguments = sys.argv[1:]
for word in ("download", "--no-deps", "--no-binary", "apav", "--require-hashes"):
    assert word in arguments, arguments
pin = pathlib.Path(arguments[arguments.index("-r") + 1]).read_text()
assert pin.startswith("apav==1.4.0 --hash=sha256:ae26caf1"), pin
target = pathlib.Path(arguments[arguments.index("-d") + 1])
target.mkdir()
{action}
"""


def make_archive(path: Path, content: dict[str, bytes], folder: str = samples.ARCHIVE_FOLDER) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {"../../evil.txt": b"evil", f"{folder}/setup.py": b"", **content}.items():
            member = tarfile.TarInfo(name if "/" in name else f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{folder}/Si.link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and expected sizes and hashes of the small set."""
    expected = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENT.items()}
    folder = tmp_path / "cache" / "napari-aptdefect" / "si"
    monkeypatch.setattr(samples, "SI_FILES", expected)
    monkeypatch.setattr(samples, "_cache_folder", lambda: folder)
    monkeypatch.delenv("APTDEFECT_SI_DIR", raising=False)
    return folder


def use_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: str) -> None:
    script = tmp_path / "pip.py"
    script.write_text(FAKE_PIP.format(action=action), encoding="utf-8")
    monkeypatch.setattr(samples, "_pip_command", lambda: [sys.executable, str(script)])


def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: dict[str, bytes]) -> None:
    archive = make_archive(tmp_path / "served.tar.gz", content)
    use_pip(monkeypatch, tmp_path, f"shutil.copy({str(archive)!r}, target / 'APAV-1.4.0.tar.gz')")


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_set_is_fetched_once_and_then_found(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, tmp_path, CONTENT)
    assert samples.si_cached() is None
    steps: list[Progress] = []
    assert samples.fetch_si(steps.append) == cache
    assert {name: (cache / name).read_bytes() for name in CONTENT} == CONTENT
    assert steps[-1].done == steps[-1].total
    assert [p.name for p in cache.parent.iterdir()] == ["si"]
    assert not (tmp_path / "evil.txt").exists()
    use_pip(monkeypatch, tmp_path, "sys.exit(1)")
    assert samples.fetch_si() == cache
    assert samples.si_cached() == cache


def test_hashes_are_computed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache)
    assert samples.si_cached() == cache  # put there by hand: hashed now
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert samples.si_cached() == cache


def test_a_changed_file_of_the_right_size_is_noticed_and_fetched_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache)
    assert samples.si_cached() == cache
    (cache / "Si.pos").write_bytes(bytes(len(CONTENT["Si.pos"])))
    os.utime(cache / "Si.pos", ns=(1, 1))
    assert samples.si_cached() is None
    serve(monkeypatch, tmp_path, CONTENT)
    assert samples.fetch_si() == cache
    assert (cache / "Si.pos").read_bytes() == CONTENT["Si.pos"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({**CONTENT, "Si.apt": b"other" * 300}, "Si.apt has sha256"),
        ({**CONTENT, "Si.apt": CONTENT["Si.apt"] + b"tail"}, "Si.apt has sha256"),
        ({name: data for name, data in CONTENT.items() if name != "Si.RNG"}, "Si.RNG is missing"),
    ],
)
def test_a_wrong_archive_is_refused_and_leaves_nothing(
    content: dict[str, bytes], says: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, tmp_path, content)
    with pytest.raises(DownloadError, match=says):
        samples.fetch_si()
    assert list(cache.parent.iterdir()) == []


@pytest.mark.parametrize("n_kept", [0, 10, 60, 200])
def test_a_broken_archive_is_refused(n_kept: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(tmp_path / "served.tar.gz", CONTENT)
    archive.write_bytes(archive.read_bytes()[:n_kept])
    use_pip(monkeypatch, tmp_path, f"shutil.copy({str(archive)!r}, target / 'APAV-1.4.0.tar.gz')")
    with pytest.raises(DownloadError, match="real Si set"):
        samples.fetch_si()
    assert samples.si_cached() is None


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("print('ERROR: No matching distribution found for apav'); sys.exit(1)", "No matching distribution"),
        ("pass", "saved 0 archives"),
    ],
)
def test_a_failing_pip_says_what_to_do_by_hand(
    action: str, says: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_pip(monkeypatch, tmp_path, action)
    with pytest.raises(DownloadError, match=says) as caught:
        samples.fetch_si()
    for word in ("apav==1.4.0", "APTDEFECT_SI_DIR", str(cache), "Si.epos"):
        assert word in str(caught.value)
    assert list(cache.parent.iterdir()) == []


def test_no_pip_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_pip_command", lambda: [str(cache / "no-such-program")])
    with pytest.raises(DownloadError, match="By hand"):
        samples.fetch_si()


def test_a_pip_that_hangs_is_stopped(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_TIMEOUT_S", 0.2)
    use_pip(monkeypatch, tmp_path, "time.sleep(600)")
    with pytest.raises(DownloadError, match="none after"):
        samples.fetch_si()


def test_canceling_stops_pip_and_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_pip(monkeypatch, tmp_path, "time.sleep(600)")

    def cancel(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        samples.fetch_si(cancel)
    assert list(cache.parent.iterdir()) == []


def test_a_folder_of_your_own_comes_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fill(tmp_path / "own")
    monkeypatch.setenv("APTDEFECT_SI_DIR", str(own))
    assert samples.si_cached() == own
    assert samples.fetch_si() == own
    assert sorted(p.name for p in own.iterdir()) == sorted(CONTENT)
    (own / "Si.RNG").unlink()
    assert samples.si_cached() is None
    with pytest.raises(MissingFileError, match=r"Si\.RNG is missing"):
        samples.fetch_si()


def test_the_real_set_has_the_published_hashes(si_dir: Path) -> None:
    for name, (size, expected) in samples.SI_FILES.items():
        data = (si_dir / name).read_bytes()
        assert len(data) == size
        assert hashlib.sha256(data).hexdigest() == expected
