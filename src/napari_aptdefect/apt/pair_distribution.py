"""The pair distribution g(r) of a finite specimen, and the cutoff radius it suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull, QhullError

from napari_aptdefect.arrays import as_points, as_vector, finite_rows, read_only
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, box_distance2, build_tree, run_blocks
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Stage, param

_N_DIRECTIONS = 64
_TWELVE = 12.0  # neighbors in a close packing
_PEAK = 0.1  # a shell stands out by this much over g = 1, and by five counting errors
_BLOCK = 512


class PairDistributionParams(Params):
    """Parameters of `pair_distribution`."""

    r_max_nm: float | None = param(
        None,
        title="Largest distance",
        description="g(r) is computed up to here. Empty: 3 mean spacings.",
        unit="nm",
        gt=0,
        le=100,
    )
    n_bins: int = param(150, title="Bins", description="Number of distance bins.", ge=10, le=10_000)
    n_sample: int = param(
        20_000,
        title="Sampled ions",
        description="Ions in the centers at most; their neighbors are taken from all ions.",
        ge=1,
        le=10_000_000,
    )
    seed: int = param(0, title="Seed", description="Seed of the sample.", ge=0, le=2**32 - 1)


@dataclass(frozen=True, eq=False)
class PairDistribution:
    """The pair distribution function of a specimen.

    Parameters
    ----------
    r_nm
        Shape (n_bins,), float64, nm: centers of the bins, which start at 0 and are equally wide.
    g
        Shape (n_bins,), float64: pair density over that of a uniform specimen of the same shape.
    g_error
        Shape (n_bins,), float64: counting error of g, one standard deviation of a Poisson count.
    n_within
        Shape (n_bins,), float64: mean number of neighbors of an ion in the bulk up to the outer edge of each bin.
    density_nm3
        Ions per nm3 within the hull.
    n_sampled
        Number of ions in the centers.
    """

    r_nm: NDArray[np.float64]
    g: NDArray[np.float64]
    g_error: NDArray[np.float64]
    n_within: NDArray[np.float64]
    density_nm3: float
    n_sampled: int

    def __post_init__(self) -> None:
        for name in ("r_nm", "g", "g_error", "n_within"):
            object.__setattr__(self, name, read_only(getattr(self, name)))


@dataclass(frozen=True)
class Cutoff:
    """A cutoff radius and the rule that gave it.

    Parameters
    ----------
    cutoff_nm
        The radius, nm.
    n_neighbors
        Mean number of detected neighbors within it.
    n_atoms
        Mean number of atoms around an atom within it, detected or not: the coordination.
    rule
        How the radius was found.
    """

    cutoff_nm: float
    n_neighbors: float
    n_atoms: float
    rule: Literal["first minimum of g(r)", "mean of 12 neighbors"]


def pair_distribution(
    xyz_nm: ArrayLike,
    params: PairDistributionParams | None = None,
    *,
    local_density_nm3: ArrayLike | None = None,
    workers: int | None = None,
) -> Stage[PairDistribution]:
    """Compute g(r) around a seeded sample of ions, corrected for the finite specimen.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm. Ions at non-finite positions are left out.
    params
        The parameters.
    local_density_nm3
        Shape (N,): smooth density at each ion, ions/nm3, for a specimen whose density varies; NaN where an ion shall be
        no center, because it lies closer to the surface than the largest distance. Without it the specimen counts as
        uniform within its convex hull.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in sampled ions.

    Returns
    -------
    The pair distribution; 1 everywhere for random ions.

    Raises
    ------
    EmptySelectionError
        If fewer than two positions are finite.
    ParameterError
        If the ions lie in one plane or on one line, so that they enclose no volume, or a local density is not positive.
    ShapeError
        If there is not one local density per ion.

    Notes
    -----
    ``g(r) = sum_i n_i(r) / (rho sum_i V_i(r))`` with n_i the neighbors of ion i in the bin and V_i the part of the
    bin's shell that lies inside the convex hull of the ions, found along 64 directions [1]_, [2]_: the weight that a
    uniform specimen of the same shape has. The density is that of the ions inside the hull, without those that span it
    [3]_. A specimen that is not convex, or whose density changes over its length, keeps that in its g(r); a perfect
    crystal with flat facets has atoms in the hull itself, which adds a few percent where it is few cells wide.
    With a local density ``g(r) = sum_i n_i(r) / (V(r) sum_i rho_i)`` over inner ions, whose shells are whole.

    References
    ----------
    .. [1] B. D. Ripley, J. R. Stat. Soc. B 39, 172 (1977), doi:10.1111/j.2517-6161.1977.tb01615.x
    .. [2] A. J. Baddeley et al., Appl. Stat. 42, 641 (1993), doi:10.2307/2986181
    .. [3] B. D. Ripley and J.-P. Rasson, J. Appl. Probab. 14, 483 (1977), doi:10.2307/3213451
    """
    params = params or PairDistributionParams()
    points = as_points(xyz_nm)
    finite = finite_rows(points)
    if finite.sum() < 2:
        raise EmptySelectionError(f"g(r) needs two ions at finite positions, got {finite.sum()}")
    local = None if local_density_nm3 is None else _local(local_density_nm3, finite)
    points = points[finite]
    tree = build_tree(points)
    space = _Uniform(points) if local is None else _Varying(local[tree.order])
    r_max = params.r_max_nm or 3 * space.density ** (-1 / 3)
    rng = np.random.default_rng(params.seed)
    n_sampled = min(params.n_sample, len(space.candidates))
    rows = np.sort(rng.choice(space.candidates, n_sampled, replace=False))
    counts = np.zeros((-(-n_sampled // _BLOCK), params.n_bins), np.int64)
    weight = np.zeros((len(counts), params.n_bins))
    edges = np.linspace(0, r_max, params.n_bins + 1)

    def work(start: int, stop: int) -> None:
        block = start // _BLOCK
        _count_pairs(tree, rows[start:stop], r_max, counts[block])
        weight[block] = space.weight(tree, rows[start:stop], edges)

    yield from run_blocks(work, n_sampled, block=_BLOCK, message="Pair distribution", workers=workers)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    expected = shell * weight.sum(axis=0)
    found = counts.sum(axis=0)
    known = expected > 0
    g = np.divide(found, expected, out=np.full(params.n_bins, np.nan), where=known)
    # every pair of sampled ions is counted from both ends, so the count has up to twice the variance of its pairs
    part = 1 + n_sampled / len(points)
    error = np.divide(np.sqrt(found * part), expected, out=np.full(params.n_bins, np.nan), where=known)
    density = space.density
    n_within = np.cumsum(np.nan_to_num(g) * density * shell)
    return PairDistribution(0.5 * (edges[1:] + edges[:-1]), g, error, n_within, float(density), n_sampled)


class _Uniform:
    """A specimen of one density within its convex hull; every ion can be a center."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        hull = _hull(points)
        self.density = float((len(points) - len(hull.vertices)) / hull.volume)
        if self.density <= 0:
            raise EmptySelectionError(f"all {len(points)} ions lie on their own convex hull, none inside; give more")
        self.candidates = np.arange(len(points))
        self._planes, self._directions = hull.equations, _directions(_N_DIRECTIONS)

    def weight(self, tree: PointTree, rows: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ions that are expected per nm3 of each shell, summed over the centers."""
        exits = _exits(tree.xyz[rows], self._planes, self._directions, float(edges[-1]))
        inside = np.searchsorted(-exits, -0.5 * (edges[1:] + edges[:-1])) / _N_DIRECTIONS
        return np.asarray(self.density * inside, np.float64)


class _Varying:
    """A specimen of varying density; centers are the ions where it is known, and their shells are whole."""

    def __init__(self, local: NDArray[np.float64]) -> None:
        self._local = local
        self.candidates = np.flatnonzero(np.isfinite(local))
        self.density = float(local[self.candidates].mean())

    def weight(self, tree: PointTree, rows: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ions that are expected per nm3 of each shell, summed over the centers."""
        return np.full(len(edges) - 1, self._local[rows].sum())


def _local(local_density_nm3: ArrayLike, finite: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Local density of the ions at finite positions, checked."""
    local = as_vector(local_density_nm3, "local_density_nm3", length=len(finite), dtype=np.float64)[finite]
    known = np.isfinite(local)
    if not known.any():
        raise EmptySelectionError("no ion has a local density, so g(r) has no center; give densities of inner ions")
    if not (local[known] > 0).all():
        raise ParameterError(f"local_density_nm3 must be positive or NaN, got {local[known].min()}")
    return local


def suggest_cutoff(distribution: PairDistribution, efficiency: float = 1.0) -> Cutoff:
    """Suggest a cutoff radius for a neighbor graph.

    Parameters
    ----------
    distribution
        The pair distribution.
    efficiency
        Detection efficiency, over 0 to 1: the part of the atoms that became ions.

    Returns
    -------
    The first minimum after the first peak where a peak stands out (10 % over g = 1 and five counting errors, before a
    dip of as much), as in a crystal; else, as in a blurred cloud, the radius with 12 atoms in the mean.

    Raises
    ------
    ParameterError
        If there is no such peak and the distribution ends before 12 atoms, or the efficiency is not over 0 to 1.

    Notes
    -----
    Losing atoms at random thins pairs and density alike, ``g`` stays as it was and so does its first minimum; the
    number of neighbors becomes ``n_atoms = n_neighbors / efficiency``. Only the second rule, which counts, depends on
    the efficiency: without the correction its radius is too large by ``efficiency^(-1/3)``. Losses that depend on the
    species or the place (evaporation between pulses, multi-hits, poles) are not corrected.
    """
    if not 0 < efficiency <= 1:
        raise ParameterError(f"efficiency must be over 0 and at most 1, got {efficiency}")
    r, g = distribution.r_nm, gaussian_filter1d(np.nan_to_num(distribution.g), 1.0)
    error = np.nan_to_num(distribution.g_error)
    shell = _first_shell(g, error)
    if shell is not None:
        n_neighbors = float(distribution.n_within[shell])
        return Cutoff(float(r[shell]), n_neighbors, n_neighbors / efficiency, "first minimum of g(r)")
    n_atoms = distribution.n_within / efficiency
    if n_atoms[-1] < _TWELVE:
        raise ParameterError(
            f"g(r) shows no shell up to {r[-1]:.3g} nm and holds only {n_atoms[-1]:.1f} neighbors; raise r_max_nm"
        )
    outer = r + 0.5 * (r[1] - r[0])
    radius = float(np.interp(_TWELVE, n_atoms, outer))
    return Cutoff(radius, _TWELVE * efficiency, _TWELVE, "mean of 12 neighbors")


def _first_shell(g: NDArray[np.float64], error: NDArray[np.float64]) -> int | None:
    """Bin of the first minimum after the first peak that stands out, or None."""
    stands_out = np.flatnonzero(g > 1 + np.maximum(_PEAK, 5 * error))
    if not len(stands_out):
        return None
    peak, lowest = int(stands_out[0]), -1
    for i in range(peak + 1, len(g)):
        depth = max(_PEAK, 5 * error[peak], 5 * error[i])
        if g[i] > g[peak] and lowest < 0:
            peak = i
        elif g[peak] - g[i] >= depth and (lowest < 0 or g[i] < g[lowest]):
            lowest = i
        elif lowest >= 0 and g[i] - g[lowest] >= depth:
            return _middle(g, lowest)
    return None


def _middle(g: NDArray[np.float64], lowest: int) -> int:
    # between the sharp shells of a crystal g is flat at 0: stay clear of both
    last = lowest
    while last + 1 < len(g) and g[last + 1] == g[lowest]:
        last += 1
    return (lowest + last) // 2


def _hull(points: NDArray[np.float32]) -> ConvexHull:
    try:
        return ConvexHull(points.astype(np.float64))
    except (QhullError, ValueError) as error:
        raise ParameterError(
            f"the {len(points)} ions enclose no volume (they lie on a plane, a line or a point), so g(r) has no scale"
        ) from error


def _directions(n: int) -> NDArray[np.float64]:
    """Spread n unit vectors evenly over the sphere (Fibonacci lattice), shape (n, 3)."""
    z = 1 - (2 * np.arange(n) + 1) / n
    phi = np.pi * (1 + 5**0.5) * np.arange(n)
    rho = np.sqrt(1 - z * z)
    return np.column_stack([rho * np.cos(phi), rho * np.sin(phi), z])


def _exits(
    centers: NDArray[np.float32], planes: NDArray[np.float64], directions: NDArray[np.float64], r_max: float
) -> NDArray[np.float64]:
    """Distances from centers to where rays leave the hull, descending, at most a bit over r_max; shape (n * 64,)."""
    depth = np.maximum(-(centers @ planes[:, :3].T + planes[:, 3]), 0.0)
    exits = np.full((len(centers), len(directions)), 1.01 * r_max)
    slope = planes[:, :3] @ directions.T
    for facet in np.flatnonzero((depth < r_max).any(axis=0)):
        close = np.flatnonzero(depth[:, facet] < r_max)
        out = np.flatnonzero(slope[facet] > 0)
        where = np.ix_(close, out)
        exits[where] = np.minimum(exits[where], depth[close, facet, None] / slope[facet, out])
    return -np.sort(-exits, axis=None)


@njit(cache=True, nogil=True)
def _count_pairs(tree: PointTree, rows: NDArray[np.int64], r_max: float, counts: NDArray[np.int64]) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    per_nm = len(counts) / r_max
    for row in rows:
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        depth = 1
        stack[0] = 0
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if box_distance2(tree.box, node, x, y, z) >= r_max * r_max:
                continue
            if tree.leaf[node] == 0:
                stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
                depth += 2
                continue
            for i in range(tree.start[node], tree.stop[node]):
                dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
                r = np.sqrt(dx * dx + dy * dy + dz * dz)
                if r < r_max and i != row:
                    counts[min(int(r * per_nm), len(counts) - 1)] += 1
