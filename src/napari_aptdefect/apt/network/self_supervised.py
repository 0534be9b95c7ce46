"""Training on clouds without labels, so that the embedding tells apart what lies in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from napari_aptdefect.apt.network.epochs import Trained, reproducible, run_epochs
from napari_aptdefect.apt.network.model import CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.objectives import Infomax, Modularity, Objective, Views
from napari_aptdefect.apt.network.params import EpochParams, NetworkParams
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import Stage, param

Name = Literal["infomax", "dmon", "contrastive"]


class SelfSupervisedParams(EpochParams):
    """What a network is trained for without labels, and how."""

    objective: Name = param(
        "infomax",
        title="Objective",
        description="infomax: tell ions from those of a shuffled cloud; dmon: clusters with many links within; "
        "contrastive: say the same of a superpoint by any of its ions, whichever features are hidden.",
    )
    steps: int = param(
        4, title="Steps", description="Steps with each cloud in every epoch.", unit="steps", ge=1, le=10_000
    )
    n_ions: int = param(
        8_000,
        title="Ions",
        description="Ions drawn from a cloud at each step; dmon takes one of each superpoint, contrastive two of "
        "so many superpoints.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )
    hidden: float = param(
        0.3,
        title="Hidden",
        description="contrastive: share of the columns, of the superpoints and of the ions that a view hides.",
        ge=0.0,
        le=0.9,
    )
    n_clusters: int = param(
        16, title="Clusters", description="dmon: clusters at most.", unit="clusters", ge=2, le=1_000
    )
    collapse: float = param(
        1.0, title="Collapse", description="dmon: how strongly one cluster for all is avoided.", ge=0.0, le=100.0
    )


def pretrain(
    clouds: Sequence[CloudTensors],
    sets: Mapping[str, Sequence[int]],
    network: NetworkParams | None = None,
    params: SelfSupervisedParams | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> Stage[Trained]:
    """Train a network without labels.

    Parameters
    ----------
    clouds
        What it learns from; features may be those of some ions of each cloud only.
    sets
        Columns of each feature set.
    network, params
        Architecture and training; the defaults when None.
    seed
        Seed of the initial weights, of what is drawn and of what is hidden. On the CPU, with one number of threads, the
        same seed gives the same network.
    checkpoint
        File that is written after each epoch and continued from when it is there.

    Yields
    ------
    `Progress` of the steps; closing the generator ends the training, and the checkpoint stays.

    Returns
    -------
    The network of the best epoch: that of the lowest loss over the training clouds, nothing hidden by dropout, with the
    same draws after each epoch; the score in the history is minus that loss. Only the embedding is meant to be used:
    the scores are those of the clusters with dmon, and one column of zeros else.

    Raises
    ------
    ParameterError
        If there is no cloud, or the checkpoint is of another training.
    ShapeError
        If a cloud holds too few ions, or the clouds differ in their features.
    FormatError
        If the checkpoint can't be read.
    """
    params, network = params or SelfSupervisedParams(), network or NetworkParams()
    _check(clouds, sets)
    device = clouds[0].pooled.device
    with reproducible(seed, torch.device("cpu")):
        objective = _objective(sets, network, params).to(device)

    def score() -> float:
        objective.eval()
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad(), reproducible(seed, device):
            found = -float(np.mean([float(objective(cloud, draws)) for cloud in clouds]))
        objective.train()
        return found

    what = {
        "training": "self-supervised",
        "network": network.model_dump_json(),
        "sets": {name: [int(i) for i in columns] for name, columns in sets.items()},
        "n_clouds": len(clouds),
    }
    history = yield from run_epochs(
        objective,
        len(clouds) * params.steps,
        lambda which, generator: objective(clouds[which % len(clouds)], generator),
        score,
        params,
        what,
        seed=seed,
        checkpoint=checkpoint,
    )
    return Trained(objective.network, history, int(np.argmax(history[:, 1])))


def _objective(sets: Mapping[str, Sequence[int]], network: NetworkParams, params: SelfSupervisedParams) -> Objective:
    model = DefectNetwork(sets, params.n_clusters if params.objective == "dmon" else 1, network)
    if params.objective == "dmon":
        return Modularity(model, params.collapse)
    for one in (model.head.weight, model.head.bias):
        nn.init.zeros_(one).requires_grad_(False)
    if params.objective == "infomax":
        return Infomax(model, params.n_ions)
    return Views(model, params.n_ions, params.hidden)


def _check(clouds: Sequence[CloudTensors], sets: Mapping[str, Sequence[int]]) -> None:
    if not clouds:
        raise ParameterError("0 clouds to learn from; give at least one")
    widths = {one.features.shape[1] for one in clouds} | {one.pooled.shape[1] for one in clouds}
    if len(widths) > 1:
        raise ShapeError(f"clouds with {', '.join(map(str, sorted(widths)))} features; all need the same")
    wanted = max((i for columns in sets.values() for i in columns), default=-1)
    if wanted >= min(widths):
        raise ShapeError(f"the sets name column {wanted}, the clouds have {min(widths)} features")
    few = [i for i, one in enumerate(clouds) if len(one.features) < 2]
    if few:
        raise ShapeError(f"cloud {few[0]} holds {len(clouds[few[0]].features)} ions; two views need at least 2")
