"""The verbs that run the main job: ``analyze`` and ``rerun``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.options import given, options_for, overridden
from napari_aptdefect.pipeline import analysis
from napari_aptdefect.pipeline.run_folder import RunFolder

Switch = Parameter(negative=())


def analyze(
    input_path: Annotated[Path, Parameter(name="INPUT")],
    /,
    *,
    out: Path,
    ranges: Path | None = None,
    regions: tuple[Path, ...] = (),
    params: Path | None = None,
    seed: NonNegativeInt = 0,
    scheduler: str | None = None,
    overwrite: Annotated[bool, Switch] = False,
    as_json: Annotated[bool, Switch, Parameter(name="--json")] = False,
    options: options_for(analysis.AnalysisParams) = None,  # type: ignore[valid-type]
) -> int:
    """Find the defects in an ion cloud and write a run folder with a report.

    Parameters
    ----------
    input_path
        Ion cloud: .pos, .epos, .apt, .ato, .parquet or NXapm (.nxs, .h5).
    out
        Run folder to write.
    ranges
        Range file (.rrng, .rng, .env); without one, ranges are suggested from the mass spectrum.
    regions
        Drawn regions for features.parquet: shapes saved by napari (.csv) or labels on voxels (.npz); may be repeated.
    params
        TOML file with parameters, one table per stage; options given here override it.
    seed
        Seed of everything random.
    scheduler
        Address of a Dask scheduler, such as tcp://host:8786; without one, this process does all.
    overwrite
        Replace a run that is already there.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        chosen = overridden(analysis.load_params(params), given(options))
        stage = analysis.analyze(
            input_path,
            out,
            ranges=ranges,
            regions=regions,
            params=chosen,
            seed=seed,
            scheduler=scheduler,
            overwrite=overwrite,
        )
        _finish(terminal.run_stage(stage), write)
    return terminal.EXIT.DONE


def rerun(
    run: Annotated[Path, Parameter(name="RUN")],
    /,
    *,
    out: Path,
    as_json: Annotated[bool, Switch, Parameter(name="--json")] = False,
) -> int:
    """Repeat a run with the same input, parameters and seed.

    Parameters
    ----------
    run
        Run folder that `aptdefect analyze` wrote.
    out
        Run folder to write.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        _finish(terminal.run_stage(analysis.rerun(run, out)), write)
    return terminal.EXIT.DONE


def run_result(run: RunFolder) -> dict[str, Any]:
    """Gather what a finished run says in short."""
    record = run.record
    return {
        "run": str(run.path),
        "report": str(run.report),
        "figures": [str(path) for path in sorted((run.path / "figures").glob("*.png"))],
        "seconds": sum(float(stage["seconds"]) for stage in record["stages"]),
        "summary": record["summary"],
        "issues": record["issues"],
    }


def run_text(result: Mapping[str, Any]) -> str:
    """Render what `run_result` gathered for a person."""
    summary = result["summary"]
    by_class = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in summary["by_class"].items() if n)
    lines = [
        f"{summary['n_ions']:,} ions, {summary['n_ranged']:,} ranged, in {result['seconds']:.0f} s",
        f"{summary['n_defects']:,} defects{': ' + by_class if by_class else ''}",
        *(f"note: {note}" for note in summary.get("notes", ())),
        *(f"{issue['severity']}: {issue['message']}" for issue in result["issues"] if issue["severity"] == "warning"),
        f"run folder  {result['run']}",
        f"report      {result['report']}",
    ]
    return "\n".join(lines)


def _finish(run: RunFolder, write: Any) -> None:
    result = run_result(run)
    write(result, lambda: run_text(result))
