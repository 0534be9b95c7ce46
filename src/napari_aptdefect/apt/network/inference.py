"""Inference: values of all superpoints tile by tile, then embedding, class scores and attention of all ions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from napari_aptdefect.apt.network.layers import Relation
from napari_aptdefect.apt.network.model import NEAR, CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.superpoints import Superpoints, part
from napari_aptdefect.stage import Params, Progress, Stage, param

_IONS: Final = 1 << 16


class InferenceParams(Params):
    """How much is computed at once."""

    tile_cells: int = param(
        200_000,
        title="Superpoints per tile",
        description="Larger clouds are cut in tiles with as much around them as the network sees, one after the other. "
        "The result does not depend on it.",
        ge=100,
        le=100_000_000,
    )


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the network says of all ions.

    Parameters
    ----------
    scores
        Shape (N, n_classes), float32, before sigmoid or softmax.
    embedding
        Shape (N, embedding), float32.
    attention
        Shape (N,), float32: attention that the ion's superpoint receives from its neighbors, over what it would receive
        if all of them looked everywhere alike. Large where the network looks to decide about the surroundings.
    """

    scores: NDArray[np.float32]
    embedding: NDArray[np.float32]
    attention: NDArray[np.float32]


def infer(
    network: DefectNetwork, cloud: CloudTensors, points: Superpoints, params: InferenceParams | None = None
) -> Stage[Inferred]:
    """Run a network on a cloud.

    Parameters
    ----------
    network
        The network.
    cloud, points
        The cloud as tensors, and its superpoints.
    params
        Size of the tiles; the default when None.

    Yields
    ------
    `Progress`; closing the generator cancels.
    """
    params = params or InferenceParams()
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            nodes, attention = yield from _nodes(network, cloud, points, params)
            n = len(points.member)
            scores = np.empty((n, network.head.out_features), np.float32)
            embedding = np.empty((n, network.head.in_features), np.float32)
            for start in range(0, n, _IONS):
                yield Progress(50 + 50 * start / max(n, 1), 100, "network: ions")
                rows = torch.arange(start, min(start + _IONS, n), device=nodes.device)
                found = network.embed(cloud, nodes, rows)
                embedding[start : start + _IONS] = found.cpu().numpy()
                scores[start : start + _IONS] = network.head(found).cpu().numpy()
    finally:
        network.train(was_training)
    return Inferred(scores, embedding, attention[points.member])


def _nodes(
    network: DefectNetwork, cloud: CloudTensors, points: Superpoints, params: InferenceParams
) -> Stage[tuple[torch.Tensor, NDArray[np.float32]]]:
    """Values of all superpoints and the attention that each receives."""
    if len(points) <= params.tile_cells:
        yield Progress(0, 100, "network: superpoints")
        nodes, attention = network.nodes(cloud)
        return nodes, _received(cloud, attention, len(points))
    across, along = network.reach_cells
    reach = np.array([across, across, along])
    nodes = torch.empty(len(points), network.params.width, device=cloud.pooled.device)
    received = np.zeros(len(points), np.float32)
    tiles = list(tile_rows(points, params.tile_cells))
    for done, core in enumerate(tiles):
        yield Progress(50 * done / len(tiles), 100, f"network: tile {done + 1} of {len(tiles)}")
        low = points.cell[core].min(axis=0) - reach
        high = points.cell[core].max(axis=0) + reach
        rows = np.flatnonzero(((points.cell >= low) & (points.cell <= high)).all(axis=1))
        tile = _cut(cloud, points, rows)
        values, attention = network.nodes(tile)
        mine = np.searchsorted(rows, core)
        nodes[torch.from_numpy(core).to(nodes.device)] = values[torch.from_numpy(mine).to(values.device)]
        received[core] = _received(tile, attention, len(rows))[mine]
    return nodes, received


def tile_rows(points: Superpoints, most: int) -> list[NDArray[np.int64]]:
    """Superpoints of each tile: boxes cut in two across their longest side until none has more than `most`."""
    waiting, done = [np.arange(len(points))], []
    while waiting:
        rows = waiting.pop()
        if len(rows) <= most:
            done.append(rows)
            continue
        cell = points.cell[rows]
        side = int(np.argmax(np.ptp(cell, axis=0)))
        middle = np.median(cell[:, side])
        lower = cell[:, side] <= middle
        if lower.all():
            lower = cell[:, side] < middle
        waiting += [rows[~lower], rows[lower]]
    return done


def _cut(cloud: CloudTensors, points: Superpoints, rows: NDArray[np.integer]) -> CloudTensors:
    """The superpoints of some rows, with the links between them; lengths keep their unit."""
    device = cloud.pooled.device
    relations = []
    for whole, graph in zip(points.relations, part(points, rows), strict=True):
        scale = np.float32(whole.lengths_nm.mean() if len(whole.lengths_nm) else 1.0)
        relations.append(Relation.of(replace(graph, lengths_nm=graph.lengths_nm / scale), device, scale=1.0))
    edge = torch.cat(
        [
            torch.stack([relations[i].length, torch.full_like(relations[i].length, float(which))], dim=1)
            for which, i in enumerate(NEAR)
        ]
    )
    at = torch.from_numpy(np.asarray(rows, np.int64)).to(device)
    return replace(
        cloud,
        pooled=cloud.pooled[at],
        crowd=cloud.crowd[at],
        species=cloud.species[at],
        relations=tuple(relations),
        edge=edge,
    )


def _received(cloud: CloudTensors, attention: torch.Tensor, n: int) -> NDArray[np.float32]:
    """Attention that each superpoint receives over what it would receive of neighbors without preference."""
    source, target = cloud.near
    degree = torch.zeros(n, device=attention.device).index_add_(0, target, torch.ones_like(attention))
    given = torch.zeros(n, device=attention.device).index_add_(0, source, attention)
    even = torch.zeros(n, device=attention.device).index_add_(0, source, 1 / degree[target])
    found: NDArray[np.float32] = torch.where(even > 0, given / even.clamp_min(1e-9), 0.0).float().cpu().numpy()
    return found
