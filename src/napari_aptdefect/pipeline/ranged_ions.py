"""Positions and species of the ions of a cloud file or of a run folder, which volumes and profiles are made of."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.features import multi_hits
from napari_aptdefect.data import Ion, IonCloud, RangeTable
from napari_aptdefect.data.elements import elements_of_name
from napari_aptdefect.errors import FormatError
from napari_aptdefect.io import read, read_ranges
from napari_aptdefect.pipeline.run_folder import UNRANGED, RunFolder

PER_PULSE: Final = "ions_per_pulse"
"""Column of .epos and .apt files: ions of the pulse on its first ion, 0 on the further ones."""


@dataclass(frozen=True, eq=False)
class RangedIons:
    """Ions with what they are.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), float32, nm.
    species_idx
        Index into ``ranges.ions``, shape (N,), int16; -1 for ions in no range.
    ranges
        What the ions are made of.
    mass_da
        Mass-to-charge ratios, shape (N,), Da; None when nobody asked for them.
    multi_hit
        Ions that came with others in one pulse, shape (N,), bool; None where the file has no pulses.
    """

    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    ranges: RangeTable
    mass_da: NDArray[np.float32] | None = None
    multi_hit: NDArray[np.bool_] | None = None


def ions_of_cloud(path: Path, ranges: RangeTable | None) -> RangedIons:
    """Read the ions of a cloud file; without ranges none of them has a species.

    Parameters
    ----------
    path
        File of the cloud.
    ranges
        Ranges that name the ions, or None.

    Raises
    ------
    FormatError
        If the file holds no ion cloud.
    """
    cloud = read(path)
    if not isinstance(cloud, IonCloud):
        raise FormatError(path, expected="an ion cloud", found=type(cloud).__name__)
    table = ranges if ranges is not None else RangeTable((), ())
    species = table.assign(cloud.mass_da) if table.ions else np.full(len(cloud), -1, np.int16)
    pulses = multi_hits(cloud.read(PER_PULSE)) if PER_PULSE in cloud.columns else None
    return RangedIons(cloud.xyz_nm, species, table, cloud.mass_da, pulses)


def ions_of_run(run: RunFolder) -> RangedIons:
    """Read the ions of a run, at the positions that the run worked with.

    Names of ions are taken apart into elements; the table has no ranges, for the range file may be gone.
    """
    table = run.ions(["x_nm", "y_nm", "z_nm", "species", "mass_da"])
    xyz = np.stack([table[axis].to_numpy() for axis in ("x_nm", "y_nm", "z_nm")], axis=1)
    codes, names = _species(table["species"])
    # the dictionary's own number of each name, and -1 for the name that stands for none
    kept = [name for name in names if name != UNRANGED]
    number = np.array([kept.index(name) if name != UNRANGED else -1 for name in names] or [-1], np.int16)
    return RangedIons(xyz, number[codes], _table(kept), table["mass_da"].to_numpy())


def ranges_of_cloud(path: Path | None) -> RangeTable | None:
    """Range table of a cloud's range file; None when there is none. Its warnings were reported when it was opened."""
    if path is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_ranges(path)


def ranges_of_run(run: RunFolder) -> RangeTable:
    """Kinds of ions in a run, without their ranges."""
    _, names = _species(run.ions(["species"])["species"])
    return _table([name for name in names if name != UNRANGED])


def _table(names: list[str]) -> RangeTable:
    return RangeTable(tuple(Ion(name, elements_of_name(name)) for name in names), ())


def _species(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Codes and words of a dictionary column; row groups may have dictionaries of their own."""
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int64), whole.dictionary.to_pylist()
