"""The spatial graph of the ions: nodes are ions, edges are bonds, built once and handed on."""

from __future__ import annotations

from napari_aptdefect.apt.graph.build import GraphParams, build_graph, build_pair_graph
from napari_aptdefect.apt.graph.weights import edge_weights

__all__ = ["GraphParams", "build_graph", "build_pair_graph", "edge_weights"]
