"""Envelope and erosion: which of the ions around clustered ones belong to the cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def enveloped(
    xyz_nm: NDArray[np.float32],
    rows: NDArray[np.int64],
    label: NDArray[np.int32],
    envelope_nm: float,
    *,
    workers: int = 1,
) -> NDArray[np.int32]:
    """Give all ions around clustered ones the label of the nearest of them.

    Parameters
    ----------
    xyz_nm
        Positions of all ions, shape (N, 3), nm, finite.
    rows
        Ions that were clustered, shape (M,).
    label
        Their cluster, shape (M,); -1 for none.
    envelope_nm
        Distance up to which ions join, nm; 0 for none.
    workers
        Number of threads; the result does not depend on it.

    Returns
    -------
    Cluster of each ion, shape (N,), int32; -1 for none.
    """
    out = np.full(len(xyz_nm), -1, np.int32)
    clustered = label >= 0
    if not clustered.any():
        return out
    core = rows[clustered]
    if envelope_nm > 0:
        limit = np.nextafter(envelope_nm, np.inf)
        distance, index = cKDTree(xyz_nm[core]).query(xyz_nm, distance_upper_bound=limit, workers=workers)
        near = np.isfinite(distance)
        out[near] = label[clustered][index[near]]
    out[core] = label[clustered]
    return out


def eroded(
    xyz_nm: NDArray[np.float32],
    label: NDArray[np.int32],
    core: NDArray[np.bool_],
    erosion_nm: float,
    *,
    workers: int = 1,
) -> NDArray[np.int32]:
    """Take enveloped ions that are close to an ion outside off their cluster; core ions stay.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm, finite.
    label
        Cluster of each ion after the envelope, shape (N,); -1 for none.
    core
        Which ions are core ions, shape (N,).
    erosion_nm
        Distance from an ion outside up to which ions leave, nm; 0 for none.
    workers
        Number of threads; the result does not depend on it.

    Returns
    -------
    Cluster of each ion, shape (N,), int32; -1 for none.
    """
    joined, outside = np.flatnonzero((label >= 0) & ~core), np.flatnonzero(label < 0)
    out = label.copy()
    if erosion_nm > 0 and len(joined) and len(outside):
        limit = np.nextafter(erosion_nm, np.inf)
        distance, _ = cKDTree(xyz_nm[outside]).query(xyz_nm[joined], distance_upper_bound=limit, workers=workers)
        out[joined[np.isfinite(distance)]] = -1
    return out
