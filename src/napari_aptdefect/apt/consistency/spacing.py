"""Ions at one place, and pairs of ions closer than atoms can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import stats

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, count_within, kth_distance, run_blocks
from napari_aptdefect.stage import Stage

_BLOCK: Final = 1 << 16
_K: Final = 20  # neighbors that give the local density
_N_SAMPLE: Final = 20_000
_RARE: Final = 1e-3  # probability of as many close pairs by chance below which they are an excess


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Ions at the position of another one.

    Parameters
    ----------
    multiplicity
        Shape (N,), int32: ions at the position, 1 for an ion alone, 0 at a non-finite position.
    is_copy
        Shape (N,), bool: an ion before this one has its position.
    n_same_mass
        Copies whose mass-to-charge ratio is that of an ion before them at their position; -1 without masses.
    n_by_chance
        Copies expected from the rounding of the coordinates.
    rounding_nm
        Shape (3,): smallest steps of the coordinates in a sample, nm.
    """

    multiplicity: NDArray[np.int32]
    is_copy: NDArray[np.bool_]
    n_same_mass: int
    n_by_chance: float
    rounding_nm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClosePairs:
    """Pairs closer than a spacing, without those at one place.

    Parameters
    ----------
    n_close
        Shape (N,), int32: ions that are too close to each ion.
    n_pairs
        Number of pairs.
    n_expected
        Pairs that randomly placed ions of the same local densities have.
    excess
        Share of the pairs that chance does not explain, 0 where they are no significant excess.
    """

    n_close: NDArray[np.int32]
    n_pairs: int
    n_expected: float
    excess: float


def find_duplicates(xyz_nm: NDArray[np.float32], mass_da: NDArray[np.float32] | None, density_nm3: float) -> Duplicates:
    """Find ions at the very same float32 position as another one.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    mass_da
        Mass-to-charge ratios, shape (N,), Da, or None.
    density_nm3
        Typical density, ions/nm3.
    """
    rows = np.flatnonzero(finite_rows(xyz_nm))
    xyz = xyz_nm[rows] + np.float32(0)  # makes -0.0 equal to 0.0
    order = np.lexsort((rows, *xyz.T))
    same = np.zeros(len(rows), np.bool_)
    same[1:] = (xyz[order[1:]] == xyz[order[:-1]]).all(axis=1)
    group = np.cumsum(~same) - 1
    multiplicity, is_copy = np.zeros(len(xyz_nm), np.int32), np.zeros(len(xyz_nm), np.bool_)
    multiplicity[rows[order]] = np.bincount(group)[group] if len(group) else 0
    is_copy[rows[order]] = same
    n_same_mass = -1
    if mass_da is not None:
        stacked = multiplicity[rows[order]] > 1
        pairs = np.column_stack([group[stacked].astype(np.float64), mass_da[rows[order]][stacked]])
        n_same_mass = len(pairs) - len(np.unique(pairs, axis=0))
    steps = np.array([_least_step(xyz[:, axis]) for axis in range(3)])
    n_by_chance = 0.5 * len(rows) * density_nm3 * float(steps.prod())
    return Duplicates(multiplicity, is_copy, n_same_mass, n_by_chance, steps)


def find_close_pairs(
    xyz_nm: NDArray[np.float32], tree: PointTree, multiplicity: NDArray[np.int32], spacing_nm: float, factor: float
) -> Stage[ClosePairs]:
    """Find the pairs closer than a spacing, and compare their number with that of randomly placed ions.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    tree
        Their tree.
    multiplicity
        Ions at each ion's position, shape (N,).
    spacing_nm
        Least spacing, nm.
    factor
        How many times the expected number makes an excess.

    Yields
    ------
    Progress over the ions.

    Notes
    -----
    N ions of local densities rho_i have sum rho_i 2/3 pi r^3 pairs within r by chance. Blur wider than r makes the pair
    distribution flat below r, so measured ions have about as many; an excess has another cause (a file that was
    joined with itself and rounded, one hit that was recorded twice). The local density is that of the ball up to the
    20th neighbor, (k - 1) / (4/3 pi d^3), without bias for random ions.
    """
    n_close = np.zeros(len(xyz_nm), np.int32)
    if spacing_nm > 0:
        yield from run_blocks(
            lambda start, stop: _count_close(tree, start, stop, spacing_nm * spacing_nm, multiplicity, n_close),
            len(tree.order),
            block=_BLOCK,
            message="spacings",
        )
    n_pairs = int(n_close.sum(dtype=np.int64)) // 2
    expected = 2 / 3 * np.pi * spacing_nm**3 * float(local_densities(tree).mean() * len(tree.order))
    rare = float(stats.poisson.sf(n_pairs - 1, expected)) < _RARE
    excess = 1 - expected / n_pairs if n_pairs and rare and n_pairs >= factor * expected else 0.0
    return ClosePairs(n_close, n_pairs, expected, max(excess, 0.0))


def local_densities(tree: PointTree) -> NDArray[np.float64]:
    """Density around ions spread evenly over the tree, shape (at most 20,000,), ions/nm3."""
    n = len(tree.order)
    k = min(_K, n - 1)
    if k < 2:
        return np.zeros(1)
    rows = np.unique(np.linspace(0, n - 1, min(n, _N_SAMPLE)).astype(np.int64))
    distance = np.empty(len(rows))
    kth_distance(tree, rows, k, distance)
    with np.errstate(divide="ignore"):
        density = (k - 1) / (4 / 3 * np.pi * distance**3)
    return np.asarray(np.where(distance > 0, density, 0.0))


def _least_step(values: NDArray[np.float32]) -> float:
    """Smallest difference of two values of a sample, nm."""
    sample = np.unique(values[:: max(1, len(values) // 100_000)].astype(np.float64))
    return float(np.diff(sample).min()) if len(sample) > 1 else 0.0


@njit(cache=True, nogil=True)
def _count_close(
    tree: PointTree,
    start: int,
    stop: int,
    radius2: float,
    multiplicity: NDArray[np.int32],
    n_close: NDArray[np.int32],
) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    inner = np.nextafter(radius2, 0.0)  # closer than the spacing, not at it
    for row in range(start, stop):
        ion = tree.order[row]
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        n_close[ion] = count_within(tree, x, y, z, inner, 2147483647, stack) - multiplicity[ion]
