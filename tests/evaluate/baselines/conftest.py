"""Specimens with planted objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_aptdefect.evaluate.baselines import LabelFeatures
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.fields import Frame

DENSITY_NM3 = 45.0


@dataclass(frozen=True)
class Planted:
    """A specimen and which planted object each ion belongs to, 0 for none."""

    specimen: Specimen
    truth: NDArray[np.int32]


def composition_of(xyz: NDArray[np.float32], species: NDArray[np.int16]) -> NDArray[np.float32]:
    """Share of solute 1 and density around each ion, Gaussian of 1 nm."""
    frame = Frame.around(xyz, 0.5, 1.0)
    counts = frame.smooth(frame.count(xyz), 1.0)
    hits = frame.sample(frame.smooth(frame.count(xyz[species == 1]), 1.0), xyz)
    around = frame.sample(counts, xyz)
    return np.column_stack([hits / around, around / np.median(around)]).astype(np.float32)


def features_of(xyz: NDArray[np.float32], species: NDArray[np.int16]) -> LabelFeatures:
    """Composition, and the same standardized as fused features with its length as anomaly."""
    composition = composition_of(xyz, species)
    fused = (composition - np.median(composition, axis=0)) / composition.std(axis=0)
    anomaly = np.linalg.norm(fused, axis=1)
    return LabelFeatures(composition, fused.astype(np.float32), anomaly, np.ones(len(xyz), bool))


def planted(
    seed: int = 0,
    edge_nm: float = 12.0,
    centers: Sequence[Sequence[float]] = (),
    radius_nm: float = 2.0,
    inner: float = 0.1,
    outer: float = 0.001,
    void: float = 0.0,
) -> Planted:
    """Fill a cube with ions of two species: spheres richer in species 1, or a void in the middle."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(0, edge_nm, (int(DENSITY_NM3 * edge_nm**3), 3))
    truth = np.zeros(len(xyz), np.int32)
    for number, center in enumerate(centers, 1):
        truth[np.linalg.norm(xyz - center, axis=1) < radius_nm] = number
    share = np.where(truth > 0, inner, outer)
    if void > 0:
        depth = np.linalg.norm(xyz - edge_nm / 2, axis=1)
        xyz, share, truth = xyz[depth > void], share[depth > void], (depth < void + 0.5)[depth > void].astype(np.int32)
    species = (rng.random(len(xyz)) < share).astype(np.int16)
    xyz32 = xyz.astype(np.float32)
    features = features_of(xyz32, species)
    return Planted(
        Specimen(
            xyz32,
            species,
            ("Ga", "Mg"),
            (1,),
            features.composition,
            features.fused,
            features.anomaly,
            features.judged,
        ),
        truth,
    )


@pytest.fixture(scope="package")
def make() -> Callable[..., Planted]:
    """Give the function that makes specimens."""
    return planted


@pytest.fixture(scope="package")
def features() -> Callable[..., Any]:
    """Give the function that computes features from positions and species."""
    return features_of


@pytest.fixture(scope="package")
def sphere() -> Planted:
    """Give a small specimen with one sphere."""
    return planted(edge_nm=8.0, centers=((4, 4, 4),))


@pytest.fixture(scope="package")
def spheres() -> Planted:
    """Three spheres of 10 % solute in 0.1 %."""
    return planted(centers=((3, 3, 3), (9, 4, 8), (4, 9, 8.5)))
