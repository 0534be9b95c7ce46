"""The ion cloud: one row per ion, in file order, columns read on demand so that memory stays bounded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, as_vector, read_only
from napari_aptdefect.errors import EmptySelectionError, Issue, ParameterError, ShapeError

# Small enough that a block and its converted copy stay in a core's cache, large enough to amortize the call.
_BLOCK = 1 << 16

Fill = Callable[[int, int, NDArray[Any]], None]


@dataclass(frozen=True, slots=True)
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
    fill
        ``fill(start, stop, out)`` writes the values of ions start..stop into ``out``; must be thread-safe.
    description
        Where the values come from, for a person.
    """

    name: str
    dtype: np.dtype[Any]
    width: int
    unit: str
    fill: Fill
    description: str = ""

    def shape(self, n: int) -> tuple[int, ...]:
        """Shape of the array of n ions."""
        return (n,) if self.width == 1 else (n, self.width)

    @classmethod
    def from_array(cls, name: str, values: NDArray[Any], unit: str = "", description: str = "") -> Column:
        """Column over an array in memory (or a memory map) of shape (N,) or (N, width)."""

        def fill(start: int, stop: int, out: NDArray[Any]) -> None:
            out[...] = values[start:stop]

        width = 1 if values.ndim == 1 else values.shape[1]
        return cls(name, values.dtype.newbyteorder("="), width, unit, fill, description)


@dataclass(frozen=True, eq=False)
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
        What else the file says (header fields, absent columns), by name.
    issues
        What was odd in the file's structure; see `check` for its content.
    """

    n_ions: int
    columns: Mapping[str, Column]
    source: Path | None = None
    format: str = "memory"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    _cache: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, width in (("xyz_nm", 3), ("mass_da", 1)):
            if name not in self.columns or self.columns[name].width != width:
                raise ParameterError(f"an ion cloud needs a column {name!r} with {width} value(s) per ion")

    def __len__(self) -> int:
        return self.n_ions

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
            Further columns, each of shape (N,) or (N, width), by name.

        Examples
        --------
        >>> cloud = IonCloud.from_arrays([[0, 0, 0], [1, 0, 0]], [28.0, 14.0])
        >>> len(cloud)
        2
        """
        xyz = as_points(xyz_nm)
        mass = as_vector(mass_da, "mass_da", length=len(xyz))
        columns = {
            "xyz_nm": Column.from_array("xyz_nm", xyz, "nm"),
            "mass_da": Column.from_array("mass_da", mass, "Da"),
        }
        for name, values in extra.items():
            array = np.asarray(values)
            if array.ndim not in (1, 2) or array.shape[0] != len(xyz):
                raise ShapeError(f"{name} must have {len(xyz)} rows, one per ion, got shape {array.shape}")
            columns[name] = Column.from_array(name, array)
        cache = {"xyz_nm": read_only(xyz), "mass_da": read_only(mass)}
        return cls(len(xyz), columns, _cache=cache)

    @property
    def xyz_nm(self) -> NDArray[np.float32]:
        """All positions, shape (N, 3), float32, nm; read once, then kept; read-only."""
        return self._kept("xyz_nm")

    @property
    def mass_da(self) -> NDArray[np.float32]:
        """All mass-to-charge ratios, shape (N,), float32, Da; read once, then kept; read-only."""
        return self._kept("mass_da")

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
        """
        if name not in self.columns:
            raise ParameterError(f"no column {name!r}; this cloud has {', '.join(self.columns)}")
        stop = self.n_ions if stop is None else stop
        if not 0 <= start <= stop <= self.n_ions:
            raise ParameterError(f"ions {start}..{stop} asked for, but the cloud has ions 0..{self.n_ions}")
        column = self.columns[name]
        out = np.empty(column.shape(stop - start), column.dtype)

        def fill(block: int) -> None:
            upper = min(block + _BLOCK, stop)
            column.fill(block, upper, out[block - start : upper - start])

        blocks = range(start, stop, _BLOCK)
        if len(blocks) < 4:
            for block in blocks:
                fill(block)
        else:
            with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1)) as pool:
                for _ in pool.map(fill, blocks):
                    pass
        return out

    def chunks(self, n_per_chunk: int = 1 << 20) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) ranges that cover all ions in file order."""
        for start in range(0, self.n_ions, n_per_chunk):
            yield start, min(start + n_per_chunk, self.n_ions)

    def take(self, idx: NDArray[Any]) -> IonCloud:
        """Return the ions with the given indices, or a mask of shape (N,), as a cloud in memory with all columns.

        Raises
        ------
        EmptySelectionError
            If no ion is selected.
        """
        rows = np.flatnonzero(idx) if idx.dtype == bool else idx
        if len(rows) == 0:
            raise EmptySelectionError(f"no ion selected out of {self.n_ions}; widen the selection")
        extra = {name: self.read(name)[rows] for name in self.columns if name not in ("xyz_nm", "mass_da")}
        return replace(
            IonCloud.from_arrays(self.xyz_nm[rows], self.mass_da[rows], **extra),
            source=self.source,
            metadata=dict(self.metadata),
            issues=self.issues,
        )

    def _kept(self, name: str) -> NDArray[Any]:
        if name not in self._cache:
            self._cache[name] = read_only(self.read(name))
        return self._cache[name]
