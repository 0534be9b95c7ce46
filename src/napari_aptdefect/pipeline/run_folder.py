"""The run folder: what an analysis leaves behind, whole or not at all.

A run is written into a hidden folder beside its place and renamed when complete, so a reader never sees half of one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable, VoxelGrid
from napari_aptdefect.errors import RunFolderError

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())

ION_SCHEMA: Final = pa.schema(
    [
        ("ion_idx", pa.int64()),
        ("x_nm", pa.float32()),
        ("y_nm", pa.float32()),
        ("z_nm", pa.float32()),
        ("mass_da", pa.float32()),
        ("species", _DICTIONARY),
        ("cluster", pa.int32()),
        ("defect", pa.int32()),
        ("defect_class", _DICTIONARY),
        ("defect_probability", pa.float32()),
        ("anomaly_score", pa.float32()),
        ("flags", pa.uint8()),
    ]
)
"""Columns of ``ions.parquet``: one row per ion, in file order."""

ATTENTION: Final = pa.field("attention", pa.float32())
"""One column more where a model named the defects: attention that the surroundings of the ion received, over even
attention; missing for ions that were left out."""

VOID_SCHEMA: Final = pa.schema(
    [
        ("defect", pa.int32()),  # number in defects.parquet; 0 for one that is not sure enough
        *(
            (f"{name}{bound}_nm", pa.float64())
            for name in ("center_x", "center_y", "center_z", "radius")
            for bound in ("", "_low", "_high")  # posterior mean, and the interval that holds 90 % of it
        ),
        ("depletion", pa.float64()),  # share of the ions that is missing inside
        ("n_missing", pa.float64()),
        ("log_bayes", pa.float64()),
        ("local_dispersion", pa.float64()),  # NaN where too little of the surroundings is known
        ("false_alarm", pa.float64()),
    ]
)
"""Columns of ``voids.parquet``: one row per void, strongest evidence first."""

UNRANGED: Final = "unranged"
"""Species of an ion that no range holds."""


@dataclass(frozen=True)
class RunFolder:
    """A finished run on disk; tables and grids are read when they are asked for.

    Parameters
    ----------
    path
        Folder that holds ``run.json``.

    Raises
    ------
    RunFolderError
        If the folder is not a finished run.
    """

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / "run.json").is_file():
            raise RunFolderError(
                f"{self.path} is no run folder (no run.json in it); give a folder that `aptdefect analyze --out` made"
            )

    @property
    def record(self) -> dict[str, Any]:
        """Contents of ``run.json``: inputs with sha256, parameters, seed, versions, time and memory of each stage."""
        record: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return record

    @property
    def report(self) -> Path:
        """Path of the report."""
        return self.path / "report.html"

    def ions(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read ``ions.parquet``, or only some of its columns, memory-mapped."""
        return pq.read_table(self.path / "ions.parquet", columns=columns, memory_map=True)

    @property
    def has_attention(self) -> bool:
        """Whether a model named the defects, so that ``ions.parquet`` has the column `ATTENTION`."""
        return ATTENTION.name in pq.read_schema(self.path / "ions.parquet").names

    def defects(self) -> DefectTable:
        """Read ``defects.parquet``."""
        return DefectTable(pq.read_table(self.path / "defects.parquet").cast(DEFECT_SCHEMA))

    def voids(self) -> pa.Table | None:
        """Read ``voids.parquet``; None where the run did not search for voids."""
        path = self.path / "voids.parquet"
        return pq.read_table(path) if path.is_file() else None

    def volumes(self) -> dict[str, VoxelGrid]:
        """Read all grids of ``volumes.zarr`` by name: ``density``, ``probability``, ``composition/<species>``."""
        import zarr

        root = zarr.open_group(self.path / "volumes.zarr", mode="r")
        return {name: _grid(root[name], name) for name in root.attrs["grids"]}


