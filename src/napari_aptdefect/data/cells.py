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
        Shape (N,), int16: faces larger than the face threshold. Where a hull was given, faces with other ions, and one
        more if the hull cuts the cell.
    area_nm2
        Shape (N,), float32, nm2: surface of the cell.
    reach_nm
        Shape (N,), float32, nm: distance of the farthest vertex from the ion.
    offset_nm
        Shape (N,), float32, nm: distance of the cell's centroid from the ion, large beside voids and at surfaces.
    bounded
        Shape (N,), bool: True where neighbors alone bound the cell; False where the limit, the box or the hull cuts it,
        as at the specimen's surface, so that volume, surface and reach are those of the limit as much as of the ion.
    multiplicity
        Shape (N,), int32: ions at the very same position, 1 for an ion alone, 0 at a non-finite position.
    sphericity
        Shape (N,), float32: surface of the sphere of the cell's volume over the cell's surface,
        ``pi^(1/3) (6 V)^(2/3) / A``, 1 for a sphere (Wadell 1935, doi:10.1086/624298). NaN for a cell of no volume.
    face_orders
        Shape (N, 6), uint8: faces with 3, 4, 5, 6, 7 and 8 or more edges, the topological index of the cell: 0 6 0 0 0
        0 for simple cubic, 0 12 0 0 0 0 for fcc, 0 6 0 8 0 0 for bcc. Faces below the face threshold t don't count, nor
        do edges shorter than sqrt(t A), A the surface of the cell. Where the hull cuts the cell, faces with other ions
        alone count, with the edges they have before pockets of the hull are taken away.
    cut_by_hull
        Shape (N,), bool: whether the specimen hull cuts the cell; False where no hull was given.
    limit_nm
        Distance at which cells were cut, nm; inf where a box or a hull alone limits them.
    """

    volume_nm3: NDArray[np.float32]
    n_faces: NDArray[np.int16]
    area_nm2: NDArray[np.float32]
    reach_nm: NDArray[np.float32]
    offset_nm: NDArray[np.float32]
    bounded: NDArray[np.bool_]
    multiplicity: NDArray[np.int32]
    sphericity: NDArray[np.float32]
    face_orders: NDArray[np.uint8]
    cut_by_hull: NDArray[np.bool_]
    limit_nm: float

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                shape = (len(self.volume_nm3), 6) if field.name == "face_orders" else (len(self.volume_nm3),)
                if values.shape != shape:
                    raise ShapeError(f"{field.name} must have shape {shape}, got {values.shape}")
                object.__setattr__(self, field.name, read_only(values))

    def __len__(self) -> int:
        return len(self.volume_nm3)

    @property
    def density_nm3(self) -> NDArray[np.float32]:
        """Ions per nm3 from the cell volumes, shape (N,), float32; NaN where the position is not finite."""
        with np.errstate(divide="ignore"):
            return np.float32(1.0) / self.volume_nm3
