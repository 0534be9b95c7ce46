"""Figures of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_aptdefect.pipeline.benchmark.names import ALL_MATRIX, ANALYZE, BOUND, FUSED
from napari_aptdefect.pipeline.benchmark.summary import Row
from napari_aptdefect.plot.canvas import house_style, new_figure, png_bytes

_COORDINATES_COLOR: Final = "#0072b2"
_FUSED_COLOR: Final = "#d55e00"
_OURS_COLOR: Final = "#000000"
_BOUND_COLOR: Final = "#009e73"
_D_PRIME_EDGES: Final = (0.0, 1.0, 2.0, 4.0, 6.0, 10.0, 20.0, math.inf)
_LEAST_RATE: Final = 0.3


def write_figures(rows: Sequence[Row], targets: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Path, ...]:
    """Draw all figures as PNG files.

    Parameters
    ----------
    rows
        One per method and level.
    targets
        One per target and method.
    folder
        Folder to write to.

    Returns
    -------
    The files: ``scores.png``, ``recall.png``, ``false.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw: dict[str, Callable[[], Figure]] = {
        "scores": lambda: scores_figure(rows),
        "recall": lambda: recall_figure(targets),
        "false": lambda: false_figure(rows),
    }
    paths = []
    for name, function in draw.items():
        with house_style():
            data = png_bytes(function())
        path = folder / f"{name}.png"
        temporary = path.with_suffix(".partial")
        temporary.write_bytes(data)
        temporary.replace(path)
        paths.append(path)
    return tuple(paths)


def scores_figure(rows: Sequence[Row]) -> Figure:
    """Macro-F1 and mean IoU of each method (rows) at each level (columns), the bound as a line."""
    levels, names = _levels(rows), _names(rows)
    figure = new_figure(2.0 + 2.0 * len(levels), 1.6 + 0.46 * len(names))
    axes = figure.subplots(2, len(levels), sharey=True, squeeze=False)
    scores = (("macro_f1_majority", "macro-F1, majority names"), ("mean_iou", "mean IoU of defect classes"))
    for line, (score, title) in zip(axes, scores, strict=True):
        for axis, level in zip(line, levels, strict=True):
            mine = [row for row in rows if row.level == level]
            for row in mine:
                interval = row.scores[score]
                if row.method == BOUND:
                    axis.axvline(interval.mean, color=_BOUND_COLOR, linestyle="--", linewidth=1.2)
                elif row.method in names:
                    _dot(axis, row, names, interval.mean, interval.low, interval.high)
            axis.set_xlim(0, 1)
            axis.set_xlabel(title if level == levels[0] else "")
            axis.set_title(f"level {level}" if score == scores[0][0] else "")
            _name_axis(axis, names)
    _legend(figure, rows)
    return figure


def false_figure(rows: Sequence[Row]) -> Figure:
    """False claims per million ions on wires without defects."""
    levels, names = _levels(rows), _names(rows)
    figure = new_figure(2.0 + 2.0 * len(levels), 1.5 + 0.26 * len(names))
    axes = figure.subplots(1, len(levels), sharey=True, sharex=True, squeeze=False)[0]
    for axis, level in zip(axes, levels, strict=True):
        for row in rows:
            if row.level == level and row.method in names and row.false["empty"].n_ions:
                rate = row.false["empty"]
                low, high = rate.interval
                _dot(axis, row, names, max(rate.per_million, _LEAST_RATE), max(low, _LEAST_RATE), high)
        axis.set_xscale("log")
        axis.set_title(f"level {level}")
        _name_axis(axis, names)
    axes[0].set_xlabel(f"false claims per million ions, empty wires (0 drawn at {_LEAST_RATE:g})", loc="left")
    _legend(figure, rows, with_bound=False)
    return figure


