"""What a model sees in a cloud: class, anomaly, embedding and attention of every ion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.fusion import Fused
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.pipeline.learning.examination import class_claims, matrix_anomaly
from napari_aptdefect.pipeline.learning.inputs import Inputs, describe
from napari_aptdefect.pipeline.learning.model_file import DefectModel
from napari_aptdefect.stage import Stage, scaled


@dataclass(frozen=True, eq=False)
class Sight:
    """What a model sees.

    Parameters
    ----------
    class_idx
        Shape (N,), int8: code of `DEFECT_CLASSES` of the likeliest defect, "unknown" where none is likely enough, if it
        is one at all.
    probability
        Shape (N,), float32: calibrated probability of that class, if it is a defect.
    anomaly
        Shape (N,), float32: -log10 of the calibrated probability that the ion is one of the matrix.
    embedding
        Shape (N, E), float32.
    attention
        Shape (N,), float32: attention that the surroundings of the ion receive, over even attention.
    """

    class_idx: NDArray[np.int8]
    probability: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    embedding: NDArray[np.float32]
    attention: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sights:
    """What a model sees in a specimen and in its references.

    Parameters
    ----------
    model
        The model.
    mine
        What it sees in the specimen.
    theirs
        What it sees in all references together; of no ions where the model is for a resolved lattice, which no
        reference has.
    """

    model: DefectModel
    mine: Sight
    theirs: Sight

    @property
    def fused(self) -> Fused:
        """The embedding in place of the fused features."""
        structural, compositional, spatial = self.model.fusion_weights
        return Fused(
            self.mine.embedding,
            self.theirs.embedding,
            self.mine.anomaly,
            self.theirs.anomaly,
            (structural, compositional, spatial),
        )


def nothing_seen(model: DefectModel) -> Sight:
    """What is seen where nothing is."""
    none = np.zeros(0, np.float32)
    return Sight(np.zeros(0, np.int8), none, none, np.zeros((0, model.network.params.embedding), np.float32), none)


def joined_sights(parts: Sequence[Sight]) -> Sight:
    """What was seen in several clouds as of one."""
    return Sight(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Sight)))


def look(
    model: DefectModel,
    xyz_nm: NDArray[np.floating],
    species_idx: NDArray[np.integer],
    ions: Sequence[Ion],
    workers: int | None = None,
) -> Stage[Sight]:
    """Describe a cloud and let a model judge its ions.

    Parameters
    ----------
    model
        The model.
    xyz_nm
        Positions, shape (N, 3), nm, z along the specimen axis.
    species_idx
        Shape (N,): ion of each, -1 unranged.
    ions
        The ions of the range table.
    workers
        Number of threads for the features.

    Yields
    ------
    `Progress` in parts of 100.
    """
    told: Inputs = yield from scaled(
        describe(xyz_nm, species_idx, ions, workers, with_lattice=model.for_lattice), 0, 60, lambda p: p.message
    )
    embedding, attention = yield from scaled(embed(model, told, xyz_nm), 60, 100, lambda p: p.message)
    return judge(model, embedding, attention)


def embed(
    model: DefectModel, told: Inputs, xyz_nm: NDArray[np.floating]
) -> Stage[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Embedding, shape (N, E), and attention, shape (N,), of ions whose features are known."""
    from napari_aptdefect.apt.network.inference import infer
    from napari_aptdefect.apt.network.model import to_tensors
    from napari_aptdefect.apt.network.superpoints import gather

    table = model.prepare(told.table)
    points = gather(xyz_nm, model.network.params.superpoints)
    pooled = model.scaling.standardize(points.mean(table.values))
    cloud = to_tensors(model.scaling.standardize(table.values), told.kind, points, pooled=pooled)
    found = yield from infer(model.network, cloud, points)
    return found.embedding, found.attention


def judge(model: DefectModel, embedding: NDArray[np.float32], attention: NDArray[np.float32]) -> Sight:
    """Name ions by their embedding."""
    class_idx, probability = class_claims(model.classifier, embedding)
    return Sight(class_idx, probability, matrix_anomaly(model.classifier, embedding), embedding, attention)
