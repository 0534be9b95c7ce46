"""Files of regions: shapes as napari writes them, and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_aptdefect.errors import AptDefectError, EmptySelectionError, FormatError, MissingFileError
from napari_aptdefect.io.regions import read_regions, read_shapes

CSV = """index,shape-type,vertex-index,axis-0,axis-1,axis-2
0,rectangle,0,5.0,1.0,2.0
0,rectangle,1,5.0,1.0,8.0
0,rectangle,2,5.0,3.0,8.0
0,rectangle,3,5.0,3.0,2.0
1,path,0,5.0,3.0,2.0
1,path,1,5.0,3.0,1e-1
"""
"""As napari 0.6 to 0.9 write a Shapes layer with the axes z, y, x."""


def test_shapes_come_in_x_y_z(tmp_path: Path) -> None:
    path = tmp_path / "grain.csv"
    path.write_text(CSV)
    (prism,) = read_regions(path, 4.0).values()
    assert list(read_regions(path)) == ["grain"]
    assert prism.axis == "z"
    assert prism.span_nm == (3, 7)
    assert prism.vertices_nm.tolist() == [[2, 1], [8, 1], [8, 3], [2, 3]]
    assert [shape.kind for shape in read_shapes(path)] == ["rectangle", "path"]


def test_labels_come_with_their_place(tmp_path: Path) -> None:
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3, 2, 3] = 9
    np.savez(tmp_path / "paint.npz", labels=labels, origin_nm=[1, 2, 3], voxel_nm=0.5)
    ((name, grid),) = read_regions(tmp_path / "paint.npz").items()
    assert name == "paint"
    np.testing.assert_allclose(
        grid.origin_nm + (np.argwhere(grid.values) + 0.5) * 0.5, [[1.75, 3.25, 4.75], [2.25, 3.25, 4.75]]
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (CSV.replace(",axis-2", ""), FormatError, "three axes"),
        (CSV.replace("8.0", "far"), FormatError, "line 3"),
        (CSV.replace("8.0", "nan"), FormatError, "line 3"),
        (CSV.replace(",2.0\n", "\n"), FormatError, "line 2"),
        (CSV.replace("rectangle", "line"), EmptySelectionError, "no polygon"),
        ("", FormatError, "empty"),
    ],
)
def test_other_text_is_refused(tmp_path: Path, text: str, error: type[AptDefectError], message: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_regions(path)


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is no file"):
        read_regions(tmp_path / "absent.csv")
    path = tmp_path / "odd.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(FormatError, match="numpy arrays"):
        read_regions(path)
    good = {"labels": np.ones((2, 2, 2), int), "origin_nm": np.zeros(3), "voxel_nm": np.ones(3)}
    for wrong in ({"origin_nm": np.zeros(2)}, {"labels": np.ones((2, 2, 2))}, {"voxel_nm": -1.0}, {"voxel_nm": [1, 2]}):
        np.savez(path, **good | wrong)
        with pytest.raises(FormatError):
            read_regions(path)
    np.savez(path, labels=good["labels"])
    with pytest.raises(FormatError, match="origin_nm"):
        read_regions(path)
    np.savez(path, **good | {"labels": np.array([[[{}]]], object)})
    with pytest.raises(FormatError):
        read_regions(path)
