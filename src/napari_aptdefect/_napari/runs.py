"""A run folder made into layers: ions outside and inside of defects, defects, and the grids."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect._napari.layers import KEY, LayerTuple, box_layer, defect_layers, drawn_points
from napari_aptdefect._napari.palette import class_colors, species_colors
from napari_aptdefect._napari.volume_layers import standing_out, volume_layer
from napari_aptdefect.data import DEFECT_CLASSES, Ion, VoxelGrid
from napari_aptdefect.errors import AptDefectError, RunFolderError
from napari_aptdefect.io import read_ranges
from napari_aptdefect.pipeline.display import DRAWN_IONS, DrawnIons, DrawnSample, draw_sample
from napari_aptdefect.pipeline.display_volumes import label_volume
from napari_aptdefect.pipeline.run_folder import ATTENTION, UNRANGED, RunFolder

_COMPOSITION = "composition/"

HAZE: Final = {"opacity": 0.12, "blending": "translucent_no_depth"}
"""How ions are drawn around what shall show through them."""


def run_layers(run: RunFolder, *, budget: int = DRAWN_IONS, seed: int = 0) -> list[LayerTuple]:
    """Layers of a finished run.

    Parameters
    ----------
    run
        The run folder.
    budget
        Largest number of drawn ions, those in defects included.
    seed
        Seed of the sample.

    Returns
    -------
    From the bottom of the layer list to its top: ions outside of defects, all drawn ions by the attention that a model
    paid them (hidden; where one named the defects), density, compositions (the one in which
    something stands out most is visible) and probability, ions of defects, the box, the volumes of the defects, and
    their centers with the table.
    """
    record = run.record
    name = run.path.name
    origin = {
        "run": str(run.path),
        "source": record.get("input", {}).get("path"),
        "ranges": record.get("ranges", {}).get("path"),
        "budget": budget,
        "seed": seed,
    }
    grids = run.volumes()
    drawn, species, names, defect, kind = _drawn_ions(run, budget, seed)
    ions = _ion_layers(drawn, species, names, defect, kind, name, origin)
    outside = [layer[1]["metadata"][KEY]["kind"] == "run ions" for layer in ions]
    # what is drawn first is covered: a volume lies over the haze of the ions around it, and under those of defects
    out = [layer for layer, first in zip(ions, outside, strict=True) if first]
    out += _attention_layer(run, drawn, name, origin)
    out += _grid_layers(grids, name, origin)
    out += [layer for layer, first in zip(ions, outside, strict=True) if not first]
    out.append(box_layer(drawn, name, origin))
    labels = label_volume(*_defect_ions(run), grids["density"]) if "density" in grids else None
    return out + defect_layers(run.defects(), labels, name, origin)


def _attention_layer(run: RunFolder, drawn: DrawnIons, name: str, origin: dict[str, Any]) -> list[LayerTuple]:
    """All drawn ions by the attention of the model that named the defects, hidden; none where there was no model."""
    if not run.has_attention:
        return []
    import matplotlib as mpl

    attention = run.ions([ATTENTION.name])[ATTENTION.name].to_numpy()[drawn.sample.ion_idx]
    known = attention[np.isfinite(attention)]
    most = float(np.quantile(known, 0.99)) if len(known) else 1.0
    colors = mpl.colormaps["viridis"](np.nan_to_num(attention) / max(most, 1e-6)).astype(np.float32)
    meta = {**origin, "kind": "run attention", "n_ions": drawn.sample.n_ions, "n_drawn": len(drawn.sample)}
    features = {"ion_idx": drawn.sample.ion_idx, "attention": attention}
    caption = f"{name} attention (yellow: {most:.1f} times even)"
    data, attributes, layer_type = drawn_points(drawn.xyz_nm, colors, features, caption, meta)
    return [(data, attributes | {"visible": False}, layer_type)]


def _grid_layers(grids: dict[str, VoxelGrid], name: str, origin: dict[str, Any]) -> list[LayerTuple]:
    """Density, compositions and probability, all hidden but the composition in which something stands out most."""
    names = {key: key.removeprefix(_COMPOSITION) for key in grids if key.startswith(_COMPOSITION)}
    known = range_colors(origin.get("ranges"))
    colors = species_colors(tuple(Ion(label, (), known.get(label)) for label in names.values()))
    found = {key: level for key in names if (level := standing_out(grids[key])) is not None}
    sure = [key for key, level in found.items() if level.is_sure]
    shown = max(sure, key=lambda key: found[key].contrast, default=None)
    out = [volume_layer(grids["density"], f"{name} density", origin, visible=False)] if "density" in grids else []
    for (key, label), color in zip(names.items(), colors, strict=False):
        entry = {**origin, "quantity": label}
        out.append(volume_layer(grids[key], f"{name} {label} fraction", entry, color=color, visible=key == shown))
    if "probability" in grids:
        out.append(volume_layer(grids["probability"], f"{name} probability", origin, visible=False))
    return out


def _drawn_ions(
    run: RunFolder, budget: int, seed: int
) -> tuple[DrawnIons, NDArray[Any], list[str], NDArray[Any], NDArray[Any]]:
    table = run.ions(["species", "defect", "defect_class"])
    if table.num_rows == 0:
        raise RunFolderError(f"{run.path / 'ions.parquet'} holds no ions; run the analysis again")
    species, names = _codes(table["species"])
    defect = table["defect"].to_numpy()
    kind, kinds = _codes(table["defect_class"])
    to_class = np.array([DEFECT_CLASSES.index(k) if k in DEFECT_CLASSES else len(DEFECT_CLASSES) - 1 for k in kinds])
    sample = draw_sample(len(defect), species_idx=species, defect=defect, budget=budget, seed=seed)
    positions = run.ions(["x_nm", "y_nm", "z_nm", "mass_da"])
    columns = [positions[axis].to_numpy() for axis in ("x_nm", "y_nm", "z_nm")]
    lower = np.array([np.nanmin(column) for column in columns], float)
    upper = np.array([np.nanmax(column) for column in columns], float)
    idx = sample.ion_idx
    xyz = np.stack([column[idx] for column in columns], axis=1)
    finite = np.isfinite(xyz).all(axis=1)
    idx = idx[finite]
    mass = positions["mass_da"].to_numpy()[idx]
    drawn = DrawnIons(DrawnSample(idx, len(defect)), xyz[finite], mass, species[idx], lower, upper)
    return drawn, species[idx], names, defect[idx], to_class[kind[idx]]


def _ion_layers(
    drawn: DrawnIons,
    species: NDArray[Any],
    names: list[str],
    defect: NDArray[Any],
    kind: NDArray[Any],
    name: str,
    origin: dict[str, Any],
) -> list[LayerTuple]:
    known = range_colors(origin.get("ranges"))
    palette = species_colors(tuple(Ion(label, (), known.get(label)) for label in names))
    if UNRANGED in names:
        palette[names.index(UNRANGED)] = palette[-1]
    colors = {False: palette[species], True: class_colors()[kind]}
    out = []
    for inside in (False, True):
        here = (defect > 0) == inside
        if not here.any():
            continue
        features: dict[str, Any] = {
            "ion_idx": drawn.sample.ion_idx[here],
            "species": pd.Categorical.from_codes(species[here], names),
        }
        if inside:
            features["defect"] = defect[here]
            features["defect_class"] = pd.Categorical.from_codes(kind[here], DEFECT_CLASSES)
        what = "defect ions" if inside else "ions"
        meta = {**origin, "kind": f"run {what}", "n_ions": drawn.sample.n_ions, "n_drawn": int(here.sum())}
        caption = f"{name} {what} (drawn {int(here.sum()):,} of {drawn.sample.n_ions:,})"
        data, attributes, layer_type = drawn_points(drawn.xyz_nm[here], colors[inside][here], features, caption, meta)
        if not inside and (defect > 0).any():
            attributes |= HAZE
        out.append((data, attributes, layer_type))
    return out


def range_colors(path: str | None) -> dict[str, tuple[int, int, int] | None]:
    """Colors of the range file of the run, while it is still there; the palette serves as well."""
    if path is None or not Path(path).is_file():
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its warnings were reported when the run was made
            return {ion.name: ion.color for ion in read_ranges(path).ions}
    except AptDefectError:
        return {}


def _defect_ions(run: RunFolder) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions and defect of all ions that are in a defect, drawn or not."""
    table = run.ions(["x_nm", "y_nm", "z_nm", "defect"])
    defect = table["defect"].to_numpy()
    inside = np.flatnonzero(defect > 0)
    xyz = np.stack([table[axis].to_numpy()[inside] for axis in ("x_nm", "y_nm", "z_nm")], axis=1)
    return xyz, defect[inside]


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int16], list[str]]:
    """Codes and words of a dictionary column; row groups may have dictionaries of their own."""
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int16), whole.dictionary.to_pylist()
