"""How many clusters there are: by the silhouette, with the eigengap beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DRAWS: Final = 5
_LEAST_PER_CLUSTER: Final = 20
_FLOOR: Final = 1e-3  # smaller eigenvalues are noise, and so is their ratio


def eigengap(eigenvalues: NDArray[np.float64]) -> int:
    """Number of clusters after which the eigenvalues fall most, as a ratio of neighbors; 1 when there is one cluster.

    Parameters
    ----------
    eigenvalues
        Shape (K,), descending: of the normalized similarities.

    Notes
    -----
    The ratio, not the difference (von Luxburg 2007, doi 10.1007/s11222-007-9033-z, section 8.3), because where many
    dimensions dilute the similarities the eigenvalues of true clusters fall well below 1, and those of none far below
    these: 1, 0.63, 0.44, 0.32, 0.21 and then 0.07 for five clusters of a normal distribution in 32 dimensions.

    Examples
    --------
    >>> eigengap(np.array([1.0, 0.63, 0.44, 0.32, 0.21, 0.07, 0.07]))
    5
    >>> eigengap(np.array([1.0, 0.48, 0.47, 0.46]))
    1
    """
    values = np.maximum(eigenvalues, _FLOOR)
    return int(np.argmax(values[:-1] / values[1:])) + 1 if len(values) > 1 else 1


def stratified_silhouette(
    rows: NDArray[np.float32], label: NDArray[np.integer], n_sample: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean silhouette from five subsamples that hold ions of every cluster, and its standard error.

    Parameters
    ----------
    rows
        Coordinates, shape (N, K), float32.
    label
        Cluster of each row from 0, shape (N,).
    n_sample
        Rows in a subsample, about.
    rng
        Source of the draws.

    Notes
    -----
    Each cluster gives rows by its size, at least 20 (or all it has); its mean counts by its size, so that the result
    estimates the mean over all rows (Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7) and a rare cluster is not left
    out. The error is that of a stratified mean over as many rows as the draws hold, those drawn twice counted once: it
    stays where every draw holds all rows. -1 where the rows are of fewer than two clusters.
    """
    from sklearn.metrics import silhouette_samples

    size = np.bincount(label)
    present = np.flatnonzero(size)
    if len(present) < 2 or len(label) <= len(present):
        return -1.0, 0.0
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(size)[:-1])
    take = np.minimum(size, np.maximum(_LEAST_PER_CLUSTER, np.round(n_sample * size / len(label)).astype(np.int64)))
    share = size[present] / len(label)
    scores, variances = [], []
    for _ in range(_DRAWS):
        drawn = np.concatenate([rng.choice(members[c], take[c], replace=False) for c in present])
        value = silhouette_samples(rows[drawn], label[drawn])
        mean = np.bincount(label[drawn], value, minlength=len(size))[present] / take[present]
        square = np.bincount(label[drawn], value**2, minlength=len(size))[present] / take[present]
        scores.append(float(share @ mean))
        variances.append(float(share**2 @ (np.maximum(square - mean**2, 0) / take[present])))
    independent = min(_DRAWS, len(label) / int(take[present].sum()))
    return float(np.mean(scores)), float(np.sqrt(np.mean(variances) / independent))


def best_k(curve: Sequence[tuple[int, float, float]]) -> int:
    """Smallest number of clusters whose silhouette is within one standard error of the best; 1 for an empty curve.

    Examples
    --------
    >>> best_k([(2, 0.50, 0.01), (3, 0.69, 0.01), (4, 0.70, 0.02)])
    3
    """
    if not curve:
        return 1
    _, top, error = max(curve, key=lambda entry: entry[1])
    return next(k for k, score, _ in curve if score >= top - error)
