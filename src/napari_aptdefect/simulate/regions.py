"""Regions that defects occupy: spheres, tubes around a line, and slabs around a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Shape = Literal["point", "sphere", "tube", "slab"]


@dataclass(frozen=True)
class Region:
    """The place of one defect.

    Parameters
    ----------
    shape
        ``"point"``, ``"sphere"``, ``"tube"`` (an endless cylinder) or ``"slab"`` (the room between two planes).
    center_nm
        Center x, y, z; of a tube any point of its line, of a slab any point of its middle plane, nm.
    direction
        Unit vector of the line, or normal of the slab; zero for points and spheres.
    radius_nm
        Radius of the sphere or tube, half the thickness of the slab, 0 for a point, nm.
    """

    shape: Shape
    center_nm: Vector
    direction: Vector = (0.0, 0.0, 0.0)
    radius_nm: float = 0.0

    def distance_nm(self, xyz_nm: NDArray[np.floating]) -> NDArray[np.floating]:
        """Distance of points of shape (N, 3) to the region's surface, negative inside; shape (N,), nm."""
        offset = xyz_nm - np.asarray(self.center_nm, xyz_nm.dtype)
        if self.shape in ("point", "sphere"):
            return np.asarray(np.sqrt(np.einsum("ij,ij->i", offset, offset)) - self.radius_nm)
        along = offset @ np.asarray(self.direction, xyz_nm.dtype)
        if self.shape == "slab":
            return np.asarray(np.abs(along) - self.radius_nm)
        across = np.maximum(np.einsum("ij,ij->i", offset, offset) - along**2, 0)
        return np.asarray(np.sqrt(across) - self.radius_nm)

    def reach_nm(self, reach_nm: float = 0.0) -> tuple[float, float]:
        """Lowest and highest z that any point within `reach_nm` of the region can have, nm."""
        if self.shape in ("point", "sphere"):
            half = self.radius_nm + reach_nm
            return self.center_nm[2] - half, self.center_nm[2] + half
        # A slab across z is bounded; a tube, or a slab that leans, is bounded by the specimen only.
        if self.shape == "slab" and abs(self.direction[2]) > 1 - 1e-12:
            half = self.radius_nm + reach_nm
            return self.center_nm[2] - half, self.center_nm[2] + half
        return -np.inf, np.inf

    def rows_within(self, xyz_nm: NDArray[np.floating], reach_nm: float = 0.0) -> NDArray[np.intp]:
        """Rows of the points of shape (N, 3) that lie in the region or at most `reach_nm` from it."""
        low, high = self.reach_nm(reach_nm)
        z = xyz_nm[:, 2]
        near = np.flatnonzero((z >= low) & (z <= high)) if np.isfinite(low) else np.arange(len(z))
        if self.shape in ("point", "sphere"):
            x = xyz_nm[near, 0]
            near = near[np.abs(x - self.center_nm[0]) <= self.radius_nm + reach_nm]
        return near[self.distance_nm(xyz_nm[near]) <= reach_nm]

    def moved(self, rotation: NDArray[np.float64], shift_nm: NDArray[np.float64]) -> Region:
        """Return the region in another frame: x' = rotation x + shift."""
        x, y, z = (float(v) for v in rotation @ np.asarray(self.center_nm) + shift_nm)
        u, v, w = (float(v) for v in rotation @ np.asarray(self.direction))
        return Region(self.shape, (x, y, z), (u, v, w), self.radius_nm)