@contextmanager
def new_run(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a hidden folder to write a run into; on success it becomes `path`, on any error it vanishes.

    Parameters
    ----------
    path
        Where the run folder shall be.
    overwrite
        Replace a run folder that is already there. Anything that is not a run folder is never replaced.

    Raises
    ------
    RunFolderError
        If something is there already, or the place can't be written to.
    """
    path = path.absolute()
    if path.exists():
        is_run = (path / "run.json").is_file()
        if path.is_dir() and not any(path.iterdir()):
            pass
        elif not is_run:
            raise RunFolderError(f"{path} exists and is no run folder; choose another place for --out")
        elif not overwrite:
            raise RunFolderError(f"{path} already holds a run; choose another place or say --overwrite")
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    except OSError as error:
        raise RunFolderError(f"can't write beside {path}: {error.strerror or error}; choose another place") from error
    try:
        yield work
        work.chmod(0o755)  # mkdtemp makes folders private; a run is shared like any other folder
        if path.exists():
            old = work.with_name(work.name + "-old")  # kept until the new run stands in its place
            path.replace(old)
            work.replace(path)
            shutil.rmtree(old)
        else:
            work.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for parent in made:  # the innermost first
            with suppress(OSError):
                parent.rmdir()  # leaves alone what holds anything


def write_ions(work: Path, columns: Mapping[str, Any]) -> None:
    """Write ``ions.parquet``; `columns` holds one array per name of `ION_SCHEMA`, dictionaries as Arrow arrays.

    Where a model looked at the ions, there is also the column `ATTENTION`.
    """
    schema = ION_SCHEMA.append(ATTENTION) if ATTENTION.name in columns else ION_SCHEMA
    table = pa.table({field.name: columns[field.name] for field in schema}, schema=schema)
    pq.write_table(table, work / "ions.parquet", compression="zstd", row_group_size=1 << 20)


def write_defects(work: Path, defects: DefectTable) -> None:
    """Write ``defects.parquet``."""
    pq.write_table(defects.table, work / "defects.parquet", compression="zstd")


def write_voids(work: Path, voids: pa.Table) -> None:
    """Write ``voids.parquet``, a table of `VOID_SCHEMA`."""
    pq.write_table(voids.cast(VOID_SCHEMA), work / "voids.parquet", compression="zstd")


def write_topology(work: Path, topology: pa.Table) -> None:
    """Write ``topology.parquet``: one row per defect that was compared with the matrix."""
    pq.write_table(topology, work / "topology.parquet", compression="zstd")


def write_features(work: Path, features: pa.Table) -> None:
    """Write ``features.parquet``: one row per ion that was used, with its index in the file."""
    write_table(work / "features.parquet", features)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a large table of ions in row groups that can be read one by one."""
    pq.write_table(table, path, compression="zstd", row_group_size=1 << 18)


def write_volumes(work: Path, grids: Sequence[VoxelGrid]) -> None:
    """Write ``volumes.zarr``, one chunked array per grid, with its origin, voxel size and unit as attributes."""
    import zarr

    root = zarr.open_group(work / "volumes.zarr", mode="w")
    for grid in grids:
        array = root.create_array(
            grid.name,
            data=grid.values,
            chunks=tuple(min(64, n) for n in grid.values.shape),
            dimension_names=("x", "y", "z"),
        )
        array.attrs.update(
            {
                "origin_nm": [float(v) for v in grid.origin_nm],
                "voxel_nm": [float(v) for v in grid.voxel_nm],
                "unit": grid.unit,
            }
        )
    root.attrs["grids"] = [grid.name for grid in grids]


def write_record(work: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json``, last of all: its presence says that the run is whole."""
    (work / "run.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _grid(array: Any, name: str) -> VoxelGrid:
    attrs = array.attrs
    return VoxelGrid(
        np.asarray(array[...], np.float32),
        np.asarray(attrs["origin_nm"], np.float64),
        np.asarray(attrs["voxel_nm"], np.float64),
        name,
        str(attrs["unit"]),
    )
