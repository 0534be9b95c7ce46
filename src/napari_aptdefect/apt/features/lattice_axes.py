"""Compiled loops over a resolved lattice: how its bonds lie about the axis, and how its bilayers are stacked.

All arrays are in the order of the tree's rows; the axis is z.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.apt.features.lattice_bonds import LIKE_BONDS, offset

_AXIAL_COS: Final = 0.8
_LOOSE_COS: Final = 0.6
_LONGEST_BONDS: Final = 1.5
_TAKEN_STEPS: Final = 0.4
_PLANE_COS: Final = 0.35


@njit(cache=True, nogil=True)
def find_axes(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bonds: NDArray[np.int32],
    bond_nm: float,
    sense: NDArray[np.float32],
    axial: NDArray[np.int32],
    turn: NDArray[np.float32],
    state: NDArray[np.float32],
) -> None:
    """Write how each row's bonds lie about the axis.

    ``axial``, shape (M,): row at the other end of the bond along the axis, -1 for none. ``turn``, shape (M, 2): mean of
    exp(3 i phi) over the other bonds. ``state``, shape (M, 3): sense of the axial bond from the heavy to the light ion,
    1 or -1, and mean of exp(6 i phi) over the like ions around in the plane; NaN where there are none. ``sense``, shape
    (M,), is the sense that the axial bonds around have, 0 where it is not known: in wurtzite an ion across the axial
    bond is nearly a bond length away too.
    """
    for row in range(start, stop):
        sign = 1.0 if side[row] == 0 else -1.0
        which, found = -1, 0.0
        for e in range(n_near[row]):
            other = near[row, e]
            if side[other] != side[row]:
                _, _, z, d = offset(xyz, row, other)
                if d > _LONGEST_BONDS * bond_nm:
                    break
                along = abs(z) > (_AXIAL_COS if sense[row] == 0 else _LOOSE_COS) * d and z * sign * sense[row] >= 0
                if along:
                    which, found = other, math.copysign(1.0, z * sign)
                    break
        axial[row] = which
        turn[row, :] = 0.0
        c3, s3, n = 0.0, 0.0, 0
        for k in range(4):
            if bonds[row, k] >= 0 and bonds[row, k] != which:
                x, y, _, _ = offset(xyz, row, bonds[row, k])
                r = math.hypot(x, y)
                if r > 0.3 * bond_nm:
                    c, s = x / r, y / r
                    c3 += c * (4 * c * c - 3)
                    s3 += s * (3 - 4 * s * s)
                    n += 1
        if n:
            turn[row, 0], turn[row, 1] = c3 / n, s3 / n
        if which >= 0:
            state[row, 0] = found
        _six_fold(xyz, row, side, near, n_near, bond_nm, state[row])


@njit(cache=True, nogil=True)
def _six_fold(
    xyz: NDArray[np.float32],
    row: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bond_nm: float,
    out: NDArray[np.float32],
) -> None:
    """Write the mean of exp(6 i phi) over the like ions around in the plane."""
    total, n = complex(0.0, 0.0), 0
    for e in range(n_near[row]):
        if side[near[row, e]] == side[row]:
            x, y, z, d = offset(xyz, row, near[row, e])
            if abs(z) < _PLANE_COS * d and d < 1.2 * LIKE_BONDS * bond_nm:
                square = complex(x, y) * complex(x, y) / (x * x + y * y)
                total += square * square * square
                n += 1
    if n:
        out[1], out[2] = total.real / n, total.imag / n


@njit(cache=True, nogil=True)
def point_in_plane(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    step_nm: float,
    angle: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write which of the six sites around each row in its plane no like ion takes, shape (M, 6, 3), NaN for others.

    ``angle``, shape (M,), is that of one of them from x, in rad. Sites of the own sublattice are a lattice vector away,
    which is far better known than a single bond.
    """
    for row in range(start, stop):
        for k in range(6):
            phi = angle[row] + k * math.pi / 3
            x = xyz[row, 0] + step_nm * math.cos(phi)
            y = xyz[row, 1] + step_nm * math.sin(phi)
            z = xyz[row, 2]
            free = not math.isnan(phi)
            for e in range(n_near[row]):
                other = near[row, e]
                if side[other] == side[row]:
                    d2 = (xyz[other, 0] - x) ** 2 + (xyz[other, 1] - y) ** 2 + (xyz[other, 2] - z) ** 2
                    free &= d2 > (_TAKEN_STEPS * step_nm) ** 2
            if free:
                out[row, k, 0], out[row, k, 1], out[row, k, 2] = x, y, z


@njit(cache=True, nogil=True)
def write_eclipsed(
    start: int,
    stop: int,
    axial: NDArray[np.int32],
    turn: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write cos(3 phi) of the dihedral angles about each row's axial bond: 1 eclipsed, -1 staggered, NaN without."""
    for row in range(start, stop):
        if axial[row] < 0:
            continue
        other = axial[row]
        sizes = math.hypot(turn[row, 0], turn[row, 1]) * math.hypot(turn[other, 0], turn[other, 1])
        if sizes > 0.05:
            out[row] = (turn[row, 0] * turn[other, 0] + turn[row, 1] * turn[other, 1]) / sizes


@njit(cache=True, nogil=True)
def mean_in_plane(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bond_nm: float,
    values: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the mean of a value over each row and its like neighbors in the plane; missing values do not count."""
    for row in range(start, stop):
        total, n = 0.0, 0
        if not math.isnan(values[row]):
            total, n = float(values[row]), 1
        for e in range(n_near[row]):
            other = near[row, e]
            if side[other] == side[row] and not math.isnan(values[other]):
                _, _, z, d = offset(xyz, row, other)
                if abs(z) < _PLANE_COS * d and d < 1.2 * LIKE_BONDS * bond_nm:
                    total += values[other]
                    n += 1
        if n:
            out[row] = total / n


@njit(cache=True, nogil=True)
def write_stack(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    bonds: NDArray[np.int32],
    axial: NDArray[np.int32],
    eclipsed: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the value of each row's own axial pair, of the pairs toward smaller z, and toward larger; shape (M, 3)."""
    for row in range(start, stop):
        out[row, 0] = eclipsed[row]
        for which in range(2):
            here = row
            if which == 1:
                if axial[row] < 0:
                    break
                here = axial[row]
            value, z = _across(xyz, here, bonds, axial, eclipsed)
            if z != 0:
                out[row, 1 if z < 0 else 2] = value


@njit(cache=True, nogil=True)
def _across(
    xyz: NDArray[np.float32],
    row: int,
    bonds: NDArray[np.int32],
    axial: NDArray[np.int32],
    eclipsed: NDArray[np.float32],
) -> tuple[float, float]:
    """Mean over the bonds beside the axial one, and their mean step along z."""
    total, n, step = 0.0, 0, 0.0
    for k in range(4):
        other = bonds[row, k]
        if other >= 0 and other != axial[row]:
            step += float(xyz[other, 2]) - float(xyz[row, 2])
            if not math.isnan(eclipsed[other]):
                total += eclipsed[other]
                n += 1
    return (total / n if n else np.nan), step
