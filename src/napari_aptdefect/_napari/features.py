"""What "Features" does, without a window: regions and surfaces among layers, and columns laid on the drawn ions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_aptdefect._napari.frames import layer_to_grid, layer_to_xyz
from napari_aptdefect._napari.palette import value_colors
from napari_aptdefect._napari.profiles import layer_surface
from napari_aptdefect._napari.sources import Reading, Source
from napari_aptdefect._napari.viewing import note
from napari_aptdefect.data.region import CLOSED, DrawnShape, Region, column_name, drawn_regions, label_regions
from napari_aptdefect.data.surface import Surface
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.display_features import (
    DisplayFeaturesParams,
    IonFeatures,
    Marks,
    features_of,
    marks_of_run,
)
from napari_aptdefect.pipeline.regions import join
from napari_aptdefect.pipeline.run_folder import RunFolder
from napari_aptdefect.stage import Progress, Stage, scaled

_DRAWN: Final = ("ions", "run ions", "run defect ions")
_SPREAD: Final = (2.0, 98.0)  # percentiles between which colors change


@dataclass(frozen=True, eq=False)
class Mark:
    """A layer that features can refer to.

    Parameters
    ----------
    kind
        ``"shapes"`` or ``"labels"``, which are regions, or a ``"surface"``, which is a boundary.
    layer
        The layer.
    """

    kind: Literal["shapes", "labels", "surface"]
    layer: Any

    @property
    def label(self) -> str:
        """How a person chooses it."""
        return f"{self.layer.name} ({'boundary' if self.kind == 'surface' else 'region'})"

    @property
    def key(self) -> object:
        """Tells layers apart while others come and go."""
        return self.layer.unique_id

    @property
    def is_drawn(self) -> bool:
        """Whether a person drew something here, which is meant unless it is said otherwise."""
        if note(self.layer) or self.kind == "surface":
            return False
        return bool(_closed(self.layer)) if self.kind == "shapes" else True


def find_marks(layers: Iterable[Any]) -> list[Mark]:
    """Shapes that are not lines alone, Labels and Surfaces with three axes, in the order of the layers."""
    from napari.layers import Labels, Shapes
    from napari.layers import Surface as SurfaceLayer

    found = []
    for layer in layers:
        if isinstance(layer, Shapes) and (_closed(layer) or not layer.nshapes):
            found.append(Mark("shapes", layer))
        elif isinstance(layer, Labels) and layer.ndim == 3:
            found.append(Mark("labels", layer))
        elif isinstance(layer, SurfaceLayer):
            found.append(Mark("surface", layer))
    return found


def collect(marks: Iterable[Mark], thickness_nm: float | None) -> Marks:
    """Regions and surfaces of layers, where they lie now; named like their layers.

    Parameters
    ----------
    marks
        The layers.
    thickness_nm
        Extent of a shape across the plane it was drawn in; without end when None.

    Raises
    ------
    EmptySelectionError
        If a layer holds no region.
    ParameterError
        If a shape was not drawn on a slice along the axes, a layer is turned, or two have the same name.
    """
    regions: dict[str, Region] = {}
    surfaces: dict[str, Surface] = {}
    for mark in marks:
        name = str(mark.layer.name)
        if mark.kind == "shapes":
            join(regions, drawn_regions(name, _shapes(mark.layer), thickness_nm), name)
        elif mark.kind == "labels":
            join(regions, label_regions(name, layer_to_grid(mark.layer, name)), name)
        elif column_name(name) in surfaces:
            raise ParameterError(f"two surfaces are called {name!r}; give one of them another name")
        else:
            surfaces[column_name(name)] = layer_surface(mark.layer)
    return Marks(regions, surfaces)


def compute(reading: Reading, marks: Marks, params: DisplayFeaturesParams) -> Stage[IonFeatures]:
    """Read ions, and compute the features of all of them; a run adds the voids and planar defects it found.

    Parameters
    ----------
    reading
        What to read.
    marks
        Regions and surfaces.
    params
        Parameters.
    """
    yield Progress(0, 100, "reading the ions")
    ions = reading.ions()
    if reading.is_run:
        found = marks_of_run(RunFolder(reading.path))
        marks = replace(marks, voids=found.voids, planes=found.planes)
    result: IonFeatures = yield from scaled(features_of(ions, params, marks), 3, 100)
    return result


def drawn_layers(layers: Iterable[Any], source: Source) -> list[Any]:
    """Points layers with the drawn ions of a cloud or run.

    Raises
    ------
    ParameterError
        If a layer is so large that it does not say which ions it draws.
    """
    if source.kind == "run":
        run = note(source.layer)["run"]
        found = [one for one in layers if note(one).get("run") == run and note(one).get("kind") in _DRAWN]
    else:
        found = [source.layer]
    for layer in found:
        if "ion_idx" not in layer.features:
            raise ParameterError(
                f"the layer {layer.name!r} draws too many ions to carry features; draw 500,000 or fewer (File > "
                "Preferences > APT Defect), and open the cloud again"
            )
    return found


def lay_on(layer: Any, features: IonFeatures) -> None:
    """Give a layer of drawn ions the columns, beside those it has; columns of the same name are replaced."""
    values = features.at(layer.features["ion_idx"].to_numpy())
    before = layer.features.drop(columns=[name for name in features.table.names if name in layer.features])
    after = pd.DataFrame(values, columns=list(features.table.names), index=before.index)
    layer.features = pd.concat([before, after], axis=1)


def color_by(layers: Iterable[Any], name: str) -> tuple[float, float, float]:
    """Color the drawn ions of some layers by a column, on one scale.

    Returns
    -------
    The values of the lowest and the highest color, and the share of ions where the value is missing.
    """
    shown = [(layer, layer.features[name].to_numpy(np.float64)) for layer in layers]
    low, high, missing = _limits(np.concatenate([values for _, values in shown]))
    for layer, values in shown:
        layer.face_color = value_colors(values, low, high)
    return low, high, missing


def _limits(values: NDArray[np.float64]) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan, 1.0
    low, high = np.percentile(known, _SPREAD)
    if low == high:  # a rare value among equal ones
        low, high = known.min(), known.max()
    return float(low), float(high), 1 - len(known) / len(values)


def _closed(layer: Any) -> list[int]:
    return [n for n, kind in enumerate(layer.shape_type) if str(kind) in CLOSED]


def _shapes(layer: Any) -> list[DrawnShape]:
    pairs = zip(layer.shape_type, layer.data, strict=True)
    return [DrawnShape(str(kind), layer_to_xyz(layer, corners)) for kind, corners in pairs]
