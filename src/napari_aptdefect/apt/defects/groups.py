"""Connected groups of ions that stand out, and the parts they consist of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from napari_aptdefect.apt.defects.model import DefectsParams
from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.data.components import connected_kinds

_STEPS = 3
_RAG = 0.01  # a part with less than this share of the ions of the largest part of its group is a torn-off edge


def around(links: sparse.csr_array, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ions within a few steps along the graph, about as far as the kernels of the features reach."""
    reached = rows
    for _ in range(_STEPS):
        reached = np.union1d(reached, links[reached].indices)
    return reached


def cores(
    graph: NeighborGraph, rows: NDArray[np.int64], strength: NDArray[np.float32], params: DefectsParams
) -> list[NDArray[np.int64]]:
    """Parts of a group above a share of their height, largest first: what touches only by blurred rims separates.

    Each part is measured by its own height again, until it stays as it is.
    """
    links = graph.matrix()
    waiting, done = [rows], []
    while waiting:
        part = waiting.pop()
        if len(part) < params.min_ions:
            continue
        core = part[strength[part] >= params.core_level * np.percentile(strength[part], 95)]
        pieces = connected(links, core)
        if len(core) == len(part) and len(pieces) == 1:
            done.append(part)
        else:
            waiting += pieces
    done.sort(key=lambda part: (-len(part), int(part[0])))
    return [part for part in done if len(part) >= _RAG * len(done[0])]


def connected(links: sparse.csr_array, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Connected parts of some ions."""
    if len(rows) == 0:
        return []
    n, label = csgraph.connected_components(links[rows][:, rows], directed=False)
    return np.split(rows[np.argsort(label, kind="stable")], np.cumsum(np.bincount(label, minlength=n))[:-1])


def connected_groups(
    graph: NeighborGraph, nature: NDArray[np.int16], anomaly: NDArray[np.float32], threshold: float
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    """Connected groups of ions of one nature that stand out, single ions too: their rows and masses."""
    rows = np.flatnonzero(nature >= 0)
    if len(rows) == 0:
        return [], np.zeros(0)
    label = connected_kinds(graph, nature)[rows] - 1
    size = np.bincount(label)
    mass = np.bincount(label, (anomaly[rows] - threshold).astype(np.float64)).astype(np.float64)
    members = np.split(rows[np.argsort(label, kind="stable")], np.cumsum(size)[:-1])
    return list(members), mass
