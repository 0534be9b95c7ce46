"""The compiled loop over the ions: cut each cell, measure it, write one row of results."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.clip import BATCH, FIRST, N_OUTER, cut_by_rows, finish_cell, start_cell
from napari_aptdefect.data.hull_clip import HullArrays, Pocketed, Spare, cut_by_planes, gaps, pocket_gap, take_pockets
from napari_aptdefect.data.nearby import Nearby, bounds_of, cut_vertices, gather, new_nearby, sort_around
from napari_aptdefect.data.polyhedron import (
    Polyhedron,
    count_edges,
    has_face_below,
    measure,
    new_polyhedron,
    radius2,
)
from napari_aptdefect.data.tree import STACK_SIZE, PointTree, count_within, nearest

RADIUS_SPACINGS = 3.0
"""First guess of the radius in which the neighbors lie that cut a cell, in mean spacings; it follows the cells."""

_TAKEN = 1e-12  # pockets that take less of a cell only touch it

_REACHES = 2.3  # of the mean reach of the last cells; 2 would do for the mean cell, and larger ones go on searching


class Results(NamedTuple):
    """The fields of `VoronoiCells`, in its order, to be written."""

    volume: NDArray[np.float32]
    n_faces: NDArray[np.int16]
    area: NDArray[np.float32]
    reach: NDArray[np.float32]
    offset: NDArray[np.float32]
    bounded: NDArray[np.bool_]
    multiplicity: NDArray[np.int32]
    sphericity: NDArray[np.float32]
    face_orders: NDArray[np.uint8]
    cut_by_hull: NDArray[np.bool_]


class Cut(NamedTuple):
    """How cells are cut.

    Parameters
    ----------
    shape, n_vertices
        The unit dodecahedron of `start_polyhedron`.
    limit
        Distance of its faces from the ion, nm.
    wide
        The same where a hull cuts the cell instead, nm.
    box
        Shape (6,), nm: lower and upper corner, infinite where there is no box.
    threshold
        Part of the cell's surface that a face must exceed.
    hull
        The hull.
    """

    shape: Polyhedron
    n_vertices: int
    limit: float
    wide: float
    box: NDArray[np.float64]
    threshold: float
    hull: HullArrays


class _Room(NamedTuple):
    near: Nearby
    stack: NDArray[np.int32]
    waiting2: NDArray[np.float64]
    distance2: NDArray[np.float64]
    found: NDArray[np.int32]
    centroid: NDArray[np.float64]
    part_centroid: NDArray[np.float64]
    at: NDArray[np.float64]
    gap: NDArray[np.float64]
    box: NDArray[np.float64]


def new_results(n: int) -> Results:
    """Return room for n cells, filled with what stands for no cell."""
    return Results(
        np.full(n, np.nan, np.float32),
        np.zeros(n, np.int16),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.zeros(n, np.bool_),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        np.zeros((n, 6), np.uint8),
        np.zeros(n, np.bool_),
    )


@njit(cache=True, nogil=True)
def measure_groups(
    tree: PointTree,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    how: Cut,
    radius: float,
    out: Results,
    names: NDArray[np.int32],
    areas: NDArray[np.float32],
) -> None:
    """Measure the cells of the rows of some groups, each rows from a start to a stop that lie side by side.

    Parameters
    ----------
    tree
        The ions.
    starts, stops
        Shape (G,): the groups.
    how
        How cells are cut.
    radius
        First guess of the radius in which the neighbors of a group lie, nm; results don't depend on it.
    out
        The results, in the order of the ions.
    names, areas
        Shape (G, W): neighbors and areas of the faces of the first row of each group; W may be 0.
    """
    hulled = how.hull.plane.shape[1] > 0
    room = _Room(
        new_nearby(),
        np.empty(STACK_SIZE, np.int32),
        np.empty(STACK_SIZE),
        np.empty(BATCH),
        np.empty(BATCH, np.int32),
        np.empty(3),
        np.empty(3),
        np.empty(3),
        np.empty(how.hull.plane.shape[1]),
        np.empty(6),
    )
    bounds, spare = np.empty(6), Spare(new_polyhedron(256, 256), np.empty(256, np.bool_), np.empty(256, np.int32))
    p = new_polyhedron(256, 256)
    for g in range(len(starts)):
        start, stop = starts[g], stops[g]
        bounds_of(tree, start, stop, bounds)
        n_near = gather(tree, bounds, radius, room.near, room.stack)
        while n_near < 0:
            radius *= 0.7
            n_near = gather(tree, bounds, radius, room.near, room.stack)
        depth = gaps(how.hull, bounds, room.gap) if hulled else np.inf
        clear = pocket_gap(how.hull, bounds, radius)
        one_place = bounds[0] == bounds[3] and bounds[1] == bounds[4] and bounds[2] == bounds[5]
        total_reach, n_bounded = 0.0, 0
        for row in range(start, start + 1 if one_place else stop):
            p, n, m, same, bounded, cut_off = _cut_cell(p, tree, row, n_near, radius, depth, how, room)
            if bounded:
                total_reach += np.sqrt(radius2(p, n))
                n_bounded += 1
            # of ions at one place the candidates hold but some
            if same != 1 or one_place or names.shape[1]:
                same = count_within(tree, room.at[0], room.at[1], room.at[2], 0.0, len(tree.order), room.stack)
            inside = measure(p, n, m, room.centroid)
            far2, wall = radius2(p, n), 0.0
            if len(how.hull.pocket_plane) and clear * clear <= far2:
                taken, spare = take_pockets(p, n, m, how.hull, room.at, room.box, spare, room.part_centroid)
                if taken.volume > _TAKEN * inside:
                    inside, wall, far2, cut_off = _leave(taken, inside, room.centroid), taken.wall, taken.far2, True
            if len(spare.n_edges) < m:
                spare = Spare(spare.q, spare.covered, np.empty(2 * m, np.int32))
            total = p.plane[4, :m].sum() + wall
            ion = tree.order[row]
            least = how.threshold * total
            out.n_faces[ion] = min(_count_faces(p, m, tree, least, hulled, g, names, areas) + cut_off, 32767)
            count_edges(p, n, m, least, np.sqrt(least), spare.n_edges, out.face_orders[ion])
            out.volume[ion], out.area[ion] = inside / same, total / same
            out.reach[ion] = np.sqrt(far2)
            out.offset[ion] = np.sqrt((room.centroid * room.centroid).sum())
            out.bounded[ion] = bounded and not cut_off
            out.multiplicity[ion] = same
            out.sphericity[ion] = np.pi ** (1 / 3) * (6.0 * inside) ** (2 / 3) / total if total > 0.0 else np.nan
            out.cut_by_hull[ion] = cut_off
        if one_place:
            _repeat(tree, start, stop, out)
        if n_bounded:
            radius = _REACHES * total_reach / n_bounded


@njit(cache=True, nogil=True)
def _cut_cell(
    p: Polyhedron, tree: PointTree, row: int, n_near: int, radius: float, depth: float, how: Cut, room: _Room
) -> tuple[Polyhedron, int, int, int, bool, bool]:
    """Cut a cell by its neighbors and by the planes of the hull, which lie `depth` nm away at least.

    Returns
    -------
    The cell, its number of vertices, of faces ever made, of candidates at the place of the ion, whether neighbors
    alone bound it before the hull, and whether planes of the hull cut it.
    """
    for a in range(3):
        room.at[a] = tree.xyz[row, a]
    p, n, m = start_cell(p, tree, row, how.shape, how.n_vertices, how.limit, how.box)
    k, n_same = sort_around(tree, row, n_near, radius, room.near)
    p, n, m = cut_by_rows(p, n, m, tree, row, room.near.sorted2, room.near.found, 0, k)
    p, n, m = finish_cell(p, n, m, tree, row, radius * radius, room.stack, room.distance2, room.found)
    bounded = not has_face_below(p, n, N_OUTER)
    if how.hull.plane.shape[1] == 0:
        return p, n, m, n_same, bounded, False
    if not bounded:
        p, n, m = _cut_from_hull(p, tree, row, k, how, room)
        return p, n, m, n_same, bounded, True
    first = m
    if depth * depth <= radius2(p, n):
        p, n, m = cut_by_planes(p, n, m, how.hull, room.gap, room.at, np.inf)
    return p, n, m, n_same, bounded, n == 0 or _has_face_from(p, n, first)


@njit(cache=True, nogil=True)
def _leave(taken: Pocketed, inside: float, centroid: NDArray[np.float64]) -> float:
    """Take a part from a volume, and move the centroid; return the volume left."""
    left = max(inside - taken.volume, 0.0)
    moment = (taken.mx, taken.my, taken.mz)
    for a in range(3):
        centroid[a] = (centroid[a] * inside - moment[a]) / left if left > 0.0 else 0.0
    return left


@njit(cache=True, nogil=True)
def _count_faces(
    p: Polyhedron,
    m: int,
    tree: PointTree,
    least: float,
    hulled: bool,
    g: int,
    names: NDArray[np.int32],
    areas: NDArray[np.float32],
) -> int:
    """Count and name the faces above an area; where there is a hull those with other ions alone, and forget others."""
    kept = 0
    for f in range(m):
        if p.plane[4, f] > least and (p.neighbor[f] >= 0 or not hulled):
            if kept < names.shape[1]:
                names[g, kept] = tree.order[p.neighbor[f]] if p.neighbor[f] >= 0 else -1
                areas[g, kept] = p.plane[4, f]
            kept += 1
        elif hulled:
            p.plane[4, f] = 0.0
    return kept


@njit(cache=True, nogil=True)
def _cut_from_hull(
    p: Polyhedron, tree: PointTree, row: int, k: int, how: Cut, room: _Room
) -> tuple[Polyhedron, int, int]:
    """Cut a cell that the limit would cut: by the nearest neighbors, by the hull from near to far, then by all others.

    The order does not depend on `k`, the number of neighbors sorted in `room`.
    """
    p, n, m = start_cell(p, tree, row, how.shape, how.n_vertices, how.wide, how.box)
    if k >= FIRST:
        p, n, m = cut_by_rows(p, n, m, tree, row, room.near.sorted2, room.near.found, 0, FIRST)
    else:
        n_found = nearest(tree, row, FIRST, np.inf, True, room.stack, room.waiting2, room.distance2, room.found)
        p, n, m = cut_by_rows(p, n, m, tree, row, room.distance2, room.found, 0, n_found)
    # near planes first: in a wide-open cell each plane of a round surface would make a face that another takes away
    within = how.limit / 64.0
    p, n, m = cut_by_planes(p, n, m, how.hull, room.gap, room.at, within)
    while within * within < radius2(p, n):
        within *= 2.0
        p, n, m = cut_by_planes(p, n, m, how.hull, room.gap, room.at, within)
    p, n, m, _ = cut_vertices(p, n, m, tree, row, np.inf, room.stack, room.waiting2)
    return p, n, m


@njit(cache=True, nogil=True)
def _has_face_from(p: Polyhedron, n: int, first: int) -> bool:
    for v in range(n):
        for h in range(4 * v, 4 * v + 3):
            if p.face[h] >= first:
                return True
    return False


@njit(cache=True, nogil=True)
def _repeat(tree: PointTree, start: int, stop: int, out: Results) -> None:
    """Give all rows of a group that lie at one place the results of the first."""
    one = tree.order[start]
    for row in range(start + 1, stop):
        ion = tree.order[row]
        out.volume[ion], out.n_faces[ion], out.area[ion] = out.volume[one], out.n_faces[one], out.area[one]
        out.reach[ion], out.offset[ion], out.bounded[ion] = out.reach[one], out.offset[one], out.bounded[one]
        out.multiplicity[ion], out.sphericity[ion] = out.multiplicity[one], out.sphericity[one]
        out.face_orders[ion] = out.face_orders[one]
        out.cut_by_hull[ion] = out.cut_by_hull[one]
