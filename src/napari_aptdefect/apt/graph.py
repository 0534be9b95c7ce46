"""The neighbor graph of the ions: nearest neighbors or all within a radius, exact and in bounded memory."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csgraph

from napari_aptdefect.arrays import as_points, as_vector
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.tree import (
    STACK_SIZE,
    PointTree,
    box_distance2,
    build_tree,
    count_within,
    nearest,
    run_blocks,
)
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Stage, param

_BLOCK = 8192


class GraphParams(Params):
    """Parameters of `build_graph`."""

    mode: Literal["knn", "cutoff"] = param(
        "knn",
        title="Neighbors",
        description="knn: the nearest neighbors of each ion; cutoff: all ions within a radius.",
    )
    k: int = param(
        24,
        title="Number of neighbors",
        description="Neighbors of each ion in the mode knn. 24 reach past the second shell of a close packing (18).",
        ge=1,
        le=256,
    )
    max_length_nm: float | None = param(
        None,
        title="Longest edge",
        description="In the mode knn, leave out neighbors that are farther. Empty: keep all.",
        unit="nm",
        gt=0,
        le=1000,
    )
    cutoff_nm: float = param(
        0.6,
        title="Cutoff radius",
        description="Radius of the neighborhood in the mode cutoff; ions on the sphere count.",
        unit="nm",
        gt=0,
        le=1000,
    )
    max_edges: int = param(
        1_000_000_000,
        title="Most edges",
        description="Stop before the graph is built when it would have more edges (8 bytes each).",
        ge=1,
        le=1_000_000_000_000,
    )


def build_graph(
    xyz_nm: ArrayLike, params: GraphParams | None = None, *, workers: int | None = None
) -> Stage[NeighborGraph]:
    """Build the neighbor graph of ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions become nodes without edges.
    params
        The parameters.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in ions.

    Returns
    -------
    The graph. In the mode cutoff it is symmetric; in the mode knn it is directed, and an ion has fewer than k neighbors
    only where fewer other ions (within the longest edge) exist.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ParameterError
        If the graph would have more than `max_edges` edges or 2^31 nodes.

    Notes
    -----
    Distances are Euclidean, computed in float64 from float32 positions. Neighbors are sorted by distance, and where
    distances tie, at the k-th neighbor too, the lower index comes first. An ion is not its own neighbor; another ion at
    the same place is a neighbor at distance 0. Memory beyond the graph is 40 bytes per ion.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> graph = drain(build_graph([[0, 0, 0], [0, 0, 1], [0, 0, 3]], GraphParams(k=1)))
    >>> graph.indices.tolist(), graph.lengths_nm.tolist()
    ([1, 0, 1], [1.0, 1.0, 2.0])
    """
    params = params or GraphParams()
    points = as_points(xyz_nm)
    if len(points) >= 2**31:
        raise ParameterError(f"{len(points)} ions are more than one graph can number (2^31); process tiles")
    tree = build_tree(points)
    n_rows = len(tree.order)
    if n_rows == 0:
        raise EmptySelectionError(f"none of {len(points)} ions has a finite position, so there is no neighbor graph")
    capped = params.mode == "knn"
    reach = params.max_length_nm if capped else params.cutoff_nm
    radius2 = np.inf if reach is None else reach * reach
    most = min(params.k, n_rows - 1) if capped else n_rows - 1
    degree = np.zeros(len(points), np.int64)
    if reach is None:
        degree[tree.order] = most
    else:

        def count(start: int, stop: int) -> None:
            _count_rows(tree, start, stop, radius2, most, degree)

        yield from run_blocks(count, n_rows, block=_BLOCK, message="Counting neighbors", workers=workers)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)])
    if indptr[-1] > params.max_edges:
        raise ParameterError(
            f"the graph would have {indptr[-1]:,} edges, {indptr[-1] / len(points):.0f} per ion, more than max_edges = "
            f"{params.max_edges:,}; lower the radius or the number of neighbors, or raise max_edges"
        )
    indices, lengths = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)

    def fill(start: int, stop: int) -> None:
        _fill_rows(tree, start, stop, radius2, capped, indptr, indices, lengths)

    yield from run_blocks(fill, n_rows, block=_BLOCK, message="Finding neighbors", workers=workers)
    return NeighborGraph(indptr, indices, lengths)


def connected_components(
    graph: NeighborGraph, mask: ArrayLike | None = None, max_length_nm: float | None = None
) -> tuple[int, NDArray[np.int32]]:
    """Number the groups of ions that hang together by edges.

    Parameters
    ----------
    graph
        The graph; the direction of edges doesn't matter.
    mask
        Shape (N,), bool: ions that take part; all by default.
    max_length_nm
        Longest edge that joins, nm; all edges by default.

    Returns
    -------
    The number of groups and the group of each ion, shape (N,), int32, in the order of their first ions; -1 where the
    mask is False.

    Raises
    ------
    ShapeError
        If the mask has not one value per ion.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> graph = drain(build_graph([[0, 0, 0], [0, 0, 1], [0, 0, 5]], GraphParams(mode="cutoff", cutoff_nm=2.0)))
    >>> connected_components(graph)[1].tolist()
    [0, 0, 1]
    """
    n = graph.n_nodes
    taken = np.ones(n, bool) if mask is None else as_vector(mask, "mask", length=n, dtype=np.bool_)
    keep = taken[graph.indices]
    if max_length_nm is not None:
        keep &= graph.lengths_nm <= max_length_nm
    source = np.repeat(np.arange(n, dtype=np.int32), graph.degree)
    keep &= taken[source]
    links = coo_array((np.ones(keep.sum(), np.bool_), (source[keep], graph.indices[keep])), shape=(n, n))
    raw = csgraph.connected_components(links.tocsr(), directed=False)[1]
    labels = np.full(n, -1, np.int32)
    if not taken.any():
        return 0, labels
    _, first, inverse = np.unique(raw[taken], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    labels[taken] = rank[inverse]
    return len(first), labels


def coordination(graph: NeighborGraph, cutoff_nm: float) -> NDArray[np.int32]:
    """Count the neighbors of each ion within a radius.

    Parameters
    ----------
    graph
        The graph, with neighbors sorted nearest first.
    cutoff_nm
        Radius, nm; neighbors on the sphere count.

    Returns
    -------
    Shape (N,), int32. Counts saturate where the graph itself ends: at k neighbors, or at its own cutoff.

    Raises
    ------
    ParameterError
        If the radius is not positive.
    """
    if not cutoff_nm > 0:
        raise ParameterError(f"cutoff_nm must be positive, got {cutoff_nm}")
    within = np.concatenate([[0], np.cumsum(graph.lengths_nm <= np.float32(cutoff_nm))])
    counts: NDArray[np.int32] = (within[graph.indptr[1:]] - within[graph.indptr[:-1]]).astype(np.int32)
    return counts


@njit(cache=True, nogil=True)
def _count_rows(tree: PointTree, start: int, stop: int, radius2: float, most: int, degree: NDArray[np.int64]) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    for row in range(start, stop):
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        degree[tree.order[row]] = count_within(tree, x, y, z, radius2, most + 1, stack) - 1


@njit(cache=True, nogil=True)
def _fill_rows(
    tree: PointTree,
    start: int,
    stop: int,
    radius2: float,
    capped: bool,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
) -> None:
    most = 0
    for row in range(start, stop):
        ion = tree.order[row]
        most = max(most, indptr[ion + 1] - indptr[ion])
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(most, np.float64), np.empty(most, np.int32)
    for row in range(start, stop):
        ion = tree.order[row]
        first, n = indptr[ion], indptr[ion + 1] - indptr[ion]
        if capped:
            nearest(tree, row, n, radius2, False, stack, waiting2, distance2, found)
            for j in range(n):
                found[j] = tree.order[found[j]]
        else:
            _gather(tree, row, radius2, stack, distance2, found)
            _sort(distance2, found, n)
        for j in range(n):
            indices[first + j] = found[j]
            lengths_nm[first + j] = np.sqrt(distance2[j])


@njit(cache=True, nogil=True)
def _gather(
    tree: PointTree,
    row: int,
    radius2: float,
    stack: NDArray[np.int32],
    distance2: NDArray[np.float64],
    found: NDArray[np.int32],
) -> None:
    x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
    n, depth = 0, 1
    stack[0] = 0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if box_distance2(tree.box, node, x, y, z) > radius2:
            continue
        if tree.leaf[node] == 0:
            stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
            depth += 2
            continue
        for i in range(tree.start[node], tree.stop[node]):
            dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
            d2 = dx * dx + dy * dy + dz * dz
            if d2 <= radius2 and i != row:
                distance2[n], found[n] = d2, tree.order[i]
                n += 1


@njit(cache=True, nogil=True)
def _sort(distance2: NDArray[np.float64], found: NDArray[np.int32], n: int) -> None:
    # heap sort by distance, then index: in place and never quadratic, whatever the cutoff
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
