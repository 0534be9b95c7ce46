"""Regions of a cloud that are small and uniform enough for their topology to say something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.fields import Frame


@dataclass(frozen=True, eq=False)
class Region:
    """A place in the cloud: a ball, a box, or marked voxels.

    Parameters
    ----------
    low_nm, high_nm
        Shape (3,): corners of the box that holds the region, nm.
    radius_nm
        Radius of the ball in the box's center, nm; None for the whole box.
    frame, inside
        Voxels that belong to it, within the box; None for all.
    """

    low_nm: NDArray[np.float64]
    high_nm: NDArray[np.float64]
    radius_nm: float | None = None
    frame: Frame | None = None
    inside: NDArray[np.bool_] | None = None

    @classmethod
    def ball(cls, center_nm: ArrayLike, radius_nm: float) -> Region:
        """Ball around a place.

        Raises
        ------
        ParameterError
            If the radius is not positive.
        """
        if not radius_nm > 0:
            raise ParameterError(f"the radius of a region must be above 0 nm, got {radius_nm}")
        center = _place(center_nm)
        return cls(center - radius_nm, center + radius_nm, radius_nm)

    @classmethod
    def box(cls, low_nm: ArrayLike, high_nm: ArrayLike) -> Region:
        """Box between two corners.

        Raises
        ------
        ParameterError
            If the box is empty.
        """
        low, high = _place(low_nm), _place(high_nm)
        if not (high > low).all():
            raise ParameterError(f"the upper corner {high.tolist()} must lie above the lower one {low.tolist()}")
        return cls(low, high)

    @classmethod
    def mask(cls, frame: Frame, inside: NDArray[np.bool_]) -> Region:
        """Marked voxels of a grid.

        Raises
        ------
        ShapeError
            If the mask does not have the shape of the frame.
        EmptySelectionError
            If no voxel is marked.
        """
        if inside.shape != frame.shape:
            raise ShapeError(f"inside must have the shape of the frame {frame.shape}, got {inside.shape}")
        at = np.argwhere(inside)
        if not len(at):
            raise EmptySelectionError("no voxel of the region is marked")
        low = frame.origin_nm + at.min(axis=0) * frame.voxel_nm
        high = frame.origin_nm + (at.max(axis=0) + 1) * frame.voxel_nm
        return cls(low, high, None, frame, inside)

    def holds(self, xyz_nm: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which places lie in the region, shape (N,)."""
        out = ((xyz_nm >= self.low_nm) & (xyz_nm < self.high_nm)).all(axis=1)
        if self.radius_nm is not None:
            off = xyz_nm - 0.5 * (self.low_nm + self.high_nm)
            out &= np.einsum("ij,ij->i", off, off) <= self.radius_nm**2
        if self.frame is not None and self.inside is not None:
            out &= self.inside.ravel()[self.frame.voxel_idx(xyz_nm.astype(np.float32))]
        return np.asarray(out, np.bool_)

    def random(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw n places evenly over the region, shape (n, 3), nm."""
        if self.frame is not None and self.inside is not None:
            voxel = rng.choice(np.argwhere(self.inside), n)
            return np.asarray(self.frame.origin_nm + (voxel + rng.random((n, 3))) * self.frame.voxel_nm)
        parts: list[NDArray[np.float64]] = []
        while sum(map(len, parts)) < n:
            draw = self.low_nm + rng.random((2 * n + 8, 3)) * (self.high_nm - self.low_nm)
            parts.append(draw[self.holds(draw)])
        return np.concatenate(parts)[:n]

    def volume_nm3(self, rng: np.random.Generator) -> float:
        """Volume, nm3; by 100,000 random places where it is not a box."""
        box = float(np.prod(self.high_nm - self.low_nm))
        if self.radius_nm is None and self.inside is None:
            return box
        places = self.low_nm + rng.random((100_000, 3)) * (self.high_nm - self.low_nm)
        return box * float(self.holds(places).mean())


def _place(values: ArrayLike) -> NDArray[np.float64]:
    place = np.asarray(values, np.float64)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ShapeError(f"a place must be three finite numbers x, y, z, got shape {place.shape}")
    return place
