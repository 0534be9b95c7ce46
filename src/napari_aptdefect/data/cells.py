"""Voronoi cells: how much room each ion has, and how its cell looks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import ShapeError


@dataclass(frozen=True, eq=False)
class VoronoiCells:
    """One Voronoi cell per ion, in the order of the ions; ions at non-finite positions have NaN and 0 faces.

    Parameters
    ----------
    volume_nm3
        Shape (N,), float32, nm3. Ions at one place share their cell: each has its part of the volume and the surface.
    n_faces
        Shape (N,), int16: faces larger than the face threshold.
    area_nm2
        Shape (N,), float32, nm2: surface of the cell.
    reach_nm
        Shape (N,), float32, nm: distance of the farthest vertex from the ion.
    offset_nm
        Shape (N,), float32, nm: distance of the cell's centroid from the ion, large beside voids and at surfaces.
    bounded
        Shape (N,), bool: True where neighbors alone bound the cell; False where the limit or the box cuts it, as at the
        specimen's surface, so that volume, surface and reach are those of the limit as much as of the ion.
    multiplicity
        Shape (N,), int32: ions at the very same position, 1 for an ion alone, 0 at a non-finite position.
    limit_nm
        Distance at which cells were cut, nm; inf where a box alone limits them.
    """

    volume_nm3: NDArray[np.float32]
    n_faces: NDArray[np.int16]
    area_nm2: NDArray[np.float32]
    reach_nm: NDArray[np.float32]
    offset_nm: NDArray[np.float32]
    bounded: NDArray[np.bool_]
    multiplicity: NDArray[np.int32]
    limit_nm: float

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                if values.shape != self.volume_nm3.shape or values.ndim != 1:
                    raise ShapeError(f"{field.name} must have shape {self.volume_nm3.shape}, got {values.shape}")
                object.__setattr__(self, field.name, read_only(values))

    def __len__(self) -> int:
        return len(self.volume_nm3)

    @property
    def density_nm3(self) -> NDArray[np.float32]:
        """Ions per nm3 from the cell volumes, shape (N,), float32; NaN where the position is not finite."""
        with np.errstate(divide="ignore"):
            return np.float32(1.0) / self.volume_nm3
