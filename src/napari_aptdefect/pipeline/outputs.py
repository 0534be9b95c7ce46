"""What a run writes, from what its stages found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.clustering import Clusters
from napari_aptdefect.apt.consistency import Consistent
from napari_aptdefect.apt.defects import Defects
from napari_aptdefect.apt.fusion import Fused
from napari_aptdefect.apt.normalize import Normalized
from napari_aptdefect.apt.ranging import MassBackground, Ranging, composition
from napari_aptdefect.apt.topology import PlaceTopology
from napari_aptdefect.apt.voids import Voids
from napari_aptdefect.data import DEFECT_CLASSES, DefectTable, IonCloud, VoxelGrid
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.pipeline.background import background_summary
from napari_aptdefect.pipeline.checks import consistency_summary, flag_columns
from napari_aptdefect.pipeline.learning.model_file import DefectModel
from napari_aptdefect.pipeline.learning.sight import Sights
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.record import sha256_of
from napari_aptdefect.pipeline.run_folder import UNRANGED
from napari_aptdefect.pipeline.sequence import Evaporation
from napari_aptdefect.pipeline.specimen import Described
from napari_aptdefect.pipeline.structure import Structure


@dataclass(frozen=True, eq=False)
class Found:
    """Everything the stages found, before it is written."""

    cloud: IonCloud
    ranging: Ranging
    evaporation: Evaporation
    normalized: Normalized
    consistent: Consistent | None
    hull: SpecimenHull | None
    measured: Described
    fused: Fused
    clusters: Clusters
    defects: Defects
    voids: Voids | None
    void_defect: NDArray[np.int32]
    channels: tuple[int, ...]
    density_nm3: NDArray[np.float32]
    notes: tuple[str, ...]
    structure: Structure | None = None
    mass_background: MassBackground | None = None
    topology: tuple[PlaceTopology, ...] | None = None
    sights: Sights | None = None


def ion_columns(found: Found) -> dict[str, NDArray[Any]]:
    """Per-ion columns in file order; ions that were left out or not judged have no anomaly."""
    used, n = found.normalized.used, found.cloud.n_ions
    cells = found.measured.cells
    cut = ~cells.bounded if found.hull is None else cells.cut_by_hull
    xyz, judged = found.normalized.xyz_nm, found.measured.features.judged

    def spread(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        out = np.full(n, fill, values.dtype)
        out[used] = values
        return out

    attention = {} if found.sights is None else {"attention": spread(found.sights.mine.attention, np.nan)}
    return {
        "ion_idx": np.arange(n, dtype=np.int64),
        "x_nm": xyz[:, 0],
        "y_nm": xyz[:, 1],
        "z_nm": xyz[:, 2],
        "mass_da": found.cloud.mass_da,
        "cluster": spread(found.clusters.label, -1),
        "defect": spread(found.defects.instance, 0),
        "class_idx": spread(found.defects.class_idx, 0),
        "defect_probability": spread(found.defects.probability, 0),
        "anomaly_score": spread(np.where(judged, found.fused.anomaly, np.float32(np.nan)), np.nan),
        "flags": flag_columns(found.consistent, used, cut),
        **attention,
    }


def dictionaries(columns: Mapping[str, NDArray[Any]], found: Found) -> dict[str, pa.Array]:
    """Species and class of each ion, as dictionary arrays."""
    names = found.ranging.table.names
    species = np.where(found.ranging.ion_idx < 0, len(names), found.ranging.ion_idx).astype(np.int32)
    return {
        "species": pa.DictionaryArray.from_arrays(species, pa.array([*names, UNRANGED])),
        "defect_class": pa.DictionaryArray.from_arrays(columns["class_idx"].astype(np.int32), pa.array(DEFECT_CLASSES)),
    }


def volumes(params: AnalysisParams, found: Found) -> list[VoxelGrid]:
    """Density, local composition of the main species, and mean probability, all on one frame."""
    normalized, frame, sigma = found.normalized, found.normalized.frame, params.normalize.density_sigma_nm
    used = normalized.used
    xyz, species = normalized.xyz_nm[used], found.ranging.ion_idx[used]
    weights = None if found.consistent is None else found.consistent.weight[used]

    def count(rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        if weights is None or bool((weights == 1).all()):
            return frame.count(xyz[rows])
        total = np.bincount(frame.voxel_idx(xyz[rows]), weights[rows], frame.n_voxels)
        return total.astype(np.float32).reshape(frame.shape)

    def mean(weight: NDArray[np.float32], total: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.divide(weight, total, out=np.zeros_like(total), where=(total > 1e-6) & normalized.inside)

    ranged = frame.smooth(count(species >= 0), sigma)
    density = frame.smooth(count(np.ones(len(xyz), np.bool_)), sigma) / np.float32(frame.voxel_nm**3)
    grids = [frame.grid(density, "density", "ions/nm3")]
    for channel in found.channels:
        share = mean(frame.smooth(count(species == channel), sigma), ranged)
        name = found.ranging.table.names[channel].replace("/", "_").strip(". ") or f"species {channel}"
        grids.append(frame.grid(share, f"composition/{name}", "fraction of ranged ions"))
    weight = np.bincount(frame.voxel_idx(xyz), found.defects.probability, frame.n_voxels).astype(np.float32)
    total = frame.smooth(frame.count(xyz), sigma)
    probability = mean(frame.smooth(weight.reshape(frame.shape), sigma), total)
    return [*grids, frame.grid(np.clip(probability, 0, 1), "probability", "probability")]


def summarize(found: Found, table: DefectTable, flags: NDArray[np.uint8]) -> dict[str, Any]:
    """Sum up a run for ``run.json`` and the report."""
    whole = composition(found.ranging)
    classes = table.table["defect_class"].to_pylist()
    return {
        "n_ions": found.cloud.n_ions,
        "n_ranged": found.ranging.n_ranged,
        "n_used": int(found.normalized.used.sum()),
        "n_defects": len(table),
        "by_class": {name: classes.count(name) for name in DEFECT_CLASSES[1:]},
        "composition": [
            {"ion": name, "count": int(count), "fraction": float(fraction)}
            for name, count, fraction in zip(whole.ions, found.ranging.counts, whole.ion_fraction, strict=True)
        ],
        "mass_background": background_summary(found.mass_background, found.ranging),
        "n_voids": None if found.voids is None else len(found.voids),
        "sequence": _sequence(found.evaporation),
        "consistency": consistency_summary(found.consistent, flags),
        "hull": None if found.hull is None else _hull(found.hull, found.measured.cells),
        "structure": None if found.structure is None else found.structure.as_dict(),
        "k": found.clusters.k,
        "silhouette": [list(point) for point in found.clusters.silhouette],
        "eigengap_k": found.clusters.eigengap_k,
        "weights": list(found.fused.weights),
        "model": None if found.sights is None else model_summary(found.sights.model),
        "notes": list(found.notes),
    }


def model_summary(model: DefectModel) -> dict[str, Any]:
    """What a run says of the model that named its defects."""
    file = {} if model.path is None else {"file": model.path.name, "sha256": sha256_of(model.path)}
    return {**file, "elements": list(model.elements), "classes": list(model.classes), "card": dict(model.card)}


def _hull(hull: SpecimenHull, cells: VoronoiCells) -> dict[str, Any]:
    """Volume and surface of the specimen, and how well the volumes of the cells add up to it."""
    total = float(np.nansum(cells.volume_nm3, dtype=np.float64))
    return {
        "kind": hull.kind,
        "alpha_nm": hull.alpha_nm,
        "volume_nm3": hull.volume_nm3,
        "area_nm2": hull.area_nm2,
        "n_cells_cut": int(cells.cut_by_hull.sum()),
        "cells_over_hull": total / hull.volume_nm3,
        "ions_per_nm3": len(cells) / hull.volume_nm3,
    }


def _sequence(found: Evaporation) -> dict[str, Any]:
    """Drifts along the evaporation sequence, slice by slice."""
    masses, places = found.masses, found.places
    return {
        "peak_drift": None
        if masses is None
        else {"ion": masses.at.tolist(), "scale": masses.scale.tolist(), "error": masses.error.tolist()},
        "drift": None
        if places is None
        else {
            "ion": places.at.tolist(),
            "shift": places.shift.tolist(),
            "error": places.error.tolist(),
            "unit": places.unit,
        },
    }
