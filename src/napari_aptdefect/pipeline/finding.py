"""The stages of the main job, joined: what they find in a cloud with ranges, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage, estimate_background
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
from napari_aptdefect.pipeline.judging import Gathered, judge
from napari_aptdefect.pipeline.learning.choice import chosen_model, model_notes
from napari_aptdefect.pipeline.learning.model_file import DefectModel
from napari_aptdefect.pipeline.learning.sight import Sight, Sights, joined_sights, look, nothing_seen
from napari_aptdefect.pipeline.notes import range_notes, specimen_notes, void_notes
from napari_aptdefect.pipeline.outputs import Found
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.sequence import Evaporation, align_masses, align_places, sequence_notes
from napari_aptdefect.pipeline.specimen import Described, Specimen, run_chain, run_on_cluster
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


def find_both(
    cloud: IonCloud, table: RangeTable, params: AnalysisParams | None = None, seed: int = 0
) -> Stage[tuple[Found, Found | None]]:
    """Run all stages as `find` does, and judge twice: without anything learned, and by the model where there is one."""
    job = Job(params or AnalysisParams(), seed)
    aligned, drift = yield from align_masses(job, cloud, 0, 6)
    gathered = yield from gather(job, aligned, table, "the cloud", drift)
    plain = yield from conclude(job, gathered)
    model = yield from chosen_model(job, gathered)
    if model is None:
        return plain, None
    sights = yield from _look(job, model, gathered)
    learned = yield from conclude(job, gathered, sights)
    return plain, learned


def find_with(job: Job, cloud: IonCloud, table: RangeTable, name: str, masses: PeakDrift | None) -> Stage[Found]:
    """Run all stages within a job, from 6 to 88 of 100; `name` is what an error calls the cloud."""
    gathered = yield from gather(job, cloud, table, name, masses)
    model = yield from chosen_model(job, gathered)
    sights = None if model is None else (yield from _look(job, model, gathered))
    found = yield from conclude(job, gathered, sights)
    return found


def gather(job: Job, cloud: IonCloud, table: RangeTable, name: str, masses: PeakDrift | None) -> Stage[Gathered]:
    """Measure the cloud and its references, from 6 to 78 of 100; nothing is judged yet."""
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
    return Gathered(
        cloud,
        ranging,
        Evaporation(masses, places),
        mass_background,
        normalized,
        consistent,
        estimate,
        tuple(references),
        hull,
        measured,
        tuple(by_chance),
        voids,
    )


def _look(job: Job, model: DefectModel, gathered: Gathered) -> Stage[Sights]:
    """Let a model look at the cloud and at its references."""
    ions = gathered.ranging.table.ions
    mine: Sight = yield from job.run("network", look(model, gathered.xyz_nm, gathered.species_idx, ions), 78, 79)
    if model.for_lattice:
        return Sights(model, mine, nothing_seen(model))
    theirs = []
    for one in gathered.references:
        part = yield from job.run("network on the reference", look(model, one.xyz_nm, one.species_idx, ions), 79, 80)
        theirs.append(part)
    return Sights(model, mine, joined_sights(theirs))


def conclude(job: Job, gathered: Gathered, sights: Sights | None = None) -> Stage[Found]:
    """Judge what was measured, from 80 to 88 of 100: by a model's sights, or without anything learned."""
    normalized, voids, measured = gathered.normalized, gathered.voids, gathered.measured
    used, xyz = normalized.used, gathered.xyz_nm
    consistent = gathered.consistent
    weight = np.ones(len(xyz), np.float32) if consistent is None else consistent.weight[used]
    fused, clusters, joint = yield from judge(job, gathered, weight, sights)
    notes = [
        *specimen_notes(measured.features.judged, joint.defects, normalized),
        *model_notes(job, sights),
        *void_notes(voids, joint.void_defect),
        *sequence_notes(gathered.evaporation, job),
        *background_notes(gathered.mass_background, gathered.ranging, job),
        *range_notes(job.issues),
    ]
    return Found(
        gathered.cloud,
        gathered.ranging,
        gathered.evaporation,
        normalized,
        consistent,
        gathered.hull,
        measured,
        fused,
        clusters,
        joint.defects,
        voids,
        joint.void_defect,
        gathered.estimate.channels,
        normalized.frame.sample(gathered.estimate.background.density, xyz) / np.float32(normalized.frame.voxel_nm**3),
        tuple(notes),
        mass_background=gathered.mass_background,
        sights=sights,
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
