"""The scan: how far each column along the depth deviates from its surroundings, in all slices but the strongest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_aptdefect.apt.consistency.images import Slices
from napari_aptdefect.fields import Frame, LinearFit

_SCALES: Final = (1.0, 1.5, 2.25)  # times the narrowest column
_N_DIRECTIONS: Final = 8
_LENGTHS: Final = 4.0  # length of a zone line's window over its width, standard deviations
_BACKGROUND: Final = 4.5  # width of the background over the narrowest column
_REACH: Final = 3.0
_DROPPED: Final = 1 / 3
_JUDGED: Final = 0.75  # of the slices that a place has to be inside
_LEAST: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Window:
    """A Gaussian window: the shape of a column in the image.

    Parameters
    ----------
    width, length
        Standard deviations across and along, in pixels.
    direction_deg
        Direction of the length, from x to y; NaN for a round one.
    """

    width: float
    length: float
    direction_deg: float

    def shape_at(self, dx: NDArray[np.floating], dy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Value at offsets in pixels, 1 in the center."""
        along, across = self.turned(dx, dy)
        return np.asarray(np.exp(-0.5 * ((along / self.length) ** 2 + (across / self.width) ** 2)))

    def turned(
        self, dx: NDArray[np.floating], dy: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Offsets along and across the window."""
        angle = np.radians(0.0 if np.isnan(self.direction_deg) else self.direction_deg)
        return dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)


def make_windows(narrowest: float) -> tuple[Window, ...]:
    """Round windows of three widths, and long ones of the first two in eight directions; `narrowest` in pixels."""
    round_ones = [Window(s * narrowest, s * narrowest, np.nan) for s in _SCALES]
    angles = np.arange(_N_DIRECTIONS) * 180 / _N_DIRECTIONS
    long_ones = [Window(s * narrowest, _LENGTHS * s * narrowest, float(a)) for s in _SCALES[:2] for a in angles]
    return (*round_ones, *long_ones)


class Background:
    """Expected counts per pixel and slice: a plane fitted around each pixel, columns found so far left out.

    Parameters
    ----------
    slices
        The counts.
    narrowest
        Width of the narrowest column, pixels.
    left_out
        Shape (nx, ny), bool: pixels of known columns; the fit fills them in from around.
    """

    def __init__(self, slices: Slices, narrowest: float, left_out: NDArray[np.bool_]) -> None:
        frame = Frame(np.zeros(3), 1.0, (*slices.core.shape[1:], 1))
        self._core = slices.core
        self._weights = [(core & ~left_out).astype(np.float32)[..., None] for core in slices.core]
        self._fits = [LinearFit(frame, weight, _BACKGROUND * narrowest) for weight in self._weights]

    def of(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Background of counts of shape (n_slices, nx, ny), 0 outside the core."""
        out = np.zeros(counts.shape)
        for i, (fit, weight) in enumerate(zip(self._fits, self._weights, strict=True)):
            out[i] = fit.of(counts[i, ..., None].astype(np.float32) * weight)[..., 0] * self._core[i]
        return out


class Scanner:
    """Convolves slices with all windows.

    Parameters
    ----------
    windows
        The windows.
    core
        Shape (n_slices, nx, ny): pixels that are judged.
    expected
        Shape (n_slices, nx, ny): expected counts, 0 outside the core.
    """

    def __init__(self, windows: tuple[Window, ...], core: NDArray[np.bool_], expected: NDArray[np.float64]) -> None:
        self.windows, self.core = windows, core
        n_slices, *self._shape = core.shape
        reach = int(np.ceil(_REACH * max(window.length for window in windows)))
        self._padded = [fft.next_fast_len(n + reach, real=True) for n in self._shape]
        self.judged = core.sum(axis=0) >= _JUDGED * n_slices
        self._kernels = [self._kernel(window, reach, 1) for window in windows]
        spectrum = self._spectrum(expected)
        squares = (self._kernel(window, reach, 2) for window in windows)
        self.power = [np.maximum(self._convolved(spectrum, square), _LEAST) for square in squares]

    def amplitudes(self, residual: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Least-squares amplitude of each window at each pixel in each slice, over the background.

        Its variance is 1 / `power`.

        Parameters
        ----------
        residual
            Counts less the background, shape (n_slices, nx, ny), 0 outside the core.
        """
        spectrum = self._spectrum(residual)
        found = (self._convolved(spectrum, kernel) for kernel in self._kernels)
        return [one / power for one, power in zip(found, self.power, strict=True)]

    def significances(self, residual: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Deviation of each window in each slice in standard deviations of Poisson counts; 0 outside the core."""
        found = self.amplitudes(residual)
        return [a * np.sqrt(power) * self.core for a, power in zip(found, self.power, strict=True)]

    def mean_ratio(self, residual: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residual over expectation, both averaged over the first window, shape (n_slices, nx, ny)."""
        above, below = (self._convolved(self._spectrum(v), self._kernels[0]) for v in (residual, expected))
        return np.asarray(above / np.maximum(below, _LEAST))

    def combined(
        self, significances: list[NDArray[np.float64]], dispersion: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`persistent` of each window, shape (n_windows, nx, ny), 0 where nothing is judged."""
        return np.stack([persistent(z / d) * self.judged for z, d in zip(significances, dispersion, strict=True)])

    def dispersion(self, significances: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Scatter of the deviations of each window over that of Poisson counts, at least 1, shape (n_windows,)."""
        inside = self.core & self.judged
        return np.array([max(1.0, 1.4826 * float(np.median(np.abs(z[inside])))) for z in significances])

    def _kernel(self, window: Window, reach: int, power: int) -> NDArray[np.complex128]:
        dx, dy = (np.fft.fftfreq(n, 1 / n) for n in self._padded)
        grid = np.meshgrid(dx, dy, indexing="ij")
        values = window.shape_at(*grid) ** power
        values[(np.abs(grid[0]) > reach) | (np.abs(grid[1]) > reach)] = 0
        return np.asarray(fft.rfft2(values))

    def _spectrum(self, values: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.asarray(fft.rfft2(values, self._padded, axes=(1, 2)))

    def _convolved(self, spectrum: NDArray[np.complex128], kernel: NDArray[np.complex128]) -> NDArray[np.float64]:
        out = fft.irfft2(spectrum * kernel, self._padded, axes=(1, 2))
        return np.asarray(out[:, : self._shape[0], : self._shape[1]])


def persistent(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation that most slices share.

    Parameters
    ----------
    z
        Deviations of the slices, standard normal by chance, shape (n_slices, ...).

    Returns
    -------
    Shape (...): sum of all but the strongest third of the slices in the direction of the deviation, less its mean and
    over its standard deviation for chance; the sign is that of the deviation.

    Notes
    -----
    A void, a cluster or an inclined boundary makes a few slices deviate by any amount and leaves the others alone; a
    pole makes all deviate alike. Mean and standard deviation of the trimmed sum are those of normal order statistics.
    """
    n = len(z)
    kept = n - int(np.ceil(_DROPPED * n))
    mean, spread = _trimmed_moments(n, kept)
    ordered = np.sort(z, axis=0)
    above = (ordered[:kept].sum(axis=0) - mean) / spread
    below = (-ordered[n - kept :].sum(axis=0) - mean) / spread
    # neither is above 0 where slices deviate to both sides
    return np.asarray(np.where(above >= below, np.maximum(above, 0), -np.maximum(below, 0)))


@cache
def _trimmed_moments(n: int, kept: int) -> tuple[float, float]:
    draws = np.sort(np.random.default_rng(0).standard_normal((100_000, n)), axis=1)[:, :kept].sum(axis=1)
    return float(draws.mean()), float(draws.std())
