"""Counts on a grid and what they would be without voids: smooth density, columns along the depth, and layers across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.apt.voids.model import VoidParams
from napari_aptdefect.apt.voids.profile import Blur
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.fields import Frame, LinearFit

_LEAST_BLUR = 0.3  # of a voxel: a lattice as sharp as that would beat with the grid
_COARSE_NM = 1.0
_HOLLOW = 0.7  # of the expected density, below which a place may be a void and tells nothing of the background
_LAYER_NM, _LAYER_LATERAL_NM = 1.0, 8.0
_RIM_NM = 1.0  # the outermost voxels are cut by the surface


@dataclass(frozen=True, eq=False)
class Field:
    """Counts and their expectation; all of the shape of the frame.

    Parameters
    ----------
    frame
        The grid.
    counts
        Ions per voxel, float32; 0 where the background is unknown.
    expected
        Ions per voxel without voids, float32; 0 where it is unknown: outside, and in the outermost nanometer.
    centers
        Voxels in which the center of a void may lie, bool.
    """

    frame: Frame
    counts: NDArray[np.float32]
    expected: NDArray[np.float32]
    centers: NDArray[np.bool_]


def effective_blur(params: VoidParams, voxel_nm: float) -> tuple[Blur, tuple[float, float]]:
    """Blur of the counts, and the standard deviation of the dither that is added across and along the axis, nm."""
    least = _LEAST_BLUR * voxel_nm
    sigmas = (params.sigma_lateral_nm, params.sigma_depth_nm)
    dither = [float(np.sqrt(max(least**2 - s**2, 0.0))) for s in sigmas]
    box = voxel_nm**2 / 12  # variance of a place in its voxel
    lateral, depth = (float(np.sqrt(max(s, least) ** 2 + box)) for s in sigmas)
    return Blur(lateral, depth), (dither[0], dither[1])


def count_dithered(
    xyz_nm: NDArray[np.float32], frame: Frame, dither_nm: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Count ions per voxel after a random shift of each.

    Atomic planes as sharp as the grid beat with it: a voxel holds one plane here and two there. A random shift of the
    ions, known and put into the blur, removes that and leaves the statistics of the counts as they are.
    """
    if max(dither_nm) == 0:
        return frame.count(xyz_nm)
    scale = np.array([dither_nm[0], dither_nm[0], dither_nm[1]], np.float32)
    return frame.count(xyz_nm + scale * rng.standard_normal(xyz_nm.shape, dtype=np.float32))


def make_field(
    counts: NDArray[np.float32],
    frame: Frame,
    inside: NDArray[np.bool_],
    params: VoidParams,
    base: NDArray[np.float32] | None = None,
) -> Field:
    """Estimate the background twice, the second time without the places that the first finds hollow.

    Parameters
    ----------
    counts
        Ions per voxel.
    frame, inside
        The grid, and its voxels inside the specimen, cavities included.
    params
        Parameters.
    base
        Smooth expectation per voxel; estimated when None.

    Raises
    ------
    EmptySelectionError
        If the specimen is thinner than the surface zone.
    """
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * frame.voxel_nm
    judged = depth > _RIM_NM
    centers = depth > max(params.surface_zone_nm, _RIM_NM)
    if not centers.any() or not counts[judged].any():
        raise EmptySelectionError(
            f"no ion lies deeper than {params.surface_zone_nm} nm inside the specimen, which is at most "
            f"{float(depth.max()):.2g} nm deep: choose a thinner surface zone"
        )
    known = judged.astype(np.float32)
    smooth_nm = max(1.0, params.sigma_lateral_nm)
    expected = _background(counts, frame, known, params, base)
    for _ in range(2):
        level = frame.smooth(expected * judged, smooth_nm)
        near = frame.smooth(counts * judged, smooth_nm)
        hollow = ndimage.binary_dilation(judged & (near < _HOLLOW * level), iterations=2)
        known = (judged & ~hollow).astype(np.float32)
        expected = _background(counts, frame, known, params, base)
    return Field(frame, counts * judged, expected * judged, centers)


def refine(field: Field, transmission: NDArray[np.float32], params: VoidParams) -> Field:
    """Estimate columns and layers again with the known voids in the expectation."""
    known = (field.expected > 0).astype(np.float32)
    expected = _corrected(field.counts, field.expected, known * transmission, field.frame, params, known)
    return Field(field.frame, field.counts, expected * known, field.centers)


def _background(
    counts: NDArray[np.float32],
    frame: Frame,
    known: NDArray[np.float32],
    params: VoidParams,
    base: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    smooth = _smooth(counts, frame, known, params.background_sigma_nm) if base is None else base
    return _corrected(counts, smooth, known, frame, params, known)


def _smooth(
    counts: NDArray[np.float32], frame: Frame, known: NDArray[np.float32], sigma_nm: float
) -> NDArray[np.float32]:
    """Plane fitted around each place, on a coarser grid; see `LinearFit`."""
    n = max(1, round(_COARSE_NM / frame.voxel_nm))
    shape = tuple(-(-s // n) for s in frame.shape)
    coarse = Frame(frame.origin_nm, frame.voxel_nm * n, (shape[0], shape[1], shape[2]))
    ratio = LinearFit(coarse, _pooled(known, n), sigma_nm).of(_pooled(counts * known, n))
    place = [(np.arange(s) + 0.5) / n - 0.5 for s in frame.shape]
    for axis, at in enumerate(place):
        ratio = _interpolated(ratio, at, axis)
    return ratio


def _pooled(values: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    padded = np.pad(values, [(0, -s % n) for s in values.shape])
    a, b, c = (s // n for s in padded.shape)
    return np.asarray(padded.reshape(a, n, b, n, c, n).sum(axis=(1, 3, 5)), np.float32)


def _interpolated(values: NDArray[np.float32], at: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    last = values.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.minimum(at.astype(int), max(last - 1, 0))
    weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    near, far = values.take(low, axis), values.take(np.minimum(low + 1, last), axis)
    return np.asarray(near * (1 - weight) + far * weight, np.float32)


def _corrected(
    counts: NDArray[np.float32],
    expected: NDArray[np.float32],
    weight: NDArray[np.float32],
    frame: Frame,
    params: VoidParams,
    known: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Multiply with the ratio of counts to expectation in columns along the depth, then in layers across it.

    `weight` is what is left of the expectation by voids and masks; each ratio is a normalized convolution, so that
    the surface needs no correction of its own.
    """
    lateral, along = params.column_sigma_nm, params.column_depth_nm
    for sigma in ((lateral, lateral, along), (_LAYER_LATERAL_NM, _LAYER_LATERAL_NM, _LAYER_NM)):
        width = [s / frame.voxel_nm for s in sigma]
        hits = ndimage.gaussian_filter(counts * known, width, mode="constant", output=np.float32)
        model = ndimage.gaussian_filter(expected * weight, width, mode="constant", output=np.float32)
        enough = model > 1e-3 * float(model.max(initial=0.0))
        expected = expected * np.divide(hits, model, out=np.ones_like(hits), where=enough)
    return np.asarray(expected, np.float32)
