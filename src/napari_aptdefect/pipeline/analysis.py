"""The main job: from an instrument's file to a run folder with named, located, quantified defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.ranging import check_ranges, lint_ranges, suggest
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.data.region import Region
from napari_aptdefect.errors import EmptySelectionError, Issue, ParameterError, RunFolderError
from napari_aptdefect.io import read_cloud, read_ranges, write
from napari_aptdefect.pipeline.defect_rows import defect_table, void_table
from napari_aptdefect.pipeline.defect_topology import check_topology, defect_topology, topology_table
from napari_aptdefect.pipeline.feature_tables import feature_table
from napari_aptdefect.pipeline.finding import LEAST_IONS, find_with
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.learning.choice import shipped_models
from napari_aptdefect.pipeline.notes import consistency_note
from napari_aptdefect.pipeline.outputs import Found, dictionaries, ion_columns, summarize, volumes
from napari_aptdefect.pipeline.params import AnalysisParams, load_params
from napari_aptdefect.pipeline.record import sha256_of, versions
from napari_aptdefect.pipeline.regions import read_all
from napari_aptdefect.pipeline.report import ReportData, write_report
from napari_aptdefect.pipeline.run_folder import (
    RunFolder,
    new_run,
    write_defects,
    write_features,
    write_ions,
    write_record,
    write_topology,
    write_voids,
    write_volumes,
)
from napari_aptdefect.pipeline.sequence import align_masses
from napari_aptdefect.pipeline.specimen import check_scheduler
from napari_aptdefect.pipeline.structure import Structure, measure_structure
from napari_aptdefect.stage import Progress, Stage, scaled

__all__ = ["AnalysisParams", "analyze", "load_params", "rerun"]


def analyze(
    input_path: Path,
    out: Path,
    *,
    ranges: Path | None = None,
    regions: Sequence[Path] = (),
    params: AnalysisParams | None = None,
    seed: int = 0,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Stage[RunFolder]:
    """Analyze an ion cloud for defects and write a run folder.

    Parameters
    ----------
    input_path
        Ion cloud in any format that `napari_aptdefect.read` knows.
    out
        Run folder to make.
    ranges
        Range file; without one the ranges are suggested from the mass spectrum.
    regions
        Files of drawn regions that the feature table refers to (`io.regions.read_regions`), in the frame of
        ``ions.parquet``.
    params
        Parameters of all stages; the defaults when None.
    seed
        Seed of all random numbers: the same input, parameters and seed give the same tables.
    scheduler
        Address of a Dask scheduler that shall do the heavy stages; here when None.
    overwrite
        Replace a run that is already in `out`.

    Yields
    ------
    Progress of 100; closing the generator cancels the job and leaves nothing behind.

    Raises
    ------
    MissingExtraError
        If the topology of defects is asked for and GUDHI is not installed.
    FormatError
        If a file does not hold what its format promises.
    EmptySelectionError
        If too few ions are left to judge anything.
    RunFolderError
        If the run folder can't be made.
    ParameterError
        If regions are given and no feature table is asked for.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain  # doctest: +SKIP
    >>> run = drain(analyze(Path("tip.epos"), Path("tip-run"), ranges=Path("tip.rrng")))  # doctest: +SKIP
    """
    job = Job(params or AnalysisParams(), seed, scheduler)
    check_topology(job)
    if scheduler is not None:
        check_scheduler(scheduler)
    drawn = _regions(job, regions)
    started = datetime.now(UTC)
    with new_run(out, overwrite=overwrite) as work:
        found = yield from _find(job, input_path, ranges)
        yield Progress(91, 100, "write: tables and grids")
        record = _provenance(job, input_path, ranges, found, started)
        record["regions"] = [_file_entry(path) for path in regions]
        yield from _write(job, found, drawn, work, record)
    yield Progress(100, 100, "done")
    return RunFolder(out)


def rerun(run: Path, out: Path) -> Stage[RunFolder]:
    """Repeat a run: the same input, which is checked by its hash, the same parameters and the same seed.

    Raises
    ------
    RunFolderError
        If the run is not complete, or its input or range file is gone or has changed.
    """
    record = RunFolder(run).record
    drawn = record.get("regions", [])
    entries = {"input": record["input"], "ranges": record["ranges"]}
    entries |= {f"regions {n}": entry for n, entry in enumerate(drawn, 1)}
    files: dict[str, Path] = {}
    for n_done, (key, entry) in enumerate(entries.items()):
        if "path" not in entry:
            continue
        path = Path(entry["path"])
        yield Progress(n_done, 100, f"check that {path.name} is unchanged")
        if not path.is_file():
            raise RunFolderError(f"{path}, the {key} of the run {run}, is gone; put it back or run `aptdefect analyze`")
        if sha256_of(path) != entry["sha256"]:
            raise RunFolderError(f"{path}, the {key} of the run {run}, has changed since; run `aptdefect analyze`")
        files[key] = path
    if "input" not in files:
        raise RunFolderError(f"{run}/run.json names no input file")
    params = AnalysisParams.model_validate(record["parameters"])
    _check_model(run, params, record["summary"].get("model"))
    result: RunFolder = yield from analyze(
        files["input"],
        out,
        ranges=files.get("ranges"),
        regions=[path for key, path in files.items() if key.startswith("regions")],
        params=params,
        seed=int(record["seed"]),
        scheduler=record["scheduler"],
    )
    return result


def _check_model(run: Path, params: AnalysisParams, used: Mapping[str, Any] | None) -> None:
    """Make sure that the model which named the defects of a run is the one that would do so again."""
    if used is None or "sha256" not in used:
        return
    files = [Path(params.model.path)] if params.model.path else list(shipped_models())
    if not any(path.is_file() and sha256_of(path) == used["sha256"] for path in files):
        raise RunFolderError(
            f"the model {used['file']} that named the defects of the run {run} is gone or has changed; "
            "run `aptdefect analyze`"
        )


def _regions(job: Job, paths: Sequence[Path]) -> dict[str, Region]:
    """Read the regions before anything else is done."""
    if paths and not job.params.steps.features:
        raise ParameterError(
            "regions are for the feature table, which is off; say --steps.features, or [steps] features = true in the "
            "parameter file"
        )
    return read_all(paths, job.params.drawn_regions)


def _find(job: Job, input_path: Path, ranges: Path | None) -> Stage[Found]:
    """Read, run all stages, and check their consistency."""
    cloud = yield from job.run("read", _read(job, input_path), 0, 3)
    cloud, masses = yield from align_masses(job, cloud, 3, 4)
    table = yield from job.run("read ranges", _ranges(job, cloud, input_path, ranges), 4, 6)
    found: Found = yield from find_with(job, cloud, table, str(input_path), masses)
    xyz = found.normalized.xyz_nm[found.normalized.used]
    structure = yield from _structure(job, xyz, found)
    topology = yield from defect_topology(job, found, 89, 90)
    with job.log.measure("Voronoi check"):
        note = consistency_note(xyz, found.measured, job.params.voronoi, job.seed)
    yield Progress(90, 100, "Voronoi check: done")
    return replace(found, structure=structure, topology=topology, notes=(*found.notes, note))


def _structure(job: Job, xyz: NDArray[np.float32], found: Found) -> Stage[Structure | None]:
    """Measure the structure; None where that was not asked for, or is not possible."""
    if not job.params.steps.structure:
        return None
    inner, density = found.measured.features.judged, found.density_nm3
    try:
        structure: Structure = yield from job.run(
            "structure", measure_structure(xyz, inner, density, job.params.structure, job.seed), 88, 89
        )
    except (EmptySelectionError, ParameterError) as error:
        job.note("structure", (Issue("no-structure", f"the structure was not measured: {error}", severity="info"),))
        return None
    return structure


def _read(job: Job, input_path: Path) -> Stage[IonCloud]:
    yield Progress(0, 2, f"open {input_path.name}")
    cloud = read_cloud(input_path)
    if cloud.n_ions < LEAST_IONS:
        raise EmptySelectionError(
            f"{input_path}: {cloud.n_ions} ions; at least {LEAST_IONS} are needed to tell a defect from chance"
        )
    yield Progress(1, 2, f"check {cloud.n_ions} ions")
    job.note("read", (*cloud.issues, *cloud.check()))
    return cloud


def _ranges(job: Job, cloud: IonCloud, input_path: Path, ranges: Path | None) -> Stage[RangeTable]:
    yield Progress(0, 1, "ranges")
    if ranges is not None:
        table = read_ranges(ranges)
        job.note("ranging", (*table.issues, *lint_ranges(table), *_against_spectrum(table, cloud)))
    else:
        table = yield from scaled(suggest(cloud, job.params.peaks), 0, 100, lambda p: f"suggest ranges: {p.message}")
        job.note("ranging", table.issues)
        if not table.ranges:
            raise EmptySelectionError(
                f"{input_path}: no peak was found in the mass spectrum; give a range file (--ranges)"
            )
    yield Progress(1, 1, f"{len(table.ranges)} ranges")
    return table


def _against_spectrum(table: RangeTable, cloud: IonCloud) -> tuple[Issue, ...]:
    """Compare the ranges with the spectrum; a spectrum without peaks is an issue, not the end."""
    try:
        return check_ranges(table, cloud.mass_da)
    except EmptySelectionError as error:
        return (Issue("no-peaks", f"the ranges can't be checked against the spectrum: {error}"),)


def _write(job: Job, found: Found, regions: Mapping[str, Region], work: Path, record: dict[str, Any]) -> Stage[None]:
    """Write tables, grids, report and, last, the record."""
    if job.params.steps.features:
        features = yield from feature_table(job, found, regions, 91, 93)
        write_features(work, features)
        del features
    with job.log.measure("write"):
        table = defect_table(found.defects, found.normalized.used, found.ranging)
        columns = ion_columns(found)
        write_ions(work, {**columns, **dictionaries(columns, found)})
        write_defects(work, table)
        voids = None if found.voids is None else void_table(found.voids, found.void_defect)
        if voids is not None:
            write_voids(work, voids)
        if found.topology is not None:
            write_topology(work, topology_table(found.topology))
        grids = volumes(job.params, found)
        write_volumes(work, grids)
        write(found.ranging.table, work / "ranges.rrng")
    record["stages"] = job.log.entries
    record["issues"] = job.issues
    record["summary"] = summarize(found, table, columns["flags"])
    report = write_report(
        work,
        ReportData(
            Path(record["input"]["path"]).name,
            record,
            found.ranging.table,
            found.ranging.counts,
            found.cloud.mass_da,
            found.normalized.xyz_nm,
            found.ranging.ion_idx,
            columns["cluster"],
            columns["defect"],
            columns["class_idx"],
            columns["defect_probability"],
            columns["anomaly_score"],
            table,
            {grid.name: grid for grid in grids},
            found.evaporation,
            voids,
            found.structure,
            found.consistent,
            found.mass_background,
            found.topology,
        ),
    )
    yield from job.run("report", report, 93, 100)
    write_record(work, record)


def _provenance(job: Job, input_path: Path, ranges: Path | None, found: Found, started: datetime) -> dict[str, Any]:
    table = found.ranging.table
    return {
        "format": "napari-aptdefect run 1",
        "created": started.isoformat(timespec="seconds"),
        "input": {
            **_file_entry(input_path),
            "n_ions": found.cloud.n_ions,
            "format": found.cloud.format,
        },
        "ranges": _file_entry(ranges) if ranges else {"suggested": True, "n_ranges": len(table.ranges)},
        "parameters": job.params.model_dump(mode="json"),
        "seed": job.seed,
        "scheduler": job.scheduler,
        "versions": versions(),
    }


def _file_entry(path: Path) -> dict[str, Any]:
    return {"path": str(path.absolute()), "sha256": sha256_of(path), "size": path.stat().st_size}
