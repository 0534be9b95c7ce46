"""Voronoi cells of the ions: how much room each has, how its cell looks, and who its neighbors are."""

from __future__ import annotations

from napari_aptdefect.apt.voronoi.cells import (
    CellNeighbors,
    VoronoiParams,
    mean_spacing_nm,
    voronoi_cells,
    voronoi_neighbors,
)
from napari_aptdefect.apt.voronoi.consistency import POISSON_FACES, POISSON_VARIANCE, Consistency, consistency

__all__ = [
    "POISSON_FACES",
    "POISSON_VARIANCE",
    "CellNeighbors",
    "Consistency",
    "VoronoiParams",
    "consistency",
    "mean_spacing_nm",
    "voronoi_cells",
    "voronoi_neighbors",
]
