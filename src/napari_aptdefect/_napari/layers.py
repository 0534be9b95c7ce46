"""Data containers made into napari layer tuples `(data, attributes, type)`; nothing here needs a window.

Every layer says its unit, scale and axis labels, and where it came from in ``metadata["aptdefect"]``. That entry holds
names and numbers only, so a layer never pins a cloud in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_aptdefect._napari.frames import AXES_3D, grid_to_zyx, to_zyx
from napari_aptdefect._napari.palette import class_colors, mass_colors, species_colors
from napari_aptdefect.data import DEFECT_CLASSES, DefectTable, HaadfImage, IonCloud, RangeTable, VoxelGrid
from napari_aptdefect.pipeline.display import DRAWN_IONS, DrawnIons, draw_cloud

LayerTuple = tuple[Any, dict[str, Any], str]

KEY: Final = "aptdefect"
UNRANGED: Final = "unranged"

# napari's table of features costs memory and time per point; above this the layer keeps the seed, which says it all
_FEATURES_MAX: Final = 500_000
_LABELED_MAX: Final = 60
_NAMED_MAX: Final = 12


def cloud_layers(
    cloud: IonCloud,
    ranges: RangeTable | None = None,
    *,
    name: str | None = None,
    budget: int = DRAWN_IONS,
    seed: int = 0,
) -> list[LayerTuple]:
    """Layers of a cloud: a drawn sample of its ions, and the box around all of them.

    Parameters
    ----------
    cloud
        The cloud.
    ranges
        Gives species and colors; without them the colors show the mass-to-charge ratio.
    name
        Name in the layer list; by default that of the file.
    budget
        Largest number of drawn ions.
    seed
        Seed of the sample.
    """
    name = name or (cloud.source.name if cloud.source else "cloud")
    drawn = draw_cloud(cloud, ranges, budget=budget, seed=seed)
    origin = {
        "source": str(cloud.source) if cloud.source else None,
        "format": cloud.format,
        "ranges": str(ranges.source) if ranges is not None and ranges.source else None,
        "budget": budget,
        "seed": seed,
    }
    # the box comes last, because napari makes the last layer the active one and asks it at every move of the mouse
    return [ions_layer(drawn, ranges, name, origin), box_layer(drawn, name, origin)]


def ions_layer(drawn: DrawnIons, ranges: RangeTable | None, name: str, origin: dict[str, Any]) -> LayerTuple:
    """Points layer of the drawn ions."""
    if ranges is None or drawn.species_idx is None:
        colors = mass_colors(drawn.mass_da)
        features = {"ion_idx": drawn.sample.ion_idx, "mass_da": drawn.mass_da}
    else:
        colors = species_colors(ranges.ions)[drawn.species_idx]
        categories = unique_names(ranges)
        features = {
            "ion_idx": drawn.sample.ion_idx,
            "species": pd.Categorical.from_codes(
                np.where(drawn.species_idx < 0, len(categories) - 1, drawn.species_idx), categories
            ),
            "mass_da": drawn.mass_da,
        }
    meta = {**origin, "kind": "ions", "n_ions": drawn.sample.n_ions, "n_drawn": len(drawn.sample)}
    attributes = _points(drawn.xyz_nm, colors, features) | {
        "name": f"{name} ions ({drawn.sample.caption})",
        "metadata": {KEY: meta},
    }
    return to_zyx(drawn.xyz_nm), attributes, "points"


def box_layer(drawn: DrawnIons, name: str, origin: dict[str, Any]) -> LayerTuple:
    """Vectors layer with the twelve edges of the box around all ions; its name gives the size."""
    lower, size = drawn.lower_nm, drawn.upper_nm - drawn.lower_nm
    edges = []
    for axis in range(3):
        first, second = (other for other in range(3) if other != axis)
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            start, step = lower.copy(), np.zeros(3)
            start[first] += corner[0] * size[first]
            start[second] += corner[1] * size[second]
            step[axis] = size[axis]
            edges.append((start, step))
    extent = " × ".join(f"{length:.3g}" for length in size)  # noqa: RUF001 - the multiplication sign of a size
    attributes = {
        "name": f"{name} box ({extent} nm)",
        "edge_width": max(float(size.max()) / 180, 1e-3),
        "edge_color": "#b8c0cc",
        "vector_style": "line",
        "opacity": 1.0,
        "metadata": {KEY: {**origin, "kind": "box", "tip_z": _tip_z(drawn)}},
        **AXES_3D,
    }
    return to_zyx(np.asarray(edges, np.float32)), attributes, "vectors"


def defect_layers(
    defects: DefectTable, labels: VoxelGrid | None, name: str, origin: dict[str, Any]
) -> list[LayerTuple]:
    """Labels layer with the room of each defect and Points layer of their centers, both with the table of defects."""
    table = defect_features(defects)
    out: list[LayerTuple] = []
    if labels is not None:
        values, placing = grid_to_zyx(labels)
        attributes = {
            "name": f"{name} defect volumes",
            "features": table.rename(columns={"defect": "index"}),
            "opacity": 0.6,
            "visible": False,
            "metadata": {KEY: {**origin, "kind": "defect volumes"}},
            **placing,
        }
        out.append((values.astype(np.int32), attributes, "labels"))
    rows = defects.table
    xyz = np.stack([rows[f"centroid_{axis}_nm"].to_numpy() for axis in "xyz"], axis=1).reshape(-1, 3)
    codes = np.array([DEFECT_CLASSES.index(kind) for kind in table["defect_class"]], int)
    spread = float(np.ptp(xyz, axis=0).max()) if len(xyz) else 1.0
    attributes = {
        "name": f"{name} defects ({len(table)})",
        "features": table,
        "face_color": class_colors()[codes] if len(xyz) else "white",
        "symbol": "ring",
        "size": max(spread / 40, 1.0),
        "border_width": 0,
        "antialiasing": 0,
        "blending": "translucent_no_depth",  # a center is inside of its ions and must show through them
        "metadata": {KEY: {**origin, "kind": "defects"}},
        **AXES_3D,
    }
    if 0 < len(table) <= _LABELED_MAX:
        attributes["text"] = {
            # many words would cover each other; the color says the class
            "string": "{defect_class} {defect}" if len(table) <= _NAMED_MAX else "{defect}",
            "size": 9,
            "color": "white",
            "anchor": "lower_left",
            "blending": "translucent_no_depth",
        }
    out.append((to_zyx(xyz), attributes, "points"))
    return out


def defect_features(defects: DefectTable) -> pd.DataFrame:
    """Table of defects as napari shows it: one number or word per cell, classes as a category."""
    table = defects.table.drop_columns(["axis_lengths_nm", "axis_directions", "composition"]).to_pandas()
    table["defect_class"] = pd.Categorical(table["defect_class"], DEFECT_CLASSES)
    table["composition"] = [_composition(row) for row in defects.table["composition"].to_pylist()]
    table["nearest_signature"] = table["nearest_signature"].fillna("").astype(str)
    return table


def image_layer(image: HaadfImage, name: str) -> LayerTuple:
    """Image layer of a HAADF image; without a pixel size its unit is the pixel, and its name says so."""
    stacked = image.values.ndim == 3
    pixel = image.pixel_nm
    unit = "nm" if pixel is not None else "pixel"
    attributes: dict[str, Any] = {
        "name": name if pixel is not None else f"{name} (no pixel size in the file)",
        "scale": (*((1.0,) if stacked else ()), *(pixel or (1.0, 1.0))),
        "units": (*(("pixel",) if stacked else ()), unit, unit),
        "axis_labels": (*(("frame",) if stacked else ()), "y", "x"),
        "colormap": "gray",
        "metadata": {KEY: {"kind": "haadf", "source": str(image.source) if image.source else None}},
    }
    return image.values, attributes, "image"


def unique_names(ranges: RangeTable) -> list[str]:
    """Names of the ions as categories, which must differ, and the name for ions in no range at the end."""
    names: list[str] = []
    for name in (*ranges.names, UNRANGED):
        label, n = name, 1
        while label in names:
            n += 1
            label = f"{name} ({n})"
        names.append(label)
    return names


def drawn_points(
    xyz_nm: NDArray[Any], colors: NDArray[np.float32], features: dict[str, Any], name: str, meta: dict[str, Any]
) -> LayerTuple:
    """Points layer of some ions that are drawn already."""
    attributes = _points(xyz_nm, colors, features) | {"name": name, "metadata": {KEY: meta}}
    return to_zyx(xyz_nm), attributes, "points"


def describe(path: Path) -> str:
    """Name of a file or run folder in the layer list."""
    return path.name or str(path)


def _points(xyz_nm: NDArray[Any], colors: NDArray[np.float32], features: dict[str, Any]) -> dict[str, Any]:
    return {
        "size": point_size(xyz_nm),
        "face_color": colors,
        "border_width": 0,
        "antialiasing": 0,
        "blending": "translucent",
        "features": pd.DataFrame(features) if len(xyz_nm) <= _FEATURES_MAX else None,
        **AXES_3D,
    }


def point_size(xyz_nm: NDArray[Any]) -> float:
    """Diameter of a drawn ion, nm: half the distance of neighbors if the drawn ions filled their box evenly."""
    if len(xyz_nm) < 2:
        return 0.5
    volume = float(np.prod(np.maximum(np.ptp(xyz_nm, axis=0).astype(float), 0.1)))
    return float(np.clip(0.5 * (volume / len(xyz_nm)) ** (1 / 3), 0.05, 5.0))


def _tip_z(drawn: DrawnIons) -> int:
    """Sign of z towards the tip, which evaporates first; exporters differ in it."""
    n = max(len(drawn.xyz_nm) // 10, 1)
    return 1 if float(drawn.xyz_nm[:n, 2].mean()) > float(drawn.xyz_nm[-n:, 2].mean()) else -1


def _composition(entries: list[dict[str, Any]] | None) -> str:
    parts = sorted(entries or [], key=lambda entry: -entry["fraction"])
    return ", ".join(f"{e['element']} {100 * e['fraction']:.1f}±{100 * e['fraction_error']:.1f} %" for e in parts[:6])
