"""Poles and zone lines: the columns of wrong density in an image, calibrated on Poisson clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.consistency.images import Image, Slices, slice_image
from napari_aptdefect.apt.consistency.model import ColumnMap, ConsistencyParams, DensityColumn
from napari_aptdefect.apt.consistency.scan import Background, Scanner, Window, make_windows
from napari_aptdefect.stage import Progress, Stage

_PIXELS_PER_WIDTH: Final = 2.0  # of the narrowest column
_LEAST_COUNT: Final = 8.0  # ions under the narrowest window in a slice, below which z is not normal
_ROUNDS: Final = 2
_MOST: Final = 40
_EDGE: Final = 1.5  # standard deviations out to which ions belong to a column
_RIM: Final = 3.0  # standard deviations around a stronger column within which a weaker one is its rim
_LEAST_RATIO: Final = 0.01  # of a density to its surroundings
_EULER: Final = 0.5772156649


@dataclass(frozen=True, eq=False)
class Found:
    """Columns of one image.

    Parameters
    ----------
    columns
        The columns, the most significant first; `n_ions` and `path_nm` filled in.
    ratio
        Shape (M,), float32: density over the background, as the columns model it, at each ion in a column; 1 elsewhere.
    map
        The image.
    """

    columns: tuple[DensityColumn, ...]
    ratio: NDArray[np.float32]
    map: ColumnMap


@dataclass(frozen=True, eq=False)
class _Peak:
    """A window at a pixel, with what it measures there."""

    window: Window
    row: int
    x: int
    y: int
    significance: float
    by_slice: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def contrast(self) -> float:
        return float(np.nanmedian(self.by_slice))

    def shape_on(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        dx, dy = np.ogrid[: shape[0], : shape[1]]
        return self.window.shape_at(dx - float(self.x), dy - float(self.y))

    def holds(self, shape: tuple[int, ...], reach: float) -> NDArray[np.bool_]:
        dx, dy = np.ogrid[: shape[0], : shape[1]]
        along, across = self.window.turned(dx - float(self.x), dy - float(self.y))
        wide = (along / self.window.length) ** 2 + (across / self.window.width) ** 2
        return np.asarray(wide < reach * reach)


@dataclass(frozen=True)
class _Chance:
    """Gumbel law of the largest deviation of Poisson clouds."""

    place: float
    scale: float

    def probability(self, value: float) -> float:
        return -math.expm1(-math.exp(min((self.place - value) / self.scale, 50.0)))

    def threshold(self, probability: float) -> float:
        return self.place - self.scale * math.log(-math.log1p(-probability))


def find_columns(
    image: Image,
    xyz_nm: NDArray[np.float32],
    slice_idx: NDArray[np.int64],
    params: ConsistencyParams,
    false_alarms: float,
    rng: np.random.Generator,
) -> Stage[Found | None]:
    """Find columns whose density deviates from their surroundings in most depth slices.

    Parameters
    ----------
    image
        The image.
    xyz_nm
        Positions, shape (M, 3), nm.
    slice_idx
        Slice of each ion, shape (M,).
    params
        Parameters.
    false_alarms
        Probability of a column by chance anywhere in this image.
    rng
        Source of the Poisson clouds.

    Yields
    ------
    Progress over scan and calibration.

    Returns
    -------
    What was found; None where there are too few ions to judge a column.
    """
    width = params.pole_percent / 100 * image.radius
    margin = params.margin_percent / 100 * image.radius
    slices = slice_image(image, slice_idx, params.n_slices, width / _PIXELS_PER_WIDTH, margin)
    narrowest = width / slices.pixel
    total = params.n_simulated + _ROUNDS
    yield Progress(0, total, f"columns, {image.name}")
    if not _enough(slices, narrowest):
        return None
    windows = make_windows(narrowest)
    left_out = np.zeros(slices.core.shape[1:], np.bool_)
    background = Background(slices, narrowest, left_out)
    expected = background.of(slices.counts)
    scanner = Scanner(windows, slices.core, expected)
    largest = []
    for i in range(params.n_simulated):
        counts = rng.poisson(expected).astype(np.float64)
        z = scanner.significances((counts - background.of(counts)) * slices.core)
        largest.append(float(np.abs(scanner.combined(z, np.ones(len(windows)))).max()))
        yield Progress(1 + i, total, f"columns by chance, {image.name}")
    scale = max(float(np.std(largest, ddof=1)) * math.sqrt(6) / math.pi, 0.1)
    chance = _Chance(float(np.mean(largest)) - _EULER * scale, scale)
    peaks: list[_Peak] = []
    for i in range(_ROUNDS):
        peaks = _peaks(scanner, slices, expected, chance.threshold(false_alarms), params.min_contrast_percent / 100)
        for peak in peaks:
            left_out |= peak.holds(left_out.shape, _EDGE)
        yield Progress(params.n_simulated + 1 + i, total, f"columns, {image.name}")
        if not peaks or i == _ROUNDS - 1:
            break
        expected = Background(slices, narrowest, left_out).of(slices.counts)
        scanner = Scanner(windows, slices.core, expected)
    return _found(image, xyz_nm, slice_idx, slices, expected, windows[0], peaks, chance, chance.threshold(false_alarms))


def _enough(slices: Slices, narrowest: float) -> bool:
    """Whether the narrowest window holds enough ions in a typical slice."""
    inside = slices.core.sum(axis=(1, 2))
    if (inside == 0).mean() > 0.25:
        return False
    per_pixel = [c[m].mean() for c, m in zip(slices.counts, slices.core, strict=True) if m.any()]
    return bool(np.median(per_pixel) * 4 * np.pi * narrowest**2 >= _LEAST_COUNT)


def _peaks(
    scanner: Scanner, slices: Slices, expected: NDArray[np.float64], threshold: float, least_contrast: float
) -> list[_Peak]:
    """Strongest deviations one after the other, each taken off before the next is looked for."""
    residual = (slices.counts - expected) * slices.core
    peaks: list[_Peak] = []
    dispersion = scanner.dispersion(scanner.significances(residual))
    for _ in range(_MOST):
        z = scanner.combined(scanner.significances(residual), dispersion)
        row, x, y = (int(i) for i in np.unravel_index(np.argmax(np.abs(z)), z.shape))
        if abs(z[row, x, y]) < threshold:
            break
        seen = slices.core[:, x, y]
        by_slice = np.where(seen, scanner.amplitudes(residual)[row][:, x, y], np.nan)
        error = np.where(seen, dispersion[row] / np.sqrt(scanner.power[row][:, x, y]), np.nan)
        peak = _Peak(scanner.windows[row], row, x, y, float(z[row, x, y]), by_slice, error)
        peaks.append(peak)
        residual -= np.nan_to_num(by_slice)[:, None, None] * peak.shape_on(z.shape[1:]) * expected
    return _without_rims([peak for peak in peaks if abs(peak.contrast) >= least_contrast], slices.core.shape[1:])


def _without_rims(peaks: list[_Peak], shape: tuple[int, ...]) -> list[_Peak]:
    """Leave out what lies around a stronger column and is less than half as strong: its shape is no Gaussian."""
    kept: list[_Peak] = []
    for peak in peaks:
        near = (one for one in kept if one.holds(shape, _RIM)[peak.x, peak.y])
        if not any(abs(peak.contrast) < 0.5 * abs(one.contrast) for one in near):
            kept.append(peak)
    return kept


def _found(
    image: Image,
    xyz_nm: NDArray[np.float32],
    slice_idx: NDArray[np.int64],
    slices: Slices,
    expected: NDArray[np.float64],
    narrowest: Window,
    peaks: list[_Peak],
    chance: _Chance,
    threshold: float,
) -> Found:
    """Ions, paths and densities of the columns."""
    shape = slices.core.shape[1:]
    whole = np.asarray(slices.core.any(axis=0), np.bool_)
    smooth = Scanner((narrowest,), whole[None], expected.sum(axis=0, keepdims=True))
    residual = ((slices.counts - expected) * slices.core).sum(axis=0, keepdims=True)
    contrast = smooth.mean_ratio(residual, expected.sum(axis=0, keepdims=True))[0]
    model = 1 + sum((peak.contrast * peak.shape_on(shape) for peak in peaks), np.zeros(shape))
    model = np.maximum(model, _LEAST_RATIO)
    ratio = np.ones(len(xyz_nm), np.float32)
    columns = []
    for peak in sorted(peaks, key=lambda one: -abs(one.significance)):
        held = peak.holds(shape, _EDGE) & whole
        ions = (slices.cell >= 0) & held.ravel()[slices.cell]
        ratio[ions] = model.ravel()[slices.cell[ions]]
        columns.append(_column(image, xyz_nm, slice_idx, slices, peak, ions, chance))
    drawn = np.where(whole, contrast, np.nan).astype(np.float32)
    drawn_map = ColumnMap(image.name, slices.origin, slices.pixel, image.unit, drawn, threshold)
    return Found(tuple(columns), ratio, drawn_map)


def _column(
    image: Image,
    xyz_nm: NDArray[np.float32],
    slice_idx: NDArray[np.int64],
    slices: Slices,
    peak: _Peak,
    ions: NDArray[np.bool_],
    chance: _Chance,
) -> DensityColumn:
    n_slices = len(peak.by_slice)
    n = np.bincount(slice_idx[ions], minlength=n_slices)
    path = np.full((n_slices, 3), np.nan)
    for axis in range(3):
        total = np.bincount(slice_idx[ions], xyz_nm[ions, axis], minlength=n_slices)
        path[n > 0, axis] = total[n > 0] / n[n > 0]
    seen = np.isfinite(peak.by_slice)
    n_seen = max(int(seen.sum()), 1)
    counting = 1 / np.sqrt(np.sum(1 / peak.error[seen] ** 2))
    scatter = float(np.std(peak.by_slice[seen], ddof=1)) / math.sqrt(n_seen) if n_seen > 1 else 0.0
    return DensityColumn(
        kind="pole" if math.isnan(peak.window.direction_deg) else "zone line",
        center=slices.origin + (np.array([peak.x, peak.y]) + 0.5) * slices.pixel,
        direction_deg=peak.window.direction_deg,
        width=peak.window.width * slices.pixel,
        length=peak.window.length * slices.pixel,
        unit=image.unit,
        contrast=peak.contrast,
        contrast_error=math.sqrt(math.pi / 2) * max(float(counting), scatter),  # of a median
        by_slice=peak.by_slice,
        significance=abs(peak.significance),
        false_alarm=chance.probability(abs(peak.significance)),
        n_ions=int(ions.sum()),
        path_nm=path,
    )


def merged(found: list[Found]) -> Found:
    """Columns of several images of the same ions: each column from the image that shows it best."""
    best = found[0]
    for other in found[1:]:
        best = _join(best, other)
    return best


def _join(first: Found, second: Found) -> Found:
    columns = sorted([*first.columns, *second.columns], key=lambda one: -one.significance)
    kept: list[DensityColumn] = []
    for column in columns:
        if not any(_same(column, one) for one in kept):
            kept.append(column)
    away = np.abs(second.ratio - 1) > np.abs(first.ratio - 1)
    return replace(first, columns=tuple(kept), ratio=np.where(away, second.ratio, first.ratio))


def _same(one: DensityColumn, other: DensityColumn) -> bool:
    """Whether two columns run beside each other within their widths."""
    gap = np.linalg.norm(one.path_nm[:, :2] - other.path_nm[:, :2], axis=1)
    reach = 2 * max(one.length, other.length)
    return bool(np.nanmedian(gap) < reach) if np.isfinite(gap).any() else False
