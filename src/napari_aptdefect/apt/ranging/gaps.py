"""Unranged parts of a mass spectrum, and the level of the background that is even in time of flight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.stage import Progress, Stage

_BLOCK: Final = 1 << 20
_WINDOWS: Final = (20, 200)
_IONS_PER_WINDOW: Final = 20
_LEAST_FREE: Final = 0.2  # of a window; less is the flank of some peak
QUIET_SHARE: Final = 0.2
"""Part of the windows that is taken to be free of peaks and tails."""

_CLIP_SIGMA: Final = 2.5


@dataclass(frozen=True, eq=False)
class Gaps:
    """Unranged ions and unranged width in sqrt(Da) below each edge, so that any interval between edges is known.

    The moment is the integral of sqrt(m) over that width.
    """

    edges_da: NDArray[np.float64]
    n_below: NDArray[np.int64]
    width_below: NDArray[np.float64]
    moment_below: NDArray[np.float64]

    def between(
        self, lo_da: NDArray[np.float64], hi_da: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Unranged ions and unranged width between edges."""
        a, b = self._at(lo_da), self._at(hi_da)
        return (self.n_below[b] - self.n_below[a]).astype(np.float64), self.width_below[b] - self.width_below[a]

    def middle(self, lo_da: NDArray[np.float64], hi_da: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean sqrt(m) of the unranged width between edges; NaN where there is none."""
        a, b = self._at(lo_da), self._at(hi_da)
        width = self.width_below[b] - self.width_below[a]
        moment = self.moment_below[b] - self.moment_below[a]
        return np.asarray(np.divide(moment, width, out=np.full(len(width), np.nan), where=width > 0))

    def _at(self, edge_da: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.searchsorted(self.edges_da, edge_da)


@dataclass(frozen=True, eq=False)
class Level:
    """The flat part of the background, in ions per sqrt(Da)."""

    rate: float
    error: float
    n_windows: int
    n_quiet: int
    dispersion: float

    @classmethod
    def of(cls, gaps: Gaps, low: float, high: float) -> Level:
        """Estimate it from the windows of a spectrum that hold nothing else.

        Raises
        ------
        EmptySelectionError
            If no window is free of ranges.
        """
        edges = windows_of(int(gaps.between(np.array([low]), np.array([high]))[0][0]), low, high)
        # the edges are among those of the gaps, so this finds them
        n, width = gaps.between(edges[:-1], edges[1:])
        free = width > _LEAST_FREE * (np.sqrt(high) - np.sqrt(low)) / (len(edges) - 1)
        if not free.any():
            raise EmptySelectionError(
                f"ranges cover the whole spectrum from {low:.4g} to {high:.4g} Da; the background is seen between them"
            )
        n, width = n[free], width[free]
        rate = float(np.quantile(n / width, QUIET_SHARE))
        quiet = np.zeros(len(n), np.bool_)
        for _ in range(100):
            again = n <= rate * width + _CLIP_SIGMA * np.sqrt(rate * width + 1)
            if np.array_equal(again, quiet):
                break
            quiet = again
            rate = float(n[quiet].sum() / width[quiet].sum())
        expected = rate * width[quiet]
        dispersion = 1.0
        if rate > 0 and len(expected) > 1:
            dispersion = float(((n[quiet] - expected) ** 2 / expected).sum() / (len(expected) - 1))
        error = float(np.sqrt(max(n[quiet].sum(), 1.0) * max(dispersion, 1.0)) / width[quiet].sum())
        return cls(rate, error, len(n), int(quiet.sum()), dispersion)


def windows_of(n_unranged: int, low: float, high: float) -> NDArray[np.float64]:
    """Edges of windows that are equally wide in time of flight, Da."""
    n = int(np.clip(n_unranged // _IONS_PER_WINDOW, *_WINDOWS))
    edges = np.linspace(np.sqrt(low), np.sqrt(high), n + 1) ** 2
    edges[[0, -1]] = low, high
    return np.asarray(edges, np.float64)


def count_masses_between(
    mass: NDArray[np.floating],
    pieces: tuple[MassRange, ...],
    low: float,
    high: float,
    places_da: Iterable[NDArray[np.float64]],
) -> Stage[tuple[NDArray[np.int64], Gaps]]:
    """Count the ions of each piece, and the unranged ones between all edges that will be asked for."""
    names = tuple(Ion(str(i)) for i in range(len(pieces)))
    own = RangeTable(names, tuple(MassRange(one.lo_da, one.hi_da, i) for i, one in enumerate(pieces)))
    counts = np.zeros(len(pieces), np.int64)
    unranged = []
    for start in range(0, len(mass), _BLOCK):
        yield Progress(start, len(mass), "count masses")
        block = mass[start : start + _BLOCK]
        found = own.assign(block)
        counts += np.bincount(found[found >= 0], minlength=len(counts))
        rest = block[found < 0].astype(np.float64)
        unranged.append(rest[np.isfinite(rest) & (rest >= 0)])
    rest = np.sort(np.concatenate(unranged)) if unranged else np.zeros(0)
    n_free = int(np.searchsorted(rest, high) - np.searchsorted(rest, low))
    edges = np.unique(np.concatenate([*places_da, windows_of(n_free, low, high)]))
    free = np.where(own.assign((edges[1:] + edges[:-1]) / 2) < 0, np.diff(np.sqrt(edges)), 0.0)
    middle = 0.5 * (np.sqrt(edges[1:]) + np.sqrt(edges[:-1]))
    width, moment = (np.concatenate([[0.0], np.cumsum(part)]) for part in (free, free * middle))
    yield Progress(len(mass), len(mass), "background under the ranges")
    return counts, Gaps(edges, np.searchsorted(rest, edges), width, moment)
