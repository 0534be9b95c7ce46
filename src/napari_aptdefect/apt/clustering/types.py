"""Types: ions that stand out, sorted by the direction of their fused features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.clustering.gate import Gate
from napari_aptdefect.apt.clustering.spectral import SpectralParams, spectral_clusters
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Progress, Stage, param, scaled


class ClusteringParams(SpectralParams):
    """Parameters of the clustering."""

    gate_quantile: float = param(
        0.999,
        title="Gate",
        description="An ion goes on when chance gives an anomaly like its own to less than the rest of this share of "
        "ions; the reference must be that large.",
        ge=0.5,
        le=0.999999,
    )


@dataclass(frozen=True, eq=False)
class Clusters:
    """Types of ions that stand out.

    Parameters
    ----------
    label
        Type of each ion, shape (N,), int32, numbered by size from 0; -1 does not stand out.
    reference_label
        0 for each reference ion that stands out by chance, -1 for the others, shape (M,), int32.
    threshold
        Anomaly above which an ion stands out; infinite where the reference is too small to show anything that rare.
    silhouette
        One (k, mean silhouette, standard error) per number of types that was tried.
    eigengap_k
        Number of types that the eigenvalues suggest; 0 where nothing stands out.
    """

    label: NDArray[np.int32]
    reference_label: NDArray[np.int32]
    threshold: float
    silhouette: tuple[tuple[int, float, float], ...]
    eigengap_k: int = 0

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
    measured: Candidates,
    reference: Candidates | None,
    params: ClusteringParams | None = None,
    *,
    seed: int = 0,
    threshold: float | None = None,
) -> Stage[Clusters]:
    """Gate the ions by anomaly, then sort those that stand out into types.

    Parameters
    ----------
    measured, reference
        The ions of the measured and of the reference specimen; no reference where the threshold is given.
    params
        Parameters; the defaults when None.
    seed
        Seed of the random numbers.
    threshold
        Anomaly above which an ion stands out, where it is known already.

    Raises
    ------
    ParameterError
        If there is neither a reference nor a threshold.

    Notes
    -----
    Spectral clustering (`spectral_clusters`) of vectors of unit length, so that the core and the rim of a defect, which
    differ in strength, get one type. Gating first (`Gate`), because the silhouette over a whole specimen prefers two
    types whatever is in it.
    """
    params = params or ClusteringParams()
    yield Progress(0, 100, "gate")
    if threshold is None:
        if reference is None:
            raise ParameterError("give a reference, or the anomaly above which an ion stands out")
        threshold = Gate.fit(reference.anomaly[reference.judged]).threshold(1 - params.gate_quantile)
    gated = np.flatnonzero(measured.judged & (measured.anomaly > threshold))
    label = np.full(len(measured.anomaly), -1, np.int32)
    by_chance = np.zeros(0, np.int32)
    if reference is not None:
        by_chance = np.where(reference.judged & (reference.anomaly > threshold), 0, -1).astype(np.int32)
    if len(gated) == 0:
        return Clusters(label, by_chance, threshold, ())
    found = yield from scaled(spectral_clusters(_directions(measured.vectors[gated]), params, seed=seed), 1, 100)
    label[gated] = found.label
    return Clusters(label, by_chance, threshold, found.silhouette, found.eigengap_k)


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)
