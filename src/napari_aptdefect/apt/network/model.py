"""The network: fused features of the ions, filters over superpoints, attention, and back to the ions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_aptdefect.apt.network.layers import Attention, Relation, SpeciesChebyshev
from napari_aptdefect.apt.network.params import NetworkParams
from napari_aptdefect.apt.network.superpoints import RELATIONS, Superpoints
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError, ShapeError

NEAR: Final = (0, 1)
"""Relations over which attention looks."""

SPECIES_KINDS: Final = ("heavier main element", "lighter main element", "dopant", "other")
"""What the species of an ion are sorted into, so that the network can be used on another material."""


class Around(Protocol):
    """Superpoints around ions, and the relations between superpoints."""

    @property
    def corner(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def weight(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def relations(self) -> tuple[NeighborGraph, ...]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class CloudTensors:
    """A cloud as the network takes it.

    Parameters
    ----------
    features
        Shape (N, F), float32: standardized features of the ions, without missing values.
    pooled
        Shape (M, F), float32: their means over the ions of each superpoint.
    crowd
        Shape (M, 1), float32: logarithm of the number of ions over its median.
    species
        Shape (M, 4), float32: shares of the kinds of species.
    corner, weight
        Shape (N, 8), int64 and float32: superpoints around each ion and their weights.
    relations
        Links between the superpoints.
    edge
        Shape (E, 2), float32: length of the near links over their mean, and whether they lead along the axis.
    """

    features: Tensor
    pooled: Tensor
    crowd: Tensor
    species: Tensor
    corner: Tensor
    weight: Tensor
    relations: tuple[Relation, ...]
    edge: Tensor

    @property
    def near(self) -> Tensor:
        """Shape (2, E), int64: the links that attention looks over."""
        return torch.cat([self.relations[i].edge_index for i in NEAR], dim=1)


def to_tensors(
    features: NDArray[np.float32],
    kind: NDArray[np.integer],
    points: Superpoints,
    device: Any = "cpu",
    *,
    pooled: NDArray[np.float32] | None = None,
) -> CloudTensors:
    """Make tensors of a cloud.

    Parameters
    ----------
    features
        Standardized features, shape (N, F), float32, without missing values.
    kind
        Shape (N,): row of `SPECIES_KINDS` of each ion.
    points
        Its superpoints.
    device
        Where the tensors shall be.
    pooled
        Features of the superpoints, shape (M, F), float32; the means of `features` when None.

    Raises
    ------
    ShapeError
        If the inputs do not describe the same ions.
    """
    n = len(points.member)
    if len(features) != n or len(kind) != n:
        raise ShapeError(f"superpoints of {n} ions with features of {len(features)} and species of {len(kind)}")
    mean = points.mean(features) if pooled is None else pooled
    return tensors_of(features, mean, points.n_ions, species_shares(kind, points), points, device)


def species_shares(kind: NDArray[np.integer], points: Superpoints) -> NDArray[np.float32]:
    """Shares of the kinds of species in each superpoint, shape (M, 4), float32."""
    counts = [np.bincount(points.member[kind == k], minlength=len(points)) for k in range(len(SPECIES_KINDS))]
    return (np.stack(counts, axis=1) / points.n_ions[:, None]).astype(np.float32)


def tensors_of(
    features: NDArray[np.floating],
    pooled: NDArray[np.float32],
    n_ions: NDArray[np.integer],
    shares: NDArray[np.float32],
    around: Around,
    device: Any = "cpu",
) -> CloudTensors:
    """Make tensors of what is known of the superpoints and of all or some of their ions.

    Parameters
    ----------
    features
        Standardized features of the ions, shape (n, F).
    pooled, n_ions, shares
        Features, number of ions and `species_shares` of the M superpoints.
    around
        Corners and weights of these ions, and the relations of the superpoints.
    device
        Where the tensors shall be.
    """
    crowd = np.log(n_ions / np.median(n_ions)).astype(np.float32)[:, None]
    return CloudTensors(
        torch.from_numpy(np.ascontiguousarray(features)).to(device),
        torch.from_numpy(np.ascontiguousarray(pooled)).to(device),
        torch.from_numpy(crowd).to(device),
        torch.from_numpy(shares).to(device),
        torch.from_numpy(around.corner.astype(np.int64)).to(device),
        torch.from_numpy(np.ascontiguousarray(around.weight, np.float32)).to(device),
        *_links(around.relations, device),
    )


def _links(graphs: Sequence[NeighborGraph], device: Any) -> tuple[tuple[Relation, ...], Tensor]:
    relations = tuple(Relation.of(graph, device) for graph in graphs)
    edge = [
        torch.stack([relations[i].length, torch.full_like(relations[i].length, float(which))], dim=1)
        for which, i in enumerate(NEAR)
    ]
    return relations, torch.cat(edge)


class DefectNetwork(nn.Module):
    """Fused features, Chebyshev filters over superpoints, attention, and an embedding for each ion.

    Parameters
    ----------
    sets
        Columns of each feature set among the features: name of the set to its columns.
    n_classes
        Classes to tell apart, the matrix first.
    params
        The architecture.

    Raises
    ------
    ParameterError
        If a set has no columns, or the width is no multiple of the heads.
    """

    def __init__(self, sets: Mapping[str, Sequence[int]], n_classes: int, params: NetworkParams | None = None) -> None:
        super().__init__()
        self.params = params = params or NetworkParams()
        empty = [name for name, columns in sets.items() if not columns]
        if empty or not sets:
            raise ParameterError(f"feature sets without columns: {', '.join(empty) or 'all'}; leave them out")
        if params.width % params.heads:
            raise ParameterError(f"a width of {params.width} is no multiple of {params.heads} heads")
        self.set_names = tuple(sets)
        for name, columns in sets.items():
            self.register_buffer(f"columns_{name}", torch.tensor(list(columns), dtype=torch.int64))
        self.projections = nn.ModuleList([nn.Linear(len(columns), params.width) for columns in sets.values()])
        self.log_weights = nn.Parameter(torch.zeros(len(sets)))
        fused = params.width if params.fusion == "sum" else params.width * len(sets)
        self.hide = nn.Dropout(params.dropout)
        self.enter = nn.Sequential(nn.Linear(fused + 1, params.width), nn.GELU(), nn.Linear(params.width, params.width))
        self.norms = nn.ModuleList([nn.LayerNorm(params.width) for _ in range(params.n_layers)])
        self.filters = nn.ModuleList(
            [
                SpeciesChebyshev(params.width, len(SPECIES_KINDS), len(RELATIONS), params.order, params.rank)
                for _ in range(params.n_layers)
            ]
        )
        self.mixers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.LayerNorm(params.width),
                    nn.Linear(params.width, 2 * params.width),
                    nn.GELU(),
                    nn.Linear(2 * params.width, params.width),
                )
                for _ in range(params.n_layers)
            ]
        )
        self.attention = Attention(params.width, params.heads)
        self.leave = nn.Sequential(
            nn.Dropout(params.dropout),
            nn.Linear(fused + params.width, 2 * params.width),
            nn.GELU(),
            nn.Linear(2 * params.width, params.embedding),
            nn.GELU(),
        )
        self.head = nn.Linear(params.embedding, n_classes)

    @property
    def weights(self) -> Tensor:
        """Weights of the feature sets, positive, summing to one."""
        return torch.softmax(self.log_weights, dim=0)

    @property
    def reach_cells(self) -> tuple[int, int]:
        """How far a node sees, in cells across and along the axis: what a tile needs around it."""
        across = max(abs(i) for steps in RELATIONS.values() for i, _, _ in steps)
        along = max(abs(k) for steps in RELATIONS.values() for _, _, k in steps)
        # one more link for each filter, since the degrees of its outermost nodes must be whole; one for attention
        hops = self.params.n_layers * self.params.order
        return hops * across + 1, hops * along + 2

    def fuse(self, features: Tensor) -> Tensor:
        """Fused features F, shape (n, width): the weighted sum of the projected sets, or the sets side by side."""
        projected = [
            projection(features[:, getattr(self, f"columns_{name}")])
            for name, projection in zip(self.set_names, self.projections, strict=True)
        ]
        if self.params.fusion == "concatenate":
            return torch.cat(projected, dim=1)
        return torch.stack([w * p for w, p in zip(self.weights, projected, strict=True)]).sum(dim=0)

    def nodes(self, cloud: CloudTensors) -> tuple[Tensor, Tensor]:
        """Values of the superpoints, shape (M, width), and the attention of each near link, shape (E,)."""
        x = self.enter(torch.cat([self.fuse(self.hide(cloud.pooled)), cloud.crowd], dim=1))
        for norm, convolve, mix in zip(self.norms, self.filters, self.mixers, strict=True):
            x = x + nn.functional.gelu(convolve(norm(x), cloud.species, cloud.relations))
            x = x + mix(x)
        found: tuple[Tensor, Tensor] = self.attention(x, cloud.near, cloud.edge)
        return found

    def embed(self, cloud: CloudTensors, nodes: Tensor, rows: Tensor) -> Tensor:
        """Embedding of some ions, shape (n, embedding), from the values of the superpoints around them."""
        around = (nodes[cloud.corner[rows]] * cloud.weight[rows][:, :, None]).sum(dim=1)
        own = nn.functional.gelu(self.fuse(self.hide(cloud.features[rows])))
        return self.leave(torch.cat([own, around], dim=1))

    def forward(self, cloud: CloudTensors, rows: Tensor) -> Tensor:
        """Scores of the classes for some ions, shape (n, n_classes), before the sigmoid or the softmax."""
        nodes, _ = self.nodes(cloud)
        return self.head(self.embed(cloud, nodes, rows))
