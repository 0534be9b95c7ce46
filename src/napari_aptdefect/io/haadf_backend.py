"""What stands between RosettaSciIO and `read_haadf`: which reader fits, and its failures in our own words."""

from __future__ import annotations

import importlib
import io
import struct
import traceback
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from napari_aptdefect.errors import FormatError, Issue, MissingExtraError, MissingFileError

# Readers of spectra, diffraction stacks, logs and profiles: they never hold an image, and some claim .csv and .xml.
_NO_IMAGES: Final = frozenset(
    {
        "Arina", "DENS", "EDAX", "EMPAD", "Impulse", "JobinYvon", "MSA", "Phenom", "Protochips", "Quadstar",
        "Renishaw", "Tofwerk", "Topspin", "TriVista",
    }
)  # fmt: skip
_LAZY: Final = frozenset({"DigitalMicrograph", "EMD", "HSPY", "MRC"})
_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {"EMD": {"select_type": "images"}}
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x89PNG\r\n\x1a\n", "Image"),
    (b"\xff\xd8\xff", "Image"),
    (b"GIF87a", "Image"),
    (b"GIF89a", "Image"),
    (b"II\x97\x01", "TIA"),
)
# What RosettaSciIO and the libraries below it (h5py, tifffile, pillow, numpy) were seen to raise on damaged files.
_FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@cache
def _failures() -> tuple[type[Exception], ...]:
    """The exceptions above and those of the libraries that derive from none of them."""
    from PIL.Image import DecompressionBombError
    from rsciio import exceptions

    own = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*_FAILURES, DecompressionBombError, *(kind for kind in own if not issubclass(kind, Warning)))


@cache
def image_plugins() -> tuple[dict[str, Any], ...]:
    """Descriptions of the RosettaSciIO readers that can hold an image."""
    import rsciio

    return tuple(plugin for plugin in rsciio.IO_PLUGINS if plugin["name"] not in _NO_IMAGES)


@cache
def image_extensions() -> tuple[str, ...]:
    """Extensions of image files, lower case with the dot, sorted."""
    return tuple(sorted({f".{ext.lower()}" for plugin in image_plugins() for ext in plugin["file_extensions"]}))


def magic_plugin(path: Path) -> str | None:
    """Name of the reader that the content of the file asks for; None when the content is not one of the known kinds."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(1024)
    for magic, plugin in _MAGIC:
        if head.startswith(magic):
            return plugin
    if head.startswith(_HDF5):
        return _hdf5_plugin(path)
    if _is_dm(head):
        return "DigitalMicrograph"
    if _is_mrc(head):
        return "MRCZ" if path.suffix.lower() == ".mrcz" else "MRC"
    if head[:2] == b"BM" and len(head) >= 10 and head[6:10] == b"\0\0\0\0":
        return "Image" if struct.unpack_from("<I", head, 2)[0] == path.stat().st_size else None
    return None


def _is_dm(head: bytes) -> bool:
    """DigitalMicrograph 3 or 4: version, length of the rest, byte order 0 or 1, all big-endian."""
    if len(head) < 16:
        return False
    version = struct.unpack_from(">I", head)[0]
    order_at = {3: 8, 4: 12}.get(version)
    return order_at is not None and struct.unpack_from(">I", head, order_at)[0] in (0, 1)


def _is_mrc(head: bytes) -> bool:
    if len(head) < 1024 or head[208:211] != b"MAP":
        return False
    return any(all(0 < n < 1 << 20 for n in struct.unpack_from(f"{order}3i", head)) for order in "<>")


def _hdf5_plugin(path: Path) -> str | None:
    """Reader of an HDF5 file with an image; ion clouds are kept in HDF5 too, so the tree decides, not the signature."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "Experiments" in file or str(file.attrs.get("file_format", "")).lower() == "hyperspy":
                return "HSPY"
            data = file.get("Data")
            if isinstance(data, h5py.Group) and "Image" in data:
                return "EMD"

            def emd_group(_name: str, node: Any) -> bool | None:
                return True if "emd_group_type" in node.attrs else None

            return "EMD" if file.visititems(emd_group) else None
    except (OSError, RuntimeError, KeyError):
        # A damaged file still belongs to the reader that its extension names, which then says what is wrong.
        return None


