"""Connected objects: ions of one kind that hang together by short steps, or by the edges of a graph."""

from __future__ import annotations

import itertools
import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError

_REACH: Final = 2  # cells that a link can cross: the edge of a cell is the link distance over sqrt(3)


def connected_objects(
    xyz_nm: NDArray[np.float32], cluster: NDArray[np.integer], link_nm: float, min_ions: int = 1
) -> NDArray[np.int32]:
    """Number the connected components of the ions of each cluster.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm, finite.
    cluster
        Cluster of each ion, shape (N,); negative for none. Ions of different clusters are never linked.
    link_nm
        Longest link, nm.
    min_ions
        Components with fewer ions get no number.

    Returns
    -------
    Component of each ion, shape (N,), int32: from 1, the largest first (the one with the earliest ion among equals);
    0 for none.

    Raises
    ------
    ParameterError
        If the link distance is not positive, or so short that the cells can't be numbered.

    Notes
    -----
    Exact. Cells whose diagonal is the link distance make all ions of one cell and cluster one group at once; two groups
    are compared ion by ion only until one link between them is found, so that the work hardly grows with the number of
    pairs within the distance (after Gan & Tao 2015, doi 10.1145/2723372.2737792).
    """
    if not link_nm > 0:
        raise ParameterError(f"link_nm must be positive, got {link_nm}")
    out = np.zeros(len(xyz_nm), np.int32)
    rows = np.flatnonzero(cluster >= 0)
    if len(rows) == 0:
        return out
    xyz = np.ascontiguousarray(xyz_nm[rows], np.float64)
    _, kind = np.unique(cluster[rows], return_inverse=True)
    key, steps = _keys(xyz, kind.astype(np.int64), link_nm)
    order = np.argsort(key, kind="stable")
    groups, start = np.unique(key[order], return_index=True)
    bounds = np.append(start, len(rows)).astype(np.int64)
    parent = _join(xyz[order], groups, bounds, steps, link_nm * link_nm)
    label = np.empty(len(rows), np.int64)
    label[order] = np.repeat(parent, np.diff(bounds))
    out[rows] = _by_size(label, min_ions)
    return out


def connected_kinds(graph: NeighborGraph, kind: NDArray[np.integer], min_ions: int = 1) -> NDArray[np.int32]:
    """Number the connected components of the ions of each kind in a graph.

    Parameters
    ----------
    graph
        The graph; the direction of edges doesn't matter.
    kind
        Kind of each ion, shape (N,); negative for none. Edges between ions of different kinds join nothing.
    min_ions
        Components with fewer ions get no number.

    Returns
    -------
    Component of each ion, shape (N,), int32: from 1, the largest first (the one with the earliest ion among equals);
    0 for none.

    Raises
    ------
    ShapeError
        If there is not one kind per ion of the graph.

    Examples
    --------
    >>> graph = NeighborGraph(np.array([0, 1, 2, 2]), np.array([1, 2], np.int32), np.ones(2, np.float32))
    >>> connected_kinds(graph, np.array([4, 4, 2])).tolist()
    [1, 1, 2]
    """
    of = as_vector(kind, "kind", length=graph.n_nodes, dtype=np.int32)
    out = np.zeros(len(of), np.int32)
    rows = np.flatnonzero(of >= 0)
    if len(rows):
        out[rows] = _by_size(_join_kinds(graph.indptr, graph.indices, of, rows)[rows], min_ions)
    return out


def _keys(
    xyz: NDArray[np.float64], kind: NDArray[np.int64], link_nm: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One number per cell and cluster, and the steps from a cell to half of those around it."""
    edge = link_nm / math.sqrt(3.0) * (1 - 1e-9)  # a little less, so that rounding makes no group wider than a link
    cell = np.floor((xyz - xyz.min(axis=0)) / edge) + _REACH
    shape = cell.max(axis=0) + _REACH + 1  # a rim, so that no step wraps around
    if float(np.prod(shape)) * (float(kind.max()) + 1) > 2.0**62:
        raise ParameterError(
            f"link_nm = {link_nm} is too short for positions that extend over {np.ptp(xyz, axis=0).max():.3g} nm; "
            "choose a longer one or look for ions far away"
        )
    _, ny, nz = (int(n) for n in shape)
    whole = cell.astype(np.int64)
    key = ((kind * int(shape[0]) + whole[:, 0]) * ny + whole[:, 1]) * nz + whole[:, 2]
    around = range(-_REACH, _REACH + 1)
    steps = sorted((dx * ny + dy) * nz + dz for dx, dy, dz in itertools.product(around, around, around))
    return key, np.array(steps[len(steps) // 2 + 1 :], np.int64)  # the other half are the same pairs


def _by_size(label: NDArray[np.int64], min_ions: int) -> NDArray[np.int32]:
    _, first, inverse, size = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    number = np.zeros(len(size), np.int32)
    kept = np.lexsort((first, -size))
    kept = kept[size[kept] >= min_ions]
    number[kept] = np.arange(1, len(kept) + 1)
    return number[inverse]


@njit(cache=True, nogil=True)
def root_of(parent: NDArray[np.int64], i: int) -> int:
    """Root of a node of a union-find forest, whose paths are halved on the way; for compiled kernels."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _join_kinds(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], kind: NDArray[np.int32], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Root of each ion after all edges between ions of one kind are made."""
    parent = np.arange(len(kind))
    for i in rows:
        for e in range(indptr[i], indptr[i + 1]):
            if kind[indices[e]] == kind[i]:
                a, b = root_of(parent, i), root_of(parent, indices[e])
                parent[max(a, b)] = min(a, b)
    for i in rows:
        parent[i] = root_of(parent, i)
    return parent


@njit(cache=True, nogil=True)
def _linked(xyz: NDArray[np.float64], a0: int, a1: int, b0: int, b1: int, limit: float) -> bool:
    for i in range(a0, a1):
        for j in range(b0, b1):
            dx = xyz[i, 0] - xyz[j, 0]
            dy = xyz[i, 1] - xyz[j, 1]
            dz = xyz[i, 2] - xyz[j, 2]
            if dx * dx + dy * dy + dz * dz <= limit:
                return True
    return False


@njit(cache=True, nogil=True)
def _join(
    xyz: NDArray[np.float64],
    groups: NDArray[np.int64],
    bounds: NDArray[np.int64],
    steps: NDArray[np.int64],
    limit: float,
) -> NDArray[np.int64]:
    """Root of each group after all links are made."""
    n = len(groups)
    parent = np.arange(n)
    for step in steps:
        other = 0
        for group in range(n):  # both ascend, so one pass finds all pairs that are a step apart
            wanted = groups[group] + step
            while other < n and groups[other] < wanted:
                other += 1
            if other == n:
                break
            if groups[other] != wanted:
                continue
            a, b = root_of(parent, group), root_of(parent, other)
            if a != b and _linked(xyz, bounds[group], bounds[group + 1], bounds[other], bounds[other + 1], limit):
                parent[max(a, b)] = min(a, b)
    for group in range(n):
        parent[group] = root_of(parent, group)
    return parent
