"""Fusion: F = sum_i w_i f_i over the three feature sets, and the anomaly score of the fused features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import Params, Progress, Stage, param

_COMPOSITIONAL = 1  # position of that set among the three
_CLIP = 100.0  # a single wild value must not decide alone


class FusionParams(Params):
    """Weights of the feature sets; only their ratios count, they are scaled to sum to one."""

    structural_weight: float = param(
        1.0,
        title="Structural weight",
        description="Weight of the structural features (neighbor graph, Voronoi cells).",
        ge=0.0,
        le=1.0,
    )
    compositional_weight: float = param(
        1.0,
        title="Compositional weight",
        description="Weight of the compositional features (enrichment of each species).",
        ge=0.0,
        le=1.0,
    )
    spatial_weight: float = param(
        1.0,
        title="Spatial weight",
        description="Weight of the spatial features (density against its background, density gradient).",
        ge=0.0,
        le=1.0,
    )
    width: int = param(
        8,
        title="Common width",
        description="Number of components each set is projected to before the weighted sum.",
        ge=1,
        le=64,
    )

    @property
    def weights(self) -> tuple[float, float, float]:
        """The three weights, summing to one.

        Raises
        ------
        ParameterError
            If all are zero.
        """
        raw = (self.structural_weight, self.compositional_weight, self.spatial_weight)
        total = sum(raw)
        if total <= 0:
            raise ParameterError(f"the weights of the feature sets are {raw}; at least one must be above 0")
        return raw[0] / total, raw[1] / total, raw[2] / total


@dataclass(frozen=True, eq=False)
class Fused:
    """Fused features of the measured ions, and the anomaly of measured and reference ions on one scale.

    Parameters
    ----------
    vectors
        F, shape (N, width), float32.
    reference_vectors
        The same of the reference ions, shape (M, width).
    anomaly
        Shape (N,), float32; 1 is what an ion of the reference specimen has on average.
    reference_anomaly
        The same for the ions of the reference specimen, shape (M,).
    weights
        Weights of the sets, summing to one.
    """

    vectors: NDArray[np.float32]
    reference_vectors: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    reference_anomaly: NDArray[np.float32]
    weights: tuple[float, float, float]


def fuse(
    sets: Sequence[NDArray[np.float32]],
    reference: Sequence[NDArray[np.float32]],
    judged: NDArray[np.bool_],
    reference_judged: NDArray[np.bool_],
    params: FusionParams | None = None,
) -> Stage[Fused]:
    """Standardize each set, project it to a common width, and add the sets with their weights.

    Parameters
    ----------
    sets
        The three feature sets of the measured ions, each of shape (N, n_features); NaN is undefined.
    reference
        The same sets of the reference ions, each of shape (M, n_features).
    judged, reference_judged
        Shape (N,) and (M,), bool: the ions that set the scale of the features.
    params
        Parameters; the defaults when None.

    Raises
    ------
    ShapeError
        If measured and reference features don't correspond.

    Notes
    -----
    Compositional features are centered on their median in the reference and divided by their spread there: where
    species mix at random, their counts fluctuate as the reference's do, and any more is a finding. Structural and
    spatial features are centered on their own median and divided by the larger of the spreads in the reference and in
    the measured specimen: the density fluctuates more than chance for reasons of the instrument (poles, zone lines),
    which must lose weight instead of flagging every ion. The projection is on the leading principal components. The
    anomaly is (sum_i w_i mean_j z_ij^4)^(1/4), in units of its value in the reference: the weights enter it as they
    enter F, and the fourth power lets one strong feature among many weak ones speak.
    """
    params = params or FusionParams()
    weights = params.weights
    n, m = len(sets[0]), len(reference[0])
    vectors, reference_vectors = np.zeros((n, params.width), np.float32), np.zeros((m, params.width), np.float32)
    powers, reference_powers = np.zeros(n, np.float32), np.zeros(m, np.float32)
    used = sum(w for w, s in zip(weights, sets, strict=True) if s.shape[1])
    for step, (weight, mine, theirs) in enumerate(zip(weights, sets, reference, strict=True)):
        yield Progress(step, len(sets), "fusion")
        if mine.shape[1:] != theirs.shape[1:]:
            raise ShapeError(f"feature set {step} has {mine.shape[1]} features, its reference {theirs.shape[1]}")
        if weight == 0 or mine.shape[1] == 0 or n == 0:
            continue
        z, z_reference = _standardize(mine, theirs, judged, reference_judged, by_chance=step == _COMPOSITIONAL)
        axes = _principal_axes(z, params.width, shift=step * params.width // len(sets))
        vectors += np.float32(weight / used) * (z @ axes)
        reference_vectors += np.float32(weight / used) * (z_reference @ axes)
        powers += np.float32(weight / used) * np.mean(z**4, axis=1)
        reference_powers += np.float32(weight / used) * np.mean(z_reference**4, axis=1)
    unit = float(np.mean(reference_powers[reference_judged])) if reference_judged.any() else 1.0
    unit = unit if unit > 0 else 1.0
    return Fused(
        vectors,
        reference_vectors,
        (powers / np.float32(unit)) ** np.float32(0.25),
        (reference_powers / np.float32(unit)) ** np.float32(0.25),
        weights,
    )


def _standardize(
    mine: NDArray[np.float32],
    theirs: NDArray[np.float32],
    judged: NDArray[np.bool_],
    theirs_judged: NDArray[np.bool_],
    *,
    by_chance: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    out, out_theirs = np.zeros_like(mine), np.zeros_like(theirs)
    for column in range(mine.shape[1]):
        center, spread = _middle(mine[judged, column])
        center_theirs, spread_theirs = _middle(theirs[theirs_judged, column])
        if by_chance:
            center, spread = center_theirs, spread_theirs
        scale = max(spread, spread_theirs)
        if scale <= 0:  # a constant feature says nothing
            continue
        for target, values, middle in ((out, mine, center), (out_theirs, theirs, center_theirs)):
            z = np.clip((values[:, column] - middle) / scale, -_CLIP, _CLIP)
            target[:, column] = np.nan_to_num(z, nan=0.0)  # undefined is unremarkable
    return out, out_theirs


def _middle(values: NDArray[np.float32]) -> tuple[float, float]:
    """Median and a robust standard deviation (half the distance between the 15.9 and 84.1 percentiles)."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return 0.0, 0.0
    low, middle, high = np.percentile(finite, [15.865, 50.0, 84.135])
    return float(middle), float(high - low) / 2


def _principal_axes(z: NDArray[np.float32], width: int, shift: int) -> NDArray[np.float32]:
    """Leading principal axes as columns, shape (n_features, width), the largest loading of each positive.

    The columns are shifted cyclically, by another number for each set: else the leading components of all sets would
    fall on one coordinate of the sum and could cancel.
    """
    covariance = (z.T @ z).astype(np.float64) / max(len(z), 1)
    _, vectors = np.linalg.eigh(covariance)
    leading = vectors[:, ::-1][:, :width]
    leading *= np.sign(leading[np.argmax(np.abs(leading), axis=0), np.arange(leading.shape[1])])
    out = np.zeros((z.shape[1], width), np.float32)
    out[:, : leading.shape[1]] = leading
    return np.roll(out, shift, axis=1)
