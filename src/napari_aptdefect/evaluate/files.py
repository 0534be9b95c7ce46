"""Labels from parquet files: the truth that ``aptdefect simulate`` writes, the claim that a run folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import FormatError, MissingFileError, ParameterError
from napari_aptdefect.evaluate.labels import ROLES, Claim, TrueDefects, Truth

TRUTH_IONS: Final = "truth.parquet"
TRUTH_DEFECTS: Final = "defects_truth.parquet"

_AGAIN: Final = "Simulate it again with this version: `aptdefect simulate`"
_BOUND: Final = ("bound_class", "bound_instance")


def read_truth(folder: Path) -> Truth:
    """Read the truth of a simulated specimen.

    Parameters
    ----------
    folder
        Folder with ``truth.parquet`` and ``defects_truth.parquet``.

    Raises
    ------
    MissingFileError
        If one of the files is missing.
    FormatError
        If a column is missing or doesn't hold what it promises.

    Notes
    -----
    Without ``bound_class`` and ``bound_instance`` the truth has no bound. Without the role or the visibility of the
    defects nothing can be scored fairly, so their lack is an error.
    """
    path = folder / TRUTH_IONS
    present = _columns(path)
    bound = [name for name in _BOUND if name in present]
    if len(bound) == 1:
        raise FormatError(path, expected=f"both columns {' and '.join(_BOUND)}, or none", found=f"only {bound[0]}")
    table = _read(path, ("ion_idx", "defect_class", "instance", *bound))
    _check_order(table, path)
    defects = _read_defects(folder / TRUTH_DEFECTS)
    labels: dict[str, Any] = {}
    if bound:
        labels["bound_class"] = _classes(table, "bound_class", path)
        labels["bound_instance"] = _whole(table, "bound_instance", path)
    codes, instance = _classes(table, "defect_class", path), _whole(table, "instance", path)
    try:
        return Truth(codes, instance, defects, **labels)
    except ParameterError as error:
        raise FormatError(path, expected=f"labels that agree with {TRUTH_DEFECTS}", found=str(error)) from error


def read_claim(folder: Path) -> Claim:
    """Read what a run claims.

    Parameters
    ----------
    folder
        Run folder with ``ions.parquet`` and ``defects.parquet``.

    Raises
    ------
    MissingFileError
        If one of the files is missing.
    FormatError
        If a column is missing or doesn't hold what it promises.
    """
    path = folder / "ions.parquet"
    table = _read(path, ("ion_idx", "defect", "defect_class"))
    _check_order(table, path)
    of_defects = folder / "defects.parquet"
    defects = _read(of_defects, ("defect", "defect_class", "probability"))
    try:
        return Claim(
            _classes(table, "defect_class", path),
            _whole(table, "defect", path),
            _whole(defects, "defect", of_defects),
            _classes(defects, "defect_class", of_defects),
            _real(defects, "probability"),
        )
    except ParameterError as error:
        raise FormatError(path, expected="labels that agree with defects.parquet", found=str(error)) from error


def read_clusters(folder: Path) -> NDArray[np.int64]:
    """Read the cluster in feature space of each ion of a run, -1 for none; shape (N,)."""
    path = folder / "ions.parquet"
    cluster = _whole(_read(path, ("cluster",)), "cluster", path)
    if len(cluster) and cluster.min() < -1:
        raise FormatError(path, expected="clusters from 0, -1 for none", found=str(cluster.min()))
    return cluster


def _read_defects(path: Path) -> TrueDefects:
    table = _read(path, ("defect", "defect_class", "role", "visible", "iou_ceiling", "d_prime"), hint=_AGAIN)
    roles = _strings(table, "role", path)
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise FormatError(path, expected=f"roles {', '.join(ROLES)}", found=f"{unknown[0]!r}", hint=_AGAIN)
    visible = table["visible"]
    if visible.null_count:
        raise FormatError(path, expected="true or false in visible", found=f"{visible.null_count} empty", hint=_AGAIN)
    try:
        return TrueDefects(
            _whole(table, "defect", path).astype(np.int64),
            _classes(table, "defect_class", path),
            np.array([ROLES.index(role) for role in roles], np.int8),
            np.asarray(visible.to_numpy(), bool),
            _real(table, "iou_ceiling"),
            _real(table, "d_prime"),
        )
    except ParameterError as error:
        raise FormatError(path, expected="a consistent table of defects", found=str(error), hint=_AGAIN) from error


def _columns(path: Path) -> tuple[str, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; give a folder that `aptdefect simulate` or `analyze` wrote")
    try:
        return tuple(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        raise FormatError(path, expected="a parquet file", found=str(error)) from error


def _read(path: Path, names: Sequence[str], hint: str = "") -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    present = _columns(path)
    missing = [name for name in names if name not in present]
    if missing:
        raise FormatError(
            path, expected=f"the column(s) {', '.join(missing)}", found=f"only {', '.join(present)}", hint=hint
        )
    try:
        return pq.read_table(path, columns=list(names))
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            path, expected="an undamaged parquet file", found=str(error), hint="write it again"
        ) from error


def _check_order(table: Any, path: Path) -> None:
    order = _whole(table, "ion_idx", path)
    wrong = order != np.arange(len(order))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise FormatError(path, expected=f"ion_idx {row} in row {row} (file order)", found=f"{int(order[row])}")


def _whole(table: Any, name: str, path: Path) -> NDArray[Any]:
    column = table[name]
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        raise FormatError(path, expected=f"whole numbers in {name}", found=f"{column.type}, {column.null_count} empty")
    return np.asarray(column.to_numpy())


def _real(table: Any, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].cast("float64").to_numpy(zero_copy_only=False))  # empty values become NaN


def _strings(table: Any, name: str, path: Path) -> list[str]:
    column = table[name]
    if column.null_count:
        raise FormatError(path, expected=f"a value in every row of {name}", found=f"{column.null_count} empty")
    return [str(value) for value in column.to_pylist()]


def _classes(table: Any, name: str, path: Path) -> NDArray[np.int8]:
    """Codes of a column of class names, shape (N,), whatever dictionary each part of it has."""
    import pyarrow as pa

    column = table[name]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.null_count:
        raise FormatError(path, expected=f"a class in every row of {name}", found=f"{column.null_count} empty")
    parts = []
    for chunk in column.chunks:
        names = [str(value) for value in chunk.dictionary.to_pylist()]
        codes = np.array([DEFECT_CLASSES.index(each) if each in DEFECT_CLASSES else -1 for each in names], np.int8)
        part = codes[np.asarray(chunk.indices)] if len(chunk) else np.zeros(0, np.int8)
        if (part < 0).any():
            wrong = names[int(np.asarray(chunk.indices)[np.argmax(part < 0)])]
            raise FormatError(path, expected=f"one of {', '.join(DEFECT_CLASSES)} in {name}", found=repr(wrong))
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, np.int8)
