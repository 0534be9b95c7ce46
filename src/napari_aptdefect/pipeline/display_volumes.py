"""Volumes that stand for all ions where only a sample of them is drawn: their density, and the room of the defects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import IonCloud, VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.pipeline.display import widen

_MAX_VOXELS = 1 << 26


def count_density(cloud: IonCloud, voxel_nm: float = 1.0) -> VoxelGrid:
    """Count all ions of a cloud per volume on a regular grid.

    Parameters
    ----------
    cloud
        The cloud; it is read in chunks.
    voxel_nm
        Edge length of a voxel, nm.

    Returns
    -------
    Ions per nm³ around all ions; their sum times the voxel volume is the number of ions with a finite position.

    Raises
    ------
    ParameterError
        If the voxel is not positive or so small that the grid would have more than 67 million voxels.
    EmptySelectionError
        If no ion has a finite position.
    """
    if not voxel_nm > 0:
        raise ParameterError(f"the voxel edge must be positive, got {voxel_nm} nm")
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    for start, stop in cloud.chunks():
        lower, upper = widen(cloud.read("xyz_nm", start, stop), lower, upper)
    if not np.isfinite(lower).all():
        raise EmptySelectionError(f"none of the {len(cloud)} ions has a finite position")
    shape = np.floor((upper - lower) / voxel_nm).astype(np.int64) + 1
    if float(np.prod(shape.astype(float))) > _MAX_VOXELS:
        raise ParameterError(
            f"voxels of {voxel_nm} nm would make a grid of {' x '.join(map(str, shape))}; choose larger voxels"
        )
    counts = np.zeros(int(np.prod(shape)), np.int64)
    for start, stop in cloud.chunks():
        xyz = cloud.read("xyz_nm", start, stop)
        xyz = xyz[np.isfinite(xyz).all(axis=1)]
        ijk = ((xyz - lower) / voxel_nm).astype(np.int64).T
        flat = np.ravel_multi_index(tuple(np.minimum(ijk, shape[:, None] - 1)), tuple(shape))
        counts += np.bincount(flat, minlength=len(counts))
    values = (counts.reshape(shape) / voxel_nm**3).astype(np.float32)
    return VoxelGrid(values, lower, np.full(3, voxel_nm), "density", "1/nm^3")


def label_volume(xyz_nm: NDArray[np.floating[Any]], defect: NDArray[np.integer[Any]], grid: VoxelGrid) -> VoxelGrid:
    """Mark the voxels of a grid that hold ions of a defect with the number of that defect.

    Parameters
    ----------
    xyz_nm
        Positions of ions, shape (N, 3), nm; ions outside of the grid are left out.
    defect
        Defect instance of each ion, shape (N,), 0 in the matrix.
    grid
        Gives the voxels.

    Returns
    -------
    On the voxels of `grid`, the defect that has most ions in the voxel (the lower number when two have equally many), 0
    where no ion of a defect lies; whole numbers, exact in float32 below 2**24.
    """
    inside = defect > 0
    voxel = np.floor((xyz_nm[inside] - grid.origin_nm) / grid.voxel_nm)
    shape = np.asarray(grid.values.shape)
    fits = ((voxel >= 0) & (voxel < shape)).all(axis=1)
    labels = np.zeros(grid.values.shape, np.float32)
    flat = np.ravel_multi_index(tuple(voxel[fits].astype(np.int64).T), grid.values.shape)
    owner = defect[inside][fits].astype(np.int64)
    if len(flat):
        pairs, counts = np.unique(np.stack([flat, owner], axis=1), axis=0, return_counts=True)
        order = np.lexsort((-pairs[:, 1], counts))  # ascending: the last write to a voxel wins
        labels.reshape(-1)[pairs[order, 0]] = pairs[order, 1]
    return VoxelGrid(labels, grid.origin_nm, grid.voxel_nm, "defect")
