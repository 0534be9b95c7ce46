"""Compiled loops over a resolved lattice: neighbors, bonds, tetrahedra, and ions too many.

All arrays are in the order of the tree's rows. A bond joins ions of the two sublattices; the axis is z.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.tree import STACK_SIZE, PointTree, nearest

N_NEAR: Final = 40
"""Neighbors that are kept at most."""

NEAR_BONDS: Final = 2.25
"""How far they lie, over the bond length: beyond the second shell, wherever the blur has moved its ions."""

LIKE_BONDS: Final = math.sqrt(8 / 3)
"""Distance of the second shell, which is of like ions, over the bond length, in a tetrahedral lattice."""

N_LOCAL: Final = 8
"""Columns of `write_local`."""

_SURE_BONDS: Final = 1.2
_LONGEST_BONDS: Final = 1.5  # the contact along c of wurtzite, which is no bond, comes at 1.65
_LEAST_ANGLE_COS: Final = 0.4
_SHELL_BONDS: Final = 1.95
CROWD_BONDS: Final = 1.33
_SPLIT_BONDS: Final = 0.93
CROWD: Final = (9, 4)  # ions within about a bond length, and like ones of them: 12 and 6 in an octahedral channel


@njit(cache=True, nogil=True)
def find_near(
    tree: PointTree, start: int, stop: int, radius_nm: float, near: NDArray[np.int32], n_near: NDArray[np.int32]
) -> None:
    """Write the neighbors of the rows start..stop within a radius, nearest first; shapes (M, N_NEAR) and (M,)."""
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2 = np.empty(N_NEAR, np.float64)
    for row in range(start, stop):
        found = near[row]
        n_near[row] = nearest(tree, row, N_NEAR, radius_nm * radius_nm, True, stack, waiting2, distance2, found)


@njit(cache=True, nogil=True)
def four_nearest(
    tree: PointTree, rows: NDArray[np.int64], distance_nm: NDArray[np.float64], which: NDArray[np.int32]
) -> None:
    """Write the distances to the four nearest of some rows, and which rows these are; shapes (n, 4)."""
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    for i in range(len(rows)):
        n = nearest(tree, rows[i], 4, np.inf, True, stack, waiting2, distance_nm[i], which[i])
        for k in range(n):
            distance_nm[i, k] = math.sqrt(distance_nm[i, k])


@njit(cache=True, nogil=True)
def take_sides(
    tree: PointTree, start: int, stop: int, kind: NDArray[np.int8], n_nearest: int, side: NDArray[np.int8]
) -> None:
    """Write the sublattice of each row: 0 of heavy, 1 of light ions; others sit across from most of their nearest."""
    stack, waiting2 = np.empty(STACK_SIZE, np.int32), np.empty(STACK_SIZE, np.float64)
    distance2, found = np.empty(n_nearest, np.float64), np.empty(n_nearest, np.int32)
    for row in range(start, stop):
        mine = kind[tree.order[row]]
        if mine == 0 or mine == 1:
            side[row] = mine
            continue
        n = nearest(tree, row, n_nearest, np.inf, True, stack, waiting2, distance2, found)
        heavy, light = 0, 0
        for e in range(n):
            other = kind[tree.order[found[e]]]
            heavy += other == 0
            light += other == 1
        side[row] = 1 if heavy > light else 0


@njit(cache=True, nogil=True)
def offset(xyz: NDArray[np.float32], a: int, b: int) -> tuple[float, float, float, float]:
    """From row a to row b, and how far, nm."""
    x = float(xyz[b, 0]) - float(xyz[a, 0])
    y = float(xyz[b, 1]) - float(xyz[a, 1])
    z = float(xyz[b, 2]) - float(xyz[a, 2])
    return x, y, z, math.sqrt(x * x + y * y + z * z)


@njit(cache=True, nogil=True)
def find_bonds(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bond_nm: float,
    bonds: NDArray[np.int32],
) -> None:
    """Write up to four bonds of each row, shape (M, 4), -1 for none: short ones, and long ones well apart from them."""
    unit = np.empty((4, 3))
    for row in range(start, stop):
        n = 0
        bonds[row, :] = -1
        for e in range(n_near[row]):
            other = near[row, e]
            if side[other] == side[row]:
                continue
            x, y, z, d = offset(xyz, row, other)
            if n == 4 or d > _LONGEST_BONDS * bond_nm:
                break
            x, y, z = x / d, y / d, z / d
            apart = True
            if d > _SURE_BONDS * bond_nm:
                for k in range(n):
                    apart &= unit[k, 0] * x + unit[k, 1] * y + unit[k, 2] * z < _LEAST_ANGLE_COS
            if apart:
                unit[n, 0], unit[n, 1], unit[n, 2] = x, y, z
                bonds[row, n] = other
                n += 1


@njit(cache=True, nogil=True)
def write_local(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bonds: NDArray[np.int32],
    bond_nm: float,
    out: NDArray[np.float32],
    tensor: NDArray[np.float32],
) -> None:
    """Write what each row's own bonds say.

    ``out``, shape (M, N_LOCAL): bonds, unlike ions near a bond length, like ones, ions of the second shell, distance to
    the nearest ion, order of the tetrahedron, mean bond length and its spread over the bond length. ``tensor``, shape
    (M, 6): sum of the products of the bond vectors (xx, yy, zz, xy, xz, yz) over the squared bond length, NaN without
    four bonds.
    """
    unit, length = np.empty((4, 3)), np.empty(4)
    for row in range(start, stop):
        n = 0
        for k in range(4):
            if bonds[row, k] >= 0:
                x, y, z, d = offset(xyz, row, bonds[row, k])
                unit[n, 0], unit[n, 1], unit[n, 2], length[n] = x / d, y / d, z / d, d / bond_nm
                n += 1
        unlike, like, shell, first = 0, 0, 0, np.nan
        for e in range(n_near[row]):
            _, _, _, d = offset(xyz, row, near[row, e])
            first = d if e == 0 else first
            same = side[near[row, e]] == side[row]
            unlike += not same and d <= CROWD_BONDS * bond_nm
            like += same and d <= CROWD_BONDS * bond_nm
            shell += same and d <= _SHELL_BONDS * bond_nm
        mine = out[row]
        mine[0], mine[1], mine[2], mine[3], mine[4] = n, unlike, like, shell, first
        if n:
            mean = length[:n].mean()
            mine[6], mine[7] = mean, math.sqrt(((length[:n] - mean) ** 2).mean())
        if n == 4:
            mine[5] = _tetrahedron(unit)
            _outer(unit, length, tensor[row])


@njit(cache=True, nogil=True)
def _tetrahedron(unit: NDArray[np.float64]) -> float:
    total = 0.0
    for a in range(4):
        for b in range(a + 1, 4):
            cosine = unit[a, 0] * unit[b, 0] + unit[a, 1] * unit[b, 1] + unit[a, 2] * unit[b, 2]
            total += (cosine + 1 / 3) ** 2
    return 1 - 0.375 * total


@njit(cache=True, nogil=True)
def _outer(unit: NDArray[np.float64], length: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    for c, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        total = 0.0
        for k in range(4):
            total += unit[k, a] * unit[k, b] * length[k] * length[k]
        out[c] = total


@njit(cache=True, nogil=True)
def find_extra(
    xyz: NDArray[np.float32],
    start: int,
    stop: int,
    side: NDArray[np.int8],
    near: NDArray[np.int32],
    n_near: NDArray[np.int32],
    bond_nm: float,
    crowded: NDArray[np.bool_],
    extra: NDArray[np.float32],
) -> None:
    """Write the place of an ion too many at each row, shape (M, 3), NaN for none: a crowded ion, or between two."""
    for row in range(start, stop):
        first, second = row, row
        if not crowded[row]:
            other = -1
            for e in range(n_near[row]):
                if side[near[row, e]] == side[row]:
                    other = near[row, e]
                    break
            if other < 0 or offset(xyz, row, other)[3] > _SPLIT_BONDS * bond_nm:
                continue
            first = other if crowded[other] else row
            second = other
        for a in range(3):
            extra[row, a] = (xyz[first, a] + xyz[second, a]) / 2
