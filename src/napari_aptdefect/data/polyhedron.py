"""A convex polyhedron cut by planes: the compiled core of the Voronoi cells.

The polyhedron is simple: three edges meet in each vertex. Where more meet (perfect lattices), vertices coincide and an
edge between them has no length; sums over edges don't notice. Half-edge ``h = 4 v + k`` leaves vertex v (k is 0, 1, 2;
shifts are faster than divisions by 3), the three of a vertex are counterclockwise seen from outside, `twin[h]` runs
back and `face[h]` lies on its left. A cut is then bookkeeping that holds for any rounding: vertices beyond the plane
go, edges that cross it end in new vertices, and the new vertices are joined along the faces they lie in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

N_START = 12
"""Faces of the dodecahedron that every cell starts from."""

NO_ROOM, ALL_CUT = -1, -2
"""What `cut` returns where it changed nothing: there is no room for the new vertices, or nothing would be left."""

TOUCH = 1e-10
"""A plane that cuts off less than this part of the distance of its neighbor only touches the cell."""


class Polyhedron(NamedTuple):
    """Room for one polyhedron around the origin.

    Parameters
    ----------
    vertex
        Shape (4, n), float64, nm: x, y, z and the height above the last plane (scratch).
    twin, face, made
        Shape (4 n,), int32: reverse half-edge, face on the left, vertex made on the half-edge (scratch).
        `face[4 v + 3]` is a mark of the vertex, 0 for a new one.
    came
        Shape (n,), int32: half-edge each new vertex lies on (scratch).
    plane
        Shape (5, m), float64: outward unit normal and distance (nm) of each face; the last row is its area (nm2).
    neighbor
        Shape (m,), int32: row of the point behind each face.
    """

    vertex: NDArray[np.float64]
    twin: NDArray[np.int32]
    face: NDArray[np.int32]
    made: NDArray[np.int32]
    came: NDArray[np.int32]
    plane: NDArray[np.float64]
    neighbor: NDArray[np.int32]


@njit(cache=True, nogil=True, error_model="numpy")
def new_polyhedron(n_vertices: int, n_faces: int) -> Polyhedron:
    """Return room for a polyhedron with so many vertices and faces."""
    return Polyhedron(
        np.zeros((4, n_vertices)),
        np.zeros(4 * n_vertices, np.int32),
        np.zeros(4 * n_vertices, np.int32),
        np.zeros(4 * n_vertices, np.int32),
        np.zeros(n_vertices, np.int32),
        np.zeros((5, n_faces)),
        np.zeros(n_faces, np.int32),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def copy_into(target: Polyhedron, source: Polyhedron, n: int, m: int, scale: float) -> None:
    """Copy n vertices and m faces, with lengths times `scale`."""
    for a in range(3):
        for v in range(n):
            target.vertex[a, v] = source.vertex[a, v] * scale
    for h in range(4 * n):
        target.twin[h] = source.twin[h]
        target.face[h] = source.face[h]
    for a in range(3):
        for f in range(m):
            target.plane[a, f] = source.plane[a, f]
    for f in range(m):
        target.plane[3, f] = source.plane[3, f] * scale
        target.neighbor[f] = source.neighbor[f]


@njit(cache=True, nogil=True)
def larger(p: Polyhedron, n: int, m: int) -> Polyhedron:
    """Return the polyhedron with twice the room."""
    q: Polyhedron = new_polyhedron(2 * p.vertex.shape[1], 2 * p.plane.shape[1])
    copy_into(q, p, n, m, 1.0)
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def cut(p: Polyhedron, n: int, new: int, nx: float, ny: float, nz: float, d: float, touch: float) -> int:
    """Keep what lies below the plane ``(nx, ny, nz) . r = d`` (unit normal), within `touch` nm.

    Parameters
    ----------
    p
        The polyhedron, changed in place.
    n
        Number of its vertices.
    new
        Number of the face that the plane becomes.
    nx, ny, nz, d
        Outward unit normal and distance from the origin, nm.
    touch
        Vertices up to this height above the plane stay, nm.

    Returns
    -------
    The number of vertices now; 0 where nothing was cut, `NO_ROOM` where there is no room for the new vertices and
    `ALL_CUT` where nothing would be left, with `p` unchanged.
    """
    # arrays are indexed where they lie: a name for a row would count references with every call
    n_cut = 0
    for v in range(n):
        height = p.vertex[0, v] * nx + p.vertex[1, v] * ny + p.vertex[2, v] * nz - d
        p.vertex[3, v] = height
        n_cut += height > touch
    if n_cut == 0:
        return 0
    if n_cut == n:
        return ALL_CUT
    if n + 3 * n_cut > p.vertex.shape[1] or new >= p.plane.shape[1]:
        return NO_ROOM
    # the vertices that go, in order; new ones get numbers from n on, so their room in `came` is free
    i = 0
    for v in range(n):
        p.came[i] = v
        i += p.vertex[3, v] > touch
    m = n
    for i in range(n_cut):
        h = 4 * p.came[i]
        for t in (p.twin[h], p.twin[h + 1], p.twin[h + 2]):
            if p.vertex[3, t >> 2] <= touch:
                j = m
                while j > n and p.came[j - 1] > t:
                    p.came[j] = p.came[j - 1]
                    j -= 1
                p.came[j] = t
                m += 1
    _make_vertices(p, n, m, new, touch)
    _close_gaps(p, m, n_cut, touch)
    p.plane[0, new], p.plane[1, new], p.plane[2, new], p.plane[3, new] = nx, ny, nz, d
    return m - n_cut


@njit(cache=True, nogil=True, error_model="numpy")
def _make_vertices(p: Polyhedron, n: int, m: int, new: int, touch: float) -> None:
    # on each half-edge of `came` from n to m, which leads from below the plane to above it
    for i in range(n, m):
        h = p.came[i]
        v, w = h >> 2, p.twin[h] >> 2
        part = min(max(p.vertex[3, v] / (p.vertex[3, v] - p.vertex[3, w]), 0.0), 1.0)
        for a in range(3):
            p.vertex[a, i] = p.vertex[a, v] + part * (p.vertex[a, w] - p.vertex[a, v])
        p.face[4 * i] = p.face[p.twin[h]]
        p.face[4 * i + 1] = new
        p.face[4 * i + 2] = p.face[h]
        p.face[4 * i + 3] = 0
        p.made[h] = i
        p.vertex[3, i] = 0.0
    for i in range(n, m):
        # along the face on the left: past what is cut off, to the edge where the face comes back below the plane
        t = p.twin[p.came[i]]
        while p.vertex[3, t >> 2] > touch:
            t = p.twin[t - 1 if t & 3 else t + 2]
        other = p.made[t]
        p.twin[4 * i + 2] = 4 * other + 1
        p.twin[4 * other + 1] = 4 * i + 2
    for i in range(n, m):
        h = p.came[i]
        p.twin[4 * i] = h
        p.twin[h] = 4 * i


@njit(cache=True, nogil=True, error_model="numpy")
def _close_gaps(p: Polyhedron, m: int, n_cut: int, touch: float) -> None:
    # the last vertices move to the places of those cut off, which the first of `came` tell
    for i in range(n_cut):
        v = p.came[i]
        m -= 1
        while m > v and p.vertex[3, m] > touch:
            m -= 1
        if m <= v:
            return
        for a in range(3):
            p.vertex[a, v] = p.vertex[a, m]
        for k in range(3):
            t = p.twin[4 * m + k]
            if t >> 2 == m:
                t = 4 * v + (t & 3)
            p.twin[4 * v + k] = t
            p.twin[t] = 4 * v + k
            p.face[4 * v + k] = p.face[4 * m + k]
        p.face[4 * v + 3] = p.face[4 * m + 3]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def radius2(p: Polyhedron, n: int) -> float:
    """Squared distance of the farthest vertex from the origin, nm2."""
    far = 0.0
    for v in range(n):
        x, y, z = p.vertex[0, v], p.vertex[1, v], p.vertex[2, v]
        d2 = x * x + y * y + z * z
        far = d2 if d2 > far else far
    return far


@njit(cache=True, nogil=True, error_model="numpy")
def measure(p: Polyhedron, n: int, n_faces: int, centroid: NDArray[np.float64]) -> float:
    """Return the volume (nm3), write the centroid (3 numbers, nm) and the face areas (row 4 of `p.plane`, nm2).

    Notes
    -----
    A face with outward unit normal n at distance d has the area ``A = 1/2 sum n . (u x w)`` over its directed edges
    u to w, and the volume is ``sum d A / 3``: the divergence theorem, exact for a polyhedron around the origin.
    """
    p.plane[4, :n_faces] = 0.0
    volume = 0.0
    centroid[:] = 0.0
    for v in range(n):
        ux, uy, uz = p.vertex[0, v], p.vertex[1, v], p.vertex[2, v]
        for h in range(4 * v, 4 * v + 3):
            f, w = p.face[h], p.twin[h] >> 2
            wx, wy, wz = p.vertex[0, w], p.vertex[1, w], p.vertex[2, w]
            nx, ny, nz, d = p.plane[0, f], p.plane[1, f], p.plane[2, f], p.plane[3, f]
            area = 0.5 * (nx * (uy * wz - uz * wy) + ny * (uz * wx - ux * wz) + nz * (ux * wy - uy * wx))
            p.plane[4, f] += area
            part = area * d / 3.0
            volume += part
            centroid[0] += 0.25 * part * (ux + wx + d * nx)
            centroid[1] += 0.25 * part * (uy + wy + d * ny)
            centroid[2] += 0.25 * part * (uz + wz + d * nz)
    if volume > 0:
        centroid /= volume
    return volume


@njit(cache=True, nogil=True, error_model="numpy")
def has_face_below(p: Polyhedron, n: int, number: int) -> bool:
    """Whether a face with a number below the given one is left."""
    for v in range(n):
        for h in range(4 * v, 4 * v + 3):
            if p.face[h] < number:
                return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def count_edges(
    p: Polyhedron,
    n: int,
    n_faces: int,
    least_area: float,
    least_length: float,
    n_edges: NDArray[np.int32],
    orders: NDArray[np.uint8],
) -> None:
    """Count the faces with 3, 4, 5, 6, 7 and 8 or more edges.

    Parameters
    ----------
    p, n, n_faces
        The polyhedron after `measure`, its numbers of vertices and of faces.
    least_area, least_length
        Faces and edges that are not larger don't count (nm2, nm): where more than three edges meet, as in perfect
        lattices, rounding opens such.
    n_edges
        Room for the number of edges of each face.
    orders
        Shape (6,), written here; 255 stands for more, too.
    """
    n_edges[:n_faces] = 0
    least2 = least_length * least_length
    for v in range(n):
        for h in range(4 * v, 4 * v + 3):
            w = p.twin[h] >> 2
            d2 = 0.0
            for a in range(3):
                d2 += (p.vertex[a, w] - p.vertex[a, v]) ** 2
            n_edges[p.face[h]] += d2 > least2
    orders[:] = 0
    for f in range(n_faces):
        if n_edges[f] >= 3 and p.plane[4, f] > least_area:
            k = min(n_edges[f], 8) - 3
            orders[k] = min(orders[k] + 1, 255)


def start_polyhedron() -> tuple[Polyhedron, int]:
    """Return the regular dodecahedron around the unit sphere, faces 0 to 11, and its number of vertices.

    Examples
    --------
    >>> shape, n = start_polyhedron()
    >>> n, round(measure(shape, n, 12, np.zeros(3)), 4)
    (20, 5.5503)
    """
    p = new_polyhedron(64, 32)
    _cube(p)
    phi = (1 + 5**0.5) / 2
    signs = [(a, b) for a in (-1.0, 1.0) for b in (-phi, phi)]
    normals = [n for a, b in signs for n in ((0.0, a, b), (a, b, 0.0), (b, 0.0, a))]
    n = 8
    for i, (x, y, z) in enumerate(normals):
        length = (1 + phi * phi) ** 0.5
        n = cut(p, n, i, x / length, y / length, z / length, 1.0, 0.0) or n
    p.neighbor[:N_START] = -1
    return p, n


def _cube(p: Polyhedron) -> None:
    # bits of the vertex number are its signs; faces 20 to 25 are gone once the dodecahedron is cut out
    for v in range(8):
        sign = [1 if v >> a & 1 else -1 for a in range(3)]
        p.vertex[:3, v] = [2.0 * s for s in sign]
        axes = _ccw(v)
        for k, axis in enumerate(axes):
            w = v ^ (1 << axis)
            side = 3 - axis - axes[(k + 1) % 3]
            p.twin[4 * v + k] = 4 * w + _ccw(w).index(axis)
            p.face[4 * v + k] = 20 + 2 * side + (sign[side] > 0)


def _ccw(v: int) -> tuple[int, int, int]:
    return (0, 1, 2) if bin(v).count("1") % 2 else (0, 2, 1)
