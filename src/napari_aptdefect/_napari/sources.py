"""Where volumes and profiles take their ions from: a cloud in the viewer, a run in the viewer, a volume layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from napari_aptdefect._napari.frames import layer_to_grid
from napari_aptdefect._napari.viewing import is_cloud, note, short_name, source_of
from napari_aptdefect.data import RangeTable, VoxelGrid
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.display_volumes import Quantity, quantities
from napari_aptdefect.pipeline.ranged_ions import (
    RangedIons,
    ions_of_cloud,
    ions_of_run,
    ranges_of_cloud,
    ranges_of_run,
)
from napari_aptdefect.pipeline.run_folder import RunFolder

_ORIGIN: Final = ("source", "ranges", "run")


@dataclass(frozen=True, eq=False)
class Source:
    """One thing that volumes or profiles can be made of.

    Parameters
    ----------
    kind
        A cloud file, a run folder, or a volume that is a layer already.
    layer
        The layer that stands for it, not its name, which the user may change.
    """

    kind: Literal["cloud", "run", "volume"]
    layer: Any

    @property
    def label(self) -> str:
        """How a person chooses it."""
        if self.kind == "run":
            return f"{Path(note(self.layer)['run']).name} (run)"
        return short_name(self.layer)

    @property
    def key(self) -> tuple[str, object]:
        """Tells sources apart while layers come and go."""
        return self.kind, note(self.layer)["run"] if self.kind == "run" else self.layer.unique_id

    @property
    def origin(self) -> dict[str, Any]:
        """What a layer made of this says about where it came from."""
        entry = note(self.layer)
        return {key: entry[key] for key in _ORIGIN if entry.get(key) is not None}

    def ranges(self) -> RangeTable | None:
        """What its ions are made of; None when nobody knows.

        Raises
        ------
        AptDefectError
            If the range file or the run can't be read.
        """
        entry = note(self.layer)
        if self.kind == "run":
            return ranges_of_run(RunFolder(Path(entry["run"])))
        return ranges_of_cloud(Path(entry["ranges"]) if entry.get("ranges") else None)

    def quantities(self) -> list[Quantity]:
        """What a volume of its ions can show.

        Raises
        ------
        AptDefectError
            If the range file or the run can't be read.
        """
        return quantities(self.ranges())

    def reading(self) -> Reading:
        """What to read, without the layer: a thread must not touch layers.

        Raises
        ------
        ParameterError
            If the file behind a cloud is gone, or a volume was chosen.
        """
        entry = note(self.layer)
        if self.kind == "volume":
            raise ParameterError("a volume holds no ions; choose a cloud or a run")
        if self.kind == "run":
            return Reading(Path(entry["run"]), None, True)
        return Reading(source_of(self.layer), Path(entry["ranges"]) if entry.get("ranges") else None, False)

    def grid(self) -> VoxelGrid:
        """Values of a volume; fractions of exactly 0 count as not known, as outside of the specimen.

        Raises
        ------
        ParameterError
            If the layer is no volume along the axes.
        """
        entry = note(self.layer)
        grid = layer_to_grid(self.layer, str(entry.get("quantity") or self.layer.name), str(entry.get("unit") or ""))
        if "fraction" not in grid.unit:
            return grid
        known = np.where(grid.values == 0, np.float32(np.nan), grid.values)
        return VoxelGrid(known, grid.origin_nm, grid.voxel_nm, grid.name, grid.unit)


@dataclass(frozen=True)
class Reading:
    """A cloud file with its ranges, or a run folder, to be read in a thread."""

    path: Path
    ranges: Path | None
    is_run: bool

    def ions(self) -> RangedIons:
        """Read all ions, not the drawn sample."""
        if self.is_run:
            return ions_of_run(RunFolder(self.path))
        return ions_of_cloud(self.path, ranges_of_cloud(self.ranges))


def find_sources(layers: Iterable[Any], *, volumes: bool = False) -> list[Source]:
    """Sources in the order of the layers: clouds, each run once, and if asked volumes.

    Parameters
    ----------
    layers
        Layers of the viewer.
    volumes
        Whether Image layers with three axes count.
    """
    found: dict[tuple[str, object], Source] = {}
    for layer in layers:
        for source in _sources_of(layer, volumes):
            found.setdefault(source.key, source)
    order = ("cloud", "run", "volume")
    return sorted(found.values(), key=lambda source: order.index(source.kind))


def _sources_of(layer: Any, volumes: bool) -> list[Source]:
    entry = note(layer)
    out = []
    if is_cloud(layer):
        out.append(Source("cloud", layer))
    if entry.get("run"):
        out.append(Source("run", layer))
    if volumes and is_volume(layer):
        out.append(Source("volume", layer))
    return out


def is_volume(layer: Any) -> bool:
    """Whether a layer is an Image with three axes and one value per voxel."""
    from napari.layers import Image

    return isinstance(layer, Image) and layer.ndim == 3 and not layer.rgb and not layer.multiscale
