"""Run folders are whole or absent, and hold what the contract says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import RunFolderError
from napari_aptdefect.pipeline.run_folder import RunFolder, new_run, write_record, write_volumes


def _complete(path: Path, seed: int = 0, **options: bool) -> None:
    with new_run(path, **options) as work:
        write_record(work, {"seed": seed})


def test_run_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    with new_run(out) as work:
        assert not out.exists()
        write_record(work, {"seed": 3})
    assert RunFolder(out).record == {"seed": 3}
    assert [p.name for p in out.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_nothing_is_left_behind_on_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with new_run(tmp_path / "run") as work:
            (work / "half").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_existing_run_stays_unless_it_shall_be_replaced(tmp_path: Path) -> None:
    _complete(tmp_path / "run", 1)
    with pytest.raises(RunFolderError, match="--overwrite"):
        _complete(tmp_path / "run", 2)
    with pytest.raises(ValueError, match="broken"), new_run(tmp_path / "run", overwrite=True):
        raise ValueError("broken")
    assert RunFolder(tmp_path / "run").record["seed"] == 1
    _complete(tmp_path / "run", 2, overwrite=True)
    assert RunFolder(tmp_path / "run").record["seed"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_other_folders_and_files_are_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "data"
    precious.mkdir()
    (precious / "tip.pos").write_text("x")
    for path in (precious, precious / "tip.pos"):
        with pytest.raises(RunFolderError, match="no run folder"):
            _complete(path, overwrite=True)
    assert (precious / "tip.pos").read_text() == "x"


def test_empty_folder_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    _complete(tmp_path / "run")
    assert RunFolder(tmp_path / "run").record == {"seed": 0}


def test_place_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="can't write"):
        _complete(tmp_path / "file" / "run")


def test_folder_without_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"run\.json"):
        RunFolder(tmp_path)


def test_grids_round_trip(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((70, 5, 9)).astype(np.float32)
    grids = [
        VoxelGrid(values, np.array([-1.0, 2.0, 3.5]), np.full(3, 0.5), "density", "ions/nm3"),
        VoxelGrid(values * 2, np.zeros(3), np.ones(3), "composition/Si O 2", "fraction"),
    ]
    with new_run(tmp_path / "run") as work:
        write_volumes(work, grids)
        write_record(work, {})
    found = RunFolder(tmp_path / "run").volumes()
    assert list(found) == ["density", "composition/Si O 2"]
    for grid in grids:
        back = found[grid.name]
        np.testing.assert_array_equal(back.values, grid.values)
        np.testing.assert_array_equal(back.origin_nm, grid.origin_nm)
        np.testing.assert_array_equal(back.voxel_nm, grid.voxel_nm)
        assert back.unit == grid.unit
