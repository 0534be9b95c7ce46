"""Features: what the surroundings of each ion look like, in three sets: structural, compositional, spatial."""

from __future__ import annotations

from napari_aptdefect.apt.features.evidence import Features, FeaturesParams, describe

__all__ = ["Features", "FeaturesParams", "describe"]
