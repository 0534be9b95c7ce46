"""The .apt format of AP Suite 6: a file header, then sections of one quantity each, little-endian, in any order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column
from napari_aptdefect.errors import FormatError, Issue
from napari_aptdefect.io._binary import Field, PackedReader, SourceFile

MAGIC: Final = b"APT\0"
SECTION_MAGIC: Final = b"SEC\0"
FILE_HEADER: Final = np.dtype(
    [("magic", "S4"), ("header_bytes", "<i4"), ("version", "<i4"), ("name", "V512"), ("time", "<u8"), ("n_ions", "<i8")]
)
SECTION_HEADER: Final = np.dtype(
    [
        ("magic", "S4"),
        ("header_bytes", "<i4"),
        ("header_version", "<i4"),
        ("name", "V64"),
        ("version", "<i4"),
        ("relation", "<u4"),
        ("record_kind", "<u4"),
        ("data_kind", "<u4"),
        ("data_bits", "<i4"),
        ("record_bytes", "<i4"),
        ("unit", "V32"),
        ("n_records", "<i8"),
        ("n_bytes", "<i8"),
    ]
)
_RELATIONS: Final = ("unknown", "one-to-one", "sparse", "unrelated", "one-to-many")
_KINDS: Final = {1: "i", 2: "u", 3: "f"}
_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)

# section name -> column name; the first of several sections for one column wins
KNOWN: Final[Mapping[str, str]] = {
    "Position": "xyz_nm",
    "Mass": "mass_da",
    "tof": "tof_ns",
    "Epos ToF": "tof_ns",
    "Time of Flight": "tof_ns",
    "tofc": "tofc_ns",
    "tofb": "tofb_ns",
    "Voltage": "voltage_dc_v",
    "Pulse Voltage": "voltage_pulse_v",
    "XDet_mm": "det_x_mm",
    "YDet_mm": "det_y_mm",
    "pulseDelta": "pulse_delta",
    "Delta Pulse": "pulse_delta",
    "Multiplicity": "ions_per_pulse",
}
# factor to the unit a column's name promises, by the unit in the file
_TO_UNIT: Final[Mapping[str, Mapping[str, float]]] = {
    "nm": {"nm": 1, "pm": 1e-3, "a": 0.1, "å": 0.1, "angstrom": 0.1, "um": 1e3, "µm": 1e3, "mm": 1e6, "m": 1e9},
    "mm": {"mm": 1, "nm": 1e-6, "um": 1e-3, "µm": 1e-3, "cm": 10, "m": 1e3},
    "da": {"da": 1, "amu": 1, "u": 1, "dalton": 1},
    "ns": {"ns": 1, "ps": 1e-3, "us": 1e3, "µs": 1e3, "s": 1e9},
    "v": {"v": 1, "kv": 1e3, "mv": 1e-3},
}


@dataclass(frozen=True)
class Section:
    """One section as its header describes it; `column` is the column it became, or None."""

    name: str
    unit: str
    offset: int
    header_bytes: int
    n_bytes: int
    n_records: int
    record_bytes: int
    data_bits: int
    data_kind: int
    relation: str
    fixed: bool
    column: str | None = None

    @property
    def data_offset(self) -> int:
        """First byte of the data."""
        return self.offset + self.header_bytes

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Dtype of one value, or None when it is no number of whole bytes."""
        kind = _KINDS.get(self.data_kind)
        sizes = (32, 64) if kind == "f" else (8, 16, 32, 64)
        return np.dtype(f"<{kind}{self.data_bits // 8}") if kind and self.data_bits in sizes else None

    @property
    def width(self) -> int:
        """Values per record; 0 when a record is no whole number of values."""
        n, rest = divmod(8 * self.record_bytes, self.data_bits) if self.data_bits > 0 else (0, 0)
        return 0 if rest else n


