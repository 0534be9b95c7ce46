"""Weights of the edges, from their length and from the species they join."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError, ShapeError


def edge_weights(
    graph: NeighborGraph, scale_nm: float, species: ArrayLike | None = None, pair_factor: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Weigh each edge: a Gaussian of its length, times a factor of its pair of species.

    Parameters
    ----------
    graph
        The graph.
    scale_nm
        Length s at which the weight has fallen to exp(-1/2), nm.
    species
        Shape (N,), integers from 0 to K - 1; -1 (unranged) for ions whose edges get the weight 0.
    pair_factor
        Shape (K, K): factor of each pair of species, row: the ion, column: its neighbor. Comes with `species`.

    Returns
    -------
    Shape (E,), float32, in the order of the edges: ``w = f[a, b] exp(-d^2 / 2 s^2)``, for `NeighborGraph.matrix`.

    Raises
    ------
    ParameterError
        If the scale is not positive, only one of species and factors is given, or a species has no factor.
    ShapeError
        If there is not one species per ion or the factors are not a square matrix.

    Examples
    --------
    >>> graph = NeighborGraph(np.array([0, 1, 2]), np.array([1, 0], np.int32), np.array([0.2, 0.2], np.float32))
    >>> edge_weights(graph, 0.2, [0, 1], [[1.0, 2.0], [0.5, 1.0]]).round(4).tolist()
    [1.2130999565124512, 0.30329999327659607]
    """
    if not scale_nm > 0:
        raise ParameterError(f"scale_nm must be positive, got {scale_nm}")
    if (species is None) != (pair_factor is None):
        raise ParameterError("give species and pair_factor together, or neither")
    weights: NDArray[np.float32] = np.exp(np.float32(-0.5 / scale_nm**2) * graph.lengths_nm**2)
    if species is None or pair_factor is None:
        return weights
    kind = as_vector(species, "species", length=graph.n_nodes, dtype=np.int32)
    factor = np.asarray(pair_factor, np.float32)
    if factor.ndim != 2 or factor.shape[0] != factor.shape[1]:
        raise ShapeError(f"pair_factor must be a square matrix, one row per species, got shape {factor.shape}")
    if kind.max(initial=-1) >= len(factor) or kind.min(initial=0) < -1:
        raise ParameterError(
            f"species must be -1 or a row of pair_factor, 0 to {len(factor) - 1}, got {kind.min()} to {kind.max()}"
        )
    ranged = np.pad(factor, (0, 1))  # -1 takes the last row and column
    weights *= ranged[np.repeat(kind, graph.degree), kind[graph.indices]]
    return weights
