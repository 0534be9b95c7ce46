"""Profiles and proxigrams: fractions with bands of their counting errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot.canvas import plain
from napari_aptdefect.plot.colors import Color, hex_color, palette


def draw_profile(
    axes: Axes,
    edges_nm: NDArray[np.floating],
    fraction: NDArray[np.floating],
    error: NDArray[np.floating],
    names: Sequence[str],
    *,
    label: str = "distance",
    colors: Sequence[Color] | None = None,
    at_surface: bool = False,
) -> None:
    """Draw the composition along a coordinate.

    Parameters
    ----------
    axes
        Axes to draw in.
    edges_nm
        Shape (n + 1,): limits of the bins, nm.
    fraction, error
        Shape (n, n_elements): atomic fractions and their standard errors; bins of NaN leave a gap.
    names
        Names of the elements, in the order of the columns.
    label
        Name of the coordinate, without the unit.
    colors
        Color of each element; a set that every eye tells apart by default.
    at_surface
        Mark distance 0, where a proxigram has its surface.

    Raises
    ------
    ShapeError
        If the arrays do not belong together.

    Notes
    -----
    Bands are one standard error to either side: a third of them should miss the truth.
    """
    edges = np.asarray(edges_nm, float)
    if np.shape(fraction) != (len(edges) - 1, len(names)) or np.shape(error) != np.shape(fraction):
        raise ShapeError(
            f"a profile of {len(edges) - 1} bins and {len(names)} elements got fractions {np.shape(fraction)} and "
            f"errors {np.shape(error)}"
        )
    centers = 0.5 * (edges[:-1] + edges[1:])
    for column, color in enumerate((colors or palette(len(names)))[: len(names)]):
        value, spread = 100 * np.asarray(fraction)[:, column], 100 * np.asarray(error)[:, column]
        tint = hex_color(color)
        axes.fill_between(centers, value - spread, value + spread, color=tint, alpha=0.3, linewidth=0)
        axes.plot(centers, value, color=tint, linewidth=1.2, marker="o", markersize=2.5, label=plain(names[column]))
    if at_surface:
        axes.axvline(0.0, color="#666666", linewidth=0.8, linestyle="--")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{plain(label, 48)} (nm)")
    axes.set_ylabel("atomic fraction (%)")
    if names:
        axes.legend(loc="best", ncols=1 if len(names) < 6 else 2)
