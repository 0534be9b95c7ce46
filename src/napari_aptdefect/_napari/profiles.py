"""What "Profiles" does, without a window: lines and surfaces of layers, and profiles of the ions along them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect._napari.frames import layer_to_xyz
from napari_aptdefect._napari.sources import Reading
from napari_aptdefect._napari.viewing import note
from napari_aptdefect._napari.volume_layers import level_text
from napari_aptdefect.apt.profiles import Profile, Surface
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.display_profiles import (
    LineParams,
    ProxigramParams,
    profile_along,
    profile_csv,
    profile_from,
    through_middle,
)
from napari_aptdefect.stage import Progress, Stage

_OPEN_SHAPES: Final = frozenset({"line", "path"})


@dataclass(frozen=True, eq=False)
class Way:
    """What the bins of a profile run along.

    Parameters
    ----------
    kind
        An ``"axis"`` through the middle of the ions, a ``"line"`` in a Shapes layer, the first two ``"points"`` of a
        Points layer, or the distance from a ``"surface"``.
    label
        How a person chooses it.
    number
        Axis x, y, z (0 to 2), or which shape of the layer.
    layer
        The layer, None for an axis.
    """

    kind: Literal["axis", "line", "points", "surface"]
    label: str
    number: int = 0
    layer: Any = None

    @property
    def key(self) -> tuple[str, int, object]:
        """Tells ways apart while layers come and go."""
        return self.kind, self.number, None if self.layer is None else self.layer.unique_id

    def ends(self) -> NDArray[np.float64]:
        """Ends of a line, shape (2, 3), nm.

        Raises
        ------
        EmptySelectionError
            If the line was deleted.
        ParameterError
            If the layer does not have the three axes of the ions.
        """
        shapes = self.layer.data if self.kind == "line" else [self.layer.data]
        if self.number >= len(shapes) or len(shapes[self.number]) < 2:
            raise EmptySelectionError(f"there is no line any more in {self.layer.name!r}; draw one, or choose another")
        points = np.asarray(shapes[self.number])
        if self.kind == "points":
            points = points[:2]
        return layer_to_xyz(self.layer, points)[[0, -1]]

    def surface(self) -> Surface:
        """The surface of a layer; see `layer_surface`."""
        return layer_surface(self.layer)


def layer_surface(layer: Any) -> Surface:
    """The surface of a layer; higher values lie where the normals of its triangles don't point.

    Raises
    ------
    ParameterError
        If the layer does not have the three axes of the ions.
    """
    vertices, triangles = layer.data[:2]
    entry = note(layer)
    return Surface(
        layer_to_xyz(layer, vertices).astype(np.float32),
        np.asarray(triangles, np.int32),
        float(entry.get("level", 0.0)),
        str(entry.get("quantity", layer.name)),
        str(entry.get("unit", "")),
    )


@dataclass(frozen=True, eq=False)
class Drawn:
    """A finished profile, and what it was made from."""

    profile: Profile
    label: str
    at_surface: bool
    params: LineParams | ProxigramParams
    notes: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the table with all ions and elements, and what it was made from."""
        path.write_text(profile_csv(self.profile, self.notes), encoding="utf-8")


def find_ways(layers: Iterable[Any]) -> list[Way]:
    """The three axes, then the lines and surfaces among the layers."""
    from napari.layers import Points, Shapes
    from napari.layers import Surface as SurfaceLayer

    out = [Way("axis", f"{name} axis, through the middle", n) for n, name in enumerate("xyz")]
    out = [out[2], out[0], out[1]]  # z is along the specimen
    for layer in layers:
        if isinstance(layer, SurfaceLayer):
            out.append(Way("surface", f"distance from {layer.name}", 0, layer))
        elif isinstance(layer, Shapes):
            kinds = [str(kind) for kind in layer.shape_type]
            for n in (n for n, kind in enumerate(kinds) if kind in _OPEN_SHAPES):
                out.append(Way("line", f"{layer.name}: line {n + 1}", n, layer))
        elif isinstance(layer, Points) and not note(layer) and len(layer.data) >= 2:
            out.append(Way("points", f"{layer.name}: its first two points", 0, layer))
    return out


def draw_along(reading: Reading, axis: int | None, ends: NDArray[Any] | None, params: LineParams) -> Stage[Drawn]:
    """Profile along an axis through the middle of the ions, or along a line.

    Parameters
    ----------
    reading
        Where the ions are.
    axis
        0 to 2 for x, y, z; None for a line.
    ends
        Ends of the line, shape (2, 3), nm.
    params
        Parameters.
    """
    yield Progress(0, 100, "reading the ions")
    ions = reading.ions()
    yield Progress(40, 100, "counting along the line")
    start, stop = through_middle(ions.xyz_nm, axis) if axis is not None else ends
    profile = profile_along(ions, start, stop, params)
    if axis is not None:
        profile = replace(profile, edges_nm=profile.edges_nm + start[axis], coordinate="xyz"[axis])
    where = " to ".join(", ".join(f"{value:.4g}" for value in end) for end in (start, stop))
    notes = _notes(reading, params) | {"line_nm": f"{where} (x, y, z)"}
    return Drawn(profile, profile.coordinate, False, params, notes)


def draw_from(reading: Reading, surface: Surface, params: ProxigramParams) -> Stage[Drawn]:
    """Proxigram of a surface."""
    yield Progress(0, 100, "reading the ions")
    ions = reading.ions()
    yield Progress(30, 100, "measuring the distance of each ion")
    profile = profile_from(ions, surface, params)
    where = level_text(surface.name, surface.level, surface.unit)
    return Drawn(profile, f"distance from {where}", True, params, _notes(reading, params) | {"surface": where})


def _notes(reading: Reading, params: LineParams | ProxigramParams) -> dict[str, str]:
    notes = {"ions": str(reading.path), "parameters": params.model_dump_json()}
    if reading.ranges is not None:
        notes["ranges"] = str(reading.ranges)
    return notes
