"""The neighbor graph: who is near whom, computed once and shared by all analyses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_aptdefect.errors import ShapeError


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """Directed neighbor lists in compressed sparse rows; a symmetric graph holds each edge in both directions.

    Parameters
    ----------
    indptr
        Shape (N + 1,), int64: neighbors of node i are ``indices[indptr[i]:indptr[i + 1]]``, nearest first.
    indices
        Shape (E,), int32, node indices.
    lengths_nm
        Shape (E,), float32, edge lengths, nm.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    lengths_nm: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.indptr.ndim != 1 or self.indptr[-1] != len(self.indices) or len(self.indices) != len(self.lengths_nm):
            raise ShapeError(
                f"neighbor graph arrays disagree: indptr ends at {self.indptr[-1] if self.indptr.size else 'nothing'}, "
                f"{len(self.indices)} indices, {len(self.lengths_nm)} lengths"
            )

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @property
    def degree(self) -> NDArray[np.int64]:
        """Number of neighbors of each node, shape (N,)."""
        return np.diff(self.indptr)

    def matrix(self, values: NDArray[Any] | None = None) -> sparse.csr_array:
        """Sparse (N, N) matrix with the given edge values (ones by default), float32; shares the indices."""
        data = np.ones(len(self.indices), np.float32) if values is None else values
        return sparse.csr_array((data, self.indices, self.indptr), shape=(self.n_nodes, self.n_nodes))
