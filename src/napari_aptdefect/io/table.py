"""Our own table of ions: Apache Parquet with one column per quantity, units in the schema, read by row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column, LazyColumns, Settled, unit_of
from napari_aptdefect.errors import AptDefectError, FormatError, Issue
from napari_aptdefect.io._binary import SourceFile, replacing_path

_AXES: Final = ("x_nm", "y_nm", "z_nm")
_NEEDED: Final = (*_AXES, "mass_da")
_ROW_GROUP: Final = 1 << 20
_PARQUET_ERRORS: Final = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)


def read_table(path: Path | str) -> IonCloud:
    """Open a Parquet table of ions, such as the ``ions.parquet`` of a run; rows are read when they are asked for.

    Parameters
    ----------
    path
        File with the columns ``x_nm``, ``y_nm``, ``z_nm`` and ``mass_da``.

    Returns
    -------
    The cloud. Every other column of numbers is a column of it; a column of names becomes an int32 column of indices
    into `Column.categories`, -1 where there is none.

    Raises
    ------
    FormatError
        If the file is damaged or has no positions and masses.
    MissingFileError
        If there is no such file.
    """
    file = SourceFile.of(path)
    with _opened(file) as parquet:
        schema, meta = parquet.schema_arrow, parquet.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    n_ions = int(meta.num_rows)
    if n_ions < 0 or min(sizes, default=0) < 0 or sum(sizes) != n_ions:
        found = f"row groups of {sum(sizes)} rows"
        raise FormatError(file.path, expected=f"{n_ions} rows, as the footer says", found=found)
    if len(set(schema.names)) != len(schema.names):
        raise FormatError(file.path, expected="one column of each name", found=f"the columns {schema.names}")
    numeric = [f.name for f in schema if _is_number(f.type)]
    missing = [name for name in _NEEDED if name not in numeric]
    if missing:
        raise FormatError(
            file.path,
            expected="a table of ions with the numeric columns x_nm, y_nm, z_nm, mass_da",
            found=f"a table with the columns {', '.join(schema.names) or '(none)'}",
            hint="This Parquet file is no ion cloud.",
        )
    reader = TableReader(file, tuple(np.cumsum([0, *sizes]).tolist()))
    return _cloud(file, schema, reader, n_ions)


def _cloud(file: SourceFile, schema: pa.Schema, reader: TableReader, n_ions: int) -> IonCloud:
    issues: list[Issue] = [Issue("empty", "the file holds 0 ions")] if n_ions == 0 else []
    f4 = np.dtype(np.float32)
    certain = {
        "xyz_nm": Column("xyz_nm", f4, 3, "nm", reader, "reconstructed positions"),
        "mass_da": Column("mass_da", f4, 1, "Da", reader, "mass-to-charge ratios"),
    }
    wide = [name for name in _NEEDED if schema.field(name).type != pa.float32()]
    if wide:
        issues.append(Issue("precision", f"{', '.join(wide)} are not float32; read as float32", "info"))
    named = []
    for field in schema:
        if field.name in _NEEDED:
            continue
        unit = (field.metadata or {}).get(b"unit", unit_of(field.name).encode()).decode(errors="replace")
        if field.name in certain:
            issues.append(Issue("column-skipped", f"column {field.name!r} has a name that is taken"))
        elif _is_names(field.type):
            named.append(field.name)
        elif _is_number(field.type):
            certain[field.name] = Column(field.name, _dtype(field.type), 1, unit, reader)
        elif pa.types.is_fixed_size_list(field.type) and _is_number(field.type.value_type) and field.type.list_size > 1:
            width = int(field.type.list_size)
            certain[field.name] = Column(field.name, _dtype(field.type.value_type), width, unit, reader)
        else:
            text = f"column {field.name!r} of type {field.type} holds neither numbers nor names; left out"
            issues.append(Issue("column-skipped", text))
    columns: Mapping[str, Column] = certain
    if named:
        columns = LazyColumns(certain, tuple(named), _Categories(reader, tuple(named)))
    metadata = {"row_groups": len(reader.edges) - 1, "schema": schema.names}
    return IonCloud(n_ions, columns, file.path, "parquet", metadata, tuple(issues))


@dataclass(frozen=True, eq=False)
class TableReader:
    """Reads columns of a Parquet file a row group at a time; `edges` are the first rows of the groups, and the end."""

    file: SourceFile
    edges: tuple[int, ...]
    categories: tuple[str, ...] | None = None
    parallel: bool = False  # pyarrow has threads of its own

    @property
    def block(self) -> int:
        """Rows per call."""
        return max(1, min(_ROW_GROUP, int(max(np.diff(self.edges), default=1))))

    @contextmanager
    def open(self, names: tuple[str, ...]) -> Iterator[Any]:
        """Open the file, and keep the row group that was read last."""
        wanted = [part for name in names for part in (_AXES if name == "xyz_nm" else (name,))]
        with _opened(self.file) as parquet:
            kept: tuple[int, dict[str, NDArray[Any]]] = (-1, {})

            def fill(start: int, stop: int, out: Mapping[str, NDArray[Any]]) -> None:
                nonlocal kept
                first = int(np.searchsorted(self.edges, start, side="right")) - 1
                for group in range(first, len(self.edges) - 1):
                    lower, upper = self.edges[group], self.edges[group + 1]
                    if lower >= stop:
                        break
                    if kept[0] != group:
                        kept = (group, self._group(parquet, group, wanted))
                    a, b = max(start, lower), min(stop, upper)
                    for name, target in out.items():
                        _copy(kept[1], name, slice(a - lower, b - lower), target[a - start : b - start])

            yield fill

    def locate(self, name: str, ion: int) -> None:
        """A compressed page has no offset for one value."""
        return

    def _group(self, parquet: pq.ParquetFile, group: int, wanted: list[str]) -> dict[str, NDArray[Any]]:
        table = _guarded(self.file, lambda: parquet.read_row_group(group, columns=wanted))
        n_rows = self.edges[group + 1] - self.edges[group]
        if table.num_rows != n_rows or set(wanted) - set(table.column_names):
            raise FormatError(
                self.file.path, expected=f"{n_rows} rows of {wanted} in row group {group}", found=f"{table.num_rows}"
            )
        return {name: _guarded(self.file, lambda name=name: self._values(table, name)) for name in wanted}

    def _values(self, table: pa.Table, name: str) -> NDArray[Any]:
        column = table.column(name)
        if _is_names(column.type):
            return _indices(column, self.categories or ())
        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunk at all
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
        if array.null_count and not pa.types.is_floating(array.type):
            found = f"{array.null_count} rows without a value"
            raise FormatError(self.file.path, expected=f"a value in each row of column {name!r}", found=found)
        if pa.types.is_fixed_size_list(array.type):
            values: NDArray[Any] = array.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(-1, array.type.list_size)
        flat: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return flat


@dataclass(frozen=True)
class _Categories:
    """Collects the names of the columns of names: each row group may have its own dictionary."""

    reader: TableReader
    names: tuple[str, ...]

    def __call__(self) -> Settled:
        found: dict[str, dict[str, None]] = {name: {} for name in self.names}
        file = self.reader.file
        with _opened(file) as parquet:
            for group in range(len(self.reader.edges) - 1):
                table = _guarded(file, lambda group=group: parquet.read_row_group(group, columns=list(self.names)))
                for name in self.names:
                    labels = _guarded(file, lambda name=name, table=table: _names(table.column(name)))
                    found[name] |= dict.fromkeys(labels)
        columns = {}
        for name, categories in found.items():
            reader = TableReader(file, self.reader.edges, tuple(categories))
            columns[name] = Column(name, np.dtype(np.int32), 1, "", reader, "", tuple(categories))
        return Settled(columns)


def write_table(cloud: IonCloud, path: Path | str) -> tuple[Issue, ...]:
    """Write a cloud with all its columns as Parquet, in row groups and to a temporary name first.

    Values are stored bit by bit: dictionaries, which would make one NaN of all, are used for names only, and every page
    has a checksum.
    """
    fields = []
    for column in cloud.columns.values():
        meta = {"unit": column.unit, "description": column.description}
        if column.name == "xyz_nm":
            fields += [pa.field(axis, pa.float32(), metadata=meta) for axis in _AXES]
        else:
            fields.append(pa.field(column.name, _arrow_type(column), metadata=meta))
    clash = [name for name in cloud.columns if name in _AXES]
    if clash:
        raise FormatError(path, expected="columns other than x_nm, y_nm, z_nm beside xyz_nm", found=f"{clash}")
    schema = pa.schema(fields, metadata={"aptdefect": "ions 1"})
    names_only = [column.name for column in cloud.columns.values() if column.categories]
    with replacing_path(path) as temporary:
        writer = pq.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=names_only or False, write_page_checksum=True
        )
        with writer:
            for start, stop in cloud.chunks(_ROW_GROUP):
                block = cloud.read_columns(tuple(cloud.columns), start, stop)
                arrays = [a for name, values in block.items() for a in _arrow(cloud.columns[name], values)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=_ROW_GROUP)
    return ()


def _arrow_type(column: Column) -> pa.DataType:
    if column.categories:
        return pa.dictionary(pa.int32(), pa.string())
    value = pa.from_numpy_dtype(column.dtype)
    return value if column.width == 1 else pa.list_(value, column.width)


def _arrow(column: Column, values: NDArray[Any]) -> list[pa.Array]:
    if column.name == "xyz_nm":
        return [pa.array(np.ascontiguousarray(values[:, axis])) for axis in range(3)]
    if column.categories:
        indices = pa.array(values, mask=values < 0)
        return [pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(column.categories))]
    if column.width > 1:
        return [pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), column.width)]
    return [pa.array(values)]


def _copy(group: Mapping[str, NDArray[Any]], name: str, rows: slice, target: NDArray[Any]) -> None:
    if name != "xyz_nm":
        target[...] = group[name][rows]
        return
    for axis, part in enumerate(_AXES):
        target[:, axis] = group[part][rows]


def _indices(column: pa.ChunkedArray, categories: tuple[str, ...]) -> NDArray[np.int32]:
    place = {name: i for i, name in enumerate(categories)}
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    parts = []
    for chunk in encoded.chunks:
        lookup = np.array([place.get(name, -1) for name in chunk.dictionary.to_pylist()] + [-1], np.int32)
        parts.append(lookup[chunk.indices.fill_null(len(lookup) - 1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _names(column: pa.ChunkedArray) -> list[str]:
    return [name for name in column.unique().to_pylist() if name is not None]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_names(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype


@contextmanager
def _opened(file: SourceFile) -> Iterator[pq.ParquetFile]:
    with file.open():  # says so if the file has changed
        pass
    parquet = _guarded(
        file, lambda: pq.ParquetFile(file.path, memory_map=True, page_checksum_verification=True, pre_buffer=False)
    )
    try:
        yield parquet
    finally:
        parquet.close()


def _guarded(file: SourceFile, action: Any) -> Any:
    """Run an action of pyarrow; what it raises on damaged files becomes a `FormatError`."""
    try:
        return action()
    except AptDefectError:
        raise
    except _PARQUET_ERRORS as error:
        found = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(
            file.path, expected="a whole Parquet file", found=found, hint="The file is damaged or cut off."
        ) from error
