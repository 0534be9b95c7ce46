"""Spectral coordinates of vectors: exact from all pairs, or through landmarks that stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.stage import Progress, Stage

_CHUNK: Final = 1 << 16
_SAMPLE_PER_LANDMARK: Final = 20
_LLOYD_STEPS: Final = 5
_LEAST: Final = 1e-12  # of the largest degree: a vector far from all others has one of 0


@dataclass(frozen=True, eq=False)
class SpectralCoordinates:
    """Where the slowest modes of a random walk on the similarities put each vector.

    Parameters
    ----------
    rows
        Shape (N, K), float32: the leading eigenvectors, one per column.
    eigenvalues
        Shape (K,), float64, descending from 1: as many are 1 as parts hang together by nothing.
    n_landmarks
        Number of landmarks; 0 where all pairs were compared.
    """

    rows: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]
    n_landmarks: int

    def on_sphere(self, k: int, among: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float32]:
        """Give the first k coordinates of some rows unit length (Ng, Jordan & Weiss 2002, step 4)."""
        part = self.rows[among, :k]
        length = np.linalg.norm(part, axis=1, keepdims=True)
        return np.asarray(part / np.where(length > 0, length, 1), np.float32)


def exact_coordinates(vectors: NDArray[np.float32], n: int, neighbor: int) -> SpectralCoordinates:
    """Spectral coordinates from all pairs; time grows with the cube of the vectors, memory with the square.

    Parameters
    ----------
    vectors
        Shape (N, d), float32, finite.
    n
        Number of coordinates, N at most.
    neighbor
        The scale of a vector is the distance to its neighbor of this number.

    Notes
    -----
    A_ij = exp(-d_ij^2 / (s_i s_j)), A_ii = 0, with the local scales s of Zelnik-Manor & Perona 2004 (Self-tuning
    spectral clustering, NIPS 17; https://papers.nips.cc/paper/2619-self-tuning-spectral-clustering), and the largest
    eigenvectors of D^(-1/2) A D^(-1/2) (Ng, Jordan & Weiss 2002, On spectral clustering, NIPS 14).
    """
    from scipy.linalg import eigh
    from scipy.spatial.distance import cdist

    distance = cdist(vectors, vectors)
    scale = _local_scale(distance, neighbor)
    affinity = np.exp(-(distance**2) / np.outer(scale, scale))
    np.fill_diagonal(affinity, 0)
    degree = affinity.sum(axis=1)
    root = np.sqrt(np.maximum(degree, _LEAST * max(float(degree.max()), 1e-300)))
    affinity /= root[:, None]
    affinity /= root
    values, columns = eigh(affinity, subset_by_index=(len(vectors) - n, len(vectors) - 1), overwrite_a=True)
    return SpectralCoordinates(columns[:, ::-1].astype(np.float32), values[::-1], 0)


def landmark_coordinates(
    vectors: NDArray[np.float32],
    order: NDArray[np.int64],
    n: int,
    n_landmarks: int,
    nearest: int,
    neighbor: int,
    seed: int,
) -> Stage[SpectralCoordinates]:
    """Spectral coordinates through landmarks; time and memory grow with the vectors times the landmarks and no faster.

    Parameters
    ----------
    vectors
        Shape (N, d), float32, finite.
    order
        Shape (N,): rows in an order that does not depend on how they come (`content_order`).
    n
        Number of coordinates; as many as landmarks at most.
    n_landmarks
        Number of landmarks wanted.
    nearest
        Each vector is joined to this many landmarks.
    neighbor
        The scale of a landmark is the distance to the landmark nearest to it but this many.
    seed
        Seed of the landmarks.

    Yields
    ------
    `Progress` in vectors.

    Returns
    -------
    The coordinates, one row per vector in the order of the input; fewer than n where there are fewer different vectors.

    Notes
    -----
    Z_il = exp(-d_il^2 / (s_i s_l)) for the nearest landmarks l of vector i, rows scaled to sum to one, s the local
    scales of Zelnik-Manor & Perona 2004 (s_i: distance to the farthest of the landmarks joined). With L the column sums
    of Z, the eigenvectors of Z L^-1 Z^T, whose rows sum to one, are Z L^(-1/2) V / s from the small eigenproblem
    L^(-1/2) Z^T Z L^(-1/2) V = V s^2: the Nystroem formula for this kernel, at all vectors (Chen & Cai 2011, Large
    scale spectral clustering with landmark-based representation, AAAI 25, doi 10.1609/aaai.v25i1.7900).
    """
    from scipy import sparse
    from scipy.linalg import eigh
    from scipy.spatial.distance import cdist
    from sklearn.neighbors import NearestNeighbors

    landmarks = _landmarks(vectors, order, n_landmarks, seed)
    m = len(landmarks)
    r = min(nearest, m)
    scale = _local_scale(cdist(landmarks, landmarks), neighbor)
    search = NearestNeighbors(n_neighbors=r, algorithm="brute").fit(landmarks)
    columns, weight = np.empty((len(vectors), r), np.int32), np.empty((len(vectors), r), np.float32)
    gram, mass = np.zeros((m, m)), np.zeros(m)
    for start in range(0, len(vectors), _CHUNK):  # in the order of the content, so that all sums are the same
        rows = order[start : start + _CHUNK]
        distance, index = search.kneighbors(vectors[rows])
        near = distance.astype(np.float64)
        joined = np.exp(-(near**2) / (_positive(near[:, -1])[:, None] * scale[index]))
        joined /= joined.sum(axis=1, keepdims=True)
        columns[rows], weight[rows] = index, joined
        part = sparse.csr_array((joined.ravel(), index.ravel(), np.arange(0, joined.size + 1, r)), shape=(len(rows), m))
        gram += (part.T @ part).toarray()
        mass += np.asarray(part.sum(axis=0)).ravel()
        yield Progress(start + len(rows), len(vectors), "Joining ions to landmarks")
    used = np.flatnonzero(mass > 0)
    root = np.sqrt(mass[used])
    small = gram[np.ix_(used, used)] / np.outer(root, root)
    n = min(n, len(used))
    values, modes = eigh(small, subset_by_index=(len(used) - n, len(used) - 1), overwrite_a=True)
    values, modes = values[::-1], modes[:, ::-1]
    extension = np.zeros((m, n), np.float32)
    extension[used] = modes / root[:, None] / np.sqrt(np.maximum(values, _LEAST))
    out = np.zeros((len(vectors), n), np.float32)
    for start in range(0, len(vectors), _CHUNK):
        stop = start + _CHUNK
        out[start:stop] = np.einsum("ir,irk->ik", weight[start:stop], extension[columns[start:stop]])
    return SpectralCoordinates(out, values, m)


def _landmarks(vectors: NDArray[np.float32], order: NDArray[np.int64], n: int, seed: int) -> NDArray[np.float32]:
    """Landmarks seeded by k-means++ (Arthur & Vassilvitskii 2007) in a sample, moved to the middle of their cells."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    sample = vectors[order[: _SAMPLE_PER_LANDMARK * n]]
    seeds, _ = kmeans_plusplus(sample, min(n, len(sample)), random_state=seed, n_local_trials=1)
    seeds = np.unique(seeds, axis=0)
    model = KMeans(len(seeds), init=seeds, n_init=1, max_iter=_LLOYD_STEPS, tol=0).fit(sample)
    return np.unique(np.asarray(model.cluster_centers_, np.float32), axis=0)


def _local_scale(distance: NDArray[np.float64], neighbor: int) -> NDArray[np.float64]:
    """Distance of each row to its neighbor of a number (itself being 0), never 0."""
    at = min(neighbor, len(distance) - 1)
    return _positive(np.partition(distance, at, axis=1)[:, at])


def _positive(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace the scale 0 of a vector among its likes by the smallest one that is not, or 1 where all are alike."""
    above = scale[scale > 0]
    return np.maximum(scale, above.min() if len(above) else 1.0)
