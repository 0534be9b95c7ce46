"""Cut the Voronoi cell of one ion by the hull of the specimen: compiled, exact for any hull.

The hull is a convex polyhedron minus pockets, tetrahedra within it that lie outside the specimen. A cell is convex: the
planes cut it, and what it shares with each pocket is a polyhedron of its own, whose volume and surface are taken away.
Cells tile the convex polyhedron, so what is left sums to the volume of the specimen, whatever the pockets are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.boxes import distance2_to, next_body, next_node
from napari_aptdefect.data.polyhedron import (
    ALL_CUT,
    NO_ROOM,
    Polyhedron,
    copy_into,
    cut,
    larger,
    measure,
    new_polyhedron,
    radius2,
)

_TOUCH = 1e-13  # of the distances involved: planes of the hull that cut off less only touch the cell


class HullArrays(NamedTuple):
    """A specimen hull for compiled kernels; no planes at all stand for no hull.

    Parameters
    ----------
    plane
        Shape (4, F), float64: outward unit normals and offsets (nm) of the convex polyhedron.
    pocket_plane
        Shape (P, 4, 4), float64: the same of the faces of each pocket.
    corner
        Shape (P, 4, 3), float64, nm: corners of the pockets.
    wall
        Shape (P, 4), bool: whether a face of a pocket is surface of the specimen.
    pocket_box
        Shape (n, 6), float64, nm: the tree of the bounds of the pockets, from `box_tree`.
    """

    plane: NDArray[np.float64]
    pocket_plane: NDArray[np.float64]
    corner: NDArray[np.float64]
    wall: NDArray[np.bool_]
    pocket_box: NDArray[np.float64]


def no_hull() -> HullArrays:
    """Return the arrays that stand for no hull."""
    return HullArrays(
        np.empty((4, 0)), np.empty((0, 4, 4)), np.empty((0, 4, 3)), np.empty((0, 4), np.bool_), np.empty((0, 6))
    )


@njit(cache=True, nogil=True, error_model="numpy")
def gaps(hull: HullArrays, box: NDArray[np.float64], gap: NDArray[np.float64]) -> float:
    """Write how far a box lies below each plane (nm); return how far it lies from the nearest at least."""
    cx, cy, cz = 0.5 * (box[0] + box[3]), 0.5 * (box[1] + box[4]), 0.5 * (box[2] + box[5])
    hx, hy, hz = 0.5 * (box[3] - box[0]), 0.5 * (box[4] - box[1]), 0.5 * (box[5] - box[2])
    nx, ny, nz, offset = hull.plane[0], hull.plane[1], hull.plane[2], hull.plane[3]
    for f in range(len(offset)):
        top = nx[f] * cx + ny[f] * cy + nz[f] * cz + abs(nx[f]) * hx + abs(ny[f]) * hy + abs(nz[f]) * hz
        gap[f] = offset[f] - top
    least = np.inf
    for f in range(len(offset)):
        least = min(least, gap[f])
    return max(least, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def pocket_gap(hull: HullArrays, box: NDArray[np.float64], most: float) -> float:
    """Return how far a box lies from the nearest pocket at least, nm, and `most` where that is farther."""
    first_leaf = len(hull.pocket_box) >> 1
    node = 0 if len(hull.pocket_box) else -1
    while node >= 0:
        away2 = distance2_to(hull.pocket_box, node, box)
        if away2 < most * most:
            if node < first_leaf:
                node = 2 * node + 1
                continue
            # a thin pocket that lies askew fills little of its box: its faces tell more
            away = max(np.sqrt(away2), _highest(hull.pocket_plane, node - first_leaf, box))
            most = min(most, away)
        node = next_node(node)
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def cut_by_planes(
    p: Polyhedron,
    n: int,
    m: int,
    hull: HullArrays,
    gap: NDArray[np.float64],
    at: NDArray[np.float64],
    within: float,
) -> tuple[Polyhedron, int, int]:
    """Cut a cell by the planes of the convex polyhedron up to a distance from the ion, nm.

    Parameters
    ----------
    p, n, m
        The cell, its numbers of vertices and of faces so far.
    hull
        The hull.
    gap
        Shape (F,), nm: least distance of each plane, from `gaps`.
    at
        Shape (3,), nm: position of the ion.
    within
        Planes farther away are left out, nm.

    Returns
    -------
    The cell, its number of vertices (0 where nothing is left), and of faces ever made; faces of the hull have neighbor
    -1.
    """
    n, m, f = _cut_by_planes(p, n, m, hull, gap, at, within, 0)
    while f < len(gap):
        p = larger(p, n, m)
        n, m, f = _cut_by_planes(p, n, m, hull, gap, at, within, f)
    return p, n, m


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_by_planes(
    p: Polyhedron,
    n: int,
    m: int,
    hull: HullArrays,
    gap: NDArray[np.float64],
    at: NDArray[np.float64],
    within: float,
    start: int,
) -> tuple[int, int, int]:
    # returns the plane at which room ran out, and their number at the end: a polyhedron that the loop might replace
    # would count references with every plane
    reach = np.sqrt(radius2(p, n))
    for f in range(start, len(gap)):
        if gap[f] >= reach or gap[f] > within:
            continue
        nx, ny, nz = hull.plane[0, f], hull.plane[1, f], hull.plane[2, f]
        distance = hull.plane[3, f] - (nx * at[0] + ny * at[1] + nz * at[2])
        if distance >= reach or distance > within:
            continue
        left = cut(p, n, m, nx, ny, nz, distance, _TOUCH * (reach + abs(hull.plane[3, f])))
        if left == NO_ROOM:
            return n, m, f
        if left == ALL_CUT:
            return 0, m, len(gap)
        if left > 0:
            p.neighbor[m] = -1
            n, m = left, m + 1
            reach = np.sqrt(radius2(p, n))
    return n, m, len(gap)


class Spare(NamedTuple):
    """Room for a second polyhedron, for a mark of each vertex, and for a number of each face; it may grow."""

    q: Polyhedron
    covered: NDArray[np.bool_]
    n_edges: NDArray[np.int32]


class Pocketed(NamedTuple):
    """What pockets take from a cell: volume (nm3), its first moment (nm4), walls they add (nm2), and the reach left."""

    volume: float
    mx: float
    my: float
    mz: float
    wall: float
    far2: float


@njit(cache=True, nogil=True, error_model="numpy")
def take_pockets(
    p: Polyhedron,
    n: int,
    m: int,
    hull: HullArrays,
    at: NDArray[np.float64],
    box: NDArray[np.float64],
    spare: Spare,
    centroid: NDArray[np.float64],
) -> tuple[Pocketed, Spare]:
    """Find what a cell shares with the pockets, and take it from the areas of the cell's faces.

    Parameters
    ----------
    p, n, m
        The cell after `measure`, its numbers of vertices and of faces.
    hull
        The hull.
    at
        Shape (3,), nm: position of the ion.
    box, spare, centroid
        Room for the bounds of the cell (6 numbers), for another polyhedron, and for 3 numbers.

    Returns
    -------
    What the pockets take, and the room, which may have grown.
    """
    reach = np.sqrt(radius2(p, n))
    volume, mx, my, mz, wall, far2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    q, covered = spare.q, spare.covered
    if len(covered) < n:
        covered = np.empty(2 * n, np.bool_)
    covered[:n] = False
    _bounds(p, n, at, box)
    i = _next_pocket(p, n, m, hull, at, box, 0)
    while i >= 0:
        _cover(p, n, hull.pocket_plane, i, at, 1e-9 * reach, covered)
        q, left = _shared(p, n, m, q, hull, i, at, reach)
        if left > 0:
            part = measure(q, left, m + 4, centroid)
            volume += part
            mx += part * centroid[0]
            my += part * centroid[1]
            mz += part * centroid[2]
            for f in range(m):
                p.plane[4, f] -= q.plane[4, f]
            for k in range(4):
                wall += q.plane[4, m + k] if hull.wall[i, k] else 0.0
            far2 = max(far2, _wall_reach2(q, left, m, hull.wall, i))
        i = _next_pocket(p, n, m, hull, at, box, i + 1)
    for v in range(n):
        if not covered[v]:
            far2 = max(far2, p.vertex[0, v] ** 2 + p.vertex[1, v] ** 2 + p.vertex[2, v] ** 2)
    return Pocketed(volume, mx, my, mz, wall, far2), Spare(q, covered, spare.n_edges)


@njit(cache=True, nogil=True)
def _next_pocket(
    p: Polyhedron, n: int, m: int, hull: HullArrays, at: NDArray[np.float64], box: NDArray[np.float64], start: int
) -> int:
    """First pocket from `start` on that nothing parts from the cell; -1 for none."""
    i: int = next_body(hull.pocket_box, box, start)
    while i >= 0:
        parted = _parted_by_pocket(p, n, hull.pocket_plane, i, at, box)
        if not (parted or _parted_by_cell(p, m, hull.corner, i, at)):
            return i
        i = next_body(hull.pocket_box, box, i + 1)
    return -1


@njit(cache=True, nogil=True)
def _bounds(p: Polyhedron, n: int, at: NDArray[np.float64], box: NDArray[np.float64]) -> None:
    for a in range(3):
        low, high = np.inf, -np.inf
        for v in range(n):
            low, high = min(low, p.vertex[a, v]), max(high, p.vertex[a, v])
        box[a], box[3 + a] = at[a] + low, at[a] + high


@njit(cache=True, nogil=True, error_model="numpy")
def _highest(plane: NDArray[np.float64], i: int, box: NDArray[np.float64]) -> float:
    """Height of a box above the face of a pocket that it lies highest above, nm; below 0 where all cut the box."""
    highest = -np.inf
    for k in range(4):
        height = -plane[i, k, 3]
        for a in range(3):
            height += plane[i, k, a] * (box[a] if plane[i, k, a] > 0.0 else box[3 + a])
        highest = max(highest, height)
    return highest


@njit(cache=True, nogil=True, error_model="numpy")
def _parted_by_pocket(
    p: Polyhedron, n: int, plane: NDArray[np.float64], i: int, at: NDArray[np.float64], box: NDArray[np.float64]
) -> bool:
    """Whether the cell lies above a face of the pocket: its bounds, or all its vertices."""
    if _highest(plane, i, box) >= 0.0:
        return True
    for k in range(4):
        nx, ny, nz = plane[i, k, 0], plane[i, k, 1], plane[i, k, 2]
        distance = plane[i, k, 3] - (nx * at[0] + ny * at[1] + nz * at[2])
        n_below = 0
        for v in range(n):
            n_below += p.vertex[0, v] * nx + p.vertex[1, v] * ny + p.vertex[2, v] * nz - distance < 0.0
        if n_below == 0:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _parted_by_cell(p: Polyhedron, m: int, corner: NDArray[np.float64], i: int, at: NDArray[np.float64]) -> bool:
    """Whether the pocket lies above a face of the cell."""
    for f in range(m):
        if p.plane[4, f] <= 0.0:  # a face that others took away, of which there are many
            continue
        lowest = np.inf
        for k in range(4):
            height = -p.plane[3, f]
            for a in range(3):
                height += p.plane[a, f] * (corner[i, k, a] - at[a])
            lowest = min(lowest, height)
        if lowest >= 0.0:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _cover(
    p: Polyhedron,
    n: int,
    plane: NDArray[np.float64],
    i: int,
    at: NDArray[np.float64],
    slack: float,
    covered: NDArray[np.bool_],
) -> None:
    """Mark the cell's vertices in the pocket or on its surface."""
    for v in range(n):
        highest = -np.inf
        for k in range(4):
            height = -plane[i, k, 3]
            for a in range(3):
                height += plane[i, k, a] * (p.vertex[a, v] + at[a])
            highest = max(highest, height)
        covered[v] |= highest <= slack


