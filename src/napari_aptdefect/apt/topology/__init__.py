"""Persistent homology: components, loops and cavities of a cloud over all length scales (extra `topology`)."""

from napari_aptdefect.apt.topology.alpha import persistence, topological_features
from napari_aptdefect.apt.topology.cavities import Cavities, enclosed_cavities
from napari_aptdefect.apt.topology.compare import PlacesParams, PlaceTopology, compare_places
from napari_aptdefect.apt.topology.model import PersistenceDiagrams, TopologicalFeatures, TopologyParams, load_gudhi
from napari_aptdefect.apt.topology.region import Region

__all__ = [
    "Cavities",
    "PersistenceDiagrams",
    "PlaceTopology",
    "PlacesParams",
    "Region",
    "TopologicalFeatures",
    "TopologyParams",
    "compare_places",
    "enclosed_cavities",
    "load_gudhi",
    "persistence",
    "topological_features",
]
