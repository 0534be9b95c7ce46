"""The real Si set: 945,211 ions of laser-pulsed silicon with a chromium and oxide cap, fetched once, then kept.

The set is part of the source distribution of APAV 1.4.0 (GPL-2.0), where it serves as test data. It is not shipped
here; pip, the ordinary client, fetches it, pinned by its sha256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from napari_aptdefect.errors import DownloadError, MissingFileError
from napari_aptdefect.stage import Progress

ARCHIVE: Final = "apav==1.4.0"
ARCHIVE_SHA256: Final = "ae26caf1908da04ab88cfa6f16532ad8cb09548c2c11de40d95703afbc4f45d6"
ARCHIVE_BYTES: Final = 57_251_422
ARCHIVE_FOLDER: Final = "APAV-1.4.0/apav/tests"
SI_FILES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "Si.pos": (15_123_376, "dff134cc5015f56963763bee664b56f04bcace5cd6e45b63b762c722f547d98a"),
        "Si.epos": (41_589_284, "fc99c73baf2e6b6352d414beb7f900ec1853c5c62ca4770ba126ccc49a2db906"),
        "Si.apt": (37_810_040, "2a0135e9ac525c644296be2ce9b989c44bf5826a993d3885f78c18e11daef9a2"),
        "Si.RNG": (1_393, "b9ec034f98ad3a8585546d7243769ef3841c6ea537aba81ed3c0648afbb236b1"),
        "Si.RRNG": (1_478, "38a2473ab2700eac8fdce590143bc5231c76239675adfcbe2b7f3d493e8225ff"),
    }
)
"""Size in bytes and sha256 of each file of the set."""

_FOLDER_VARIABLE: Final = "APTDEFECT_SI_DIR"
_VERIFIED: Final = "verified.txt"
_TIMEOUT_S: Final = 900.0

OnProgress = Callable[[Progress], None]


def si_cached() -> Path | None:
    """Folder of the Si set when it is on this machine already, else None; never uses the network.

    The environment variable ``APTDEFECT_SI_DIR`` names a folder of your own; otherwise it is the user's cache.
    """
    named = os.environ.get(_FOLDER_VARIABLE)
    folder = Path(named) if named else _cache_folder()
    return folder if not _wrong_sizes(folder) and (named or _verified(folder)) else None


def fetch_si(on_progress: OnProgress | None = None) -> Path:
    """Return the folder with the real Si set, fetching it when it is not on this machine yet.

    Parameters
    ----------
    on_progress
        Called about twice a second while pip works; an exception it raises stops the download and leaves nothing
        behind.

    Returns
    -------
    Folder with ``Si.pos``, ``Si.epos``, ``Si.apt``, ``Si.RNG`` and ``Si.RRNG``.

    Raises
    ------
    MissingFileError
        If ``APTDEFECT_SI_DIR`` names a folder that lacks one of the files.
    DownloadError
        If the set could not be fetched, or a file has another hash than it should.

    Notes
    -----
    pip has no option to download a source distribution without preparing its metadata, which runs the ``setup.py`` of
    APAV in a temporary, isolated environment. The pinned hash, which pip checks first, says that it is the known one.
    """
    report = on_progress or (lambda _: None)
    named = os.environ.get(_FOLDER_VARIABLE)
    if named:
        if wrong := _wrong_sizes(Path(named)):
            raise MissingFileError(f"{_FOLDER_VARIABLE} names {named}, but {'; '.join(wrong)}; correct or unset it")
        return Path(named)
    folder = _cache_folder()
    if not _wrong_sizes(folder) and _verified(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="si-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
            work = Path(temporary)
            archive = _download(work, report)
            report(Progress(ARCHIVE_BYTES, ARCHIVE_BYTES, "unpacking the Si set"))
            unpacked = work / "si"
            _extract(archive, unpacked)
            _publish(unpacked, folder, work)
    except OSError as exc:
        if isinstance(exc, DownloadError):
            raise
        raise DownloadError(_by_hand(f"{type(exc).__name__}: {exc}")) from exc
    report(Progress(ARCHIVE_BYTES, ARCHIVE_BYTES, "the Si set is ready"))
    return folder


def _cache_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("napari-aptdefect", appauthor=False) / "si"


def _wrong_sizes(folder: Path) -> list[str]:
    """What is wrong with the files by their sizes alone, one sentence each."""
    wrong = []
    for name, (size, _) in SI_FILES.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != size:
            wrong.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
    return wrong


def _verified(folder: Path) -> bool:
    """Whether the files have the right hashes; computed once, then remembered by size and time of change."""
    record = "\n".join(f"{name} {(folder / name).stat().st_mtime_ns}" for name in SI_FILES)
    note = folder / _VERIFIED
    if note.is_file() and note.read_text(encoding="utf-8") == record:
        return True
    for name, (_, expected) in SI_FILES.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                return False
    try:
        temporary = folder / f"{_VERIFIED}.{os.getpid()}"
        temporary.write_text(record, encoding="utf-8")
        temporary.replace(note)
    except OSError:
        pass  # a read-only cache is as good; it is hashed again next time
    return True


def _pip_command() -> list[str]:
    return [sys.executable, "-m", "pip"]


def _download(work: Path, report: OnProgress) -> Path:
    """Run pip in a process of its own and return the archive it saved below `work`."""
    requirements, target, scratch = work / "requirements.txt", work / "archive", work / "tmp"
    requirements.write_text(f"{ARCHIVE} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
    scratch.mkdir()
    command = [
        *_pip_command(), "download", "--no-deps", "--no-binary", "apav", "--require-hashes", "--no-input",
        "--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements), "-d", str(target),
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log_path = work / "pip.log"
    with log_path.open("wb") as log:
        code = _wait(command, environment, log, work, report)
    said = log_path.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise DownloadError(_by_hand(f"pip ended with code {code}: {_last_words(said)}"))
    archives = sorted(target.glob("*.tar.gz"))
    if len(archives) != 1:
        raise DownloadError(_by_hand(f"pip saved {len(archives)} archives instead of 1: {_last_words(said)}"))
    return archives[0]


def _wait(
    command: list[str], environment: Mapping[str, str], log: IO[bytes], work: Path, report: OnProgress
) -> int | str:
    """Wait for pip while reporting how much lies on the disk; the process never outlives this call."""
    deadline = time.monotonic() + _TIMEOUT_S
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
    ) as p:
        try:
            while p.poll() is None:
                if time.monotonic() > deadline:
                    return f"none after {_TIMEOUT_S:.0f} s"
                done = min(_bytes_below(work), ARCHIVE_BYTES)
                doing = "downloading the Si set" if done < ARCHIVE_BYTES else "pip prepares the archive of the Si set"
                report(Progress(done, ARCHIVE_BYTES, doing))
                try:
                    p.wait(0.5)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if p.poll() is None:
                p.kill()
    return p.returncode


def _bytes_below(folder: Path) -> int:
    """Size of the largest file below a folder whose content another process changes: the archive in the making."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, (Path(root) / name).stat().st_size)
            except OSError:
                continue
    return largest


