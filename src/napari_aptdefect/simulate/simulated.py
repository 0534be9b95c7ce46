"""A simulated measurement with all that is true of it, and the files that hold both."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES, IonCloud, RangeTable
from napari_aptdefect.simulate.gan_defects import DefectTruth
from napari_aptdefect.stage import Params

SUBLATTICES: Final = ("Ga", "N", "interstitial", "none")
"""Where an ion came from: a Ga site, an N site, between the sites, or from no atom (background)."""

_CLOUD_FILES: Final = ("cloud.pos", "cloud.epos", "cloud.apt")
_ROW_GROUP: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class SimulatedCloud:
    """A measured cloud and everything that is true of it; arrays have one entry per ion, in file order.

    Parameters
    ----------
    cloud
        What the instrument gives: blurred positions and mass-to-charge ratios, in the order of evaporation. z is the
        depth below the free end of the wire, nm.
    ranges
        Ranges that fit the simulated spectrum.
    defect_class
        Shape (N,), int8, index in `DEFECT_CLASSES`: the region an atom came from.
    instance
        Shape (N,), int32, number of its defect, 0 for the matrix.
    sublattice
        Shape (N,), int8, index in `SUBLATTICES`.
    species
        Shape (N,), int8, index in `species_names`.
    species_names
        Names of the ions, the last one ``"background"``.
    xyz_true_nm
        Shape (N, 3), float32: where the atom was, nm; for background events, where it seems to come from.
    defects
        Truth about each defect, also about those without ions; its `defect` is the instance number.
    params
        Parameters of the simulation.
    seed
        Seed of the simulation.
    """

    cloud: IonCloud
    ranges: RangeTable
    defect_class: NDArray[np.int8]
    instance: NDArray[np.int32]
    sublattice: NDArray[np.int8]
    species: NDArray[np.int8]
    species_names: tuple[str, ...]
    xyz_true_nm: NDArray[np.float32]
    defects: tuple[DefectTruth, ...]
    params: Params
    seed: int


def write_simulated(simulated: SimulatedCloud, out_dir: Path | str) -> tuple[Path, ...]:
    """Write a simulated measurement and its truth.

    Parameters
    ----------
    simulated
        Result of the simulation.
    out_dir
        Folder to write to; it is made when it is missing, and files of the same names in it are replaced.

    Returns
    -------
    The files: ``cloud.pos``, ``cloud.epos``, ``cloud.apt``, ``ranges.rrng``; ``truth.parquet``, one row per ion in file
    order (``ion_idx``, ``defect_class``, ``instance``, ``sublattice``, ``species``, ``x_true_nm``, ``y_true_nm``,
    ``z_true_nm``); ``defects_truth.parquet``, one row per defect, also for those without ions; ``simulation.json``, the
    parameters and the seed.

    Notes
    -----
    All files are written beside the folder first, so an interrupted call leaves the folder as it was.
    """
    from napari_aptdefect.io import write

    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    names = (*_CLOUD_FILES, "ranges.rrng", "truth.parquet", "defects_truth.parquet", "simulation.json")
    with tempfile.TemporaryDirectory(prefix=".simulated-", dir=folder) as temporary:
        work = Path(temporary)
        for name in _CLOUD_FILES:
            write(simulated.cloud, work / name)
        write(simulated.ranges, work / "ranges.rrng")
        _write_truth(simulated, work / "truth.parquet")
        _write_defects(simulated, work / "defects_truth.parquet")
        _write_recipe(simulated, work / "simulation.json")
        for name in names:
            (work / name).replace(folder / name)
    return tuple(folder / name for name in names)


def _write_truth(simulated: SimulatedCloud, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def names(codes: NDArray[np.int8], values: tuple[str, ...]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(values))

    text = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema(
        [
            ("ion_idx", pa.int64()),
            ("defect_class", text),
            ("instance", pa.int32()),
            ("sublattice", text),
            ("species", text),
            ("x_true_nm", pa.float32()),
            ("y_true_nm", pa.float32()),
            ("z_true_nm", pa.float32()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start, stop in simulated.cloud.chunks(_ROW_GROUP):
            rows = slice(start, stop)
            xyz = simulated.xyz_true_nm[rows]
            columns = [
                pa.array(np.arange(start, stop, dtype=np.int64)),
                names(simulated.defect_class[rows], DEFECT_CLASSES),
                pa.array(simulated.instance[rows]),
                names(simulated.sublattice[rows], SUBLATTICES),
                names(simulated.species[rows], simulated.species_names),
                *(pa.array(np.ascontiguousarray(xyz[:, axis])) for axis in range(3)),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _write_defects(simulated: SimulatedCloud, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "center_nm": pa.list_(pa.float64(), 3),
        "direction": pa.list_(pa.float64(), 3),
        "defect_class": pa.string(),
        "kind": pa.string(),
        "defect": pa.int32(),
        "radius_nm": pa.float64(),
        "volume_nm3": pa.float64(),
    }
    schema = pa.schema([(item.name, kinds.get(item.name, pa.int64())) for item in fields(DefectTruth)])
    rows = [{name: getattr(defect, name) for name in schema.names} for defect in simulated.defects]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _write_recipe(simulated: SimulatedCloud, path: Path) -> None:
    import json

    recipe = {
        "simulation": "gan-nanowire",
        "seed": simulated.seed,
        "n_ions": len(simulated.cloud),
        "params": simulated.params.model_dump(mode="json"),
    }
    path.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
