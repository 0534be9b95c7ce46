"""The classifier: P(D = t | X) = sigma(w_t . x + b_t), its claims, its reasons, and its state as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import ParameterError, ShapeError

UNKNOWN: Final = -1
"""Type of an ion for which no type is likely."""

_ARRAYS: Final = ("center", "scale", "weight", "bias", "slope", "offset", "threshold")
_CHUNK: Final = 1 << 17
_FORMAT: Final = "aptdefect-sigmoid-classifier-1"


@dataclass(frozen=True)
class Coefficient:
    """One entry of the table that says why: one standard deviation more of `feature` adds `weight` to the log-odds."""

    type_name: str
    feature: str
    weight: float


@dataclass(frozen=True, eq=False)
class SigmoidClassifier:
    """One calibrated sigmoid per type.

    Parameters
    ----------
    types
        Names of the T types.
    features
        Names of the d columns.
    center, scale
        Shape (d,), float64: what a column is reduced by, and divided by.
    weight
        Shape (T, d), float64: coefficients of the standardized columns.
    bias
        Shape (T,), float64.
    slope, offset
        Shape (T,), float64: calibration; P = sigma(slope (w . z + b) + offset).
    threshold
        Shape (T,), float64: probability below which a claim of the type is "unknown"; infinite where no threshold kept
        the stated share of claims right.

    Raises
    ------
    ShapeError
        If the arrays don't fit the names.
    """

    types: tuple[str, ...]
    features: tuple[str, ...]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    threshold: NDArray[np.float64]

    def __post_init__(self) -> None:
        n_types, width = len(self.types), len(self.features)
        shapes = {"center": (width,), "scale": (width,), "weight": (n_types, width)}
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(self, name), np.float64)
            expected = shapes.get(name, (n_types,))
            if array.shape != expected:
                raise ShapeError(f"{name} of a classifier must have shape {expected}, got {array.shape}")
            object.__setattr__(self, name, read_only(array))

    def log_odds(self, x: ArrayLike, *, calibrated: bool = True) -> NDArray[np.float32]:
        """Log-odds of each type at each ion.

        Parameters
        ----------
        x
            Shape (N, d): embedding and features, columns as in `features`; not finite where a feature is missing, which
            then counts as its center.
        calibrated
            With slope and offset of the calibration.

        Returns
        -------
        Shape (N, T), float32.

        Raises
        ------
        ShapeError
            If the columns are not those of the classifier.
        """
        rows = as_rows(x, len(self.features))
        slope = self.slope if calibrated else np.ones(len(self.types))
        offset = self.offset if calibrated else np.zeros(len(self.types))
        mapped = (slope[:, None] * self.weight / self.scale).T
        constant = slope * (self.bias - self.weight @ (self.center / self.scale)) + offset
        out = np.empty((len(rows), len(self.types)), np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK].astype(np.float64)
            out[start : start + _CHUNK] = np.where(np.isfinite(part), part, self.center) @ mapped + constant
        return out

    def probabilities(self, x: ArrayLike) -> NDArray[np.float32]:
        """P(D = t | X), shape (N, T), float32; one against the rest, so a row need not sum to one."""
        return np.asarray(expit(self.log_odds(x)), np.float32)

    def claims(self, x: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Type of each ion, shape (N,), int32, `UNKNOWN` where its probability is below the type's threshold; and P.

        Of equally likely types the first is taken. P is that of the likeliest type, also where it is not claimed.
        """
        chance = self.probabilities(x)
        if chance.shape[1] == 0:
            raise ParameterError("a classifier without types can't claim any")
        best = chance.argmax(axis=1)
        top = np.take_along_axis(chance, best[:, None], axis=1)[:, 0]
        return np.where(top >= self.threshold[best], best, UNKNOWN).astype(np.int32), top

    def why(self, type_name: str | None = None, most: int | None = None) -> list[Coefficient]:
        """Coefficients with the names of their features, those of the largest size first.

        Parameters
        ----------
        type_name
            A type; all when None.
        most
            Number of entries wanted; all when None.

        Raises
        ------
        ParameterError
            If there is no such type.
        """
        if type_name is not None and type_name not in self.types:
            raise ParameterError(f"no type {type_name!r}; there are {', '.join(self.types)}")
        wanted = [i for i, name in enumerate(self.types) if type_name in (None, name)]
        table = [
            Coefficient(self.types[i], f, float(self.weight[i, j])) for i in wanted for j, f in enumerate(self.features)
        ]
        return sorted(table, key=lambda c: -abs(c.weight))[:most]

    def contributions(self, x: ArrayLike, type_name: str) -> NDArray[np.float64]:
        """What each feature adds to the calibrated log-odds of a type at each ion, shape (N, d), float64.

        The sum over the features, the type's ``slope * bias + offset`` added, is its `log_odds`.

        Raises
        ------
        ParameterError
            If there is no such type.
        """
        if type_name not in self.types:
            raise ParameterError(f"no type {type_name!r}; there are {', '.join(self.types)}")
        t = self.types.index(type_name)
        rows = as_rows(x, len(self.features)).astype(np.float64)
        z = (np.where(np.isfinite(rows), rows, self.center) - self.center) / self.scale
        return np.asarray(z * (self.slope[t] * self.weight[t]))

    def state(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Arrays (for a safetensors file) and a mapping that JSON can hold, from which `from_state` makes it again."""
        arrays = {name: np.array(getattr(self, name)) for name in _ARRAYS}
        return arrays, {"format": _FORMAT, "types": list(self.types), "features": list(self.features)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> SigmoidClassifier:
        """Make a classifier from its state.

        Raises
        ------
        ParameterError
            If it is the state of something else, or incomplete.
        ShapeError
            If arrays and names don't fit.
        """
        if about.get("format") != _FORMAT:
            raise ParameterError(f"expected the state of a {_FORMAT}, got {about.get('format')!r}")
        missing = [name for name in _ARRAYS if name not in arrays] + [
            n for n in ("types", "features") if n not in about
        ]
        if missing:
            raise ParameterError(f"the state of the classifier lacks {', '.join(missing)}")
        return cls(tuple(about["types"]), tuple(about["features"]), **{name: arrays[name] for name in _ARRAYS})


def as_rows(x: ArrayLike, width: int) -> NDArray[Any]:
    """Return x as an array of numbers of this width, or raise a `ShapeError`."""
    rows: NDArray[Any] = np.asarray(x)
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "biuf":
        raise ShapeError(f"x must hold numbers in {width} columns, one row per ion, got {rows.dtype} {rows.shape}")
    return rows
