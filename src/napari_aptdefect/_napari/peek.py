"""Is a path ours? Looks at the name and the first bytes, never raises, and imports nothing heavy for foreign files.

A damaged file of a format that only this field writes is still ours: opening it then says what is wrong with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tags that only electron microscopes write: Zeiss, FEI (two), Olympus and JEOL keep theirs in ImageJ's unit
_MICROSCOPE_TAGS: Final = frozenset({34118, 34680, 34682, 65003, 65009, 65022, 65024, 65026})
_SMALL_UNITS: Final = frozenset({"nm", "nanometer", "angstrom", "å", "a", "pm"})


def is_ours(path: Path) -> bool:
    """Whether the reader of this plugin should offer to open a file or folder."""
    try:
        if path.is_dir():
            return is_run_folder(path)
        check = _CHECKS.get(path.suffix.lower())
        return check is not None and path.is_file() and check(path)
    except Exception as error:  # noqa: BLE001 - napari asks every plugin about every file; a surprise must not stop it
        _LOG.debug("can't tell what %s is: %r", path, error)
        return False


def is_run_folder(path: Path) -> bool:
    """Whether a folder holds a finished run."""
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and str(record.get("format", "")).startswith("napari-aptdefect run")


def _head(path: Path, n: int = 1024) -> bytes:
    with path.open("rb") as file:
        return file.read(n)


def _binary(path: Path) -> bool:
    head = _head(path)
    return not head or any(byte < 9 for byte in head)  # text has no such bytes; an empty file gets its message later


def _text(path: Path) -> bool:
    return b"\0" not in _head(path)


def _range_text(path: Path) -> bool:
    head = _head(path).lstrip(b"\xef\xbb\xbf").lstrip()
    return b"\0" not in head and (head[:1] in b"[" or head[:1].isdigit() or not head)


def _env(path: Path) -> bool:
    head = _head(path)
    return b"\0" not in head and b"=" not in head.split(b"\n")[0]  # a shell's .env says NAME=value


def _parquet(path: Path) -> bool:
    if _head(path, 4) != b"PAR1":
        return False
    import pyarrow.parquet as pq

    return {"x_nm", "y_nm", "z_nm", "mass_da"} <= set(pq.read_schema(path).names)


def _hdf5(path: Path) -> bool:
    if _head(path, 8) != _HDF5:
        return False
    import h5py

    from napari_aptdefect.io.sniff import sniff

    with h5py.File(path, "r"):  # these extensions are everybody's; a broken file may be anybody's
        return sniff(path).name in ("nxapm", "image")


def _image(path: Path) -> bool:
    from napari_aptdefect.io.haadf import looks_like_image

    return looks_like_image(path)


def _tiff(path: Path) -> bool:
    """Only TIFFs of an electron microscope or with a scale below the micrometer: all others are better left alone."""
    if not _head(path, 4).startswith(_TIFF):
        return False
    import tifffile

    with tifffile.TiffFile(path) as file:
        tags = {tag.code for tag in file.pages[0].tags}
        unit = str((file.imagej_metadata or {}).get("unit", "")).strip().lower()
    return bool(tags & _MICROSCOPE_TAGS) or unit in _SMALL_UNITS


_CHECKS: Final[dict[str, Callable[[Path], bool]]] = {
    ".pos": _binary,
    ".epos": _binary,
    ".ato": _binary,
    ".apt": lambda path: _head(path, 3) in (b"APT", b""),
    ".rrng": _range_text,
    ".rng": _text,
    ".env": _env,
    ".parquet": _parquet,
    ".nxs": _hdf5,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".dm3": _image,
    ".dm4": _image,
    ".emd": _image,
    ".ser": _image,
    ".mrc": _image,
    ".hspy": _image,
    ".tif": _tiff,
    ".tiff": _tiff,
}
