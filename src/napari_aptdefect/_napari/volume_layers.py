"""Volumes and isosurfaces made into napari layer tuples `(data, attributes, type)`; nothing here needs a window."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_aptdefect._napari.frames import AXES_3D, grid_to_zyx, to_zyx
from napari_aptdefect._napari.layers import KEY, LayerTuple
from napari_aptdefect._napari.palette import ramp_colormap, volume_colormap
from napari_aptdefect.apt.profiles import Surface
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.display_volumes import Level, suggest_level


def volume_layer(
    grid: VoxelGrid,
    name: str,
    origin: dict[str, Any],
    *,
    color: Any = None,
    rendering: str = "attenuated_mip",
    level: float | None = None,
    visible: bool = True,
) -> LayerTuple:
    """Image layer of a grid of densities, fractions or probabilities, lying exactly on the ions.

    Parameters
    ----------
    grid
        The values; NaN is drawn like 0, as empty.
    name
        Name in the layer list.
    origin
        Where it came from.
    color
        Red, green, blue of 0 to 1 to which values rise; a colormap when None.
    rendering
        One of napari's ways to draw a volume.
    level
        Value of the surface when it is drawn as one; suggested from the values when None.
    visible
        Whether it is drawn at first.
    """
    low, high, suggested = _limits(grid)
    values, placing = grid_to_zyx(grid)
    base = "inferno" if grid.name == "probability" else "viridis"
    attributes = {
        "name": name,
        "colormap": volume_colormap(base) if color is None else ramp_colormap(color),
        "contrast_limits": (low, high),
        "iso_threshold": suggested if level is None else level,
        "rendering": rendering,
        "attenuation": 0.05,
        "blending": "translucent",
        "visible": visible,
        "metadata": {KEY: {"quantity": grid.name, **origin, "kind": "grid", "grid": grid.name, "unit": grid.unit}},
        **placing,
    }
    return np.nan_to_num(values, copy=False), attributes, "image"


def surface_layer(surface: Surface, name: str, origin: dict[str, Any], *, color: Any = None) -> LayerTuple:
    """Surface layer of an isosurface, named with its level and unit.

    Parameters
    ----------
    surface
        The isosurface.
    name
        How its name begins.
    origin
        Where it came from.
    color
        Red, green, blue of 0 to 1; light blue when None.
    """
    rgb = (0.55, 0.75, 0.95) if color is None else tuple(float(c) for c in color[:3])
    meta = {**origin, "kind": "isosurface", "level": surface.level, "unit": surface.unit}
    attributes = {
        "name": f"{name} surface {level_text(surface.name, surface.level, surface.unit)}",
        "colormap": {"colors": [(*rgb, 1.0), (*rgb, 1.0)], "name": "isosurface"},
        "contrast_limits": (0.0, 1.0),
        "shading": "smooth",
        "opacity": 0.75,
        "metadata": {KEY: meta},
        **AXES_3D,
    }
    values = np.ones(len(surface.vertices_nm), np.float32)
    return (to_zyx(surface.vertices_nm), surface.triangles, values), attributes, "surface"


def level_text(quantity: str, level: float, unit: str) -> str:
    """What an isosurface is, such as ``"In = 5.2 at.%"``."""
    if "fraction" in unit:
        sign = "at.%" if unit == "atomic fraction" else f"% ({unit.removeprefix('fraction ')})"
        return f"{quantity} = {100 * level:.3g} {sign}"
    return f"{quantity} = {level:.3g} {unit.replace('nm3', 'nm³')}".strip()


def _limits(grid: VoxelGrid) -> tuple[float, float, float]:
    """Values where colors begin and end, and a level for a surface.

    A density begins at 0. Fractions begin at their median, so that the matrix is clear and what is richer shows;
    where poorer places stand out more, they begin at the poorest. Fractions of exactly 0 are outside of the specimen.
    """
    if grid.name == "probability":
        return 0.0, 1.0, 0.5
    fractions = "fraction" in grid.unit
    known = grid.values[np.isfinite(grid.values)]
    known = known[known > 0]
    if known.size == 0:
        return 0.0, 1.0, 0.5
    low, high = (0.0, float(np.percentile(known, 99.5)))
    found = standing_out(grid)
    if found is None:
        return 0.0, max(high, 1e-9), 0.5 * max(high, 1e-9)
    if fractions:
        richer = found.region >= found.matrix
        low = found.matrix if richer else float(np.percentile(known, 0.1))
        high = max(float(np.percentile(known, 99.9)), found.region) if richer else float(np.percentile(known, 99))
    return low, max(high, low + 1e-9), found.value


def standing_out(grid: VoxelGrid) -> Level | None:
    """Suggested level of a volume of a run, where fractions of 0 lie outside; None where there is one value only."""
    values = np.where(grid.values > 0, grid.values, np.float32(np.nan)) if "fraction" in grid.unit else grid.values
    try:
        return suggest_level(VoxelGrid(values, grid.origin_nm, grid.voxel_nm, grid.name, grid.unit))
    except EmptySelectionError:
        return None
