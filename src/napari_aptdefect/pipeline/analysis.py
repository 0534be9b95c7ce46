"""The main job: from an instrument's file to a run folder with named, located, quantified defects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage, estimate_background
from napari_aptdefect.apt.clustering import Candidates, Clusters, cluster
from napari_aptdefect.apt.defects import Chance, Defects, Evidence, find_defects
from napari_aptdefect.apt.fusion import Fused, fuse
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.apt.ranging import Ranging, check_ranges, identify, lint_ranges, suggest
from napari_aptdefect.apt.reference import Reference, matched_reference, n_draws
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.errors import EmptySelectionError, Issue, RunFolderError
from napari_aptdefect.fields import Frame
from napari_aptdefect.io import read_cloud, read_ranges, write
from napari_aptdefect.pipeline.defect_rows import defect_table
from napari_aptdefect.pipeline.notes import consistency_note, range_notes, specimen_notes
from napari_aptdefect.pipeline.outputs import Found, dictionaries, ion_columns, summarize, volumes
from napari_aptdefect.pipeline.params import AnalysisParams, load_params
from napari_aptdefect.pipeline.record import StageLog, sha256_of, versions
from napari_aptdefect.pipeline.report import ReportData, write_report
from napari_aptdefect.pipeline.run_folder import (
    RunFolder,
    new_run,
    write_defects,
    write_ions,
    write_record,
    write_volumes,
)
from napari_aptdefect.pipeline.specimen import (
    Described,
    Specimen,
    check_scheduler,
    joined,
    run_chain,
    run_on_cluster,
    scaled,
)
from napari_aptdefect.stage import Progress, Stage

__all__ = ["AnalysisParams", "analyze", "load_params", "rerun"]

_LEAST_IONS = 200  # below, no neighborhood is large enough to be compared with chance


class _Job:
    """One analysis: keeps the log of its stages and the issues they report."""

    def __init__(self, params: AnalysisParams, seed: int, scheduler: str | None) -> None:
        self.params, self.seed, self.scheduler = params, seed, scheduler
        self.log = StageLog()
        self.issues: list[dict[str, Any]] = []

    def note(self, stage: str, issues: tuple[Issue, ...]) -> None:
        """Keep issues for the record; none is dropped."""
        self.issues += [
            {"code": i.code, "message": str(i), "severity": i.severity, "stage": stage}
            for i in dict.fromkeys(issues)  # the same one can come from opening and from checking
        ]

    def run(self, name: str, stage: Stage[Any], start: float, stop: float) -> Stage[Any]:
        """Run one stage, measured, its progress mapped to start..stop of 100."""
        with self.log.measure(name):
            result = yield from scaled(stage, lambda p: f"{name}: {p.message}", start, stop)
        return result


def analyze(
    input_path: Path,
    out: Path,
    *,
    ranges: Path | None = None,
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
    FormatError
        If a file does not hold what its format promises.
    EmptySelectionError
        If too few ions are left to judge anything.
    RunFolderError
        If the run folder can't be made.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain  # doctest: +SKIP
    >>> run = drain(analyze(Path("tip.epos"), Path("tip-run"), ranges=Path("tip.rrng")))  # doctest: +SKIP
    """
    job = _Job(params or AnalysisParams(), seed, scheduler)
    if scheduler is not None:
        check_scheduler(scheduler)
    started = datetime.now(UTC)
    with new_run(out, overwrite=overwrite) as work:
        found = yield from _find(job, input_path, ranges)
        yield Progress(90, 100, "write: tables and grids")
        yield from _write(job, found, work, _provenance(job, input_path, ranges, found, started))
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
    files: dict[str, Path | None] = {"input": None, "ranges": None}
    for n_done, key in enumerate(files):
        entry = record[key]
        if "path" not in entry:
            continue
        path = Path(entry["path"])
        yield Progress(n_done, 100, f"check that {path.name} is unchanged")
        if not path.is_file():
            raise RunFolderError(f"{path}, the {key} of the run {run}, is gone; put it back or run `aptdefect analyze`")
        if sha256_of(path) != entry["sha256"]:
            raise RunFolderError(f"{path}, the {key} of the run {run}, has changed since; run `aptdefect analyze`")
        files[key] = path
    if files["input"] is None:
        raise RunFolderError(f"{run}/run.json names no input file")
    result: RunFolder = yield from analyze(
        files["input"],
        out,
        ranges=files["ranges"],
        params=AnalysisParams.model_validate(record["parameters"]),
        seed=int(record["seed"]),
        scheduler=record["scheduler"],
    )
    return result


