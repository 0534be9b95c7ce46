"""One benchmark from its parameters to its table: plan, run, sum up, write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.labeled_sets import set_tasks
from napari_aptdefect.pipeline.benchmark.methods import choose
from napari_aptdefect.pipeline.benchmark.plan import BenchmarkParams, plan
from napari_aptdefect.pipeline.benchmark.pool import run_tasks
from napari_aptdefect.pipeline.benchmark.summary import Row, flat_rows, summarize, target_rows
from napari_aptdefect.pipeline.benchmark.tables import levels_markdown, sets_markdown
from napari_aptdefect.pipeline.benchmark.tasks import Results, Task
from napari_aptdefect.pipeline.benchmark.work import work
from napari_aptdefect.pipeline.record import versions
from napari_aptdefect.stage import Progress, Stage


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A finished benchmark.

    Parameters
    ----------
    folder
        Where its files are.
    rows
        One per method and level.
    sets
        One per method and labeled set of others.
    tuned
        Parameters that each method got at each level, with all trials.
    """

    folder: Path
    rows: tuple[Row, ...]
    sets: tuple[dict[str, Any], ...]
    tuned: dict[str, Any]

    @property
    def markdown(self) -> str:
        """All tables."""
        parts = [levels_markdown(self.rows)]
        if self.sets:
            parts += ["## Labeled sets of others", sets_markdown(self.sets)]
        return "\n\n".join(parts) + "\n"


def benchmark(
    out: Path,
    params: BenchmarkParams | None = None,
    *,
    methods: Sequence[str] = (),
    sets: Path | None = None,
    n_jobs: int = 1,
) -> Stage[Benchmark]:
    """Run every method on every level over several wires and write tables and figures.

    Parameters
    ----------
    out
        Folder for the results. What another call with the same parameters and code has done there is not done again.
    params
        How much is run.
    methods
        Names of methods; all of them when empty.
    sets
        Folder with the labeled sets of others; without one they are left out.
    n_jobs
        Number of processes.

    Yields
    ------
    Progress with the time that is left. Closing the generator leaves what is done, and nothing half-written.

    Raises
    ------
    ParameterError
        If a method is unknown.
    MissingFileError
        If a labeled set is missing.
    """
    params = params or BenchmarkParams()
    if n_jobs < 1:
        raise ParameterError(f"the number of processes must be at least 1, got {n_jobs}")
    chosen = choose(methods)
    runs = plan(params, chosen)
    set_runs = [] if sets is None else set_tasks(sets, chosen, params.budget)
    results = Results(out / "tasks")
    yield from run_tasks([*set_runs, *runs], results, work, n_jobs)
    yield Progress(1, 1, "benchmark: tables and figures")
    return _write(out, params, results, runs, set_runs)


def _write(
    out: Path, params: BenchmarkParams, results: Results, runs: Sequence[Task], set_runs: Sequence[Task]
) -> Benchmark:
    from napari_aptdefect.pipeline.benchmark.figures import write_figures

    loaded = [results.load(task) for task in runs]
    fits = {need.key: need for task in runs for name, need in task.needs.items() if name == "fit"}
    tuned = {task.name: results.load(task) for task in fits.values()}
    found = Benchmark(out, tuple(summarize(loaded)), tuple(results.load(task) for task in set_runs), tuned)
    targets = target_rows(loaded)
    write_figures(found.rows, targets, out / "figures")
    _parquet(out / "results.parquet", flat_rows(loaded))
    _parquet(out / "targets.parquet", targets)
    _parquet(out / "summary.parquet", [row.as_dict() for row in found.rows])
    _text(out / "benchmark.md", found.markdown)
    record = {
        "format": "napari-aptdefect benchmark 1",
        "parameters": params.model_dump(mode="json"),
        "versions": versions(),
        "tuned": tuned,
        "sets": found.sets,
    }
    _text(out / "benchmark.json", json.dumps(record, indent=2) + "\n")
    return found


def _parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pandas as pd

    temporary = path.with_suffix(".partial")
    pd.DataFrame(list(rows)).to_parquet(temporary, index=False)
    temporary.replace(path)


def _text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
