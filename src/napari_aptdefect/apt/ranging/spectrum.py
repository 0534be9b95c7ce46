"""The mass spectrum as a histogram, its background, and the peaks that stand out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from napari_aptdefect.errors import EmptySelectionError

_COARSE: Final = 10  # fine bins in a bin of the background
_BACKGROUND_WINDOW_DA: Final = 4.0
_MIN_WINDOW_BINS: Final = 3
_MIN_MASS_DA: Final = 0.5  # no ion is lighter than 1H+; what piles up at zero are events without a mass


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts over mass-to-charge in bins of equal width from 0 on.

    Parameters
    ----------
    counts
        Shape (n_bins,), int64; bin k holds masses from k * bin_da to (k + 1) * bin_da.
    bin_da
        Width of a bin, Da.
    """

    counts: NDArray[np.int64]
    bin_da: float

    @classmethod
    def empty(cls, max_mass_da: float, bin_da: float) -> Spectrum:
        """Spectrum without any ion."""
        return cls(np.zeros(max(int(np.ceil(max_mass_da / bin_da)), _COARSE), np.int64), bin_da)

    def add(self, mass_da: NDArray[np.floating]) -> None:
        """Count masses; NaN, negative and too large ones are left out."""
        scaled = mass_da.astype(np.float64) / self.bin_da
        scaled = scaled[(scaled >= 0) & (scaled < len(self.counts))]
        self.counts[:] += np.bincount(scaled.astype(np.int64), minlength=len(self.counts))

    @cached_property
    def cumulative(self) -> NDArray[np.int64]:
        """Shape (n_bins + 1,): counts below each edge; read only once the spectrum is complete."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def centers_da(self) -> NDArray[np.float64]:
        """Shape (n_bins,): middles of the bins, Da."""
        return np.asarray((np.arange(len(self.counts)) + 0.5) * self.bin_da, np.float64)

    @cached_property
    def background(self) -> NDArray[np.float64]:
        """Smooth background in counts per bin, shape (n_bins,), float64.

        Notes
        -----
        Counts are summed to bins ten times wider; a running median over 4 Da estimates the level, bins more than
        three Poisson sigma above it are peaks and left out, and the running mean of the others is the background.
        It follows the slow fall of uncorrelated detector hits (flat in time of flight) without assuming its law.
        """
        n_coarse = -(-len(self.counts) // _COARSE)
        padded = np.pad(self.counts, (0, n_coarse * _COARSE - len(self.counts)), mode="edge")
        coarse = padded.reshape(n_coarse, _COARSE).sum(axis=1).astype(np.float64)
        size = max(3, round(_BACKGROUND_WINDOW_DA / (self.bin_da * _COARSE)) | 1)
        level = ndimage.median_filter(coarse, size, mode="nearest")
        keep = (coarse <= level + 3 * np.sqrt(level + 1)).astype(np.float64)
        weight = ndimage.uniform_filter1d(keep, size, mode="nearest")
        mean = ndimage.uniform_filter1d(coarse * keep, size, mode="nearest") / np.maximum(weight, 1.0 / size)
        smooth = ndimage.uniform_filter1d(mean, size, mode="nearest") / _COARSE
        middles = (np.arange(n_coarse) + 0.5) * _COARSE - 0.5
        return np.asarray(np.maximum(np.interp(np.arange(len(self.counts)), middles, smooth), 0.0), np.float64)

    @cached_property
    def _background_sum(self) -> NDArray[np.float64]:
        return np.concatenate([[0.0], np.cumsum(self.background)])

    def gross_and_background(
        self, lo: NDArray[np.int64], hi: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts and expected background in the bins lo..hi, hi excluded."""
        lo, hi = np.clip(lo, 0, len(self.counts)), np.clip(hi, 0, len(self.counts))
        return self.cumulative[hi] - self.cumulative[lo], self._background_sum[hi] - self._background_sum[lo]


def count_masses(chunks: Iterable[NDArray[np.floating]], max_mass_da: float, bin_da: float) -> Spectrum:
    """Histogram of masses that come in chunks; memory does not grow with their number."""
    spectrum = Spectrum.empty(max_mass_da, bin_da)
    for chunk in chunks:
        spectrum.add(chunk)
    return spectrum


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of a spectrum, ascending in mass; every array has shape (n_peaks,).

    Parameters
    ----------
    mass_da
        Position of the maximum, Da.
    lo_bin, hi_bin
        Bins of the range of each peak, hi excluded.
    net, gross
        Counts in that range above the background, and all of them.
    significance
        How far the maximum stands above the background, in sigma.
    """

    mass_da: NDArray[np.float64]
    lo_bin: NDArray[np.int64]
    hi_bin: NDArray[np.int64]
    net: NDArray[np.float64]
    gross: NDArray[np.float64]
    significance: NDArray[np.float64]
    width_scale: float

    def __len__(self) -> int:
        return len(self.mass_da)


def poisson_significance(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Significance of an excess of counts over a known expectation, in sigma, zero where there is none.

    Notes
    -----
    sqrt(2 (n ln(n / b) - (n - b))), the likelihood ratio of Poisson counts.

    References
    ----------
    W. Cash, Astrophys. J. 228, 939 (1979), doi 10.1086/156922.
    """
    b = np.maximum(expected, 0.05)  # an empty spectrum around a peak is not proof of zero background
    n = np.maximum(observed, b)
    return np.asarray(np.sqrt(2 * np.maximum(n * np.log(n / b) - (n - b), 0.0)), np.float64)