@njit(cache=True, nogil=True)
def _wall_reach2(q: Polyhedron, n: int, m: int, wall: NDArray[np.bool_], i: int) -> float:
    """Squared distance of the farthest vertex on a wall of the pocket, whose faces are m to m + 3; 0 for none."""
    far2 = 0.0
    for v in range(n):
        for h in range(4 * v, 4 * v + 3):
            if q.face[h] >= m and wall[i, q.face[h] - m]:
                far2 = max(far2, q.vertex[0, v] ** 2 + q.vertex[1, v] ** 2 + q.vertex[2, v] ** 2)
    return far2


@njit(cache=True, nogil=True, error_model="numpy")
def _shared(
    p: Polyhedron, n: int, m: int, q: Polyhedron, hull: HullArrays, i: int, at: NDArray[np.float64], reach: float
) -> tuple[Polyhedron, int]:
    """Write what a cell shares with a pocket, whose faces get the numbers m to m + 3; return its number of vertices."""
    while q.vertex.shape[1] < n or q.plane.shape[1] < m + 4:
        q = new_polyhedron(2 * q.vertex.shape[1], 2 * q.plane.shape[1])
    copy_into(q, p, n, m, 1.0)
    plane = hull.pocket_plane
    for f in range(m, m + 4):
        for a in range(5):
            q.plane[a, f] = 0.0
    for k in range(4):
        nx, ny, nz = plane[i, k, 0], plane[i, k, 1], plane[i, k, 2]
        distance = plane[i, k, 3] - (nx * at[0] + ny * at[1] + nz * at[2])
        touch = _TOUCH * (reach + abs(plane[i, k, 3]))
        left = cut(q, n, m + k, nx, ny, nz, distance, touch)
        while left == NO_ROOM:
            q = larger(q, n, m + 4)
            left = cut(q, n, m + k, nx, ny, nz, distance, touch)
        if left == ALL_CUT:
            return q, 0
        n = left or n
    return q, n
