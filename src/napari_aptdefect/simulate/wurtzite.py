"""The perfect GaN crystal as a stack of bilayers, its faults, and the hexagonal prism that a nanowire is.

Frame: z is the depth along the c axis, 0 at the free end of the wire; x lies along the a axis ``[2-1-10]``, so that the
side facets, m planes {10-10}, have their normals at 30, 90 and 150 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

A_NM: Final = 0.3189
C_NM: Final = 0.5185
U: Final = 0.377
BILAYER_NM: Final = C_NM / 2
GA_PER_LAYER_NM2: Final = 2 / (math.sqrt(3) * A_NM**2)
ATOMS_PER_NM3: Final = 4 / (math.sqrt(3) / 2 * A_NM**2 * C_NM)

# Lateral places A, B, C of the close-packed layers, apart by a/sqrt(3)
_PLACES: Final = np.array([[0.0, 0.0], [A_NM / 2, A_NM / np.sqrt(12)], [0.0, A_NM / np.sqrt(3)]])
_NORMALS: Final = np.array([[np.cos(t), np.sin(t)] for t in np.deg2rad([30.0, 90.0, 150.0])])


_CUBIC_BILAYERS: Final = {"I1": 1, "I2": 2, "E": 3}


def n_cubic_bilayers(fault: str) -> int:
    """Bilayers with cubic surroundings in a basal stacking fault: 1 in I1, 2 in I2, 3 in the extrinsic fault E."""
    return _CUBIC_BILAYERS[fault]


def fault_thickness_nm(fault: str) -> float:
    """Thickness of the slab that a basal stacking fault labels: its cubic bilayers and one more, nm."""
    return (_CUBIC_BILAYERS[fault] + 1) * BILAYER_NM


def hexagon_area_nm2(apothem_nm: float) -> float:
    """Cross section of a regular hexagon from the distance between its center and a side, nm²."""
    return float(2 * np.sqrt(3) * apothem_nm**2)


def in_prism(xyz_nm: NDArray[np.floating], apothem_nm: float, length_nm: float) -> NDArray[np.bool_]:
    """Which points of shape (N, 3) lie in the prism with m-plane facets between z = 0 and z = length; bool (N,)."""
    inside = (xyz_nm[:, 2] >= 0) & (xyz_nm[:, 2] <= length_nm)
    for nx, ny in _NORMALS:  # one pass per pair of facets is several times faster than a thin matrix product
        inside &= np.abs(xyz_nm[:, 0] * nx + xyz_nm[:, 1] * ny) <= apothem_nm
    return inside


def depth_below_facets_nm(xyz_nm: NDArray[np.floating], apothem_nm: float, length_nm: float) -> NDArray[np.float64]:
    """Distance of points of shape (N, 3) to the nearest plane of the prism, nm, negative outside; shape (N,)."""
    side = apothem_nm - np.abs(xyz_nm[:, :2] @ _NORMALS.T).max(axis=1)
    return np.asarray(np.minimum(side, np.minimum(xyz_nm[:, 2], length_nm - xyz_nm[:, 2])), np.float64)


def stacking(n_layers: int, first: int, faults: Sequence[int] = ()) -> NDArray[np.int8]:
    """Places 0 (A), 1 (B), 2 (C) of the bilayers first..first + n_layers, with I1 faults at the given layers.

    Parameters
    ----------
    n_layers
        Number of bilayers.
    first
        Index of the first bilayer; a negative one lies above the free end.
    faults
        Layers that take the third place; so do all below them with the same parity.

    Notes
    -----
    An intrinsic fault I1 turns ...ABABAB... into ...ABABCBCB...: one bilayer has cubic surroundings.

    Examples
    --------
    >>> "".join("ABC"[i] for i in stacking(8, 0, [4]))
    'ABABCBCB'
    """
    layers = np.arange(first, first + n_layers)
    places = np.mod(layers, 2).astype(np.int8)
    pair = [0, 1]
    for fault in sorted(faults):
        parity = fault % 2
        pair[parity] = 3 - pair[0] - pair[1]
        places[(layers >= fault) & (layers % 2 == parity)] = pair[parity]
    return places


def lateral_net(reach_nm: float) -> NDArray[np.float64]:
    """Points of one close-packed layer at place A within a circle of the given radius; shape (M, 2), nm."""
    n = int(np.ceil(reach_nm / (A_NM * np.sqrt(3) / 2))) + 1
    i, j = np.meshgrid(np.arange(-2 * n, 2 * n + 1), np.arange(-n, n + 1))
    points = np.column_stack([(A_NM * (i + j / 2)).ravel(), (A_NM * np.sqrt(3) / 2 * j).ravel()])
    return np.asarray(points[np.hypot(points[:, 0], points[:, 1]) <= reach_nm], np.float64)


def sites_nm(
    net_xy: NDArray[np.float64], layer: NDArray[np.int64], place: NDArray[np.int8], sublattice: int
) -> NDArray[np.float64]:
    """Positions of lattice sites given their points of the net, bilayers and places; all of length N; shape (N, 3).

    Notes
    -----
    Ga (sublattice 0) lies at z = k c/2, its N neighbor (1) along the c axis at u c above it.
    """
    return np.column_stack([net_xy + _PLACES[place], layer * BILAYER_NM + sublattice * U * C_NM])


def layer_sites(net: NDArray[np.float64], layer: int, place: int) -> NDArray[np.float64]:
    """Ga sites, then N sites, of one bilayer; shape (2, M, 3), nm."""
    layers, places = np.full(len(net), layer), np.full(len(net), place, np.int8)
    return np.stack([sites_nm(net, layers, places, sublattice) for sublattice in (0, 1)])


def screw_displacement(xyz_nm: NDArray[np.float64], x_nm: float, y_nm: float) -> NDArray[np.float64]:
    """Displacement around a screw dislocation along z with Burgers vector c; shape (N, 3), nm.

    Notes
    -----
    u_z = b theta / (2 pi), J. P. Hirth and J. Lothe, Theory of Dislocations, 2nd ed. (1982), equation 3-2.
    """
    shift = np.zeros_like(xyz_nm)
    shift[:, 2] = C_NM / (2 * np.pi) * np.arctan2(xyz_nm[:, 1] - y_nm, xyz_nm[:, 0] - x_nm)
    return shift


def edge_displacement(
    xyz_nm: NDArray[np.float64], x_nm: float, y_nm: float, outer_nm: float, poisson: float = 0.2
) -> NDArray[np.float64]:
    """Displacement around an edge dislocation along z with Burgers vector a along x; shape (N, 3), nm.

    Notes
    -----
    Isotropic elasticity, J. P. Hirth and J. Lothe, Theory of Dislocations, 2nd ed. (1982), equations 3-45 and 3-46; the
    basal plane of a hexagonal crystal is elastically isotropic. `outer_nm` is where the logarithm vanishes.
    """
    x, y = xyz_nm[:, 0] - x_nm, xyz_nm[:, 1] - y_nm
    r2 = np.maximum(x**2 + y**2, (A_NM / 2) ** 2)  # linear elasticity ends at the core
    shift = np.zeros_like(xyz_nm)
    factor = A_NM / (2 * np.pi)
    shift[:, 0] = factor * (np.arctan2(y, x) + x * y / (2 * (1 - poisson) * r2))
    shift[:, 1] = -factor * (
        (1 - 2 * poisson) / (4 * (1 - poisson)) * np.log(r2 / outer_nm**2) + (x**2 - y**2) / (4 * (1 - poisson) * r2)
    )
    return shift
