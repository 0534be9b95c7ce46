"""Defects: where they lie, and how the anomaly score sets them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.plot.canvas import text_size_px
from napari_aptdefect.plot.colors import CLASS_COLORS, hex_color
from napari_aptdefect.plot.labels import Box, place_near


def draw_scores(axes: Axes, score: NDArray[np.floating], defect_class: NDArray[np.integer], bins: int = 120) -> None:
    """Draw the histogram of the anomaly score, all ions in grey and the ions of each defect class as a line.

    Parameters
    ----------
    axes
        Axes to draw in.
    score
        Anomaly score per ion, shape (N,); what is not finite is left out.
    defect_class
        Code of the class per ion, shape (N,), an index into `DEFECT_CLASSES`; 0 is the matrix.
    bins
        Number of bins.
    """
    finite = np.isfinite(score)
    values, codes = score[finite], defect_class[finite]
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("ions")
    if len(values) == 0:
        axes.text(0.5, 0.5, "no score is a number", transform=axes.transAxes, ha="center")
        return
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    axes.stairs(np.histogram(values, edges)[0], edges, fill=True, color="#c8c8c8", label="all ions")
    for code, name in enumerate(DEFECT_CLASSES):
        if code == 0 or not (codes == code).any():
            continue
        counts = np.histogram(values[codes == code], edges)[0]
        axes.stairs(counts, edges, color="#333333", linewidth=2.6)  # keeps light colors visible on white
        axes.stairs(counts, edges, color=hex_color(CLASS_COLORS[name]), linewidth=1.6, label=name.replace("_", " "))
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.legend(loc="upper right")


def number_defects(axes: Axes, centers_nm: NDArray[np.floating], numbers: Sequence[int]) -> int:
    """Write the number of each defect at its place; the first ones choose first.

    Parameters
    ----------
    axes
        Axes of a figure made by `new_figure`, in their final place.
    centers_nm
        Places in the coordinates of the axes, shape (n, 2), nm, in the order of importance.
    numbers
        Number of each defect.

    Returns
    -------
    How many numbers found no room.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ParameterError("the axes belong to no figure; make one with new_figure")
    if len(numbers) == 0:
        return 0
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    anchors = axes.transData.transform(np.asarray(centers_nm, float))
    sizes = np.array([text_size_px(axes, str(n), 7.5) for n in numbers]) + 3
    placed = place_near(anchors, sizes, Box(frame.x0, frame.y0, frame.x1, frame.y1))
    to_data = axes.transData.inverted()
    halo = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
    for n, box in zip(numbers, placed, strict=True):
        if box is not None:
            x, y = to_data.transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
            axes.text(x, y, str(n), fontsize=7.5, ha="center", va="center", bbox=halo)
    return sum(box is None for box in placed)
