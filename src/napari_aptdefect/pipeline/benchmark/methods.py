"""What takes part: the baselines in both spaces, our own analysis, and what stands above and below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines import COORDINATES, FUSED, METHODS, Baseline, Clustering, tune
from napari_aptdefect.evaluate.labels import Claim
from napari_aptdefect.evaluate.numbers import plain
from napari_aptdefect.pipeline.benchmark.names import ALL_MATRIX, ANALYZE, BOUND, UNLEARNED
from napari_aptdefect.pipeline.benchmark.splits import Split
from napari_aptdefect.pipeline.benchmark.wires import ReadyWire
from napari_aptdefect.stage import Progress, Stage

Answer = Clustering | Claim
"""Clusters of all ions of a wire, which know no classes; or a claim about the ions of its core, which does."""

Objective = Callable[[ReadyWire, Answer], float]
"""Score of an answer about a wire, to be made large."""


_SECONDS: Final[Mapping[tuple[str, str], float]] = {
    ("k-means", COORDINATES): 3.0,
    ("k-means", FUSED): 1.5,
    ("OPTICS", COORDINATES): 1.0,
    ("OPTICS", FUSED): 8.0,
}


class Method(Protocol):
    """A method of the benchmark.

    A method that learns gets its wires first and gives a state, which is kept with the results; then it runs on one
    wire at a time, elsewhere and later, with that state. It must look at nothing but `ReadyWire.specimen` when it runs.

    Parameters
    ----------
    name
        Name in tables.
    space
        What it works on; methods of one name in different spaces stand beside each other.
    learns_from
        Splits whose wires `fit` wants. Train wires are made only where a method wants them.
    cost
        Expected seconds of a run on a wire.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def space(self) -> str: ...  # noqa: D102
    @property
    def learns_from(self) -> tuple[Split, ...]: ...  # noqa: D102
    @property
    def cost(self) -> float: ...  # noqa: D102

    def fit(
        self, wires: Mapping[Split, Sequence[ReadyWire]], objective: Objective, budget: int, seed: int
    ) -> Stage[dict[str, Any]]:
        """Learn from wires and return a state that JSON can hold (weights as base64 text)."""

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Say what is in a wire."""


def label_of(method: Method) -> str:
    """Name and space of a method, as the user writes it."""
    return f"{method.name} ({method.space})" if method.space else method.name


@dataclass(frozen=True)
class TunedBaseline:
    """A clustering method of `evaluate.baselines`, its parameters searched on the validation wires."""

    baseline: Baseline
    learns_from: tuple[Split, ...] = ("validation",)

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.baseline.name

    @property
    def space(self) -> str:
        """Coordinates with composition, or fused features."""
        return self.baseline.space

    @property
    def cost(self) -> float:
        """Expected seconds of a run."""
        return _SECONDS.get((self.name, self.space), 0.5)

    def fit(
        self, wires: Mapping[Split, Sequence[ReadyWire]], objective: Objective, budget: int, seed: int
    ) -> Stage[dict[str, Any]]:
        """Search the parameters with a budget of runs per wire."""
        validation = wires["validation"]
        tuned = yield from tune(
            self.baseline,
            [wire.specimen for wire in validation],
            lambda i, clustering: objective(validation[i], clustering),
            budget,
            seed,
        )
        state: dict[str, Any] = plain(
            {
                "params": tuned.params.model_dump(mode="json"),
                "trials": [
                    {"params": trial.params.model_dump(mode="json"), "score": trial.score, "error": trial.error}
                    for trial in tuned.trials
                ],
            }
        )
        return state

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Cluster the ions of a wire."""
        params = self.baseline.params_model.model_validate(state["params"])
        return self.baseline.run(wire.specimen, params, seed)


@dataclass(frozen=True)
class _Fixed:
    """A method without parameters to learn."""

    name: str
    space: str = ""
    cost: float = 0.3
    learns_from: tuple[Split, ...] = ()

    def fit(
        self, wires: Mapping[Split, Sequence[ReadyWire]], objective: Objective, budget: int, seed: int
    ) -> Stage[dict[str, Any]]:
        """Learn nothing."""
        yield Progress(1, 1, self.name)
        return {}


class AllMatrix(_Fixed):
    """Claims nothing: what accuracy is worth."""

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Call every ion matrix."""
        none = np.zeros(len(wire.truth), np.int32)
        return Claim.from_labels(none.astype(np.int8), none)


class KnownGeometry(_Fixed):
    """The upper bound: knows every defect's true geometry, sees only what was measured."""

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Give the labels of the known-geometry labeler."""
        bound = wire.truth.bound
        if bound is None:
            raise ParameterError(f"{wire.name}: the truth holds no labels of the known-geometry labeler")
        return bound


class OurAnalysis(_Fixed):
    """The chain of `aptdefect analyze` with its default parameters: the shipped model names what it finds."""

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Give what the analysis found when the wire was made ready."""
        found = wire.learned_in_core
        if found is None:
            raise ParameterError(f"{wire.name}: no model is shipped for this material")
        return found


class WithoutModel(_Fixed):
    """The same chain with nothing learned: types by clustering, names by rules of thumb."""

    def run(self, wire: ReadyWire, state: Mapping[str, Any], seed: int) -> Answer:
        """Give what the analysis found when the wire was made ready."""
        return wire.named_in_core


def all_methods() -> tuple[Method, ...]:
    """All methods, in the order of the table."""
    return (
        AllMatrix(ALL_MATRIX),
        *(TunedBaseline(method(space)) for method in METHODS for space in (COORDINATES, FUSED)),
        WithoutModel(UNLEARNED),
        OurAnalysis(ANALYZE),
        KnownGeometry(BOUND),
    )


def choose(names: Sequence[str]) -> tuple[Method, ...]:
    """Methods by name (both spaces) or by name with space; all of them for no name.

    Raises
    ------
    ParameterError
        If a name is unknown; the message lists those there are.
    """
    methods = all_methods()
    if not names:
        return methods
    unknown = set(names) - {m.name for m in methods} - {label_of(m) for m in methods}
    if unknown:
        known = ", ".join(dict.fromkeys(m.name for m in methods))
        raise ParameterError(f"no method {', '.join(sorted(unknown))}; there are {known}")
    return tuple(m for m in methods if m.name in names or label_of(m) in names)
