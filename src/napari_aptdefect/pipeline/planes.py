"""Planar defects as a boundary that features refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.surface import unit

PLANAR: Final = ("stacking_fault", "grain_boundary")
"""Classes of defects whose mid-plane counts as a boundary."""

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Plane:
    """Mid-plane of a planar defect.

    Parameters
    ----------
    center_nm
        Shape (3,): a point of the plane, nm.
    normal
        Shape (3,): unit normal, of either sign.
    xyz_nm
        Shape (n, 3): ions of the defect, nm.
    """

    center_nm: NDArray[np.float64]
    normal: NDArray[np.float64]
    xyz_nm: NDArray[np.float32]


def nearest_plane(xyz_nm: NDArray[np.float32], planes: Sequence[Plane]) -> Boundary:
    """Where ions lie against the nearest of some planes: that of the nearest ion of any of the defects.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    planes
        The planes; without one everything is NaN.

    Returns
    -------
    The planes as one boundary; distances are those from the plane without its rim, positive toward larger z, and the
    nearest place is that of the nearest ion of the defect, put into the plane.
    """
    from scipy.spatial import cKDTree

    out = Boundary.unknown(len(xyz_nm))
    if not planes:
        return out
    normal = np.array([one.normal for one in planes])
    normal *= np.where(normal[:, 2:] < 0, -1.0, 1.0)
    center = np.array([one.center_nm for one in planes])
    owner = np.repeat(np.arange(len(planes)), [len(one.xyz_nm) for one in planes])
    ions = np.concatenate([one.xyz_nm for one in planes]).astype(np.float64)
    ions -= np.einsum("ij,ij->i", ions - center[owner], normal[owner])[:, None] * normal[owner]
    tree = cKDTree(np.concatenate([one.xyz_nm for one in planes]))
    rows = np.flatnonzero(finite_rows(xyz_nm))
    distance, normals, direction = out.distance_nm.copy(), out.normal.copy(), out.direction.copy()
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        nearest = tree.query(xyz_nm[some], workers=-1)[1]
        across = normal[owner[nearest]]
        distance[some] = np.einsum("ij,ij->i", xyz_nm[some] - center[owner[nearest]], across)
        normals[some] = across
        direction[some] = unit(xyz_nm[some] - ions[nearest])
    return Boundary(distance, normals, direction)
