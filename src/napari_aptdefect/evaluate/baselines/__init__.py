"""The methods to beat, tuned fairly: clusterings of ions from coordinates and composition, or from fused features."""

from __future__ import annotations

from typing import Final

from napari_aptdefect.data.components import connected_objects
from napari_aptdefect.evaluate.baselines.clustering import (
    COORDINATES,
    FUSED,
    Baseline,
    Clustering,
    Space,
    claimed_clusters,
)
from napari_aptdefect.evaluate.baselines.density_based import Dbscan, Hdbscan, Optics
from napari_aptdefect.evaluate.baselines.isosurfaces import CompositionIsosurface, DensityIsosurface
from napari_aptdefect.evaluate.baselines.k_means import KMeans
from napari_aptdefect.evaluate.baselines.null import (
    FalseClaims,
    FalsePositives,
    LabelFeatures,
    false_claims,
    false_positive_rate,
    random_labels,
    summarize_false_claims,
)
from napari_aptdefect.evaluate.baselines.separation import MaximumSeparation
from napari_aptdefect.evaluate.baselines.tuning import Trial, Tuned, tune
from napari_aptdefect.evaluate.baselines.voxel_mixture import VoxelMixture

METHODS: Final[tuple[type[Baseline], ...]] = (
    KMeans,
    Dbscan,
    Hdbscan,
    Optics,
    VoxelMixture,
    MaximumSeparation,
    DensityIsosurface,
    CompositionIsosurface,
)
"""All methods, in the order of the table."""

BASELINES: Final[tuple[Baseline, ...]] = tuple(method(space) for space in (COORDINATES, FUSED) for method in METHODS)
"""All methods in both spaces."""

__all__ = [
    "BASELINES",
    "COORDINATES",
    "FUSED",
    "METHODS",
    "Baseline",
    "Clustering",
    "CompositionIsosurface",
    "Dbscan",
    "DensityIsosurface",
    "FalseClaims",
    "FalsePositives",
    "Hdbscan",
    "KMeans",
    "LabelFeatures",
    "MaximumSeparation",
    "Optics",
    "Space",
    "Trial",
    "Tuned",
    "VoxelMixture",
    "claimed_clusters",
    "connected_objects",
    "false_claims",
    "false_positive_rate",
    "random_labels",
    "summarize_false_claims",
    "tune",
]
