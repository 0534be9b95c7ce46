"""Background of the mass spectrum: what of the counts of each range arrived by chance, or late from another peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.ranging.gaps import QUIET_SHARE, Level, count_masses_between
from napari_aptdefect.apt.ranging.tails import sides_of, tails_under
from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.data.composition import Composition, composition_of_counts
from napari_aptdefect.data.ranges import MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.stage import Params, Stage, param

_ROUGH: Final = 2.0
_TOP_SHARE: Final = 0.999


class MassBackgroundParams(Params):
    """Parameters of the background of the mass spectrum."""

    lowest_da: float = param(
        0.5,
        title="From",
        description="Lighter ions tell nothing of the background: no ion is lighter than 1H+.",
        unit="Da",
        ge=0.0,
        le=100.0,
    )
    highest_da: float = param(
        200.0,
        title="To",
        description="Heavier ions tell nothing of the background. Where the heaviest range or the measurement ends "
        "before, so does this.",
        unit="Da",
        gt=0.0,
        le=10_000.0,
    )
    tails: bool = param(
        True,
        title="Tails",
        description="Add what the tail of an earlier peak brings into a range, told by the unranged masses beside it.",
    )
    margin_da: float = param(
        0.5,
        title="Margin",
        description="How far from a range the unranged masses that tell of a tail may lie.",
        unit="Da",
        gt=0.0,
        le=10.0,
    )


@dataclass(frozen=True, eq=False)
class MassBackground:
    """Background under each range; which ion of a range is background can't be told.

    Parameters
    ----------
    ranges
        Intervals that don't overlap, ascending, as `RangeTable.disjoint` gives them.
    counts
        Shape (n_ranges,), int64: ions in each.
    flat, tail
        Shape (n_ranges,), float64: expected ions among them that arrived at random, and that are late ones of an
        earlier peak.
    tail_error
        Shape (n_ranges,), float64: standard error of `tail`.
    flat_width
        Shape (n_ranges,), float64: `flat` per unit of `level`, sqrt(Da).
    level, level_error
        Random arrivals per sqrt(Da), and its standard error.
    from_da, to_da
        Where the level was measured, Da.
    n_windows, n_quiet
        Windows of the spectrum that were looked at, and those of them that show nothing but background.
    dispersion
        Variance of the counts in the quiet windows over that of chance; 1 where the background is flat.
    n_total
        Ions in the spectrum.
    issues
        What makes the result doubtful.
    """

    ranges: tuple[MassRange, ...]
    counts: NDArray[np.int64]
    flat: NDArray[np.float64]
    tail: NDArray[np.float64]
    tail_error: NDArray[np.float64]
    flat_width: NDArray[np.float64]
    level: float
    level_error: float
    from_da: float
    to_da: float
    n_windows: int
    n_quiet: int
    dispersion: float
    n_total: int
    issues: tuple[Issue, ...] = ()

    @property
    def background(self) -> NDArray[np.float64]:
        """Expected background among the counts, shape (n_ranges,)."""
        return np.asarray(self.flat + self.tail)

    @property
    def background_error(self) -> NDArray[np.float64]:
        """Standard error of that expectation, shape (n_ranges,)."""
        return np.hypot(self.flat_width * self.level_error, self.tail_error)

    @property
    def net(self) -> NDArray[np.float64]:
        """Counts less background, shape (n_ranges,); below zero where there are fewer ions than expected by chance."""
        return np.asarray(self.counts - self.background)

    @property
    def net_error(self) -> NDArray[np.float64]:
        """Standard error of the net counts, of counting and of the background, shape (n_ranges,).

        Where fewer ions were counted than expected, counting has the error of what was expected.
        """
        return np.asarray(np.sqrt(np.maximum(self.counts, self.background) + self.background_error**2))

    @property
    def signal_to_noise(self) -> NDArray[np.float64]:
        """Net counts over their standard error, shape (n_ranges,); NaN where nothing was counted or expected."""
        error = self.net_error
        return np.asarray(np.divide(self.net, error, out=np.full(len(error), np.nan), where=error > 0))

    @property
    def probability(self) -> NDArray[np.float64]:
        """Probability that an ion of the range is background, shape (n_ranges,); NaN for an empty range."""
        share = np.divide(self.background, self.counts, out=np.full(len(self.counts), np.nan), where=self.counts > 0)
        return np.asarray(np.minimum(share, 1.0))

    @property
    def random_share(self) -> float:
        """Random arrivals from `from_da` to `to_da`, in ranges or not, as a share of all ions."""
        return self.level * float(np.sqrt(self.to_da) - np.sqrt(self.from_da)) / max(self.n_total, 1)

    def of_ions(self, n_ions: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Background of each ion of the range table and its variance, both of shape (n_ions,).

        Ranges of one ion share the error of the level, so those errors are added before they are squared.
        """
        idx = np.array([item.ion_idx for item in self.ranges], np.int64)
        total = np.bincount(idx, self.background, n_ions).astype(np.float64)
        width = np.bincount(idx, self.flat_width, n_ions)
        variance = (width * self.level_error) ** 2 + np.bincount(idx, self.tail_error**2, n_ions)
        return total, np.asarray(variance, np.float64)

    def composition(self, table: RangeTable) -> Composition:
        """Composition of the ranged ions less their background; see `composition_of_counts`."""
        idx = np.array([item.ion_idx for item in self.ranges], np.int64)
        counts = np.bincount(idx, self.counts, len(table.ions))
        return composition_of_counts(table, counts, *self.of_ions(len(table.ions)))


