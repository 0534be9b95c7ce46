"""Where a void may be: a scan of the grid with blurred balls of several radii."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_aptdefect.apt.voids.background import Field
from napari_aptdefect.apt.voids.likelihood import Window, log_ratio
from napari_aptdefect.apt.voids.profile import Table, kernel
from napari_aptdefect.fields import Frame

SCALES_NM = (0.45, 0.6, 0.8, 1.05, 1.4, 1.8, 2.4, 3.2, 4.2)
"""Radii of the scan."""

LEAST_LOG_RATIO = 6.0
"""Log likelihood ratio of the best ball on the grid from which a place is sampled."""

_DEPLETION = 0.95
_DISPERSION_NM = 0.8
_IQR_OF_NORMAL = 1.349
_SURROUNDINGS_NM = 5.0  # as wide as the background: wider structure is in it
_LEAST_VOXELS = 500
_BORDER_NM = 1.5


@dataclass(frozen=True, eq=False)
class Scan:
    """Result of the scan, on the grid.

    Parameters
    ----------
    log_ratio
        Largest log likelihood ratio of any ball at each voxel, float32; -inf where no center may lie.
    scale_idx
        Which radius gives it, int8.
    """

    log_ratio: NDArray[np.float32]
    scale_idx: NDArray[np.int8]


def scan(field: Field, table: Table, transmission: NDArray[np.float32] | None = None) -> Scan:
    """Log likelihood ratio of an empty ball at each voxel for all radii, by two convolutions each.

    Parameters
    ----------
    field
        Counts and background.
    table
        Profiles.
    transmission
        What known voids leave of the background, shape of the grid.

    Notes
    -----
    Sum of N_v log(1 - s h_v) + B_v s h_v with s = 0.95.
    """
    expected = field.expected if transmission is None else field.expected * transmission
    kernels = [kernel(table, r, field.frame.voxel_nm) for r in SCALES_NM]
    fitting = [all(a <= 2 * b for a, b in zip(k.shape, expected.shape, strict=True)) for k in kernels]
    pad = max((max(k.shape) for k, fits in zip(kernels, fitting, strict=True) if fits), default=1) // 2
    shape = [fft.next_fast_len(n + pad, real=True) for n in expected.shape]
    counts_hat, expected_hat = (fft.rfftn(a, shape, workers=-1) for a in (field.counts, expected))
    best = np.full(expected.shape, -np.inf, np.float32)
    which = np.zeros(expected.shape, np.int8)
    for i, (profile, fits) in enumerate(zip(kernels, fitting, strict=True)):
        if not fits:
            continue
        loss, gain = np.log1p(-_DEPLETION * profile), _DEPLETION * profile
        ratio = _convolved(shape, expected.shape, (counts_hat, loss), (expected_hat, gain))
        better = (ratio > best) & field.centers
        best[better], which[better] = ratio[better], i
    return Scan(best, which)


@dataclass(frozen=True, eq=False)
class Roughness:
    """How much the counts scatter around their expectation, at the scale of small voids.

    Parameters
    ----------
    deviation
        Matched filter sum h_v (N_v - B_v) / sqrt(sum h_v^2 B_v) for a ball of 0.8 nm, shape of the grid: standard
        normal where chance alone is at work.
    known
        Voxels where it means something.
    frame
        The grid.
    """

    deviation: NDArray[np.float32]
    known: NDArray[np.bool_]
    frame: Frame

    @classmethod
    def of(cls, field: Field, table: Table, transmission: NDArray[np.float32]) -> Roughness:
        """Compare the counts with the background that known voids leave."""
        profile = kernel(table, _DISPERSION_NM, field.frame.voxel_nm)
        expected = field.expected * transmission
        shape = [fft.next_fast_len(n + max(profile.shape) // 2, real=True) for n in expected.shape]
        excess = _convolved(shape, expected.shape, (fft.rfftn(field.counts - expected, shape, workers=-1), profile))
        variance = _convolved(shape, expected.shape, (fft.rfftn(expected, shape, workers=-1), profile**2))
        known = field.centers & (variance > 1e-3 * float(variance.max(initial=0.0)))
        deviation = np.divide(excess, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(excess), where=known)
        return cls(deviation, known, field.frame)

    def dispersion(self) -> float:
        """Variance of the counts over that of Poisson's law, from the quartiles over the whole specimen.

        A crystal gives less than 1, because a site holds one ion at most; clusters and steps of the density give more.
        """
        return _from_quartiles(self.deviation[self.known]) if self.known.any() else 1.0

    def around(self, centers_nm: NDArray[np.float64], radius_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same within 5 nm of the surface of each void, shape (K,); NaN where too little is known there."""
        out = np.full(len(centers_nm), np.nan)
        for k, (center, radius) in enumerate(zip(centers_nm, radius_nm, strict=True)):
            reach = (radius + _SURROUNDINGS_NM) / self.frame.voxel_nm
            middle = (center - self.frame.origin_nm) / self.frame.voxel_nm - 0.5
            low = np.maximum(np.ceil(middle - reach), 0).astype(int)
            high = np.minimum(np.floor(middle + reach) + 1, self.frame.shape).astype(int)
            here = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            axes = np.ogrid[here]
            distance2 = sum((axis - m) ** 2 for axis, m in zip(axes, middle, strict=True))
            inside = self.known[here] & (distance2 <= reach**2) & (distance2 > (radius / self.frame.voxel_nm) ** 2)
            if inside.sum() >= _LEAST_VOXELS:
                out[k] = _from_quartiles(self.deviation[here][inside])
        return out


