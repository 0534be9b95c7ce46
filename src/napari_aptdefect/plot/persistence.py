"""Persistent homology: diagram of births and deaths, and Betti curves beside those of random clouds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError

_NAMES: Final = ("components", "loops", "cavities")
_TINTS: Final = ("#999999", "#0072b2", "#d55e00")
_BEYOND: Final = 24.0  # area of a dot beyond its threshold, points^2


def draw_persistence(
    axes: Axes, intervals_nm: Sequence[NDArray[np.floating]], thresholds_nm: Sequence[float] | None = None
) -> None:
    """Draw when classes appear and disappear; the farther above the diagonal, the longer they live.

    Parameters
    ----------
    axes
        Axes to draw in.
    intervals_nm
        For components, loops and cavities: births and deaths, shape (m, 2), nm. The component that stays is left out.
    thresholds_nm
        Life beyond which a class of each dimension is not chance, nm: a dashed line, with larger dots beyond it; not
        drawn when None.

    Raises
    ------
    ShapeError
        If there are not three sets of intervals, or not as many thresholds.
    """
    if len(intervals_nm) != len(_NAMES) or (thresholds_nm is not None and len(thresholds_nm) != len(_NAMES)):
        raise ShapeError(f"a diagram needs intervals (and thresholds) of {', '.join(_NAMES)}, got {len(intervals_nm)}")
    ended = [np.asarray(one, float).reshape(-1, 2) for one in intervals_nm]
    ended = [one[np.isfinite(one[:, 1])] for one in ended]
    top = 1.05 * max((float(one.max()) for one in ended if len(one)), default=1.0)
    axes.plot([0, top], [0, top], color="#666666", linewidth=0.8)
    for dimension, (name, tint, one) in enumerate(zip(_NAMES, _TINTS, ended, strict=True)):
        size = np.full(len(one), np.clip(600 / max(len(one), 1), 2, 12))
        if thresholds_nm is not None:
            size[one[:, 1] - one[:, 0] > thresholds_nm[dimension]] = _BEYOND
        axes.scatter(one[:, 0], one[:, 1], s=size, color=tint, alpha=0.6, linewidths=0, label=f"{len(one)} {name}")
        if thresholds_nm is not None and dimension:
            life = thresholds_nm[dimension]
            axes.plot([0, top - life], [life, top], color=tint, linewidth=0.8, linestyle="--")
    axes.set_xlim(-0.02 * top, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.set_xlabel("radius of birth (nm)")
    axes.set_ylabel("radius of death (nm)")
    legend = axes.legend(loc="lower right", handletextpad=0.2)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def draw_betti(
    axes: Axes,
    radii_nm: NDArray[np.floating],
    betti: NDArray[np.integer],
    reference: NDArray[np.floating] | None = None,
    *,
    reference_label: str = "random ions",
) -> None:
    """Draw the number of components, loops and cavities against the radius of the balls.

    Parameters
    ----------
    axes
        Axes to draw in.
    radii_nm
        Shape (n_radii,), nm.
    betti
        Shape (n_radii, 3).
    reference
        Shape (n_radii, 3): mean of random clouds or other regions, drawn dashed; not drawn when None.
    reference_label
        What the reference is, for the legend.

    Raises
    ------
    ShapeError
        If the arrays do not belong together.
    """
    shape = (len(radii_nm), len(_NAMES))
    for name, curves in (("betti", betti), ("reference", reference)):
        if curves is not None and np.shape(curves) != shape:
            raise ShapeError(f"{name} must have shape {shape}, got {np.shape(curves)}")
    for dimension, (name, tint) in enumerate(zip(_NAMES, _TINTS, strict=True)):
        axes.plot(radii_nm, np.asarray(betti)[:, dimension], color=tint, linewidth=1.4, label=name)
        if reference is not None:
            label = reference_label if dimension == 0 else None
            axes.plot(
                radii_nm, np.asarray(reference)[:, dimension], color=tint, linewidth=1, linestyle="--", label=label
            )
    axes.set_xlim(0, float(np.max(radii_nm)))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("radius (nm)")
    axes.set_ylabel("Betti number")
    axes.legend(loc="best")
