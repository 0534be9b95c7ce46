"""Confidence intervals of a mean over seeds or specimens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.errors import ParameterError

Method = Literal["bootstrap", "student"]

N_DRAWS: Final = 10_000
_BLOCK: Final = 1 << 22  # indices drawn at a time


@dataclass(frozen=True)
class Interval:
    """A mean and where the mean of the population lies.

    Parameters
    ----------
    mean
        Mean of the defined values; NaN where there is none.
    low, high
        Ends of the interval; NaN with fewer than two values, which say nothing of their spread.
    n
        Values that are defined.
    n_undefined
        Values that are NaN, such as the recall of a class that a specimen doesn't hold; they are left out.
    level
        Confidence level.
    method
        ``"bootstrap"`` or ``"student"``.
    """

    mean: float
    low: float
    high: float
    n: int
    n_undefined: int
    level: float
    method: Method

    def as_dict(self) -> dict[str, Any]:
        """Gather all values by name."""
        return {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "n_undefined": self.n_undefined,
            "level": self.level,
            "method": self.method,
        }


def student_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of a mean from Student's t distribution.

    Parameters
    ----------
    values
        One value per independent specimen, shape (n,); NaN where undefined.
    level
        Confidence level, between 0 and 1.

    Notes
    -----
    mean ± t(n - 1, (1 + level)/2) s / sqrt(n), with the sample standard deviation s. Exact for normal values; for
    bounded scores near 0 or 1 it can reach beyond the bound.

    References
    ----------
    Student 1908, doi 10.1093/biomet/6.1.1.

    Examples
    --------
    >>> interval = student_interval([1.0, 2.0, 3.0])
    >>> round(interval.low, 3), round(interval.high, 3)
    (-0.484, 4.484)
    """
    defined, n_undefined = _defined(values, level)
    n = len(defined)
    mean = float(defined.mean()) if n else math.nan
    half = math.nan
    if n > 1:
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, n - 1) * defined.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, n_undefined, level, "student")


def bootstrap_interval(values: ArrayLike, level: float = 0.95, n_draws: int = N_DRAWS, seed: int = 0) -> Interval:
    """Interval of a mean from the percentiles of means of resampled values.

    Parameters
    ----------
    values
        One value per independent specimen, shape (n,); NaN where undefined. Resample specimens, never ions: the ions
        of one specimen share its defects.
    level
        Confidence level, between 0 and 1.
    n_draws
        How often the values are resampled, at least 1.
    seed
        Seed of the draws: the same values, draws and seed give the same interval.

    Notes
    -----
    The percentiles (1 - level)/2 and (1 + level)/2 of the means of `n_draws` samples of size n, drawn with replacement.
    It stays within the range of the values. With few values it is too narrow: about by sqrt((n - 1)/n), and more for
    the lack of tails.

    References
    ----------
    Efron 1979, doi 10.1214/aos/1176344552; Efron, Tibshirani 1986, doi 10.1214/ss/1177013815.
    """
    defined, n_undefined = _defined(values, level)
    if n_draws < 1:
        raise ParameterError(f"n_draws must be at least 1, got {n_draws}")
    n = len(defined)
    low = high = math.nan
    if n > 1:
        rng = np.random.default_rng(seed)
        step = max(1, _BLOCK // n)
        blocks = [min(step, n_draws - start) for start in range(0, n_draws, step)]
        means = np.concatenate([defined[rng.integers(0, n, (rows, n))].mean(axis=1) for rows in blocks])
        low, high = (float(v) for v in np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(float(defined.mean()) if n else math.nan, low, high, n, n_undefined, level, "bootstrap")


def intervals_of(
    scores: Iterable[Mapping[str, Any]], method: Method = "bootstrap", level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Give every number of several score dictionaries its interval over them.

    Parameters
    ----------
    scores
        One dictionary per specimen, such as `Scores.as_dict` gives; nested names are joined by dots, and whatever is
        neither a number nor undefined (None, NaN) is passed over. A name that some specimens lack is undefined in them.
    method
        ``"bootstrap"`` (percentiles) or ``"student"``.
    level
        Confidence level, between 0 and 1.
    seed
        Seed of the bootstrap; each name is resampled with the same draws.
    """
    flat = [flatten(each) for each in scores]
    names = dict.fromkeys(name for each in flat for name in each)
    out: dict[str, Interval] = {}
    for name in names:
        values = [each.get(name, math.nan) for each in flat]
        out[name] = (
            student_interval(values, level) if method == "student" else bootstrap_interval(values, level, seed=seed)
        )
    return out


def flatten(scores: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Join nested names by dots and keep what is a number; None becomes NaN.

    Examples
    --------
    >>> flatten({"ions": {"f1": 0.5, "name": "void"}, "n": 3})
    {'ions.f1': 0.5, 'n': 3.0}
    """
    out: dict[str, float] = {}
    for key, value in scores.items():
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{key}.")
        elif value is None:
            out[f"{prefix}{key}"] = math.nan
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            out[f"{prefix}{key}"] = float(value)
    return out


def _defined(values: ArrayLike, level: float) -> tuple[NDArray[np.float64], int]:
    if not 0 < level < 1:
        raise ParameterError(f"a confidence level must lie between 0 and 1, got {level}")
    array = as_vector(values, "values", dtype=np.float64)
    kept = array[~np.isnan(array)]
    return kept, len(array) - len(kept)
