"""The stages of the main job, joined: what they find in a cloud with ranges, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage, estimate_background
from napari_aptdefect.apt.clustering import Candidates, Clusters, cluster
from napari_aptdefect.apt.defects import Chance, Defects, Evidence, find_defects
from napari_aptdefect.apt.fusion import Fused, fuse
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.apt.ranging import Ranging, identify
from napari_aptdefect.apt.reference import Reference, matched_reference, n_draws
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.fields import Frame
from napari_aptdefect.pipeline.notes import range_notes, specimen_notes
from napari_aptdefect.pipeline.outputs import Found
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.record import StageLog
from napari_aptdefect.pipeline.specimen import Described, Specimen, joined, run_chain, run_on_cluster
from napari_aptdefect.stage import Stage, scaled

LEAST_IONS = 200
"""Below, no neighborhood is large enough to be compared with chance."""


class Job:
    """One analysis: keeps the log of its stages and the issues they report."""

    def __init__(self, params: AnalysisParams, seed: int, scheduler: str | None = None) -> None:
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
            result = yield from scaled(stage, start, stop, lambda p: f"{name}: {p.message}")
        return result


def find(cloud: IonCloud, table: RangeTable, params: AnalysisParams | None = None, seed: int = 0) -> Stage[Found]:
    """Run all stages on a cloud in memory, as `analyze` does on a file, and write nothing.

    Parameters
    ----------
    cloud
        The ions.
    table
        Ranges that name them.
    params
        Parameters of all stages; the defaults when None.
    seed
        Seed of all random numbers.

    Raises
    ------
    EmptySelectionError
        If too few ions are left to judge anything.
    """
    result = yield from find_with(Job(params or AnalysisParams(), seed), cloud, table, "the cloud")
    return result


def find_with(job: Job, cloud: IonCloud, table: RangeTable, name: str) -> Stage[Found]:
    """Run all stages within a job, from 6 to 88 of 100; `name` is what an error calls the cloud."""
    params, seed = job.params, job.seed
    ranging: Ranging = yield from job.run("ranging", identify(cloud, table, params.ranging), 6, 8)
    normalized: Normalized = yield from job.run("normalize", normalize(cloud.xyz_nm, params.normalize), 8, 11)
    job.note("normalize", normalized.issues)
    used = normalized.used
    xyz, species = normalized.xyz_nm[used], ranging.ion_idx[used]
    if len(xyz) < LEAST_IONS:
        raise EmptySelectionError(
            f"{name}: {len(xyz)} usable ions; at least {LEAST_IONS} are needed to tell a defect from chance"
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
    return Found(cloud, ranging, normalized, measured, fused, clusters, defects, channels, tuple(notes))


def _describe_all(
    job: Job,
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
