"""Layers between the frame of the data, (x, y, z) in nm, and that of napari, (z, y, x): `arrays.to_zyx` turns one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import to_zyx
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import ParameterError

AXES_3D = {"units": ("nm", "nm", "nm"), "axis_labels": ("z", "y", "x")}
"""What every layer of a cloud says about its axes."""

__all__ = ["AXES_3D", "grid_to_zyx", "layer_to_grid", "layer_to_xyz", "to_zyx"]


def grid_to_zyx(grid: VoxelGrid) -> tuple[NDArray[Any], dict[str, Any]]:
    """Values of a grid in the order z, y, x, and the scale and translation that lay it exactly on the ions.

    Notes
    -----
    napari puts the center of pixel (0, 0, 0) at the translation; a grid's origin is the corner of that voxel.
    """
    origin, voxel = np.asarray(grid.origin_nm, float), np.asarray(grid.voxel_nm, float)
    placing = {"scale": tuple(to_zyx(voxel)), "translate": tuple(to_zyx(origin + voxel / 2)), **AXES_3D}
    return np.ascontiguousarray(grid.values.transpose(2, 1, 0)), placing


def layer_to_grid(layer: Any, name: str = "", unit: str = "") -> VoxelGrid:
    """Grid of an Image layer in 3D, where and as large as the layer lies now; the inverse of `grid_to_zyx`.

    Parameters
    ----------
    layer
        The layer.
    name, unit
        What its values are.

    Raises
    ------
    ParameterError
        If the layer is not a volume, or is turned or sheared, so that no grid along the axes is left.
    """
    if layer.ndim != 3 or getattr(layer, "rgb", False) or getattr(layer, "multiscale", False):
        raise ParameterError(f"the layer {layer.name!r} is no volume with three axes; choose another one")
    first, matrix = _placing(layer)
    voxel = np.diag(matrix)
    if (voxel <= 0).any() or not np.allclose(matrix, np.diag(voxel), atol=1e-6 * float(np.abs(matrix).max())):
        raise ParameterError(f"the layer {layer.name!r} is turned, sheared or mirrored; undo that first")
    values = np.ascontiguousarray(np.asarray(layer.data, np.float32).transpose(2, 1, 0))
    voxel_nm = to_zyx(voxel).astype(np.float64)
    return VoxelGrid(values, to_zyx(first).astype(np.float64) - voxel_nm / 2, voxel_nm, name, unit)


def layer_to_xyz(layer: Any, points: NDArray[Any]) -> NDArray[np.float64]:
    """Points of a layer in 3D, in its own data coordinates (z, y, x), as x, y, z in nm where they lie now.

    Parameters
    ----------
    layer
        The layer.
    points
        Shape (n, 3).

    Raises
    ------
    ParameterError
        If the layer is not in 3D, or its unit is no length.
    """
    if layer.ndim != 3:
        raise ParameterError(f"the layer {layer.name!r} has {layer.ndim} axes, not the three of the ions")
    first, matrix = _placing(layer)
    return np.asarray(to_zyx(np.asarray(points, np.float64).reshape(-1, 3) @ matrix.T + first), np.float64)


def _placing(layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place of the data's origin in nm and the matrix from data to nm, both in (z, y, x)."""
    origin = np.asarray(layer.data_to_world((0.0, 0.0, 0.0)), np.float64)
    columns = [np.asarray(layer.data_to_world(tuple(row)), np.float64) - origin for row in np.eye(3)]
    per_nm = np.array([_in_nm(unit, layer.name) for unit in layer.units])
    return origin * per_nm, np.stack(columns, axis=1) * per_nm[:, None]


def _in_nm(unit: Any, name: str) -> float:
    """Length of a unit of napari in nm; a pixel, which is what napari says when nobody gave a unit, counts as one."""
    if str(unit) == "pixel":
        return 1.0
    try:
        return float((1 * unit).to("nm").magnitude)
    except Exception as error:
        if type(error).__name__ != "DimensionalityError":
            raise
        raise ParameterError(f"the unit {unit} of the layer {name!r} is no length; give it nm") from error
