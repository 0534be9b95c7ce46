"""Edges by cells: Delaunay and Gabriel neighbors from the faces of the Voronoi cells, cell by cell."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.apt.graph.near import BLOCK, room_for, sort_neighbors
from napari_aptdefect.data.clip import BATCH, N_OUTER, clip_cell, start_cell
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.polyhedron import Polyhedron, measure, new_polyhedron, start_polyhedron
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, nearest, run_blocks
from napari_aptdefect.stage import Stage

_CELLS = 2048
_PER_CELL = 20  # faces to make room for at first; random points have 15.5 and a block of cells hardly more


def touching_cells(
    points: NDArray[np.float32],
    tree: PointTree,
    *,
    limit_nm: float,
    max_length_nm: float | None,
    face_threshold: float,
    gabriel: bool,
    max_edges: int,
    workers: int | None,
) -> Stage[NeighborGraph]:
    """Join the ions whose cells share a face; see `build_graph` for which faces count."""
    n_rows = len(tree.order)
    shape, n_vertices = start_polyhedron()
    longest2 = np.inf if max_length_nm is None else max_length_nm * max_length_nm
    degree = np.zeros(len(points), np.int64)
    parts: dict[int, NDArray[np.int32]] = {}

    def cut_cells(start: int, stop: int) -> None:
        room = _PER_CELL * (stop - start)
        while True:
            found = np.empty(room, np.int32)
            n = _faces_of_rows(
                tree, start, stop, shape, n_vertices, limit_nm, longest2, face_threshold, gabriel, degree, found
            )
            if n <= room:
                parts[start] = found[:n].copy()
                return
            room = n

    yield from run_blocks(cut_cells, n_rows, block=_CELLS, message="Cutting cells", workers=workers)
    indptr, indices, _ = room_for(degree, max_edges)
    for start in sorted(parts):
        _place(tree.order, start, min(start + _CELLS, n_rows), parts.pop(start), indptr, indices)
    # rounding, and faces near the threshold, may leave an edge on one side only: it counts on both
    missing = np.zeros(len(points), np.int64)
    _one_sided(indptr, indices, missing, indptr, indices[:0])
    if missing.any():
        inner, first = indices, indptr
        indptr, indices, _ = room_for(degree + missing, max_edges)
        _copy_rows(first, inner, indptr, indices)
        missing[:] = 0
        _one_sided(first, inner, missing, indptr, indices)
    lengths = np.empty(len(indices), np.float32)

    def finish(start: int, stop: int) -> None:
        _sort_rows(points, start, stop, indptr, indices, lengths)

    yield from run_blocks(finish, len(points), block=BLOCK, message="Sorting neighbors", workers=workers)
    return NeighborGraph(indptr, indices, lengths)


@njit(cache=True, nogil=True)
def _faces_of_rows(
    tree: PointTree,
    start: int,
    stop: int,
    shape: Polyhedron,
    n_vertices: int,
    limit: float,
    longest2: float,
    threshold: float,
    gabriel: bool,
    degree: NDArray[np.int64],
    out: NDArray[np.int32],
) -> int:
    """Write the neighbors of the rows one after the other; return their number, even where there is no room."""
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(BATCH, np.float64), np.empty(BATCH, np.int32)
    box = np.array([-np.inf, -np.inf, -np.inf, np.inf, np.inf, np.inf])
    centroid, rim2 = np.empty(3), np.empty(0)
    p = new_polyhedron(256, 256)
    n_out = 0
    for row in range(start, stop):
        p, n, m = start_cell(p, tree, row, shape, n_vertices, limit, box)
        p, n, m = clip_cell(p, n, m, tree, row, stack, waiting2, distance2, found)
        measure(p, n, m, centroid)
        smallest = threshold * p.plane[4, :m].sum()
        if len(rim2) < m:
            rim2 = np.empty(2 * m)
        _nearest_of_rims(p, n, m, rim2)
        before = n_out
        for f in range(N_OUTER, m):
            if p.plane[4, f] <= smallest or 4.0 * p.plane[3, f] ** 2 > longest2:
                continue
            empty = _empty_between(p, m, f, tree, row)
            if (p.plane[3, f] <= limit) if empty else (not gabriel and rim2[f] <= limit * limit):
                if n_out < len(out):
                    out[n_out] = tree.order[p.neighbor[f]]
                n_out += 1
        if nearest(tree, row, 1, 0.0, False, stack, waiting2, distance2, found):
            if n_out < len(out):
                out[n_out] = tree.order[found[0]]
            n_out += 1
        degree[tree.order[row]] = n_out - before
    return n_out


@njit(cache=True, nogil=True)
def _empty_between(p: Polyhedron, m: int, f: int, tree: PointTree, row: int) -> bool:
    # no ion sees the ends of the edge under more than a right angle (Thales); if one does, a neighbor of the cell does
    other = p.neighbor[f]
    for g in range(N_OUTER, m):
        k = p.neighbor[g]
        if g != f:
            product = 0.0
            for a in range(3):
                at = np.float64(tree.xyz[k, a])
                product += (at - tree.xyz[row, a]) * (at - tree.xyz[other, a])
            if product < 0.0:
                return False
    return True


@njit(cache=True, nogil=True)
def _nearest_of_rims(p: Polyhedron, n: int, m: int, rim2: NDArray[np.float64]) -> None:
    """Squared distance of the nearest point on the rim of each face, nm2."""
    rim2[:m] = np.inf
    for v in range(n):
        ux, uy, uz = p.vertex[0, v], p.vertex[1, v], p.vertex[2, v]
        for h in range(4 * v, 4 * v + 3):
            w = p.twin[h] >> 2
            ex, ey, ez = p.vertex[0, w] - ux, p.vertex[1, w] - uy, p.vertex[2, w] - uz
            length2 = ex * ex + ey * ey + ez * ez
            t = min(max(-(ux * ex + uy * ey + uz * ez) / length2, 0.0), 1.0) if length2 > 0.0 else 0.0
            x, y, z = ux + t * ex, uy + t * ey, uz + t * ez
            rim2[p.face[h]] = min(rim2[p.face[h]], x * x + y * y + z * z)


@njit(cache=True, nogil=True)
def _place(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    part: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
) -> None:
    n = 0
    for row in range(start, stop):
        for e in range(indptr[order[row]], indptr[order[row] + 1]):
            indices[e] = part[n]
            n += 1


@njit(cache=True, nogil=True)
def _copy_rows(
    first: NDArray[np.int64], inner: NDArray[np.int32], indptr: NDArray[np.int64], indices: NDArray[np.int32]
) -> None:
    for i in range(len(first) - 1):
        n = first[i + 1] - first[i]
        indices[indptr[i + 1] - n : indptr[i + 1]] = inner[first[i] : first[i + 1]]


@njit(cache=True, nogil=True)
def _one_sided(
    first: NDArray[np.int64],
    inner: NDArray[np.int32],
    missing: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
) -> None:
    """Count the edges that lead to each ion and not back, and write them in front of its row where there is room."""
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            j = inner[e]
            back = False
            for b in range(first[j], first[j + 1]):
                if inner[b] == i:
                    back = True
                    break
            if not back:
                if len(indices):
                    indices[indptr[j] + missing[j]] = i
                missing[j] += 1


@njit(cache=True, nogil=True)
def _sort_rows(
    points: NDArray[np.float32],
    start: int,
    stop: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
) -> None:
    most = 0
    for i in range(start, stop):
        most = max(most, indptr[i + 1] - indptr[i])
    distance2, found = np.empty(most, np.float64), np.empty(most, np.int32)
    for i in range(start, stop):
        n = indptr[i + 1] - indptr[i]
        for j in range(n):
            found[j] = indices[indptr[i] + j]
            distance2[j] = 0.0
            for a in range(3):
                distance2[j] += (np.float64(points[found[j], a]) - points[i, a]) ** 2
        sort_neighbors(distance2, found, n)
        for j in range(n):
            indices[indptr[i] + j] = found[j]
            lengths_nm[indptr[i] + j] = np.sqrt(distance2[j])
