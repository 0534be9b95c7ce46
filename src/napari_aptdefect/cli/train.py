"""The verb ``train``: from the simulator to a model in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.options import given, made, options_for
from napari_aptdefect.errors import RunFolderError
from napari_aptdefect.pipeline.learning.course import CourseParams, course
from napari_aptdefect.pipeline.params import load_toml

Switch = Parameter(negative=())


def train(
    *,
    out: Path,
    work: Path | None = None,
    params: Path | None = None,
    seed: NonNegativeInt = 0,
    jobs: PositiveInt = 1,
    device: str = "cpu",
    tune: NonNegativeInt = 0,
    quick: Annotated[bool, Switch] = False,
    as_json: Annotated[bool, Switch, Parameter(name="--json")] = False,
    options: options_for(CourseParams) = None,  # type: ignore[valid-type]
) -> int:
    """Simulate wires, train a network on them, calibrate and test it, and write the model.

    What is done stays done in the work folder: the same command goes on where it was stopped.

    Parameters
    ----------
    out
        Model to write (.safetensors).
    work
        Folder that keeps simulated wires, the checkpoint and the search for parameters; by default OUT with the
        ending .work.
    params
        TOML file with parameters; options given here override it.
    seed
        Seed of weights and draws.
    jobs
        Number of processes that simulate wires.
    device
        Where the network is trained: cpu, cuda, or cuda:1.
    tune
        First search parameters of network and training, with so many short trainings judged on the validation wires.
    quick
        A trial run on small wires; its model is worth nothing.
    as_json
        Write the result as one JSON object to standard output.
    """
    from napari_aptdefect.pipeline.learning.tuning import tuned

    with terminal.output(as_json) as write:
        if not out.parent.is_dir():
            raise RunFolderError(f"there is no folder {out.parent} to write {out.name} to; make it first")
        chosen = made(CourseParams, QUICK if quick else {}, load_toml(params), given(options))
        folder = work or out.with_name(out.name + ".work")
        folder.mkdir(parents=True, exist_ok=True)
        if tune:
            chosen = terminal.run_stage(tuned(chosen, n_trials=tune, work=folder, seed=seed, n_jobs=jobs))
        model = terminal.run_stage(course(chosen, work=folder, seed=seed, n_jobs=jobs, device=device))
        model.write(out)
        result = {"out": str(out), "weights": model.n_weights, "classes": list(model.classes), "card": dict(model.card)}
        write(result, lambda: text_of(out, model.n_weights, model.card["test"]))
    return terminal.EXIT.DONE


QUICK = {
    "lessons": {"levels": (1,), "lessons": 2, "empty": 1, "validation": 1, "test": 1, "size": "quick"},
    "network": {"width": 16, "n_layers": 1, "heads": 2, "embedding": 8},
    "training": {"epochs": 2},
}


def text_of(out: Path, n_weights: int, tests: list[dict[str, Any]]) -> str:
    """Render what a training gave for a person."""
    header = ("level", "wires", "macro-F1", "balanced accuracy", "mean IoU", "claimed of empty wires")
    rows = [
        (
            str(one["level"]),
            str(one["wires"]),
            *(f"{one[name]['mean']:.2f}" for name in ("macro_f1", "balanced_accuracy", "mean_iou")),
            "-" if one["claimed_of_empty"] is None else f"{one['claimed_of_empty']:.2%}",
        )
        for one in tests
    ]
    table = terminal.table(header, rows, numeric=(1, 2, 3, 4, 5))
    return f"{table}\n\nmodel  {out}  ({n_weights:,} weights; ions of test wires one by one, hidden targets left out)"
