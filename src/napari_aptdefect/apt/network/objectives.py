"""What a network can be trained for without labels: infomax, modularity, and two views that agree.

All three are losses of the embedding of ions, which the network makes of an ion's own features and of the superpoints
around it. So every part of the network that makes embeddings is trained, and the ions are where the loss is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from napari_aptdefect.apt.network.epochs import ions_of
from napari_aptdefect.apt.network.layers import Relation
from napari_aptdefect.apt.network.model import NEAR, CloudTensors, DefectNetwork

_SPREAD: Final = 10.0
"""Gain of the first scores of clusters: evenly shared clusters are a saddle of modularity that is hard to leave."""


class Objective(nn.Module):
    """A network, with what its objective needs beside it.

    Parameters
    ----------
    network
        The network.
    """

    def __init__(self, network: DefectNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, cloud: CloudTensors, generator: torch.Generator) -> Tensor:
        """Loss of a cloud, a number; what is drawn comes from the generator, which lives on the CPU."""
        raise NotImplementedError

    def embed(self, cloud: CloudTensors) -> Tensor:
        """Embedding of all ions that the tensors hold, shape (n, embedding)."""
        nodes, _ = self.network.nodes(cloud)
        found: Tensor = self.network.embed(cloud, nodes, torch.arange(len(cloud.features), device=nodes.device))
        return found


class Infomax(Objective):
    """Deep graph infomax: tell ions of the cloud from ions of a shuffled cloud by their fit to a summary of the cloud.

    Parameters
    ----------
    network
        The network.
    n_ions
        Ions drawn at each step.

    Notes
    -----
    The shuffled cloud has the same links, but the features of other superpoints and of other ions, drawn anew each time
    (Veličković et al. 2019, arXiv 1809.10341).
    """

    def __init__(self, network: DefectNetwork, n_ions: int) -> None:
        super().__init__(network)
        self.n_ions = n_ions
        self.bilinear = nn.Parameter(torch.empty(network.params.embedding, network.params.embedding))
        nn.init.xavier_uniform_(self.bilinear)

    def forward(self, cloud: CloudTensors, generator: torch.Generator) -> Tensor:
        """Draw ions, shuffle, and compare."""
        some = ions_of(cloud, _draw(len(cloud.features), self.n_ions, cloud, generator))
        cells = _draw(len(some.pooled), len(some.pooled), cloud, generator)
        ions = _draw(len(some.features), len(some.features), cloud, generator)
        shuffled = replace(some, pooled=some.pooled[cells], crowd=some.crowd[cells], features=some.features[ions])
        return infomax_loss(self.embed(some), self.embed(shuffled), self.bilinear)


class Modularity(Objective):
    """Deep modularity network: clusters of superpoints with many links within, none of them holding all.

    Parameters
    ----------
    network
        The network; its scores are those of the clusters.
    collapse
        Weight of the second term.

    Notes
    -----
    One ion of each superpoint, drawn anew each time, stands for it.
    """

    def __init__(self, network: DefectNetwork, collapse: float) -> None:
        super().__init__(network)
        self.collapse = collapse
        nn.init.orthogonal_(network.head.weight, gain=_SPREAD)

    def forward(self, cloud: CloudTensors, generator: torch.Generator) -> Tensor:
        """Draw an ion of each superpoint and assign it to clusters."""
        rows, cells = _one_per_cell(cloud, generator)
        scores = self.network.head(self.network.hide(self.embed(ions_of(cloud, rows))))
        share = torch.zeros(len(cloud.pooled), scores.shape[1], device=scores.device)
        share = share.index_copy(0, cells, torch.softmax(scores, dim=1))
        held = torch.zeros(len(cloud.pooled), device=scores.device).index_fill(0, cells, 1.0)
        return modularity_loss(share, [cloud.relations[i] for i in NEAR], held, self.collapse)


class Views(Objective):
    """Two views of each superpoint, by two of its ions, in each of which other features are hidden, shall say the same.

    Parameters
    ----------
    network
        The network.
    n_ions
        Ions drawn for each view at most.
    hidden
        Share of the columns that a view hides, of the superpoints that it hides with their links, and of the ions whose
        own features it hides.

    Notes
    -----
    No negatives are needed, so the cost grows with the number of ions, not with its square (Bielak et al. 2022,
    doi 10.1016/j.knosys.2022.109631). One ion seen twice would be known again by its own noise.
    """

    def __init__(self, network: DefectNetwork, n_ions: int, hidden: float) -> None:
        super().__init__(network)
        self.n_ions, self.hidden = n_ions, hidden

    def forward(self, cloud: CloudTensors, generator: torch.Generator) -> Tensor:
        """Draw ions, look at their superpoints twice, and compare."""
        first, cells = _one_per_cell(cloud, generator)
        second, _ = _one_per_cell(cloud, generator)
        some = _draw(len(cells), self.n_ions, cloud, generator)
        views = [self._view(ions_of(cloud, rows[some]), generator) for rows in (first, second)]
        return agreement_loss(*(self.embed(view) for view in views))

    def _view(self, cloud: CloudTensors, generator: torch.Generator) -> CloudTensors:
        def seen(*shape: int) -> Tensor:
            return (torch.rand(*shape, generator=generator) >= self.hidden).float().to(cloud.pooled.device)

        columns, cells = seen(cloud.pooled.shape[1]), seen(len(cloud.pooled), 1)
        return replace(
            cloud,
            pooled=cloud.pooled * columns * cells,
            crowd=cloud.crowd * cells,
            species=cloud.species * cells,  # filters weight a link by the species at its ends: none, no link
            features=cloud.features * columns * seen(len(cloud.features), 1),
        )


def infomax_loss(real: Tensor, shuffled: Tensor, bilinear: Tensor) -> Tensor:
    """Cross entropy of telling embeddings of a cloud from those of a shuffled one.

    Parameters
    ----------
    real, shuffled
        Shape (n, d).
    bilinear
        Shape (d, d): W.

    Notes
    -----
    -mean(ln D(h, s)) - mean(ln(1 - D(h', s))), with D(h, s) = σ(h·W s) and the summary s = σ(mean h): the objective of
    Veličković et al. 2019 (arXiv 1809.10341), each half a mean of its own.
    """
    summary = bilinear @ torch.sigmoid(real.mean(dim=0))
    return nn.functional.softplus(-(real @ summary)).mean() + nn.functional.softplus(shuffled @ summary).mean()


def modularity_loss(share: Tensor, relations: Sequence[Relation], held: Tensor, collapse: float) -> Tensor:
    """Negative modularity of soft clusters, plus what keeps them from being one.

    Parameters
    ----------
    share
        Shape (M, k): share of each cluster in each node, C; rows that sum to one, or to zero where `held` is 0.
    relations
        Symmetric graphs over the nodes, whose weights A are added up.
    held
        Shape (M,): 1 for nodes that count, 0 for those that are left out with their links.
    collapse
        Weight of the second term.

    Notes
    -----
    -tr(Cᵀ B C) / 2m + collapse (√k / n ‖Σ_i C_i‖ - 1), with B = A - d dᵀ / 2m and the degrees d (Tsitsulin et al. 2023,
    JMLR 24:127, there with collapse = 1). tr(Cᵀ A C) - ‖Cᵀ d‖² / 2m needs sparse products only. The second term is 0
    where the clusters are equally large and √k - 1 where one has all.
    """
    linked = [relation.matrix @ torch.cat([share, held[:, None]], dim=1) for relation in relations]
    reached = torch.stack(linked).sum(dim=0)
    degree = reached[:, -1] * held
    total = degree.sum().clamp_min(1e-9)
    modularity = ((share * reached[:, :-1]).sum() - (share.T @ degree).square().sum() / total) / total
    size = torch.linalg.vector_norm(share.sum(dim=0)) / held.sum()
    penalty: Tensor = share.shape[1] ** 0.5 * size - 1
    return collapse * penalty - modularity


def agreement_loss(first: Tensor, second: Tensor) -> Tensor:
    """How far the correlations between two embeddings of the same ions are from the identity.

    Parameters
    ----------
    first, second
        Shape (n, d).

    Notes
    -----
    (Σ_i (1 - R_ii)² + λ Σ_i≠j R_ij²) / d, with R the correlations between the columns of the two and λ = 1/d (Zbontar
    et al. 2021, arXiv 2103.03230; on graphs Bielak et al. 2022, doi 10.1016/j.knosys.2022.109631).
    """
    d = first.shape[1]
    correlation = _standard(first).T @ _standard(second) / len(first)
    same = torch.eye(d, device=first.device)
    square = (same - correlation).square()
    return (square * (same + (1 - same) / d)).sum() / d


def _standard(x: Tensor) -> Tensor:
    x = x - x.mean(dim=0)
    return x * torch.rsqrt(x.square().mean(dim=0) + 1e-6)


def _draw(n: int, most: int, cloud: CloudTensors, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[:most].to(cloud.features.device)


def _one_per_cell(cloud: CloudTensors, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """An ion of each superpoint that holds any, and the superpoint."""
    order = _draw(len(cloud.features), len(cloud.features), cloud, generator)
    corner, weight = cloud.corner[order], cloud.weight[order]
    own = corner.gather(1, weight.argmax(dim=1, keepdim=True))[:, 0]  # no center is nearer than that of its own cell
    cells, sort = torch.sort(own, stable=True)
    first = torch.ones_like(cells, dtype=torch.bool)
    first[1:] = cells[1:] != cells[:-1]
    return order[sort[first]], cells[first]
