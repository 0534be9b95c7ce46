"""Cut the Voronoi cell of one ion free from its neighbors: compiled, exact, whatever their number."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.polyhedron import N_START, TOUCH, Polyhedron, copy_into, cut, new_polyhedron, radius2
from napari_aptdefect.data.tree import PointTree, box_distance2, insert_sorted, nearest

N_OUTER = N_START + 6
"""Faces with lower numbers are those of the limit and of the box; neighbors' faces follow."""

BATCH = 64
"""Neighbors that are found in one walk through the tree."""

_FIRST = 32  # neighbors taken unseen: the mean security ball of random points holds three times as many
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
        n = cut(p, n, f, -x, -y, -z, low, TOUCH * limit) or n
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
    far2 = radius2(p, n)
    wanted = _FIRST
    n_found = nearest(tree, row, wanted, 4.0 * far2, True, stack, waiting2, distance2, found)
    while n_found:
        last2 = distance2[n_found - 1]
        for i in range(n_found):
            if distance2[i] > 4.0 * far2:
                return p, n, m
            length = np.sqrt(distance2[i])
            nx = (np.float64(tree.xyz[found[i], 0]) - tree.xyz[row, 0]) / length
            ny = (np.float64(tree.xyz[found[i], 1]) - tree.xyz[row, 1]) / length
            nz = (np.float64(tree.xyz[found[i], 2]) - tree.xyz[row, 2]) / length
            left = cut(p, n, m, nx, ny, nz, 0.5 * length, TOUCH * length)
            while left < 0:
                larger = new_polyhedron(2 * p.vertex.shape[1], 2 * p.plane.shape[1])
                copy_into(larger, p, n, m, 1.0)
                p = larger
                left = cut(p, n, m, nx, ny, nz, 0.5 * length, TOUCH * length)
            if left > 0:
                p.neighbor[m] = found[i]
                n, m, far2 = left, m + 1, radius2(p, left)
        if n_found < wanted or last2 > 4.0 * far2:
            return p, n, m
        wanted = BATCH
        n_found = _cutting(p, n, tree, row, 4.0 * far2, 4.0 * far2 > _WIDE * last2, stack, distance2, found)
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


@njit(cache=True, nogil=True)
def _cuts(p: Polyhedron, n: int, dx: float, dy: float, dz: float, length: float) -> bool:
    # the very arithmetic of `cut`, so that both agree to the last bit
    nx, ny, nz = dx / length, dy / length, dz / length
    highest = -np.inf
    for v in range(n):
        highest = max(highest, p.vertex[0, v] * nx + p.vertex[1, v] * ny + p.vertex[2, v] * nz - 0.5 * length)
    return highest > TOUCH * length


@njit(cache=True, nogil=True)
def _seen(p: Polyhedron, n: int, box: NDArray[np.float32], node: int, x: float, y: float, z: float) -> bool:
    # a point cuts a vertex off only if it is nearer to the vertex than the ion is
    for v in range(n):
        vx, vy, vz = p.vertex[0, v], p.vertex[1, v], p.vertex[2, v]
        if box_distance2(box, node, x + vx, y + vy, z + vz) <= (vx * vx + vy * vy + vz * vz) * (1.0 + 1e-9):
            return True
    return False
