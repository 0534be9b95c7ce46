"""The epochs of any training of the network: seeds, rate of learning, checkpoints to resume from, the best epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_aptdefect.apt.network.model import CloudTensors, DefectNetwork
from napari_aptdefect.apt.network.params import EpochParams
from napari_aptdefect.errors import FormatError, ParameterError
from napari_aptdefect.stage import Progress, Stage

_FORMAT: Final = 1


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    Parameters
    ----------
    network
        With the weights of the best epoch, ready to use.
    history
        Per epoch the mean loss of its steps and the score that the best epoch is chosen by, shape (n_epochs, 2).
    best_epoch
        Epoch of the best score, from 0.
    """

    network: DefectNetwork
    history: NDArray[np.float64]
    best_epoch: int


def run_epochs(
    model: nn.Module,
    n_steps: int,
    loss: Callable[[int, torch.Generator], Tensor],
    score: Callable[[], float],
    params: EpochParams,
    what: Mapping[str, Any],
    *,
    seed: int,
    checkpoint: Path | None,
) -> Stage[NDArray[np.float64]]:
    """Train a model to the end of its patience and leave it with the weights of its best epoch, ready to use.

    Parameters
    ----------
    model
        What is trained, in place.
    n_steps
        Steps of an epoch, taken in a new order each time.
    loss
        Gives the loss of a step; draws from the generator only, or from torch's global one, which is seeded around it.
    score
        What the best epoch has most of.
    params
        How long and how fast.
    what
        What tells this training from others, anything that is the same after it was saved and loaded.
    seed
        Seed of the order, of what is drawn and of what is hidden.
    checkpoint
        File that is written after each epoch and continued from when it is there.

    Yields
    ------
    `Progress` of the steps; closing the generator ends the training, and the checkpoint stays.

    Returns
    -------
    Mean loss and score of each epoch, shape (n_epochs, 2).

    Raises
    ------
    ParameterError
        If the checkpoint is of another training.
    FormatError
        If the checkpoint can't be read.
    """
    what = {"format": _FORMAT, **what, "params": params.model_dump_json(), "seed": seed}
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    state = _State(model, optimizer, generator, [], copy.deepcopy(model.state_dict()))
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, what)
    device = next(model.parameters()).device
    n_all = params.epochs * n_steps
    while len(state.history) < params.epochs and state.waited < params.patience:
        epoch = len(state.history)
        total = 0.0
        for step, which in enumerate(torch.randperm(n_steps, generator=generator).tolist()):
            done = epoch * n_steps + step
            yield Progress(done, n_all, f"epoch {epoch + 1}: {state.best:.3f} so far")
            rate = _rate(done / n_all, params.learning_rate, warm=0.5 / params.epochs)
            with reproducible(seed + 1 + done, device):
                total += _step(model, optimizer, loss(which, generator), rate)
        state.add(total / n_steps, score())
        if checkpoint is not None:
            state.save(checkpoint, what)
    model.load_state_dict(state.best_weights)
    model.eval()
    return np.array(state.history, np.float64).reshape(-1, 2)


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
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


def ions_of(cloud: CloudTensors, rows: Tensor | None = None) -> CloudTensors:
    """The cloud with features, in single precision, of some of its ions only; of all when None."""
    if rows is None:
        return replace(cloud, features=cloud.features.float())
    return replace(cloud, features=cloud.features[rows].float(), corner=cloud.corner[rows], weight=cloud.weight[rows])


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _rate(share: float, largest: float, warm: float) -> float:
    return largest * min(1.0, (share + 0.1 * warm) / warm) * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))


@dataclass(eq=False)
class _State:
    """What a training is at the end of an epoch."""

    model: nn.Module
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
            names = ", ".join(key for key in {**found, **what} if found.get(key) != what.get(key))
            raise ParameterError(
                f"{path} is the checkpoint of another training ({names}); delete it, or choose another"
            )
        self.model.load_state_dict(stored["model"])
        self.best_weights = stored["best"]
        self.optimizer.load_state_dict(stored["optimizer"])
        self.generator.set_state(stored["generator"])
        self.history = [(float(a), float(b)) for a, b in stored["history"]]