def read_apt(path: Path | str) -> IonCloud:
    """Open an .apt file; only its headers are read, the ions are read when they are asked for.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The cloud. Sections with one record per ion are its columns, under our names where the quantity is known, under
    their own otherwise. ``metadata`` holds ``created_utc``, ``original_file``, ``sections`` (one dictionary each, in
    file order), ``bounding_box_nm``, and ``raw_sections``: what is not one record per ion, with place and size.

    Raises
    ------
    FormatError
        If a header is damaged, the file ends within a section, or positions or masses are missing.
    MissingFileError
        If there is no such file.

    Notes
    -----
    A section starts where the header and ``llByteCount`` of the one before say; counts don't decide, because padding is
    allowed. The six bounds of Position are part of its header's size. Position and Mass may be float64; they are
    handed out as float32, and that is reported.
    """
    file = SourceFile.of(path)
    header = _file_header(file)
    n_ions = int(header["n_ions"])
    issues: list[Issue] = []
    sections = _sections(file, int(header["header_bytes"]), issues)
    columns: dict[str, Column] = {}
    named: list[Section] = []
    for section in sections:
        column = _column(file, section, n_ions, columns, issues)
        if column is not None:
            columns[column.name] = column
        named.append(Section(**{**vars(section), "column": column.name if column else None}))
    _split_detector(file, named, columns)
    _require(file, named, columns, n_ions)
    metadata = {
        "original_file": _text(header["name"]),
        "created_utc": _created(int(header["time"]), issues),
        "header_version": int(header["version"]),
        "sections": [_summary(section) for section in named],
        "raw_sections": {section.name: _summary(section) for section in named if section.column is None},
        "bounding_box_nm": _bounding_box(file, named),
    }
    ordered = {name: columns[name] for name in ("xyz_nm", "mass_da", *columns)}
    return IonCloud(n_ions, ordered, file.path, "apt", metadata, tuple(issues))


def _file_header(file: SourceFile) -> Any:
    raw = file.bytes_at(0, FILE_HEADER.itemsize)
    if raw[:4] != MAGIC:
        raise FormatError(file.path, expected="the signature 'APT\\0'", found=repr(raw[:4]), offset=0)
    if len(raw) < FILE_HEADER.itemsize:
        raise FormatError(
            file.path, expected="a file header of 540 bytes", found=f"the end of the file after {len(raw)}", offset=0
        )
    header = np.frombuffer(raw, FILE_HEADER)[0]
    if not FILE_HEADER.itemsize <= header["header_bytes"] <= file.size:
        raise FormatError(
            file.path, expected="a file header of 540 bytes or more", found=f"{header['header_bytes']}", offset=4
        )
    if header["n_ions"] < 0:
        raise FormatError(file.path, expected="a number of ions", found=f"{header['n_ions']}", offset=532)
    return header


def _sections(file: SourceFile, offset: int, issues: list[Issue]) -> list[Section]:
    sections = []
    with file.open() as handle:
        while offset < file.size:
            n_bytes = min(SECTION_HEADER.itemsize, file.size - offset)
            raw = file.read_at(handle, offset, n_bytes)
            if not raw.strip(b"\0") and file.size - offset < 4096 and not file.bytes_at(offset, 4096).strip(b"\0"):
                text = f"{file.size - offset} zero bytes after the last section"
                issues.append(Issue("trailing-zeros", text, "info", offset=offset))
                break
            section = _section(file, offset, raw)
            sections.append(section)
            offset = section.data_offset + section.n_bytes
    return sections


