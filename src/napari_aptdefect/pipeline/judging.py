"""Judging: from what was measured to types and defects, by a trained model or without anything learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.background import BackgroundStage
from napari_aptdefect.apt.clustering import Candidates, Clusters, cluster
from napari_aptdefect.apt.consistency import Consistent
from napari_aptdefect.apt.defects import Chance, Defects, Evidence, find_defects
from napari_aptdefect.apt.fusion import Fused, fuse
from napari_aptdefect.apt.normalize import Normalized
from napari_aptdefect.apt.ranging import MassBackground, Ranging
from napari_aptdefect.apt.reference import Reference
from napari_aptdefect.apt.voids import Voids
from napari_aptdefect.data import DEFECT_CLASSES, IonCloud
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.learning.sight import Sights
from napari_aptdefect.pipeline.sequence import Evaporation
from napari_aptdefect.pipeline.specimen import Described, joined
from napari_aptdefect.pipeline.void_defects import Joint, join_voids
from napari_aptdefect.stage import Stage


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
    gives the ions that of names after evidence and shape. What chance does is known from the references either way,
    and from wires without defects where the model was calibrated on them. The anomaly of an ion that the checks weigh
    down counts for as much less.
    """
    params, measured = job.params, gathered.measured
    near, (far, far_graph) = measured.features, joined(gathered.by_chance)
    if sights is None:
        fused: Fused = yield from job.run(
            "fusion", fuse(near.sets, far.sets, near.judged, far.judged, params.fusion), 80, 81
        )
        floor = -np.inf
    else:
        fused = sights.fused
        floor = sights.model.threshold(1 - params.clustering.gate_quantile)
    clusters: Clusters = yield from job.run(
        "clustering",
        cluster(
            Candidates(fused.vectors, fused.anomaly, near.judged),
            Candidates(fused.reference_vectors, fused.reference_anomaly, far.judged),
            params.clustering,
            seed=job.seed,
            floor=floor,
        ),
        81,
        86,
    )
    anomaly = fused.anomaly * weight
    stands_out = (clusters.label >= 0) & ((weight == 1) | (anomaly > clusters.threshold))
    mine, theirs = (near.nature, far.nature) if sights is None else sights.natures
    evidence = _evidence(gathered, anomaly, np.where(stands_out, mine, np.int16(-1)), by_class=sights is not None)
    by_nature = np.where(clusters.reference_label >= 0, theirs, np.int16(-1))
    share = sum(one.share for one in gathered.references)
    chance = Chance(fused.reference_anomaly, by_nature, far.judged, far_graph, share)
    defects: Defects = yield from job.run(
        "defects",
        find_defects(
            evidence,
            measured.graph,
            chance,
            clusters.threshold,
            params.defects,
            classes=None if sights is None else DEFECT_CLASSES,
        ),
        86,
        88,
    )
    return fused, clusters, join_voids(defects, gathered.voids, evidence, params.defects, params.voids.false_alarms)


def _evidence(
    gathered: Gathered, anomaly: NDArray[np.float32], nature: NDArray[np.int16], *, by_class: bool
) -> Evidence:
    """What the search for defects needs to know; where a model has drawn the borders, strength draws none."""
    near, cells, normalized = gathered.measured.features, gathered.measured.cells, gathered.normalized
    xyz = gathered.xyz_nm
    return Evidence(
        xyz,
        anomaly,
        nature,
        np.ones_like(near.strength) if by_class else near.strength,
        near.judged,
        near.enrichment,
        near.background_share,
        near.density_evidence,
        near.density_ratio,
        np.where(cells.bounded, cells.volume_nm3, np.nan).astype(np.float32),
        near.surface_nm,
        len(xyz) / (float(normalized.inside.sum()) * normalized.frame.voxel_nm**3),
    )
