"""The ions whose bonds and rings are counted: those asked for, or a seeded sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError


def centers(graph: NeighborGraph, ions: ArrayLike | None, n_sample: int, seed: int) -> NDArray[np.int64]:
    """Return the ions asked for, or else n_sample ions drawn with the seed, ascending; all where they are no more.

    Raises
    ------
    ParameterError
        If an ion asked for does not exist or the sample is empty.
    """
    if ions is not None:
        chosen = np.asarray(ions, np.int64).ravel()
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= graph.n_nodes):
            raise ParameterError(f"ions must be indices from 0 to {graph.n_nodes - 1}")
        return chosen
    if n_sample < 1:
        raise ParameterError(f"n_sample must be at least 1, got {n_sample}")
    if n_sample >= graph.n_nodes:
        return np.arange(graph.n_nodes)
    return np.sort(np.random.default_rng(seed).choice(graph.n_nodes, n_sample, replace=False))