def recall_figure(targets: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of the targets that are found, whatever their name, by how detectable they are.

    Beside the usual IoU of 0.5, half of the ceiling of the known-geometry labeler: blur keeps small defects below 0.5
    whatever the method.
    """
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2, sharey=True)
    _recall_panel(left, targets, lambda row: row["iou"] > 0.5)
    _recall_panel(right, targets, lambda row: row["iou"] > 0.5 * row["iou_ceiling"] > 0)
    left.set_ylabel("share of targets found")
    left.set_title("IoU above 0.5")
    right.set_title("IoU above half of its ceiling")
    handles, labels = left.get_legend_handles_labels()
    for label, color in (("baselines, coordinates", _COORDINATES_COLOR), ("baselines, fused", _FUSED_COLOR)):
        handles += left.plot([], [], color=color, linewidth=0.9)
        labels.append(label)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.legend(handles, labels, loc="upper center", ncols=len(handles))
    return figure


def _recall_panel(
    axis: Axes, targets: Sequence[Mapping[str, Any]], is_found: Callable[[Mapping[str, Any]], bool]
) -> None:
    methods = dict.fromkeys((row["method"], row["space"]) for row in targets)
    n_bins = len(_D_PRIME_EDGES) - 1
    centers, n = np.arange(n_bins, dtype=float), np.zeros(n_bins, np.int64)
    for method, space in methods:
        mine = [row for row in targets if (row["method"], row["space"]) == (method, space)]
        place = np.searchsorted(_D_PRIME_EDGES, [row["d_prime"] for row in mine], side="right") - 1
        place = np.clip(place, 0, n_bins - 1)  # infinity lies beyond the last edge
        n = np.bincount(place, minlength=n_bins)
        n_found = np.bincount(place, [is_found(row) for row in mine], n_bins)
        share = np.divide(n_found, n, out=np.full(n_bins, np.nan), where=n > 0)
        if method in (ANALYZE, BOUND):
            color, shift = (_OURS_COLOR, -0.06) if method == ANALYZE else (_BOUND_COLOR, 0.06)
            style: dict[str, Any] = {"marker": "o", "markersize": 5, "linewidth": 1.6, "capsize": 2.5, "color": color}
            error = np.abs(_binomial(n_found, n) - share)
            axis.errorbar(centers + shift, share, yerr=error, label=method, zorder=3, **style)
        elif method != ALL_MATRIX:
            axis.plot(centers, share, color=_FUSED_COLOR if space == FUSED else _COORDINATES_COLOR, lw=0.9, alpha=0.45)
    ends = [f"{a:g}-{b:g}" if math.isfinite(b) else f"> {a:g}" for a, b in _pairs()]
    axis.set_xticks(centers, [f"{text}\nn = {count}" for text, count in zip(ends, n, strict=True)])
    axis.axvline(_D_PRIME_EDGES.index(6.0) - 0.5, color="#999999", linewidth=0.8, linestyle=":")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("d' of the ideal observer (right of the dotted line: visible)")


def _dot(axis: Axes, row: Row, names: Sequence[str], mean: float, low: float, high: float) -> None:
    if math.isnan(mean):
        return
    color, shift = _look(row)
    place = names.index(row.method) + shift
    if not math.isnan(low):
        axis.plot([low, high], [place, place], color=color, linewidth=1.1, solid_capstyle="butt")
    axis.plot([mean], [place], marker="o", markersize=4.2, color=color, linestyle="none")


def _look(row: Row) -> tuple[str, float]:
    if not row.space:
        return _OURS_COLOR, 0.0
    return (_FUSED_COLOR, 0.16) if row.space == FUSED else (_COORDINATES_COLOR, -0.16)


def _name_axis(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)


def _legend(figure: Figure, rows: Sequence[Row], *, with_bound: bool = True) -> None:
    from matplotlib.lines import Line2D

    entries: list[tuple[str, str, str, Any]] = [
        ("coordinates + composition", _COORDINATES_COLOR, "o", "-"),
        ("fused features", _FUSED_COLOR, "o", "-"),
    ]
    if any(row.method in (ANALYZE, ALL_MATRIX) for row in rows):
        entries.append(("no clustering", _OURS_COLOR, "o", "-"))
    if with_bound and any(row.method == BOUND for row in rows):
        entries.append((BOUND, _BOUND_COLOR, "", "--"))
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.2, linestyle=line, label=label)
        for label, color, marker, line in entries
    ]
    height = figure.get_figheight()
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.32 / height))
    figure.legend(handles=handles, loc="upper center", ncols=len(handles))


def _levels(rows: Sequence[Row]) -> list[int]:
    return sorted({row.level for row in rows})


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows if row.method != BOUND))


def _pairs() -> list[tuple[float, float]]:
    return list(pairwise(_D_PRIME_EDGES))


def _binomial(n_found: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Wilson's 95 % interval of shares, shape (2, K); NaN where nothing was counted."""
    from scipy.stats import binomtest

    ends = np.full((2, len(n)), np.nan)
    for i, (k, m) in enumerate(zip(n_found, n, strict=True)):
        if m:
            interval = binomtest(int(k), int(m)).proportion_ci(method="wilson")
            ends[:, i] = interval.low, interval.high
    return ends
