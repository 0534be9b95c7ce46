"""Training on labeled clouds: cross entropy and overlap, early stopping on validation clouds, checkpoints to resume."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_aptdefect.apt.network.model import CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.params import NetworkParams, TrainingParams
from napari_aptdefect.errors import FormatError, ParameterError, ShapeError
from napari_aptdefect.stage import Progress, Stage

_FORMAT: Final = 1


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
        cloud = self.tensors
        if rows is None:
            return replace(cloud, features=cloud.features.float())
        return replace(
            cloud, features=cloud.features[rows].float(), corner=cloud.corner[rows], weight=cloud.weight[rows]
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    Parameters
    ----------
    network
        With the weights of the best epoch, ready to use.
    history
        Per epoch the loss and the validation score, shape (n_epochs, 2).
    best_epoch
        Epoch of the best validation score, from 0.
    """

    network: DefectNetwork
    history: NDArray[np.float64]
    best_epoch: int


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
    generator = torch.Generator().manual_seed(seed)
    with _reproducible(seed, torch.device("cpu")):
        model = DefectNetwork(sets, n_classes, network).to(clouds[0].tensors.pooled.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
    weight = class_weights(
        torch.cat([one.label for one in clouds]),
        torch.cat([one.stands_for for one in clouds]),
        n_classes,
        params.balance,
    )
    what = {
        "format": _FORMAT,
        "network": network.model_dump_json(),
        "params": params.model_dump_json(),
        "seed": seed,
        "n_clouds": len(clouds),
    }
    state = _State(model, optimizer, generator, [], copy.deepcopy(model.state_dict()))
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, what)
    n_steps = params.epochs * len(clouds)
    while len(state.history) < params.epochs and state.waited < params.patience:
        epoch = len(state.history)
        total = 0.0
        for step, which in enumerate(torch.randperm(len(clouds), generator=generator).tolist()):
            done = epoch * len(clouds) + step
            yield Progress(done, n_steps, f"epoch {epoch + 1}: {state.best:.3f} so far")
            rate = _rate(done / n_steps, params.learning_rate, warm=0.5 / params.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with _reproducible(seed + 1 + done, model.head.weight.device):
                total += _step(model, optimizer, clouds[which], weight, params, generator)
        state.add(total / len(clouds), validate(model, validation, n_classes))
        if checkpoint is not None:
            state.save(checkpoint, what)
    model.load_state_dict(state.best_weights)
    model.eval()
    history = np.array(state.history, np.float64).reshape(-1, 2)
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


def _step(
    model: DefectNetwork,
    optimizer: torch.optim.Optimizer,
    cloud: LabeledCloud,
    weight: Tensor,
    params: TrainingParams,
    generator: torch.Generator,
) -> float:
    rows, drawn = _draw(cloud, params, generator)
    rows = rows.to(cloud.tensors.features.device)
    scores = model(cloud.float(rows), torch.arange(len(rows), device=rows.device))
    loss = loss_of(
        scores, cloud.label.to(scores.device)[rows], drawn.to(scores.device), weight.to(scores.device), params.overlap
    )
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generator, which dropout and initial weights draw from, and sum in one order; then restore both.

    On CUDA sums of gathered values have no fixed order, and the seed makes trainings alike but not equal.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)


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


def _rate(share: float, largest: float, warm: float) -> float:
    return largest * min(1.0, (share + 0.1 * warm) / warm) * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))


@dataclass(eq=False)
class _State:
    """What a training is at the end of an epoch."""

    model: DefectNetwork
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    history: list[tuple[float, float]]
    best_weights: dict[str, Any]

    @property
    def best(self) -> float:
        return max((score for _, score in self.history), default=0.0)

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        scores = [score for _, score in self.history]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def add(self, loss: float, score: float) -> None:
        if score > self.best or not self.history:
            self.best_weights = copy.deepcopy(self.model.state_dict())
        self.history.append((loss, score))

    def save(self, path: Path, what: Mapping[str, Any]) -> None:
        """Write to a temporary name, then rename: an interruption leaves the last whole epoch."""
        partial = path.with_name(path.name + ".part")
        torch.save(
            {
                "what": dict(what),
                "model": self.model.state_dict(),
                "best": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "history": self.history,
            },
            partial,
        )
        partial.replace(path)

    def load(self, path: Path, what: Mapping[str, Any]) -> None:
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            found = stored["what"]
        except Exception as error:
            raise FormatError(
                path, expected="the checkpoint of a training", found=str(error), hint="Delete it to start anew."
            ) from error
        if found != dict(what):
            names = ", ".join(key for key in what if found.get(key) != what[key])
            raise ParameterError(
                f"{path} is the checkpoint of another training ({names}); delete it, or choose another"
            )
        self.model.load_state_dict(stored["model"])
        self.best_weights = stored["best"]
        self.optimizer.load_state_dict(stored["optimizer"])
        self.generator.set_state(stored["generator"])
        self.history = [(float(a), float(b)) for a, b in stored["history"]]
