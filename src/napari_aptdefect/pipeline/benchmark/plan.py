"""Which tasks make up a benchmark: wires, the fit of each method at each level, and its run on each wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import field_validator

from napari_aptdefect.pipeline.benchmark.methods import Method, label_of
from napari_aptdefect.pipeline.benchmark.scenarios import Kind, WireRecipe
from napari_aptdefect.pipeline.benchmark.splits import Split
from napari_aptdefect.pipeline.benchmark.tasks import Task
from napari_aptdefect.stage import Params, param

_WIRE_SECONDS = {"full": 25.0, "quick": 6.0}


class BenchmarkParams(Params):
    """How much is run."""

    levels: tuple[int, ...] = param((0, 1, 2, 3), title="Levels", description="Difficulty levels, 0 to 3.")
    seeds: int = param(6, title="Seeds", description="Test wires with targets per level.", ge=1, le=1000)
    n_validation: int = param(3, title="Validation wires", description="Wires per level to tune on.", ge=1, le=1000)
    n_train: int = param(8, title="Train wires", description="Wires per level for methods that train.", ge=1, le=1000)
    n_controls: int = param(
        2, title="Control wires", description="Wires per level that hold only controls.", ge=0, le=1000
    )
    n_empty: int = param(
        3,
        title="Empty wires",
        description="Wires per level without defects, and as many relabeled ones.",
        ge=0,
        le=1000,
    )
    budget: int = param(
        8, title="Budget", description="Evaluations per method to tune it, on each validation wire.", ge=1, le=1000
    )
    size: Literal["full", "quick"] = param("full", title="Size", description="Of the wires: full, or a quick trial.")

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels or set(levels) - {0, 1, 2, 3} or len(set(levels)) < len(levels):
            raise ValueError("give one or more of 0, 1, 2 and 3, each once")
        return tuple(sorted(levels))


def quick_params() -> BenchmarkParams:
    """A trial run of seconds, whose numbers mean little."""
    return BenchmarkParams(levels=(1,), seeds=2, n_validation=1, n_controls=1, n_empty=1, budget=2, size="quick")


def plan(params: BenchmarkParams, methods: Sequence[Method]) -> list[Task]:
    """All runs of a benchmark, with what they need; the levels one after the other."""
    return [task for level in params.levels for task in _level(params, methods, level)]


def wire_task(recipe: WireRecipe) -> Task:
    """The task that makes a wire ready."""
    return Task("wire", recipe.name, recipe.as_dict(), suffix=".npz", cost=_WIRE_SECONDS[recipe.size])


def _level(params: BenchmarkParams, methods: Sequence[Method], level: int) -> Iterable[Task]:
    counts: dict[Kind, int] = {
        "mixture": params.seeds,
        "controls": params.n_controls,
        "empty": params.n_empty,
        "relabeled": params.n_empty,
    }
    wires = [_wire(params, kind, "test", number, level) for kind, n in counts.items() for number in range(n)]
    for method in methods:
        fit = _fit(params, method, level)
        for wire in wires:
            needs = {"wire": wire} | ({} if fit is None else {"fit": fit})
            recipe: dict[str, Any] = {"method": label_of(method), "seed": wire.recipe["number"]}
            yield Task("run", f"{_slug(label_of(method))}-{wire.name}", recipe, needs, cost=method.cost)


def _fit(params: BenchmarkParams, method: Method, level: int) -> Task | None:
    if not method.learns_from:
        return None
    numbers = {"train": params.n_train, "validation": params.n_validation}
    needs = {
        f"{split}-{i}": _wire(params, "mixture", split, i, level)
        for split in method.learns_from
        for i in range(numbers[split])
    }
    recipe = {"method": label_of(method), "budget": params.budget, "seed": 0, "objective": "macro-F1, majority names"}
    name = f"{_slug(label_of(method))}-level{level}"
    return Task("fit", name, recipe, needs, cost=method.cost * params.budget * params.n_validation)


def _wire(params: BenchmarkParams, kind: Kind, split: Split, number: int, level: int) -> Task:
    return wire_task(WireRecipe(kind, split, number, level, params.size))


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
