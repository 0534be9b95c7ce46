"""A surface of triangles, and where ions lie against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, finite_rows
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.errors import EmptySelectionError

_NEAREST = 12  # triangles looked at for the exact distance of an ion
_CHUNK = 1 << 17
_LEAST_NM = 1e-4


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles where a field has one value.

    Parameters
    ----------
    vertices_nm
        Shape (V, 3), float32, nm, in the frame of the ions.
    triangles
        Shape (T, 3), int32: vertices of each, in an order whose normal points to lower values.
    level
        Value of the field there.
    name, unit
        The field.
    """

    vertices_nm: NDArray[np.float32]
    triangles: NDArray[np.int32]
    level: float
    name: str = ""
    unit: str = ""

    @property
    def area_nm2(self) -> float:
        """Area of all triangles, nm2."""
        return float(0.5 * np.linalg.norm(_normals(self), axis=1).sum())

    @property
    def volume_nm3(self) -> float:
        """Volume of higher values inside, nm3 (divergence theorem); that of a closed surface only."""
        a, b, c = (self.vertices_nm[self.triangles[:, i]].astype(np.float64) for i in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def signed_distance(xyz_nm: ArrayLike, surface: Surface, reach_nm: float = 10.0) -> NDArray[np.float32]:
    """Distance of each ion from a surface, positive on the side of higher values.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    surface
        The surface.
    reach_nm
        Ions farther off than this get NaN, as ions at non-finite positions do.

    Returns
    -------
    Shape (N,), float32, nm.

    Notes
    -----
    The distance to the nearest point of a triangle (Ericson, Real-Time Collision Detection, 2005, section 5.1.5) among
    the 12 triangles whose centers are nearest: exact for surfaces of marching cubes, whose triangles are alike in size.
    The sign is that of the offset along the normal of the nearest point, averaged over the triangles that share it
    (weighted by area), because on an edge a single triangle may see the wrong side.
    """
    xyz = as_points(xyz_nm)
    out = np.full(len(xyz), np.nan, np.float32)
    for rows, distance, _, _ in _nearest(xyz, surface, reach_nm):
        out[rows] = distance
    return out


def boundary_of(xyz_nm: ArrayLike, surface: Surface, reach_nm: float = 10.0) -> Boundary:
    """Where ions lie against a surface: distance, normal at the nearest point, direction from it.

    Parameters
    ----------
    xyz_nm, surface, reach_nm
        As for `signed_distance`.

    Returns
    -------
    The surface as a boundary. Its normals point to higher values, where distances are positive; one between triangles
    is their mean, weighted by area. Ions on the surface have no direction from it.
    """
    xyz = as_points(xyz_nm)
    found = tuple(np.full(shape, np.nan, np.float32) for shape in (len(xyz), (len(xyz), 3), (len(xyz), 3)))
    for rows, distance, offset, normal in _nearest(xyz, surface, reach_nm):
        found[0][rows] = distance
        found[1][rows] = unit(-normal)
        found[2][rows] = unit(offset)
    return Boundary(*found)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vectors, shape (N, 3), at length 1; NaN for those shorter than 1e-4 nm, whose direction is rounding."""
    length = np.linalg.norm(vectors, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(vectors / np.where(length > _LEAST_NM, length, np.nan)[:, None], np.float64)


def _nearest(
    xyz: NDArray[np.float32], surface: Surface, reach_nm: float
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Blocks of ions in reach: their rows, signed distance, offset from the nearest point, and normal there."""
    from scipy.spatial import cKDTree

    if not len(surface.triangles):
        raise EmptySelectionError("the surface has no triangle; choose another level")
    corners = surface.vertices_nm[surface.triangles].astype(np.float64)
    normals = _normals(surface)
    centers = corners.mean(axis=1)
    size = float(np.linalg.norm(corners - centers[:, None], axis=2).max())
    tree = cKDTree(centers)
    rows = np.flatnonzero(finite_rows(xyz))
    k = min(_NEAREST, len(centers))
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        points = xyz[some].astype(np.float64)
        _, near = tree.query(points, k, distance_upper_bound=reach_nm + size, workers=-1)
        near = near.reshape(len(points), k)
        found = near[:, 0] < len(centers)
        some, points, near = some[found], points[found], near[found]
        best, offset, normal = np.full(len(points), np.inf), np.zeros_like(points), np.zeros_like(points)
        for column in range(k):
            valid = near[:, column] < len(centers)
            triangle = np.where(valid, near[:, column], 0)
            off = points - _closest(points, corners[triangle])
            distance = np.where(valid, np.einsum("ij,ij->i", off, off), np.inf)
            closer = distance < best - 1e-9
            equal = ~closer & (distance <= best + 1e-9) & valid
            normal[closer] = normals[triangle[closer]]
            normal[equal] += normals[triangle[equal]]
            offset[closer], best[closer] = off[closer], distance[closer]
        distance = np.sqrt(best)
        sign = np.where(np.einsum("ij,ij->i", offset, normal) > 0, -1.0, 1.0)
        inside = distance <= reach_nm
        yield some[inside], (sign * distance)[inside], offset[inside], normal[inside]


def _normals(surface: Surface) -> NDArray[np.float64]:
    """Normals of the triangles, as long as twice their area, shape (T, 3), toward lower values."""
    a, b, c = (surface.vertices_nm[surface.triangles[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def _closest(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Point of each triangle (N, 3, 3) nearest to each point (N, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, normal = b - a, c - a, np.cross(b - a, c - a)
    area2 = np.maximum(np.einsum("ij,ij->i", normal, normal), 1e-300)
    v = np.einsum("ij,ij->i", np.cross(points - a, ac), normal) / area2
    w = np.einsum("ij,ij->i", np.cross(ab, points - a), normal) / area2
    out: NDArray[np.float64] = a + v[:, None] * ab + w[:, None] * ac
    outside = (v < 0) | (w < 0) | (v + w > 1)
    best = np.full(len(points), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        t = np.einsum("ij,ij->i", points - start, edge) / np.maximum(np.einsum("ij,ij->i", edge, edge), 1e-300)
        candidate = start + np.clip(t, 0, 1)[:, None] * edge
        distance = np.einsum("ij,ij->i", points - candidate, points - candidate)
        closer = outside & (distance < best)
        out[closer], best[closer] = candidate[closer], distance[closer]
    return out
