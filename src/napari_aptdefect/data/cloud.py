"""The ion cloud: one row per ion, in file order, columns read on demand so that memory stays bounded."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, as_vector, read_only
from napari_aptdefect.data.checks import Finding, check_content, describe
from napari_aptdefect.data.columns import Column, LazyColumns, Reader
from napari_aptdefect.errors import (
    AptDefectError,
    DataWarning,
    EmptySelectionError,
    Issue,
    ParameterError,
    ShapeError,
)

__all__ = ["Column", "IonCloud"]

# Below this many ions a second thread costs more than it saves.
_MIN_PER_THREAD = 1 << 17


@dataclass(frozen=True, eq=False, repr=False)
class IonCloud:
    """A reconstructed atom probe data set.

    Parameters
    ----------
    n_ions
        Number of ions.
    columns
        Per-ion quantities by name; ``xyz_nm`` (width 3) and ``mass_da`` are always there. Positions are in the frame of
        the file: x, y lateral, z along the specimen, nm; the sign of z depends on the exporter.
    source
        File the cloud was read from, or None.
    format
        Short name of the format (``"pos"``, ``"apt"``, ``"memory"``).
    metadata
        What else the file says (header fields, sections), by name.
    issues
        What was odd so far: in the file's structure when it was opened, in its content once that was read. `check`
        looks at all of the content.
    """

    n_ions: int
    columns: Mapping[str, Column]
    source: Path | None = None
    format: str = "memory"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    _cache: dict[str, NDArray[Any]] = field(init=False, default_factory=dict)
    _lock: threading.RLock = field(init=False, default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.n_ions < 0:
            raise ParameterError(f"an ion cloud can't have {self.n_ions} ions")
        for name, width in (("xyz_nm", 3), ("mass_da", 1)):
            if name not in self.columns or self.columns[name].width != width:
                raise ParameterError(f"an ion cloud needs a column {name!r} with {width} value(s) per ion")

    def __len__(self) -> int:
        return self.n_ions

    def __repr__(self) -> str:
        where = f" from {self.source.name}" if self.source is not None else ""
        return f"<IonCloud: {self.n_ions:,} ions, {self.format}{where}>"

    def __getstate__(self) -> dict[str, Any]:
        # A cloud over a file travels as the file's name: the worker reads what it needs.
        return {name: value for name, value in self.__dict__.items() if name not in ("_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _cache={}, _lock=threading.RLock())

    @classmethod
    def from_arrays(cls, xyz_nm: ArrayLike, mass_da: ArrayLike, **extra: ArrayLike) -> IonCloud:
        """Cloud over arrays in memory.

        Parameters
        ----------
        xyz_nm
            Positions, shape (N, 3), nm.
        mass_da
            Mass-to-charge ratios, shape (N,), Da.
        extra
            Further columns, each of shape (N,) or (N, width), by name; the unit follows from the name's suffix.

        Raises
        ------
        ShapeError
            If an array has the wrong shape or holds no numbers.

        Examples
        --------
        >>> cloud = IonCloud.from_arrays([[0, 0, 0], [1, 0, 0]], [28.0, 14.0], tof_ns=[900.0, 640.0])
        >>> len(cloud), cloud.columns["tof_ns"].unit
        (2, 'ns')
        """
        xyz = as_points(xyz_nm)
        mass = as_vector(mass_da, "mass_da", length=len(xyz))
        columns = {"xyz_nm": Column.from_array("xyz_nm", xyz), "mass_da": Column.from_array("mass_da", mass)}
        columns |= _memory_columns(extra, len(xyz))
        cloud = cls(len(xyz), columns)
        cloud._cache.update(xyz_nm=read_only(xyz), mass_da=read_only(mass))
        return cloud

    @property
    def xyz_nm(self) -> NDArray[np.float32]:
        """All positions, shape (N, 3), float32, nm; read once, then kept; read-only.

        Positions that are not finite are reported (`issues`, and a `DataWarning`), never dropped.
        """
        return self._kept("xyz_nm")

    @property
    def mass_da(self) -> NDArray[np.float32]:
        """All mass-to-charge ratios, shape (N,), float32, Da; read once, then kept; read-only.

        Values that are not finite are reported (`issues`, and a `DataWarning`), never dropped.
        """
        return self._kept("mass_da")

    @property
    def absent_columns(self) -> tuple[str, ...]:
        """Names of columns that the file's format has, and that this file fills with zeros: they hold no measurement.

        Some programs write zeros where they have no value. The first use looks through the file.
        """
        if not isinstance(self.columns, LazyColumns):
            return tuple(self.metadata.get("absent_columns", ()))
        absent = self.columns.settled.absent
        self._adopt()
        return absent

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read one column for the ions start..stop.

        Parameters
        ----------
        name
            Name of the column.
        start, stop
            Range of ions, as in a slice without negative numbers; everything by default.

        Returns
        -------
        A new array of shape (stop - start,) or (stop - start, width), in native byte order.

        Raises
        ------
        ParameterError
            If there is no such column or the range lies outside the cloud.
        FormatError
            If the file can't be read there, or has changed since it was opened.

        Examples
        --------
        >>> cloud = IonCloud.from_arrays([[0, 0, 0], [1, 0, 0]], [28.0, 14.0])
        >>> cloud.read("mass_da", 1)
        array([14.], dtype=float32)
        """
        return self.read_columns((name,), start, stop)[name]

    def read_columns(self, names: Sequence[str], start: int = 0, stop: int | None = None) -> dict[str, NDArray[Any]]:
        """Read several columns for the ions start..stop, in one pass over the file where its format allows it.

        Parameters and errors are those of `read`.

        Returns
        -------
        A new array for each name.
        """
        out, _ = self._read(names, start, stop)
        return out

    def check(self) -> tuple[Issue, ...]:
        """Look at all of the content and report what is odd in it, together with what is known already.

        Reported are positions and masses that are not finite, negative and zero masses, a mass column that holds labels
        instead, identical positions, an extent no specimen has, absent columns, and the sign of z. Positions and masses
        are read in blocks; the search for identical positions needs 20 bytes per ion.
        """
        self.absent_columns  # noqa: B018 - settles which columns are there
        self._adopt(check_content(self))
        return self.issues

    def chunks(self, n_per_chunk: int = 1 << 20) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) ranges that cover all ions in file order.

        Examples
        --------
        >>> list(IonCloud.from_arrays([[0, 0, 0]] * 3, [1, 2, 3]).chunks(2))
        [(0, 2), (2, 3)]
        """
        if n_per_chunk < 1:
            raise ParameterError(f"a chunk needs at least 1 ion, got n_per_chunk = {n_per_chunk}")
        for start in range(0, self.n_ions, n_per_chunk):
            yield start, min(start + n_per_chunk, self.n_ions)

    def take(self, idx: NDArray[Any]) -> IonCloud:
        """Return the ions with the given indices, or a mask of shape (N,), as a cloud in memory with all columns.

        Raises
        ------
        EmptySelectionError
            If no ion is selected.
        ShapeError
            If a mask has another length than the cloud, or the indices are no integers.
        """
        idx = np.asarray(idx)
        if idx.dtype == bool and idx.shape != (self.n_ions,):
            raise ShapeError(f"a mask of {self.n_ions} ions needs shape ({self.n_ions},), got {idx.shape}")
        rows = np.flatnonzero(idx) if idx.dtype == bool else idx
        if len(rows) == 0:
            raise EmptySelectionError(f"no ion selected out of {self.n_ions}; widen the selection")
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise ShapeError(f"indices of ions need shape (M,) and an integer dtype, got {rows.shape}, {rows.dtype}")
        arrays = {"xyz_nm": self.xyz_nm[rows], "mass_da": self.mass_da[rows]}
        arrays |= {name: self.read(name)[rows] for name in self.columns if name not in arrays}
        columns = {}
        for name, values in arrays.items():
            like = self.columns[name]
            columns[name] = Column.from_array(name, values, like.unit, like.description, like.categories)
        cloud = IonCloud(len(rows), columns, self.source, "memory", self._settled_metadata(), self.issues)
        cloud._cache.update(xyz_nm=read_only(arrays["xyz_nm"]), mass_da=read_only(arrays["mass_da"]))
        return cloud

    def with_columns(self, **extra: ArrayLike) -> IonCloud:
        """Return this cloud with further columns in memory, each of shape (N,) or (N, width); equal names are replaced.

        Examples
        --------
        >>> cloud = IonCloud.from_arrays([[0, 0, 0], [1, 0, 0]], [28.0, 14.0])
        >>> cloud.with_columns(cluster_id=[0, 1]).read("cluster_id")
        array([0, 1])
        """
        columns = dict(self.columns) | _memory_columns(extra, self.n_ions)
        return IonCloud(self.n_ions, columns, self.source, self.format, self._settled_metadata(), self.issues)

    def _settled_metadata(self) -> dict[str, Any]:
        absent = self.absent_columns
        return {**self.metadata, "absent_columns": absent} if absent else dict(self.metadata)

    def _kept(self, name: str) -> NDArray[Any]:
        with self._lock:
            if name not in self._cache:
                reader = self.columns[name].reader
                names = [n for n in ("xyz_nm", "mass_da") if n not in self._cache and self.columns[n].reader is reader]
                arrays, findings = self._read(names, 0, None)
                self._cache.update({n: read_only(array) for n, array in arrays.items()})
                self._adopt(tuple(describe(self, finding) for finding in findings), warn=True)
            return self._cache[name]

    def _read(
        self, names: Sequence[str], start: int, stop: int | None
    ) -> tuple[dict[str, NDArray[Any]], list[Finding]]:
        stop = self.n_ions if stop is None else stop
        if not 0 <= start <= stop <= self.n_ions:
            raise ParameterError(f"ions {start}..{stop} asked for, but the cloud has ions 0..{self.n_ions}")
        by_reader: dict[int, tuple[Reader, list[str]]] = {}
        out: dict[str, NDArray[Any]] = {}
        for name in dict.fromkeys(names):
            column = self._column(name)
            out[name] = _allocate(column, stop - start)
            by_reader.setdefault(id(column.reader), (column.reader, []))[1].append(name)
        findings = [Finding(name) for name in ("xyz_nm", "mass_da") if name in out]
        for reader, group in by_reader.values():
            watched = [finding for finding in findings if finding.name in group]
            _read_group(reader, {name: out[name] for name in group}, start, stop, watched)
        return out, [finding for finding in findings if finding.n_bad]

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            absent = " (the file fills it with zeros)" if name in self.absent_columns else ""
            raise ParameterError(f"no column {name!r}{absent}; this cloud has {', '.join(self.columns)}")
        column = self.columns[name]
        self._adopt(warn=True)
        return column

    def _adopt(self, issues: tuple[Issue, ...] = (), *, warn: bool = False) -> None:
        """Add what reading found to `issues`, once."""
        if isinstance(self.columns, LazyColumns):
            issues = self.columns.issues + issues
        if not issues:
            return
        with self._lock:
            new = [issue for issue in dict.fromkeys(issues) if issue not in self.issues]
            object.__setattr__(self, "issues", (*self.issues, *new))
        for issue in new:
            if warn and issue.severity == "warning":
                warnings.warn(f"{self.source or 'ion cloud'}: {issue}", DataWarning, stacklevel=4)


def _memory_columns(extra: Mapping[str, ArrayLike], n_ions: int) -> dict[str, Column]:
    columns = {}
    for name, values in extra.items():
        array = np.asarray(values)
        if array.ndim not in (1, 2) or array.shape[0] != n_ions:
            raise ShapeError(f"{name} must have {n_ions} rows, one per ion, got shape {array.shape}")
        columns[name] = Column.from_array(name, array)
    return columns


def _allocate(column: Column, n: int) -> NDArray[Any]:
    try:
        return np.empty(column.shape(n), column.dtype)
    except (MemoryError, ValueError) as error:
        raise AptDefectError(
            f"no memory for column {column.name!r} of {n} ions ({n * column.width * column.dtype.itemsize} bytes); "
            "read it in ranges: cloud.read(name, start, stop)"
        ) from error


def _read_group(
    reader: Reader, out: dict[str, NDArray[Any]], start: int, stop: int, findings: Sequence[Finding]
) -> None:
    """Fill the arrays of one reader, with as many threads as pay off."""
    names = tuple(out)

    def span(lower: int, upper: int) -> None:
        with reader.open(names) as fill:
            for begin in range(lower, upper, reader.block):
                end = min(begin + reader.block, upper)
                fill(begin, end, {name: array[begin - start : end - start] for name, array in out.items()})
                for finding in findings:
                    finding.inspect(begin, out[finding.name][begin - start : end - start])

    n_spans = min((stop - start) // _MIN_PER_THREAD, 4 * _n_cores()) if reader.parallel else 1
    if n_spans < 2:
        if stop > start:
            span(start, stop)
        return
    n_blocks = -(-(stop - start) // reader.block)
    edges = [start + reader.block * (n_blocks * i // n_spans) for i in range(n_spans)] + [stop]
    with ThreadPoolExecutor(min(_n_cores(), n_spans)) as pool:
        for _ in pool.map(span, edges[:-1], edges[1:]):
            pass


def _n_cores() -> int:
    """Cores this process may use, at most 8: beyond that the memory bus is the limit."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
