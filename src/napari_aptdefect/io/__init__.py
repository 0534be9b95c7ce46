"""Readers and writers, one module per format family; `read` looks at the content of a file first."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_aptdefect.errors import DataWarning, FormatError, Issue, ParameterError

if TYPE_CHECKING:
    from napari_aptdefect.data.cloud import IonCloud
    from napari_aptdefect.data.image import HaadfImage
    from napari_aptdefect.data.ranges import RangeTable

__all__ = ["WRITABLE_EXTENSIONS", "read", "read_cloud", "read_ranges", "write"]

_READERS: Final = {
    "pos": ("pos", "read_pos"),
    "epos": ("epos", "read_epos"),
    "apt": ("apt", "read_apt"),
    "ato": ("ato", "read_ato"),
    "parquet": ("table", "read_table"),
    "nxapm": ("nxapm", "read_nxapm"),
    "rrng": ("rrng", "read_rrng"),
    "rng": ("rng", "read_rng"),
    "env": ("env", "read_env"),
    "image": ("haadf", "read_haadf"),
}
_WRITERS: Final = {
    ".pos": ("pos", "write_pos"),
    ".epos": ("epos", "write_epos"),
    ".apt": ("apt_write", "write_apt"),
    ".parquet": ("table", "write_table"),
    ".nxs": ("nxapm", "write_nxapm"),
    ".h5": ("nxapm", "write_nxapm"),
}
WRITABLE_EXTENSIONS: Final = (*_WRITERS, ".rrng")


def read(path: Path | str) -> IonCloud | RangeTable | HaadfImage:
    """Read any file this package knows; its content decides what it is, its extension only breaks ties.

    Parameters
    ----------
    path
        An ion cloud (.pos, .epos, .apt, .ato version 3, .parquet, NXapm), a range file (.rrng, .rng, .env) or a
        HAADF-STEM image.

    Returns
    -------
    What the file holds. Ion clouds are read lazily: opening one looks at its structure only.

    Raises
    ------
    FormatError
        If the file is damaged or nothing readable.
    MissingFileError
        If there is no such file.

    Warns
    -----
    DataWarning
        If the extension says something else than the content; the content is read.
    """
    from napari_aptdefect.io.sniff import sniff

    path = Path(path)
    kind = sniff(path)
    obj: IonCloud | RangeTable | HaadfImage = _adjusted(_call(_READERS[kind.name], path), path, kind.name)
    return obj


def read_cloud(path: Path | str) -> IonCloud:
    """Read an ion cloud; see `read`.

    Raises
    ------
    FormatError
        If the file is damaged or holds something else.
    """
    from napari_aptdefect.io.sniff import CLOUD_KINDS

    cloud: IonCloud = _of_kind(Path(path), CLOUD_KINDS, "an ion cloud (.pos, .epos, .apt, .ato, .parquet, .nxs)")
    return cloud


def read_ranges(path: Path | str) -> RangeTable:
    """Read a range file; see `read`.

    Raises
    ------
    FormatError
        If the file is damaged or holds something else.
    """
    from napari_aptdefect.io.sniff import RANGE_KINDS

    table: RangeTable = _of_kind(Path(path), RANGE_KINDS, "a range file (.rrng, .rng, .env)")
    return table


def write(obj: IonCloud | RangeTable, path: Path | str) -> tuple[Issue, ...]:
    """Write an ion cloud or a range table in the format of the extension, whole or not at all.

    Parameters
    ----------
    obj
        Ion cloud (.pos, .epos, .apt, .parquet, .nxs, .h5) or range table (.rrng).
    path
        File to write; an existing file is replaced.

    Returns
    -------
    What the format could not hold, such as columns left out.

    Raises
    ------
    ParameterError
        If the extension is unknown or does not fit, or the file is the one that the cloud is read from.
    MissingFileError
        If the folder does not exist.
    """
    from napari_aptdefect.data.cloud import IonCloud
    from napari_aptdefect.data.ranges import RangeTable

    path = Path(path)
    suffix = path.suffix.lower()
    if isinstance(obj, RangeTable) and suffix == ".rrng":
        _call(("rrng", "write_rrng"), obj, path)
        return ()
    if isinstance(obj, IonCloud) and suffix in _WRITERS:
        source = obj.source
        if (
            obj.format != "memory"
            and source is not None
            and path.exists()
            and source.exists()
            and path.samefile(source)
        ):
            raise ParameterError(f"{path} is the file this cloud is read from; write to another name")
        issues: tuple[Issue, ...] = _call(_WRITERS[suffix], obj, path)
        return issues
    wanted = {IonCloud: ", ".join(_WRITERS), RangeTable: ".rrng"}.get(type(obj))
    if wanted is None:
        raise ParameterError(f"can't write a {type(obj).__name__}; an IonCloud or a RangeTable is expected")
    raise ParameterError(f"can't write a {type(obj).__name__} as {suffix or path.name!r}; its formats are {wanted}")


def _call(home: tuple[str, str], *args: Any) -> Any:
    module = importlib.import_module(f"napari_aptdefect.io.{home[0]}")
    return getattr(module, home[1])(*args)


def _of_kind(path: Path, kinds: tuple[str, ...], expected: str) -> Any:
    from napari_aptdefect.io.sniff import sniff

    kind = sniff(path)
    if kind.name not in kinds:
        found = "a HAADF-STEM image" if kind.name == "image" else f"a file of the kind {kind.name}"
        raise FormatError(path, expected=expected, found=found)
    return _adjusted(_call(_READERS[kind.name], path), path, kind.name)


def _adjusted(obj: Any, path: Path, kind: str) -> Any:
    """Report an extension that says something else than the content."""
    from napari_aptdefect.io.sniff import contradicts

    if not contradicts(path, kind):
        return obj
    text = f"the extension is {path.suffix!r}, but the content is that of {kind}; read as {kind}"
    issue = Issue("extension", text)
    warnings.warn(f"{path}: {issue}", DataWarning, stacklevel=3)
    return replace(obj, issues=(issue, *obj.issues))
