"""Voronoi cells of the ions: exact where neighbors bound the cell, cut by the specimen hull or by a limit elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.voronoi.kernel import RADIUS_SPACINGS, Cut, measure_groups, new_results
from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.data.hull_clip import no_hull
from napari_aptdefect.data.polyhedron import start_polyhedron
from napari_aptdefect.data.tree import PointTree, build_tree, run_blocks, tree_spacing
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Stage, param

_BLOCK = 2048
_LIMIT_SPACINGS = 4.0

Corner = tuple[float, float, float]


class VoronoiParams(Params):
    """Parameters of `voronoi_cells`."""

    limit_nm: float | None = param(
        None,
        title="Limit",
        description="Cells are cut by a regular dodecahedron whose faces lie at this distance from the ion. "
        "Empty: 4 mean spacings of the ions, or no limit where a box is given. Where a hull is given, it cuts instead.",
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


def voronoi_cells(
    xyz_nm: ArrayLike,
    params: VoronoiParams | None = None,
    *,
    hull: SpecimenHull | None = None,
    workers: int | None = None,
) -> Stage[VoronoiCells]:
    """Compute the Voronoi cell of every ion.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions are left out and get NaN.
    params
        The parameters.
    hull
        The specimen that bounds the cells instead of the limit: cells at its surface are cut by it, and volumes sum to
        the volume of the hull (those of ions at one place count once each).
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
        If an ion lies outside the box, or no limit follows from the ions (all at one place) and none is given; or
        if both a box and a hull are given.

    Notes
    -----
    Each cell is a dodecahedron cut by the planes halfway to the neighbors, nearest first, in float64. It is complete
    when no point within twice the distance of its farthest vertex cuts it any more (the security radius), so bounded
    cells are exact and depend neither on tiles (as long as `limit_nm` is given and the halo is twice the reach of the
    cells wide) nor on threads. [1]_ What a cell shares with a pocket of the hull, a tetrahedron outside the specimen,
    is a polyhedron of its own (the restricted Voronoi diagram [2]_), whose volume, moment and surface are taken away.

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
    if hull is not None and params.box_nm is not None:
        raise ParameterError("a box and a hull both bound the cells; give one of them")
    points = as_points(xyz_nm)
    tree = build_tree(points)
    how, limit, radius = _how(tree, params, hull)
    out = new_results(len(points))
    starts, stops = _groups(tree)
    names, areas = np.empty((0, 0), np.int32), np.empty((0, 0), np.float32)

    def work(start: int, stop: int) -> None:
        mine = slice(*np.searchsorted(starts, [start, stop]))
        measure_groups(tree, starts[mine], stops[mine], how, radius, out, names, areas)

    yield from run_blocks(work, len(tree.order), block=_BLOCK, message="Voronoi cells", workers=workers)
    return VoronoiCells(*out, limit_nm=limit)


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
    row_of = np.full(len(points), -1, np.int64)
    row_of[tree.order] = np.arange(len(tree.order))
    if len(ions) and (ions.min() < 0 or ions.max() >= len(points) or row_of[ions].min() < 0):
        raise ParameterError(f"ion_idx must name ions with finite positions, 0 to {len(points) - 1}")
    rows = row_of[ions]
    how, _, radius = _how(tree, params, None)
    width = 64
    while True:
        names = np.full((len(ions), width), -2, np.int32)
        areas = np.zeros((len(ions), width), np.float32)
        scratch = new_results(len(points))
        measure_groups(tree, rows, rows + 1, how, radius, scratch, names, areas)
        widest = int(scratch.n_faces[ions].max(initial=0))
        if widest <= width:
            break
        width = widest
    filled = names > -2
    indptr = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    return CellNeighbors(ions, indptr, names[filled], areas[filled])


def mean_spacing_nm(xyz_nm: ArrayLike) -> float:
    """Typical spacing of ions: the edge of a cube per ion at the median local density, nm; 0 if all are at one place.

    Notes
    -----
    The local density is that of the ball up to the twelfth neighbor, taken at up to 2,000 ions spread evenly over the
    specimen, so that neither empty space around it nor a dense grain changes the scale.
    """
    return tree_spacing(build_tree(as_points(xyz_nm)))


def _how(tree: PointTree, params: VoronoiParams, hull: SpecimenHull | None) -> tuple[Cut, float, float]:
    """How cells are cut, the limit that results say, and a first guess of the radius of a cell's neighbors, nm."""
    limit, box = _limits(tree, params)
    wide, said = limit, limit if params.limit_nm or params.box_nm is None else np.inf
    if hull is not None:
        corners = np.vstack([hull.vertices_nm, tree.xyz.min(axis=0), tree.xyz.max(axis=0)])
        wide, said = 2.0 * float(np.linalg.norm(np.ptp(corners, axis=0))), np.inf
    shape, n_vertices = start_polyhedron()
    arrays = no_hull() if hull is None else hull.arrays()
    how = Cut(shape, n_vertices, float(limit), float(wide), box, params.face_threshold, arrays)
    return how, said, min(RADIUS_SPACINGS * tree_spacing(tree) or limit, 2.5 * limit)


def _groups(tree: PointTree) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows at which the leaves of the tree start and stop, in order."""
    leaves = np.flatnonzero((tree.leaf > 0) & (tree.stop > tree.start))
    leaves = leaves[np.argsort(tree.start[leaves])]
    return tree.start[leaves].astype(np.int64), tree.stop[leaves].astype(np.int64)


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
