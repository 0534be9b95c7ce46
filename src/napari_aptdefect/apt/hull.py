"""The hull of the specimen from its ions: convex, or an alpha shape that follows concave surfaces."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter
from scipy.spatial import ConvexHull, Delaunay, QhullError

from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.clip import BATCH, FIRST, cut_by_rows, start_cell
from napari_aptdefect.data.hull import SpecimenHull, spatial_order
from napari_aptdefect.data.nearby import cut_vertices
from napari_aptdefect.data.polyhedron import Polyhedron, new_polyhedron, start_polyhedron
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, build_tree, nearest, run_blocks, tree_spacing
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Progress, Stage, param, scaled

_VOXEL_SPACINGS = 2.2  # edge of the voxels: ten ions in each, so that hardly any inside the specimen is empty
_MOST_VOXELS = 50_000_000
_SAME_PLANE = 1e-9
_BLOCK = 2048


class HullParams(Params):
    """Parameters of `specimen_hull`."""

    kind: Literal["convex", "alpha"] = param(
        "alpha",
        title="Hull",
        description="convex: the convex hull of the ions; alpha: follows concave surfaces, such as the base of a "
        "reconstruction.",
    )
    alpha_nm: float = param(
        3.0,
        title="Alpha",
        description="Radius of the ball that rolls over the ions from outside: narrower openings are closed. "
        "Take several spacings of the ions. Not used for the convex hull.",
        unit="nm",
        ge=0.1,
        le=1000,
    )


class _Facets(NamedTuple):
    # of a Delaunay triangulation: facet k of tetrahedron i lies opposite to its corner k
    corner: NDArray[np.float64]  # (T, 4, 3)
    circumradius: NDArray[np.float64]  # (T, 4)
    neighbors: NDArray[np.int32]  # (T, 4)


def specimen_hull(
    xyz_nm: ArrayLike, params: HullParams | None = None, *, workers: int | None = None
) -> Stage[SpecimenHull]:
    """Find the hull of the specimen.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions are left out.
    params
        The parameters.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in percent.

    Returns
    -------
    The hull; all ions lie within it.

    Raises
    ------
    EmptySelectionError
        If fewer than 4 positions are finite and apart.
    ParameterError
        If the ions lie in a plane, or the ball rolls through the whole specimen.

    Notes
    -----
    The ball passes through a triangle of ions whose circumradius is larger than its own. From outside it passes through
    the Delaunay tetrahedra of the ions [1]_; those it reaches are pockets of the convex hull. It never touches ions
    inside, so the tetrahedra are those of the ions it can touch alone: the ions whose Voronoi cell has a point at least
    alpha away, which is the center of an empty ball. Ions that lie in a pocket of this triangulation join it, until
    there are none.

    References
    ----------
    .. [1] H. Edelsbrunner, E. P. Muecke, ACM Trans. Graph. 13, 43 (1994), doi:10.1145/174462.156635

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    >>> hull = drain(specimen_hull(corners, HullParams(kind="convex")))
    >>> round(hull.volume_nm3, 6), round(hull.area_nm2, 6), len(hull.planes)
    (1.0, 6.0, 6)
    """
    params = params or HullParams()
    points = as_points(xyz_nm)
    yield Progress(0, 100, "Sorting ions")
    tree = build_tree(points)
    if not len(tree.order):
        raise EmptySelectionError("no ion has a finite position, so there is no hull; check the input")
    outer = _near_surface(tree, params.alpha_nm if params.kind == "alpha" else np.inf)
    yield Progress(10, 100, "Convex hull")
    convex = _convex(np.unique(tree.xyz[outer], axis=0).astype(np.float64))
    if params.kind == "convex":
        return convex
    exposed = yield from scaled(_exposed(tree, outer, params.alpha_nm, workers), 20, 70)
    shell = np.unique(np.vstack([tree.xyz[exposed], convex.vertices_nm.astype(np.float32)]), axis=0)
    while True:
        yield Progress(70, 100, "Rolling the ball")
        hull = _rolled(shell.astype(np.float64), convex, params.alpha_nm)
        lost = tree.xyz[outer][~hull.contains(tree.xyz[outer])]
        lost = lost[~_rows_in(lost, shell)]
        if not len(lost):
            return hull
        shell = np.unique(np.vstack([shell, lost]), axis=0)


def _near_surface(tree: PointTree, alpha_nm: float) -> NDArray[np.int64]:
    """Rows that may touch an empty ball of radius alpha: all within two voxels of an empty one.

    Notes
    -----
    Where an empty ball touches an ion, the place ``edge sqrt(3)`` deeper in the ball lies in a voxel that the ball
    holds, if its radius is as large: an empty voxel, no more than two away from the ion's.
    """
    everything = np.arange(len(tree.order))
    low, high = tree.xyz.min(axis=0).astype(np.float64), tree.xyz.max(axis=0).astype(np.float64)
    edge = _VOXEL_SPACINGS * tree_spacing(tree)
    if edge <= 0 or edge * 3**0.5 > alpha_nm:
        return everything
    shape = tuple(int(n) + 5 for n in (high - low) / edge)
    if np.prod(shape, dtype=float) > _MOST_VOXELS:
        return everything
    voxel = ((tree.xyz - low) / edge).astype(np.int64) + 2
    flat = np.ravel_multi_index((voxel[:, 0], voxel[:, 1], voxel[:, 2]), shape)
    empty = np.ones(shape, np.uint8)
    empty.ravel()[flat] = 0
    return np.flatnonzero(maximum_filter(empty, 5).ravel()[flat] > 0)


def _exposed(
    tree: PointTree, rows: NDArray[np.int64], alpha_nm: float, workers: int | None
) -> Stage[NDArray[np.int64]]:
    """Rows whose Voronoi cell has a point at least alpha away."""
    shape, n_vertices = start_polyhedron()
    far = np.zeros(len(rows), np.bool_)

    def work(start: int, stop: int) -> None:
        _reach_beyond(tree, rows[start:stop], shape, n_vertices, alpha_nm, far[start:stop])

    yield from run_blocks(work, len(rows), block=_BLOCK, message="Ions at the surface", workers=workers)
    return rows[far]


@njit(cache=True, nogil=True)
def _reach_beyond(
    tree: PointTree,
    rows: NDArray[np.int64],
    shape: Polyhedron,
    n_vertices: int,
    distance: float,
    far: NDArray[np.bool_],
) -> None:
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE)
    distance2, found = np.empty(BATCH), np.empty(BATCH, np.int32)
    box = np.array([-np.inf, -np.inf, -np.inf, np.inf, np.inf, np.inf])
    p = new_polyhedron(256, 256)
    for i in range(len(rows)):
        p, n, m = start_cell(p, tree, rows[i], shape, n_vertices, distance, box)
        n_found = nearest(tree, rows[i], FIRST, np.inf, True, stack, waiting2, distance2, found)
        p, n, m = cut_by_rows(p, n, m, tree, rows[i], distance2, found, 0, n_found)
        p, n, m, far[i] = cut_vertices(p, n, m, tree, rows[i], distance * distance, stack, waiting2)


def _convex(points: NDArray[np.float64]) -> SpecimenHull:
    if len(points) < 4:
        raise EmptySelectionError(f"a hull needs 4 ions at different places, got {len(points)}")
    center = points.mean(axis=0)
    widths = np.linalg.svd(points - center, compute_uv=False)
    if widths[2] <= 1e-9 * widths[0]:
        raise ParameterError(
            f"the {len(points)} ions lie in a plane or on a line, so they enclose no volume; give a specimen"
        )
    try:
        qhull = ConvexHull(points - center)
    except QhullError as error:
        raise ParameterError(f"no convex hull of {len(points)} ions: {str(error).strip().splitlines()[0]}") from error
    corners = np.unique(qhull.simplices)
    vertices = points[corners]
    triangles = np.searchsorted(corners, qhull.simplices)
    side = vertices[triangles] - center
    normal = np.cross(side[:, 1] - side[:, 0], side[:, 2] - side[:, 0])
    inward = np.einsum("ij,ij->i", normal, qhull.equations[:, :3]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    planes = _merged(qhull.equations, float(np.abs(points - center).max()))
    planes = np.column_stack([planes[:, :3], planes[:, :3] @ center - planes[:, 3]])
    volume, area = _volume(vertices, triangles), _area(vertices, triangles)
    none = np.empty((0, 4, 3)), np.empty((0, 4), np.bool_)
    return SpecimenHull("convex", planes, vertices, triangles.astype(np.int32), *none, volume, area, None)


def _merged(equations: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Equations of planes without those that say the same."""
    grid = np.round(equations / [1, 1, 1, scale] / _SAME_PLANE).astype(np.int64)
    _, first = np.unique(grid, axis=0, return_index=True)
    return equations[np.sort(first)]


