"""What the methods measure distances in: coordinates in nm, and features in robust units beside them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines.clustering import COORDINATES, FUSED, Space
from napari_aptdefect.evaluate.specimen import Specimen

_MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution


def anomalies(specimen: Specimen) -> NDArray[np.float32]:
    """Anomaly of each ion, shape (N,), or raise a `ParameterError` where the specimen has none."""
    if specimen.anomaly is None:
        raise ParameterError("fused features are wanted and this specimen holds no anomaly")
    return specimen.anomaly


def scaled_features(specimen: Specimen, space: Space) -> NDArray[np.float32]:
    """Features of each ion in robust units, shape (N, F), float32.

    Parameters
    ----------
    specimen
        The ions.
    space
        Composition: each column less its median, over its own robust deviation. Fused features: less the medians, all
        over one common deviation (the root of their mean square), because their columns are already weighed against
        each other.

    Notes
    -----
    The robust deviation is 1.4826 times the median absolute deviation; where that is 0, as for a solute that most ions
    have none of around them, the standard deviation. A column without any spread becomes 0. Fused features of ions
    that are not judged are 0, the median.
    """
    if space == FUSED:
        if specimen.fused is None:
            raise ParameterError("fused features are wanted and this specimen holds none")
        values, used = specimen.fused, specimen.judged
    else:
        values, used = specimen.composition, np.ones(len(specimen), bool)
    if not used.any():
        return np.zeros(values.shape, np.float32)
    middle = np.median(values[used], axis=0)
    sigma = _MAD_TO_SIGMA * np.median(np.abs(values[used] - middle), axis=0)
    sigma = np.where(sigma > 0, sigma, values[used].std(axis=0, dtype=np.float64))
    if space == FUSED:
        sigma = np.full_like(sigma, np.sqrt(np.mean(sigma**2)))
    out = np.divide(values - middle, sigma, out=np.zeros(values.shape), where=(sigma > 0) & used[:, None])
    return np.asarray(out, np.float32)


def selected_ions(specimen: Specimen, space: Space, anomalous_share: float) -> NDArray[np.int64]:
    """Rows of the ions that an expert would cluster in space.

    Parameters
    ----------
    specimen
        The ions.
    space
        Coordinates and composition: the solutes. Fused features: the judged ions of highest anomaly.
    anomalous_share
        Share of the judged ions whose anomaly is high.
    """
    if space == COORDINATES:
        return np.flatnonzero(specimen.is_solute)
    return np.flatnonzero(specimen.judged & (anomalies(specimen) > anomaly_threshold(specimen, anomalous_share)))


def anomaly_threshold(specimen: Specimen, share: float) -> float:
    """Anomaly that a share of the judged ions exceeds; infinite where none is judged."""
    values = anomalies(specimen)[specimen.judged]
    return float(np.quantile(values, 1.0 - share)) if len(values) else np.inf


def embedded(
    specimen: Specimen, space: Space, rows: NDArray[np.int64], coordinate_weight: float, feature_weight: float
) -> NDArray[np.float32]:
    """Join weighted coordinates and weighted features of some ions.

    Parameters
    ----------
    specimen
        The ions.
    space
        Which features.
    rows
        Ions wanted, shape (M,).
    coordinate_weight, feature_weight
        Factors; columns of weight 0 are left out.

    Returns
    -------
    Shape (M, D), float32.
    """
    parts = []
    if coordinate_weight > 0:
        xyz = specimen.xyz_nm[rows].astype(np.float64)
        parts.append((coordinate_weight * (xyz - xyz.mean(axis=0) if len(xyz) else xyz)).astype(np.float32))
    if feature_weight > 0:
        features = np.float32(feature_weight) * scaled_features(specimen, space)[rows]
        parts.append(features[:, features.any(axis=0)])
    if not parts:
        raise ParameterError("coordinates and features both have weight 0; give one of them a weight")
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
