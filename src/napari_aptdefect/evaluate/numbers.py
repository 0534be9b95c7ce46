"""Ratios and means of which some may be undefined: undefined is NaN, and null in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Divide element by element; NaN where the denominator is 0 or NaN.

    Examples
    --------
    >>> ratio([1, 0], [2, 0])
    array([0.5, nan])
    """
    above, below = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def share(part: float, whole: float) -> float:
    """Divide two numbers; NaN where the denominator is 0."""
    return float(part) / float(whole) if whole else math.nan


def mean_defined(values: ArrayLike) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else math.nan


def plain(value: Any) -> Any:
    """Turn numbers and arrays, nested in mappings and sequences, into what JSON knows; NaN and infinity become None.

    Examples
    --------
    >>> plain({"f1": np.float64("nan"), "n": np.arange(2)})
    {'f1': None, 'n': [0, 1]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
