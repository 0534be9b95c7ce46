"""Features of an ion against the regions that a person drew: in or out, distance and orientation of the border."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.apt.features.balls import interpolate
from napari_aptdefect.data.feature_table import FeatureColumn
from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.data.region import PolygonPrism, Region
from napari_aptdefect.data.surface import unit
from napari_aptdefect.errors import EmptySelectionError

_SMOOTH_VOXELS = 1.0


def columns(names: Iterable[str]) -> list[FeatureColumn]:
    """Columns that `Prepared.describe` fills, for regions of these names."""
    return [
        FeatureColumn(f"region_{name}_{suffix}", "spatial", unit_, text.format(name), equation)
        for name in names
        for suffix, unit_, text, equation in (
            ("inside", "", "1 in the region {}, 0 outside", "distance > 0; in a grid the value of the voxel"),
            (
                "distance_nm",
                "nm",
                "distance to the border of the region {}, positive inside it",
                "exact for a prism (Quilez, signed distance of an extruded polygon), distance transform for a grid",
            ),
            (
                "normal_cos",
                "",
                "cosine between the outward normal at the nearest place on the border of {} and the specimen axis",
                "n . a, n = -grad(distance)",
            ),
        )
    ]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A region with what is needed at each ion: of a grid the signed distance and its gradient, (nx, ny, nz, 4)."""

    region: Region
    fields: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, region: Region) -> Prepared:
        """Make the fields of a grid; a prism needs none.

        Raises
        ------
        EmptySelectionError
            If no voxel is in the region.
        """
        if isinstance(region, PolygonPrism):
            return cls(region, np.empty((0, 0, 0, 4), np.float32))
        if not (region.values > 0.5).any():
            raise EmptySelectionError(f"no voxel of the region {name} is above 0.5; draw it, or leave it out")
        return cls(region, _fields(region))

    def describe(self, xyz: NDArray[np.float32], axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns of a block of ions, shape (B, 3), for a specimen axis, a unit vector of shape (3,)."""
        if isinstance(self.region, PolygonPrism):
            distance, outward = _in_prism(xyz, self.region)
            inside = distance > 0
        else:
            distance, outward = _in_grid(xyz, self.region, self.fields)
            inside = _voxels(xyz, self.region) > 0.5
        return np.stack([inside, distance, outward @ axis], axis=1)


def prism_distance(xyz: NDArray[np.float32], prism: PolygonPrism) -> NDArray[np.float64]:
    """Signed distance to the surface of a prism, positive inside, shape (B,), nm."""
    return _in_prism(xyz, prism)[0]


def _in_prism(xyz: NDArray[np.float32], prism: PolygonPrism) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed distance and outward normal, shapes (B,) and (B, 3)."""
    p = xyz[:, prism.across].astype(np.float64)
    nearest2, nearest = np.full(len(p), np.inf), np.zeros_like(p)
    inside = np.zeros(len(p), np.bool_)
    corners = prism.vertices_nm
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, off = end - start, p - start
        t = np.clip(off @ edge / max(float(edge @ edge), 1e-300), 0, 1)
        to = off - t[:, None] * edge
        distance2 = np.einsum("ij,ij->i", to, to)
        closer = distance2 < nearest2
        nearest2[closer], nearest[closer] = distance2[closer], to[closer]
        crosses = (start[1] > p[:, 1]) != (end[1] > p[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            x = start[0] + (p[:, 1] - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
        inside ^= crosses & (p[:, 0] < x)
    sign = np.where(inside, -1.0, 1.0)
    flat = sign * np.sqrt(nearest2)
    place = xyz[:, prism.along].astype(np.float64)
    below, above = prism.span_nm[0] - place, place - prism.span_nm[1]
    tall = np.maximum(below, above)
    outer_flat, outer_tall = np.maximum(flat, 0), np.maximum(tall, 0)
    outside = (flat > 0) | (tall > 0)
    # outside both parts of the way count, inside only the shorter way out
    by_side = np.where(outside, outer_flat > 0, flat >= tall)
    by_end = np.where(outside, outer_tall > 0, flat < tall)
    normal = np.zeros((len(p), 3))
    normal[:, prism.across] = np.where(by_side[:, None], nearest * sign[:, None], 0.0)
    way = np.where(outside, outer_tall, 1.0)
    normal[:, prism.along] = np.where(by_end, np.where(above >= below, 1.0, -1.0) * way, 0.0)
    distance = -np.where(outside, np.hypot(outer_flat, outer_tall), np.maximum(flat, tall))
    return np.asarray(distance, np.float64), unit(normal)


def _fields(grid: VoxelGrid) -> NDArray[np.float32]:
    voxel = np.asarray(grid.voxel_nm, np.float64)
    fields = np.zeros((*grid.values.shape, 4), np.float32)
    fields[..., 0] = _signed_depth(grid.values > 0.5, voxel)
    smooth = ndimage.gaussian_filter(fields[..., 0], _SMOOTH_VOXELS, mode="nearest")
    for axis in range(3):
        if smooth.shape[axis] > 1:
            fields[..., 1 + axis] = np.gradient(smooth, voxel[axis], axis=axis)
    return fields


def _signed_depth(inside: NDArray[np.bool_], voxel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance of the centers of voxels to the border, positive inside, nm; outside the grid is outside.

    The border lies half a voxel before the nearest center on its other side, as long as the voxel is in that direction.
    """
    padded = np.pad(inside, 1)
    depth = np.zeros(padded.shape, np.float32)
    for part, sign in ((padded, 1), (~padded, -1)):
        distance, place = ndimage.distance_transform_edt(part, sampling=voxel, return_indices=True)
        half2 = np.zeros(padded.shape, np.float64)
        for axis in range(3):
            steps = np.arange(padded.shape[axis]).reshape([-1 if i == axis else 1 for i in range(3)]) - place[axis]
            half2 += np.square(steps * voxel[axis] ** 2)
        half = np.divide(np.sqrt(half2), 2 * distance, out=np.zeros_like(half2), where=part)
        depth[part] = sign * (distance - half)[part]
    return depth[1:-1, 1:-1, 1:-1]


def _voxels(xyz: NDArray[np.float32], grid: VoxelGrid) -> NDArray[np.float32]:
    """Value of the voxel that holds each ion, 0 beyond the grid: distances between voxels round the corners off."""
    place = np.floor((xyz - np.asarray(grid.origin_nm)) / np.asarray(grid.voxel_nm)).astype(np.int64)
    held = ((place >= 0) & (place < grid.values.shape)).all(axis=1)
    out = np.zeros(len(xyz), np.float32)
    out[held] = grid.values[tuple(place[held].T)]
    return out


def _in_grid(
    xyz: NDArray[np.float32], grid: VoxelGrid, fields: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `_in_prism`; beyond the grid the way leads to the nearest place of the border that the grid's rim knows."""
    voxel, origin = np.asarray(grid.voxel_nm, np.float64), np.asarray(grid.origin_nm, np.float64)
    half = voxel / 2
    held = np.clip(xyz, origin + half, origin + np.array(grid.values.shape) * voxel - half)
    found = np.empty((len(xyz), 4))
    interpolate(fields, origin / voxel, 1.0, (held / voxel).astype(np.float32), found)
    inward = unit(found[:, 1:])
    distance, outward = found[:, 0], -inward
    beyond = xyz - held
    far = np.flatnonzero((beyond != 0).any(axis=1))
    # from the rim, the border lies at its distance up the gradient
    off = beyond[far] - np.nan_to_num(inward[far]) * np.maximum(-distance[far], 0)[:, None]
    depth = np.maximum(distance[far], 0)
    distance[far] = np.where(depth > 0, depth - np.linalg.norm(beyond[far], axis=1), -np.linalg.norm(off, axis=1))
    outward[far] = unit(off)
    return distance, outward
