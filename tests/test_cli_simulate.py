"""Parameter files of the verb ``simulate``: what is wrong in them is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_aptdefect.cli import main


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[defects]]\nkind = "void"\n[[defects]]\nkind = "void"\nradius_nm = -3', "defects[1].void.radius_nm -3: "),
        ('[[defects]]\nkind = "void"\nradiusnm = 1', "defects[0].void.radiusnm 1: there is no such parameter"),
        ("[[defects]]\nradius_nm = 1", "says not which kind it is"),
        ("no_such_name = 2", "--no-such-name 2: there is no such parameter"),
        ("measurement = 3", "--measurement 3: input should be a valid dictionary"),
        ("[measurement]\nefficiency = 7", "--measurement.efficiency 7: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wire.toml").write_text(text, encoding="utf-8")
    out = tmp_path / "wire"
    assert main(["simulate", "gan-nanowire", "--out", str(out), "--params", str(tmp_path / "wire.toml")]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()