def estimate_mass_background(
    mass_da: ArrayLike, table: RangeTable, params: MassBackgroundParams | None = None
) -> Stage[MassBackground]:
    """Estimate the background of a mass spectrum under each range.

    Parameters
    ----------
    mass_da
        Mass-to-charge ratios, shape (N,), Da; NaN belongs nowhere.
    table
        The ranges.
    params
        Parameters; the defaults when None.

    Raises
    ------
    EmptySelectionError
        If the table holds no range, or no part of the spectrum is free of ranges.

    Notes
    -----
    Hits without a pulse arrive at any time alike, and the time of flight t grows with sqrt(m) [1, 2]:

        dN/dt = const,  t ~ sqrt(m)   =>   dN/dm = level / (2 sqrt(m)),   N(a, b) = level (sqrt(b) - sqrt(a))

    The spectrum is cut into windows equally wide in sqrt(m). The lowest fifth of the unranged rates starts the level;
    windows that rise 2.5 standard deviations above it hold a peak or a tail and are left out, and the level is the mean
    of the others, until none is left out or taken in any more. The end of the time window moves with the voltage [3],
    so nothing is taken from far beyond the heaviest range.

    The tail of an earlier peak decays across a range. Its rates above the level in the two halves of the margin before
    the range give an exponential, and so do the rates before and behind the range; the mean of their integrals over the
    range is added, half their difference is part of the error. Where the rate rises toward the range, that is the flank
    of its own peak; where there is more behind the range than before it, its own tail: then that pair tells nothing.
    Nothing is added for what doesn't stand 3 standard deviations above the level.

    References
    ----------
    [1] B. Gault et al., *Atom Probe Microscopy*, Springer 2012, doi 10.1007/978-1-4614-3436-8.
    [2] D.J. Larson et al., *Local Electrode Atom Probe Tomography*, Springer 2013, doi 10.1007/978-1-4614-8721-0.
    [3] D. Haley, A.J. London, M.P. Moody, "Processing APT Spectral Backgrounds for Improved Quantification", Microsc.
        Microanal. 26 (2020).
    """
    params = params or MassBackgroundParams()
    mass = as_vector(mass_da, "mass_da")
    pieces = table.disjoint()
    if not pieces:
        raise EmptySelectionError(f"the range table {table.source or ''} holds no range; choose or suggest another one")
    low, high = _ends(mass, pieces, params)
    counts, gaps = yield from count_masses_between(mass, pieces, low, high, sides_of(pieces, params.margin_da))
    level = Level.of(gaps, low, high)
    limits = np.maximum([(one.lo_da, one.hi_da) for one in pieces], 0.0)
    width = np.diff(np.sqrt(limits), axis=1)[:, 0]
    tail, tail_error, n_blind = np.zeros(len(pieces)), np.zeros(len(pieces)), 0
    if params.tails:
        tail, tail_error, n_blind = tails_under(pieces, gaps, level, params.margin_da)
    return MassBackground(
        pieces,
        read_only(counts),
        read_only(level.rate * width),
        read_only(tail),
        read_only(tail_error),
        read_only(width),
        level.rate,
        level.error,
        low,
        high,
        level.n_windows,
        level.n_quiet,
        level.dispersion,
        int(np.isfinite(mass).sum()),
        _issues(level, n_blind, len(pieces)),
    )


def _ends(
    mass: NDArray[np.floating], pieces: tuple[MassRange, ...], params: MassBackgroundParams
) -> tuple[float, float]:
    """Part of the spectrum that tells of the background under the ranges, Da."""
    low = max(params.lowest_da, 0.0)
    seen = mass[:: max(1, len(mass) // 1_000_000)]
    seen = seen[np.isfinite(seen) & (seen > low)]
    if not len(seen):
        raise EmptySelectionError(f"no ion is heavier than {low:g} Da; there is no spectrum to find a background in")
    heaviest = max(item.hi_da for item in pieces)
    high = min(params.highest_da, 1.25 * heaviest + 20, max(float(np.quantile(seen, _TOP_SHARE)), heaviest))
    if high <= low:
        raise EmptySelectionError(f"the spectrum from {low:g} to {high:g} Da is empty; choose other limits")
    return low, high


def _issues(level: Level, n_blind: int, n_ranges: int) -> tuple[Issue, ...]:
    issues = []
    if level.dispersion > _ROUGH or level.n_quiet < QUIET_SHARE * level.n_windows:
        text = (
            f"the background is not flat in time of flight ({level.n_quiet} of {level.n_windows} windows are quiet, "
            f"their counts vary {level.dispersion:.1f} times as much as by chance)"
        )
        issues.append(Issue("background-not-flat", f"{text}: what is subtracted is doubtful, its error is widened"))
    if n_blind:
        text = f"{n_blind} of {n_ranges} ranges begin where another one ends: tails under them are not seen"
        issues.append(Issue("tail-not-seen", text, severity="info"))
    return tuple(issues)
