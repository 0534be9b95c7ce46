"""Atoms of a simulated specimen, before and after they are measured: parallel arrays, one entry per atom or ion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SUBLATTICES: Final = ("Ga", "N", "interstitial", "none")
"""Where an ion came from: a Ga site, an N site, between the sites, or from no atom (background)."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms of a specimen in the instrument's frame: x, y across, z the depth below the apex.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), float32, nm; the axis of the instrument is x = y = 0, the highest atom is near z = 0.
    element
        Shape (N,), int8, index in `elements`.
    sublattice
        Shape (N,), int8, index in `SUBLATTICES`.
    instance
        Shape (N,), int32, number of the defect whose label the atom carries, 0 for the matrix.
    elements
        Symbols of the elements; the first two are Ga and N.
    """

    xyz_nm: NDArray[np.float32]
    element: NDArray[np.int8]
    sublattice: NDArray[np.int8]
    instance: NDArray[np.int32]
    elements: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.element)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Atoms:
        return Atoms(self.xyz_nm[rows], self.element[rows], self.sublattice[rows], self.instance[rows], self.elements)


@dataclass(frozen=True)
class Lens:
    """A place whose evaporation field differs, which bends the trajectories of the ions around it.

    Parameters
    ----------
    center_nm
        Center x, y, z in the instrument's frame, nm.
    radius_nm
        Radius of the region, nm.
    strength
        Local magnification minus one: positive spreads ions apart, negative focuses them.
    """

    center_nm: tuple[float, float, float]
    radius_nm: float
    strength: float
