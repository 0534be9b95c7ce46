"""The one gate that checks the shape and dtype of arrays: inputs are checked once, here, at the boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.errors import ShapeError


def as_points(values: ArrayLike, name: str = "xyz_nm") -> NDArray[np.float32]:
    """Return positions as a C-contiguous float32 array of shape (N, 3).

    Raises
    ------
    ShapeError
        If the values are not numeric or not of shape (N, 3).
    """
    array = _numeric(values, name)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ShapeError(f"{name} must have shape (N, 3), got {array.shape}; give one row x, y, z per ion")
    return np.ascontiguousarray(array, dtype=np.float32)


def as_vector(values: ArrayLike, name: str, *, length: int | None = None, dtype: Any = np.float32) -> NDArray[Any]:
    """Return values as a C-contiguous one-dimensional array of the given dtype and length.

    Raises
    ------
    ShapeError
        If the values are not one-dimensional, not numeric or not of the given length.
    """
    array = _numeric(values, name)
    if array.ndim != 1:
        raise ShapeError(f"{name} must be one-dimensional, got shape {array.shape}")
    if length is not None and array.shape[0] != length:
        raise ShapeError(f"{name} must have {length} values, one per ion, got {array.shape[0]}")
    return np.ascontiguousarray(array, dtype=dtype)


def to_zyx(values: ArrayLike) -> NDArray[Any]:
    """Reverse x, y, z along the last axis: from the frame of the data to that of napari, and back.

    Parameters
    ----------
    values
        Points, vectors or lengths, shape (..., 3), in the order x, y, z, or z, y, x.

    Returns
    -------
    The same numbers in the other order, C-contiguous.
    """
    return np.ascontiguousarray(np.asarray(values)[..., ::-1])


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of the array that can't be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def finite_rows(array: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return, per row of an (N,) or (N, M) array, whether all its values are finite; shape (N,), bool."""
    finite = np.isfinite(array)
    rows: NDArray[np.bool_] = finite if finite.ndim == 1 else finite.all(axis=1)
    return rows


def _numeric(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array
