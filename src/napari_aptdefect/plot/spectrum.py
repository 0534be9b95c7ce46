"""Mass spectra: log counts, ranges in the colors of their ions, labels that do not cover one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data import RangeTable
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.plot.canvas import plain, text_size_px
from napari_aptdefect.plot.colors import Color, species_colors
from napari_aptdefect.plot.labels import Box, place_above

_BINS: Final = 3000
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts per bin of mass-to-charge.

    Parameters
    ----------
    edges_da
        Shape (n + 1,), equally spaced, Da.
    counts
        Shape (n,), ions per bin.
    n_outside
        Ions below the first or above the last edge.
    n_not_finite
        Ions whose mass-to-charge is no number.
    """

    edges_da: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_outside: int
    n_not_finite: int

    @property
    def bin_da(self) -> float:
        """Width of a bin, Da."""
        return float(self.edges_da[1] - self.edges_da[0])


def histogram(mass_da: NDArray[np.floating], lo_da: float, hi_da: float, *, bins: int = _BINS) -> Spectrum:
    """Count ions in equal bins whose width is 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    mass_da
        Mass-to-charge ratios, shape (N,), Da.
    lo_da, hi_da
        Interval to cover, Da.
    bins
        Largest number of bins.

    Returns
    -------
    The counts, with how many ions lie outside.

    Raises
    ------
    ParameterError
        If the interval is empty.

    Examples
    --------
    >>> histogram(np.array([1.0, 1.1, 27.98]), 0, 30).counts.sum()
    np.int64(3)
    """
    if not hi_da > lo_da:
        raise ParameterError(f"a spectrum needs lo_da < hi_da, got {lo_da} and {hi_da}")
    width = nice_step((hi_da - lo_da) / bins)
    n = max(int(np.ceil(round((hi_da - lo_da) / width, 6))), 1)
    counts = np.zeros(n, np.int64)
    n_inside = n_finite = 0
    for start in range(0, len(mass_da), _BLOCK):
        block = np.asarray(mass_da[start : start + _BLOCK], np.float64)
        block = block[np.isfinite(block)]
        n_finite += len(block)
        # compared as numbers before the cast: a hijacked mass column may hold values no integer can
        block = block[(block >= lo_da) & (block < lo_da + n * width)]
        n_inside += len(block)
        idx = np.minimum(((block - lo_da) / width).astype(np.int64), n - 1)
        counts += np.bincount(idx, minlength=n)
    edges = np.asarray(lo_da + width * np.arange(n + 1), np.float64)
    return Spectrum(edges, counts, n_finite - n_inside, len(mass_da) - n_finite)


