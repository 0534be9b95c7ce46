"""Judging: from what was measured to types and defects, by a trained model or without anything learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage
from napari_aptdefect.apt.clustering import Candidates, Clusters, cluster
from napari_aptdefect.apt.consistency import Consistent
from napari_aptdefect.apt.defects import Chance, Defects, Evidence, Named, find_defects
from napari_aptdefect.apt.fusion import Fused, fuse
from napari_aptdefect.apt.normalize import Normalized
from napari_aptdefect.apt.ranging import MassBackground, Ranging
from napari_aptdefect.apt.reference import Reference
from napari_aptdefect.apt.voids import Voids
from napari_aptdefect.data import DEFECT_CLASSES, IonCloud, NeighborGraph
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.learning.sight import Sight, Sights
from napari_aptdefect.pipeline.sequence import Evaporation
from napari_aptdefect.pipeline.specimen import Described, joined
from napari_aptdefect.pipeline.void_defects import Joint, join_voids
from napari_aptdefect.stage import Stage

_VACANCY: Final = DEFECT_CLASSES.index("vacancy")
_VOID: Final = DEFECT_CLASSES.index("void")


@dataclass(frozen=True, eq=False)
class Gathered:
    """What was measured, before anything is judged."""

    cloud: IonCloud
    ranging: Ranging
    evaporation: Evaporation
    mass_background: MassBackground | None
    normalized: Normalized
    consistent: Consistent | None
    estimate: BackgroundStage
    references: tuple[Reference, ...]
    hull: SpecimenHull | None
    measured: Described
    by_chance: tuple[Described, ...]
    voids: Voids | None

    @property
    def xyz_nm(self) -> NDArray[np.float32]:
        """Positions of the used ions, shape (N, 3), nm."""
        return self.normalized.xyz_nm[self.normalized.used]

    @property
    def species_idx(self) -> NDArray[np.int16]:
        """Species of the used ions, shape (N,)."""
        return self.ranging.ion_idx[self.normalized.used]


def judge(
    job: Job, gathered: Gathered, weight: NDArray[np.float32], sights: Sights | None
) -> Stage[tuple[Fused, Clusters, Joint]]:
    """Fuse the features, cluster what stands out, and join it into defects.

    With a model, its embedding takes the place of the fused features, its anomaly that of theirs, and the classes it
    gives the ions that of names after evidence and shape. The cut that leaves the matrix out comes with the model:
    the references hold the defects, smoothed, and would raise it. What groups chance makes of ions above the cut is
    known from the references either way. The anomaly of an ion that the checks weigh down counts for as much less.
    """
    if sights is None:
        found = yield from _without_model(job, gathered, weight)
    else:
        found = yield from _by_model(job, gathered, weight, sights)
    return found


def _without_model(job: Job, gathered: Gathered, weight: NDArray[np.float32]) -> Stage[tuple[Fused, Clusters, Joint]]:
    params, measured = job.params, gathered.measured
    near, (far, far_graph) = measured.features, joined(gathered.by_chance)
    fused: Fused = yield from job.run(
        "fusion", fuse(near.sets, far.sets, near.judged, far.judged, params.fusion), 80, 81
    )
    clusters: Clusters = yield from job.run(
        "clustering",
        cluster(
            Candidates(fused.vectors, fused.anomaly, near.judged),
            Candidates(fused.reference_vectors, fused.reference_anomaly, far.judged),
            params.clustering,
            seed=job.seed,
        ),
        81,
        86,
    )
    anomaly, stands_out = _standing_out(fused.anomaly, weight, clusters)
    evidence = _evidence(gathered, anomaly, np.where(stands_out, near.nature, np.int16(-1)), near.strength)
    by_nature = np.where(clusters.reference_label >= 0, far.nature, np.int16(-1))
    share = sum(one.share for one in gathered.references)
    chance = Chance(fused.reference_anomaly, by_nature, far.judged, far_graph, share)
    defects: Defects = yield from job.run(
        "defects", find_defects(evidence, measured.graph, chance, clusters.threshold, params.defects), 86, 88
    )
    return fused, clusters, join_voids(defects, gathered.voids, evidence, params.defects, params.voids.false_alarms)


def _by_model(
    job: Job, gathered: Gathered, weight: NDArray[np.float32], sights: Sights
) -> Stage[tuple[Fused, Clusters, Joint]]:
    params, near, seen = job.params, gathered.measured.features, sights.mine
    threshold = max(sights.model.cut, sights.model.threshold(1 - params.clustering.gate_quantile))
    clusters: Clusters = yield from job.run(
        "clustering",
        cluster(
            Candidates(seen.embedding, seen.anomaly, near.judged),
            None,
            params.clustering,
            seed=job.seed,
            threshold=threshold,
        ),
        80,
        86,
    )
    anomaly, stands_out = _standing_out(seen.anomaly, weight, clusters)
    nature = np.where(stands_out, seen.class_idx, -1).astype(np.int16)
    evidence = _evidence(gathered, anomaly, nature, np.ones_like(near.strength))  # the model has drawn the borders
    search, named = params.defects, Named(DEFECT_CLASSES, seen.probability)
    if sights.model.for_lattice:  # points are few ions, and no reference says what chance makes of a lattice
        search = search.model_copy(update={"min_ions": search.min_lattice_ions})
        named = replace(named, least_certain=0.0, scrap=0.0)
    defects: Defects = yield from job.run(
        "defects",
        find_defects(
            evidence, gathered.measured.graph, _chance_seen(gathered, sights, threshold), threshold, search, named
        ),
        86,
        88,
    )
    weighed = _weighed(defects, seen, 1.0 if sights.model.for_lattice else params.model.right_ions)
    joint = join_voids(weighed, gathered.voids, evidence, search, params.voids.false_alarms)
    return sights.fused, clusters, _named_voids(joint, nature)


def _chance_seen(gathered: Gathered, sights: Sights, threshold: float) -> Chance:
    """What the model sees in the references; nothing where it is for a resolved lattice, which none of them has."""
    if sights.model.for_lattice:
        none = np.zeros(0, np.float32)
        unlinked = NeighborGraph(np.zeros(1, np.int64), np.zeros(0, np.int32), none)
        return Chance(none, np.zeros(0, np.int16), np.zeros(0, np.bool_), unlinked)
    far, far_graph = joined(gathered.by_chance)
    passed = far.judged & (sights.theirs.anomaly > threshold)
    nature = np.where(passed, sights.theirs.class_idx, -1).astype(np.int16)
    share = sum(one.share for one in gathered.references)
    return Chance(sights.theirs.anomaly, nature, far.judged, far_graph, share)


def _weighed(defects: Defects, seen: Sight, right_ions: float) -> Defects:
    """Give defects the mean probability of their class over their ions, and drop those that expect too few right ones.

    What is left of a defect that was cut by the border of another class is small and unlikely at once.
    """
    kept = [one for one in defects.defects if float(seen.probability[one.rows].sum()) >= right_ions]
    kept = [replace(one, probability=float(seen.probability[one.rows].mean())) for one in kept]
    kept.sort(key=lambda one: -one.probability)
    instance, class_idx = np.zeros_like(defects.instance), np.zeros_like(defects.class_idx)
    probability = np.zeros_like(defects.probability)
    for number, one in enumerate(kept, 1):
        instance[one.rows] = number
        class_idx[one.rows] = DEFECT_CLASSES.index(one.defect_class)
        probability[one.rows] = seen.probability[one.rows]
    n_rejected = defects.n_rejected + len(defects.defects) - len(kept)
    return Defects(tuple(kept), instance, class_idx, probability, n_rejected)


def _named_voids(joint: Joint, nature: NDArray[np.int16]) -> Joint:
    """Call a void of the particle filter a vacancy cluster where the model does so for most of its ions.

    Its probability is then that of being there times the share of the ions that agree about the name (with one more
    for each name, so that a void which the model does not see has even odds).
    """
    every, class_idx = list(joint.defects.defects), joint.defects.class_idx.copy()
    probability = joint.defects.probability.copy()
    for number in joint.void_defect[joint.void_defect > 0].tolist():
        one = every[number - 1]
        vacancies, voids = (np.count_nonzero(nature[one.rows] == code) for code in (_VACANCY, _VOID))
        code, agree = (_VACANCY, vacancies) if vacancies > voids else (_VOID, voids)
        sure = one.probability * (agree + 1) / (vacancies + voids + 2)
        every[number - 1] = replace(one, defect_class=DEFECT_CLASSES[code], probability=sure)
        class_idx[one.rows], probability[one.rows] = code, sure
    order = sorted(range(len(every)), key=lambda i: -every[i].probability)  # stable
    place = np.zeros(len(every) + 1, np.int32)
    place[np.array(order, np.int64) + 1] = np.arange(1, len(every) + 1)
    found = replace(
        joint.defects,
        defects=tuple(every[i] for i in order),
        instance=place[joint.defects.instance],
        class_idx=class_idx,
        probability=probability,
    )
    return Joint(found, place[joint.void_defect])


def _standing_out(
    anomaly: NDArray[np.float32], weight: NDArray[np.float32], clusters: Clusters
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weighed anomaly, and which ions stand out with it."""
    weighed = anomaly * weight
    return weighed, (clusters.label >= 0) & ((weight == 1) | (weighed > clusters.threshold))


def _evidence(
    gathered: Gathered, anomaly: NDArray[np.float32], nature: NDArray[np.int16], strength: NDArray[np.float32]
) -> Evidence:
    """What the search for defects needs to know."""
    near, cells, normalized = gathered.measured.features, gathered.measured.cells, gathered.normalized
    xyz = gathered.xyz_nm
    return Evidence(
        xyz,
        anomaly,
        nature,
        strength,
        near.judged,
        near.enrichment,
        near.background_share,
        near.density_evidence,
        near.density_ratio,
        np.where(cells.bounded, cells.volume_nm3, np.nan).astype(np.float32),
        near.surface_nm,
        len(xyz) / (float(normalized.inside.sum()) * normalized.frame.voxel_nm**3),
    )
