"""Bonds: how many an ion has, how long they are, and which angles they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.connectivity.sample import centers
from napari_aptdefect.arrays import as_points, as_vector, read_only
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError, ShapeError


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of a quantity in equal bins, with the moments of the values themselves.

    Parameters
    ----------
    edges
        Shape (n_bins + 1,), float64: edges of the bins, nm or degrees; the last bin holds its upper edge.
    counts
        Shape (n_bins,), int64.
    n
        Number of values, those outside the bins included.
    mean, std
        Mean and standard deviation of all values; NaN where there is none.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    n: int
    mean: float
    std: float

    def __post_init__(self) -> None:
        for name in ("edges", "counts"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def density(self) -> NDArray[np.float64]:
        """Share of the values per unit of the quantity, shape (n_bins,); integrates to the share within the bins."""
        return self.counts / (max(self.n, 1) * np.diff(self.edges))


def coordination(
    graph: NeighborGraph, cutoff_nm: float | None = None, neighbors: ArrayLike | None = None
) -> NDArray[np.int32]:
    """Count the neighbors of each ion within a radius.

    Parameters
    ----------
    graph
        The graph.
    cutoff_nm
        Radius, nm; neighbors on the sphere count. All edges by default.
    neighbors
        Shape (N,), bool: ions that count as neighbors, such as those of one species; all by default.

    Returns
    -------
    Shape (N,), int32. Counts saturate where the graph itself ends: at k neighbors, or at its own cutoff.

    Raises
    ------
    ParameterError
        If the radius is not positive.
    ShapeError
        If `neighbors` has not one value per ion.
    """
    if cutoff_nm is not None and not cutoff_nm > 0:
        raise ParameterError(f"cutoff_nm must be positive, got {cutoff_nm}")
    counted = graph.lengths_nm <= np.float32(np.inf if cutoff_nm is None else cutoff_nm)
    if neighbors is not None:
        counted &= as_vector(neighbors, "neighbors", length=graph.n_nodes, dtype=np.bool_)[graph.indices]
    within = np.concatenate([[0], np.cumsum(counted)])
    counts: NDArray[np.int32] = (within[graph.indptr[1:]] - within[graph.indptr[:-1]]).astype(np.int32)
    return counts


def local_density(graph: NeighborGraph) -> NDArray[np.float64]:
    """Density around each ion from its farthest neighbor in the graph, 1/nm3.

    Parameters
    ----------
    graph
        A graph of nearest neighbors.

    Returns
    -------
    Shape (N,), float64: ``k / (4/3 pi d_k^3)`` with k the ion's degree; NaN without neighbors, inf where all are at the
    ion's place.

    Notes
    -----
    The ion itself does not count. This is 3Depict's density up to the k-th neighbor; for random ions its mean is high
    by k / (k - 1).
    """
    degree = graph.degree
    out = np.full(graph.n_nodes, np.nan)
    known = degree > 0
    farthest = graph.lengths_nm[graph.indptr[1:][known] - 1].astype(np.float64)
    with np.errstate(divide="ignore"):
        out[known] = degree[known] / (4 / 3 * np.pi * farthest**3)
    return out


def bond_lengths(
    graph: NeighborGraph,
    species: ArrayLike | None = None,
    pair: tuple[int, int] | None = None,
    *,
    n_bins: int = 200,
    max_nm: float | None = None,
) -> Histogram:
    """Distribution of the lengths of the edges.

    Parameters
    ----------
    graph
        The graph; an edge in both directions counts twice.
    species
        Shape (N,), integers: species of each ion. Comes with `pair`.
    pair
        Count edges between these two species only, in both directions.
    n_bins
        Number of bins, from 0.
    max_nm
        Upper edge of the last bin, nm; the longest edge by default.

    Raises
    ------
    ParameterError
        If only one of species and pair is given, or the bins are not positive.
    ShapeError
        If there is not one species per ion.
    """
    if (species is None) != (pair is None):
        raise ParameterError("give species and pair together, or neither")
    lengths = graph.lengths_nm
    if species is not None and pair is not None:
        kind = as_vector(species, "species", length=graph.n_nodes, dtype=np.int64)
        a, b = np.repeat(kind, graph.degree), kind[graph.indices]
        lengths = lengths[((a == pair[0]) & (b == pair[1])) | ((a == pair[1]) & (b == pair[0]))]
    values = lengths.astype(np.float64)
    if max_nm is None:
        max_nm = float(values.max(initial=0.0)) or 1.0
    if n_bins < 1 or not max_nm > 0:
        raise ParameterError(f"bins need a positive number and length, got {n_bins} up to {max_nm} nm")
    counts, edges = np.histogram(values, bins=n_bins, range=(0.0, max_nm))
    mean, std = (float(values.mean()), float(values.std())) if len(values) else (float("nan"), float("nan"))
    return Histogram(edges, counts.astype(np.int64), len(values), mean, std)


def bond_angles(
    graph: NeighborGraph,
    xyz_nm: ArrayLike,
    *,
    ions: ArrayLike | None = None,
    n_sample: int = 100_000,
    seed: int = 0,
    n_bins: int = 180,
) -> Histogram:
    """Distribution of the angles between two bonds of an ion, degrees.

    Parameters
    ----------
    graph
        The graph; the bonds of an ion are its edges, without those of no length.
    xyz_nm
        Shape (N, 3), nm: positions of the ions.
    ions
        The ions in the corner of the angles; a seeded sample by default.
    n_sample, seed
        Size at most and seed of the sample.
    n_bins
        Bins from 0 to 180 degrees.

    Raises
    ------
    ShapeError
        If ions and graph differ in number.
    ParameterError
        If an ion asked for does not exist, or the sample or the bins are empty.

    Notes
    -----
    109.47 degrees between the bonds of a tetrahedron. Randomly directed bonds have the density ``sin(angle) / 2``.
    """
    return _angles(graph, xyz_nm, centers(graph, ions, n_sample, seed), n_bins, dihedral=False)


def dihedral_angles(
    graph: NeighborGraph,
    xyz_nm: ArrayLike,
    *,
    ions: ArrayLike | None = None,
    n_sample: int = 10_000,
    seed: int = 0,
    n_bins: int = 180,
) -> Histogram:
    """Distribution of the dihedral angles around the bonds of ions, degrees without sign.

    Parameters
    ----------
    graph, xyz_nm
        As in `bond_angles`.
    ions
        The ions at the first end of the bond in the middle; a seeded sample by default.
    n_sample, seed
        Size at most and seed of the sample.
    n_bins
        Bins from 0 to 180 degrees.

    Raises
    ------
    ShapeError, ParameterError
        As `bond_angles`.

    Notes
    -----
    For each chain of bonds i-j-k-l of four different ions: the angle between the planes i-j-k and j-k-l, 0 where i and
    l are on the same side (eclipsed), 60 and 180 where staggered. Chains with a straight angle have none. In zincblende
    all bonds are staggered; in wurtzite those along c are eclipsed (0 and 120 degrees), which tells the two apart.
    """
    return _angles(graph, xyz_nm, centers(graph, ions, n_sample, seed), n_bins, dihedral=True)


def _angles(
    graph: NeighborGraph, xyz_nm: ArrayLike, chosen: NDArray[np.int64], n_bins: int, *, dihedral: bool
) -> Histogram:
    points = as_points(xyz_nm)
    if len(points) != graph.n_nodes:
        raise ShapeError(f"{len(points)} ions and {graph.n_nodes} graph nodes must be as many")
    if n_bins < 1:
        raise ParameterError(f"n_bins must be at least 1, got {n_bins}")
    counts, sums = np.zeros(n_bins, np.int64), np.zeros(3)
    kernel = _count_dihedrals if dihedral else _count_angles
    kernel(graph.indptr, graph.indices, points, chosen, counts, sums)
    n = int(sums[0])
    mean, std = float("nan"), float("nan")
    if n:
        mean = float(sums[1] / n) + 90.0
        std = float(np.sqrt(max(sums[2] / n - (sums[1] / n) ** 2, 0.0)))
    return Histogram(np.linspace(0, 180, n_bins + 1), counts, n, mean, std)


@njit(cache=True, nogil=True, inline="always")
def _bond(points: NDArray[np.float32], i: int, j: int) -> tuple[float, float, float]:
    return (
        np.float64(points[j, 0]) - points[i, 0],
        np.float64(points[j, 1]) - points[i, 1],
        np.float64(points[j, 2]) - points[i, 2],
    )


@njit(cache=True, nogil=True)
def _add(x: float, y: float, counts: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
    # atan2 of sine and cosine is as exact at 0 and 180 degrees as between; sums are about 90 to keep their digits
    angle = np.degrees(np.arctan2(y, x))
    counts[min(int(angle * len(counts) / 180.0), len(counts) - 1)] += 1
    sums[0] += 1
    sums[1] += angle - 90.0
    sums[2] += (angle - 90.0) ** 2


@njit(cache=True, nogil=True)
def _cross(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit(cache=True, nogil=True)
def _dot(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, nogil=True)
def _count_angles(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    points: NDArray[np.float32],
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    for i in chosen:
        for e in range(indptr[i], indptr[i + 1]):
            a = _bond(points, i, indices[e])
            if _dot(a, a) == 0.0:
                continue
            for f in range(e + 1, indptr[i + 1]):
                b = _bond(points, i, indices[f])
                if _dot(b, b) > 0.0:
                    normal = _cross(a, b)
                    _add(_dot(a, b), np.sqrt(_dot(normal, normal)), counts, sums)


@njit(cache=True, nogil=True)
def _count_dihedrals(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    points: NDArray[np.float32],
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    for j in chosen:
        for middle in range(indptr[j], indptr[j + 1]):
            k = np.int64(indices[middle])  # all int64, so that tuples of them compare
            axis = _bond(points, j, k)
            length = np.sqrt(_dot(axis, axis))
            for e in range(indptr[j], indptr[j + 1]):
                i = np.int64(indices[e])
                if i in (k, j):
                    continue
                a = _bond(points, j, i)
                m = _cross(axis, a)
                if _dot(m, m) <= 1e-12 * length * length * _dot(a, a):
                    continue
                for f in range(indptr[k], indptr[k + 1]):
                    last = np.int64(indices[f])
                    if last in (i, j, k):
                        continue
                    b = _bond(points, k, last)
                    n = _cross(axis, b)
                    if _dot(n, n) > 1e-12 * length * length * _dot(b, b):
                        _add(_dot(m, n), abs(_dot(_cross(m, n), axis)) / length, counts, sums)
