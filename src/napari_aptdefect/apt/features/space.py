"""Spatial features: where an ion lies in the specimen, and how density and composition change there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.apt.features import boundaries, regions
from napari_aptdefect.apt.features.composition import Chemistry
from napari_aptdefect.apt.features.params import FeatureContext, FeatureSetParams
from napari_aptdefect.data.feature_table import FeatureColumn
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.fields import Frame, support

VOXEL_NM: Final = 0.5
_NORMALIZED: Final = "normalized convolution, Knutsson & Westin 1993, doi 10.1109/CVPR.1993.341081"
_LOW: Final = 0.5  # of the median density
_RIM_NM: Final = 0.75
_LEAST_GRADIENT: Final = 0.3  # of a distance; below it the nearest surface has no one direction
_LEAST_WEIGHT: Final = 1e-3  # of the specimen within the kernel


@dataclass(frozen=True, eq=False)
class Region:
    """The specimen on its grid.

    Parameters
    ----------
    frame
        The grid.
    inside
        Shape `frame.shape`, bool: voxels of the specimen, cavities included.
    low
        Shape `frame.shape`, bool: those of them with less than half of the median density, the rim left out.
    fields
        Shape (nx, ny, nz, 10), float32: signed depth below the surface, nm; its gradient; gradient of the density over
        the median density, 1/nm; gradient of the share of the first element of the ratio, 1/nm.
    """

    frame: Frame
    inside: NDArray[np.bool_]
    low: NDArray[np.bool_]
    fields: NDArray[np.float32]


def find_region(
    xyz: NDArray[np.float32],
    chem: Chemistry,
    kind: NDArray[np.int32],
    element: str | None,
    context: FeatureContext,
    params: FeatureSetParams,
) -> Region:
    """Put the specimen on a grid, with the fields that the features interpolate.

    Raises
    ------
    EmptySelectionError
        If nothing lies inside the specimen.
    """
    frame = context.frame or Frame.around(xyz, VOXEL_NM, margin_nm=VOXEL_NM)
    counts = frame.count(xyz)
    inside = support(frame, counts) if context.inside is None else context.inside
    if not inside.any():
        raise EmptySelectionError("no voxel lies inside the specimen; are there enough ions, and positions in nm?")
    fields = np.zeros((*frame.shape, 10), np.float32)
    depth = _signed_depth(inside, frame.voxel_nm)
    fields[..., 0] = depth
    smooth = ndimage.gaussian_filter(depth, 1.0, mode="nearest")
    _set_gradient(fields[..., 1:4], smooth, frame.voxel_nm)
    weight = inside.astype(np.float32)
    sharp = _ratio(frame.smooth(counts, frame.voxel_nm), frame.smooth(weight, frame.voxel_nm))
    typical = float(np.median(sharp[inside]))
    wide = _ratio(frame.smooth(counts * weight, params.gradient_nm), frame.smooth(weight, params.gradient_nm))
    _set_gradient(fields[..., 4:7], wide / np.float32(max(typical, 1e-12)), frame.voxel_nm)
    if element is not None:
        column = chem.elements.index(element)
        held, total = np.zeros(frame.shape, np.float32), np.zeros(frame.shape, np.float32)
        for k in np.flatnonzero(chem.n_atoms > 0):
            some = frame.count(xyz[kind == k])
            held += np.float32(chem.atoms[k, column]) * some
            total += np.float32(chem.n_atoms[k]) * some
        share = _ratio(frame.smooth(held, params.gradient_nm), frame.smooth(total, params.gradient_nm), 1e-2)
        _set_gradient(fields[..., 7:10], share, frame.voxel_nm)
    # the outermost voxels are partly empty whatever the specimen is like
    low = (depth > _RIM_NM) & (sharp < _LOW * typical)
    return Region(frame, inside, low, fields)


def columns(element: str | None, context: FeatureContext) -> tuple[FeatureColumn, ...]:
    """Columns that `describe_space` fills, in its order."""
    found = [
        (
            "surface_distance_nm",
            "nm",
            "distance to the surface of the specimen, positive inside",
            "Euclidean distance transform of the specimen on its grid, interpolated",
        ),
        (
            "surface_normal_cos",
            "",
            "cosine between outward surface normal and specimen axis; missing where no one surface is nearest",
            "n . a, n = -grad(distance) / |grad(distance)|",
        ),
        ("axis_distance_nm", "nm", "distance to the specimen axis", "|r - (r . a) a|"),
        ("axis_azimuth_cos", "", "direction from the axis, toward x; depends on the frame", "cos(azimuth)"),
        ("axis_azimuth_sin", "", "direction from the axis, toward y; depends on the frame", "sin(azimuth)"),
        ("height_nm", "nm", "position along the specimen axis from the mean of the ions", "r . a"),
        ("relative_height", "", "position along the specimen axis: 0 for the lowest ion, 1 for the highest", "linear"),
        (
            "density_gradient_per_nm",
            "1/nm",
            "change of the density, in parts of the median density per nm",
            f"|grad((g * n) / (g * inside))| / median, g a Gaussian ({_NORMALIZED})",
        ),
        ("density_gradient_cos", "", "cosine between that gradient and the specimen axis", "grad . a / |grad|"),
        (
            "composition_gradient_per_nm",
            "1/nm",
            f"change of the share of {element or 'the main element'} per nm",
            "|grad((g * n_e) / (g * n))|, atoms",
        ),
        ("composition_gradient_cos", "", "cosine between that gradient and the specimen axis", "grad . a / |grad|"),
    ]
    place = [FeatureColumn(name, "spatial", unit, text, equation) for name, unit, text, equation in found]
    return (*place, *boundaries.columns(context.boundaries), *regions.columns(context.regions))


@dataclass(frozen=True, eq=False)
class Axis:
    """The specimen axis: a unit vector and the mean of the ions, shapes (3,), and the span of heights, nm."""

    direction: NDArray[np.float64]
    center_nm: NDArray[np.float64]
    low_nm: float
    high_nm: float

    @classmethod
    def of(cls, xyz: NDArray[np.float32], params: FeatureSetParams) -> Axis:
        """Find the axis of ions, shape (M, 3)."""
        center = xyz.mean(axis=0, dtype=np.float64)
        direction = np.array([0.0, 0.0, 1.0])
        if params.axis == "principal":
            second = np.zeros((3, 3))
            for start in range(0, len(xyz), 1 << 20):
                part = xyz[start : start + (1 << 20)] - center
                second += part.T @ part
            direction = np.linalg.eigh(second)[1][:, 2]
            largest = int(np.argmax(np.abs(direction)))
            toward = direction[2] if abs(direction[2]) > 1e-6 else direction[largest]
            direction = direction * np.sign(toward)
        height = xyz @ direction.astype(np.float32) - np.float32(center @ direction)
        return cls(direction, center, float(height.min()), float(height.max()))

    def local(self, xyz: NDArray[np.float32]) -> NDArray[np.float32]:
        """Positions with the axis as third coordinate, shape (M, 3), nm, turned by the shortest way."""
        a = self.direction
        if abs(a[2]) > 1 - 1e-12:
            return xyz
        # Rodrigues' rotation that brings the axis to z
        cross = np.array([[0, 0, -a[0]], [0, 0, -a[1]], [a[0], a[1], 0]])
        turn = np.eye(3) + cross + cross @ cross / (1 + a[2])
        return np.asarray(xyz @ turn.T.astype(np.float32), np.float32)


def describe_space(
    xyz: NDArray[np.float32],
    rows: NDArray[np.int32],
    place: NDArray[np.float64],
    axis: Axis,
    has_composition: bool,
    context: FeatureContext,
    drawn: Sequence[regions.Prepared],
) -> NDArray[np.float32]:
    """Spatial features of a block of ions.

    Parameters
    ----------
    xyz
        Positions, shape (B, 3), nm.
    rows
        Their numbers among all ions, shape (B,).
    place
        Fields of the region at these places, shape (B, 10).
    axis
        The specimen axis.
    has_composition
        Whether the gradient of the composition is known.
    context
        The boundaries.
    drawn
        The regions, prepared.

    Returns
    -------
    Shape (B, number of `columns`), float32.
    """
    a = axis.direction
    off = xyz - axis.center_nm
    height = off @ a
    across = off - height[:, None] * a
    radius = np.linalg.norm(across, axis=1)
    east = np.array([1.0, 0, 0]) - a[0] * a if abs(a[0]) < 0.9 else np.array([0, 1.0, 0]) - a[1] * a
    east /= np.linalg.norm(east)
    out = [place[:, 0]]
    directions = []
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.linalg.norm(place[:, 1:4], axis=1)
        out.append(np.where(slope > _LEAST_GRADIENT, -(place[:, 1:4] @ a) / slope, np.nan))
        out += [radius, across @ east / radius, across @ np.cross(a, east) / radius, height]
        span = axis.high_nm - axis.low_nm
        out.append((height - axis.low_nm) / span if span > 0 else np.full(len(xyz), np.nan))
        for gradient, known in ((place[:, 4:7], True), (place[:, 7:10], has_composition)):
            size = np.linalg.norm(gradient, axis=1) if known else np.full(len(xyz), np.nan)
            directions.append(gradient / size[:, None])
            out += [size, directions[-1] @ a]
        near = [boundaries.describe(one, rows, a, tuple(directions)) for one in context.boundaries.values()]
    parts = [np.stack(out, axis=1), *near, *(region.describe(xyz, a) for region in drawn)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def ball_share_inside(depth_nm: NDArray[np.float64], radius_nm: float) -> NDArray[np.float64]:
    """Share of a ball that lies on the inner side of a plane, its center at a signed depth below the plane."""
    t = np.clip(depth_nm / radius_nm, -1, 1)
    return np.asarray((2 + 3 * t - t**3) / 4, np.float64)


def _signed_depth(inside: NDArray[np.bool_], voxel_nm: float) -> NDArray[np.float32]:
    """Distance of the centers of voxels to the border of a region, positive inside, nm; outside the grid is outside."""
    padded = np.pad(inside, 1)
    inner, outer = ndimage.distance_transform_edt(padded), ndimage.distance_transform_edt(~padded)
    # centers of voxels lie half a voxel beside the faces that bound the region
    depth = np.where(padded, inner - 0.5, 0.5 - outer)[1:-1, 1:-1, 1:-1]
    return np.asarray(depth * voxel_nm, np.float32)


def _ratio(a: NDArray[np.float32], b: NDArray[np.float32], least: float = _LEAST_WEIGHT) -> NDArray[np.float32]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > least)


def _set_gradient(out: NDArray[np.float32], values: NDArray[np.float32], voxel_nm: float) -> None:
    for axis in range(3):
        if values.shape[axis] > 1:
            out[..., axis] = np.gradient(values, voxel_nm, axis=axis)
