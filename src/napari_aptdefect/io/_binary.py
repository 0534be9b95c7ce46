"""What the binary formats share: a file that is checked at every use, packed records, and files written whole."""

from __future__ import annotations

import mmap
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import AptDefectError, FormatError, MissingFileError, ParameterError

# Bytes per block: a block, and what it is converted to, stay in the cache of a core.
_BLOCK_BYTES: Final = 1 << 19


@dataclass(frozen=True)
class SourceFile:
    """A file as it was when it was first looked at, and looked at again at every use.

    A map of a file that another program shortens ends the process with a bus error. So maps are made for one read at a
    time, of a file that was just found unchanged, and no file stays open in between.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path | str) -> SourceFile:
        """Look at a file.

        Raises
        ------
        MissingFileError
            If there is no such file.
        FormatError
            If it is a folder or a device, or can't be read.
        """
        path = Path(path)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise MissingFileError(f"no such file: {path}") from None
        except (OSError, ValueError) as error:
            raise FormatError(path, expected="a readable file", found=str(error)) from error
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise FormatError(path, expected="a file", found=found, hint="Name one file.")
        return cls(path, status.st_size, status.st_mtime_ns)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file, unbuffered, if it is still the one that was looked at."""
        try:
            handle = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            raise MissingFileError(f"the file is gone since it was opened: {self.path}") from None
        except OSError as error:
            raise FormatError(self.path, expected="a readable file", found=str(error)) from error
        with handle:
            status = os.fstat(handle.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
                raise FormatError(
                    self.path,
                    expected=f"the file as it was when it was opened ({self.size} bytes)",
                    found=f"a file that was changed since ({status.st_size} bytes)",
                    hint="Read it again.",
                )
            yield handle

    @contextmanager
    def mapped(self) -> Iterator[NDArray[np.uint8]]:
        """Map the bytes of the file, which must have some, for as long as they are read."""
        with self.open() as handle:
            # An explicit close would fail while a view is left; the last view gone, the map goes.
            yield np.frombuffer(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)

    def bytes_at(self, offset: int, n_bytes: int) -> bytes:
        """Up to n bytes from an offset, fewer at the end of the file."""
        with self.open() as handle:
            return self.read_at(handle, offset, min(n_bytes, max(0, self.size - offset)))

    def read_at(self, handle: BinaryIO, offset: int, n_bytes: int) -> bytes:
        """Exactly n bytes from an offset of the opened file."""
        buffer = np.empty(n_bytes, np.uint8)
        self.fill(handle, offset, buffer)
        return buffer.tobytes()

    def fill(self, handle: BinaryIO, offset: int, buffer: NDArray[np.uint8]) -> None:
        """Fill a buffer from an offset of the opened file.

        Raises
        ------
        FormatError
            If the file ends before the buffer is full.
        """
        view = buffer.data
        n_done = 0
        try:
            handle.seek(offset)
            while n_done < len(view):
                n_read = handle.readinto(view[n_done:])  # type: ignore[attr-defined]  # raw files have it
                if not n_read:
                    break
                n_done += n_read
        except OSError as error:
            raise FormatError(self.path, expected="readable data", found=str(error), offset=offset) from error
        if n_done < len(view):
            raise FormatError(
                self.path,
                expected=f"{len(view)} bytes",
                found=f"the end of the file after {n_done}",
                offset=offset,
                hint="The file was shortened; read it again.",
            )


@dataclass(frozen=True)
class Field:
    """One quantity in a record: its first byte, kind (``"f4"``), values per record, and the factor to our unit."""

    start: int
    kind: str
    width: int = 1
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class PackedReader:
    """Reads columns of equally long records that follow one another in a file.

    Parameters
    ----------
    file
        The file.
    offset
        Byte offset of the first record.
    stride
        Bytes per record.
    order
        Byte order, ``"<"`` or ``">"``.
    fields
        The quantities by column name.
    """

    file: SourceFile
    offset: int
    stride: int
    order: str
    fields: Mapping[str, Field]
    parallel: bool = True

    @property
    def block(self) -> int:
        """Records per block."""
        return max(1, _BLOCK_BYTES // self.stride)

    @contextmanager
    def open(self, names: tuple[str, ...]) -> Iterator[Any]:
        """Map the file for as long as it is read."""
        with self.file.mapped() as mapped:

            def fill(start: int, stop: int, out: Mapping[str, NDArray[Any]]) -> None:
                first, last = self.offset + start * self.stride, self.offset + stop * self.stride
                records = mapped[first:last].reshape(stop - start, self.stride)
                for name in names:
                    self._convert(records, self.fields[name], out[name])

            yield fill

    def locate(self, name: str, ion: int) -> int:
        """Byte offset of a value in the file."""
        return self.offset + ion * self.stride + self.fields[name].start

    def _convert(self, records: NDArray[np.uint8], field: Field, out: NDArray[Any]) -> None:
        columns = out[:, None] if out.ndim == 1 else out
        stored = np.dtype(f"{self.order}{field.kind}")
        # Values that only change their byte order are moved as unsigned integers, so that no bit of a NaN is lost.
        moved = field.factor == 1.0 and out.dtype == stored.newbyteorder("=")
        source = stored.str.replace("f", "u") if moved and stored.itemsize > 1 else stored
        target = columns.view(f"u{stored.itemsize}") if moved else columns
        if moved and field.width * stored.itemsize == self.stride:
            target[...] = records.view(source)
            return
        for i in range(field.width):  # a column at a time: numpy is slow on inner axes of 3
            at = field.start + i * stored.itemsize
            values = records[:, at : at + stored.itemsize].view(source)[:, 0]
            if moved:
                target[:, i] = values
            else:
                with np.errstate(all="ignore"):  # NaN and overflow are reported by the cloud
                    target[:, i] = values if field.factor == 1.0 else values.astype(np.float64) * field.factor


def as_stored(values: NDArray[Any], dtype: np.dtype[Any], name: str) -> tuple[NDArray[Any], bool]:
    """Convert values to the dtype a format stores; says whether every value came through unchanged.

    Raises
    ------
    ParameterError
        If the format stores whole numbers and a value is none, or does not fit.
    """
    if values.dtype == dtype:
        return values, True
    with np.errstate(all="ignore"):
        stored = values.astype(dtype)
        exact = bool(((stored == values) | ((stored != stored) & (values != values))).all())
    if dtype.kind in "iu" and not exact:
        raise ParameterError(f"column {name!r} holds values that don't fit the whole numbers ({dtype}) of the format")
    return stored, exact


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: hands out a temporary file beside it that takes its name at the end.

    Raises
    ------
    MissingFileError
        If the folder does not exist.
    ParameterError
        If the path is a folder.
    """
    with replacing_path(path) as temporary, temporary.open("w+b") as handle:
        yield handle


@contextmanager
def replacing_path(path: Path | str) -> Iterator[Path]:
    """Hand out a temporary path beside the given one, for writers that open files themselves; see `replacing`."""
    path = Path(path)
    if path.is_dir():
        raise ParameterError(f"can't write {path}: it is a folder")
    if not path.parent.is_dir():
        raise MissingFileError(f"can't write {path.name}: no such folder: {path.parent}")
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, AptDefectError):
            raise
        raise AptDefectError(f"can't write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
