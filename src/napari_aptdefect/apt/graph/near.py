"""Edges by distance: the nearest neighbors of each ion, or all ions within the reach of a pair of species."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, box_distance2, count_within, nearest, run_blocks
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Stage

BLOCK = 8192


def nearest_ions(
    tree: PointTree, n_ions: int, k: int, max_length_nm: float | None, max_edges: int, *, workers: int | None
) -> Stage[NeighborGraph]:
    """Join each ion to its k nearest, those up to the longest edge; the graph is directed."""
    n_rows = len(tree.order)
    most = min(k, n_rows - 1)
    radius2 = np.inf if max_length_nm is None else max_length_nm * max_length_nm
    degree = np.zeros(n_ions, np.int64)
    if max_length_nm is None:
        degree[tree.order] = most
    else:

        def count(start: int, stop: int) -> None:
            _count_up_to(tree, start, stop, radius2, most, degree)

        yield from run_blocks(count, n_rows, block=BLOCK, message="Counting neighbors", workers=workers)
    indptr, indices, lengths = room_for(degree, max_edges)

    def fill(start: int, stop: int) -> None:
        _fill_nearest(tree, start, stop, radius2, indptr, indices, lengths)

    yield from run_blocks(fill, n_rows, block=BLOCK, message="Finding neighbors", workers=workers)
    return NeighborGraph(indptr, indices, lengths)


def within_reach(
    tree: PointTree,
    kind: NDArray[np.int32],
    cutoff_nm: NDArray[np.float64],
    max_edges: int,
    *,
    workers: int | None,
) -> Stage[NeighborGraph]:
    """Join all ions within the cutoff of their pair of kinds, shape (K, K); kind -1 has no edges."""
    n_rows = len(tree.order)
    radius2 = np.where(cutoff_nm > 0, cutoff_nm**2, -1.0)
    degree = np.zeros(len(kind), np.int64)

    def count(start: int, stop: int) -> None:
        _count_kinds(tree, start, stop, kind, radius2, degree)

    yield from run_blocks(count, n_rows, block=BLOCK, message="Counting neighbors", workers=workers)
    indptr, indices, lengths = room_for(degree, max_edges)

    def fill(start: int, stop: int) -> None:
        _fill_kinds(tree, start, stop, kind, radius2, indptr, indices, lengths)

    yield from run_blocks(fill, n_rows, block=BLOCK, message="Finding neighbors", workers=workers)
    return NeighborGraph(indptr, indices, lengths)


def room_for(
    degree: NDArray[np.int64], max_edges: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Arrays for a graph of these degrees, or an error where it would be too large."""
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)])
    if indptr[-1] > max_edges:
        raise ParameterError(
            f"the graph would have {indptr[-1]:,} edges, {indptr[-1] / len(degree):.0f} per ion, more than max_edges = "
            f"{max_edges:,}; lower the radius or the number of neighbors, or raise max_edges"
        )
    return indptr, np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)


@njit(cache=True, nogil=True)
def _count_up_to(tree: PointTree, start: int, stop: int, radius2: float, most: int, degree: NDArray[np.int64]) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    for row in range(start, stop):
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        degree[tree.order[row]] = count_within(tree, x, y, z, radius2, most + 1, stack) - 1


@njit(cache=True, nogil=True)
def _fill_nearest(
    tree: PointTree,
    start: int,
    stop: int,
    radius2: float,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
) -> None:
    most = _largest(tree, start, stop, indptr)
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(most, np.float64), np.empty(most, np.int32)
    for row in range(start, stop):
        ion = tree.order[row]
        first, n = indptr[ion], indptr[ion + 1] - indptr[ion]
        nearest(tree, row, n, radius2, False, stack, waiting2, distance2, found)
        for j in range(n):
            indices[first + j] = tree.order[found[j]]
            lengths_nm[first + j] = np.sqrt(distance2[j])


@njit(cache=True, nogil=True)
def _fill_kinds(
    tree: PointTree,
    start: int,
    stop: int,
    kind: NDArray[np.int32],
    radius2: NDArray[np.float64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
) -> None:
    most = _largest(tree, start, stop, indptr)
    stack = np.empty(STACK_SIZE, np.int32)
    distance2, found = np.empty(most, np.float64), np.empty(most, np.int32)
    for row in range(start, stop):
        ion = tree.order[row]
        first = indptr[ion]
        n = _gather(tree, row, kind, radius2, stack, distance2, found)
        sort_neighbors(distance2, found, n)
        for j in range(n):
            indices[first + j] = found[j]
            lengths_nm[first + j] = np.sqrt(distance2[j])


@njit(cache=True, nogil=True)
def _largest(tree: PointTree, start: int, stop: int, indptr: NDArray[np.int64]) -> int:
    most = 0
    for row in range(start, stop):
        ion = tree.order[row]
        most = max(most, indptr[ion + 1] - indptr[ion])
    return most


@njit(cache=True, nogil=True)
def _count_kinds(
    tree: PointTree,
    start: int,
    stop: int,
    kind: NDArray[np.int32],
    radius2: NDArray[np.float64],
    degree: NDArray[np.int64],
) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    nothing, nobody = np.empty(0, np.float64), np.empty(0, np.int32)
    for row in range(start, stop):
        ion = tree.order[row]
        degree[ion] = _gather(tree, row, kind, radius2, stack, nothing, nobody)


@njit(cache=True, nogil=True)
def _gather(
    tree: PointTree,
    row: int,
    kind: NDArray[np.int32],
    radius2: NDArray[np.float64],
    stack: NDArray[np.int32],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """Count the ions within reach of a row, and write as many as there is room for."""
    mine = kind[tree.order[row]]
    if mine < 0:
        return 0
    reach2 = radius2[mine].max()
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    n, depth = 0, 1
    stack[0] = 0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if box_distance2(tree.box, node, x, y, z) > reach2:
            continue
        if tree.leaf[node] == 0:
            stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
            depth += 2
            continue
        for i in range(tree.start[node], tree.stop[node]):
            dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
            d2 = dx * dx + dy * dy + dz * dz
            if d2 <= reach2 and i != row:
                other = kind[tree.order[i]]
                if other >= 0 and d2 <= radius2[mine, other]:
                    if n < len(found):
                        distance2[n], found[n] = d2, tree.order[i]
                    n += 1
    return n


@njit(cache=True, nogil=True)
def sort_neighbors(distance2: NDArray[np.float64], found: NDArray[np.int32], n: int) -> None:
    """Sort n neighbors by distance, then index: a heap sort, in place and never quadratic, whatever the cutoff."""
    heap, end = n // 2, n
    while end > 1:
        if heap > 0:
            heap -= 1
        else:
            end -= 1
            distance2[0], distance2[end] = distance2[end], distance2[0]
            found[0], found[end] = found[end], found[0]
        root = heap
        while 2 * root + 1 < end:
            child = 2 * root + 1
            if child + 1 < end and _before(distance2, found, child, child + 1):
                child += 1
            if not _before(distance2, found, root, child):
                break
            distance2[root], distance2[child] = distance2[child], distance2[root]
            found[root], found[child] = found[child], found[root]
            root = child


@njit(cache=True, nogil=True, inline="always")
def _before(distance2: NDArray[np.float64], found: NDArray[np.int32], i: int, j: int) -> bool:
    before: bool = distance2[i] < distance2[j] or (distance2[i] == distance2[j] and found[i] < found[j])
    return before
