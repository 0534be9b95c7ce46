"""Parameters of the search for voids, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.stage import Params, param

R_LOW_NM, R_HIGH_NM = 0.3, 5.0
"""Range of the log-uniform prior of the radius."""

ROUGH = 1.4
"""Dispersion within 5 nm of a void, over that of the specimen, above which its surroundings are rough: two to three
standard errors more."""


class VoidParams(Params):
    """Parameters of `find_voids`."""

    sigma_lateral_nm: float = param(
        0.6,
        title="Lateral blur",
        description="Standard deviation of the position error across the axis of the instrument (x and y).",
        unit="nm",
        ge=0.0,
        le=2.0,
    )
    sigma_depth_nm: float = param(
        0.2,
        title="Depth blur",
        description="Standard deviation of the position error along the axis of the instrument (z).",
        unit="nm",
        ge=0.0,
        le=2.0,
    )
    false_alarms: float = param(
        0.05,
        title="False alarms",
        description="Voids to be expected by chance in a void-free specimen of this size; fewer ask for more evidence.",
        gt=0.0,
        le=10.0,
    )
    least_depletion: float = param(
        0.5,
        title="Least depletion",
        description="Share of the ions that must be missing inside; below, it is a zone of low density and no void.",
        ge=0.05,
        le=0.95,
    )
    surface_zone_nm: float = param(
        1.5,
        title="Surface zone",
        description="Centers closer to the surface of the specimen than this are not looked at.",
        unit="nm",
        ge=0.0,
        le=20.0,
    )
    background_sigma_nm: float = param(
        5.0, title="Background width", description="Width of the smooth background.", unit="nm", ge=1.0, le=50.0
    )
    column_sigma_nm: float = param(
        0.8,
        title="Column width",
        description="Lateral width of what is constant along the depth: poles and zone lines.",
        unit="nm",
        ge=0.3,
        le=20.0,
    )
    column_depth_nm: float = param(
        10.0, title="Column depth", description="Depth over which such columns are averaged.", unit="nm", ge=3.0, le=100
    )
    scale_error_percent: float = param(
        5.0,
        title="Background error",
        description="Standard deviation of the local error of the background, common to a void's surroundings.",
        unit="%",
        ge=0.1,
        le=50.0,
    )
    blur_error_percent: float = param(
        10.0, title="Blur error", description="Standard deviation of the factor on both blurs.", unit="%", ge=0.0, le=30
    )
    shape_error_percent: float = param(
        2.5,
        title="Shape error",
        description="Error of the radius from what the model leaves out, such as local magnification: one standard "
        "deviation. The default is what validation wires asked for; docs/voids.md has the coverage on test wires.",
        unit="%",
        ge=0.0,
        le=30.0,
    )
    n_particles: int = param(
        300, title="Particles", description="Particles of the sampler for each candidate.", ge=50, le=10_000
    )
    n_null: int = param(
        3, title="Void-free clouds", description="Void-free clouds that calibrate the false alarms.", ge=1, le=100
    )
    max_candidates: int = param(
        2000, title="Candidates", description="Most candidates that are looked at, strongest first.", ge=1, le=100_000
    )


@dataclass(frozen=True)
class FalseAlarms:
    """How many candidates with how much evidence a void-free specimen of the same size gives by chance.

    Parameters
    ----------
    at_log_bayes
        Log Bayes factor from which the tail is taken as exponential.
    rate
        Candidates at or above it in a specimen of this size.
    scale
        Mean excess over it: the rate falls by e over this.
    n_clouds, n_candidates
        Void-free clouds that were made, and candidates in them that were sampled.
    dispersion
        Median dispersion of the counts in these clouds; below 1 because the background follows part of the noise.
    """

    at_log_bayes: float
    rate: float
    scale: float
    n_clouds: int
    n_candidates: int
    dispersion: float = 1.0

    def expected(self, log_bayes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Candidates with at least this evidence that chance gives in a specimen of this size."""
        return self.rate * np.exp(-(np.asarray(log_bayes) - self.at_log_bayes) / self.scale)

    def probability(self, log_bayes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability that chance alone gives one candidate or more with at least this evidence."""
        return -np.expm1(-self.expected(log_bayes))

    def threshold(self, expected: float) -> float:
        """Log Bayes factor that `expected` candidates exceed by chance."""
        return float(self.at_log_bayes + self.scale * np.log(self.rate / expected))


@dataclass(frozen=True, eq=False)
class Voids:
    """Voids, strongest evidence first; K of them. Intervals hold 90 % of the posterior, 5 % on either side.

    Parameters
    ----------
    center_nm, center_low_nm, center_high_nm
        Posterior mean and credible interval of the centers, shape (K, 3), nm, frame of the ions.
    radius_nm, radius_low_nm, radius_high_nm
        The same of the radii, shape (K,), nm.
    depletion
        Posterior mean of the share of the ions that is missing inside, shape (K,).
    n_missing
        Detected ions that are missing because of the void: posterior mean, shape (K,).
    log_bayes
        Natural logarithm of the Bayes factor of the void against none there, shape (K,).
    local_dispersion
        Variance of the counts over that of Poisson's law within 5 nm of each void, at the scale of small voids, shape
        (K,); NaN where too little of the surroundings is known. Above 1.4 there, density varies by more than chance all
        around, as between the grains of a polycrystal, and a thin place is nothing special.
    false_alarm
        Probability that a void-free specimen of this size gives such evidence somewhere, shape (K,); in rough
        surroundings of the evidence divided by their dispersion.
    false_alarms
        The calibration behind it.
    dispersion
        Variance of the counts over that of Poisson's law, at the scale of small voids. Intervals follow it; evidence
        is divided by it where it is above 1.
    n_candidates
        Places that were looked at.
    """

    center_nm: NDArray[np.float64]
    center_low_nm: NDArray[np.float64]
    center_high_nm: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    radius_low_nm: NDArray[np.float64]
    radius_high_nm: NDArray[np.float64]
    depletion: NDArray[np.float64]
    n_missing: NDArray[np.float64]
    log_bayes: NDArray[np.float64]
    local_dispersion: NDArray[np.float64]
    false_alarm: NDArray[np.float64]
    false_alarms: FalseAlarms
    dispersion: float
    n_candidates: int

    def __len__(self) -> int:
        return len(self.radius_nm)


def label_rims(xyz_nm: NDArray[np.float32], voids: Voids, rim_nm: float = 0.5) -> NDArray[np.int32]:
    """Number the ions at each void: inside it or within `rim_nm` of its surface.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    voids
        The voids.
    rim_nm
        Width of the rim, nm.

    Returns
    -------
    Shape (N,), int32: 1 + the row of the void, the one with the nearer surface where rims overlap; 0 elsewhere.
    """
    label = np.zeros(len(xyz_nm), np.int32)
    nearest = np.full(len(xyz_nm), np.inf, np.float32)
    order = np.argsort(xyz_nm[:, 2], kind="stable")
    depth = xyz_nm[order, 2]
    for k, (center, radius) in enumerate(zip(voids.center_nm, voids.radius_nm, strict=True)):
        reach = radius + rim_nm
        low, high = np.searchsorted(depth, [center[2] - reach, center[2] + reach + 1e-3])
        rows = order[low:high]
        gap = np.linalg.norm(xyz_nm[rows] - center, axis=1) - radius
        here = rows[(gap <= rim_nm) & (gap < nearest[rows])]
        nearest[here] = np.linalg.norm(xyz_nm[here] - center, axis=1) - radius
        label[here] = k + 1
    return label
