"""Where ions lie against a boundary or interface: how far, on which side, and how the boundary is turned there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Boundary:
    """One boundary as each of N ions sees it, NaN where it is out of reach.

    Parameters
    ----------
    distance_nm
        Shape (N,), float32, nm: signed distance.
    normal
        Shape (N, 3), float32: unit normal of the boundary at the place nearest to the ion, toward positive distances.
    direction
        Shape (N, 3), float32: unit vector from that place to the ion. It is the normal, or its opposite, for ions above
        or below the boundary, and lies across it for ions beside its rim.

    Raises
    ------
    ShapeError
        If the arrays don't describe the same ions.
    """

    distance_nm: NDArray[np.float32]
    normal: NDArray[np.float32]
    direction: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.distance_nm)
        shapes = np.shape(self.distance_nm), np.shape(self.normal), np.shape(self.direction)
        if shapes != ((n,), (n, 3), (n, 3)):
            raise ShapeError(f"a boundary needs distances (N,), normals (N, 3) and directions (N, 3), got {shapes}")

    def __len__(self) -> int:
        return len(self.distance_nm)

    @classmethod
    def unknown(cls, n: int) -> Boundary:
        """A boundary that is nowhere, as `n` ions see it."""
        nowhere = np.full((n, 3), np.nan, np.float32)
        return cls(nowhere[:, 0], nowhere, nowhere)
