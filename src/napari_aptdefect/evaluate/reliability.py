"""Whether probabilities mean what they say: reliability curve, expected calibration error, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.evaluate.checks import check_equal_length, freeze


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities against what happened, bin by bin.

    Parameters
    ----------
    probability
        Shape (B,), float64: mean probability in each bin that holds any.
    frequency
        Shape (B,), float64: how often the event happened there.
    n
        Shape (B,), int64: number of probabilities there.
    calibration_error
        Mean of |frequency - probability|, each bin by its number.
    brier
        Mean squared difference of probability and event; 0 at best.
    base_rate
        How often the event happened at all; always saying so has a Brier score of ``base_rate (1 - base_rate)``.
    """

    probability: NDArray[np.float64]
    frequency: NDArray[np.float64]
    n: NDArray[np.int64]
    calibration_error: float
    brier: float
    base_rate: float

    def __post_init__(self) -> None:
        for name in ("probability", "frequency", "n"):
            freeze(self, name, getattr(self, name))

    def as_dict(self) -> dict[str, Any]:
        """Gather all values by name."""
        return {
            "probability": self.probability.tolist(),
            "frequency": self.frequency.tolist(),
            "n": self.n.tolist(),
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "base_rate": self.base_rate,
        }


def reliability(probability: ArrayLike, happened: ArrayLike, n_bins: int = 15) -> Reliability:
    """Compare probabilities with what happened.

    Parameters
    ----------
    probability
        Shape (N,), 0 to 1.
    happened
        Shape (N,), bool: whether the ion was of the type.
    n_bins
        Number of bins of equal width.

    Raises
    ------
    EmptySelectionError
        If there is nothing to compare.
    ParameterError
        If a probability is not within 0 to 1, or there is no bin.
    ShapeError
        If the numbers of values differ.

    Notes
    -----
    Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2. Expected calibration error: Naeini et al. 2015,
    doi 10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv 1706.04599, take 15 bins. It is biased upward where bins hold
    few values, and blind to what cancels within a bin.

    Examples
    --------
    >>> found = reliability([0.1, 0.1, 0.9, 0.9], [False, False, True, False], n_bins=2)
    >>> found.frequency.tolist(), round(found.calibration_error, 6), round(found.brier, 6)
    ([0.0, 0.5], 0.25, 0.21)
    """
    p = as_vector(probability, "probability", dtype=np.float64)
    event = as_vector(happened, "happened", dtype=np.bool_)
    check_equal_length(len(p), len(event))
    if len(p) == 0:
        raise EmptySelectionError("there are no probabilities to judge")
    if not ((p >= 0) & (p <= 1)).all():
        raise ParameterError(f"probabilities must lie between 0 and 1, got {p.min()} to {p.max()}")
    if n_bins < 1:
        raise ParameterError(f"n_bins must be at least 1, got {n_bins}")
    at = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(at, minlength=n_bins)
    used = n > 0
    mean = np.bincount(at, p, minlength=n_bins)[used] / n[used]
    frequency = np.bincount(at, event, minlength=n_bins)[used] / n[used]
    error = float(np.average(np.abs(frequency - mean), weights=n[used]))
    return Reliability(mean, frequency, n[used], error, float(np.mean((p - event) ** 2)), float(event.mean()))
