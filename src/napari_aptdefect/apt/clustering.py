"""Clustering: ions that stand out, sorted into types by the direction of their fused features, k by silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.stage import Params, Progress, Stage, param


class ClusteringParams(Params):
    """Parameters of the clustering."""

    gate_quantile: float = param(
        0.999,
        title="Gate",
        description="An ion goes on when its anomaly exceeds that of this share of the reference ions.",
        ge=0.5,
        le=0.999999,
    )
    k_max: int = param(
        8,
        title="Largest number of types",
        description="Numbers of types from 2 up to this are tried; the best mean silhouette wins.",
        ge=2,
        le=50,
    )
    silhouette_sample: int = param(
        2_000,
        title="Silhouette sample",
        description="Number of ions on which the silhouette is evaluated, five times.",
        unit="ions",
        ge=100,
        le=50_000,
    )
    min_silhouette: float = param(
        0.25,
        title="Least silhouette",
        description="Below this mean silhouette the ions count as one single type.",
        ge=-1.0,
        le=1.0,
    )


@dataclass(frozen=True, eq=False)
class Clusters:
    """Types of ions that stand out.

    Parameters
    ----------
    label
        Type of each ion, shape (N,), int32, numbered by size from 0; -1 does not stand out.
    reference_label
        Type of each reference ion, shape (M,), int32; what stands out there does so by chance.
    threshold
        Anomaly above which an ion stands out.
    silhouette
        One (k, mean silhouette, standard error) per number of types that was tried.
    """

    label: NDArray[np.int32]
    reference_label: NDArray[np.int32]
    threshold: float
    silhouette: tuple[tuple[int, float, float], ...]

    @property
    def k(self) -> int:
        """Number of types."""
        return int(self.label.max(initial=-1)) + 1


@dataclass(frozen=True, eq=False)
class Candidates:
    """Ions to sort: fused features, shape (N, width); anomaly, shape (N,); whether each can be judged, shape (N,)."""

    vectors: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    judged: NDArray[np.bool_]


def cluster(
    measured: Candidates, reference: Candidates, params: ClusteringParams | None = None, *, seed: int = 0
) -> Stage[Clusters]:
    """Gate the ions by anomaly, then sort those that stand out into types.

    Parameters
    ----------
    measured, reference
        The ions of the measured and of the reference specimen.
    params
        Parameters; the defaults when None.
    seed
        Seed of the random numbers.

    Notes
    -----
    k-means on vectors of unit length, so that the core and the rim of a defect, which differ in strength, get one type.
    Gating first, because the silhouette over a whole specimen prefers two types whatever is in it. k maximizes the mean
    silhouette over five subsamples (Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7); within one standard error the
    smaller k wins.
    """
    params = params or ClusteringParams()
    yield Progress(0, params.k_max, "gate")
    chance = reference.anomaly[reference.judged]
    threshold = float(np.quantile(chance, params.gate_quantile)) if len(chance) else np.inf
    gated = np.flatnonzero(measured.judged & (measured.anomaly > threshold))
    by_chance = np.flatnonzero(reference.judged & (reference.anomaly > threshold))
    label = np.full(len(measured.anomaly), -1, np.int32)
    reference_label = np.full(len(reference.anomaly), -1, np.int32)
    if len(gated) == 0:
        return Clusters(label, reference_label, threshold, ())
    unit = _directions(measured.vectors[gated])
    distinct = len(np.unique(unit[:100_000].round(4), axis=0))
    curve: list[tuple[int, float, float]] = []
    found: dict[int, NDArray[np.float32]] = {}
    for k in range(2, min(params.k_max, distinct - 1) + 1):
        yield Progress(k - 1, params.k_max, f"{k} types")
        found[k] = _centers(unit, k, seed)
        curve.append((k, *_silhouette(unit, _nearest(unit, found[k]), params.silhouette_sample, seed)))
    best = _choose(curve, params.min_silhouette)
    centers = found[best] if best else unit[:1]
    label[gated] = _nearest(unit, centers)
    order = np.argsort(-np.bincount(label[gated], minlength=len(centers)), kind="stable")
    label[gated] = np.argsort(order)[label[gated]]
    reference_label[by_chance] = np.argsort(order)[_nearest(_directions(reference.vectors[by_chance]), centers)]
    return Clusters(label, reference_label, threshold, tuple(curve))


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def _centers(unit: NDArray[np.float32], k: int, seed: int, sample: int = 50_000) -> NDArray[np.float32]:
    """Centers of k types, from at most `sample` of the ions."""
    from sklearn.cluster import KMeans

    rows = np.random.default_rng([seed, 0x4B]).permutation(len(unit))[:sample]
    model = KMeans(k, n_init=3, random_state=seed).fit(unit[np.sort(rows)])
    return np.asarray(model.cluster_centers_, np.float32)


def _nearest(unit: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index of the nearest center of each vector."""
    return np.asarray(np.argmin(np.sum(centers**2, axis=1) - 2 * unit @ centers.T, axis=1), np.int64)


def _choose(curve: list[tuple[int, float, float]], least: float) -> int:
    """Smallest k within one standard error of the best; 0 when no silhouette reaches `least`."""
    if not curve:
        return 0
    _, top, error = max(curve, key=lambda entry: entry[1])
    if top < least:
        return 0
    return next(k for k, score, _ in curve if score >= top - error)


def _silhouette(unit: NDArray[np.float32], label: NDArray[np.int64], sample: int, seed: int) -> tuple[float, float]:
    """Mean silhouette over five random subsamples, and its standard error."""
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng([seed, 0x51])
    scores = []
    for _ in range(5):
        rows = rng.choice(len(unit), min(sample, len(unit)), replace=False)
        if 1 < len(np.unique(label[rows])) < len(rows):
            scores.append(float(silhouette_score(unit[rows], label[rows])))
    if not scores:
        return -1.0, 0.0
    return float(np.mean(scores)), float(np.std(scores) / np.sqrt(len(scores)))
