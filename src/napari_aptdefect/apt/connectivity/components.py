"""Connected components of the graph, and how they grow together with the length of the edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.data.components import root_of
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError


@dataclass(frozen=True, eq=False)
class Percolation:
    """How the ions grow together as longer edges join them.

    Parameters
    ----------
    cutoff_nm
        Shape (n,), float64, nm, ascending: longest edge that joins.
    largest_fraction
        Shape (n,), float64: part of the ions that is in the largest component.
    n_components
        Shape (n,), int64: number of components, ions alone included.
    mean_size
        Shape (n,), float64: mean size of the component of an ion outside the largest one, ``sum s^2 / sum s``; 0 where
        no ion is outside.
    n_ions
        Number of ions that take part.
    """

    cutoff_nm: NDArray[np.float64]
    largest_fraction: NDArray[np.float64]
    n_components: NDArray[np.int64]
    mean_size: NDArray[np.float64]
    n_ions: int

    def __post_init__(self) -> None:
        for name in ("cutoff_nm", "largest_fraction", "n_components", "mean_size"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def threshold_nm(self) -> float:
        """The cutoff where the mean size outside the largest component peaks: the percolation threshold, nm."""
        return float(self.cutoff_nm[np.argmax(self.mean_size)])


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
    >>> graph = NeighborGraph(np.array([0, 1, 2, 2]), np.array([1, 0], np.int32), np.ones(2, np.float32))
    >>> connected_components(graph)[1].tolist()
    [0, 0, 1]
    """
    taken = _taken(graph, mask)
    root = np.arange(graph.n_nodes)
    longest = np.inf if max_length_nm is None else max_length_nm
    _join(graph.indptr, graph.indices, graph.lengths_nm, taken, np.float32(longest), root)
    labels = np.full(graph.n_nodes, -1, np.int32)
    n = _number(root, taken, labels)
    return n, labels


def percolation(graph: NeighborGraph, cutoffs_nm: ArrayLike, mask: ArrayLike | None = None) -> Percolation:
    """Follow the components of the graph as longer and longer edges join the ions.

    Parameters
    ----------
    graph
        The graph, with all edges up to the largest cutoff; the direction of edges doesn't matter.
    cutoffs_nm
        Shape (n,), nm: positive and ascending, 30,000 at most.
    mask
        Shape (N,), bool: ions that take part, such as those of a solute; all by default.

    Returns
    -------
    The components at each cutoff.

    Raises
    ------
    ParameterError
        If the cutoffs are not positive and ascending, or no ion takes part.
    ShapeError
        If the mask has not one value per ion.

    Notes
    -----
    Edges are added shortest first to a union-find forest, so that all cutoffs cost hardly more than one. Below the
    threshold the largest component is a vanishing part of the ions, above it a finite one; the mean size of the others
    diverges there in an infinite specimen (D. Stauffer and A. Aharony, Introduction to Percolation Theory, 2nd ed.,
    1994, sections 2.2 and 3.1). For randomly placed points the threshold is where an ion has 2.74 neighbors within the
    cutoff in the mean (overlapping spheres: C. D. Lorenz and R. M. Ziff, J. Chem. Phys. 114, 3659 (2001),
    doi:10.1063/1.1338506). A solute percolates at shorter cutoffs where it clusters.
    """
    cutoffs = np.asarray(cutoffs_nm, np.float64).ravel()
    if not len(cutoffs) or not (cutoffs > 0).all() or not (np.diff(cutoffs) > 0).all() or len(cutoffs) > 30_000:
        raise ParameterError("cutoffs_nm must be positive and ascending, 1 to 30,000 of them")
    taken = _taken(graph, mask)
    n_ions = int(taken.sum())
    if n_ions == 0:
        raise ParameterError("no ion takes part in the percolation; check the mask")
    step = np.searchsorted(cutoffs.astype(np.float32), graph.lengths_nm).astype(np.int16)
    order = np.argsort(step, kind="stable")
    ends = np.cumsum(np.bincount(step, minlength=len(cutoffs)))[: len(cutoffs)]
    out = np.zeros((3, len(cutoffs)))
    source = np.repeat(np.arange(graph.n_nodes, dtype=np.int32), graph.degree)
    _grow(source, graph.indices, order, ends, taken, n_ions, out)
    return Percolation(cutoffs, out[0] / n_ions, out[1].astype(np.int64), out[2], n_ions)


def _taken(graph: NeighborGraph, mask: ArrayLike | None) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(graph.n_nodes, bool)
    return as_vector(mask, "mask", length=graph.n_nodes, dtype=np.bool_)


@njit(cache=True, nogil=True)
def _join(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
    taken: NDArray[np.bool_],
    longest: float,
    parent: NDArray[np.int64],
) -> None:
    for i in range(len(indptr) - 1):
        if taken[i]:
            for e in range(indptr[i], indptr[i + 1]):
                j = indices[e]
                if taken[j] and lengths_nm[e] <= longest:
                    a, b = root_of(parent, i), root_of(parent, j)
                    parent[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def _number(parent: NDArray[np.int64], taken: NDArray[np.bool_], labels: NDArray[np.int32]) -> int:
    # the root of a group is its first ion, so it has its number before any other ion of the group
    n = 0
    for i in range(len(parent)):
        if taken[i]:
            top = root_of(parent, i)
            if top == i:
                labels[i] = n
                n += 1
            else:
                labels[i] = labels[top]
    return n


@njit(cache=True, nogil=True)
def _grow(
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    order: NDArray[np.int64],
    ends: NDArray[np.int64],
    taken: NDArray[np.bool_],
    n_ions: int,
    out: NDArray[np.float64],
) -> None:
    parent = np.arange(len(taken))
    size = np.ones(len(taken), np.int64)
    largest, n_groups, squares = 1, n_ions, np.float64(n_ions)
    done = 0
    for step in range(len(ends)):
        for e in order[done : ends[step]]:
            i, j = source[e], target[e]
            if not (taken[i] and taken[j]):
                continue
            a, b = root_of(parent, i), root_of(parent, j)
            if a != b:
                if size[a] < size[b]:
                    a, b = b, a
                squares += 2.0 * size[a] * size[b]
                parent[b] = a
                size[a] += size[b]
                largest = max(largest, size[a])
                n_groups -= 1
        done = ends[step]
        out[0, step], out[1, step] = largest, n_groups
        if n_ions > largest:
            out[2, step] = (squares - np.float64(largest) ** 2) / (n_ions - largest)
