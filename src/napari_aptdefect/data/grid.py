"""A scalar on a regular grid in the frame of the ions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Values on voxels; voxel (i, j, k) covers origin + (i, j, k) * voxel to origin + (i + 1, j + 1, k + 1) * voxel.

    Parameters
    ----------
    values
        Shape (nx, ny, nz), float32, axes in the order x, y, z.
    origin_nm
        Shape (3,), lower corner of voxel (0, 0, 0), nm.
    voxel_nm
        Shape (3,), edge lengths of a voxel, nm.
    name
        What the values are, such as ``"density"``.
    unit
        Unit of the values.
    """

    values: NDArray[np.float32]
    origin_nm: NDArray[np.float64]
    voxel_nm: NDArray[np.float64]
    name: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or np.shape(self.origin_nm) != (3,) or np.shape(self.voxel_nm) != (3,):
            raise ShapeError(
                f"a voxel grid needs values of 3 axes, origin and voxel of 3 numbers; got {self.values.shape}, "
                f"{np.shape(self.origin_nm)}, {np.shape(self.voxel_nm)}"
            )

    def centers_nm(self, axis: int) -> NDArray[np.float64]:
        """Centers of the voxels along one axis, nm."""
        n = self.values.shape[axis]
        return np.asarray(self.origin_nm[axis] + (np.arange(n) + 0.5) * self.voxel_nm[axis], np.float64)