def _rolled(points: NDArray[np.float64], convex: SpecimenHull, alpha_nm: float) -> SpecimenHull:
    """Take the tetrahedra that a ball reaches from outside from the convex hull."""
    facets = _triangulated(points)
    wide = facets.circumradius > alpha_nm
    pocket = _reached(wide, facets.neighbors)
    if pocket.all():
        raise ParameterError(
            f"a ball of alpha_nm = {alpha_nm} rolls through the whole specimen; take several spacings of the ions"
        )
    order = np.flatnonzero(pocket)
    order = order[spatial_order(facets.corner[order].mean(axis=1))]
    beyond = facets.neighbors[order]
    walls = (beyond >= 0) & ~pocket[beyond]
    outer = ~pocket[:, None] & (facets.neighbors < 0)
    inner = facets.corner[order]
    # the far side of a wall is specimen: its outward normal points into the pocket
    surface = np.vstack([_faces(inner, walls, flip=True), _faces(facets.corner, outer, flip=False)])
    vertices, triangles = np.unique(surface.reshape(-1, 3), axis=0, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    taken = float(_determinants(inner).sum()) / 6.0
    area = _area(vertices, triangles)
    return SpecimenHull(
        "alpha",
        convex.planes,
        vertices,
        triangles.astype(np.int32),
        inner,
        walls,
        convex.volume_nm3 - taken,
        area,
        alpha_nm,
    )


def _triangulated(points: NDArray[np.float64]) -> _Facets:
    try:
        delaunay = Delaunay(points - points.mean(axis=0))
    except QhullError as error:
        raise ParameterError(f"no Delaunay tetrahedra of {len(points)} ions at the surface: {error}") from error
    corner, neighbors = points[delaunay.simplices], delaunay.neighbors.copy()
    swap = _determinants(corner) < 0
    corner[swap] = corner[swap][:, [1, 0, 2, 3]]
    neighbors[swap] = neighbors[swap][:, [1, 0, 2, 3]]
    radius = np.empty(neighbors.shape)
    for k in range(4):
        a, b, c = (corner[:, (k + i) % 4] for i in (1, 2, 3))
        sides = [np.linalg.norm(u - v, axis=1) for u, v in ((a, b), (b, c), (c, a))]
        double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            radius[:, k] = np.where(double_area > 0, sides[0] * sides[1] * sides[2] / (2 * double_area), np.inf)
    return _Facets(corner, radius, neighbors)


def _determinants(corner: NDArray[np.float64]) -> NDArray[np.float64]:
    """Six times the volume of tetrahedra, shape (T,)."""
    a, b, c = (corner[:, i] - corner[:, 0] for i in (1, 2, 3))
    return np.asarray(np.einsum("ij,ij->i", a, np.cross(b, c)))


@njit(cache=True, nogil=True)
def _reached(wide: NDArray[np.bool_], neighbors: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tetrahedra that are reached from outside through wide facets."""
    reached = np.zeros(len(wide), np.bool_)
    waiting = np.empty(len(wide), np.int64)
    n = 0
    for i in range(len(wide)):
        for k in range(4):
            if neighbors[i, k] < 0 and wide[i, k] and not reached[i]:
                reached[i] = True
                waiting[n] = i
                n += 1
    while n > 0:
        n -= 1
        i = waiting[n]
        for k in range(4):
            j = neighbors[i, k]
            if j >= 0 and wide[i, k] and not reached[j]:
                reached[j] = True
                waiting[n] = j
                n += 1
    return reached


def _faces(corner: NDArray[np.float64], chosen: NDArray[np.bool_], *, flip: bool) -> NDArray[np.float64]:
    """Chosen faces of tetrahedra of positive orientation, counterclockwise from outside (from inside if flipped)."""
    # the face opposite to corner k of (0, 1, 2, 3), seen from outside
    sides = ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))
    parts = [corner[chosen[:, k]][:, list(side)] for k, side in enumerate(sides)]
    faces = np.concatenate(parts)
    return faces[:, ::-1] if flip else faces


def _volume(vertices: NDArray[np.float64], triangles: NDArray[np.intp]) -> float:
    side = vertices[triangles] - vertices.mean(axis=0)
    return float(np.einsum("ij,ij->i", side[:, 0], np.cross(side[:, 1], side[:, 2])).sum()) / 6.0


def _area(vertices: NDArray[np.float64], triangles: NDArray[np.intp]) -> float:
    side = vertices[triangles]
    return float(np.linalg.norm(np.cross(side[:, 1] - side[:, 0], side[:, 2] - side[:, 0]), axis=1).sum()) / 2.0


def _rows_in(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows are among others."""
    known = {row.tobytes() for row in others}
    return np.array([row.tobytes() in known for row in rows], np.bool_)
