"""What of a cloud is drawn: a seeded, stratified sample of bounded size.

A window can draw some 10^5 points fluently and a cloud has 10^7 ions, so the drawn points are a sample that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError

DRAWN_IONS: Final = 200_000
"""Number of drawn ions when the user says nothing."""

DRAWN_IONS_MAX: Final = 2_000_000
"""Largest number of drawn ions that can be asked for."""

_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class DrawnSample:
    """Which ions are drawn.

    Parameters
    ----------
    ion_idx
        Indices of the drawn ions in the cloud, shape (n,), int64, ascending.
    n_ions
        Number of ions of the cloud.
    """

    ion_idx: NDArray[np.int64]
    n_ions: int

    def __len__(self) -> int:
        return len(self.ion_idx)

    @property
    def caption(self) -> str:
        """What a layer or a picture must say, such as ``"drawn 200,000 of 18,412,003"``."""
        return f"drawn {len(self):,} of {self.n_ions:,}"


@dataclass(frozen=True, eq=False)
class DrawnIons:
    """The drawn ions of a cloud with what a window needs to know of them.

    Parameters
    ----------
    sample
        Which ions are drawn.
    xyz_nm
        Their positions, shape (n, 3), float32, nm.
    mass_da
        Their mass-to-charge ratios, shape (n,), float32, Da.
    species_idx
        Their index into the ions of the range table, shape (n,), int16, -1 where no range holds them; None
        without ranges.
    lower_nm, upper_nm
        Corners of the box around all ions of the cloud, shape (3,), nm.
    """

    sample: DrawnSample
    xyz_nm: NDArray[np.float32]
    mass_da: NDArray[np.float32]
    species_idx: NDArray[np.int16] | None
    lower_nm: NDArray[np.float64]
    upper_nm: NDArray[np.float64]


def draw_sample(
    n_ions: int,
    *,
    species_idx: NDArray[np.integer[Any]] | None = None,
    defect: NDArray[np.integer[Any]] | None = None,
    budget: int = DRAWN_IONS,
    seed: int = 0,
) -> DrawnSample:
    """Choose the ions to draw, at most `budget`, keeping every ion of a rare species and of a defect.

    Parameters
    ----------
    n_ions
        Number of ions of the cloud.
    species_idx
        Species of each ion, shape (n_ions,), -1 where no range holds it; None treats all ions alike.
    defect
        Defect instance of each ion, shape (n_ions,), 0 in the matrix; None when no defects are known.
    budget
        Largest number of drawn ions.
    seed
        Seed of the choice; the same seed gives the same ions.

    Returns
    -------
    The indices of the chosen ions, ascending.

    Raises
    ------
    ParameterError
        If the budget is below 1.
    ShapeError
        If an array does not hold one value per ion.

    Notes
    -----
    Every defect, and the matrix ions of every species, is one stratum. Defects come first: their ions are all kept
    when they fit; if they don't, the small defects stay whole and the large ones are cut to one common size. Of what is
    left, half is set aside for rare species: one is rare when its ions fit into its equal part of that half. The other
    species share the rest in proportion to their numbers. Within a stratum, one ion is drawn from each of as many
    equal pieces of the file as there are ions to draw; because the file is in the order of evaporation, this samples
    the depth of the specimen more evenly than independent draws. The time is linear in the number of ions and the
    memory beyond the result does not grow with it.

    Examples
    --------
    >>> import numpy as np
    >>> species = np.zeros(100_000, np.int16)
    >>> species[::10_000] = 1
    >>> sample = draw_sample(100_000, species_idx=species, budget=1_000)
    >>> sample.caption, int(np.count_nonzero(species[sample.ion_idx]))
    ('drawn 1,000 of 100,000', 10)
    """
    if budget < 1:
        raise ParameterError(f"the number of drawn ions must be 1 or more, got {budget}")
    for name, values in (("species_idx", species_idx), ("defect", defect)):
        if values is not None and values.shape != (n_ions,):
            raise ShapeError(f"{name} must have shape ({n_ions},), one value per ion, got {values.shape}")
    if n_ions <= budget:
        return DrawnSample(read_only(np.arange(n_ions, dtype=np.int64)), n_ions)
    strata = _Strata(n_ions, species_idx, defect)
    quota = _quotas(strata.sizes, strata.n_species, budget)
    return DrawnSample(read_only(_pick(strata, quota, np.random.default_rng(seed))), n_ions)


def draw_cloud(
    cloud: IonCloud, ranges: RangeTable | None = None, *, budget: int = DRAWN_IONS, seed: int = 0
) -> DrawnIons:
    """Draw a sample of a cloud without holding all its positions in memory.

    Parameters
    ----------
    cloud
        The cloud; it is read in chunks.
    ranges
        Gives each ion its species; without them all ions are alike.
    budget
        Largest number of drawn ions.
    seed
        Seed of the choice.

    Returns
    -------
    The drawn ions; ions without a finite position are never drawn.

    Raises
    ------
    EmptySelectionError
        If no ion has a finite position.
    """
    species: NDArray[np.int16] | None = None
    if ranges is not None:
        species = np.empty(len(cloud), np.int16)
        for start, stop in cloud.chunks(_CHUNK):
            species[start:stop] = ranges.assign(cloud.read("mass_da", start, stop))
    sample = draw_sample(len(cloud), species_idx=species, budget=budget, seed=seed)
    xyz = np.empty((len(sample), 3), np.float32)
    mass = np.empty(len(sample), np.float32)
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    for start, stop in cloud.chunks(_CHUNK):
        block = cloud.read("xyz_nm", start, stop)
        lower, upper = widen(block, lower, upper)
        a, b = np.searchsorted(sample.ion_idx, (start, stop))
        xyz[a:b] = block[sample.ion_idx[a:b] - start]
        mass[a:b] = cloud.read("mass_da", start, stop)[sample.ion_idx[a:b] - start]
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.any():
        raise EmptySelectionError(f"none of the {len(cloud)} ions has a finite position, so nothing can be drawn")
    if not finite.all():
        sample = DrawnSample(read_only(sample.ion_idx[finite]), sample.n_ions)
        xyz, mass = xyz[finite], mass[finite]
    drawn_species = None if species is None else species[sample.ion_idx]
    return DrawnIons(sample, xyz, mass, drawn_species, lower, upper)


class _Strata:
    """Number of the stratum of each ion, made chunk by chunk: first the species, then the defects."""

    def __init__(
        self, n_ions: int, species: NDArray[np.integer[Any]] | None, defect: NDArray[np.integer[Any]] | None
    ) -> None:
        self._n_ions, self._species, self._defect = n_ions, species, defect
        self.n_species = 1 if species is None else int(species.max(initial=-1)) + 2
        n_defects = 0 if defect is None else max(int(defect.max(initial=0)), 0)
        n_strata = self.n_species + n_defects
        # numpy sorts 16-bit numbers by radix, which is what makes the choice fast
        self._dtype: type[np.signedinteger[Any]] = np.int16 if n_strata < 2**15 else np.int32
        self.sizes = np.zeros(n_strata, np.int64)
        for _, codes in self.chunks():
            self.sizes += np.bincount(codes, minlength=n_strata)

    def chunks(self) -> Iterator[tuple[int, NDArray[np.integer[Any]]]]:
        """Yield the first ion of a chunk and the strata of its ions."""
        for start in range(0, self._n_ions, _CHUNK):
            stop = min(start + _CHUNK, self._n_ions)
            if self._species is None:
                codes = np.zeros(stop - start, self._dtype)
            else:
                codes = (self._species[start:stop] + 1).astype(self._dtype, copy=False)
            if self._defect is not None:
                block = self._defect[start:stop]
                hits = np.flatnonzero(block > 0)
                codes[hits] = (block[hits] + (self.n_species - 1)).astype(self._dtype)
            yield start, codes


def _quotas(sizes: NDArray[np.int64], n_species: int, budget: int) -> NDArray[np.int64]:
    """How many ions to draw from each stratum; sums to the budget, as there are more ions than that."""
    quota = sizes.copy()
    species, defects = quota[:n_species], quota[n_species:]
    if defects.sum() >= budget:
        defects[:] = _level(defects, budget)
        species[:] = 0
        return quota
    left = budget - int(defects.sum())
    common = species > left // (2 * n_species)
    left -= int(species[~common].sum())
    species[common] = _proportional(species[common], left)
    return quota


def _level(sizes: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Cut the largest groups to one common size so that all together hold `budget`; small groups stay whole."""
    order = np.argsort(sizes, kind="stable")
    out = np.zeros_like(sizes)
    for rank, group in enumerate(order):
        out[group] = min(int(sizes[group]), budget // (len(order) - rank))
        budget -= int(out[group])
    return out


def _proportional(sizes: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Share the budget in proportion to the sizes, by largest remainder."""
    exact = sizes * (budget / max(int(sizes.sum()), 1))
    out: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), sizes)
    for group in np.argsort(out - exact, kind="stable")[: budget - int(out.sum())]:
        out[group] = min(int(out[group]) + 1, int(sizes[group]))
    return out


def _pick(strata: _Strata, quota: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the chosen ions: for every stratum the chosen ranks within it, found chunk by chunk."""
    ranks = [_ranks(int(size), int(n), rng) for size, n in zip(strata.sizes, quota, strict=True)]
    seen = np.zeros(len(quota), np.int64)
    taken = np.zeros(len(quota), np.int64)
    picked: list[NDArray[np.int64]] = []
    for start, codes in strata.chunks():
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(quota))
        firsts = np.cumsum(counts) - counts
        here = []
        for stratum in np.flatnonzero(counts):
            wanted = ranks[stratum][taken[stratum] :]
            wanted = wanted[: np.searchsorted(wanted, seen[stratum] + counts[stratum])]
            taken[stratum] += len(wanted)
            here.append(order[firsts[stratum] + wanted - seen[stratum]])
        seen += counts
        picked.append(start + np.sort(np.concatenate(here)))
    return np.concatenate(picked)


def _ranks(size: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One random rank out of each of n equal pieces of 0..size, ascending."""
    if n == size:
        return np.arange(size, dtype=np.int64)
    edges = np.arange(n + 1, dtype=np.int64) * size // max(n, 1)
    return np.asarray(rng.integers(edges[:-1], edges[1:]), np.int64)


def widen(
    xyz: NDArray[np.floating[Any]], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the box around `xyz` and the box that is there already; what is not finite is left out."""
    if not np.isfinite(xyz).all():
        xyz = xyz[np.isfinite(xyz).all(axis=1)]
    if len(xyz) == 0:
        return lower, upper
    return np.minimum(lower, xyz.min(axis=0)), np.maximum(upper, xyz.max(axis=0))
