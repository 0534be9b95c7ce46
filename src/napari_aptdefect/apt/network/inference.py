"""Inference: values of all superpoints tile by tile, then embedding, class scores and attention of all ions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from napari_aptdefect.apt.network.model import CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.superpoints import Superpoints
from napari_aptdefect.apt.network.tiles import tiles
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
    nodes = torch.empty(len(points), network.params.width, device=cloud.pooled.device)
    received = np.zeros(len(points), np.float32)
    done = 0
    for core, rows, tile in tiles(network, cloud, points, params.tile_cells):
        yield Progress(50 * done / len(points), 100, f"network: {done:,} of {len(points):,} superpoints")
        values, attention = network.nodes(tile)
        mine = np.searchsorted(rows, core)
        nodes[torch.from_numpy(core).to(nodes.device)] = values[torch.from_numpy(mine).to(values.device)]
        received[core] = _received(tile, attention, len(rows))[mine]
        done += len(core)
    return nodes, received


def _received(cloud: CloudTensors, attention: torch.Tensor, n: int) -> NDArray[np.float32]:
    """Attention that each superpoint receives over what it would receive of neighbors without preference."""
    source, target = cloud.near
    degree = torch.zeros(n, device=attention.device).index_add_(0, target, torch.ones_like(attention))
    given = torch.zeros(n, device=attention.device).index_add_(0, source, attention)
    even = torch.zeros(n, device=attention.device).index_add_(0, source, 1 / degree[target])
    found: NDArray[np.float32] = torch.where(even > 0, given / even.clamp_min(1e-9), 0.0).float().cpu().numpy()
    return found
