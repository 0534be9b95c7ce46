"""Tails of earlier peaks under the ranges of a mass spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.ranging.gaps import Gaps, Level
from napari_aptdefect.data.ranges import MassRange

_TAIL_SIGMA: Final = 3.0
_RISE_SIGMA: Final = 2.0


def tails_under(
    pieces: tuple[MassRange, ...], gaps: Gaps, level: Level, margin_da: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Ions that the tail of an earlier peak brings into each range, their errors, and how many ranges can't tell."""
    places = sides_of(pieces, margin_da)
    far, near, _, after = (_Side.of(gaps, a, b, level) for a, b in pairwise(places))
    lo, hi = np.sqrt(places[2]), np.sqrt(places[3])
    tail, error = np.zeros(len(pieces)), np.zeros(len(pieces))
    for i in np.flatnonzero(near.rate > 0):
        tail[i], error[i] = _tail(far.at(i), near.at(i), after.at(i), float(lo[i]), float(hi[i]))
    return tail, error, int(np.isinf(near.error).sum())


def sides_of(pieces: tuple[MassRange, ...], margin_da: float) -> list[NDArray[np.float64]]:
    """Edges, in Da, of the far and the near half of the margin before each range, the range, and half of one behind."""
    lo = np.maximum([one.lo_da for one in pieces], 0.0)
    hi = np.maximum([one.hi_da for one in pieces], 0.0)
    return [np.maximum(lo - margin_da, 0.0), np.maximum(lo - margin_da / 2, 0.0), lo, hi, hi + margin_da / 2]


@dataclass(frozen=True)
class _Window:
    """Rate above the level in a window beside a range, its error, and the window's middle and width in sqrt(Da)."""

    rate: float
    error: float
    middle: float
    width: float

    def slope(self, later: _Window) -> float:
        """How fast an exponential falls that has the rates of two windows."""
        return float(np.log(max(self.rate / later.rate, 1.0)) / (later.middle - self.middle))


@dataclass(frozen=True, eq=False)
class _Side:
    """Such windows of all ranges; a rate that doesn't stand out is 0, the error is inf where no width is free."""

    rate: NDArray[np.float64]
    error: NDArray[np.float64]
    middle: NDArray[np.float64]
    width: NDArray[np.float64]

    @classmethod
    def of(cls, gaps: Gaps, lo_da: NDArray[np.float64], hi_da: NDArray[np.float64], level: Level) -> _Side:
        """Measure the windows of all ranges."""
        n, width = gaps.between(lo_da, hi_da)
        expected = level.rate * width
        there = width > 0
        over = there & (n - expected > _TAIL_SIGMA * np.sqrt(expected + 1))
        rate = np.divide(n - expected, width, out=np.zeros(len(n)), where=over)
        spread = np.divide(np.sqrt(n + 1), width, out=np.full(len(n), np.inf), where=there)
        return cls(rate, np.hypot(spread, level.error), gaps.middle(lo_da, hi_da), width)

    def at(self, i: int | np.integer) -> _Window:
        """Give the window of one range."""
        return _Window(*(float(part[i]) for part in (self.rate, self.error, self.middle, self.width)))


def _tail(far: _Window, near: _Window, after: _Window, lo: float, hi: float) -> tuple[float, float]:
    """Integral of the tail over the range from lo to hi, in sqrt(Da), and its error."""
    seen = np.isfinite(far.error)
    if seen and far.rate <= 0:
        return 0.0, 0.0  # a tail is higher where it comes from
    rises = seen and near.rate - far.rate > _RISE_SIGMA * np.hypot(near.error, far.error)
    start = far if rises else near  # a rise is the flank of the range's own peak; what was there before it is the tail
    slopes = []
    if seen and not rises:
        slopes.append(far.slope(near))
    if 0 < after.rate < start.rate:
        slopes.append(start.slope(after))
    if not slopes:  # nothing tells how fast it falls: between not at all and at once
        whole = start.rate * (hi - lo)
        return 0.5 * whole, 0.5 * whole
    found = [_integral(start, k, lo, hi) for k in slopes]
    value = float(np.mean(found))
    return value, float(np.hypot(value * start.error / start.rate, 0.5 * (max(found) - min(found))))


def _integral(window: _Window, k: float, lo: float, hi: float) -> float:
    """Integral from lo to hi of an exponential that falls with rate k and whose mean over a window is given."""
    if k * (hi - lo) < 1e-9:
        return window.rate * (hi - lo)
    half = k * window.width / 2
    in_middle = window.rate * (half / np.sinh(half) if half > 1e-9 else 1.0)
    return float(in_middle * np.exp(-k * (lo - window.middle)) * -np.expm1(-k * (hi - lo)) / k)
