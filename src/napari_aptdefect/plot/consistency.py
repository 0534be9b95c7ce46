"""Columns of wrong density: the image across the axis with poles and zone lines marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.errors import ShapeError


def draw_columns(
    axes: Axes,
    contrast: NDArray[np.floating],
    origin: ArrayLike,
    pixel: float,
    ellipses: Sequence[tuple[float, float, float, float, float]] = (),
    *,
    unit: str = "nm",
) -> None:
    """Draw the density over its background, red where denser and blue where less dense.

    Parameters
    ----------
    axes
        Axes to draw in.
    contrast
        Shape (nx, ny): density over background less 1; NaN is left blank.
    origin, pixel
        Lower corner of the first pixel, and the edge of a pixel.
    ellipses
        Columns: x, y, semi-axis along the direction, semi-axis across it, and the direction in degrees.
    unit
        Unit of the places.

    Raises
    ------
    ShapeError
        If the image is not two-dimensional or the origin not a pair.
    """
    corner = np.asarray(origin, float)
    if np.ndim(contrast) != 2 or corner.shape != (2,):
        raise ShapeError(f"an image has two dimensions and an origin x, y; got {np.shape(contrast)}, {corner.shape}")
    percent = 100 * np.asarray(contrast, float)
    limit = float(np.nanmax(np.abs(percent))) if np.isfinite(percent).any() else 1.0
    far = corner + pixel * np.array(percent.shape)
    image = axes.imshow(
        percent.T,
        origin="lower",
        extent=(corner[0], far[0], corner[1], far[1]),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    for x, y, along, across, angle in ellipses:
        axes.add_patch(
            Ellipse((x, y), 2 * along, 2 * across, angle=angle, fill=False, edgecolor="#222222", linewidth=1)
        )
    figure = axes.get_figure()
    if figure is not None:
        figure.colorbar(image, ax=axes, label="density over background (%)", shrink=0.85)
    axes.set_xlabel(f"x ({unit})")
    axes.set_ylabel(f"y ({unit})")
