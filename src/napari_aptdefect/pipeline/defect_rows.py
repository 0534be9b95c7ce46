"""Rows of the tables of defects and of voids, from what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.defects import Defects
from napari_aptdefect.apt.ranging import Ranging, composition_of_counts
from napari_aptdefect.apt.voids import Voids
from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable
from napari_aptdefect.pipeline.run_folder import VOID_SCHEMA


def defect_table(defects: Defects, used: NDArray[np.bool_], ranging: Ranging) -> DefectTable:
    """Make the table of defects.

    Parameters
    ----------
    defects
        The defects; their rows count among the used ions.
    used
        Which ions of the file were used, shape (N,), bool.
    ranging
        Species of all ions of the file.
    """
    species = ranging.ion_idx[used]
    rows: list[dict[str, Any]] = []
    for number, defect in enumerate(defects.defects, 1):
        x, y, z = (float(v) for v in defect.centroid_nm)
        rows.append(
            {
                "defect": number,
                "defect_class": defect.defect_class,
                "n_ions": len(defect.rows),
                "centroid_x_nm": x,
                "centroid_y_nm": y,
                "centroid_z_nm": z,
                "volume_nm3": defect.volume_nm3,
                "axis_lengths_nm": [float(v) for v in defect.axis_lengths_nm],
                "axis_directions": [float(v) for v in defect.axis_directions.ravel()],
                "composition": _composition(species[defect.rows], ranging),
                "probability": defect.probability,
                "anomaly_score": defect.anomaly,
                "nearest_signature": None,
                "touches_surface": defect.touches_surface,
            }
        )
    return DefectTable(pa.Table.from_pylist(rows, schema=DEFECT_SCHEMA))


def void_table(voids: Voids, void_defect: NDArray[np.int32]) -> pa.Table:
    """Make the table of voids; `void_defect` is the number of the defect that each void became, shape (K,)."""
    columns: dict[str, Any] = {"defect": void_defect}
    for bound in ("", "_low", "_high"):
        center = getattr(voids, f"center{bound}_nm")
        for axis, name in enumerate("xyz"):
            columns[f"center_{name}{bound}_nm"] = center[:, axis]
        columns[f"radius{bound}_nm"] = getattr(voids, f"radius{bound}_nm")
    columns |= {
        name: getattr(voids, name)
        for name in ("depletion", "n_missing", "log_bayes", "local_dispersion", "false_alarm")
    }
    return pa.table({field.name: columns[field.name] for field in VOID_SCHEMA}, schema=VOID_SCHEMA)


def _composition(species: NDArray[np.int16], ranging: Ranging) -> list[dict[str, Any]]:
    """Elements of a defect's ions with counting errors; ions, where their labels are no chemical formulas."""
    counts = np.bincount(species[species >= 0].astype(np.int64), minlength=len(ranging.table.ions))
    found = composition_of_counts(ranging.table, counts)
    if found.elements and found.atom_counts.sum() > 0:
        parts = zip(found.elements, found.atom_counts, found.fraction, found.fraction_error, strict=True)
    else:
        parts = zip(found.ions, found.ion_counts, found.ion_fraction, found.ion_fraction_error, strict=True)
    return [
        {"element": name, "count": int(count), "fraction": float(share), "fraction_error": float(error)}
        for name, count, share, error in parts
        if count > 0
    ]
