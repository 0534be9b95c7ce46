"""Where the panels of a figure go: views as high as they need, planes at one scale, long specimens lying down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_aptdefect.plot.canvas import new_figure
from napari_aptdefect.plot.splat import Camera, Frame

AXIS_NAMES: Final = ("x", "y", "z")

Planes = tuple[tuple[int, int], ...]


def plane_axes(figure: Figure, size_nm: NDArray[np.float64], *, right_in: float = 0.2) -> tuple[list[Axes], Planes]:
    """Three axes for xy, xz and yz (or with z to the right where the specimen is long), all at one scale.

    The height of the figure is set to what they need.

    Parameters
    ----------
    figure
        Empty figure; its width is kept.
    size_nm
        Lengths to show along x, y, z, shape (3,), nm.
    right_in
        Room kept free at the right, inches.

    Returns
    -------
    The three axes, and for each the coordinate axes to the right and upward.
    """
    size = np.maximum(np.asarray(size_nm, float), 0.02 * float(np.max(size_nm)) + 1e-3)
    left, gap_x, bottom, gap_y, top = 0.65, 0.75, 0.55, 0.9, 0.35
    room = float(figure.get_figwidth()) - left - gap_x - right_in
    tallest = 6.5
    if size[2] > 1.8 * max(size[0], size[1]):
        planes: Planes = ((2, 0), (2, 1), (0, 1))
        scale = min(room / (size[2] + size[0]), (tallest - gap_y) / (size[0] + size[1]))
        spots = [
            (left, bottom + size[1] * scale + gap_y),
            (left, bottom),
            (left + size[2] * scale + gap_x, bottom),
        ]
        height = bottom + (size[0] + size[1]) * scale + gap_y + top
    else:
        planes = ((0, 1), (0, 2), (1, 2))
        room -= gap_x
        scale = min(room / (2 * size[0] + size[1]), tallest / max(size[1], size[2]))
        spots = [
            (left, bottom),
            (left + size[0] * scale + gap_x, bottom),
            (left + 2 * (size[0] * scale + gap_x), bottom),
        ]
        height = bottom + max(size[1], size[2]) * scale + top
    figure.set_figheight(height)
    width = float(figure.get_figwidth())
    drawn = []
    for (x, y), (right, up) in zip(spots, planes, strict=True):
        box = (x / width, y / height, size[right] * scale / width, size[up] * scale / height)
        axes = figure.add_axes(box)
        axes.set_xlabel(f"{AXIS_NAMES[right]} (nm)")
        axes.set_ylabel(f"{AXIS_NAMES[up]} (nm)")
        for axis, length in ((axes.xaxis, size[right]), (axes.yaxis, size[up])):
            axis.set_major_locator(MaxNLocator(int(np.clip(length * scale / 0.55, 1, 7)), steps=[1, 2, 5, 10]))
        drawn.append(axes)
    return drawn, planes


def foot_nm(width_nm: float, height_nm: float) -> float:
    """Height below a view that its scale bar and axes take, nm (or whatever unit the arguments have)."""
    return max(0.13 * width_nm, 0.1 * height_nm)


def suit_camera(xyz_nm: NDArray[np.float32]) -> tuple[Camera, bool]:
    """Direction that suits the shape of the cloud, and whether panels go side by side; long ones lie down."""
    camera = Camera.turned(-60, 18)
    if len(xyz_nm) == 0:
        return camera, True
    frame = Frame.around(camera.project(xyz_nm), 100)
    if frame.height > 1.7 * frame.width:
        return camera.rolled(), False
    return camera, frame.height > 0.6 * frame.width


def view_axes(
    xyz_nm: NDArray[np.float32],
    camera: Camera,
    titles: Sequence[str],
    side_by_side: bool,
    foot_in: float = 0.5,
) -> tuple[Figure, list[Axes]]:
    """Figure with one panel per title, as high as the view needs."""
    frame = Frame.around(camera.project(xyz_nm), 100) if len(xyz_nm) else Frame(0, 1, 0, 1, 1, 1)
    aspect = min((frame.height + foot_nm(frame.width, frame.height)) / frame.width, 1.9)
    columns = len(titles) if side_by_side else 1
    rows = len(titles) // columns
    width = 9.6 if len(titles) > 1 or not side_by_side else 6.0
    panel_width = width / columns - 0.2
    panel_height = panel_width * aspect
    height = rows * (panel_height + 0.35) + foot_in
    figure = new_figure(width, height)
    panels = []
    for i, title in enumerate(titles):
        row, column = divmod(i, columns)
        x = column * width / columns + 0.1
        y = height - (row + 1) * (panel_height + 0.35)
        axes = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
        axes.set_title(title)
        panels.append(axes)
    return figure, panels


def add_foot(figure: Figure, inches: float) -> None:
    """Add room for a legend at the foot of a figure whose axes are placed."""
    height = float(figure.get_figheight())
    figure.set_figheight(height + inches)
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position(
            (box.x0, (box.y0 * height + inches) / (height + inches), box.width, box.height * height / (height + inches))
        )
