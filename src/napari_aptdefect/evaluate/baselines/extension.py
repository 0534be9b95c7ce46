"""From the points that were clustered to all ions: subsamples, and the nearest label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def subsample(n: int, max_points: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `max_points` of n rows at random, ascending; all of them where they are no more."""
    if n <= max_points:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 0x5B]).choice(n, max_points, replace=False))


def nearest_label(
    fitted: NDArray[np.float32], label: NDArray[np.int32], points: NDArray[np.float32], reach: float
) -> NDArray[np.int32]:
    """Label of the nearest fitted point of each point, -1 where none lies within the reach; shape (M,), int32.

    Parameters
    ----------
    fitted
        Shape (K, D).
    label
        Shape (K,); -1 is a label like the others.
    points
        Shape (M, D).
    reach
        Largest distance, in the units of the points.
    """
    from sklearn.neighbors import NearestNeighbors

    out = np.full(len(points), -1, np.int32)
    if len(fitted) and len(points):
        distance, index = NearestNeighbors(n_neighbors=1).fit(fitted).kneighbors(points)
        near = distance[:, 0] <= reach
        out[near] = label[index[near, 0]]
    return out


def renumbered(label: NDArray[np.integer]) -> NDArray[np.int32]:
    """Number labels from 0 without gaps, the largest first; negative ones become -1."""
    out = np.full(len(label), -1, np.int32)
    kept = label >= 0
    if kept.any():
        _, inverse, size = np.unique(label[kept], return_inverse=True, return_counts=True)
        place = np.empty(len(size), np.int32)
        place[np.argsort(-size, kind="stable")] = np.arange(len(size))
        out[kept] = place[inverse]
    return out
