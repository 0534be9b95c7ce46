"""The order and reachability of points that OPTICS sorts, compiled: scikit-learn's takes a millisecond per point."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_DECIMALS = 1e15  # scikit-learn rounds to these, so that equal distances stay equal


def optics_labels(
    points: NDArray[np.float32], min_samples: int, max_eps: float, xi: float, min_cluster_size: int
) -> NDArray[np.int32]:
    """Cluster points by OPTICS and steepness; the same as scikit-learn's `OPTICS`.

    Parameters
    ----------
    points
        Shape (n, D).
    min_samples
        Neighbors of a core point, itself included.
    max_eps
        Largest reachability, in the units of the points.
    xi
        Relative drop of reachability at the border of a cluster.
    min_cluster_size
        Points in a cluster at least.

    Returns
    -------
    Shape (n,), int32; -1 for noise.

    Notes
    -----
    The order is found here by comparing all pairs, and needs no memory for neighbors; clusters are read off it by
    scikit-learn's `cluster_optics_xi`.

    References
    ----------
    Ankerst et al. 1999, doi 10.1145/304182.304187, figures 5 and 19.
    """
    from sklearn.cluster import cluster_optics_xi
    from sklearn.neighbors import NearestNeighbors

    if len(points) < max(min_samples, min_cluster_size, 2):
        return np.full(len(points), -1, np.int32)
    x = np.ascontiguousarray(points, np.float64)
    core = NearestNeighbors(n_neighbors=min_samples).fit(x).kneighbors(x)[0][:, -1]
    core = np.where(core > max_eps, np.inf, np.rint(core * _DECIMALS) / _DECIMALS)
    order, reach, before = _walk(x, core, max_eps)
    if np.isinf(reach).all():
        return np.full(len(points), -1, np.int32)
    with np.errstate(invalid="ignore"):  # ratios of infinite reachabilities, which are no border
        label, _ = cluster_optics_xi(
            reachability=reach,
            predecessor=before,
            ordering=order,
            min_samples=min_samples,
            min_cluster_size=min_cluster_size,
            xi=xi,
        )
    return np.asarray(label, np.int32)


@njit(cache=True, nogil=True)
def _walk(
    x: NDArray[np.float64], core: NDArray[np.float64], max_eps: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Order of the points, the reachability of each, and the point each was reached from."""
    n, width = x.shape
    order = np.empty(n, np.int64)
    reach = np.full(n, np.inf)
    before = np.full(n, -1, np.int64)
    left = np.arange(n)
    n_left = n
    for place in range(n):
        nearest = 0
        for k in range(1, n_left):
            a, b = reach[left[k]], reach[left[nearest]]
            if a < b or (a == b and left[k] < left[nearest]):
                nearest = k
        point = left[nearest]
        order[place] = point
        n_left -= 1
        left[nearest] = left[n_left]
        if core[point] == np.inf:
            continue
        for k in range(n_left):
            other = left[k]
            square = 0.0
            for axis in range(width):
                square += (x[point, axis] - x[other, axis]) ** 2
            if square <= max_eps * max_eps:
                distance = max(math.sqrt(square), core[point])
                distance = np.rint(distance * _DECIMALS) / _DECIMALS
                if distance < reach[other]:
                    reach[other] = distance
                    before[other] = point
    return order, reach, before
