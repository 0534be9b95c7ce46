"""Writes ion clouds as .apt: the columns as sections, positions last with their bounding box, as AP Suite does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.errors import Issue
from napari_aptdefect.io._binary import as_stored, replacing
from napari_aptdefect.io.apt import FILE_HEADER, KNOWN, MAGIC, SECTION_HEADER, SECTION_MAGIC

_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_SECTION_NAMES: Final = {column: section for section, column in reversed(list(KNOWN.items()))} | {
    "pulse_delta": "Delta Pulse"
}
# AP Suite and its readers know these counts as signed
_SIGNED: Final = ("ions_per_pulse", "pulse_delta")
_KINDS: Final = {"i": 1, "u": 2, "f": 3}


def write_apt(cloud: IonCloud, path: Path | str) -> tuple[Issue, ...]:
    """Write a cloud as .apt, in blocks and to a temporary name first; every column becomes a section.

    Parameters
    ----------
    cloud
        What to write; its ``metadata["created_utc"]`` and the section names it was read with are kept.
    path
        File to write.

    Returns
    -------
    What the format can't hold.

    Raises
    ------
    ParameterError
        If a column does not fit the format.
    """
    bounds, largest = _survey(cloud)
    names = [name for name in cloud.columns if name != "xyz_nm"] + ["xyz_nm"]
    section_names = _section_names(cloud, names)
    with replacing(path) as handle:
        handle.write(_file_header(cloud, Path(path).name))
        for name in names:
            dtype = _stored_dtype(cloud.columns[name].dtype, largest.get(name, 0))
            handle.write(_section_header(cloud, name, section_names[name], dtype, bounds))
            _write_values(cloud, name, dtype, handle)
    raw = list(cloud.metadata.get("raw_sections", ()))
    if not raw:
        return ()
    text = f"the sections {', '.join(raw)} hold no value per ion and were not written"
    return (Issue("sections-left-out", text),)


def _survey(cloud: IonCloud) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Bounds of the finite positions, xmin xmax ymin ymax zmin zmax, and the largest value of the counts."""
    lower, upper = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    counts = [name for name in _SIGNED if name in cloud.columns]
    largest = dict.fromkeys(counts, 0)
    for start, stop in cloud.chunks():
        block = cloud.read_columns(("xyz_nm", *counts), start, stop)
        xyz = block["xyz_nm"][finite_rows(block["xyz_nm"])]
        if len(xyz):
            lower, upper = np.minimum(lower, xyz.min(axis=0)), np.maximum(upper, xyz.max(axis=0))
        for name in counts:
            largest[name] = max(largest[name], int(block[name].max()))
    bounds = np.stack([lower, upper], axis=1).ravel() if np.isfinite(lower).all() else np.zeros(6, np.float32)
    return bounds.astype("<f4"), largest


def _section_names(cloud: IonCloud, names: Iterable[str]) -> dict[str, str]:
    """Section name of each column: the known one, the one it was read with, else its own; at most 31 characters."""
    read_with = {s["column"]: s["name"] for s in cloud.metadata.get("sections", ()) if s.get("column")}
    chosen: dict[str, str] = {}
    for name in names:
        wanted = read_with.get(name) or _SECTION_NAMES.get(name) or name
        free, n = wanted[:31], 1
        while free in chosen.values() or (free in KNOWN and KNOWN[free] != name):
            n += 1
            free = f"{wanted[:27]}_{n}"
        chosen[name] = free
    return chosen


def _stored_dtype(dtype: np.dtype[Any], largest: int) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype == np.float16:
        return np.dtype("<f4")
    if dtype == np.uint32 and 0 < largest < 2**31:
        return np.dtype("<i4")
    return dtype.newbyteorder("<")


def _file_header(cloud: IonCloud, name: str) -> bytes:
    created = cloud.metadata.get("created_utc")
    when = datetime.fromisoformat(created) if isinstance(created, str) else datetime.now(UTC)
    header = np.zeros((), FILE_HEADER)
    header["magic"], header["header_bytes"], header["version"] = MAGIC, FILE_HEADER.itemsize, 2
    header["name"] = _wide(str(cloud.metadata.get("original_file") or name), 256)
    age = when - _EPOCH
    header["time"] = ((age.days * 86400 + age.seconds) * 10**6 + age.microseconds) * 10
    header["n_ions"] = cloud.n_ions
    return header.tobytes()


def _section_header(
    cloud: IonCloud, name: str, section: str, dtype: np.dtype[Any], bounds: NDArray[np.float32]
) -> bytes:
    column = cloud.columns[name]
    extra = bounds.tobytes() if name == "xyz_nm" else b""
    header = np.zeros((), SECTION_HEADER)
    header["magic"], header["header_bytes"] = SECTION_MAGIC, SECTION_HEADER.itemsize + len(extra)
    header["header_version"], header["version"] = 2, 1
    header["name"], header["unit"] = _wide(section, 32), _wide(column.unit, 16)
    header["relation"], header["record_kind"], header["data_kind"] = 1, 1, _KINDS[dtype.kind]
    header["data_bits"], header["record_bytes"] = 8 * dtype.itemsize, dtype.itemsize * column.width
    header["n_records"], header["n_bytes"] = cloud.n_ions, cloud.n_ions * column.width * dtype.itemsize
    return header.tobytes() + extra


def _write_values(cloud: IonCloud, name: str, dtype: np.dtype[Any], handle: BinaryIO) -> None:
    for start, stop in cloud.chunks():
        stored, _ = as_stored(cloud.read(name, start, stop), dtype, name)
        handle.write(np.ascontiguousarray(stored).data)


def _wide(text: str, n_units: int) -> np.void:
    """UTF-16 text padded with NUL to n units, the last of them always NUL."""
    raw = text.encode("utf-16-le", errors="replace")[: 2 * n_units - 2]
    return np.void(raw.decode("utf-16-le", errors="ignore").encode("utf-16-le").ljust(2 * n_units, b"\0"))
