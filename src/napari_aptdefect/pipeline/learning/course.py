"""The course of a network: lessons, training, calibration, test; from the simulator to a model in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import field_validator

from napari_aptdefect.apt.classify import Labeled, SigmoidClassifier, calibrated_classifier
from napari_aptdefect.apt.network.params import NetworkParams, TrainingParams
from napari_aptdefect.data.defects import DEFECT_CLASSES
from napari_aptdefect.data.feature_table import Scaling
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.pool import run_tasks
from napari_aptdefect.pipeline.benchmark.scenarios import Kind, WireRecipe
from napari_aptdefect.pipeline.benchmark.splits import Split
from napari_aptdefect.pipeline.benchmark.tasks import Results
from napari_aptdefect.pipeline.learning.examination import (
    LIMITS,
    Embedded,
    best_cut,
    calibration,
    examine,
    matrix_anomaly,
)
from napari_aptdefect.pipeline.learning.inputs import feature_sets
from napari_aptdefect.pipeline.learning.lessons import Lesson, lesson_task, load_lesson, make_lesson
from napari_aptdefect.pipeline.learning.model_file import DefectModel
from napari_aptdefect.pipeline.learning.reasons import reasons
from napari_aptdefect.pipeline.record import versions
from napari_aptdefect.stage import Params, Progress, Stage, param, scaled

if TYPE_CHECKING:
    from napari_aptdefect.apt.network.model import DefectNetwork
    from napari_aptdefect.apt.network.training import LabeledCloud, Trained

N_CLASSES: Final = DEFECT_CLASSES.index("unknown")
"""Classes that can be learned: the matrix and all defects with a name."""

_FALSE: Final = 1e-3  # share of the ions of wires without defects that may pass the cut
_TAIL: Final = np.geomspace(0.5, 1e-5, 48)


class LessonsParams(Params):
    """How many wires a network learns from."""

    levels: tuple[int, ...] = param(
        (1, 2, 3),
        title="Levels",
        description="Difficulty levels of the wires, in turn: of 1 to 3, or 0 alone, whose lattice is resolved.",
        min_length=1,
    )
    lessons: int = param(360, title="Lessons", description="Wires with defects.", unit="wires", ge=1, le=1_000_000)
    empty: int = param(12, title="Empty wires", description="Wires without defects.", unit="wires", ge=0, le=1_000_000)
    validation: int = param(
        5,
        title="Validation",
        description="Wires of each level that say when to stop and how sure claims are, and as many without defects.",
        unit="wires",
        ge=1,
        le=1_000_000,
    )
    test: int = param(
        6,
        title="Test",
        description="Wires of each level that the finished model is tested on, and as many without defects.",
        unit="wires",
        ge=1,
        le=1_000_000,
    )
    size: Literal["full", "quick"] = param("full", title="Size", description="Of the wires: full, or a quick trial.")

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if set(levels) - {0, 1, 2, 3} or len(set(levels)) < len(levels):
            raise ValueError("give one or more of 0, 1, 2 and 3, each once")
        if 0 in levels and len(levels) > 1:
            raise ValueError("give 0 alone: only there the lattice is resolved, and the model takes features of it")
        return levels


class CourseParams(Params):
    """All of a course."""

    lessons: LessonsParams = param(LessonsParams(), title="Lessons", description="Wires to learn from.")
    network: NetworkParams = param(NetworkParams(), title="Network", description="Its architecture.")
    training: TrainingParams = param(TrainingParams(epochs=10), title="Training", description="How it is trained.")


@dataclass(frozen=True)
class Timetable:
    """Wires of a course, by what they are for."""

    train: tuple[WireRecipe, ...]
    validation: tuple[WireRecipe, ...]
    calibration: tuple[WireRecipe, ...]
    test: tuple[WireRecipe, ...]

    @classmethod
    def of(cls, params: LessonsParams) -> Timetable:
        """Wires that a course asks for; `calibration` are those without defects."""
        levels, size = params.levels, params.size

        def each(kind: Kind, split: Split, n: int) -> tuple[WireRecipe, ...]:
            return tuple(WireRecipe(kind, split, i, level, size) for i in range(n) for level in levels)

        def turn(kind: Kind, n: int) -> tuple[WireRecipe, ...]:
            return tuple(WireRecipe(kind, "train", i, levels[i % len(levels)], size) for i in range(n))

        return cls(
            turn("empty", params.empty) + turn("lesson", params.lessons),
            each("mixture", "validation", params.validation),
            each("empty", "validation", params.validation),
            each("mixture", "test", params.test) + each("empty", "test", params.test),
        )

    @property
    def all(self) -> tuple[WireRecipe, ...]:
        """Every wire, the few that all else waits for first."""
        return self.validation + self.calibration + self.test + self.train


def course(
    params: CourseParams | None = None, *, work: Path, seed: int = 0, n_jobs: int = 1, device: str = "cpu"
) -> Stage[DefectModel]:
    """Make lessons, train a network on them, calibrate what it says, and test it.

    Parameters
    ----------
    params
        Parameters; the defaults when None.
    work
        Folder that keeps lessons and the checkpoint: the same call goes on where it was stopped.
    seed
        Seed of weights and draws. The wires have seeds of their own.
    n_jobs
        Number of processes that make lessons.
    device
        Where the network is trained, such as ``"cpu"`` or ``"cuda"``.

    Yields
    ------
    `Progress` of 100; closing the generator keeps what is done.

    Raises
    ------
    ParameterError
        If there is no such device, or the checkpoint in `work` is that of another course.
    """
    from napari_aptdefect.apt.network.training import train

    params = params or CourseParams()
    _check_device(device)
    wires = Timetable.of(params.lessons)
    results = Results(work / "tasks")
    tasks = {recipe: lesson_task(recipe) for recipe in wires.all}
    yield from scaled(run_tasks(list(tasks.values()), results, make_lesson, n_jobs), 0, 25)

    def read(recipes: Sequence[WireRecipe]) -> list[Lesson]:
        return [load_lesson(results.path(tasks[recipe])) for recipe in recipes]

    yield Progress(25, 100, "scaling")
    scaling = scaling_of([results.path(tasks[one]) for one in wires.train])
    train_on, validate_on = (
        [labeled_cloud(one, scaling, device) for one in read(part)] for part in (wires.train, wires.validation)
    )
    names = load_lesson(results.path(tasks[wires.train[0]])).names
    sets = feature_sets(names)
    trained: Trained = yield from scaled(
        train(
            train_on,
            validate_on,
            sets,
            N_CLASSES,
            params.network,
            params.training,
            seed=seed,
            checkpoint=work / "checkpoint.pt",
        ),
        26,
        92,
        lambda p: p.message,
    )
    yield Progress(92, 100, "embedding")
    del train_on
    network = trained.network.cpu()
    held_clouds = [labeled_cloud(one, scaling) for one in read(wires.validation)]
    held = [embedded(network, [one]) for one in held_clouds]
    empty, tests = (
        [embedded(network, [labeled_cloud(one, scaling)]) for one in read(part)]
        for part in (wires.calibration, wires.test)
    )
    yield Progress(97, 100, "classifier")
    classifier = head_classifier(network, held, seed)
    anomaly = np.concatenate([matrix_anomaly(classifier, one.embedding) for one in empty])
    tail = np.stack([_TAIL, np.quantile(anomaly, 1 - _TAIL)], axis=1)
    cut = max(best_cut(classifier, held, wires.validation), float(np.quantile(anomaly, 1 - _FALSE)))
    yield Progress(98, 100, "test")
    model = DefectModel(network, names, scaling, sets, classifier, cut, tail, ("Ga", "N"), {})
    card = {
        "trained_on": "GaN nanowires of aptdefect simulate; main elements Ga and N; dopants Mg, In and Al",
        "splits": "wires of training, validation and test share neither seeds nor places, sizes or concentrations",
        "parameters": params.model_dump(mode="json"),
        "seed": seed,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch + 1,
        "validation_macro_f1": float(trained.history[trained.best_epoch, 1]),
        "test": examine([model.claims(one.embedding) for one in tests], tests, wires.test),
        "calibration": calibration(classifier, tests),
        "reasons": reasons(network, classifier, held_clouds, names, seed=seed),
        "limits": list(LIMITS),
        "versions": versions(),
    }
    return replace(model, card=card)


def head_classifier(network: DefectNetwork, held: Sequence[Embedded], seed: int = 0) -> SigmoidClassifier:
    """Make the network's last layer sigmoids, calibrated on validation wires with the classes as frequent as there.

    The log-odds of a class against the matrix are linear in the embedding: the difference of their rows. Classes that
    no validation wire holds can't be calibrated and are left out.
    """
    weight, bias = (one.detach().numpy().astype(np.float64) for one in (network.head.weight, network.head.bias))
    rng = np.random.default_rng([seed, 0x7A])
    rows = [one.natural_rows(rng) for one in held]
    x = np.concatenate([one.embedding[mine] for one, mine in zip(held, rows, strict=True)])
    label = np.concatenate([one.label[mine] for one, mine in zip(held, rows, strict=True)])
    types = np.flatnonzero(np.bincount(label, minlength=N_CLASSES)[1:]) + 1
    code = np.full(N_CLASSES, -1, np.int32)
    code[types] = np.arange(len(types))
    return calibrated_classifier(
        weight[types] - weight[0],
        bias[types] - bias[0],
        Labeled(x, code[label]),
        [DEFECT_CLASSES[i] for i in types],
        [f"embedding {i + 1}" for i in range(weight.shape[1])],
    )


def scaling_of(files: Sequence[Path], every: int = 4, step: int = 20) -> Scaling:
    """Median and standard deviation of each feature over some ions of some lessons."""
    taken = [load_lesson(path).features[::step] for path in files[::every]]
    values = np.concatenate(taken).astype(np.float64)
    return Scaling(np.nanmedian(values, axis=0), np.nanstd(values, axis=0))


def labeled_cloud(lesson: Lesson, scaling: Scaling, device: str = "cpu") -> LabeledCloud:
    """Turn a lesson into what the training takes."""
    import torch

    from napari_aptdefect.apt.network.model import tensors_of
    from napari_aptdefect.apt.network.training import LabeledCloud

    features = scaling.standardize(lesson.features).astype(np.float16)
    pooled = scaling.standardize(lesson.pooled)
    return LabeledCloud(
        tensors_of(features, pooled, lesson.n_ions, lesson.shares, lesson, device),
        torch.from_numpy(lesson.label.astype(np.int64)),
        torch.from_numpy(lesson.stands_for),
    )


def embedded(network: DefectNetwork, clouds: Sequence[LabeledCloud]) -> Embedded:
    """Embed the kept ions of lessons."""
    import torch

    network.eval()
    out = []
    with torch.no_grad():
        for one in clouds:
            tensors = one.float()
            nodes, _ = network.nodes(tensors)
            rows = torch.arange(len(one.label), device=nodes.device)
            out.append(network.embed(tensors, nodes, rows).cpu().numpy())
    return Embedded(
        np.concatenate(out),
        np.concatenate([one.label.numpy() for one in clouds]),
        np.concatenate([one.stands_for.numpy() for one in clouds]),
    )


def _check_device(device: str) -> None:
    """Make sure that a device is there, before any work is done."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(f"there is no device {device!r}: {str(error).splitlines()[0]}") from error
