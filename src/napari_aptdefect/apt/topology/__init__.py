"""Persistent homology: components, loops and cavities of a cloud over all length scales (extra `topology`)."""

from napari_aptdefect.apt.topology.alpha import persistence, topological_features
from napari_aptdefect.apt.topology.cavities import Cavities, enclosed_cavities
from napari_aptdefect.apt.topology.model import PersistenceDiagrams, TopologicalFeatures, TopologyParams
from napari_aptdefect.apt.topology.region import Region

__all__ = [
    "Cavities",
    "PersistenceDiagrams",
    "Region",
    "TopologicalFeatures",
    "TopologyParams",
    "enclosed_cavities",
    "persistence",
    "topological_features",
]