def _section(file: SourceFile, offset: int, raw: bytes) -> Section:
    def fail(expected: str, found: str, at: int = 0, hint: str = "") -> FormatError:
        return FormatError(file.path, expected=expected, found=found, offset=offset + at, hint=hint)

    if raw[:4] != SECTION_MAGIC[: len(raw)]:
        raise fail("a section signature 'SEC\\0'", repr(raw[:4]), hint="The section before it has a wrong byte count.")
    if len(raw) < SECTION_HEADER.itemsize:
        raise fail("a section header of 148 bytes", f"the end of the file after {len(raw)}", hint=_CUT)
    head = np.frombuffer(raw, SECTION_HEADER)[0]
    name = _text(head["name"])
    header_bytes, n_bytes, n_records = int(head["header_bytes"]), int(head["n_bytes"]), int(head["n_records"])
    if header_bytes < SECTION_HEADER.itemsize:
        raise fail(f"a header of 148 bytes or more in section {name!r}", f"{header_bytes}", 4)
    if n_bytes < 0 or n_records < 0:
        raise fail(f"counts of 0 or more in section {name!r}", f"{n_records} records, {n_bytes} bytes", 132)
    left = file.size - offset - header_bytes
    if n_bytes > left:
        found = f"{max(left, 0)} bytes up to the end of the file"
        raise fail(f"{header_bytes} + {n_bytes} bytes of section {name!r}", found, hint=_CUT)
    record_bytes, data_bits = int(head["record_bytes"]), int(head["data_bits"])
    fixed = int(head["record_kind"]) == 1
    if fixed and (record_bytes < 0 or n_records * record_bytes > n_bytes):
        wanted = f"{n_records} records of {record_bytes} bytes in section {name!r}"
        raise fail(wanted, f"a section of {n_bytes} bytes", 132)
    relation = int(head["relation"])
    return Section(
        name or "unnamed",
        _text(head["unit"]),
        offset,
        header_bytes,
        n_bytes,
        n_records,
        record_bytes,
        data_bits,
        int(head["data_kind"]),
        _RELATIONS[relation] if relation < len(_RELATIONS) else f"code {relation}",
        fixed,
    )


_CUT: Final = "The file was cut off: copy it again from where it was written."


def _column(
    file: SourceFile, section: Section, n_ions: int, taken: Mapping[str, Column], issues: list[Issue]
) -> Column | None:
    """Column of a section with one number, or one row of numbers, per ion; None for any other section."""
    known = KNOWN.get(section.name)
    one_to_one = section.relation == "one-to-one" and section.fixed
    if not one_to_one or section.dtype is None or section.width == 0 or section.n_records != n_ions:
        text = f"section {section.name!r} ({section.relation}, {section.n_records} records of {section.record_bytes} "
        text += "bytes) is not one number per ion; it is in metadata['raw_sections']"
        issues.append(Issue("raw-section", text, "warning" if one_to_one else "info", offset=section.offset))
        return None
    width_wanted = {"xyz_nm": 3}.get(known or "", 1)
    if known is not None and (known in taken or section.width != width_wanted):
        text = f"section {section.name!r} can't be {known!r}: "
        text += "there is one already" if known in taken else f"it has {section.width} values per ion"
        issues.append(Issue("second-section", text, offset=section.offset))
        known = None
    unit, factor = section.unit, 1.0
    dtype = section.dtype.newbyteorder("=")
    if known is not None and known not in ("pulse_delta", "ions_per_pulse"):
        unit, factor = _unit(section, known, issues)
    if known in ("xyz_nm", "mass_da") and dtype != np.float32:
        text = f"section {section.name!r} holds {dtype}; read as float32"
        issues.append(Issue("precision", text, "info", offset=section.offset))
        dtype = np.dtype(np.float32)
    elif factor != 1.0 and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    name = known or _free_name(section.name, taken)
    stored = section.dtype
    fields = {name: Field(0, stored.str[1:], section.width, factor)}
    reader = PackedReader(file, section.data_offset, section.record_bytes, "<", fields)
    return Column(name, dtype, section.width, unit, reader, f"section {section.name}")


