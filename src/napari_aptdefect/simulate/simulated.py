"""A simulated measurement with all that is true of it, and the files that hold both."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES, IonCloud, RangeTable
from napari_aptdefect.simulate.atoms import SUBLATTICES
from napari_aptdefect.simulate.truth import DefectTruth
from napari_aptdefect.stage import Params

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
    instance
        Shape (N,), int32, number of the defect whose label the atom carries, 0 for the matrix.
    bound_instance
        Shape (N,), int32: the number that the known-geometry labeler gives the ion. It knows every defect's geometry
        and sees only the blurred place and the species of each ion, without the errors of trajectories and
        reconstruction.
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
    losses
        How many atoms or ions were lost at which step of the measurement.
    """

    cloud: IonCloud
    ranges: RangeTable
    instance: NDArray[np.int32]
    bound_instance: NDArray[np.int32]
    sublattice: NDArray[np.int8]
    species: NDArray[np.int8]
    species_names: tuple[str, ...]
    xyz_true_nm: NDArray[np.float32]
    defects: tuple[DefectTruth, ...]
    params: Params
    seed: int
    losses: Mapping[str, int]

    @property
    def defect_class(self) -> NDArray[np.int8]:
        """Class that each ion carries; shape (N,), index in `DEFECT_CLASSES`."""
        return self.class_of(self.instance)

    def class_of(self, instance: NDArray[np.int32]) -> NDArray[np.int8]:
        """Classes of instance numbers, as indices in `DEFECT_CLASSES`; of the same shape."""
        return np.array([0, *(defect.code for defect in self.defects)], np.int8)[instance]


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
    ``z_true_nm``, and the labeler's ``bound_class`` and ``bound_instance``); ``defects_truth.parquet``, one row per
    defect, also for those without ions; ``simulation.json``, the parameters, the seed and the losses.

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
            ("bound_class", text),
            ("bound_instance", pa.int32()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start, stop in simulated.cloud.chunks(_ROW_GROUP):
            rows = slice(start, stop)
            xyz = simulated.xyz_true_nm[rows]
            columns = [
                pa.array(np.arange(start, stop, dtype=np.int64)),
                names(simulated.class_of(simulated.instance[rows]), DEFECT_CLASSES),
                pa.array(simulated.instance[rows]),
                names(simulated.sublattice[rows], SUBLATTICES),
                names(simulated.species[rows], simulated.species_names),
                *(pa.array(np.ascontiguousarray(xyz[:, axis])) for axis in range(3)),
                names(simulated.class_of(simulated.bound_instance[rows]), DEFECT_CLASSES),
                pa.array(simulated.bound_instance[rows]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _write_defects(simulated: SimulatedCloud, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vector = pa.list_(pa.float64(), 3)
    schema = pa.schema(
        [
            ("defect", pa.int32()),
            ("defect_class", pa.string()),
            ("kind", pa.string()),
            ("role", pa.string()),
            ("shape", pa.string()),
            ("center_nm", vector),
            ("direction", vector),
            ("radius_nm", pa.float64()),
            ("extent", pa.float64()),  # length of a line, nm; area of a plane, nm²
            ("volume_nm3", pa.float64()),
            ("solute", pa.string()),
            ("n_sites", pa.int64()),
            ("n_missing", pa.int64()),
            ("n_solute", pa.int64()),
            ("n_excess", pa.float64()),
            ("n_ions", pa.int64()),
            ("d_prime", pa.float64()),
            ("auc", pa.float64()),
            ("visible", pa.bool_()),
            ("iou_ceiling", pa.float64()),
        ]
    )
    in_region = {"shape", "direction", "radius_nm"}
    rows = [
        {name: getattr(one.region if name in in_region else one, name) for name in schema.names}
        for one in simulated.defects
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _write_recipe(simulated: SimulatedCloud, path: Path) -> None:
    import json

    recipe = {
        "simulation": "gan-nanowire",
        "seed": simulated.seed,
        "n_ions": len(simulated.cloud),
        "losses": dict(simulated.losses),
        "params": simulated.params.model_dump(mode="json"),
    }
    path.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
