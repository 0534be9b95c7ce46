"""The stages of the main job, joined: what they find in a cloud with ranges, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage, estimate_background
from napari_aptdefect.apt.clustering import Candidates, Clusters, cluster
from napari_aptdefect.apt.defects import Chance, Defects, Evidence, find_defects
from napari_aptdefect.apt.fusion import Fused, fuse
from napari_aptdefect.apt.hull import specimen_hull
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.apt.peak_drift import PeakDrift
from napari_aptdefect.apt.ranging import Ranging, identify
from napari_aptdefect.apt.reference import Reference, matched_reference, n_draws
from napari_aptdefect.apt.voids import Voids, find_voids
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.errors import EmptySelectionError, Issue, ParameterError
from napari_aptdefect.fields import Frame
from napari_aptdefect.pipeline.background import background_notes, kept_by_mass, measure_background
from napari_aptdefect.pipeline.checks import check_geometry
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.notes import range_notes, specimen_notes, void_notes
from napari_aptdefect.pipeline.outputs import Found
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.sequence import Evaporation, align_masses, align_places, sequence_notes
from napari_aptdefect.pipeline.specimen import Described, Specimen, joined, run_chain, run_on_cluster
from napari_aptdefect.pipeline.void_defects import Joint, join_voids
from napari_aptdefect.stage import Stage

LEAST_IONS = 200
"""Below, no neighborhood is large enough to be compared with chance."""


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
    job = Job(params or AnalysisParams(), seed)
    aligned, drift = yield from align_masses(job, cloud, 0, 6)
    result = yield from find_with(job, aligned, table, "the cloud", drift)
    return result


def find_with(job: Job, cloud: IonCloud, table: RangeTable, name: str, masses: PeakDrift | None) -> Stage[Found]:
    """Run all stages within a job, from 6 to 88 of 100; `name` is what an error calls the cloud."""
    params = job.params
    ranging: Ranging = yield from job.run("ranging", identify(cloud, table, params.ranging), 6, 7)
    mass_background = yield from measure_background(job, cloud, table)
    xyz_nm, places = yield from align_places(job, cloud.xyz_nm, 7, 8)
    keep = kept_by_mass(job, ranging)
    normalized: Normalized = yield from job.run("normalize", normalize(xyz_nm, params.normalize, keep=keep), 8, 10)
    job.note("normalize", normalized.issues)
    normalized, consistent = yield from check_geometry(job, cloud, normalized, 10, 12)
    used = normalized.used
    xyz, species = normalized.xyz_nm[used], ranging.ion_idx[used]
    if len(xyz) < LEAST_IONS:
        raise EmptySelectionError(
            f"{name}: {len(xyz)} usable ions; at least {LEAST_IONS} are needed to tell a defect from chance"
        )
    estimate: BackgroundStage = yield from job.run(
        "background",
        estimate_background(xyz, species, normalized.frame, normalized.inside, params.background),
        12,
        15,
    )
    references = yield from _references(job, len(xyz), normalized.frame, estimate)
    hull = yield from _hull(job, xyz)
    measured, by_chance = yield from _describe_all(job, normalized.frame, estimate, xyz, species, references, hull)
    voids = yield from _voids(job, xyz, normalized, estimate)
    share = sum(one.share for one in references)
    weight = np.ones(len(xyz), np.float32) if consistent is None else consistent.weight[used]
    fused, clusters, joint = yield from _judge(job, xyz, normalized, measured, by_chance, share, voids, weight)
    evaporation = Evaporation(masses, places)
    notes = [
        *specimen_notes(measured.features.judged, joint.defects, normalized),
        *void_notes(voids, joint.void_defect),
        *sequence_notes(evaporation, job),
        *background_notes(mass_background, ranging, job),
        *range_notes(job.issues),
    ]
    return Found(
        cloud,
        ranging,
        evaporation,
        normalized,
        consistent,
        hull,
        measured,
        fused,
        clusters,
        joint.defects,
        voids,
        joint.void_defect,
        estimate.channels,
        normalized.frame.sample(estimate.background.density, xyz) / np.float32(normalized.frame.voxel_nm**3),
        tuple(notes),
        mass_background=mass_background,
    )


def _references(job: Job, n_ions: int, frame: Frame, estimate: BackgroundStage) -> Stage[list[Reference]]:
    """Matched specimens without defects."""
    references = []
    for draw in range(n_draws(n_ions, job.params.reference)):
        drawn: Reference = yield from job.run(
            "reference",
            matched_reference(
                frame, estimate.background, estimate.channels, job.params.reference, seed=job.seed, draw=draw
            ),
            15,
            17,
        )
        references.append(drawn)
    return references


def _hull(job: Job, xyz: NDArray[np.float32]) -> Stage[SpecimenHull | None]:
    """Find the hull of the specimen; None where that was not asked for, or is not possible."""
    if not job.params.steps.hull:
        return None
    try:
        found: SpecimenHull = yield from job.run("hull", specimen_hull(xyz, job.params.hull), 17, 18)
    except (EmptySelectionError, ParameterError) as error:
        job.note("hull", (Issue("no-hull", f"the hull was not found, cells at the surface end at a limit: {error}"),))
        return None
    return found


def _voids(
    job: Job, xyz: NDArray[np.float32], normalized: Normalized, estimate: BackgroundStage
) -> Stage[Voids | None]:
    """Search for voids; None where that was not asked for, or is not possible."""
    if not job.params.steps.voids:
        return None
    search = find_voids(
        xyz,
        normalized.frame,
        normalized.inside,
        job.params.voids,
        job.seed,
        expected=estimate.background.density,
    )
    try:
        found: Voids = yield from job.run("voids", search, 70, 78)
    except (EmptySelectionError, ParameterError) as error:
        job.note("voids", (Issue("no-void-search", f"voids were not searched for: {error}"),))
        return None
    return found


def _judge(
    job: Job,
    xyz: NDArray[np.float32],
    normalized: Normalized,
    measured: Described,
    by_chance: Sequence[Described],
    share: float,
    voids: Voids | None,
    weight: NDArray[np.float32],
) -> Stage[tuple[Fused, Clusters, Joint]]:
    """Fuse the features, cluster what stands out, and join it into defects.

    `share` is what the references cover; the anomaly of an ion that the checks weigh down counts for as much less.
    """
    params = job.params
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
            seed=job.seed,
        ),
        80,
        86,
    )
    anomaly = fused.anomaly * weight
    stands_out = (clusters.label >= 0) & ((weight == 1) | (anomaly > clusters.threshold))
    evidence = Evidence(
        xyz,
        anomaly,
        np.where(stands_out, near.nature, np.int16(-1)),
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
    chance = Chance(fused.reference_anomaly, by_nature, far.judged, far_graph, share)
    defects: Defects = yield from job.run(
        "defects", find_defects(evidence, measured.graph, chance, clusters.threshold, params.defects), 86, 88
    )
    return fused, clusters, join_voids(defects, voids, evidence, params.defects, params.voids.false_alarms)


def _describe_all(
    job: Job,
    frame: Frame,
    estimate: BackgroundStage,
    xyz: NDArray[np.float32],
    species: NDArray[np.int16],
    references: Sequence[Reference],
    hull: SpecimenHull | None,
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
    specimens[0] = replace(specimens[0], hull=hull)
    if job.scheduler is not None:
        found = yield from job.run("specimens on the cluster", run_on_cluster(specimens, job.scheduler), 18, 70)
        return found[0], found[1:]
    measured = yield from job.run("measured specimen", run_chain(specimens[0]), 18, 44)
    step = 26 / len(references)
    by_chance = []
    for i, one in enumerate(specimens[1:]):
        part = yield from job.run("reference specimen", run_chain(one), 44 + step * i, 44 + step * (i + 1))
        by_chance.append(part)
    return measured, by_chance
