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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def copy_into(target: Polyhedron, source: Polyhedron, n: int, m: int, scale: float) -> None:
    """Copy n vertices and m faces, with lengths times `scale`."""
    target.vertex[:, :n] = source.vertex[:, :n] * scale
    target.twin[: 4 * n] = source.twin[: 4 * n]
    target.face[: 4 * n] = source.face[: 4 * n]
    target.plane[:3, :m] = source.plane[:3, :m]
    target.plane[3, :m] = source.plane[3, :m] * scale
    target.neighbor[:m] = source.neighbor[:m]


@njit(cache=True, nogil=True)
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
    The number of vertices now; 0 where nothing was cut and -1 where there is no room for the new vertices, with `p`
    unchanged.
    """
    height = p.vertex[3]
    highest = -np.inf
    for v in range(n):
        height[v] = p.vertex[0, v] * nx + p.vertex[1, v] * ny + p.vertex[2, v] * nz - d
        highest = max(highest, height[v])
    if highest <= touch:
        return 0
    m = n
    for v in range(n):
        if height[v] <= touch:
            for h in range(4 * v, 4 * v + 3):
                m += height[p.twin[h] >> 2] > touch
    if m > len(height) or new >= p.plane.shape[1]:
        return -1
    _make_vertices(p, n, new, touch)
    for v in range(n, m):
        # along the face on the left: past what is cut off, to the edge where the face comes back below the plane
        h = p.came[v]
        t = p.twin[h]
        while height[t >> 2] > touch:
            h = t - 1 if t & 3 else t + 2
            t = p.twin[h]
        other = p.made[t]
        p.twin[4 * v + 2] = 4 * other + 1
        p.twin[4 * other + 1] = 4 * v + 2
    for v in range(n, m):
        h = p.came[v]
        p.twin[4 * v] = h
        p.twin[h] = 4 * v
    p.plane[0, new], p.plane[1, new], p.plane[2, new], p.plane[3, new] = nx, ny, nz, d
    left: int = _close_gaps(p, m, touch)
    return left


@njit(cache=True, nogil=True)
def _make_vertices(p: Polyhedron, n: int, new: int, touch: float) -> None:
    height = p.vertex[3]
    m = n
    for v in range(n):
        if height[v] > touch:
            continue
        for h in range(4 * v, 4 * v + 3):
            w = p.twin[h] >> 2
            if height[w] > touch:
                part = min(max(height[v] / (height[v] - height[w]), 0.0), 1.0)
                for a in range(3):
                    p.vertex[a, m] = p.vertex[a, v] + part * (p.vertex[a, w] - p.vertex[a, v])
                height[m] = 0.0
                p.face[4 * m] = p.face[p.twin[h]]
                p.face[4 * m + 1] = new
                p.face[4 * m + 2] = p.face[h]
                p.made[h] = m
                p.came[m] = h
                m += 1


@njit(cache=True, nogil=True)
def _close_gaps(p: Polyhedron, m: int, touch: float) -> int:
    height = p.vertex[3]
    v = 0
    while v < m:
        if height[v] <= touch:
            v += 1
            continue
        m -= 1
        if m == v or height[m] > touch:
            continue
        p.vertex[:, v] = p.vertex[:, m]
        for k in range(3):
            t = p.twin[4 * m + k]
            if t >> 2 == m:
                t = 4 * v + (t & 3)
            p.twin[4 * v + k] = t
            p.twin[t] = 4 * v + k
            p.face[4 * v + k] = p.face[4 * m + k]
    return m


@njit(cache=True, nogil=True)
def radius2(p: Polyhedron, n: int) -> float:
    """Squared distance of the farthest vertex from the origin, nm2."""
    far = 0.0
    for v in range(n):
        far = max(far, p.vertex[0, v] ** 2 + p.vertex[1, v] ** 2 + p.vertex[2, v] ** 2)
    return far


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def has_face_below(p: Polyhedron, n: int, number: int) -> bool:
    """Whether a face with a number below the given one is left."""
    for v in range(n):
        for h in range(4 * v, 4 * v + 3):
            if p.face[h] < number:
                return True
    return False


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
