"""Features: what the surroundings of each ion look like, in three sets: structural, compositional, spatial."""

from __future__ import annotations

from napari_aptdefect.apt.features.composition import charge_states, multi_hits
from napari_aptdefect.apt.features.evidence import Features, FeaturesParams, describe
from napari_aptdefect.apt.features.params import FeatureContext, FeatureSetParams
from napari_aptdefect.apt.features.stage import describe_ions
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.region import PolygonPrism

__all__ = [
    "Boundary",
    "FeatureContext",
    "FeatureSetParams",
    "Features",
    "FeaturesParams",
    "PolygonPrism",
    "charge_states",
    "describe",
    "describe_ions",
    "multi_hits",
]
