"""Spectral clustering of an embedding: exact for few ions, through landmarks for millions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.clustering.affinity import SpectralCoordinates, exact_coordinates, landmark_coordinates
from napari_aptdefect.apt.clustering.choice import best_k, eigengap, stratified_silhouette
from napari_aptdefect.apt.clustering.content import content_order
from napari_aptdefect.arrays import finite_rows, read_only
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.stage import Params, Progress, Stage, param

_FIT: Final = 20_000  # rows that the centers and the silhouette are found on
_CHUNK: Final = 1 << 16
_PER_LANDMARK: Final = 5  # with fewer ions each, landmarks show the noise of the draw


class SpectralParams(Params):
    """Parameters of the spectral clustering."""

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
        le=20_000,
    )
    exact_most: int = param(
        1_500,
        title="Exact up to",
        description="Up to this many ions all pairs are compared; above, landmarks stand for the ions.",
        unit="ions",
        ge=0,
        le=10_000,
    )
    n_landmarks: int = param(
        1_000,
        title="Landmarks",
        description="Number of landmarks, at most one for five ions; a type needs several of them to be seen.",
        ge=50,
        le=5_000,
    )
    nearest_landmarks: int = param(
        5, title="Nearest landmarks", description="Each ion is joined to this many landmarks.", ge=2, le=50
    )
    scale_neighbor: int = param(
        7,
        title="Scale",
        description="Similarity falls off with the distance to the neighbor of this number.",
        ge=1,
        le=50,
    )


@dataclass(frozen=True, eq=False)
class SpectralClusters:
    """Clusters of vectors, and how their number was found.

    Parameters
    ----------
    label
        Shape (N,), int32: cluster of each vector from 0, the largest first.
    k
        Number of clusters.
    silhouette
        One (k, mean silhouette, standard error) per number that was tried.
    eigenvalues
        Shape (k_max + 1,) at most, float64, descending.
    eigengap_k
        Number of clusters that the eigenvalues suggest.
    n_landmarks
        Number of landmarks; 0 where all pairs were compared.
    """

    label: NDArray[np.int32]
    k: int
    silhouette: tuple[tuple[int, float, float], ...]
    eigenvalues: NDArray[np.float64]
    eigengap_k: int
    n_landmarks: int

    def __post_init__(self) -> None:
        for name in ("label", "eigenvalues"):
            object.__setattr__(self, name, read_only(getattr(self, name)))


def spectral_clusters(
    vectors: ArrayLike, params: SpectralParams | None = None, *, k: int | None = None, seed: int = 0
) -> Stage[SpectralClusters]:
    """Cluster vectors by the slowest modes of a random walk on their similarities.

    Parameters
    ----------
    vectors
        Shape (N, d), finite; taken as float32.
    params
        Parameters; the defaults when None.
    k
        Number of clusters; found when None.
    seed
        Seed of the landmarks, the centers and the subsamples.

    Yields
    ------
    `Progress` in parts of 100.

    Returns
    -------
    The clusters. A permuted input gives the permuted output.

    Raises
    ------
    ShapeError
        If the vectors are not finite numbers of shape (N, d), or k is not between 1 and N.

    Notes
    -----
    Ng, Jordan & Weiss 2002 (NIPS 14) with the local scales of Zelnik-Manor & Perona 2004 (NIPS 17): k-means of the
    rows, scaled to unit length, of the first k eigenvectors; see `exact_coordinates` and `landmark_coordinates`.

    The number of clusters is 1 where the eigengap says so, of which the silhouette can't judge; else the one of the
    best silhouette, the smallest within one standard error. The silhouette of every number is taken in the same space,
    all eigenvectors times their eigenvalues (the diffusion map of one step, Coifman & Lafon 2006, doi
    10.1016/j.acha.2006.04.006), scaled to unit length: in the first k eigenvectors, too few clusters look as compact as
    the right number, because those that have no eigenvector of their own fall together.
    """
    params = params or SpectralParams()
    points = _checked(vectors, k)
    order = content_order(points, seed)
    n = min((k or params.k_max) + 1, len(points))
    if len(points) < 3 or n < 2:
        few = min(len(points), 1)
        return SpectralClusters(np.zeros(len(points), np.int32), few, (), np.ones(few), 1, 0)
    yield Progress(0, 100, "Spectral coordinates")
    if len(points) <= params.exact_most:
        found = exact_coordinates(points[order], n, params.scale_neighbor)
        rows = np.empty_like(found.rows)
        rows[order] = found.rows
        found = SpectralCoordinates(rows, found.eigenvalues, 0)
    else:
        found = yield from landmark_coordinates(
            points,
            order,
            n,
            max(min(params.n_landmarks, len(points) // _PER_LANDMARK), n),
            params.nearest_landmarks,
            params.scale_neighbor,
            seed,
        )
    gap = eigengap(found.eigenvalues)
    fit = order[:_FIT]
    distinct = len(np.unique(points[fit], axis=0))
    curve: list[tuple[int, float, float]] = []
    if k is None:
        space = _diffusion(found, fit)
        rng = np.random.default_rng([seed, 0x51])
        most = min(params.k_max, distinct - 1, len(found.eigenvalues))
        for tried in range(2, most + 1):
            yield Progress(60 + 35 * (tried - 2) / max(most - 1, 1), 100, f"{tried} types")
            parts = _nearest(found.on_sphere(tried, fit), _centers(found, fit, tried, seed))
            curve.append((tried, *stratified_silhouette(space, parts, params.silhouette_sample, rng)))
        k = 1 if gap == 1 else best_k(curve)
    yield Progress(95, 100, f"{k} types for all ions")
    k = min(k, distinct, len(found.eigenvalues))
    return SpectralClusters(
        _assigned(found, order, _centers(found, fit, k, seed)),
        k,
        tuple(curve),
        found.eigenvalues,
        gap,
        found.n_landmarks,
    )


def agreement(vectors: ArrayLike, params: SpectralParams | None = None, *, k: int, seed: int = 0) -> Stage[float]:
    """Adjusted Rand index between the exact clusters and those through landmarks, of a draw of the vectors.

    Parameters
    ----------
    vectors
        Shape (N, d), finite. Where they are more than `exact_most`, that many are drawn.
    params
        Parameters; the defaults when None.
    k
        Number of clusters.
    seed
        Seed of the draw and of both clusterings.

    Returns
    -------
    1 where both are the same; about 0 where they have nothing in common.
    """
    from sklearn.metrics import adjusted_rand_score

    params = params or SpectralParams()
    points = _checked(vectors, k)
    drawn = points[content_order(points, seed)[: params.exact_most]]
    all_pairs = yield from spectral_clusters(drawn, params, k=k, seed=seed)
    sparse = params.model_copy(update={"exact_most": 0})
    through = yield from spectral_clusters(drawn, sparse, k=k, seed=seed)
    return float(adjusted_rand_score(all_pairs.label, through.label))


def _checked(vectors: ArrayLike, k: int | None) -> NDArray[np.float32]:
    values: NDArray[Any] = np.asarray(vectors)
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ShapeError(f"vectors must be numbers of shape (N, d), got {values.dtype} of shape {values.shape}")
    points = np.ascontiguousarray(values, np.float32)
    finite = finite_rows(points)
    if not finite.all():
        raise ShapeError(f"{int((~finite).sum())} vectors are not finite, the first in row {int(np.argmin(finite))}")
    if k is not None and not 1 <= k <= max(len(points), 1):
        raise ShapeError(f"k must lie between 1 and the number of vectors, {len(points)}, got {k}")
    return points


def _diffusion(found: SpectralCoordinates, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    part = found.rows[rows] * np.maximum(found.eigenvalues, 0).astype(np.float32)
    length = np.linalg.norm(part, axis=1, keepdims=True)
    return np.asarray(part / np.where(length > 0, length, 1), np.float32)


def _centers(found: SpectralCoordinates, fit: NDArray[np.int64], k: int, seed: int) -> NDArray[np.float32]:
    """Centers of k clusters on the unit sphere."""
    from sklearn.cluster import KMeans

    if k == 1:
        return np.ones((1, 1), np.float32)
    model = KMeans(k, n_init=5, random_state=seed).fit(found.on_sphere(k, fit))
    return np.asarray(model.cluster_centers_, np.float32)


def _nearest(rows: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(np.argmin(np.sum(centers**2, axis=1) - 2 * rows @ centers.T, axis=1), np.int64)


def _assigned(found: SpectralCoordinates, order: NDArray[np.int64], centers: NDArray[np.float32]) -> NDArray[np.int32]:
    """Nearest center of all rows, numbered by size; among equals, by the first in the order."""
    label = np.zeros(len(order), np.int64)
    for start in range(0, len(order), _CHUNK):  # the order of the content, so that rounding is the same too
        rows = order[start : start + _CHUNK]
        label[rows] = _nearest(found.on_sphere(len(centers), rows), centers)
    kinds, first, size = np.unique(label[order], return_index=True, return_counts=True)
    number = np.zeros(len(centers), np.int32)
    number[kinds[np.lexsort((first, -size))]] = np.arange(len(kinds))
    return number[label]
