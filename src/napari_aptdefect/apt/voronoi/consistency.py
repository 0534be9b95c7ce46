"""Whether the Voronoi cells and the neighbor graph of the same ions tell the same story."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_aptdefect.apt.voronoi.cells import VoronoiParams, voronoi_neighbors
from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import EmptySelectionError, ShapeError

POISSON_FACES = 15.535457
"""Mean number of faces of a cell of random points, 2 + 48 pi^2 / 35 (Meijering 1953)."""

POISSON_VARIANCE = 0.1790
"""Variance of the cell volume of random points over its mean squared (Gilbert 1962; Okabe et al. 2000)."""


@dataclass(frozen=True)
class Consistency:
    """How far the Voronoi cells and the neighbor graph tell the same story, on a sample of bounded cells.

    Parameters
    ----------
    n_sampled
        Cells compared.
    nearest_fraction
        Part of the ions whose nearest neighbor in the graph shares a face with them: 1 by geometry.
    edge_fraction
        Part of the graph's edges that are Voronoi neighbors.
    density_ratio
        Median of the density from the graph's farthest neighbors over that from the cells: near 1 in a crystal, 0.92
        for random points and 16 neighbors (the median of a skewed ratio).
    density_correlation
        Spearman's rank correlation of both densities.
    mean_faces, volume_variance
        Mean number of faces and variance of volume / mean volume: 15.54 and 0.179 for random points in a uniform
        specimen, 14 or 12 faces and hardly any variance for a crystal.
    """

    n_sampled: int
    nearest_fraction: float
    edge_fraction: float
    density_ratio: float
    density_correlation: float
    mean_faces: float
    volume_variance: float


def consistency(
    xyz_nm: ArrayLike,
    cells: VoronoiCells,
    graph: NeighborGraph,
    params: VoronoiParams | None = None,
    *,
    n_sample: int = 20_000,
    seed: int = 0,
) -> Consistency:
    """Compare Voronoi cells with a neighbor graph of the same ions, two roads to neighbors and density.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm: the ions.
    cells
        Their Voronoi cells.
    graph
        Their neighbor graph.
    params
        The parameters the cells were computed with.
    n_sample
        Number of bounded cells to compare at most, drawn with `seed`.
    seed
        Seed of the sample.

    Raises
    ------
    ShapeError
        If ions, cells and graph differ in number.
    EmptySelectionError
        If no cell is left to compare: bounded, with at least two neighbors in the graph that are all bounded, so
        that the stretched cells at the surface stay out, and of an ion alone at its place.

    Notes
    -----
    The density from the k-th neighbor is ``(k - 1) / (4/3 pi d_k^3)``, unbiased for random points.
    The reference for random points (Poisson-Voronoi cells) is in Okabe et al., Spatial Tessellations, 2nd edition,
    Wiley 2000, chapter 5: mean faces 2 + 48 pi^2/35 (Meijering 1953), volume variance 0.179 (Gilbert 1962).
    """
    from scipy.stats import spearmanr  # takes half a second to import, and only this needs it

    points = as_points(xyz_nm)
    if not len(points) == len(cells) == graph.n_nodes:
        raise ShapeError(f"{len(points)} ions, {len(cells)} cells and {graph.n_nodes} graph nodes must be as many")
    at_surface = graph.matrix() @ (~cells.bounded).astype(np.float32) > 0
    usable = np.flatnonzero(cells.bounded & ~at_surface & (cells.multiplicity == 1) & (graph.degree >= 2))
    if not len(usable):
        raise EmptySelectionError(
            "no ion has two neighbors in the graph and bounded Voronoi cells around it; give more ions or neighbors"
        )
    if len(usable) > n_sample:
        usable = np.sort(np.random.default_rng(seed).choice(usable, n_sample, replace=False))
    params = params or VoronoiParams()
    if params.limit_nm is None and np.isfinite(cells.limit_nm):
        params = params.model_copy(update={"limit_nm": cells.limit_nm})
    shared = voronoi_neighbors(points, usable, params)
    n = np.int64(len(points))
    faces = np.unique(np.repeat(usable, np.diff(shared.indptr)) * n + shared.indices)
    degree = graph.degree[usable]
    first = graph.indptr[usable]
    edge = np.repeat(first - np.concatenate([[0], np.cumsum(degree)[:-1]]), degree) + np.arange(degree.sum())
    is_face = np.isin(np.repeat(usable, degree) * n + graph.indices[edge], faces)
    volume = cells.volume_nm3[usable].astype(np.float64)
    farthest = graph.lengths_nm[first + degree - 1].astype(np.float64)
    density = (degree - 1) / (4 / 3 * np.pi * farthest**3)
    varied = np.ptp(density) > 0 and np.ptp(volume) > 0
    return Consistency(
        n_sampled=len(usable),
        nearest_fraction=float(np.isin(usable * n + graph.indices[first], faces).mean()),
        edge_fraction=float(is_face.mean()),
        density_ratio=float(np.median(density * volume)),
        density_correlation=float(spearmanr(density, 1 / volume).statistic) if varied else float("nan"),
        mean_faces=float(cells.n_faces[usable].mean()),
        volume_variance=float(volume.var() / volume.mean() ** 2),
    )
