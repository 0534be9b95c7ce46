"""Cut the Voronoi cell of one ion free from its neighbors: compiled, exact, whatever their number."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.polyhedron import N_START, NO_ROOM, TOUCH, Polyhedron, copy_into, cut, larger, radius2
from napari_aptdefect.data.tree import PointTree, box_distance2, insert_sorted, nearest

N_OUTER = N_START + 6
"""Faces with lower numbers are those of the limit and of the box; neighbors' faces follow."""

BATCH = 64
"""Neighbors that are found in one walk through the tree."""

FIRST = 32
"""Neighbors that are taken unseen: the mean security ball of random points holds three times as many."""

_WIDE = 2.0  # from this ratio of squared radii on, it pays to ask which nodes the vertices see


@njit(cache=True, nogil=True)
def start_cell(
    p: Polyhedron,
    tree: PointTree,
    row: int,
    shape: Polyhedron,
    n_vertices: int,
    limit: float,
    box: NDArray[np.float64],
) -> tuple[Polyhedron, int, int]:
    """Write the cell of a row before any neighbor: the dodecahedron at the limit, within the box.

    Parameters
    ----------
    p
        Room for the cell.
    tree, row
        The ions and the row of the one in the center.
    shape, n_vertices
        The unit dodecahedron of `start_polyhedron`.
    limit
        Distance of its faces, nm.
    box
        Shape (6,), nm: lower and upper corner, infinite where there is no box.

    Returns
    -------
    The cell, its number of vertices, and the number of the first neighbor's face.
    """
    copy_into(p, shape, n_vertices, N_START, limit)
    n = n_vertices
    for a in range(3):
        low, high = tree.xyz[row, a] - box[a], box[3 + a] - tree.xyz[row, a]
        f = N_START + 2 * a
        p.plane[:, f : f + 2] = 0.0
        p.neighbor[f : f + 2] = -1
        x, y, z = 1.0 * (a == 0), 1.0 * (a == 1), 1.0 * (a == 2)
        if low < np.inf:
            n = cut(p, n, f, -x, -y, -z, low, TOUCH * limit) or n
        if high < np.inf:
            n = cut(p, n, f + 1, x, y, z, high, TOUCH * limit) or n
    return p, n, N_OUTER


