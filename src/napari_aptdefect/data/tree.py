"""A k-d tree of points for compiled kernels, and the loop that runs such kernels block by block.

Stages that search neighbors share it: it is balanced whatever the density, it breaks ties by the lower index, and a
stack of coincident points costs no more than one point.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.stage import Progress, Stage

LEAF_SIZE = 10
"""Points in a leaf at most: 8 to 12 were the fastest at 1e6 points."""

STACK_SIZE = 128
"""Room for the walk: a balanced tree of 2^31 points has 28 levels, each leaves one node waiting."""


class PointTree(NamedTuple):
    """A balanced k-d tree; the children of node i are 2 i + 1 and 2 i + 2.

    Parameters
    ----------
    xyz
        Shape (M, 3), float32, nm: the finite positions in tree order.
    order
        Shape (M,), int32: index of each row of `xyz` in the input.
    start, stop
        Shape (n_nodes,), int32: rows of each node.
    box
        Shape (n_nodes, 6), float32, nm: tight bounds of each node, three minima, then three maxima.
    leaf
        Shape (n_nodes,), uint8: 0 for an inner node, 1 for a leaf, 2 for a leaf whose points coincide (these are in
        ascending order of their index).
    """

    xyz: NDArray[np.float32]
    order: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    box: NDArray[np.float32]
    leaf: NDArray[np.uint8]


def build_tree(xyz_nm: NDArray[np.float32]) -> PointTree:
    """Build the tree of the finite positions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), float32, nm. Rows that are not finite are left out.

    Returns
    -------
    The tree; `order` counts rows of `xyz_nm`.

    Examples
    --------
    >>> tree = build_tree(np.zeros((3, 3), np.float32))
    >>> tree.order.tolist(), int(tree.leaf[0])
    ([0, 1, 2], 2)
    """
    order = np.flatnonzero(finite_rows(xyz_nm)).astype(np.int32)
    xyz = np.ascontiguousarray(xyz_nm[order], dtype=np.float32)
    levels = 0
    while len(order) > LEAF_SIZE << levels:
        levels += 1
    n_nodes = (2 << levels) - 1
    tree = PointTree(
        xyz,
        order,
        np.zeros(n_nodes, np.int32),
        np.zeros(n_nodes, np.int32),
        np.zeros((n_nodes, 6), np.float32),
        np.zeros(n_nodes, np.uint8),
    )
    if len(order):
        _build(tree, n_nodes >> 1)
    return tree


def tree_spacing(tree: PointTree) -> float:
    """Typical spacing of the points, nm: the edge of a cube per point at the median local density; 0 at one place.

    Notes
    -----
    The local density is that of the ball up to the twelfth neighbor, taken at up to 2,000 points spread evenly over the
    tree, so that neither empty space around them nor a dense grain changes the scale.
    """
    n = len(tree.order)
    if n < 2:
        return 0.0
    k = min(12, n - 1)
    rows = np.unique(np.linspace(0, n - 1, min(n, 2000)).astype(np.int64))
    distance = np.empty(len(rows))
    kth_distance(tree, rows, k, distance)
    return float(np.median(distance) * (4 / 3 * np.pi / k) ** (1 / 3))


def run_blocks(
    work: Callable[[int, int], object], n_rows: int, *, block: int, message: str, workers: int | None = None
) -> Stage[None]:
    """Call ``work(start, stop)`` for all rows in blocks on threads; closing the generator cancels what is left.

    Parameters
    ----------
    work
        A function that releases the interpreter lock and writes its rows only, so that neither the blocks nor the
        threads can change the result.
    n_rows
        Number of rows.
    block
        Rows in a block.
    message
        What is being done, for the progress line.
    workers
        Number of threads; all processors by default.

    Yields
    ------
    `Progress` in rows, after each block.
    """
    n_workers = workers or available_processors()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="aptdefect")
    waiting: deque[tuple[int, Future[object]]] = deque()
    try:
        yield Progress(0, n_rows, message)
        starts = iter(range(0, n_rows, block))
        for start in starts:
            stop = min(start + block, n_rows)
            waiting.append((stop, pool.submit(work, start, stop)))
            if len(waiting) > 2 * n_workers:
                yield from _finish(waiting, n_rows, message)
        while waiting:
            yield from _finish(waiting, n_rows, message)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_processors() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _finish(waiting: deque[tuple[int, Future[object]]], n_rows: int, message: str) -> Generator[Progress, None, None]:
    stop, future = waiting.popleft()
    future.result()
    yield Progress(stop, n_rows, message)


@njit(cache=True, nogil=True)
def _build(tree: PointTree, first_leaf: int) -> None:
    tree.stop[0] = len(tree.order)
    for node in range(len(tree.leaf)):
        start, stop = tree.start[node], tree.stop[node]
        axis, extent = 0, np.float32(-1.0)
        for a in range(3):
            low, high = np.float32(np.inf), np.float32(-np.inf)
            for i in range(start, stop):
                low = min(low, tree.xyz[i, a])
                high = max(high, tree.xyz[i, a])
            tree.box[node, a] = low
            tree.box[node, 3 + a] = high
            if high - low > extent:
                axis, extent = a, high - low
        if extent <= 0:
            tree.leaf[node] = 2
            tree.order[start:stop] = np.sort(tree.order[start:stop])
        elif node >= first_leaf:
            tree.leaf[node] = 1
        else:
            middle = (start + stop) // 2
            _select(tree.xyz, tree.order, start, stop, middle, axis)
            tree.start[2 * node + 1], tree.stop[2 * node + 1] = start, middle
            tree.start[2 * node + 2], tree.stop[2 * node + 2] = middle, stop


@njit(cache=True, nogil=True)
def _select(xyz: NDArray[np.float32], order: NDArray[np.int32], start: int, stop: int, middle: int, axis: int) -> None:
    # Hoare's selection: afterwards no row before `middle` lies above a row from `middle` on
    left, right = start, stop - 1
    while left < right:
        a, b, c = xyz[left, axis], xyz[(left + right) // 2, axis], xyz[right, axis]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while xyz[i, axis] < pivot:
                i += 1
            while xyz[j, axis] > pivot:
                j -= 1
            if i <= j:
                for k in range(3):
                    xyz[i, k], xyz[j, k] = xyz[j, k], xyz[i, k]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            right = j
        elif middle >= i:
            left = i
        else:
            return


@njit(cache=True, nogil=True, inline="always")
def box_distance2(box: NDArray[np.float32], node: int, x: float, y: float, z: float) -> float:
    """Squared distance from a point to the box of a node, nm2; 0 inside."""
    dx = max(box[node, 0] - x, 0.0, x - box[node, 3])
    dy = max(box[node, 1] - y, 0.0, y - box[node, 4])
    dz = max(box[node, 2] - z, 0.0, z - box[node, 5])
    distance2: float = dx * dx + dy * dy + dz * dz
    return distance2


@njit(cache=True, nogil=True)
def insert_sorted(
    tree: PointTree,
    row: int,
    d2: float,
    n: int,
    k: int,
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """Insert a row in a list of the k nearest, by distance and then by index; return the new length of the list."""
    if n < k:
        n += 1
    elif d2 == distance2[k - 1] and tree.order[row] > tree.order[found[k - 1]]:
        return n
    j = n - 1
    while j > 0 and (distance2[j - 1] > d2 or (distance2[j - 1] == d2 and tree.order[found[j - 1]] > tree.order[row])):
        distance2[j], found[j] = distance2[j - 1], found[j - 1]
        j -= 1
    distance2[j], found[j] = d2, row
    return n


@njit(cache=True, nogil=True)
def nearest(
    tree: PointTree,
    row: int,
    k: int,
    radius2: float,
    apart: bool,
    stack: NDArray[np.int32],
    waiting2: NDArray[np.float64],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """Find the k nearest rows of the tree around one of its rows, nearest first, ties by the lower index.

    Parameters
    ----------
    tree
        The tree.
    row
        Row of `tree.xyz` in the center; it is not its own neighbor.
    k
        Number of neighbors at most.
    radius2
        Squared radius, nm2; a point on the sphere counts.
    apart
        Leave out points that coincide with the center.
    stack, waiting2
        Room for the walk: shapes (STACK_SIZE,).
    distance2, found
        Shape (k,) or longer: squared distances in nm2 and rows of the neighbors, written here.

    Returns
    -------
    Number of neighbors found.
    """
    if k <= 0:
        return 0
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    n, worst = 0, radius2
    depth = 1
    stack[0], waiting2[0] = 0, 0.0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if waiting2[depth] > worst:
            continue
        if tree.leaf[node] == 0:
            left, right = 2 * node + 1, 2 * node + 2
            to_left = box_distance2(tree.box, left, x, y, z)
            to_right = box_distance2(tree.box, right, x, y, z)
            if to_left > to_right:
                left, right, to_left, to_right = right, left, to_right, to_left
            if to_right <= worst:
                stack[depth], waiting2[depth] = right, to_right
                depth += 1
            if to_left <= worst:
                stack[depth], waiting2[depth] = left, to_left
                depth += 1
            continue
        stop = tree.stop[node]
        if tree.leaf[node] == 2:
            stop = min(stop, tree.start[node] + k + 1)
        for i in range(tree.start[node], stop):
            dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
            d2 = dx * dx + dy * dy + dz * dz
            if d2 <= worst and i != row and (d2 > 0.0 or not apart):
                n = insert_sorted(tree, i, d2, n, k, distance2, found)
                if n == k:
                    worst = distance2[k - 1]
    return n


@njit(cache=True, nogil=True)
def count_within(
    tree: PointTree, x: float, y: float, z: float, radius2: float, at_most: int, stack: NDArray[np.int32]
) -> int:
    """Count the points within a squared radius around a place, and stop counting at `at_most`."""
    n, depth = 0, 1
    stack[0] = 0
    while depth > 0 and n < at_most:
        depth -= 1
        node = stack[depth]
        if box_distance2(tree.box, node, x, y, z) > radius2:
            continue
        if tree.leaf[node] == 0:
            stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
            depth += 2
        elif tree.leaf[node] == 2:
            n += tree.stop[node] - tree.start[node]
        else:
            for i in range(tree.start[node], tree.stop[node]):
                dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
                if dx * dx + dy * dy + dz * dz <= radius2:
                    n += 1
    return min(n, at_most)


@njit(cache=True, nogil=True)
def kth_distance(tree: PointTree, rows: NDArray[np.int64], k: int, out: NDArray[np.float64]) -> None:
    """Write, for each of the given rows, the distance of its k-th (or last) neighbor apart from it, nm."""
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(k, np.float64), np.empty(k, np.int32)
    for i in range(len(rows)):
        n = nearest(tree, rows[i], k, np.inf, True, stack, waiting2, distance2, found)
        out[i] = np.sqrt(distance2[n - 1]) if n else 0.0
