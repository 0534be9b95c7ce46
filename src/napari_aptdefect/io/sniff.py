"""Finds out what a file holds: its content first, its extension to break ties."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from napari_aptdefect.errors import FormatError
from napari_aptdefect.io._binary import SourceFile
from napari_aptdefect.io.ato import HEADER_BYTES as _ATO_HEADER
from napari_aptdefect.io.ato import RECORD_BYTES as _ATO_RECORD
from napari_aptdefect.io.ato import version_order

CLOUD_KINDS: Final = ("apt", "parquet", "nxapm", "ato", "epos", "pos")
RANGE_KINDS: Final = ("rrng", "rng", "env")
EXTENSIONS: Final = {
    ".pos": "pos",
    ".epos": "epos",
    ".apt": "apt",
    ".ato": "ato",
    ".parquet": "parquet",
    ".nxs": "nxapm",
    ".rrng": "rrng",
    ".rng": "rng",
    ".env": "env",
}
_HDF5_EXTENSIONS: Final = (".nxs", ".h5", ".hdf5", ".hdf", ".emd", ".hspy", ".nx5", ".nexus")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES: Final = 1 << 16
_SAMPLE_RUN: Final = 256


@dataclass(frozen=True)
class Kind:
    """What a file holds, and whether its content alone says so."""

    name: str
    certain: bool


def sniff(path: Path | str) -> Kind:
    """Find out what a file holds.

    Parameters
    ----------
    path
        File to look at; some kilobytes of it are read.

    Returns
    -------
    One of `CLOUD_KINDS`, `RANGE_KINDS` or ``"image"``.

    Raises
    ------
    FormatError
        If nothing readable is recognized.
    MissingFileError
        If there is no such file.

    Notes
    -----
    .pos and .epos have no signature. Records spread over the file are read as big-endian numbers of either format, and
    are plausible when positions are below 100 um and no number is absurdly small: the counts that end an .epos record
    give such numbers in a .pos.
    """
    file = SourceFile.of(path)
    suffix = file.path.suffix.lower()
    named = EXTENSIONS.get(suffix)
    head = file.bytes_at(0, _HEAD_BYTES)
    found = _by_signature(file, head)
    if found is not None:
        return found
    if named in RANGE_KINDS and (not head or _is_text(head)):
        return Kind(_text_kind(head, named) or named, True)
    headerless = _headerless(file, named)
    if headerless is not None and headerless.certain:
        return headerless
    if _is_image(file.path, suffix, head, headerless):
        return Kind("image", True)
    if named in CLOUD_KINDS and not (_is_text(head) and _text_kind(head, None)):
        # The reader of the extension says best what is wrong with the file.
        return headerless or Kind(named, False)
    text = _text_kind(head, None) if _is_text(head) else None
    if text is not None:
        return Kind(text, True)
    if headerless is not None:
        return headerless
    if named is not None:
        return Kind(named, False)
    raise _unknown(file, head)


def _by_signature(file: SourceFile, head: bytes) -> Kind | None:
    if head.startswith(b"APT\0"):
        return Kind("apt", True)
    if head.startswith(b"PAR1"):
        return Kind("parquet", True)
    if head.startswith(_HDF5):
        from napari_aptdefect.io.nxapm import holds_cloud

        named = EXTENSIONS.get(file.path.suffix.lower())
        return Kind("nxapm", True) if holds_cloud(file.path) or named == "nxapm" else Kind("image", True)
    n_ions, rest = divmod(file.size - _ATO_HEADER, _ATO_RECORD)
    if rest == 0 and n_ions >= 0 and version_order(head) and (n_ions > 0 or file.path.suffix.lower() == ".ato"):
        return Kind("ato", True)
    return None


def _headerless(file: SourceFile, named: str | None) -> Kind | None:
    """.pos or .epos, when the size fits and a sample of the numbers is plausible; None otherwise."""
    if file.size == 0:
        return Kind(named, True) if named in ("pos", "epos") else None
    if named == "epos" and file.size < 44:  # the start of one ion reads like a whole ion of a .pos
        return Kind(named, True)
    fits = {"pos": file.size % 16 == 0, "epos": file.size % 44 == 0}
    good = {kind: fits[kind] and _plausible(file, kind) > 0.9 for kind in ("pos", "epos")}
    if named in good and good[named] and not (named == "pos" and good["epos"] and _holds_counts(file)):
        return Kind(named, True)
    if good["epos"]:
        return Kind("epos", True)
    if good["pos"]:
        return Kind("pos", True)
    if named is not None and fits.get(named):
        return Kind(named, False)
    return None


def _sample(file: SourceFile, record_bytes: int) -> bytes:
    """Runs of records from the start, the middle and the end of the file."""
    n_records = file.size // record_bytes
    starts = sorted({0, max(0, n_records // 2 - _SAMPLE_RUN // 2), max(0, n_records - _SAMPLE_RUN)})
    with file.open() as handle:
        return b"".join(
            file.read_at(handle, start * record_bytes, min(_SAMPLE_RUN, n_records - start) * record_bytes)
            for start in starts
        )


def _plausible(file: SourceFile, kind: str) -> float:
    """Share of the sampled records that can be ions."""
    record = 16 if kind == "pos" else 44
    raw = np.frombuffer(_sample(file, record), np.uint8).reshape(-1, record)
    with np.errstate(all="ignore"):
        values = raw.view(">f4")[:, : 4 if kind == "pos" else 9].astype(np.float64)
        size = np.abs(values)
        # A damaged value (NaN) must not hide a cloud; an integer or a text read as float is tiny or huge.
        usual = (size == 0) | ((size > 1e-20) & (size < 1e9)) | np.isnan(size) | np.isinf(size)
        usual[:, :3] &= ~(size[:, :3] > 1e5)
    good = usual.all(axis=1) & ~np.isnan(values).all(axis=1)
    if kind == "epos":
        good &= (raw.view(">u4")[:, 10] <= 1 << 16) & (raw.view(">u4")[:, 9] <= 1 << 30)
    return float(good.mean())


def _holds_counts(file: SourceFile) -> bool:
    """Whether the last two numbers of .epos records are small counts, and some are not 0."""
    words = np.frombuffer(_sample(file, 44), ">u4").reshape(-1, 11)[:, 9:]
    return bool(words.any() and (words < 1 << 20).all())


def _is_image(path: Path, suffix: str, head: bytes, headerless: Kind | None) -> bool:
    if headerless is not None and headerless.certain:
        return False
    from napari_aptdefect.io.haadf import HAADF_EXTENSIONS, looks_like_image

    return looks_like_image(path) or (suffix in HAADF_EXTENSIONS and suffix not in EXTENSIONS and len(head) > 0)


def _is_text(head: bytes) -> bool:
    if not head:
        return False
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    controls = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 11, 12, 13, 26))
    return controls == 0


def _text_kind(head: bytes, named: str | None) -> str | None:
    """Kind of range file that the text looks like; the extension decides where several fit."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head.decode(encoding, errors="replace")
    if re.search(r"(?im)^\s*\[(ions|ranges)\]", text) or re.search(r"(?im)^\s*range\d+\s*=", text):
        return "rrng"
    if re.search(r"(?im)^\s*rev_\d", text) or re.search(r"(?im)^#\s*(definition of|atom probe definition)", text):
        return "env"
    if named in ("rng", "env"):
        return named
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    counts = bool(lines) and len(lines[0]) == 2 and all(part.isdigit() for part in lines[0])
    if counts and len(lines) > 2 and len(lines[1]) == 1 and len(lines[2]) == 4:
        return "rng"
    if counts and len(lines) > 1 and len(lines[1]) == 4:
        return "env"
    return None


def _unknown(file: SourceFile, head: bytes) -> FormatError:
    return FormatError(
        file.path,
        expected="an ion cloud (.pos, .epos, .apt, .ato version 3, .parquet, NXapm .nxs/.h5), a range file (.rrng, "
        ".rng, .env) or a HAADF-STEM image (.dm3, .dm4, .emd, .ser, .mrc, .tif, .hspy, ...)",
        found="an empty file" if not head else f"{file.size} bytes that start with {head[:8]!r}",
        hint="If the file has one of these formats it is damaged; otherwise convert it.",
    )


def contradicts(path: Path, kind: str) -> bool:
    """Whether the extension of a file names another kind than the one found; unknown extensions name none."""
    suffix = path.suffix.lower()
    if kind == "nxapm":
        return suffix in EXTENSIONS and suffix != ".nxs"
    named = EXTENSIONS.get(suffix)
    return named is not None and named != kind
