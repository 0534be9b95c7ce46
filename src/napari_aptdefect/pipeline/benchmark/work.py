"""What a worker process does with a task."""

from __future__ import annotations

import time
import warnings
from typing import Any

from napari_aptdefect.pipeline.benchmark.methods import Method, choose
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
from napari_aptdefect.pipeline.benchmark.scoring import objective, score_false, score_mixture
from napari_aptdefect.pipeline.benchmark.splits import SPLITS
from napari_aptdefect.pipeline.benchmark.tasks import Results, Task
from napari_aptdefect.pipeline.benchmark.wires import ReadyWire, load_wire, make_wire
from napari_aptdefect.stage import drain


def work(task: Task, results: Results) -> None:
    """Do one task and write its file.

    What libraries warn of while parameters are tried at random would tear the progress apart and names no cause; a
    trial that fails is recorded with its error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        {"wire": _wire, "fit": _fit, "run": _run, "set": _set}[task.kind](task, results)


def _wire(task: Task, results: Results) -> None:
    with results.writing(task) as path:
        make_wire(WireRecipe(**task.recipe), path)


def _fit(task: Task, results: Results) -> None:
    wires: dict[Any, list[ReadyWire]] = {split: [] for split in SPLITS}
    for name, need in task.needs.items():
        wires[name.partition("-")[0]].append(load_wire(results.path(need)))
    start = time.perf_counter()
    state = drain(_method(task).fit(wires, objective, task.recipe["budget"], task.recipe["seed"]))
    results.save(task, {"state": state, "seconds": time.perf_counter() - start})


def _run(task: Task, results: Results) -> None:
    wire = load_wire(results.path(task.needs["wire"]))
    state = results.load(task.needs["fit"])["state"] if "fit" in task.needs else {}
    method = _method(task)
    start = time.perf_counter()
    answer = method.run(wire, state, task.recipe["seed"])
    seconds = time.perf_counter() - start
    kind = wire.facts["recipe"]["kind"]
    scores = score_mixture(wire, answer) if kind == "mixture" else score_false(wire, answer)
    row = {"method": method.name, "space": method.space, **wire.facts["recipe"], "seconds": seconds}
    results.save(task, row | {"scores": scores})


def _set(task: Task, results: Results) -> None:
    from napari_aptdefect.pipeline.benchmark.labeled_sets import score_set

    results.save(task, score_set(task.recipe))


def _method(task: Task) -> Method:
    (method,) = choose([task.recipe["method"]])
    return method
