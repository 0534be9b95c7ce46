"""The structure of a specimen: pair distribution, coordination, bond angles."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError

_TINT, _RANDOM, _MARK = "#0072b2", "#999999", "#d55e00"


def draw_pair_distribution(
    axes: Axes,
    r_nm: NDArray[np.floating],
    g: NDArray[np.floating],
    g_error: NDArray[np.floating],
    cutoff_nm: float | None = None,
) -> None:
    """Draw g(r) with a band of two counting errors, and a mark at the cutoff.

    Parameters
    ----------
    axes
        Axes to draw in.
    r_nm, g, g_error
        Shape (n,): distance in nm, pair distribution, its counting error (one standard deviation).
    cutoff_nm
        Radius to mark, nm.

    Raises
    ------
    ShapeError
        If the arrays are not of one length.
    """
    if not np.shape(r_nm) == np.shape(g) == np.shape(g_error):
        raise ShapeError(f"g(r) needs arrays of one length, got {np.shape(r_nm)}, {np.shape(g)}, {np.shape(g_error)}")
    known = np.isfinite(g) & np.isfinite(g_error)
    r, value, spread = np.asarray(r_nm)[known], np.asarray(g)[known], 2 * np.asarray(g_error)[known]
    axes.axhline(1.0, color=_RANDOM, linewidth=0.8, label="random")
    axes.fill_between(r, value - spread, value + spread, color=_TINT, alpha=0.25, linewidth=0)
    axes.plot(r, value, color=_TINT, linewidth=1.4)
    if len(r):  # the first bins hold few pairs, and their errors would set the scale
        axes.set_ylim(0, 1.15 * max(float(value[spread < np.maximum(value, 0.5)].max(initial=1.0)), 1.0))
    if cutoff_nm is not None:
        axes.axvline(cutoff_nm, color=_MARK, linewidth=1.2, linestyle="--", label=f"cutoff {cutoff_nm:.2f} nm")
    axes.set_xlim(0, float(r.max()) if len(r) else 1.0)
    axes.set_xlabel("distance r (nm)")
    axes.set_ylabel("pair distribution g(r)")
    axes.legend(loc="lower right")


def draw_coordination(axes: Axes, counts: NDArray[np.integer]) -> None:
    """Draw how many ions have how many bonds.

    Parameters
    ----------
    axes
        Axes to draw in.
    counts
        Shape (n,): number of ions with 0, 1, 2, ... bonds.
    """
    axes.bar(np.arange(len(counts)), counts, width=0.85, color=_TINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("bonds of an ion")
    axes.set_ylabel("ions")


def draw_angles(axes: Axes, edges_deg: NDArray[np.floating], density: NDArray[np.floating]) -> None:
    """Draw the distribution of bond angles beside that of random directions.

    Parameters
    ----------
    axes
        Axes to draw in.
    edges_deg
        Shape (n + 1,): edges of the bins, degrees.
    density
        Shape (n,): share per degree.

    Raises
    ------
    ShapeError
        If edges and values do not belong together.
    """
    if len(edges_deg) != len(density) + 1:
        raise ShapeError(f"{len(density)} bins need {len(density) + 1} edges, got {len(edges_deg)}")
    middle = 0.5 * (np.asarray(edges_deg)[1:] + np.asarray(edges_deg)[:-1])
    axes.plot(middle, np.sin(np.radians(middle)) * np.pi / 360, color=_RANDOM, linewidth=1.2, label="random")
    axes.stairs(density, edges_deg, color=_TINT, linewidth=1.4)
    axes.set_xlim(0, 180)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(0, 181, 30))
    axes.set_xlabel("bond angle (degrees)")
    axes.set_ylabel("share per degree")
    axes.legend(loc="upper left")
