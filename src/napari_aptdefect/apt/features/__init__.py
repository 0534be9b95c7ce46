"""Features: what the surroundings of each ion look like, in three sets: structural, compositional, spatial."""

from __future__ import annotations

from napari_aptdefect.apt.features.composition import charge_states, multi_hits
from napari_aptdefect.apt.features.evidence import Features, FeaturesParams, describe
from napari_aptdefect.apt.features.params import FeatureContext, FeatureSetParams, PolygonPrism
from napari_aptdefect.apt.features.stage import describe_ions

__all__ = [
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