def _unit(section: Section, column: str, issues: list[Issue]) -> tuple[str, float]:
    """Unit of a known column and the factor to it; a unit that can't be converted is kept and reported."""
    suffix = column.rsplit("_", 1)[-1]
    written = section.unit.strip()
    ours = {"da": "Da", "v": "V"}.get(suffix, suffix)
    factor = 1.0 if not written else _TO_UNIT[suffix].get(written.lower().replace("μ", "µ"))
    if factor is None:
        text = f"section {section.name!r} has the unit {written!r}, expected {ours}: the values are taken as {ours}"
        issues.append(Issue("unit", text, offset=section.offset))
        return ours, 1.0
    if factor != 1.0:
        text = f"section {section.name!r} is in {written}: multiplied by {factor:g} to {ours}"
        issues.append(Issue("unit", text, "info", offset=section.offset))
    return ours, float(factor)


def _split_detector(file: SourceFile, sections: list[Section], columns: dict[str, Column]) -> None:
    """Take the detector hits from the section that holds both where the file has no separate ones."""
    for section in sections:
        if section.name != "Detector Coordinates" or section.column is None or section.width != 2:
            continue
        if "det_x_mm" in columns or "det_y_mm" in columns or section.unit.strip().lower() != "mm":
            continue
        dtype = section.dtype
        if dtype is None or dtype.kind != "f":
            continue
        kind = dtype.str[1:]
        fields = {"det_x_mm": Field(0, kind), "det_y_mm": Field(dtype.itemsize, kind)}
        reader = PackedReader(file, section.data_offset, section.record_bytes, "<", fields)
        for name in fields:
            columns[name] = Column(name, dtype.newbyteorder("="), 1, "mm", reader, "section Detector Coordinates")


def _require(file: SourceFile, sections: list[Section], columns: Mapping[str, Column], n_ions: int) -> None:
    for name, column in (("Position", "xyz_nm"), ("Mass", "mass_da")):
        if column in columns:
            continue
        same = [section for section in sections if section.name == name]
        if same and same[0].n_records != n_ions:
            raise FormatError(
                file.path,
                expected=f"{n_ions} ions in section {name!r}, as the file header says",
                found=f"{same[0].n_records}",
                offset=same[0].offset + 132,
            )
        found = "one that is not one float record per ion" if same else f"only {[s.name for s in sections]}"
        raise FormatError(
            file.path,
            expected=f"a section {name!r}",
            found=found,
            offset=same[0].offset if same else None,
            hint="Export the file again with position and mass.",
        )


def _bounding_box(file: SourceFile, sections: list[Section]) -> tuple[tuple[float, float], ...] | None:
    """Bounds ((xmin, xmax), (ymin, ymax), (zmin, zmax)) from the header of Position, when it is long enough."""
    for section in sections:
        if section.column == "xyz_nm" and section.header_bytes - SECTION_HEADER.itemsize == 24:
            bounds = np.frombuffer(file.bytes_at(section.offset + SECTION_HEADER.itemsize, 24), "<f4").tolist()
            return tuple(zip(bounds[::2], bounds[1::2], strict=True))
    return None


def _free_name(section: str, taken: Mapping[str, Column]) -> str:
    name = re.sub(r"\W+", "_", section).strip("_") or "section"
    n, free = 1, name
    while free in taken or free in KNOWN.values():
        n += 1
        free = f"{name}_{n}"
    return free


def _summary(section: Section) -> dict[str, Any]:
    stored = section.dtype
    return {**vars(section), "dtype": stored.str if stored is not None else None, "width": section.width}


def _text(raw: Any) -> str:
    return bytes(raw).decode("utf-16-le", errors="replace").split("\0", 1)[0].strip()


def _created(filetime: int, issues: list[Issue]) -> str | None:
    """UTC in ISO form of a Windows time stamp (100 ns since 1601), or None when there is none."""
    if filetime == 0:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=filetime // 10)).isoformat()
    except OverflowError:
        issues.append(Issue("creation-time", f"the creation time {filetime} is no date", "info", offset=524))
        return None
