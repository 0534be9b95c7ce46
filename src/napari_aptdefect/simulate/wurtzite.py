"""The perfect GaN crystal as a stack of bilayers, its faults, and the hexagonal prism that a nanowire is.

Frame: z is the depth along the c axis, 0 at the free end of the wire; x lies along the a axis ``[2-1-10]``, so that the
m planes {10-10} have their normals at 30, 90 and 150 degrees and the a planes {11-20} at 0, 60 and 120 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

A_NM: Final = 0.3189
C_NM: Final = 0.5185
U: Final = 0.377
BILAYER_NM: Final = C_NM / 2
GA_PER_LAYER_NM2: Final = 2 / (math.sqrt(3) * A_NM**2)
ATOMS_PER_NM3: Final = 4 / (math.sqrt(3) / 2 * A_NM**2 * C_NM)

Facets = Literal["m", "a"]
_POISSON: Final = 0.27  # plane strain of a line along c: C12 / (C11 + C12) with C11 = 390, C12 = 145 GPa
# Lateral places A, B, C of the close-packed layers, apart by a/sqrt(3)
_PLACES: Final = np.array([[0.0, 0.0], [A_NM / 2, A_NM / np.sqrt(12)], [0.0, A_NM / np.sqrt(3)]])
_NORMALS: Final = {
    name: np.array([[np.cos(t), np.sin(t)] for t in np.deg2rad(degrees)])
    for name, degrees in (("m", [30.0, 90.0, 150.0]), ("a", [0.0, 60.0, 120.0]))
}
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


def in_prism(
    xyz_nm: NDArray[np.floating], apothem_nm: float, length_nm: float, facets: Facets = "m"
) -> NDArray[np.bool_]:
    """Which points of shape (N, 3) lie in the prism with such facets between z = 0 and z = length; bool (N,)."""
    inside = (xyz_nm[:, 2] >= 0) & (xyz_nm[:, 2] <= length_nm)
    for nx, ny in _NORMALS[facets]:  # one pass per pair of facets is several times faster than a thin matrix product
        inside &= np.abs(xyz_nm[:, 0] * nx + xyz_nm[:, 1] * ny) <= apothem_nm
    return inside


def depth_below_facets_nm(
    xyz_nm: NDArray[np.floating], apothem_nm: float, length_nm: float, facets: Facets = "m"
) -> NDArray[np.float64]:
    """Distance of points of shape (N, 3) to the nearest plane of the prism, nm, negative outside; shape (N,)."""
    side = apothem_nm - np.abs(xyz_nm[:, :2] @ _NORMALS[facets].T).max(axis=1)
    return np.asarray(np.minimum(side, np.minimum(xyz_nm[:, 2], length_nm - xyz_nm[:, 2])), np.float64)


def stacking(n_layers: int, first: int, cubic: Collection[int] = ()) -> NDArray[np.int8]:
    """Places 0 (A), 1 (B), 2 (C) of the bilayers first..first + n_layers.

    Parameters
    ----------
    n_layers
        Number of bilayers.
    first
        Index of the first bilayer; a negative one lies above the free end.
    cubic
        Bilayers with cubic surroundings: their two neighbors lie at different places. All others have hexagonal ones.

    Notes
    -----
    One cubic bilayer in ...ABABAB... is the intrinsic fault I1, two in a row are I2, three the extrinsic fault E:
    C. Stampfl and C. G. Van de Walle, Phys. Rev. B 57, R15052 (1998), doi 10.1103/PhysRevB.57.R15052.

    Examples
    --------
    >>> ["".join("ABC"[i] for i in stacking(9, 0, cubic)) for cubic in ([], [3], [3, 4], [3, 4, 5])]
    ['ABABABABA', 'ABABCBCBC', 'ABABCACAC', 'ABABCABAB']
    """
    cubic = set(cubic)
    places = np.empty(n_layers, np.int8)
    places[:2] = np.mod(np.arange(first, first + 2), 2)[:n_layers]
    for i in range(2, n_layers):
        before, here = places[i - 2], places[i - 1]
        places[i] = 3 - before - here if first + i - 1 in cubic else before
    return places


def lateral_net(reach_nm: float) -> NDArray[np.float64]:
    """Points of one close-packed layer at place A within a circle of the given radius; shape (M, 2), nm."""
    n = int(np.ceil(reach_nm / (A_NM * np.sqrt(3) / 2))) + 1
    i, j = np.meshgrid(np.arange(-2 * n, 2 * n + 1), np.arange(-n, n + 1))
    points = np.column_stack([(A_NM * (i + j / 2)).ravel(), (A_NM * np.sqrt(3) / 2 * j).ravel()])
    return np.asarray(points[np.hypot(points[:, 0], points[:, 1]) <= reach_nm], np.float64)


def layer_sites(net: NDArray[np.float64], layer: int, place: int, up: int = 1) -> NDArray[np.float64]:
    """Ga sites, then N sites, of one bilayer; shape (2, M, 3), nm.

    Notes
    -----
    Ga lies at z = k c/2; its N neighbor along the c axis is u c deeper (up = 1) or higher (up = -1), which is the
    other polarity.
    """
    sites = np.empty((2, len(net), 3))
    sites[:, :, :2] = net + _PLACES[place]
    sites[0, :, 2] = layer * BILAYER_NM
    sites[1, :, 2] = layer * BILAYER_NM + up * U * C_NM
    return sites


def channel_offset_nm(place: int, next_place: int, up: int = 1) -> NDArray[np.float64]:
    """From a Ga site to the middle of a hexagonal channel beside it, the octahedral site; shape (3,), nm.

    Parameters
    ----------
    place, next_place
        Places of the bilayer and of the next deeper one.
    up
        As in `layer_sites`.
    """
    free = 3 - place - next_place
    x, y = _PLACES[free] - _PLACES[place]
    return np.array([x, y, up * U * C_NM / 2])


def dislocation_displacement(
    xyz_nm: NDArray[np.float64],
    point_nm: tuple[float, float, float],
    line: tuple[float, float, float],
    burgers_nm: tuple[float, float, float],
    outer_nm: float,
) -> NDArray[np.float64]:
    """Displacement around a straight dislocation of any line direction and Burgers vector; shape (N, 3), nm.

    Parameters
    ----------
    xyz_nm
        Sites of the perfect crystal, shape (N, 3), nm.
    point_nm
        A point of the line.
    line
        Unit vector along the line.
    burgers_nm
        Burgers vector, nm.
    outer_nm
        Where the logarithm of the edge part vanishes, nm.

    Notes
    -----
    Isotropic elasticity with the Poisson's ratio 0.27 of a line along c (elastic constants of A. Polian, M. Grimsditch
    and I. Grzegory, J. Appl. Phys. 79, 3343 (1996)); the part of the Burgers vector along the line gives a screw, the
    rest an edge dislocation. J. P. Hirth and J. Lothe, Theory of Dislocations, 2nd ed. (1982), equations 3-2, 3-45 and
    3-46.
    Closer than a/2 to the line, where linear elasticity ends, the field of the edge is that at a/2.
    """
    t, b = np.asarray(line, float), np.asarray(burgers_nm, float)
    along = float(b @ t)
    edge = b - along * t
    size = float(np.linalg.norm(edge))
    helper = np.eye(3)[int(np.argmin(np.abs(t)))]
    e1 = edge / size if size > 1e-12 else np.cross(t, helper) / np.linalg.norm(np.cross(t, helper))
    e2 = np.cross(t, e1)
    offset = xyz_nm - np.asarray(point_nm)
    x, y = offset @ e1, offset @ e2
    angle = np.arctan2(y, x) / (2 * np.pi)
    shift = np.outer(along * angle, t)
    if size > 1e-12:
        r2 = np.maximum(x**2 + y**2, (A_NM / 2) ** 2)
        factor = size / (2 * np.pi)
        shift += np.outer(size * angle + factor * x * y / (2 * (1 - _POISSON) * r2), e1)
        logarithm = (1 - 2 * _POISSON) / (4 * (1 - _POISSON)) * np.log(r2 / outer_nm**2)
        shift -= np.outer(factor * (logarithm + (x**2 - y**2) / (4 * (1 - _POISSON) * r2)), e2)
    return np.asarray(shift)
