"""Images of the specimen across its depth: counts per slice on a grid in which poles stay where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_KNOTS: Final = 40
_QUANTILE: Final = 1e-3  # of the places that may lie outside the image at each side
_MOST_PIXELS: Final = 256
_HALF: Final = 0.5  # of the typical density, where the smoothed edge of an image is


@dataclass(frozen=True, eq=False)
class Image:
    """Places of ions across the axis.

    Parameters
    ----------
    name
        What the places are.
    unit
        Their unit.
    places
        Shape (M, 2), float64.
    radius
        Radius of the disc with the same mean square extent.
    """

    name: str
    unit: str
    places: NDArray[np.float64]
    radius: float


@dataclass(frozen=True, eq=False)
class Slices:
    """Counts of an image in slices along the depth.

    Parameters
    ----------
    origin, pixel
        Lower corner of the first pixel, and the edge of a pixel.
    cell
        Shape (M,), int64: flat pixel of each ion, -1 outside the image.
    counts
        Shape (n_slices, nx, ny), float64.
    core
        Shape (n_slices, nx, ny), bool: pixels far enough inside to be judged.
    """

    origin: NDArray[np.float64]
    pixel: float
    cell: NDArray[np.int64]
    counts: NDArray[np.float64]
    core: NDArray[np.bool_]


def make_images(
    xyz_nm: NDArray[np.float32], detector_mm: NDArray[np.float32] | None, tolerance: float
) -> tuple[Image, ...]:
    """Images in which a pole may stand still.

    Parameters
    ----------
    xyz_nm
        Positions, shape (M, 3), nm, finite.
    detector_mm
        Hits, shape (M, 2), mm, finite, or None.
    tolerance
        Two images that differ by less than this share of the radius are one.

    Returns
    -------
    The detector's image where there is one: poles are directions of the crystal and stay there. Without it the
    positions as they are, and, where that is another image, those less the center and over the radius of their depth:
    in a conical tip poles spread with the radius, and in one that drifts or leans they move with it.
    """
    if detector_mm is not None:
        return (_image("detector", "mm", detector_mm.astype(np.float64)),)
    straight = xyz_nm[:, :2].astype(np.float64)
    center, spread = _outline(straight, xyz_nm[:, 2])
    moved = (straight - center) / spread[:, None]
    moved *= spread.mean()
    moved += center.mean(axis=0)
    images = [_image("straight", "nm", straight)]
    off = np.sqrt(np.mean(np.sum((moved - straight) ** 2, axis=1)))
    if off > tolerance * images[0].radius:
        images.append(_image("with the specimen", "nm", moved))
    return tuple(images)


def slice_image(image: Image, slice_idx: NDArray[np.int64], n_slices: int, pixel: float, margin: float) -> Slices:
    """Count the places of each slice on a grid, and find where they can be judged.

    Parameters
    ----------
    image
        The image.
    slice_idx
        Slice of each ion, shape (M,).
    n_slices
        Number of slices.
    pixel, margin
        Edge of a pixel, and distance from the edge of the image that is not judged, in the unit of the image.
    """
    low, high = np.quantile(image.places[:: max(1, len(image.places) // 200_000)], [_QUANTILE, 1 - _QUANTILE], axis=0)
    pad = 2 * pixel
    pixel = max(pixel, float((high - low).max() + 2 * pad) / _MOST_PIXELS)
    shape = np.ceil((high - low + 2 * pad) / pixel).astype(np.int64)
    origin = 0.5 * (low + high) - 0.5 * shape * pixel
    at = np.floor((image.places - origin) / pixel).astype(np.int64)
    inside = ((at >= 0) & (at < shape)).all(axis=1)
    cell = np.where(inside, at[:, 0] * shape[1] + at[:, 1], -1)
    n_pixels = int(shape.prod())
    flat = np.bincount(slice_idx[inside] * n_pixels + cell[inside], minlength=n_slices * n_pixels)
    counts = flat.reshape(n_slices, *shape).astype(np.float64)
    core = np.stack([_core(one, margin / pixel) for one in counts])
    return Slices(origin, pixel, cell, counts, core)


def _image(name: str, unit: str, places: NDArray[np.float64]) -> Image:
    off = places - places.mean(axis=0)
    return Image(name, unit, places, float(np.sqrt(2 * np.mean(np.sum(off * off, axis=1)))))


def _outline(places: NDArray[np.float64], z_nm: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center (M, 2) and radius (M,) of the specimen at the depth of each ion, from slices of equal numbers of ions."""
    order = np.argsort(z_nm, kind="stable")
    parts = [part for part in np.array_split(order, _KNOTS) if len(part)]
    depth = np.array([z_nm[part].mean() for part in parts], np.float64)
    center = np.array([places[part].mean(axis=0) for part in parts])
    spread = np.array([np.sqrt(places[part].var(axis=0).sum()) for part in parts])
    center, spread = (ndimage.gaussian_filter1d(values, 1.5, axis=0, mode="nearest") for values in (center, spread))
    at = np.column_stack([np.interp(z_nm, depth, center[:, axis]) for axis in range(2)])
    return at, np.maximum(np.interp(z_nm, depth, spread), 1e-9)


def _core(counts: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(counts, 1.5, mode="constant")
    typical = np.median(smooth[smooth > 0.25 * smooth.max(initial=0.0)]) if smooth.any() else 0.0
    inside = ndimage.binary_fill_holes(smooth > _HALF * typical)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return np.asarray(depth > max(margin, 1.0), np.bool_)