def _last_words(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING: Location")]
    errors = [line for line in lines if line.lower().startswith("error")]
    return " / ".join((errors or lines)[-3:]) or "it said nothing"


def _extract(archive: Path, target: Path) -> None:
    """Copy the five files out of the archive, by content only: no path, mode or link of the archive is used."""
    target.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                if folder == ARCHIVE_FOLDER and name in SI_FILES and member.isfile():
                    _copy_checked(tar.extractfile(member), target / name)
    except (tarfile.TarError, EOFError, zlib.error) as exc:
        raise DownloadError(_by_hand(f"{archive.name} can't be unpacked ({exc})")) from exc
    if wrong := _wrong_sizes(target):
        raise DownloadError(_by_hand(f"in {archive.name} {'; '.join(wrong)}"))


def _copy_checked(source: IO[bytes] | None, path: Path) -> None:
    size, expected = SI_FILES[path.name]
    digest = hashlib.sha256()
    left = size + 1  # one byte more than allowed shows a file that is too long
    with path.open("xb") as out:
        while source is not None and left > 0 and (block := source.read(min(left, 1 << 20))):
            digest.update(block)
            out.write(block)
            left -= len(block)
    if digest.hexdigest() != expected:
        raise DownloadError(_by_hand(f"{path.name} has sha256 {digest.hexdigest()} instead of {expected}"))


def _publish(unpacked: Path, folder: Path, work: Path) -> None:
    """Move the complete folder to its name at once; when another process was faster, keep that one's."""
    if folder.exists():
        if not _wrong_sizes(folder) and _verified(folder):
            return
        folder.replace(work / "damaged")
    try:
        unpacked.replace(folder)
    except OSError:
        if _wrong_sizes(folder):
            shutil.move(unpacked, folder)
    if _wrong_sizes(folder) or not _verified(folder):
        raise DownloadError(_by_hand(f"{folder} is not complete after unpacking"))


def _by_hand(reason: str) -> str:
    names = ", ".join(SI_FILES)
    return (
        f"the real Si set could not be fetched with pip: {reason}. By hand, on a machine with a network: "
        f"pip download --no-deps --no-binary apav {ARCHIVE}; unpack {names} from {ARCHIVE_FOLDER} of the archive; put "
        f"them into {_cache_folder()}, or into any folder that the environment variable {_FOLDER_VARIABLE} names."
    )
