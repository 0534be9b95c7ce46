"""The feature table: one row per ion, each column with its set, unit, meaning and equation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError, ShapeError

FeatureSet = Literal["structural", "compositional", "spatial"]
FEATURE_SETS: Final[tuple[FeatureSet, ...]] = get_args(FeatureSet)

MAD_TO_SIGMA: Final = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""

IQR_TO_SIGMA: Final = 1 / 1.3490
"""The same over its interquartile range."""

_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class FeatureColumn:
    """What one column holds.

    Parameters
    ----------
    name
        Name, unique in a table, with the suffix of its unit and of its radius where it has one.
    set
        One of `FEATURE_SETS`.
    unit
        Unit, empty for a pure number.
    description
        What the value says, and where it is missing.
    equation
        How it is computed, with the source.
    """

    name: str
    set: FeatureSet
    unit: str
    description: str
    equation: str

    def __post_init__(self) -> None:
        if self.set not in FEATURE_SETS:
            raise ParameterError(f"column {self.name!r}: no feature set {self.set!r}; one of {', '.join(FEATURE_SETS)}")


@dataclass(frozen=True)
class Scaling:
    """How the columns were scaled: ``(value - center) / scale``, both of shape (M,), in the unit of the column.

    Parameters
    ----------
    center
        Medians; NaN for a column without a value.
    scale
        Robust standard deviations; 0 for a constant column.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    def standardize(self, values: NDArray[np.floating], *, clip: float = 10.0) -> NDArray[np.float32]:
        """Scale values, clip them, and put missing ones at the center; shape (N, M), float32.

        Raises
        ------
        ShapeError
            If the values have another number of columns.
        """
        if values.ndim != 2 or values.shape[1] != len(self.center):
            raise ShapeError(f"a scaling of {len(self.center)} columns does not fit values of shape {values.shape}")
        factor = np.divide(1.0, self.scale, out=np.zeros(len(self.scale)), where=self.scale > 0)
        center = np.nan_to_num(self.center)
        out = np.empty(values.shape, np.float32)
        for start in range(0, len(values), _BLOCK):
            block = (values[start : start + _BLOCK].astype(np.float64) - center) * factor
            out[start : start + _BLOCK] = np.nan_to_num(np.clip(block, -clip, clip), nan=0.0)
        return out


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of all ions.

    Parameters
    ----------
    values
        Shape (N, M), float32; NaN is missing.
    columns
        What the M columns hold.

    Raises
    ------
    ShapeError
        If values and columns differ in number.
    ParameterError
        If two columns have the same name.

    Examples
    --------
    >>> column = FeatureColumn("q6", "structural", "", "order", "Steinhardt 1983, Eq. 1.3")
    >>> table = FeatureTable(np.array([[0.5], [np.nan]], np.float32), (column,))
    >>> table["q6"].tolist(), table.missing_share["q6"]
    ([0.5, nan], 0.5)
    """

    values: NDArray[np.float32]
    columns: tuple[FeatureColumn, ...]
    _idx: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise ShapeError(f"{len(self.columns)} columns need values of shape (N, M), got {self.values.shape}")
        if self.values.dtype != np.float32:
            raise ShapeError(f"features must be float32, got {self.values.dtype}")
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ParameterError(f"names of columns must differ, found twice: {', '.join(twice)}")
        self._idx.update({name: i for i, name in enumerate(names)})
        view = self.values.view()
        view.flags.writeable = False
        object.__setattr__(self, "values", view)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """One column, shape (N,)."""
        return self.values[:, self.index(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._idx

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._idx)

    def index(self, name: str) -> int:
        """Position of a column.

        Raises
        ------
        ParameterError
            If there is no such column.
        """
        if name not in self._idx:
            raise ParameterError(f"no feature {name!r}; there are {', '.join(self._idx)}")
        return self._idx[name]

    def select(self, names: Sequence[str] | None = None, *, sets: Sequence[FeatureSet] | None = None) -> FeatureTable:
        """Part of the columns: those of the given names (in their order), or those of the given sets.

        Raises
        ------
        ParameterError
            If a column or a set does not exist, or both or neither are given.
        """
        if (names is None) == (sets is None):
            raise ParameterError("select features by names or by sets")
        unknown = [one for one in sets or () if one not in FEATURE_SETS]
        if unknown:
            raise ParameterError(f"no feature set {unknown[0]!r}; one of {', '.join(FEATURE_SETS)}")
        wanted = [c.name for c in self.columns if c.set in (sets or ())] if names is None else list(names)
        rows = [self.index(name) for name in wanted]
        return FeatureTable(np.ascontiguousarray(self.values[:, rows]), tuple(self.columns[i] for i in rows))

    @cached_property
    def missing_share(self) -> dict[str, float]:
        """Share of missing values of each column; 0 in a table without ions."""
        missing = np.zeros(len(self.columns), np.int64)
        for start in range(0, len(self), _BLOCK):
            missing += np.isnan(self.values[start : start + _BLOCK]).sum(axis=0)
        return dict(zip(self.names, (missing / max(len(self), 1)).tolist(), strict=True))

    def scaling(self) -> Scaling:
        """Median and robust standard deviation of each column.

        Notes
        -----
        The scale is 1.4826 times the median absolute deviation (Rousseeuw & Croux 1993,
        doi 10.1080/01621459.1993.10476408); where more than half of the values are equal, the interquartile range over
        1.349; where that is 0 too, the standard deviation. Infinite values don't count.
        """
        center, scale = np.full(len(self.columns), np.nan), np.zeros(len(self.columns))
        for i in range(len(self.columns)):
            known = self.values[:, i][np.isfinite(self.values[:, i])].astype(np.float64)
            if len(known) == 0:
                continue
            center[i] = np.median(known)
            low, high = np.quantile(known, [0.25, 0.75])
            floor = 1e-6 * max(abs(center[i]), float(np.abs(known).max()) * 1e-3)  # float32 noise is no spread
            for found in (
                MAD_TO_SIGMA * np.median(np.abs(known - center[i])),
                IQR_TO_SIGMA * (high - low),
                known.std(),
            ):
                if found > floor:
                    scale[i] = found
                    break
        return Scaling(center, scale)

    def robust_scaled(
        self, scaling: Scaling | None = None, *, clip: float = 10.0, impute: bool = False
    ) -> FeatureTable:
        """Bring all columns to the same scale: (value - median) / robust standard deviation.

        Parameters
        ----------
        scaling
            Centers and scales, such as those of a reference; the table's own by default.
        clip
            Largest absolute value; infinite values become this.
        impute
            Replace missing values by 0, the median, and append a column ``missing_<name>`` of 0 and 1 for each column
            in which any value is missing. Without it they stay NaN.

        Returns
        -------
        A table of pure numbers. Constant columns are 0.

        Raises
        ------
        ParameterError
            If the clip is not positive.
        ShapeError
            If the scaling is that of another number of columns.
        """
        if not clip > 0:
            raise ParameterError(f"clip must be positive, got {clip}")
        scaling = self.scaling() if scaling is None else scaling
        if scaling.center.shape != (len(self.columns),) or scaling.scale.shape != (len(self.columns),):
            raise ShapeError(f"a scaling of {scaling.center.shape} columns does not fit {len(self.columns)} columns")
        gone = [i for i, name in enumerate(self.names) if self.missing_share[name] > 0] if impute else []
        out = np.empty((len(self), len(self.columns) + len(gone)), np.float32)
        m = len(self.columns)
        factor = np.divide(1.0, scaling.scale, out=np.zeros(m), where=scaling.scale > 0)
        center = np.nan_to_num(scaling.center)
        for start in range(0, len(self), _BLOCK):
            block = self.values[start : start + _BLOCK].astype(np.float64)
            missing = np.isnan(block)
            with np.errstate(invalid="ignore"):
                scaled = np.clip((block - center) * factor, -clip, clip)
            scaled[:, factor == 0] = 0.0
            scaled[missing] = 0.0 if impute else np.nan
            out[start : start + _BLOCK, :m] = scaled
            out[start : start + _BLOCK, m:] = missing[:, gone]
        text = f"(x - median) / robust standard deviation, clipped at {clip:g}, of: "
        columns = [replace(c, unit="", equation=text + c.equation) for c in self.columns]
        for i in gone:
            one = self.columns[i]
            columns.append(
                FeatureColumn(f"missing_{one.name}", one.set, "", f"1 where {one.name} is missing", "indicator")
            )
        return FeatureTable(out, tuple(columns))

    def to_arrow(self) -> Any:
        """Turn the table into a `pyarrow.Table`: NaN as null, the fields' metadata say what the columns hold."""
        import pyarrow as pa

        arrays, fields = [], []
        for i, column in enumerate(self.columns):
            values = np.ascontiguousarray(self.values[:, i])
            arrays.append(pa.array(values, from_pandas=True))
            about = {name: getattr(column, name) for name in ("unit", "set", "description", "equation")}
            fields.append(pa.field(column.name, pa.float32(), metadata=about))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
