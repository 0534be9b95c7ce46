"""Regions drawn by a person: Shapes that napari saved as .csv, and labels on voxels in .npz."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from napari_aptdefect.arrays import to_zyx
from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.data.region import DrawnShape, Region, drawn_regions, label_regions
from napari_aptdefect.errors import FormatError, MissingFileError
from napari_aptdefect.io._text import parse_number, read_lines

_HEADER: Final = ["index", "shape-type", "vertex-index", "axis-0", "axis-1", "axis-2"]
_ARRAYS: Final = ("labels", "origin_nm", "voxel_nm")


def read_regions(path: Path | str, thickness_nm: float | None = None) -> dict[str, Region]:
    """Read regions; their names begin with that of the file.

    Parameters
    ----------
    path
        A Shapes layer saved by napari (.csv, z y x in nm), or labels on voxels (.npz): arrays ``labels`` of shape
        (nx, ny, nz), whole numbers with 0 outside, ``origin_nm``, lower corner of the first voxel, and ``voxel_nm``.
    thickness_nm
        Extent of a shape across the plane it was drawn in; without end when None.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If it holds something else.
    EmptySelectionError
        If no region is in it.
    ParameterError
        If a shape was not drawn in a plane across x, y or z.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is no file; name a .csv of shapes or a .npz of labels")
    if path.suffix.lower() == ".npz":
        return dict(label_regions(path.stem, read_labels(path)))
    return dict(drawn_regions(path.stem, read_shapes(path), thickness_nm))


def read_shapes(path: Path) -> list[DrawnShape]:
    """Read shapes that napari saved from a Shapes layer with the axes z, y, x in nm.

    Raises
    ------
    FormatError
        If a line is not as napari writes it, or the shapes don't have three axes.
    """
    rows = csv.reader(read_lines(path, "shapes"))
    header = [word.strip() for word in next(rows)]
    if header != _HEADER:
        raise FormatError(
            path,
            expected=f"shapes with three axes as napari saves them, with the columns {', '.join(_HEADER)}",
            found=f"the columns {', '.join(header)[:200]}",
        )
    corners: dict[str, list[list[float]]] = {}
    kinds: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        numbers = [parse_number(word.strip()) for word in row[3:]]
        if len(row) != len(_HEADER) or not all(n is not None and np.isfinite(n) for n in numbers):
            raise FormatError(
                path, expected="index, kind, index and three coordinates", found=",".join(row)[:80], line=line
            )
        corners.setdefault(row[0], []).append([n for n in numbers if n is not None])
        kinds[row[0]] = row[1].strip()
    return [DrawnShape(kinds[index], to_zyx(points).astype(np.float64)) for index, points in corners.items()]


def read_labels(path: Path) -> VoxelGrid:
    """Read labels on voxels from a .npz file.

    Raises
    ------
    FormatError
        If an array is missing or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise FormatError(path, expected="a .npz file with numpy arrays", found=str(error)) from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if set(arrays) != set(_ARRAYS) or arrays["labels"].ndim != 3 or arrays["origin_nm"].shape != (3,):
        raise FormatError(path, expected=f"the arrays {', '.join(_ARRAYS)}", found=str(shapes))
    labels, origin = arrays["labels"], np.asarray(arrays["origin_nm"], np.float64)
    if labels.dtype.kind not in "biu" or arrays["voxel_nm"].shape not in ((), (3,)):
        raise FormatError(
            path, expected="whole numbers as labels, and edges of a voxel", found=f"{labels.dtype}, {shapes}"
        )
    voxel = np.broadcast_to(np.asarray(arrays["voxel_nm"], np.float64), 3).copy()
    if not (np.isfinite(origin).all() and np.isfinite(voxel).all() and (voxel > 0).all()):
        raise FormatError(path, expected="a finite origin and positive voxels", found=f"{origin}, {voxel} nm")
    return VoxelGrid(labels.astype(np.float32), origin, voxel, path.stem)
