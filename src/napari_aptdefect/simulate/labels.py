"""The label convention: which defect an atom at a given place belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.simulate.truth import NEIGHBOR_NM, RIM_NM, DefectTruth

_CHUNK: Final = 1 << 18
_MOST_CELLS: Final = 2e7
_RANK: Final = {"slab": 1, "tube": 2, "sphere": 3}


def rank(defect: DefectTruth) -> tuple[int, int]:
    """Order in which labels are given; a later one wins.

    Points yield to everything; then intended layers, planes, lines, solute clusters, vacancy clusters and voids.
    """
    if defect.region.shape == "point":
        return -1, 0
    if defect.role == "structure":
        return 0, 0
    return _RANK[defect.region.shape], ("solute_cluster", "vacancy", "void").index(defect.defect_class) if (
        defect.region.shape == "sphere"
    ) else 0


def label_reach_nm(defect: DefectTruth) -> float:
    """How far the label of a defect reaches beyond its region: the rim of what is empty, the neighbors of a point."""
    if defect.region.shape == "point":
        return NEIGHBOR_NM
    return RIM_NM if defect.n_missing or defect.defect_class == "void" else 0.0


def label_places(xyz_nm: NDArray[np.floating], defects: Sequence[DefectTruth]) -> NDArray[np.int32]:
    """Instance number whose label an atom at each place carries, 0 for the matrix.

    Parameters
    ----------
    xyz_nm
        Places, shape (N, 3), nm, in the frame of the regions.
    defects
        All defects of the specimen.

    Returns
    -------
    Shape (N,). Places inside a void get its label too, though no atom lies there.

    Notes
    -----
    An atom carries the label of the region it lies in. What holds no atoms labels those beside it: within 0.25 nm of a
    vacancy or an interstitial, within 0.5 nm of the surface of a void or a vacancy cluster. Where regions overlap, a
    void wins over a vacancy cluster, that over a solute cluster, over a line, over a plane, over an intended layer;
    points only label atoms of the matrix.
    """
    instance = np.zeros(len(xyz_nm), np.int32)
    for defect in sorted(defects, key=rank):
        if defect.region.shape != "point":
            instance[defect.region.rows_within(xyz_nm, label_reach_nm(defect))] = defect.defect
    label_points(xyz_nm, [one for one in defects if one.region.shape == "point"], instance)
    return instance


def label_points(xyz_nm: NDArray[np.floating], points: Sequence[DefectTruth], instance: NDArray[np.int32]) -> None:
    """Give atoms of the matrix the label of the nearest point defect in reach, in place."""
    if not points or len(xyz_nm) == 0:
        return
    from scipy.spatial import cKDTree

    places = np.array([point.center_nm for point in points])
    tree = cKDTree(places)
    numbers = np.array([point.defect for point in points], np.int32)
    near = _Near(places, NEIGHBOR_NM)
    for start in range(0, len(xyz_nm), _CHUNK):
        rows = start + near.rows(xyz_nm[start : start + _CHUNK])
        distance, nearest = tree.query(xyz_nm[rows], distance_upper_bound=NEIGHBOR_NM)
        hit = np.isfinite(distance) & (instance[rows] == 0)
        instance[rows[hit]] = numbers[nearest[hit]]


class _Near:
    """Cells around a few places: most atoms are far from all of them, and need no search."""

    def __init__(self, places_nm: NDArray[np.float64], reach_nm: float) -> None:
        self.low = places_nm.min(axis=0) - reach_nm
        extent = places_nm.max(axis=0) + reach_nm - self.low
        self.cell_nm = max(2 * reach_nm, float((np.prod(extent) / _MOST_CELLS) ** (1 / 3)))
        self.shape = (extent // self.cell_nm).astype(np.int64) + 1
        self.taken = np.zeros(self.shape, bool)
        for corner in np.ndindex(2, 2, 2):  # no cell is smaller than the reach, so the corners of a box name all
            offset = (np.array(corner) * 2 - 1) * reach_nm
            self.taken[tuple(((places_nm + offset - self.low) // self.cell_nm).astype(np.int64).T)] = True

    def rows(self, xyz_nm: NDArray[np.floating]) -> NDArray[np.intp]:
        """Rows of the points in such cells."""
        cell = np.floor((xyz_nm - self.low.astype(xyz_nm.dtype)) / np.asarray(self.cell_nm, xyz_nm.dtype)).astype(
            np.int32
        )
        within = np.flatnonzero(((cell >= 0) & (cell < self.shape)).all(axis=1))
        return np.asarray(within[self.taken[tuple(cell[within].T)]])
