"""The hull of the specimen: a convex polyhedron, minus pockets where the specimen's surface runs inside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, read_only
from napari_aptdefect.data.boxes import box_tree, next_body
from napari_aptdefect.data.hull_clip import HullArrays
from napari_aptdefect.errors import ShapeError

HullKind = Literal["convex", "alpha"]


@dataclass(frozen=True, eq=False)
class SpecimenHull:
    """Surface and volume of the specimen.

    Parameters
    ----------
    kind
        ``"convex"``: the convex hull of the ions; ``"alpha"``: a ball of radius `alpha_nm` rolls over the ions from
        outside, and where it comes in is not specimen. Cavities it can't reach belong to the specimen.
    planes
        Shape (F, 4), float64: outward unit normals n and offsets d (nm) of the convex hull, ``n . r <= d`` within.
    vertices_nm
        Shape (V, 3), float64, nm: vertices of the surface.
    triangles
        Shape (T, 3), int32: the surface, counterclockwise seen from outside.
    pockets_nm
        Shape (P, 4, 3), float64, nm: tetrahedra within the convex hull and outside the specimen, with positive
        orientation: the last three are counterclockwise seen from the first. None for a convex hull.
    pocket_walls
        Shape (P, 4), bool: whether the face opposite to each corner of a pocket is surface of the specimen.
    volume_nm3, area_nm2
        Volume and surface of the specimen.
    alpha_nm
        Radius of the ball, nm; None for a convex hull.
    """

    kind: HullKind
    planes: NDArray[np.float64]
    vertices_nm: NDArray[np.float64]
    triangles: NDArray[np.int32]
    pockets_nm: NDArray[np.float64]
    pocket_walls: NDArray[np.bool_]
    volume_nm3: float
    area_nm2: float
    alpha_nm: float | None

    def __post_init__(self) -> None:
        shapes = {"planes": (4,), "vertices_nm": (3,), "triangles": (3,), "pockets_nm": (4, 3), "pocket_walls": (4,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape[1:] != shape:
                raise ShapeError(f"{name} must have shape (n, {str(shape)[1:]}, got {getattr(self, name).shape}")
        if len(self.pockets_nm) != len(self.pocket_walls):
            raise ShapeError(f"{len(self.pockets_nm)} pockets and walls of {len(self.pocket_walls)} must be as many")
        for field in fields(self):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                object.__setattr__(self, field.name, read_only(values))

    def arrays(self) -> HullArrays:
        """Return the hull for compiled kernels."""
        return HullArrays(
            np.ascontiguousarray(self.planes.T),
            _pocket_planes(self.pockets_nm),
            np.array(self.pockets_nm),
            np.array(self.pocket_walls),
            box_tree(self.pockets_nm.min(axis=1), self.pockets_nm.max(axis=1)),
        )

    def contains(self, xyz_nm: ArrayLike) -> NDArray[np.bool_]:
        """Find which points lie in the specimen or on its surface.

        Parameters
        ----------
        xyz_nm
            Shape (N, 3), nm, in the frame of the hull.

        Returns
        -------
        Shape (N,), bool; False at non-finite positions.
        """
        points = as_points(xyz_nm)
        scale = float(np.linalg.norm(np.ptp(self.vertices_nm, axis=0)))
        inside = np.zeros(len(points), np.bool_)
        _contains(points, self.arrays(), 1e-9 * scale, inside)
        return inside


def spatial_order(centers_nm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order of points, shape (P, 3), in which those side by side follow each other (a Morton curve)."""
    if not len(centers_nm):
        return np.empty(0, np.int64)
    low = centers_nm.min(axis=0)
    extent = float(np.ptp(centers_nm, axis=0).max()) or 1.0
    code = np.zeros(len(centers_nm), np.uint64)
    cell = np.minimum((centers_nm - low) / extent * 1024, 1023).astype(np.uint64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def _pocket_planes(pockets_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outward unit normals and offsets of the faces opposite to each corner, shape (P, 4, 4)."""
    planes = np.empty((len(pockets_nm), 4, 4))
    for k in range(4):
        a, b, c = (pockets_nm[:, (k + i) % 4] for i in (1, 2, 3))
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        normal = normal / np.where(length > 0, length, 1.0)
        inward = np.einsum("ij,ij->i", normal, pockets_nm[:, k] - a) > 0
        normal[inward] *= -1
        planes[:, k, :3] = normal
        planes[:, k, 3] = np.einsum("ij,ij->i", normal, a)
    return planes


@njit(cache=True, nogil=True)
def _contains(points: NDArray[np.float32], hull: HullArrays, slack: float, inside: NDArray[np.bool_]) -> None:
    place = np.empty(6)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        within = np.isfinite(x + y + z)
        for f in range(hull.plane.shape[1]):
            if not within:
                break
            height = hull.plane[0, f] * x + hull.plane[1, f] * y + hull.plane[2, f] * z - hull.plane[3, f]
            within = height <= slack
        place[0], place[1], place[2] = x, y, z
        place[3], place[4], place[5] = x, y, z
        inside[i] = within and not _in_pocket(hull, place, slack)


@njit(cache=True, nogil=True)
def _in_pocket(hull: HullArrays, place: NDArray[np.float64], slack: float) -> bool:
    # well inside: a point on a wall belongs to the specimen
    i = next_body(hull.pocket_box, place, 0)
    while i >= 0:
        highest = -np.inf
        for k in range(4):
            height = -hull.pocket_plane[i, k, 3]
            for a in range(3):
                height += hull.pocket_plane[i, k, a] * place[a]
            highest = max(highest, height)
        if highest < -slack:
            return True
        i = next_body(hull.pocket_box, place, i + 1)
    return False
