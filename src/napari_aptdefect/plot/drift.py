"""Drift along the evaporation sequence: slices, curve, error band."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError

_TINTS = ("#0072b2", "#d55e00")


def draw_drift(
    axes: Axes,
    at: NDArray[np.floating],
    measured: NDArray[np.floating],
    shift: NDArray[np.floating],
    error: NDArray[np.floating],
    *,
    unit: str = "nm",
) -> None:
    """Draw a lateral drift against the index of the ion.

    Parameters
    ----------
    axes
        Axes to draw in.
    at
        Shape (m,): middle of each slice, as the index of an ion.
    measured
        Shape (m, 2): shift of each slice along x and y, drawn as dots.
    shift, error
        Shape (m, 2): smooth curve and its standard error, drawn as a line in a band of two standard errors.
    unit
        Unit of the shifts.

    Raises
    ------
    ShapeError
        If the arrays do not belong together.
    """
    shape = (len(at), 2)
    if not np.shape(measured) == np.shape(shift) == np.shape(error) == shape:
        got = f"{np.shape(measured)}, {np.shape(shift)} and {np.shape(error)}"
        raise ShapeError(f"a drift of {len(at)} slices needs arrays of shape {shape}, got {got}")
    axes.axhline(0.0, color="#999999", linewidth=0.7)
    for axis, (name, tint) in enumerate(zip("xy", _TINTS, strict=True)):
        curve, spread = shift[:, axis], 2 * error[:, axis]
        axes.plot(at, measured[:, axis], ".", color=tint, markersize=3, alpha=0.5)
        axes.fill_between(at, curve - spread, curve + spread, color=tint, alpha=0.25, linewidth=0)
        axes.plot(at, curve, color=tint, linewidth=1.4, label=name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("ion in the sequence")
    axes.set_ylabel(f"drift ({unit})")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")


def draw_peak_drift(
    axes: Axes,
    at: NDArray[np.floating],
    peaks_da: NDArray[np.floating],
    measured: NDArray[np.floating],
    scale: NDArray[np.floating],
) -> None:
    """Draw how the mass scale wanders, in parts per thousand, against the index of the ion.

    Parameters
    ----------
    axes
        Axes to draw in.
    at
        Shape (m,): middle of each slice, as the index of an ion.
    peaks_da
        Shape (p,): mean places of the peaks, Da.
    measured
        Shape (m, p): place of each peak over its mean place, drawn as dots; NaN is left out.
    scale
        Shape (m,): smooth factor, drawn as a line.

    Raises
    ------
    ShapeError
        If the arrays do not belong together.
    """
    if np.shape(measured) != (len(at), len(peaks_da)) or np.shape(scale) != (len(at),):
        got = f"{np.shape(measured)} and {np.shape(scale)}"
        raise ShapeError(f"{len(at)} slices of {len(peaks_da)} peaks need other shapes than {got}")
    tints = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
    axes.axhline(0.0, color="#999999", linewidth=0.7)
    for column, place in enumerate(peaks_da):
        tint = tints[column % len(tints)]
        axes.plot(at, 1e3 * (measured[:, column] - 1), ".", color=tint, markersize=4, label=f"{place:.2f} Da")
    axes.plot(at, 1e3 * (np.asarray(scale) - 1), color="#333333", linewidth=1.2, label="mass scale")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("ion in the sequence")
    axes.set_ylabel("deviation of m/q (‰)")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
