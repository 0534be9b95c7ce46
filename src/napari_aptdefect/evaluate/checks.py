"""Checks of labels, made once where they enter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError, ShapeError


def check_equal_length(n_true: int, n_claimed: int) -> None:
    """Raise a `ShapeError` unless the truth and a claim hold the same number of ions."""
    if n_claimed != n_true:
        raise ShapeError(
            f"the truth holds {n_true:,} ions and the claim {n_claimed:,}; both need one row per ion of the same file"
        )


def rows_of(instance: NDArray[np.int32], number: NDArray[np.int32], name: str) -> NDArray[np.int32]:
    """Row in `number` of each ion's instance, -1 where it is 0; shape (N,), int32.

    Raises
    ------
    ParameterError
        If an instance is not among the numbers.
    """
    highest = int(max(instance.max(initial=0), number.max(initial=0)))
    if highest <= 4 * (len(instance) + len(number)) + 1024:
        table = np.full(highest + 1, -2, np.int32)
        table[0] = -1
        table[number] = np.arange(len(number), dtype=np.int32)
        rows = table[instance]
    else:  # a table of numbers this large would not pay
        order = np.argsort(number)
        place = np.minimum(np.searchsorted(number, instance, sorter=order), max(len(number) - 1, 0))
        known = number[order][place] == instance if len(number) else np.zeros(len(instance), bool)
        rows = np.where(known, order[place] if len(number) else -2, np.where(instance == 0, -1, -2)).astype(np.int32)
    if (rows == -2).any():
        ion = int(np.argmax(rows == -2))
        raise ParameterError(
            f"{name}: ion {ion} belongs to instance {int(instance[ion])}, which the table of {len(number)} defects "
            "doesn't hold; give both from the same source"
        )
    return read_only(rows)


def freeze(owner: Any, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Set an attribute of a frozen container to a read-only view, and return that."""
    frozen = read_only(values)
    object.__setattr__(owner, name, frozen)
    return frozen


def class_codes(values: ArrayLike, name: str, length: int | None = None) -> NDArray[np.int8]:
    """Return codes of `DEFECT_CLASSES`, shape (N,), int8, or raise a `ShapeError` or `ParameterError`."""
    array = _whole(values, name, length)
    if len(array) and not (int(array.min()) >= 0 and int(array.max()) < len(DEFECT_CLASSES)):
        raise ParameterError(
            f"{name} must hold codes 0 to {len(DEFECT_CLASSES) - 1} of DEFECT_CLASSES, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return array.astype(np.int8)


def instance_numbers(values: ArrayLike, name: str, length: int | None = None) -> NDArray[np.int32]:
    """Return instance numbers, shape (N,), int32, -1 turned into 0, or raise a `ShapeError` or `ParameterError`."""
    array = _whole(values, name, length)
    if len(array) and not (int(array.min()) >= -1 and int(array.max()) <= np.iinfo(np.int32).max):
        raise ParameterError(
            f"{name} must hold instance numbers from 1, 0 or -1 where there is none, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    numbers: NDArray[np.int32] = np.maximum(array, 0).astype(np.int32)
    return numbers


def defect_numbers(values: ArrayLike, name: str) -> NDArray[np.int32]:
    """Return the numbers of a table of defects, shape (D,), int32: positive and each once."""
    array = instance_numbers(values, name)
    if len(array) and (int(array.min()) < 1 or len(np.unique(array)) < len(array)):
        raise ParameterError(f"{name} must be positive, each once")
    return array


def _whole(values: ArrayLike, name: str, length: int | None) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise ShapeError(f"{name} must hold whole numbers, got dtype {array.dtype}")
    return as_vector(array, name, length=length, dtype=array.dtype if array.size else np.int64)
