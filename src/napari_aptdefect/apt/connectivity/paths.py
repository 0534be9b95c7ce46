"""Paths along bonds: how many ions are so many bonds away, and which rings the bonds close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.connectivity.sample import centers
from napari_aptdefect.arrays import read_only
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError


@dataclass(frozen=True, eq=False)
class RingStatistics:
    """Sizes of the rings through pairs of bonds.

    Parameters
    ----------
    counts
        Shape (max_size + 1,), int64: number of pairs of bonds whose shortest ring has so many ions.
    n_open
        Pairs of bonds that no ring up to the largest size closes.
    n_ions
        Ions whose pairs of bonds were looked at.
    """

    counts: NDArray[np.int64]
    n_open: int
    n_ions: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", read_only(self.counts))

    @property
    def mean_size(self) -> float:
        """Mean size of the closed rings, ions; NaN where there is none."""
        n = int(self.counts.sum())
        return float(self.counts @ np.arange(len(self.counts)) / n) if n else float("nan")


def coordination_sequence(
    graph: NeighborGraph,
    n_shells: int = 6,
    *,
    ions: ArrayLike | None = None,
    n_sample: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Mean number of ions that are 1, 2, ... bonds away from an ion by the shortest path.

    Parameters
    ----------
    graph
        The graph.
    n_shells
        Number of bonds up to which to walk.
    ions
        The ions to start from; a seeded sample by default.
    n_sample, seed
        Size at most and seed of the sample.

    Returns
    -------
    Shape (n_shells,), float64; NaN without ions to start from.

    Raises
    ------
    ParameterError
        If an ion asked for does not exist, or the sample or the shells are empty.

    Notes
    -----
    Diamond has 4, 12, 24, 42, 64; wurtzite (lonsdaleite) 4, 12, 25, 44, 67 (G. O. Brunner and F. Laves,
    Wiss. Z. Techn. Univ. Dresden 20, 387 (1971); OEIS A008253 and A008264). Steps end at the surface: start from ions
    that are farther from it.
    """
    if n_shells < 1:
        raise ParameterError(f"n_shells must be at least 1, got {n_shells}")
    chosen = centers(graph, ions, n_sample, seed)
    found = np.zeros(n_shells, np.int64)
    _walk(graph.indptr, graph.indices, chosen, found)
    return found / len(chosen) if len(chosen) else np.full(n_shells, np.nan)


def ring_statistics(
    graph: NeighborGraph,
    max_size: int = 12,
    *,
    ions: ArrayLike | None = None,
    n_sample: int = 1000,
    seed: int = 0,
) -> RingStatistics:
    """Count the shortest rings through each pair of bonds of ions.

    Parameters
    ----------
    graph
        The graph of the bonds, symmetric; meant for a few bonds per ion, not for 24 neighbors.
    max_size
        Largest ring to look for, ions.
    ions
        The ions whose pairs of bonds are looked at; a seeded sample by default.
    n_sample, seed
        Size at most and seed of the sample.

    Raises
    ------
    ParameterError
        If an ion asked for does not exist, the sample is empty or the rings have fewer than three ions.

    Notes
    -----
    The ring of two bonds of an ion is the shortest path between their far ends that avoids the ion (King's criterion
    [1]_). In diamond and wurtzite each of the six pairs of bonds of an atom is closed by rings of six atoms.

    References
    ----------
    .. [1] S. V. King, Nature 213, 1112 (1967), doi:10.1038/2131112a0
    """
    if max_size < 3:
        raise ParameterError(f"max_size must be at least 3, got {max_size}")
    chosen = centers(graph, ions, n_sample, seed)
    counts = np.zeros(max_size + 1, np.int64)
    n_open = _close(graph.indptr, graph.indices, chosen, max_size, counts)
    return RingStatistics(counts, int(n_open), len(chosen))


@njit(cache=True, nogil=True)
def _walk(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], chosen: NDArray[np.int64], found: NDArray[np.int64]
) -> None:
    seen = np.full(len(indptr) - 1, -1, np.int64)
    queue = np.empty(len(indptr) - 1, np.int32)
    for start in range(len(chosen)):
        queue[0] = chosen[start]
        seen[chosen[start]] = start
        first, last = 0, 1
        for shell in range(len(found)):
            stop = last
            for q in range(first, stop):
                for e in range(indptr[queue[q]], indptr[queue[q] + 1]):
                    if seen[indices[e]] != start:
                        seen[indices[e]] = start
                        queue[last] = indices[e]
                        last += 1
            found[shell] += last - stop
            first = stop


@njit(cache=True, nogil=True)
def _close(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    chosen: NDArray[np.int64],
    max_size: int,
    counts: NDArray[np.int64],
) -> int:
    n_open, mark = 0, 0
    seen = np.full(len(indptr) - 1, -1, np.int64)
    ahead = np.full(len(indptr) - 1, -1, np.int64)
    bonds = np.zeros(len(indptr) - 1, np.int32)
    queue = np.empty(len(indptr) - 1, np.int32)
    for i in chosen:
        for e in range(indptr[i], indptr[i + 1]):
            # one search from this neighbor, around the ion, serves all pairs with later ones
            mark += 1
            wanted = 0
            for f in range(e + 1, indptr[i + 1]):
                ahead[indices[f]] = mark
                wanted += 1
            seen[i], seen[indices[e]] = mark, mark
            bonds[indices[e]] = 0
            queue[0] = indices[e]
            first, last = 0, 1
            while first < last and wanted > 0 and bonds[queue[first]] < max_size - 2:
                at = queue[first]
                first += 1
                for f in range(indptr[at], indptr[at + 1]):
                    j = indices[f]
                    if seen[j] != mark:
                        seen[j] = mark
                        bonds[j] = bonds[at] + 1
                        queue[last] = j
                        last += 1
                        wanted -= ahead[j] == mark
            for f in range(e + 1, indptr[i + 1]):
                if seen[indices[f]] == mark:
                    counts[bonds[indices[f]] + 2] += 1
                else:
                    n_open += 1
    return n_open
