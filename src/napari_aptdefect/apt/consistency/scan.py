"""The scan: how far each column along the depth deviates from its surroundings, in all slices but the strongest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_aptdefect.apt.consistency.images import Slices

_SCALES: Final = (1.0, 1.5, 2.25)  # times the narrowest column
_N_DIRECTIONS: Final = 8
_LENGTHS: Final = 4.0  # length of a zone line's window over its width, standard deviations
_BACKGROUND: Final = 4.5  # width of the background over the narrowest column
_DEGREE: Final = 4
_LEAST_TREND: Final = 0.2  # of the mean, below which a polynomial is no density
_LEAST_POWER: Final = 1e-6
_LEAST_SHARE: Final = 1e-3  # of the largest smoothed weight, below which there is nothing to fit
_RIDGE: Final = 1e-3
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


class Convolution:
    """Convolution of slices with kernels by Fourier transforms; nothing lies outside.

    Parameters
    ----------
    shape
        Number of pixels along x and y.
    reach
        Pixels from the center of a kernel to its edge.
    """

    def __init__(self, shape: tuple[int, ...], reach: int) -> None:
        self._shape, self._reach = shape, reach
        self._padded = [fft.next_fast_len(n + reach, real=True) for n in shape]
        along = (np.fft.fftfreq(n, 1 / n) for n in self._padded)
        self.offsets = np.meshgrid(*along, indexing="ij")

    def kernel(self, values: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Spectrum of a kernel whose values are given at `offsets`, for a sum of counts times kernel around a pixel."""
        near = (np.abs(self.offsets[0]) <= self._reach) & (np.abs(self.offsets[1]) <= self._reach)
        return np.asarray(np.conj(fft.rfft2((values * near).astype(np.float32))))

    def spectrum(self, values: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Spectra of slices, shape (n_slices, nx, ny)."""
        return np.asarray(fft.rfft2(values.astype(np.float32), self._padded, axes=(1, 2)))

    def back(self, spectrum: NDArray[np.complex64], kernel: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Convolved slices, shape (n_slices, nx, ny)."""
        out = fft.irfft2(spectrum * kernel, self._padded, axes=(1, 2))
        return np.asarray(out[:, : self._shape[0], : self._shape[1]])


class Background:
    """Expected counts per pixel and slice, columns found so far left out.

    Parameters
    ----------
    slices
        The counts.
    narrowest
        Width of the narrowest column, pixels.
    left_out
        Shape (nx, ny), bool: pixels of known columns; the fit fills them in from around.

    Notes
    -----
    A polynomial of fourth degree in x and y per slice, for the magnification of the projection, times a plane that is
    fitted to the ratio of counts to polynomial around each pixel. The plane alone would be too low on top of a hump as
    wide as the image: hits on a flat detector make one.
    """

    def __init__(self, slices: Slices, narrowest: float, left_out: NDArray[np.bool_]) -> None:
        self._core = slices.core
        self._used = slices.core & ~left_out
        shape = slices.core.shape[1:]
        self._basis = _polynomials(shape)
        self._trend = self._polynomial(slices.counts)
        sigma = _BACKGROUND * narrowest
        self._convolve = Convolution(shape, int(np.ceil(_REACH * sigma)))
        dx, dy = (offset / sigma for offset in self._convolve.offsets)
        gauss = np.exp(-0.5 * (dx * dx + dy * dy))
        powers = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        self._kernels = [self._convolve.kernel(gauss * dx**i * dy**j) for i, j in powers]
        self._row = self._weights_of_moments(self._trend * self._used)

    def of(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Background of counts of shape (n_slices, nx, ny), 0 outside the core."""
        spectrum = self._convolve.spectrum(counts * self._used)
        moments = (self._convolve.back(spectrum, kernel) for kernel in self._kernels[:3])
        ratio = sum(row * moment for row, moment in zip(self._row, moments, strict=True))
        return np.asarray(np.maximum(ratio, 0) * self._trend * self._core)

    def _weights_of_moments(self, weight: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """What the zeroth and first moments of the counts add to the value of the plane at the pixel itself."""
        spectrum = self._convolve.spectrum(weight)
        m0, mx, my, mxx, mxy, myy = (self._convolve.back(spectrum, kernel) for kernel in self._kernels)
        mxx, myy = mxx + _RIDGE * m0, myy + _RIDGE * m0  # a mean where too little is left to tell a slope
        rows = [mxx * myy - mxy * mxy, mxy * my - mx * myy, mx * mxy - mxx * my]
        determinant = m0 * rows[0] + mx * rows[1] + my * rows[2]
        usable = self._core & (m0 > _LEAST_SHARE * m0.max(initial=0.0))
        return [np.divide(row, determinant, out=np.zeros_like(row), where=usable) for row in rows]

    def _polynomial(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(counts.shape)
        for i, (one, used) in enumerate(zip(counts, self._used, strict=True)):
            if not used.any():
                continue
            basis = self._basis[:, used]
            factors = np.linalg.lstsq(basis.T, one[used], rcond=_LEAST_POWER)[0]
            least = _LEAST_TREND * one[used].mean()
            out[i] = np.maximum(np.tensordot(factors, self._basis, 1), least) * self._core[i]
        return out


def _polynomials(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Products of Legendre polynomials of x and y up to the fourth degree, shape (15, nx, ny)."""
    along = [np.polynomial.legendre.legvander(np.linspace(-1, 1, n), _DEGREE) for n in shape]
    pairs = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    return np.stack([np.outer(along[0][:, i], along[1][:, j]) for i, j in pairs])


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
        self.judged = core.sum(axis=0) >= _JUDGED * len(core)
        self._convolve = Convolution(core.shape[1:], int(np.ceil(_REACH * max(one.length for one in windows))))
        shapes = [window.shape_at(*self._convolve.offsets) for window in windows]
        self._kernels = [self._convolve.kernel(shape) for shape in shapes]
        spectrum = self._convolve.spectrum(expected)
        squares = (self._convolve.kernel(shape**2) for shape in shapes)
        self.power = [np.maximum(self._convolve.back(spectrum, square), _LEAST) for square in squares]
        self._scale = [(core / np.sqrt(power)).astype(np.float32) for power in self.power]

    def amplitudes(self, residual: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        """Least-squares amplitude of each window at each pixel in each slice, over the background.

        Its variance is 1 / `power`.

        Parameters
        ----------
        residual
            Counts less the background, shape (n_slices, nx, ny), 0 outside the core.
        """
        spectrum = self._convolve.spectrum(residual)
        pairs = zip(self._kernels, self.power, strict=True)
        return [np.asarray(self._convolve.back(spectrum, kernel) / power) for kernel, power in pairs]

    def significances(self, residual: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        """Deviation of each window in each slice in standard deviations of Poisson counts; 0 outside the core."""
        spectrum = self._convolve.spectrum(residual)
        pairs = zip(self._kernels, self._scale, strict=True)
        return [np.asarray(self._convolve.back(spectrum, kernel) * scale) for kernel, scale in pairs]

    def mean_ratio(self, residual: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residual over expectation, both averaged over the first window, shape (n_slices, nx, ny)."""
        spectra = (self._convolve.spectrum(values) for values in (residual, expected))
        above, below = (self._convolve.back(spectrum, self._kernels[0]) for spectrum in spectra)
        return np.asarray(above / np.maximum(below, _LEAST))

    def combined(
        self, significances: list[NDArray[np.float32]], dispersion: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`persistent` of each window, shape (n_windows, nx, ny), 0 where nothing is judged."""
        return np.stack([persistent(z / d) * self.judged for z, d in zip(significances, dispersion, strict=True)])

    def dispersion(self, significances: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Scatter of the deviations of each window over that of Poisson counts, at least 1, shape (n_windows,)."""
        inside = self.core & self.judged
        return np.array([max(1.0, 1.4826 * float(np.median(np.abs(z[inside])))) for z in significances])


def persistent(z: NDArray[np.floating]) -> NDArray[np.float64]:
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
