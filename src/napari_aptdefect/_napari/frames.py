"""The one place where the frame of the data, (x, y, z) in nm, becomes the frame of napari, (z, y, x) in nm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import VoxelGrid

AXES_3D = {"units": ("nm", "nm", "nm"), "axis_labels": ("z", "y", "x")}
"""What every layer of a cloud says about its axes."""


def to_zyx(values: NDArray[Any]) -> NDArray[Any]:
    """Reverse x, y, z along the last axis.

    Parameters
    ----------
    values
        Points, vectors or lengths, shape (..., 3), in the order x, y, z.

    Returns
    -------
    The same numbers in the order z, y, x, C-contiguous.
    """
    return np.ascontiguousarray(np.asarray(values)[..., ::-1])


def grid_to_zyx(grid: VoxelGrid) -> tuple[NDArray[Any], dict[str, Any]]:
    """Values of a grid in the order z, y, x, and the scale and translation that lay it exactly on the ions.

    Notes
    -----
    napari puts the center of pixel (0, 0, 0) at the translation; a grid's origin is the corner of that voxel.
    """
    origin, voxel = np.asarray(grid.origin_nm, float), np.asarray(grid.voxel_nm, float)
    placing = {"scale": tuple(to_zyx(voxel)), "translate": tuple(to_zyx(origin + voxel / 2)), **AXES_3D}
    return np.ascontiguousarray(grid.values.transpose(2, 1, 0)), placing
