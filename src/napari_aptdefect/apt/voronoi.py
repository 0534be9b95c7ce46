"""Voronoi cells of the ions: exact where neighbors bound the cell, limited and flagged at the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.clip import BATCH, N_OUTER, clip_cell, start_cell
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.polyhedron import (
    Polyhedron,
    has_face_below,
    measure,
    new_polyhedron,
    radius2,
    start_polyhedron,
)
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, build_tree, count_within, run_blocks, tree_spacing
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import Params, Stage, param

POISSON_FACES = 15.535457
"""Mean number of faces of a cell of random points, 2 + 48 pi^2 / 35 (Meijering 1953)."""

POISSON_VARIANCE = 0.1790
"""Variance of the cell volume of random points over its mean squared (Gilbert 1962; Okabe et al. 2000)."""

_BLOCK = 2048
_LIMIT_SPACINGS = 4.0

Corner = tuple[float, float, float]


class VoronoiParams(Params):
    """Parameters of `voronoi_cells`."""

    limit_nm: float | None = param(
        None,
        title="Limit",
        description="Cells are cut by a regular dodecahedron whose faces lie at this distance from the ion. "
        "Empty: 4 mean spacings of the ions, or no limit where a box is given.",
        unit="nm",
        gt=0,
        le=1000,
    )
    box_nm: tuple[Corner, Corner] | None = param(
        None,
        title="Box",
        description="Lower and upper corner of a box that holds all ions and bounds their cells.",
        unit="nm",
    )
    face_threshold: float = param(
        1e-8,
        title="Face threshold",
        description="Faces smaller than this part of the cell's surface are not counted: rounding opens such faces "
        "where more than four cells of a lattice meet.",
        ge=0,
        le=0.1,
    )


@dataclass(frozen=True, eq=False)
class CellNeighbors:
    """The Voronoi neighbors of some ions, nearest face first as they were found.

    Parameters
    ----------
    ion_idx
        Shape (M,), int64: the ions.
    indptr
        Shape (M + 1,), int64: neighbors of ``ion_idx[i]`` are ``indices[indptr[i]:indptr[i + 1]]``.
    indices
        Shape (E,), int32: the ions on the other side of the faces; -1 for a face of the limit or the box.
    area_nm2
        Shape (E,), float32, nm2: areas of the faces.
    """

    ion_idx: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    area_nm2: NDArray[np.float32]


class _Results(NamedTuple):
    # the fields of `VoronoiCells`, in its order, for the kernel to write
    volume: NDArray[np.float32]
    n_faces: NDArray[np.int16]
    area: NDArray[np.float32]
    reach: NDArray[np.float32]
    offset: NDArray[np.float32]
    bounded: NDArray[np.bool_]
    multiplicity: NDArray[np.int32]


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


def voronoi_cells(
    xyz_nm: ArrayLike, params: VoronoiParams | None = None, *, workers: int | None = None
) -> Stage[VoronoiCells]:
    """Compute the Voronoi cell of every ion.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions are left out and get NaN.
    params
        The parameters.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in ions.

    Returns
    -------
    The cells, in the order of the ions.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ParameterError
        If an ion lies outside the box, or no limit follows from the ions (all at one place) and none is given.

    Notes
    -----
    Each cell is a dodecahedron cut by the planes halfway to the neighbors, nearest first, in float64. It is complete
    when no point within twice the distance of its farthest vertex cuts it any more (the security radius), so bounded
    cells are exact and depend neither on tiles (as long as `limit_nm` is given and the halo is twice the reach of the
    cells wide) nor on threads. [1]_, [2]_

    References
    ----------
    .. [1] C. H. Rycroft, Chaos 19, 041111 (2009), doi:10.1063/1.3215722
    .. [2] N. Ray, D. Sokolov, S. Lefebvre, B. Levy, ACM Trans. Graph. 37, 265 (2018), doi:10.1145/3272127.3275092

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    >>> cells = drain(voronoi_cells(corners, VoronoiParams(box_nm=((-0.5,) * 3, (1.5,) * 3))))
    >>> cells.volume_nm3.tolist(), cells.n_faces.tolist()
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [6, 6, 6, 6, 6, 6, 6, 6])
    """
    params = params or VoronoiParams()
    points = as_points(xyz_nm)
    tree = build_tree(points)
    limit, box = _limits(tree, params)
    out = _new_results(len(points))
    shape, n_vertices = start_polyhedron()
    rows = np.arange(len(tree.order))
    names, areas = np.empty((0, 0), np.int32), np.empty((0, 0), np.float32)

    def work(start: int, stop: int) -> None:
        _measure_rows(tree, rows[start:stop], shape, n_vertices, limit, box, params.face_threshold, out, names, areas)

    yield from run_blocks(work, len(rows), block=_BLOCK, message="Voronoi cells", workers=workers)
    return VoronoiCells(*out, limit_nm=limit if params.limit_nm or params.box_nm is None else np.inf)


def voronoi_neighbors(xyz_nm: ArrayLike, ion_idx: ArrayLike, params: VoronoiParams | None = None) -> CellNeighbors:
    """Find who shares a face of the Voronoi cell with each of the given ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm: all ions.
    ion_idx
        Shape (M,): the ions asked for, at finite positions.
    params
        The parameters; faces below the face threshold are left out.

    Raises
    ------
    EmptySelectionError, ParameterError
        As `voronoi_cells`, and if an ion asked for does not exist or has no finite position.
    """
    params = params or VoronoiParams()
    points = as_points(xyz_nm)
    ions = np.asarray(ion_idx, np.int64).ravel()
    tree = build_tree(points)
    limit, box = _limits(tree, params)
    row_of = np.full(len(points), -1, np.int64)
    row_of[tree.order] = np.arange(len(tree.order))
    if len(ions) and (ions.min() < 0 or ions.max() >= len(points) or row_of[ions].min() < 0):
        raise ParameterError(f"ion_idx must name ions with finite positions, 0 to {len(points) - 1}")
    shape, n_vertices = start_polyhedron()
    width = 64
    while True:
        names = np.full((len(ions), width), -2, np.int32)
        areas = np.zeros((len(ions), width), np.float32)
        scratch = _new_results(len(points))
        _measure_rows(tree, row_of[ions], shape, n_vertices, limit, box, params.face_threshold, scratch, names, areas)
        widest = int(scratch.n_faces[ions].max(initial=0))
        if widest <= width:
            break
        width = widest
    filled = names > -2
    indptr = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    return CellNeighbors(ions, indptr, names[filled], areas[filled])


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


def mean_spacing_nm(xyz_nm: ArrayLike) -> float:
    """Typical spacing of ions: the edge of a cube per ion at the median local density, nm; 0 if all are at one place.

    Notes
    -----
    The local density is that of the ball up to the twelfth neighbor, taken at up to 2,000 ions spread evenly over the
    specimen, so that neither empty space around it nor a dense grain changes the scale.
    """
    return tree_spacing(build_tree(as_points(xyz_nm)))


def _limits(tree: PointTree, params: VoronoiParams) -> tuple[float, NDArray[np.float64]]:
    """Distance of the limiting faces and the box, shape (6,), infinite where there is none."""
    if not len(tree.order):
        raise EmptySelectionError("no ion has a finite position, so there is no Voronoi cell; check the input")
    box = np.array([-np.inf] * 3 + [np.inf] * 3)
    if params.box_nm is not None:
        box = np.array(params.box_nm, np.float64).ravel()
        if not np.all(box[:3] < box[3:]) or not np.isfinite(box).all():
            raise ParameterError(f"box_nm must be a lower and a higher corner, got {params.box_nm}")
        outside = np.logical_or(tree.xyz < box[:3], tree.xyz > box[3:]).any(axis=1)
        if outside.any():
            raise ParameterError(f"{outside.sum()} of {len(tree.xyz)} ions lie outside box_nm; widen it or drop them")
    if params.limit_nm is not None:
        return params.limit_nm, box
    if params.box_nm is not None:
        return float(np.linalg.norm(box[3:] - box[:3])), box
    spacing = tree_spacing(tree)
    if spacing <= 0:
        raise ParameterError(
            f"the {len(tree.order)} ions are all at one place, so no limit follows from them; give limit_nm or box_nm"
        )
    return _LIMIT_SPACINGS * spacing, box


def _new_results(n: int) -> _Results:
    return _Results(
        np.full(n, np.nan, np.float32),
        np.zeros(n, np.int16),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.zeros(n, np.bool_),
        np.zeros(n, np.int32),
    )


@njit(cache=True, nogil=True)
def _measure_rows(
    tree: PointTree,
    rows: NDArray[np.int64],
    shape: Polyhedron,
    n_vertices: int,
    limit: float,
    box: NDArray[np.float64],
    threshold: float,
    out: _Results,
    names: NDArray[np.int32],
    areas: NDArray[np.float32],
) -> None:
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(BATCH, np.float64), np.empty(BATCH, np.int32)
    centroid = np.empty(3)
    p = new_polyhedron(256, 256)
    for i in range(len(rows)):
        row = rows[i]
        p, n, m = start_cell(p, tree, row, shape, n_vertices, limit, box)
        p, n, m = clip_cell(p, n, m, tree, row, stack, waiting2, distance2, found)
        ion = tree.order[row]
        inside = measure(p, n, m, centroid)
        same = count_within(tree, tree.xyz[row, 0], tree.xyz[row, 1], tree.xyz[row, 2], 0.0, len(tree.order), stack)
        total = p.plane[4, :m].sum()
        kept = 0
        for f in range(m):
            if p.plane[4, f] > threshold * total:
                if kept < names.shape[1]:
                    names[i, kept] = tree.order[p.neighbor[f]] if p.neighbor[f] >= 0 else -1
                    areas[i, kept] = p.plane[4, f]
                kept += 1
        out.volume[ion], out.area[ion] = inside / same, total / same
        out.n_faces[ion] = min(kept, 32767)
        out.reach[ion] = np.sqrt(radius2(p, n))
        out.offset[ion] = np.sqrt((centroid * centroid).sum())
        out.bounded[ion] = not has_face_below(p, n, N_OUTER)
        out.multiplicity[ion] = same