def candidates(path: Path) -> list[dict[str, Any]]:
    """Readers to try, best first: the one its content asks for, else all that know the extension.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If neither the content nor the extension is known.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise MissingFileError(f"no such file: {path}; check the path")
    if path.is_dir() and suffix != ".zspy":
        raise MissingFileError(f"{path} is a folder, but an image file is expected; name one file in it")
    wanted = magic_plugin(path)
    if wanted is not None:
        return [plugin for plugin in image_plugins() if plugin["name"] == wanted]
    found = [plugin for plugin in image_plugins() if suffix[1:] in {e.lower() for e in plugin["file_extensions"]}]
    if not found:
        raise FormatError(
            path,
            expected="an image file",
            found=f"unknown content and the extension {suffix or '(none)'!r}",
            hint=f"Known extensions: {' '.join(image_extensions())}.",
        )
    return found


@contextmanager
def translated(path: Path, plugin: str, issues: list[Issue]) -> Iterator[None]:
    """Run a reader: its warnings become issues, its failures a FormatError, and no file handle stays open.

    Raises
    ------
    FormatError
        If the reader fails on the file.
    MissingExtraError
        If the reader needs a package that is not installed.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # several readers leave the closing to reference counting
        try:
            yield
        except (FormatError, PermissionError):
            raise
        except ImportError as exc:
            raise MissingExtraError(f"{path}: reading this {plugin} file needs a package: {exc}; install it") from exc
        except _failures() as exc:
            _drop_frames(exc)
            raise damaged(path, plugin, f"{type(exc).__name__}: {exc}") from exc
    issues.extend(
        Issue("reader-warning", f"{plugin} reader: {item.message}", "info")
        for item in caught
        if not issubclass(item.category, DeprecationWarning | PendingDeprecationWarning | FutureWarning)
    )


def _drop_frames(exc: BaseException) -> None:
    """Drop the locals of a failed reader and of what failed before in it, and with them its open files."""
    from tifffile import TiffFile

    link: BaseException | None = exc
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            for value in frame.f_locals.values():
                # A TiffFile and its pages hold each other; a file is held by this very look at f_locals.
                if isinstance(value, (TiffFile, io.IOBase)):
                    value.close()
        traceback.clear_frames(link.__traceback__)
        link = link.__context__


def damaged(path: Path, plugin: str, found: str) -> FormatError:
    """Error for a file whose content breaks off or contradicts itself."""
    return FormatError(
        path,
        expected=f"a complete {plugin} file",
        found=" ".join(found.split()).rstrip("."),
        hint="The file is damaged, incomplete or a variant that RosettaSciIO does not know: copy or export it again, "
        "or save it as .tif or .hspy with the program that wrote it.",
    )


def load(path: Path, issues: list[Issue]) -> tuple[str, list[dict[str, Any]]]:
    """Read the signals of a file with the first reader that takes it; the arrays may be lazy.

    Returns
    -------
    The name of the reader and its signal dictionaries, in the order of the file.

    Raises
    ------
    FormatError
        If no reader takes the file.
    """
    failure: FormatError | MissingExtraError | None = None
    for plugin in candidates(path):
        name = str(plugin["name"])
        try:
            with translated(path, name, issues):
                module = importlib.import_module(plugin["api"])
                if name == "TIFF":
                    check_tiff_chain(path)
                elif name == "Image":
                    _check_picture(path)
                signals = module.file_reader(str(path), lazy=name in _LAZY, **_ARGUMENTS.get(name, {}))
            if signals:
                return name, list(signals)
            failure = failure or damaged(path, name, "no data set")
        except (FormatError, MissingExtraError) as exc:
            failure = failure or exc
    raise failure if failure is not None else damaged(path, "image", "no data set")


def _check_picture(path: Path) -> None:
    """Let pillow open a picture: on what it can't, imageio tries all it has and leaves files open."""
    from PIL import Image

    with Image.open(path):
        pass


def check_tiff_chain(path: Path) -> None:
    """Follow the chain of pages of a TIFF file: the TIFF library drops the pages behind a break without an error.

    Raises
    ------
    FormatError
        If the chain leaves the file or runs in a circle.

    References
    ----------
    TIFF Revision 6.0, Adobe (1992), section 2.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = len(head) >= 4 and struct.unpack_from(f"{order}H", head, 2)[0] == 43
        count_code, entry, link_code, at = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
        count_size, link_size = struct.calcsize(order + count_code), struct.calcsize(order + link_code)
        if len(head) < at + link_size:
            raise damaged(path, "TIFF", f"the end of the file after {len(head)} bytes")
        (offset,) = struct.unpack_from(order + link_code, head, at)
        seen: set[int] = set()
        while offset:
            if offset in seen or offset + count_size > size:
                raise damaged(path, "TIFF", f"page {len(seen) + 1} at byte {offset} of {size}")
            seen.add(offset)
            file.seek(offset)
            (n_entries,) = struct.unpack(order + count_code, file.read(count_size))
            if offset + count_size + n_entries * entry + link_size > size:
                raise damaged(path, "TIFF", f"a page of {n_entries} tags at byte {offset} of {size}")
            file.seek(n_entries * entry, 1)
            (offset,) = struct.unpack(order + link_code, file.read(link_size))
    if not seen:
        raise damaged(path, "TIFF", "no page")
