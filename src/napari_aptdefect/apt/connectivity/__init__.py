"""What hangs together in the graph of the ions: components, bonds, rings, clusters, percolation."""

from __future__ import annotations

from napari_aptdefect.apt.connectivity.bonds import (
    Histogram,
    bond_angles,
    bond_lengths,
    coordination,
    dihedral_angles,
    local_density,
)
from napari_aptdefect.apt.connectivity.clusters import CoreLinkParams, IonClusters, core_link_clusters
from napari_aptdefect.apt.connectivity.components import Percolation, connected_components, percolation
from napari_aptdefect.apt.connectivity.paths import RingStatistics, coordination_sequence, ring_statistics

__all__ = [
    "CoreLinkParams",
    "Histogram",
    "IonClusters",
    "Percolation",
    "RingStatistics",
    "bond_angles",
    "bond_lengths",
    "connected_components",
    "coordination",
    "coordination_sequence",
    "core_link_clusters",
    "dihedral_angles",
    "local_density",
    "percolation",
    "ring_statistics",
]
