"""Candidate neighbors shared by ions that lie side by side: found once in the tree, sorted for each ion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.polyhedron import NO_ROOM, TOUCH, Polyhedron, cut, larger
from napari_aptdefect.data.tree import PointTree, box_distance2

_MOST = 1024  # candidates of a group; where there are more, the radius shrinks
_BINS = 128


class Nearby(NamedTuple):
    """Room for the candidates of one group of ions and for the sorted list of one ion.

    Parameters
    ----------
    xyz
        Shape (3, n), float64, nm: positions of the candidates.
    row
        Shape (n,), int32: their rows in the tree.
    distance2
        Shape (n,), float64, nm2: squared distances from the ion (scratch).
    chosen
        Shape (n,), int32: candidates within the radius (scratch).
    sorted2, found
        Shape (n,), float64 (nm2) and int32: squared distances and rows, nearest first, ties by the lower index.
    bins
        Shape (n_bins + 1,), int32: ends of the bins of the sort (scratch).
    """

    xyz: NDArray[np.float64]
    row: NDArray[np.int32]
    distance2: NDArray[np.float64]
    chosen: NDArray[np.int32]
    sorted2: NDArray[np.float64]
    found: NDArray[np.int32]
    bins: NDArray[np.int32]


@njit(cache=True, nogil=True)
def new_nearby() -> Nearby:
    """Return room for the candidates of a group."""
    return Nearby(
        np.empty((3, _MOST)),
        np.empty(_MOST, np.int32),
        np.empty(_MOST),
        np.empty(_MOST, np.int32),
        np.empty(_MOST),
        np.empty(_MOST, np.int32),
        np.empty(_BINS + 1, np.int32),
    )


@njit(cache=True, nogil=True)
def bounds_of(tree: PointTree, start: int, stop: int, box: NDArray[np.float64]) -> None:
    """Write the bounds of the rows from start to stop: three minima, then three maxima, nm."""
    for a in range(3):
        box[a], box[3 + a] = tree.xyz[start, a], tree.xyz[start, a]
        for i in range(start + 1, stop):
            box[a] = min(box[a], tree.xyz[i, a])
            box[3 + a] = max(box[3 + a], tree.xyz[i, a])


@njit(cache=True, nogil=True)
def gather(tree: PointTree, box: NDArray[np.float64], radius: float, near: Nearby, stack: NDArray[np.int32]) -> int:
    """Write the rows of the tree within a radius of a box; of coincident rows in a leaf the first stands for all.

    Returns
    -------
    Number of candidates; -1 where there are too many.
    """
    n, depth = 0, 1
    most = radius * radius * (1.0 + 1e-9)
    stack[0] = 0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        away2 = 0.0
        for a in range(3):
            gap = max(tree.box[node, a] - box[3 + a], 0.0, box[a] - tree.box[node, 3 + a])
            away2 += gap * gap
        if away2 > most:
            continue
        if tree.leaf[node] == 0:
            stack[depth], stack[depth + 1] = 2 * node + 2, 2 * node + 1
            depth += 2
            continue
        start = tree.start[node]
        stop = tree.stop[node] if tree.leaf[node] == 1 else start + 1
        if n + stop - start > len(near.row):
            return -1
        for i in range(start, stop):
            away2 = 0.0
            for a in range(3):
                at = np.float64(tree.xyz[i, a])
                gap = max(box[a] - at, 0.0, at - box[3 + a])
                away2 += gap * gap
                near.xyz[a, n] = at
            near.row[n] = i
            n += away2 <= most
    return n


@njit(cache=True, nogil=True, inline="always")
def _in_order(tree: PointTree, near: Nearby, j: int, d2: float, row: int) -> bool:
    return bool(near.sorted2[j] < d2 or (near.sorted2[j] == d2 and tree.order[near.found[j]] < tree.order[row]))


@njit(cache=True, nogil=True, error_model="numpy")
def sort_around(tree: PointTree, row: int, n: int, radius: float, near: Nearby) -> tuple[int, int]:
    """Sort the candidates within a radius of a row, nearest first, and leave out those at the very same place.

    Returns
    -------
    Number of rows in `near.found`, and number of candidates at the very place of the row.
    """
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    for j in range(n):
        dx, dy, dz = near.xyz[0, j] - x, near.xyz[1, j] - y, near.xyz[2, j] - z
        near.distance2[j] = dx * dx + dy * dy + dz * dz
    k, n_same, most = 0, 0, radius * radius
    for j in range(n):
        near.chosen[k] = j
        k += (near.distance2[j] <= most) & (near.distance2[j] > 0.0)
        n_same += near.distance2[j] == 0.0
    for b in range(_BINS + 1):
        near.bins[b] = 0
    scale = (_BINS - 1) / most
    for i in range(k):
        near.bins[int(near.distance2[near.chosen[i]] * scale) + 1] += 1
    for b in range(_BINS):
        near.bins[b + 1] += near.bins[b]
    for i in range(k):
        j = near.chosen[i]
        b = int(near.distance2[j] * scale)
        near.sorted2[near.bins[b]], near.found[near.bins[b]] = near.distance2[j], near.row[j]
        near.bins[b] += 1
    for i in range(1, k):
        d2, r = near.sorted2[i], near.found[i]
        j = i
        while j > 0 and not _in_order(tree, near, j - 1, d2, r):
            near.sorted2[j], near.found[j] = near.sorted2[j - 1], near.found[j - 1]
            j -= 1
        near.sorted2[j], near.found[j] = d2, r
    return k, n_same


@njit(cache=True, nogil=True)
def nearest_to(
    tree: PointTree,
    x: float,
    y: float,
    z: float,
    radius2: float,
    stack: NDArray[np.int32],
    waiting2: NDArray[np.float64],
) -> int:
    """Find the row nearest to a place and nearer than a squared radius; -1 for none, ties by the lower index."""
    best, best2, depth = -1, radius2, 1
    stack[0], waiting2[0] = 0, 0.0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if waiting2[depth] > best2:
            continue
        if tree.leaf[node] == 0:
            left, right = 2 * node + 1, 2 * node + 2
            to_left = box_distance2(tree.box, left, x, y, z)
            to_right = box_distance2(tree.box, right, x, y, z)
            if to_left > to_right:
                left, right, to_left, to_right = right, left, to_right, to_left
            stack[depth], waiting2[depth] = right, to_right
            stack[depth + 1], waiting2[depth + 1] = left, to_left
            depth += 2
            continue
        stop = tree.stop[node] if tree.leaf[node] == 1 else tree.start[node] + 1
        for i in range(tree.start[node], stop):
            dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
            d2 = dx * dx + dy * dy + dz * dz
            if d2 < best2 or (d2 == best2 and best >= 0 and tree.order[i] < tree.order[best]):
                best, best2 = i, d2
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def cut_vertices(
    p: Polyhedron,
    n: int,
    m: int,
    tree: PointTree,
    row: int,
    beyond2: float,
    stack: NDArray[np.int32],
    waiting2: NDArray[np.float64],
) -> tuple[Polyhedron, int, int, bool]:
    """Cut off each vertex that is nearer to another row, the farthest first: fast for large cells in empty space.

    Parameters
    ----------
    p, n, m
        The cell of a row, its numbers of vertices and of faces so far.
    tree, row
        The ions and the row of the one in the center.
    beyond2
        Stop at the first vertex at this squared distance or farther that stays, nm2; inf to cut the whole cell.
    stack, waiting2
        Room for walks through the tree: shapes (STACK_SIZE,).

    Returns
    -------
    The cell, its number of vertices, of faces ever made, and whether a vertex stayed at `beyond2`. With a finite
    `beyond2`, nearer vertices are left as they are.
    """
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    for v in range(n):
        p.face[4 * v + 3] = 0
    least2 = beyond2 if beyond2 < np.inf else 0.0
    while True:
        far, far2 = -1, least2
        for v in range(n):
            d2 = p.vertex[0, v] ** 2 + p.vertex[1, v] ** 2 + p.vertex[2, v] ** 2
            if d2 >= far2 and p.face[4 * v + 3] == 0:
                far, far2 = v, d2
        if far < 0:
            return p, n, m, False
        vx, vy, vz = p.vertex[0, far], p.vertex[1, far], p.vertex[2, far]
        other = nearest_to(tree, x + vx, y + vy, z + vz, far2 * (1.0 - 1e-9), stack, waiting2)
        left = 0
        if other >= 0:
            dx, dy, dz = tree.xyz[other, 0] - x, tree.xyz[other, 1] - y, tree.xyz[other, 2] - z
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            left = cut(p, n, m, dx / length, dy / length, dz / length, 0.5 * length, TOUCH * length)
            if left == NO_ROOM:
                p = larger(p, n, m)
                continue
        if left > 0:
            p.neighbor[m] = other
            n, m = left, m + 1
            continue
        if beyond2 < np.inf:
            return p, n, m, True
        p.face[4 * far + 3] = 1
