"""Mid-plane slices of a voxel grid, true to scale, with one color bar for all three."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.plot.canvas import plain
from napari_aptdefect.plot.layout import AXIS_NAMES, plane_axes


def draw_midplanes(figure: Figure, grid: VoxelGrid, *, label: str, cmap: str = "cividis") -> None:
    """Draw the three slices through the middle of a grid.

    Parameters
    ----------
    figure
        Empty figure; its height is set.
    grid
        Values to show; NaN is drawn in light grey.
    label
        Name of the color bar, with the unit.
    cmap
        Color map; the default keeps its order for every eye.

    Notes
    -----
    Colors run from 0 (or the smallest value where one is negative) to the 99.5th percentile of the voxels that are not
    empty, so that single voxels do not take the whole scale; the color bar shows by its tip that values lie above.
    """
    low, high, above = color_limits(grid.values)
    norm = Normalize(low, high)
    size = np.array(grid.values.shape) * grid.voxel_nm
    lower = np.asarray(grid.origin_nm, float)
    panels, planes = plane_axes(figure, size, right_in=1.15)
    for axes, (right, up) in zip(panels, planes, strict=True):
        through = 3 - right - up
        middle = grid.values.shape[through] // 2
        plane = np.take(grid.values, middle, axis=through)
        plane = plane.T if right < up else plane
        extent = (lower[right], lower[right] + size[right], lower[up], lower[up] + size[up])
        axes.set_facecolor("#e4e4e4")
        image = np.ma.masked_invalid(plane)
        axes.imshow(image, origin="lower", extent=extent, norm=norm, cmap=cmap, interpolation="nearest", aspect="equal")
        at = grid.centers_nm(through)[middle]
        axes.set_title(f"{AXIS_NAMES[right]}{AXIS_NAMES[up]} at {AXIS_NAMES[through]} = {at:.1f} nm")
    width, height = figure.get_figwidth(), figure.get_figheight()
    bar_in = min(height - 0.9, 3.0)
    bar = figure.add_axes(((width - 0.95) / width, 0.55 / height, 0.14 / width, bar_in / height))
    drawn = figure.colorbar(ScalarMappable(norm, cmap), cax=bar, extend="max" if above else "neither")
    drawn.set_label(plain(label, 40))


def color_limits(values: NDArray[np.floating]) -> tuple[float, float, bool]:
    """Lowest and highest value of a color scale, and whether values lie above it."""
    finite = values[np.isfinite(values)]
    filled = finite[finite != 0]
    if len(filled) == 0:
        return 0.0, 1.0, False
    low, top = min(0.0, float(filled.min())), float(filled.max())
    high = float(np.quantile(filled, 0.995))
    if not high > low:
        high = top if top > low else low + 1.0
    return low, high, top > high