def find_peaks(spectrum: Spectrum, *, min_sigma: float, min_counts: int, limit_fraction: float) -> Peaks:
    """Find peaks and their limits.

    Parameters
    ----------
    spectrum
        Counts.
    min_sigma
        How far a peak must stand above the background, and above the valleys beside it, in sigma.
    min_counts
        Least number of counts above the background in a peak's core.
    limit_fraction
        Height at which a range ends, as a fraction of the peak's height above the background.

    Returns
    -------
    The peaks.

    Raises
    ------
    EmptySelectionError
        If there are no counts or no peaks.

    Notes
    -----
    Counts are smoothed with a triangular window as wide as a peak: a constant spread in time of flight makes the width
    grow with the square root of m/q, and the strongest peak sets the scale.
    """
    if spectrum.counts.sum() == 0:
        raise EmptySelectionError("no ion has a mass-to-charge ratio within the spectrum; widen its limits")
    scale = _width_scale(spectrum)
    half = np.maximum(1, np.round(scale * np.sqrt(spectrum.centers_da) / spectrum.bin_da / 2)).astype(np.int64)
    density = _box(_box(spectrum.counts.astype(np.float64), half), np.maximum(half // 2, 1))
    window = 2.0 * half + 1
    found, properties = signal.find_peaks(np.pad(density, 1), prominence=0)
    found = found - 1
    saddle = np.maximum(density[found] - properties["prominences"], 0.0)
    n, b, s = density[found] * window[found], spectrum.background[found] * window[found], saddle * window[found]
    above = poisson_significance(n, b)
    prominent = (n - s) / np.sqrt(n + s + 1)
    keep = (above >= min_sigma) & (prominent >= min_sigma) & (n - b >= min_counts)
    keep &= spectrum.centers_da[found] >= _MIN_MASS_DA
    if not keep.any():
        raise EmptySelectionError(
            f"no peak stands {min_sigma:g} sigma and {min_counts} counts above the background; lower these limits"
        )
    found, above = found[keep], above[keep]
    lo, hi = _limits(density, spectrum.background, found, limit_fraction)
    gross, background = spectrum.gross_and_background(lo, hi)
    mass = np.array([_apex(density, int(i)) for i in found]) * spectrum.bin_da
    return Peaks(mass, lo, hi, np.maximum(gross - background, 0.0), gross.astype(np.float64), above, scale)


def _width_scale(spectrum: Spectrum) -> float:
    """Full width at half maximum of the strongest peak, per square root of its mass."""
    smooth = ndimage.uniform_filter1d(spectrum.counts.astype(np.float64), 3, mode="constant")
    first = min(round(_MIN_MASS_DA / spectrum.bin_da), len(smooth) - 1)
    top = first + int(np.argmax(smooth[first:]))
    level = smooth[top] / 2
    left = top
    while left > 0 and smooth[left - 1] > level:
        left -= 1
    right = top
    while right < len(smooth) - 1 and smooth[right + 1] > level:
        right += 1
    width = max(right - left + 1, _MIN_WINDOW_BINS) * spectrum.bin_da
    return float(min(width, 0.5) / np.sqrt(spectrum.centers_da[top]))


def _box(values: NDArray[np.float64], half: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values)])
    idx = np.arange(len(values))
    lo, hi = np.maximum(idx - half, 0), np.minimum(idx + half + 1, len(values))
    return np.asarray((total[hi] - total[lo]) / (hi - lo), np.float64)


def _apex(density: NDArray[np.float64], top: int) -> float:
    """Vertex of the parabola through the maximum and its neighbors, in bins."""
    if not 0 < top < len(density) - 1:
        return top + 0.5
    left, middle, right = density[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(top + 0.5 + np.clip(shift, -0.5, 0.5))


def _limits(
    density: NDArray[np.float64], background: NDArray[np.float64], found: NDArray[np.int64], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    valleys = [int(a + np.argmin(density[a:b])) for a, b in pairwise(found)]
    starts, stops = [0, *valleys], [*valleys, len(density)]
    lo, hi = [], []
    for top, start, stop in zip(found, starts, stops, strict=True):
        level = background[top] + fraction * (density[top] - background[top])
        left = np.flatnonzero(density[start:top] < level)
        right = np.flatnonzero(density[top:stop] < level)
        lo.append(start + int(left[-1]) + 1 if len(left) else start)
        hi.append(top + int(right[0]) if len(right) else stop)
    return np.array(lo, np.int64), np.array(hi, np.int64)