def _find(job: _Job, input_path: Path, ranges: Path | None) -> Stage[Found]:
    """Run all stages."""
    params, seed = job.params, job.seed
    cloud, table = yield from job.run("read", _read(job, input_path, ranges), 0, 6)
    ranging: Ranging = yield from job.run("ranging", identify(cloud, table, params.ranging), 6, 8)
    normalized: Normalized = yield from job.run("normalize", normalize(cloud.xyz_nm, params.normalize), 8, 11)
    job.note("normalize", normalized.issues)
    used = normalized.used
    xyz, species = normalized.xyz_nm[used], ranging.ion_idx[used]
    if len(xyz) < _LEAST_IONS:
        raise EmptySelectionError(
            f"{input_path}: {len(xyz)} usable ions; at least {_LEAST_IONS} are needed to tell a defect from chance"
        )
    estimate: BackgroundStage = yield from job.run(
        "background",
        estimate_background(xyz, species, normalized.frame, normalized.inside, params.background),
        11,
        15,
    )
    background, channels = estimate.background, estimate.channels
    references = []
    for draw in range(n_draws(len(xyz), params.reference)):
        drawn: Reference = yield from job.run(
            "reference",
            matched_reference(normalized.frame, background, channels, params.reference, seed=seed, draw=draw),
            15,
            17,
        )
        references.append(drawn)
    measured, by_chance = yield from _describe_all(job, normalized.frame, estimate, xyz, species, references)
    near, (far, far_graph) = measured.features, joined(by_chance)
    fused: Fused = yield from job.run(
        "fusion", fuse(near.sets, far.sets, near.judged, far.judged, params.fusion), 78, 80
    )
    clusters: Clusters = yield from job.run(
        "clustering",
        cluster(
            Candidates(fused.vectors, fused.anomaly, near.judged),
            Candidates(fused.reference_vectors, fused.reference_anomaly, far.judged),
            params.clustering,
            seed=seed,
        ),
        80,
        86,
    )
    evidence = Evidence(
        xyz,
        fused.anomaly,
        np.where(clusters.label >= 0, near.nature, np.int16(-1)),
        near.strength,
        near.judged,
        near.enrichment,
        near.background_share,
        near.density_evidence,
        near.density_ratio,
        np.where(measured.cells.bounded, measured.cells.volume_nm3, np.nan).astype(np.float32),
        near.surface_nm,
        len(xyz) / (float(normalized.inside.sum()) * normalized.frame.voxel_nm**3),
    )
    by_nature = np.where(clusters.reference_label >= 0, far.nature, np.int16(-1))
    chance = Chance(fused.reference_anomaly, by_nature, far.judged, far_graph, sum(one.share for one in references))
    defects: Defects = yield from job.run(
        "defects", find_defects(evidence, measured.graph, chance, clusters.threshold, params.defects), 86, 88
    )
    notes = [*specimen_notes(near.judged, defects, normalized), *range_notes(job.issues)]
    with job.log.measure("consistency"):
        notes.append(consistency_note(xyz, measured, params.voronoi, seed))
    yield Progress(89, 100, "consistency: done")
    return Found(cloud, ranging, normalized, measured, fused, clusters, defects, channels, tuple(notes))


def _read(job: _Job, input_path: Path, ranges: Path | None) -> Stage[tuple[IonCloud, RangeTable]]:
    yield Progress(0, 3, f"open {input_path.name}")
    cloud = read_cloud(input_path)
    if cloud.n_ions < _LEAST_IONS:
        raise EmptySelectionError(
            f"{input_path}: {cloud.n_ions} ions; at least {_LEAST_IONS} are needed to tell a defect from chance"
        )
    yield Progress(1, 3, f"check {cloud.n_ions} ions")
    job.note("read", (*cloud.issues, *cloud.check()))
    if ranges is not None:
        table = read_ranges(ranges)
        job.note("ranging", (*table.issues, *lint_ranges(table), *_against_spectrum(table, cloud)))
    else:
        table = yield from scaled(
            suggest(cloud, job.params.peaks), lambda p: f"suggest ranges: {p.message}", 100 / 3, 100
        )
        job.note("ranging", table.issues)
        if not table.ranges:
            raise EmptySelectionError(
                f"{input_path}: no peak was found in the mass spectrum; give a range file (--ranges)"
            )
    yield Progress(3, 3, f"{len(table.ranges)} ranges")
    return cloud, table


def _against_spectrum(table: RangeTable, cloud: IonCloud) -> tuple[Issue, ...]:
    """Compare the ranges with the spectrum; a spectrum without peaks is an issue, not the end."""
    try:
        return check_ranges(table, cloud.mass_da)
    except EmptySelectionError as error:
        return (Issue("no-peaks", f"the ranges can't be checked against the spectrum: {error}"),)


def _describe_all(
    job: _Job,
    frame: Frame,
    estimate: BackgroundStage,
    xyz: NDArray[np.float32],
    species: NDArray[np.int16],
    references: Sequence[Reference],
) -> Stage[tuple[Described, list[Described]]]:
    """Run the chain on the measured specimen and on its references."""
    chain = (job.params.graph, job.params.voronoi, job.params.features)
    clouds = [
        ("measured", xyz, species, estimate.background),
        *(("reference", one.xyz_nm, one.species_idx, one.background) for one in references),
    ]
    specimens = [
        Specimen(name, places, labels, estimate.channels, frame, background, *chain)
        for name, places, labels, background in clouds
    ]
    if job.scheduler is not None:
        found = yield from job.run("specimens on the cluster", run_on_cluster(specimens, job.scheduler), 17, 78)
        return found[0], found[1:]
    measured = yield from job.run("measured specimen", run_chain(specimens[0]), 17, 48)
    step = 30 / len(references)
    by_chance = []
    for i, one in enumerate(specimens[1:]):
        part = yield from job.run("reference specimen", run_chain(one), 48 + step * i, 48 + step * (i + 1))
        by_chance.append(part)
    return measured, by_chance


def _write(job: _Job, found: Found, work: Path, record: dict[str, Any]) -> Stage[None]:
    """Write tables, grids, report and, last, the record."""
    with job.log.measure("write"):
        table = defect_table(found.defects, found.normalized.used, found.ranging)
        columns = ion_columns(found)
        write_ions(work, {**columns, **dictionaries(columns, found)})
        write_defects(work, table)
        grids = volumes(job.params, found)
        write_volumes(work, grids)
        write(found.ranging.table, work / "ranges.rrng")
    record["stages"] = job.log.entries
    record["issues"] = job.issues
    record["summary"] = summarize(found, table)
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
        ),
    )
    yield from job.run("report", report, 93, 100)
    write_record(work, record)


def _provenance(job: _Job, input_path: Path, ranges: Path | None, found: Found, started: datetime) -> dict[str, Any]:
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
