"""Feature-space clusters: how good each number of them is, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from napari_aptdefect.plot.colors import UNRANGED_COLOR, Color, hex_color


def draw_silhouette(
    axes: Axes, scores: Sequence[tuple[int, float, float]], chosen: int | None, eigengap_k: int | None = None
) -> None:
    """Draw the mean silhouette against the number of clusters, with standard errors.

    Parameters
    ----------
    axes
        Axes to draw in.
    scores
        (number of clusters, mean silhouette, its standard error); NaN where the error is not known.
    chosen
        Number of clusters that was taken, or None.
    eigengap_k
        Number of clusters that the eigenvalues suggest, or None.
    """
    k = [int(row[0]) for row in scores]
    score = np.array([row[1] for row in scores], float)
    error = np.nan_to_num(np.array([row[2] for row in scores], float))
    axes.errorbar(k, score, yerr=error, color="#333333", marker="o", markersize=4, linewidth=1, capsize=3)
    if chosen in k:
        at = k.index(chosen)
        axes.plot([chosen], [score[at]], marker="o", markersize=10, markerfacecolor="none", color="#d55e00", mew=2)
        axes.set_title(f"k = {chosen} was taken")
    if eigengap_k:
        axes.axvline(eigengap_k, color="#0072b2", linewidth=1, linestyle=":", label="eigengap")
        axes.legend(loc="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08, y=0.15)
    axes.set_xlabel("number of clusters k")
    axes.set_ylabel("mean silhouette")


def draw_sizes(
    axes: Axes, ids: NDArray[np.integer], sizes: NDArray[np.integer], n_none: int, colors: Sequence[Color]
) -> None:
    """Draw the number of ions of each cluster as bars, with the number written at each.

    Parameters
    ----------
    axes
        Axes to draw in.
    ids
        Numbers of the clusters, shape (k,).
    sizes
        Ions of each, shape (k,).
    n_none
        Ions of no cluster; no bar where it is 0.
    colors
        Color of each cluster.
    """
    names = [str(i) for i in ids]
    values = [int(n) for n in sizes]
    tints = [hex_color(color) for color in colors[: len(values)]]
    if n_none:
        names.append("none")
        values.append(n_none)
        tints.append(hex_color(UNRANGED_COLOR))
    at = np.arange(len(values))
    axes.barh(at, values, color=tints, edgecolor="#555555", linewidth=0.5)
    total = max(sum(values), 1)
    for i, n in enumerate(values):
        axes.annotate(
            f"{n:,} ({100 * n / total:.3g} %)", (n, i), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * max([*values, 1]))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("ions")
    axes.set_ylabel("cluster")