def _from_quartiles(values: NDArray[np.float32]) -> float:
    low, high = np.percentile(values, [25, 75])
    return float(((high - low) / _IQR_OF_NORMAL) ** 2)


def _convolved(
    shape: list[int], out: tuple[int, ...], *pairs: tuple[NDArray[Any], NDArray[Any]]
) -> NDArray[np.float32]:
    """Sum of the convolutions of transformed grids with symmetric kernels, cropped to the grid."""
    total = None
    for transformed, small in pairs:
        wrapped = np.zeros(shape, np.float32)
        wrapped[tuple(slice(n) for n in small.shape)] = small
        wrapped = np.roll(wrapped, [-(n // 2) for n in small.shape], axis=(0, 1, 2))
        part = transformed * fft.rfftn(wrapped, workers=-1)
        total = part if total is None else total + part
    full = fft.irfftn(total, shape, workers=-1)
    return np.asarray(full[tuple(slice(n) for n in out)], np.float32)


def peaks(found: Scan, field: Field, least: float, limit: int) -> NDArray[np.float64]:
    """Local maxima of the scan, strongest first; shape (M, 6), states as in `likelihood`."""
    top = ndimage.maximum_filter(found.log_ratio, 3)
    ijk = np.argwhere((found.log_ratio >= least) & (found.log_ratio == top))
    height = found.log_ratio[tuple(ijk.T)]
    ijk = ijk[np.argsort(-height, kind="stable")[:limit]]
    states = np.zeros((len(ijk), 6))
    states[:, :3] = field.frame.origin_nm + (ijk + 0.5) * field.frame.voxel_nm
    states[:, 3] = np.log(np.asarray(SCALES_NM)[found.scale_idx[tuple(ijk.T)]])
    states[:, 4] = np.log(_DEPLETION / (1 - _DEPLETION))
    return states


def prune(
    states: NDArray[np.float64],
    field: Field,
    transmission: NDArray[np.float32],
    table: Table,
    scale_error: float,
    least: float,
    multiply: object,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Keep the peaks that explain counts which stronger ones leave unexplained.

    Each peak tries all radii against the expectation with those before it; a peak whose center lies in the ball of
    another is none of its own.

    Returns
    -------
    The states kept, shape (M, 6), and the transmission with them.
    """
    kept: list[NDArray[np.float64]] = []
    left = transmission.copy()
    for state in states:
        if any(np.sum((state[:3] - k[:3]) ** 2) < np.exp(2 * max(state[3], k[3])) for k in kept):
            continue
        best, height = state, -np.inf
        window = cut(field, left, state[:3], float(np.exp(state[3])), table)
        n, total = float(window.counts.sum()), float(window.expected.sum())
        for radius in SCALES_NM:
            trial = state.copy()
            trial[3] = np.log(radius)
            ratio = log_ratio(window, trial, table, scale_error, n, total)
            if ratio > height:
                best, height = trial, ratio
        if height < 0.75 * least:
            continue
        kept.append(best)
        multiply(left, best)  # type: ignore[operator]
    return np.array(kept).reshape(-1, 6), left


def cut(
    field: Field, transmission: NDArray[np.float32], center_nm: NDArray[np.float64], radius_nm: float, table: Table
) -> Window:
    """Cut the surroundings of a place out of the grid: its ball, the blur and a border."""
    voxel = field.frame.voxel_nm
    lateral = 1.3 * radius_nm + 3 * table.sigma_lateral_nm + _BORDER_NM
    depth = 1.3 * radius_nm + 3 * table.sigma_depth_nm + _BORDER_NM
    reach = np.array([lateral, lateral, depth])
    origin = field.frame.origin_nm
    low = np.clip(np.floor((center_nm - reach - origin) / voxel).astype(int), 0, None)
    high = np.minimum(np.ceil((center_nm + reach - origin) / voxel).astype(int), field.frame.shape)
    here = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Window(
        np.ascontiguousarray(field.counts[here]),
        np.ascontiguousarray(field.expected[here] * transmission[here]),
        origin + (low + 0.5) * voxel,
        voxel,
    )
