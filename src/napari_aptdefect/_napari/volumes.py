"""What "Volumes and isosurfaces" does, without a window: from ions or a volume to layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from napari_aptdefect._napari.layers import LayerTuple
from napari_aptdefect._napari.sources import Reading
from napari_aptdefect._napari.volume_layers import surface_layer, volume_layer
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.pipeline.display_volumes import Quantity, VolumeParams, make_volume, surface_at
from napari_aptdefect.stage import Progress, Stage, scaled

DELOCALIZED: Final = ("voxel_nm", "sigma_lateral_nm", "sigma_depth_nm", "min_ions", "rendering", "surface")
"""Fields of `VolumeParams` that a volume which exists already has no use for."""


@dataclass(frozen=True)
class Shown:
    """Layers to add, and what to say of them."""

    layers: list[LayerTuple]
    summary: str


def show_volume(
    reading: Reading, quantity: Quantity, params: VolumeParams, name: str, origin: dict[str, Any], color: Any = None
) -> Stage[Shown]:
    """Read ions, delocalize them, and make an Image and, when asked, a Surface.

    Parameters
    ----------
    reading
        What to read.
    quantity
        What to show.
    params
        Parameters.
    name
        How the layers' names begin.
    origin
        What the layers say about where they come from.
    color
        Red, green, blue of 0 to 1 for a composition; a colormap for densities when None.
    """
    yield Progress(0, 100, "reading the ions")
    ions = reading.ions()
    volume = yield from scaled(make_volume(ions, quantity, params), 20, 95)
    yield Progress(95, 100, "drawing")
    entry = {**origin, "quantity": quantity.name or "density", "params": params.model_dump_json()}
    level = volume.surface.level if volume.surface is not None else None
    layers = [
        volume_layer(
            volume.grid, f"{name} {quantity.label}", entry, color=color, rendering=params.rendering, level=level
        )
    ]
    summary = f"{' x '.join(map(str, volume.grid.values.shape))} voxels"
    if volume.surface is not None:
        layers.append(surface_layer(volume.surface, name, entry, color=color))
        summary += f", {_about(volume.surface, volume.note)}"
    return Shown(layers, summary)


def show_surface(
    grid: VoxelGrid, params: VolumeParams, name: str, origin: dict[str, Any], color: Any = None
) -> Stage[Shown]:
    """Make a Surface in a volume that exists."""
    yield Progress(0, 100, "isosurface")
    surface, words = surface_at(grid, params.level)
    yield Progress(95, 100, "drawing")
    entry = {**origin, "quantity": grid.name}
    return Shown([surface_layer(surface, name, entry, color=color)], _about(surface, words))


def _about(surface: Any, words: str) -> str:
    text = f"{len(surface.triangles):,} triangles, {surface.area_nm2:,.0f} nm²"
    return f"{text}; {words}" if words else text
