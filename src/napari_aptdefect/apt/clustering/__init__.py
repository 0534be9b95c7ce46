"""Clustering: a gate that leaves the matrix out, types by spectral clustering, instances on the graph, modes."""

from napari_aptdefect.apt.clustering.gate import Gate
from napari_aptdefect.apt.clustering.instances import Instances, InstancesParams, find_instances
from napari_aptdefect.apt.clustering.modes import DensityModes, ModesParams, density_modes
from napari_aptdefect.apt.clustering.spectral import SpectralClusters, SpectralParams, agreement, spectral_clusters
from napari_aptdefect.apt.clustering.types import Candidates, ClusteringParams, Clusters, cluster

__all__ = [
    "Candidates",
    "ClusteringParams",
    "Clusters",
    "DensityModes",
    "Gate",
    "Instances",
    "InstancesParams",
    "ModesParams",
    "SpectralClusters",
    "SpectralParams",
    "agreement",
    "cluster",
    "density_modes",
    "find_instances",
    "spectral_clusters",
]
