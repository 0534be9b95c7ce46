"""Tiles: parts of a cloud with as much around them as the network sees, for inference and for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_aptdefect.apt.network.layers import Relation
from napari_aptdefect.apt.network.model import NEAR, CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.superpoints import Superpoints, part
from napari_aptdefect.apt.network.training import LabeledCloud
from napari_aptdefect.errors import ShapeError


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


def tiles(
    network: DefectNetwork, cloud: CloudTensors, points: Superpoints, most: int, margin: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], CloudTensors]]:
    """Cut a cloud: superpoints of each tile, those together with what the network sees around them, and the tensors.

    Parameters
    ----------
    network
        What sees.
    cloud, points
        The cloud as tensors, and its superpoints.
    most
        Superpoints of a tile, without its surroundings.
    margin
        Cells by which more is wanted around the tile.
    """
    across, along = network.reach_cells
    reach = np.array([across, across, along]) + margin
    for core in tile_rows(points, most):
        low = points.cell[core].min(axis=0) - reach
        high = points.cell[core].max(axis=0) + reach
        rows = np.flatnonzero(((points.cell >= low) & (points.cell <= high)).all(axis=1))
        yield core, rows, _cut(cloud, points, rows)


def labeled_tiles(
    network: DefectNetwork,
    cloud: LabeledCloud,
    points: Superpoints,
    ions: NDArray[np.integer],
    most: int = 200_000,
) -> list[LabeledCloud]:
    """Cut a labeled cloud that is too large for one step of training.

    Parameters
    ----------
    network
        The network, or one of the same architecture, which says how much around a tile it sees.
    cloud
        The cloud, with n labeled ions.
    points
        Its superpoints.
    ions
        Shape (n,): which ions of the cloud the labeled ones are.
    most
        Superpoints of a tile, without its surroundings.

    Returns
    -------
    The tiles that hold labeled ions, each a cloud to train on. Every such ion is in one of them, and its scores, and so
    the cross entropy of all tiles together and its slopes, are those of the whole cloud to the precision of floats.

    Raises
    ------
    ShapeError
        If there is not one ion for each label.
    """
    if len(ions) != len(cloud.label):
        raise ShapeError(f"{len(ions)} ions for {len(cloud.label)} labels")
    member = points.member[np.asarray(ions, np.int64)]
    out = []
    # an ion looks at the superpoints around it, up to one cell beyond its own
    for core, rows, tensors in tiles(network, cloud.tensors, points, most, margin=1):
        place = np.full(len(points), -1, np.int64)
        place[core] = 0
        mine = np.flatnonzero(place[member] == 0)
        if len(mine) == 0:
            continue
        place[rows] = np.arange(len(rows))
        at = torch.from_numpy(mine)
        corner = torch.from_numpy(place)[cloud.tensors.corner[at].cpu()].to(cloud.tensors.corner.device)
        kept = replace(
            tensors,
            features=cloud.tensors.features[at],
            corner=corner,
            weight=cloud.tensors.weight[at],
        )
        out.append(LabeledCloud(kept, cloud.label[at], cloud.stands_for[at]))
    return out


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
