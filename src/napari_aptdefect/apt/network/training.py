"""Training on labeled clouds: cross entropy and overlap, early stopping on validation clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_aptdefect.apt.network.epochs import Trained as Trained
from napari_aptdefect.apt.network.epochs import ions_of, reproducible, run_epochs
from napari_aptdefect.apt.network.model import CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.params import NetworkParams, TrainingParams
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import Stage


@dataclass(frozen=True, eq=False)
class LabeledCloud:
    """A cloud with the class of the ions that are learned from.

    Parameters
    ----------
    tensors
        The cloud; features, corners and weights may be those of the labeled ions only.
    label
        Shape (n,), int64: class of each of these ions, 0 the matrix.
    stands_for
        Shape (n,), float32: how many ions of its cloud each of them stands for.
    """

    tensors: CloudTensors
    label: Tensor
    stands_for: Tensor

    def __post_init__(self) -> None:
        if not len(self.label) == len(self.tensors.features) == len(self.stands_for):
            raise ShapeError(
                f"{len(self.label)} labels and {len(self.stands_for)} weights for {len(self.tensors.features)} ions"
            )

    def float(self, rows: Tensor | None = None) -> CloudTensors:
        """The cloud with features, in single precision, of all these ions or of some of them."""
        return ions_of(self.tensors, rows)


def labeled(cloud: CloudTensors, label: NDArray[np.integer], rows: NDArray[np.integer]) -> LabeledCloud:
    """Keep of a cloud what training on some of its ions needs.

    Parameters
    ----------
    cloud
        The whole cloud.
    label
        Shape (n,): class of each ion of `rows`.
    rows
        Shape (n,): ions to learn from.
    """
    at = torch.from_numpy(np.asarray(rows, np.int64))
    kept = replace(cloud, features=cloud.features[at].half(), corner=cloud.corner[at], weight=cloud.weight[at])
    found = torch.from_numpy(np.asarray(label, np.int64))
    return LabeledCloud(kept, found, torch.ones(len(found)))


def train(
    clouds: Sequence[LabeledCloud],
    validation: Sequence[LabeledCloud],
    sets: Mapping[str, Sequence[int]],
    n_classes: int,
    network: NetworkParams | None = None,
    params: TrainingParams | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> Stage[Trained]:
    """Train a network.

    Parameters
    ----------
    clouds
        What it learns from, one step for each in every epoch.
    validation
        Clouds of other specimens, which say when to stop.
    sets
        Columns of each feature set.
    n_classes
        Number of classes, the matrix first.
    network, params
        Architecture and training; the defaults when None.
    seed
        Seed of the initial weights, of what is drawn and of what is hidden. On the CPU, with one number of threads, the
        same seed gives the same network.
    checkpoint
        File that is written after each epoch and continued from when it is there.

    Yields
    ------
    `Progress` of the epochs; closing the generator ends the training, and the checkpoint stays.

    Raises
    ------
    ParameterError
        If there is nothing to learn from or to validate on, or the checkpoint is of another training.
    FormatError
        If the checkpoint can't be read.
    """
    params, network = params or TrainingParams(), network or NetworkParams()
    if not clouds or not validation:
        raise ParameterError(f"{len(clouds)} clouds to learn from and {len(validation)} to validate on; give both")
    with reproducible(seed, torch.device("cpu")):
        model = DefectNetwork(sets, n_classes, network).to(clouds[0].tensors.pooled.device)
    weight = class_weights(
        torch.cat([one.label for one in clouds]),
        torch.cat([one.stands_for for one in clouds]),
        n_classes,
        params.balance,
    )
    history = yield from run_epochs(
        model,
        len(clouds),
        lambda which, generator: _loss(model, clouds[which], weight, params, generator),
        lambda: validate(model, validation, n_classes),
        params,
        {"network": network.model_dump_json(), "n_clouds": len(clouds)},
        seed=seed,
        checkpoint=checkpoint,
    )
    return Trained(model, history, int(np.argmax(history[:, 1])))


def class_weights(label: Tensor, stands_for: Tensor, n_classes: int, balance: float) -> Tensor:
    """Weight of each class: (n_largest / n) to the power of `balance`; 0 for a class that is not there."""
    count = torch.bincount(label, stands_for.double(), minlength=n_classes).float()
    return torch.where(count > 0, (count.max() / count.clamp_min(1)) ** balance, torch.zeros(()))


def validate(model: DefectNetwork, clouds: Sequence[LabeledCloud], n_classes: int) -> float:
    """Macro-F1 over the classes that are there or claimed, all ions of all clouds taken together."""
    model.eval()
    table = torch.zeros(n_classes**2, dtype=torch.float64)
    with torch.no_grad():
        for one in clouds:
            scores = model(one.float(), torch.arange(len(one.label)))
            flat = one.label.cpu() * n_classes + scores.argmax(dim=1).cpu()
            table += torch.bincount(flat, one.stands_for.cpu().double(), minlength=n_classes**2)
    model.train()
    table = table.reshape(n_classes, n_classes)
    both = table.sum(dim=0) + table.sum(dim=1)
    there = both > 0
    return float((2 * table.diagonal()[there] / both[there]).mean())


def loss_of(scores: Tensor, label: Tensor, drawn: Tensor, weight: Tensor, overlap: float) -> Tensor:
    """Weighted cross entropy plus the overlap loss.

    Parameters
    ----------
    scores
        Shape (n, n_classes).
    label
        Shape (n,), int64.
    drawn
        Shape (n,): ions that each one stands for.
    weight
        Shape (n_classes,): weight of each class.
    overlap
        Share of the overlap loss, the mean of 1 - 2 Σ p y / (Σ p + Σ y) over the classes that are there (Milletari et
        al. 2016, arXiv 1606.04797).
    """
    entropy = nn.functional.cross_entropy(scores, label, reduction="none")
    each = weight[label] * drawn
    loss = (entropy * each).sum() / each.sum().clamp_min(1e-9)
    if overlap > 0:
        probability = torch.softmax(scores, dim=1) * drawn[:, None]
        truth = nn.functional.one_hot(label, scores.shape[1]) * drawn[:, None]
        shared = (torch.softmax(scores, dim=1) * truth).sum(dim=0)
        there = truth.sum(dim=0) > 0
        dice = 1 - 2 * shared / (probability.sum(dim=0) + truth.sum(dim=0)).clamp_min(1e-9)
        loss = loss + overlap * dice[there].mean()
    return loss


def _loss(
    model: DefectNetwork, cloud: LabeledCloud, weight: Tensor, params: TrainingParams, generator: torch.Generator
) -> Tensor:
    rows, drawn = _draw(cloud, params, generator)
    rows = rows.to(cloud.tensors.features.device)
    scores = model(cloud.float(rows), torch.arange(len(rows), device=rows.device))
    return loss_of(
        scores, cloud.label.to(scores.device)[rows], drawn.to(scores.device), weight.to(scores.device), params.overlap
    )


def _draw(cloud: LabeledCloud, params: TrainingParams, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some ions of the matrix and some of the defects, and how many ions each stands for."""
    rows, drawn = [], []
    matrix = cloud.label == 0
    for mine, most in ((matrix, params.matrix_ions), (~matrix, params.defect_ions)):
        found = torch.nonzero(mine)[:, 0]
        taken = found[torch.randperm(len(found), generator=generator)[:most]]
        rows.append(taken)
        drawn.append(cloud.stands_for[taken] * (len(found) / max(len(taken), 1)))
    return torch.cat(rows), torch.cat(drawn)
