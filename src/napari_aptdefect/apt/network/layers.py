"""Layers: Chebyshev filters whose edges know distance and species, and attention that can be looked at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from napari_aptdefect.data.graph import NeighborGraph


@dataclass(frozen=True, eq=False)
class Relation:
    """One symmetric graph as tensors.

    Parameters
    ----------
    matrix
        Sparse (M, M) of exp(-d^2 / 2 s^2), float32.
    edge_index
        Shape (2, E), int64: source and target of each link.
    length
        Shape (E,), float32: length of each link over s.
    """

    matrix: Tensor
    edge_index: Tensor
    length: Tensor

    @classmethod
    def of(cls, graph: NeighborGraph, device: Any = "cpu", scale: float | None = None) -> Relation:
        """Turn a graph into tensors; the scale s is its mean length unless it is given."""
        if scale is None:
            scale = float(graph.lengths_nm.mean()) if len(graph.lengths_nm) else 1.0
        length = torch.from_numpy((graph.lengths_nm / np.float32(scale)).astype(np.float32))
        indptr, indices = torch.from_numpy(graph.indptr), torch.from_numpy(graph.indices.astype(np.int64))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch says that its sparse rows are in beta
            matrix = torch.sparse_csr_tensor(
                indptr, indices, torch.exp(-(length**2) / 2), (graph.n_nodes, graph.n_nodes), device=device
            )
        target = torch.repeat_interleave(torch.arange(graph.n_nodes), indptr.diff())
        return cls(matrix, torch.stack([indices, target]).to(device), length.to(device))


class _SymmetricProduct(torch.autograd.Function):
    """Product with a symmetric sparse matrix, whose derivative is the same product."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix @ grad[0]


class SpeciesChebyshev(nn.Module):
    """Chebyshev filter on a graph whose edges are weighted by distance and by the species at both ends.

    Parameters
    ----------
    width
        Channels in and out.
    n_species
        Kinds of species whose shares each node has.
    n_relations
        Graphs that are filtered side by side, one for each reach and direction.
    order
        Number K of Chebyshev polynomials; the filter reaches K - 1 links.
    rank
        Rank of the species-pair factor.

    Notes
    -----
    y = Σ_r Σ_k T_k(L̃_r) x Θ_rk (Defferrard et al. 2016, Eqs. 4 and 5, arXiv 1606.09375), with L̃ = -D^-1/2 W D^-1/2,
    that is 2L/λ_max - 1 at λ_max = 2. What is modified is W_ij = exp(-d_ij²/2s²) Σ_q (a_q·c_i)(a_q·c_j): c are the
    shares of the species at a node, a_q learned and positive, so that Σ_q a_q a_qᵀ is a symmetric positive factor for
    each pair of species. Its rank makes W a sum of diagonal times fixed times diagonal matrices: no edge needs a value
    of its own, and the filter costs `rank` sparse products per polynomial.
    """

    def __init__(self, width: int, n_species: int, n_relations: int, order: int = 3, rank: int = 1) -> None:
        super().__init__()
        self.order, self.rank = order, rank
        self.affinity = nn.Parameter(torch.zeros(n_relations, rank, n_species))
        self.mix = nn.Linear(width * (1 + n_relations * (order - 1)), width)

    def pair_factor(self) -> Tensor:
        """Species-pair factors, shape (n_relations, n_species, n_species); all 1 before training, if the rank is 1."""
        a = self._positive()
        return torch.einsum("rqi,rqj->rij", a, a)

    def forward(self, x: Tensor, species: Tensor, relations: Sequence[Relation]) -> Tensor:
        """Filter node values x (M, width), given the shares of the species, (M, n_species)."""
        terms = [x]
        for relation, a in zip(relations, self._positive(), strict=True):
            factor = [(species @ one)[:, None] for one in a]
            degree = sum(f * _SymmetricProduct.apply(relation.matrix, f) for f in factor)
            root = torch.rsqrt(degree.clamp_min(1e-6)) * (degree > 1e-6)
            sides = [f * root for f in factor]
            before, now = x, -self._propagate(x, sides, relation)
            terms.append(now)
            for _ in range(2, self.order):
                before, now = now, -2 * self._propagate(now, sides, relation) - before
                terms.append(now)
        return self.mix(torch.cat(terms, dim=1))

    def _positive(self) -> Tensor:
        return nn.functional.softplus(self.affinity + 0.5413249)  # 1 at 0

    @staticmethod
    def _propagate(x: Tensor, sides: Sequence[Tensor], relation: Relation) -> Tensor:
        """D^-1/2 W D^-1/2 x."""
        parts = [side * _SymmetricProduct.apply(relation.matrix, side * x) for side in sides]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


class Attention(nn.Module):
    """Attention over the near links (GATv2: Brody et al. 2022, arXiv 2105.14491).

    Parameters
    ----------
    width
        Channels in and out, a multiple of the heads.
    heads
        Independent attentions.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = GATv2Conv(width, width // heads, heads=heads, edge_dim=2, add_self_loops=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """Return new node values (M, width) and the attention of each link, (E,), the mean over the heads.

        The links that a node receives sum to one, where it has any.
        """
        out, (_, attention) = self.convolution(self.norm(x), edge_index, edge, return_attention_weights=True)
        return x + out, attention.mean(dim=1)
