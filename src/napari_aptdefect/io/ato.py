"""The .ato format, version 3 (LAWATAP): a header of 8 bytes, then 14 float32 per ion, in Angstrom, kV, us and cm."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column, unit_of
from napari_aptdefect.errors import FormatError, Issue
from napari_aptdefect.io._binary import Field, PackedReader, SourceFile

HEADER_BYTES: Final = 8
RECORD_BYTES: Final = 56
_FIELDS: Final = {
    "xyz_nm": Field(0, "f4", 3, 0.1),
    "mass_da": Field(12, "f4"),
    "cluster_id": Field(16, "f4"),
    "pulse_number": Field(20, "f4"),
    "voltage_dc_v": Field(24, "f4", 1, 1e3),
    "tof_ns": Field(28, "f4", 1, 1e3),
    "det_x_mm": Field(32, "f4", 1, 10.0),
    "det_y_mm": Field(36, "f4", 1, 10.0),
    "voltage_pulse_v": Field(40, "f4", 1, 1e3),
    "v_volt": Field(44, "f4"),
    "fourier_r": Field(48, "f4"),
    "fourier_i": Field(52, "f4"),
}
_DESCRIPTIONS: Final = {
    "pulse_number": "number of the pulse as stored: a float32 that wraps at 2^24",
    "v_volt": "field Vvolt, unit not documented",
}
_N_SAMPLED: Final = 512


def read_ato(path: Path | str) -> IonCloud:
    """Open an .ato file of version 3; its byte order is found from the values.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The cloud, in the units of the house; ``metadata["byte_order"]`` is ``"<"`` or ``">"``.

    Raises
    ------
    FormatError
        If the file is of another version or does not hold whole ions.
    MissingFileError
        If there is no such file.

    Notes
    -----
    Sources disagree on the byte order (Larson: big, Gault: little), so the order of the version word decides, and where
    the records contradict it, the records do. Other versions have other records, and no public description that agrees
    with their files.

    References
    ----------
    D. J. Larson et al., 2013, doi:10.1007/978-1-4614-8721-0; B. Gault et al., 2012, doi:10.1007/978-1-4614-3436-8
    """
    file = SourceFile.of(path)
    head = file.bytes_at(0, HEADER_BYTES)
    order = version_order(head)
    if order is None:
        raise _refused(file, head)
    n_ions, rest = divmod(file.size - HEADER_BYTES, RECORD_BYTES)
    if rest:
        raise FormatError(
            file.path,
            expected="8 bytes and a multiple of 56, one .ato version 3 record per ion",
            found=f"{file.size} bytes: {n_ions} whole ions and {rest} bytes more",
            offset=HEADER_BYTES + n_ions * RECORD_BYTES,
            hint="The file was cut off: copy it again from where it was written.",
        )
    issues: tuple[Issue, ...] = (Issue("empty", "the file holds 0 ions"),) if n_ions == 0 else ()
    better = _record_order(file, n_ions, order)
    if better != order:
        text = "the version is written in one byte order and the records in the other; the records decide"
        issues += (Issue("byte-order", text),)
    reader = PackedReader(file, HEADER_BYTES, RECORD_BYTES, better, _FIELDS)
    dtype = np.dtype(np.float32)
    columns = {
        name: Column(name, dtype, field.width, unit_of(name), reader, _DESCRIPTIONS.get(name, ""))
        for name, field in _FIELDS.items()
    }
    columns["v_volt"] = Column("v_volt", dtype, 1, "", reader, _DESCRIPTIONS["v_volt"])
    return IonCloud(n_ions, columns, file.path, "ato", {"version": 3, "byte_order": better}, issues)


def version_order(head: bytes) -> str | None:
    """Byte order in which the version word at byte 4 is 3, or None."""
    return {b"\3\0\0\0": "<", b"\0\0\0\3": ">"}.get(head[4:8])


def _refused(file: SourceFile, head: bytes) -> FormatError:
    if len(head) < HEADER_BYTES:
        found = f"a file of {len(head)} bytes"
    else:
        little, big = int.from_bytes(head[4:8], "little"), int.from_bytes(head[4:8], "big")
        found = f"version {min(little, big)}" if min(little, big) < 100 else f"no version number ({head[4:8]!r})"
    return FormatError(
        file.path,
        expected=".ato version 3 (LAWATAP), the number 3 at byte 4",
        found=found,
        offset=4,
        hint="Other versions are not readable here; export the data as .pos, .epos or .apt.",
    )


def _record_order(file: SourceFile, n_ions: int, order: str) -> str:
    """Byte order in which a sample of positions and masses is plausible; the given one when both or none are."""
    if n_ions == 0:
        return order
    step = max(1, n_ions // _N_SAMPLED)
    with file.open() as handle:
        raw = b"".join(file.read_at(handle, HEADER_BYTES + i * RECORD_BYTES, 16) for i in range(0, n_ions, step))
    scores = {}
    for candidate in ("<", ">"):
        size = np.abs(np.frombuffer(raw, f"{candidate}f4"))
        with np.errstate(all="ignore"):
            scores[candidate] = float(((size == 0) | ((size > 1e-7) & (size < 1e7))).mean())
    other = ">" if order == "<" else "<"
    return other if scores[other] > 0.9 > 0.5 > scores[order] else order
