"""Lessons: simulated wires, kept as what the network learns from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
from napari_aptdefect.pipeline.benchmark.tasks import Results, Task
from napari_aptdefect.pipeline.benchmark.wires import true_arrays, truth_of
from napari_aptdefect.pipeline.learning.inputs import describe
from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
from napari_aptdefect.stage import drain

MATRIX_IONS: Final = 16_000
DEFECT_IONS: Final = 24_000
"""Ions of a wire that are kept at most; the many of the matrix say little new."""

_CODE: Final = (
    "data",
    "simulate",
    "apt/features/lattice.py",
    "apt/features/lattice_axes.py",
    "apt/features/lattice_bonds.py",
    "apt/features/lattice_fields.py",
    "apt/features/lattice_gaps.py",
    "apt/features/shapes.py",
    "apt/network/superpoints.py",
    "pipeline/benchmark/scenarios.py",
    "pipeline/benchmark/wires.py",
    "pipeline/learning/inputs.py",
    "pipeline/learning/lessons.py",
)
_SECONDS: Final = {"full": 6.0, "quick": 1.0}


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is kept of a wire: all superpoints, and some of the ions of its core with their classes.

    Parameters
    ----------
    names
        Names of the F features.
    features
        Shape (n, F), float16: features of the kept ions; NaN is missing.
    label
        Shape (n,), int8: code of `DEFECT_CLASSES`.
    stands_for
        Shape (n,), float32: how many ions of the core each of them stands for.
    corner, weight
        Shape (n, 8): superpoints around them and their weights.
    pooled
        Shape (M, F), float32: mean features of the superpoints; NaN is missing.
    n_ions, shares
        Shape (M,) and (M, 4): ions of the superpoints, and shares of the kinds of species.
    relations
        Links between the superpoints.
    """

    names: tuple[str, ...]
    features: NDArray[np.float16]
    label: NDArray[np.int8]
    stands_for: NDArray[np.float32]
    corner: NDArray[np.int32]
    weight: NDArray[np.float32]
    pooled: NDArray[np.float32]
    n_ions: NDArray[np.int32]
    shares: NDArray[np.float32]
    relations: tuple[NeighborGraph, ...]


def lesson_task(recipe: WireRecipe) -> Task:
    """The task that makes a lesson."""
    return Task("lesson", recipe.name, recipe.as_dict(), suffix=".npz", cost=_SECONDS[recipe.size], code=_CODE)


def make_lesson(task: Task, results: Results) -> None:
    """Simulate a wire, describe it, and write what is kept of it."""
    with warnings.catch_warnings(), results.writing(task) as path:
        warnings.simplefilter("ignore", UserWarning)
        write_lesson(WireRecipe(**task.recipe), path)


def write_lesson(recipe: WireRecipe, path: Path) -> None:
    """Simulate a wire and write its lesson.

    Targets below the search bound and intended layers are left out: neither can be learned from.
    """
    from napari_aptdefect.apt.network.model import species_shares
    from napari_aptdefect.apt.network.superpoints import gather

    params = recipe.params()
    simulated = drain(simulate_gan_nanowire(params, recipe.seed))
    arrays = true_arrays(simulated, params)
    truth = truth_of(arrays).visible_only()
    label = truth.scored_class[truth.scored]
    rows, stands_for = _drawn(label, np.random.default_rng([13, recipe.seed]))
    ions = np.flatnonzero(arrays["core"])[truth.scored][rows]
    xyz, species = simulated.cloud.xyz_nm, simulated.ranges.assign(simulated.cloud.mass_da)
    told = drain(describe(xyz, species, simulated.ranges.ions, workers=1, with_lattice=recipe.level == 0))
    points = gather(xyz)
    with path.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            names=np.array(told.table.names),
            features=told.table.values[ions].astype(np.float16),
            label=label[rows],
            stands_for=stands_for,
            corner=points.corner[ions],
            weight=points.weight[ions].astype(np.float16),
            pooled=points.mean(told.table.values),
            n_ions=points.n_ions,
            shares=species_shares(told.kind, points),
            cell=points.cell,
        )


def load_lesson(path: Path) -> Lesson:
    """Read a lesson."""
    from napari_aptdefect.apt.network.superpoints import relate

    with np.load(path) as stored:
        data: dict[str, Any] = {name: stored[name] for name in stored.files}
    return Lesson(
        tuple(data.pop("names").tolist()),
        weight=data.pop("weight").astype(np.float32),
        relations=relate(data.pop("cell")),
        **data,
    )


def _drawn(label: NDArray[np.int8], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of some ions of the matrix and of the defects, and how many ions each stands for."""
    rows, weight = [], []
    for mine, most in ((label == 0, MATRIX_IONS), (label != 0, DEFECT_IONS)):
        found = np.flatnonzero(mine)
        taken = found if len(found) <= most else np.sort(rng.choice(found, most, replace=False))
        rows.append(taken)
        weight.append(np.full(len(taken), len(found) / max(len(taken), 1), np.float32))
    return np.concatenate(rows), np.concatenate(weight)
