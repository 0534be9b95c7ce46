"""The gate: which ions stand out from what a specimen without defects shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.errors import ParameterError, ShapeError


@dataclass(frozen=True, eq=False)
class Gate:
    """Scores of ions without defects, against which other scores are judged.

    Parameters
    ----------
    calibration
        Shape (n,), float64, ascending.

    Notes
    -----
    A conformal p-value: where an ion comes from the same population as the calibration, p <= a holds with a chance of
    at most a, whatever the distribution of the scores (Vovk et al. 2005, Algorithmic Learning in a Random World,
    section 2.2; Bates et al. 2023, doi 10.1214/22-AOS2244). Neighbors share their surroundings, so the scores of one
    wire are worth fewer independent ones: calibrate on several wires.

    Examples
    --------
    >>> gate = Gate.fit([1.0, 2.0, 3.0, 4.0])
    >>> gate.p_values([0.0, 3.0, 9.0]).tolist()
    [1.0, 0.6, 0.2]
    >>> gate.threshold(0.4)
    3.0
    """

    calibration: NDArray[np.float64]

    def __post_init__(self) -> None:
        values = as_vector(self.calibration, "calibration", dtype=np.float64)
        if np.isnan(values).any():
            raise ShapeError(f"{int(np.isnan(values).sum())} calibration scores are NaN; leave such ions out")
        object.__setattr__(self, "calibration", read_only(np.sort(values)))

    @classmethod
    def fit(cls, scores: ArrayLike) -> Gate:
        """Calibrate on the scores of defect-free wires, shape (n,); high scores stand out.

        Raises
        ------
        ShapeError
            If a score is NaN.
        """
        return cls(np.asarray(scores))

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """P-value of each score, (1 + number of calibration scores at least as large) / (n + 1); NaN for NaN.

        Parameters
        ----------
        scores
            Shape (N,).

        Returns
        -------
        Shape (N,), float64.
        """
        values = as_vector(scores, "scores", dtype=np.float64)
        n = len(self.calibration)
        above = n - np.searchsorted(self.calibration, values, side="left")
        return np.where(np.isnan(values), np.nan, (1.0 + above) / (n + 1.0))

    def threshold(self, level: float) -> float:
        """Score above which, and not at which, the p-value is `level` or less.

        Infinite where n + 1 < 1 / level: so few calibration scores show nothing that rare.

        Raises
        ------
        ParameterError
            If the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ParameterError(f"level must lie between 0 and 1, got {level}")
        n = len(self.calibration)
        allowed = math.floor(level * (n + 1) * (1 + 1e-12)) - 1  # calibration scores that may reach it
        if allowed < 0:
            return math.inf
        return float(self.calibration[n - 1 - allowed]) if allowed < n else -math.inf