@njit(cache=True, nogil=True)
def clip_cell(
    p: Polyhedron,
    n: int,
    m: int,
    tree: PointTree,
    row: int,
    stack: NDArray[np.int32],
    waiting2: NDArray[np.float64],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> tuple[Polyhedron, int, int]:
    """Cut the cell of a row by the planes halfway to its neighbors until no point can cut it any more.

    Parameters
    ----------
    p, n, m
        The cell, its numbers of vertices and of faces so far.
    tree, row
        The ions and the row of the one in the center.
    stack, waiting2
        Room for walks through the tree: shapes (STACK_SIZE,).
    distance2, found
        Room for neighbors: shapes (BATCH,).

    Returns
    -------
    The cell (another one where it needed more room), its number of vertices, and of faces ever made.
    """
    far2 = 4.0 * radius2(p, n)
    n_found = nearest(tree, row, FIRST, far2, True, stack, waiting2, distance2, found)
    p, n, m = cut_by_rows(p, n, m, tree, row, distance2, found, 0, n_found)
    if n_found < FIRST:
        return p, n, m
    p, n, m = finish_cell(p, n, m, tree, row, distance2[n_found - 1], stack, distance2, found)
    return p, n, m


@njit(cache=True, nogil=True)
def cut_by_rows(
    p: Polyhedron,
    n: int,
    m: int,
    tree: PointTree,
    row: int,
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
    start: int,
    stop: int,
) -> tuple[Polyhedron, int, int]:
    """Cut the cell of a row by the planes halfway to the rows found, from start to stop, nearest first.

    Returns
    -------
    As `clip_cell`; rows too far away to cut anything are left out.
    """
    n, m, start = _cut_by_rows(p, n, m, tree, row, distance2, found, start, stop)
    while start < stop:
        p = larger(p, n, m)
        n, m, start = _cut_by_rows(p, n, m, tree, row, distance2, found, start, stop)
    return p, n, m


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_by_rows(
    p: Polyhedron,
    n: int,
    m: int,
    tree: PointTree,
    row: int,
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
    start: int,
    stop: int,
) -> tuple[int, int, int]:
    # returns the row at which room ran out, and `stop` at the end
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    far2 = 4.0 * radius2(p, n)
    for i in range(start, stop):
        if distance2[i] > far2:
            break
        other, length = found[i], np.sqrt(distance2[i])
        dx, dy, dz = tree.xyz[other, 0] - x, tree.xyz[other, 1] - y, tree.xyz[other, 2] - z
        if not _cuts(p, n, dx, dy, dz, length):
            continue
        left = cut(p, n, m, dx / length, dy / length, dz / length, 0.5 * length, TOUCH * length)
        if left == NO_ROOM:
            return n, m, i
        if left > 0:
            p.neighbor[m] = other
            n, m = left, m + 1
            far2 = 4.0 * radius2(p, n)
    return n, m, stop


@njit(cache=True, nogil=True)
def finish_cell(
    p: Polyhedron,
    n: int,
    m: int,
    tree: PointTree,
    row: int,
    done2: float,
    stack: NDArray[np.int32],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> tuple[Polyhedron, int, int]:
    """Go on cutting a cell that all rows up to a squared distance of `done2` (nm2) have cut already.

    Returns
    -------
    As `clip_cell`.
    """
    far2 = 4.0 * radius2(p, n)
    n_found = len(found)
    while done2 <= far2 and n_found == len(found):
        n_found = _cutting(p, n, tree, row, far2, far2 > _WIDE * done2, stack, distance2, found)
        if n_found:
            p, n, m = cut_by_rows(p, n, m, tree, row, distance2, found, 0, n_found)
            done2, far2 = distance2[n_found - 1], 4.0 * radius2(p, n)
    return p, n, m


@njit(cache=True, nogil=True)
def _cutting(
    p: Polyhedron,
    n: int,
    tree: PointTree,
    row: int,
    radius2_: float,
    wide: bool,
    stack: NDArray[np.int32],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """Find the nearest rows whose planes cut the cell; `wide` skips nodes that no vertex can see."""
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    n_found, worst, depth = 0, radius2_, 1
    stack[0] = 0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if box_distance2(tree.box, node, x, y, z) > worst or (wide and not _seen(p, n, tree.box, node, x, y, z)):
            continue
        if tree.leaf[node] == 0:
            stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
            depth += 2
            continue
        stop = tree.stop[node] if tree.leaf[node] == 1 else tree.start[node] + 1
        for i in range(tree.start[node], stop):
            dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
            d2 = dx * dx + dy * dy + dz * dz
            if 0.0 < d2 <= worst and _cuts(p, n, dx, dy, dz, np.sqrt(d2)):
                n_found = insert_sorted(tree, i, d2, n_found, len(found), distance2, found)
                if n_found == len(found):
                    worst = distance2[n_found - 1]
    return n_found


@njit(cache=True, nogil=True, error_model="numpy")
def _cuts(p: Polyhedron, n: int, dx: float, dy: float, dz: float, length: float) -> bool:
    # the very arithmetic of `cut`, so that both agree to the last bit; a sum, because it runs on several lanes
    nx, ny, nz, d, touch = dx / length, dy / length, dz / length, 0.5 * length, TOUCH * length
    n_above = 0
    for v in range(n):
        n_above += p.vertex[0, v] * nx + p.vertex[1, v] * ny + p.vertex[2, v] * nz - d > touch
    return n_above > 0


@njit(cache=True, nogil=True)
def _seen(p: Polyhedron, n: int, box: NDArray[np.float32], node: int, x: float, y: float, z: float) -> bool:
    # a point cuts a vertex off only if it is nearer to the vertex than the ion is
    for v in range(n):
        vx, vy, vz = p.vertex[0, v], p.vertex[1, v], p.vertex[2, v]
        if box_distance2(box, node, x + vx, y + vy, z + vz) <= (vx * vx + vy * vy + vz * vz) * (1.0 + 1e-9):
            return True
    return False
