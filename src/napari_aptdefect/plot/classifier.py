"""What a classifier promises and why: reliability curves, and coefficients with the names of the features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot.canvas import plain

_TINT, _EVEN, _LESS = "#0072b2", "#999999", "#d55e00"


def draw_reliability(
    axes: Axes,
    probability: NDArray[np.floating],
    frequency: NDArray[np.floating],
    n: NDArray[np.integer],
    *,
    title: str = "",
) -> None:
    """Draw how often what was said with a probability was so; the diagonal is as it should be.

    Parameters
    ----------
    axes
        Axes to draw in.
    probability, frequency
        Shape (B,): mean probability and frequency in each bin.
    n
        Shape (B,): number of ions there; bars are 95 % intervals (Wilson 1927, doi 10.1080/01621459.1927.10502953).
    title
        Title; none when empty.

    Raises
    ------
    ShapeError
        If the arrays are not of one length.
    """
    if not np.shape(probability) == np.shape(frequency) == np.shape(n):
        raise ShapeError(
            f"a reliability curve needs arrays of one length, got {np.shape(probability)}, {np.shape(frequency)}, "
            f"{np.shape(n)}"
        )
    at, value, count = (np.asarray(a, np.float64) for a in (probability, frequency, n))
    z = 1.96
    middle = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    axes.plot([0, 1], [0, 1], color=_EVEN, linewidth=0.8)
    axes.vlines(at, middle - half, middle + half, color=_TINT, linewidth=1)
    axes.plot(at, value, color=_TINT, marker="o", markersize=4, linewidth=1)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("probability stated")
    axes.set_ylabel("share of ions of the type")
    if title:
        axes.set_title(plain(title, 40))


def draw_coefficients(
    axes: Axes, features: Sequence[str], weights: NDArray[np.floating], *, most: int = 15, title: str = ""
) -> None:
    """Draw the largest coefficients of a type as bars: right speaks for it, left against.

    Parameters
    ----------
    axes
        Axes to draw in.
    features
        Names of the d features.
    weights
        Shape (d,): log-odds per standard deviation.
    most
        Number of bars at most.
    title
        Title; none when empty.

    Raises
    ------
    ShapeError
        If there is not one coefficient per name.
    """
    if np.shape(weights) != (len(features),):
        raise ShapeError(f"{len(features)} features need as many coefficients, got shape {np.shape(weights)}")
    shown = np.argsort(-np.abs(weights), kind="stable")[:most]
    value = np.asarray(weights, np.float64)[shown]
    at = np.arange(len(shown))
    axes.barh(at, value, color=np.where(value < 0, _LESS, _TINT).tolist(), height=0.75)
    axes.axvline(0, color="#444444", linewidth=0.7)
    axes.set_yticks(at, [plain(features[i], 34) for i in shown])
    axes.invert_yaxis()
    axes.set_xlabel("log-odds per standard deviation")
    if title:
        axes.set_title(plain(title, 40))
