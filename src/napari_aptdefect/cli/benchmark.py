"""The verb ``benchmark``: every method on every level, against the truth and against chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from napari_aptdefect.cli import terminal
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.benchmark import Benchmark
from napari_aptdefect.pipeline.benchmark.benchmark import benchmark as run_benchmark
from napari_aptdefect.pipeline.benchmark.plan import BenchmarkParams, quick_params

Switch = Parameter(negative=())


def benchmark(
    *,
    out: Path,
    levels: str | None = None,
    seeds: PositiveInt | None = None,
    budget: PositiveInt | None = None,
    jobs: PositiveInt = 1,
    methods: str | None = None,
    sets: Path | None = None,
    quick: Annotated[bool, Switch] = False,
    as_json: Annotated[bool, Switch, Parameter(name="--json")] = False,
) -> int:
    """Run every method on simulated wires of every level and write tables and figures.

    What is done stays done: the same command goes on where it was stopped.

    Parameters
    ----------
    out
        Folder for the results.
    levels
        Difficulty levels, joined by commas; all four if not given.
    seeds
        Test wires with defects per level (6, or 2 in a trial run).
    budget
        Evaluations to tune each method, on each validation wire (8, or 2 in a trial run).
    jobs
        Number of processes.
    methods
        Names of methods, joined by commas; all of them if not given.
    sets
        Folder with the labeled sets of others (hiperclust, pnnl_optics).
    quick
        A trial run on small wires; its numbers mean little.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        changes: dict[str, Any] = {"seeds": seeds, "budget": budget}
        if levels is not None:
            changes["levels"] = _levels(levels)
        base = quick_params() if quick else BenchmarkParams()
        params = _changed(base, {name: value for name, value in changes.items() if value is not None})
        names = [name.strip() for name in (methods or "").split(",") if name.strip()]
        found = terminal.run_stage(run_benchmark(out, params, methods=names, sets=sets, n_jobs=jobs))
        write(result_of(found), lambda: text_of(found))
    return terminal.EXIT.DONE


def result_of(found: Benchmark) -> dict[str, Any]:
    """Gather a benchmark for JSON; what is undefined is None."""
    from napari_aptdefect.evaluate.numbers import plain

    result: dict[str, Any] = plain(
        {
            "out": str(found.folder),
            "summary": [row.as_dict() for row in found.rows],
            "sets": list(found.sets),
            "figures": [str(path) for path in sorted((found.folder / "figures").glob("*.png"))],
        }
    )
    return result


def text_of(found: Benchmark) -> str:
    """Render a benchmark for a person."""
    header = ("level", "method", "space", "macro-F1", "mean IoU", "PQ", "recall", "false per 1e6 ions")
    rows = [
        (
            str(row.level),
            row.method,
            row.space or "-",
            *(f"{row.scores[n].mean:.2f}" for n in ("macro_f1_majority", "mean_iou", "pq", "recall_visible")),
            f"{row.false['empty'].per_million:.3g}",
        )
        for row in found.rows
    ]
    parts = [terminal.table(header, rows, numeric=(3, 4, 5, 6, 7))]
    if found.sets:
        names = ("set", "method", "ARI", "clusters found")
        sets = [(s["set"], s["method"], f"{s['ari']:.2f}", f"{s['n_found']} of {s['n_clusters']}") for s in found.sets]
        parts.append(terminal.table(names, sets, numeric=(2,)))
    parts.append(f"tables and figures  {found.folder}")
    return "\n\n".join(parts)


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ParameterError(f"--levels {text}: give levels such as 0,1,2,3") from error


def _changed(params: BenchmarkParams, changes: dict[str, Any]) -> BenchmarkParams:
    from napari_aptdefect.cli.options import overridden

    return overridden(params, changes)