def nice_step(step: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `step`.

    Examples
    --------
    >>> nice_step(0.3), nice_step(7.0)
    (0.5, 10.0)
    """
    power = 10.0 ** np.floor(np.log10(step))
    factor = next(f for f in (1.0, 2.0, 5.0, 10.0) if f * power >= step * (1 - 1e-9))
    return float(factor * power)


def whole_range(mass_da: NDArray[np.floating], ranges: RangeTable) -> tuple[float, float]:
    """Interval from 0 that shows all ranges and nearly all ions, Da.

    A percentile of a sample bounds it (the 98th, or the 99.9th where there is no range), so that background and a few
    wild masses do not squeeze the peaks.
    """
    sample = as_vector(mass_da[:: max(1, len(mass_da) // 500_000)], "mass_da", dtype=np.float64)
    sample = sample[np.isfinite(sample) & (sample >= 0)]
    share = 0.98 if ranges.ranges else 0.999
    top = float(np.quantile(sample, share)) * 1.05 if len(sample) else 0.0
    top = min(top, 500.0)  # nothing is ranged beyond; noise may be
    highest = [r.hi_da for r in ranges.ranges if np.isfinite(r.hi_da)]
    return 0.0, max(top, *(hi + min(0.25 * hi, 20.0) for hi in highest), 1.0)


def dense_range(spectrum: Spectrum, share: float = 0.9) -> tuple[float, float]:
    """Shortest interval that holds a share of the counts, widened by 6 %, Da.

    Parameters
    ----------
    spectrum
        Spectrum over the whole range.
    share
        Share of the counts to hold.

    Returns
    -------
    Lower and upper end; the ends of the spectrum where it is empty.
    """
    total = np.concatenate(([0], np.cumsum(spectrum.counts)))
    if total[-1] == 0:
        return float(spectrum.edges_da[0]), float(spectrum.edges_da[-1])
    stop = np.searchsorted(total, total[:-1] + share * total[-1])
    valid = np.flatnonzero(stop < len(total))
    start = valid[np.argmin(spectrum.edges_da[stop[valid]] - spectrum.edges_da[valid])]
    lo, hi = float(spectrum.edges_da[start]), float(spectrum.edges_da[stop[start]])
    margin = max(0.06 * (hi - lo), 0.5)
    return max(lo - margin, float(spectrum.edges_da[0])), min(hi + margin, float(spectrum.edges_da[-1]))


def draw_spectrum(axes: Axes, spectrum: Spectrum, ranges: RangeTable, *, label: bool = True) -> int:
    """Draw a spectrum with log counts and shaded ranges.

    Parameters
    ----------
    axes
        Axes of a figure made by `new_figure`, in their final place.
    spectrum
        What to draw.
    ranges
        Ranges to shade, in the colors of their ions.
    label
        Write the names of the ions above their tallest peaks.

    Returns
    -------
    Number of ions in view that found no room for their name.
    """
    edges, counts = spectrum.edges_da, spectrum.counts
    axes.set_yscale("log")
    axes.set_xlim(edges[0], edges[-1])
    top = max(float(counts.max(initial=1)), 1.0)
    axes.set_ylim(0.5, (2 * top) ** 1.3)  # room for labels, in equal parts of a log axis
    axes.set_xlabel("mass-to-charge (Da)")
    axes.set_ylabel(f"ions per {spectrum.bin_da:g} Da")
    axes.fill_between(edges, np.append(counts, 0), step="post", color="#9a9a9a", linewidth=0)
    colors = species_colors(ranges.ions)
    for item in ranges.ranges:
        if item.hi_da >= edges[0] and item.lo_da <= edges[-1]:
            _shade(axes, spectrum, item.lo_da, item.hi_da, colors[item.ion_idx])
    axes.step(edges, np.append(counts, 0), where="post", color="#222222", linewidth=0.5)
    return _label_peaks(axes, spectrum, ranges, colors) if label else 0


def draw_background(axes: Axes, spectrum: Spectrum, level_per_sqrt_da: float, from_da: float, to_da: float) -> None:
    """Draw the background that is even in time of flight: level (sqrt(b) - sqrt(a)) ions from a to b.

    Parameters
    ----------
    axes
        Axes that `draw_spectrum` drew in.
    spectrum
        The same spectrum.
    level_per_sqrt_da
        Ions per sqrt(Da).
    from_da, to_da
        Where it was measured; it is drawn only there, Da.
    """
    edges = spectrum.edges_da
    inside = (edges[:-1] >= from_da) & (edges[1:] <= to_da)
    middles = 0.5 * (edges[:-1] + edges[1:])[inside]
    expected = level_per_sqrt_da * np.diff(np.sqrt(np.maximum(edges, 0.0)))[inside]
    axes.plot(middles, expected, color="#d55e00", linewidth=1.2, linestyle="--")


def _shade(axes: Axes, spectrum: Spectrum, lo_da: float, hi_da: float, color: Color) -> None:
    rgb = tuple(c / 255 for c in color)
    axes.axvspan(lo_da, hi_da, ymax=1.0, color=rgb, alpha=0.16, linewidth=0)
    edges = spectrum.edges_da
    first = max(int(np.searchsorted(edges, lo_da, side="right")) - 1, 0)
    last = min(int(np.searchsorted(edges, hi_da)), len(edges) - 1)
    x = np.clip(edges[first : last + 1], lo_da, hi_da)
    y = np.append(spectrum.counts[first:last], 0)
    if len(x) > 1:
        axes.fill_between(x, y, step="post", color=rgb, linewidth=0)


def _label_peaks(axes: Axes, spectrum: Spectrum, ranges: RangeTable, colors: Sequence[Color]) -> int:
    """Name each ion above its tallest peak in view; return how many found no room."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ParameterError("the axes belong to no figure; make one with new_figure")
    figure.draw_without_rendering()
    peaks = _tallest_peaks(spectrum, ranges)
    names = [plain(ranges.ions[idx].name, 12) for idx, _, _ in peaks]
    frame: Bbox = axes.get_window_extent()
    bounds = Box(frame.x0 + 2, frame.y0, frame.x1 - 2, frame.y1 - 2)
    data = np.column_stack([spectrum.edges_da[:-1] + spectrum.bin_da / 2, np.maximum(spectrum.counts, 0.5)])
    sky = axes.transData.transform(data)
    anchors = axes.transData.transform(np.array([(x, y) for _, x, y in peaks]).reshape(-1, 2))
    sizes = np.array([text_size_px(axes, name, 8.0) for name in names]).reshape(-1, 2)
    placed = place_above(anchors, sizes, bounds, (sky[:, 0], sky[:, 1]))
    to_axes = axes.transAxes.inverted()
    for (idx, _, _), name, anchor, box in zip(peaks, names, anchors, placed, strict=True):
        if box is None:
            continue
        x, y = to_axes.transform(((box.x0 + box.x1) / 2, box.y0))
        axes.text(x, y, name, transform=axes.transAxes, fontsize=8.0, ha="center", va="bottom", color="#111111")
        ends = to_axes.transform([(anchor[0], anchor[1] + 1), (anchor[0], max(box.y0 - 1, anchor[1] + 1))])
        axes.plot(ends[:, 0], ends[:, 1], transform=axes.transAxes, color="#666666", linewidth=0.6)
        swatch = to_axes.transform([(box.x0, box.y0 - 1), (box.x1, box.y0 - 1)])
        color = tuple(c / 255 for c in colors[idx])
        axes.plot(swatch[:, 0], swatch[:, 1], transform=axes.transAxes, color=color, linewidth=2.0)
    return sum(box is None for box in placed)


def _tallest_peaks(spectrum: Spectrum, ranges: RangeTable) -> list[tuple[int, float, float]]:
    """(ion index, m/z, counts) of the tallest bin of each ion in view, tallest first."""
    best: dict[int, tuple[float, float]] = {}
    edges = spectrum.edges_da
    for item in ranges.ranges:
        first = max(int(np.searchsorted(edges, item.lo_da, side="right")) - 1, 0)
        last = min(int(np.searchsorted(edges, item.hi_da)), len(spectrum.counts))
        if last <= first or item.hi_da < edges[0] or item.lo_da > edges[-1]:
            continue
        at = first + int(np.argmax(spectrum.counts[first:last]))
        height = float(spectrum.counts[at])
        if height > best.get(item.ion_idx, (0.0, 0.0))[1]:
            best[item.ion_idx] = (float(edges[at]) + spectrum.bin_da / 2, height)
    return sorted(((idx, x, y) for idx, (x, y) in best.items()), key=lambda peak: (-peak[2], peak[0]))
