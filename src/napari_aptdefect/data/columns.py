"""Columns of an ion cloud: what a file can give per ion, and how to read it in blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import Issue, ShapeError

Fill = Callable[[int, int, Mapping[str, NDArray[Any]]], None]
"""``fill(start, stop, out)`` writes the values of ions start..stop into the arrays of ``out``, by column name."""

_UNIT_BY_SUFFIX: Final = {"nm": "nm", "da": "Da", "ns": "ns", "v": "V", "mm": "mm", "nm3": "nm^3"}


class Reader(Protocol):
    """Reads columns of one source; a reader shared by several columns gets them in one pass.

    Its `open` may be called by several threads at once if `parallel` is true.
    """

    @property
    def block(self) -> int:
        """Ions per call that suit the caches."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several threads, each with its own `open`, are faster than one."""
        ...

    def open(self, names: tuple[str, ...]) -> AbstractContextManager[Fill]:
        """Open the source for the given columns; the `Fill` belongs to the thread that opened it."""
        ...

    def locate(self, name: str, ion: int) -> int | None:
        """Byte offset of a value in the file, or None where that has no meaning."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Reads columns of arrays in memory, each of shape (N,) or (N, width)."""

    arrays: Mapping[str, NDArray[Any]]
    block: int = 1 << 16
    parallel: bool = True

    @contextmanager
    def open(self, names: tuple[str, ...]) -> Iterator[Fill]:
        """Hand out slices of the arrays."""

        def fill(start: int, stop: int, out: Mapping[str, NDArray[Any]]) -> None:
            for name in names:
                out[name][...] = self.arrays[name][start:stop]

        yield fill

    def locate(self, name: str, ion: int) -> int | None:
        """Nothing in memory has a byte offset."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One per-ion quantity, read on demand.

    Parameters
    ----------
    name
        Name with its unit suffix, such as ``tof_ns``.
    dtype
        Native dtype of the values handed out.
    width
        Number of values per ion (3 for a position); 1 gives one-dimensional arrays.
    unit
        Unit of the values, empty for pure numbers.
    reader
        Where the values come from; columns with the same reader are read in one pass.
    description
        What the values are, for a person.
    categories
        Names that the values are indices into (-1: none), empty for plain numbers.
    """

    name: str
    dtype: np.dtype[Any]
    width: int
    unit: str
    reader: Reader
    description: str = ""
    categories: tuple[str, ...] = ()

    def shape(self, n: int) -> tuple[int, ...]:
        """Shape of the array of n ions."""
        return (n,) if self.width == 1 else (n, self.width)

    @classmethod
    def from_array(
        cls,
        name: str,
        values: NDArray[Any],
        unit: str | None = None,
        description: str = "",
        categories: tuple[str, ...] = (),
    ) -> Column:
        """Column over an array in memory of shape (N,) or (N, width); the unit follows from the name's suffix.

        Raises
        ------
        ShapeError
            If the array has another number of axes or holds no real numbers.
        """
        if values.ndim not in (1, 2) or values.dtype.kind not in "biuf":
            raise ShapeError(f"column {name!r} needs numbers of shape (N,) or (N, width), got {_described(values)}")
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        width = 1 if values.ndim == 1 else values.shape[1]
        unit = unit_of(name) if unit is None else unit
        return cls(
            name, values.dtype.newbyteorder("="), width, unit, ArrayReader({name: values}), description, categories
        )


@dataclass(frozen=True)
class Settled:
    """What a first look at the data of a file decided about its doubtful columns."""

    columns: Mapping[str, Column]
    absent: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()


@dataclass(eq=False)
class LazyColumns(Mapping[str, Column]):
    """Columns of which some are known to be there only after a look at the data, taken when it is first needed.

    Parameters
    ----------
    certain
        Columns that are there.
    doubtful
        Names of columns that may turn out to be absent.
    settle
        Takes the look.
    """

    certain: Mapping[str, Column]
    doubtful: tuple[str, ...]
    settle: Callable[[], Settled]
    _settled: Settled | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def settled(self) -> Settled:
        """What the look decided; takes it if nobody has yet."""
        with self._lock:
            if self._settled is None:
                self._settled = self.settle()
            return self._settled

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What the look found odd, without taking it."""
        return self._settled.issues if self._settled is not None else ()

    def __getitem__(self, name: str) -> Column:
        if name in self.certain:
            return self.certain[name]
        if name in self.doubtful:
            return self.settled.columns[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.certain
        yield from (name for name in self.doubtful if name in self.settled.columns)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def unit_of(name: str) -> str:
    """Unit that the suffix of a column's name says, empty when it says none.

    Examples
    --------
    >>> unit_of("voltage_dc_v")
    'V'
    """
    return _UNIT_BY_SUFFIX.get(name.rsplit("_", 1)[-1], "") if "_" in name else ""


def _described(values: NDArray[Any]) -> str:
    return f"shape {values.shape}, dtype {values.dtype}"
