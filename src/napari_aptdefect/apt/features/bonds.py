"""Bonds of an ion: lengths, angles, dihedral angles and paths along them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.feature_table import FeatureColumn

MAX_BONDS: Final = 16
"""Bonds of an ion at most: dihedral angles grow with their third power."""


def columns(n_bonds: int, n_shell: int) -> tuple[FeatureColumn, ...]:
    """Columns that `write_bonds` fills, in its order."""
    bonds, shell = f"the {n_bonds} nearest ions", f"the {n_shell} nearest ions"
    angle = "angles at the ion between the directions to "
    turn = "phi: dihedral angle i-j-k-l around a bond j-k of the ion, over the other bonds of j and k"
    found = [
        ("nearest_distance_nm", "nm", "distance to the nearest ion", "d_1"),
        ("bond_length_nm", "nm", f"mean distance to {bonds}", f"mean of d_1 .. d_{n_bonds}"),
        ("shell_distance_nm", "nm", f"mean distance to {shell}", f"mean of d_1 .. d_{n_shell}"),
        (
            "shell_spread",
            "",
            f"spread of the distances to {shell} over their mean; 0 in a shell of one radius",
            f"std / mean of d_1 .. d_{n_shell}",
        ),
        (
            "path_length_nm",
            "nm",
            f"mean length of the shortest path along bonds (to {bonds}) to the ions at most two bonds away",
            "mean over j of min(d_ij, min_k d_ik + d_kj), d along bonds only",
        ),
        (
            "path_detour",
            "",
            "how much longer these paths are than the straight line, in the mean; 1 for straight paths",
            "mean over j of path / |r_j - r_i|",
        ),
        ("bond_angle_deg", "deg", f"mean of the {angle}{bonds}; 109.47 in a tetrahedron", "mean of acos(u_a . u_b)"),
        ("bond_angle_std_deg", "deg", f"spread of the {angle}{bonds}", "std of acos(u_a . u_b)"),
        ("shell_angle_deg", "deg", f"mean of the {angle}{shell}", "mean of acos(u_a . u_b)"),
        ("shell_angle_std_deg", "deg", f"spread of the {angle}{shell}", "std of acos(u_a . u_b)"),
        ("shell_angle_skew", "", f"skewness of the {angle}{shell}", "mean of ((x - mean) / std)^3"),
        (
            "tetrahedrality",
            "",
            "order of the four nearest ions: 1 in a perfect tetrahedron, 0 in the mean of random directions",
            "1 - 3/8 sum over the 6 pairs of (cos + 1/3)^2 (Errington & Debenedetti 2001, doi 10.1038/35053024)",
        ),
        (
            "dihedral_cos",
            "",
            f"mean cosine of the dihedral angles around the bonds to {bonds}; missing without any chain of four ions",
            f"mean of cos(phi); {turn}",
        ),
        (
            "dihedral_resultant",
            "",
            "circular concentration of these angles: 1 when all are equal, 0 when they are spread evenly",
            f"|mean of exp(i phi)| (Mardia & Jupp, Directional Statistics, 2000, section 2.3); {turn}",
        ),
        (
            "dihedral_cos3",
            "",
            "staggered or eclipsed: -1 in zincblende (60 and 180 degrees), -0.5 in wurtzite, 1 where all are eclipsed",
            f"mean of cos(3 phi); {turn}",
        ),
        (
            "dihedral_sin3",
            "",
            "handedness of these angles; changes its sign in a mirror",
            f"mean of sin(3 phi); {turn}",
        ),
    ]
    return tuple(FeatureColumn(name, "structural", unit, text, equation) for name, unit, text, equation in found)


@njit(cache=True, nogil=True)
def write_bonds(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    xyz: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
    n_bonds: int,
    n_shell: int,
    out: NDArray[np.float32],
) -> None:
    """Write the columns of the ions ``order[start:stop]`` into their rows of ``out``, shape (N, 16)."""
    unit = np.empty((max(n_shell, n_bonds, 4), 3))
    reached = np.empty(n_bonds * (n_bonds + 1), np.int64)
    path = np.empty(n_bonds * (n_bonds + 1))
    for row in range(start, stop):
        i = order[row]
        n = indptr[i + 1] - indptr[i]
        if n == 0:
            continue
        out[i, 0] = lengths_nm[indptr[i]]
        if n >= n_bonds:
            out[i, 1] = _mean(lengths_nm, indptr[i], n_bonds)
            out[i, 4], out[i, 5] = _paths(i, xyz, indptr, indices, lengths_nm, n_bonds, reached, path)
        if n >= n_shell:
            mean = _mean(lengths_nm, indptr[i], n_shell)
            out[i, 2] = mean
            total = 0.0
            for e in range(indptr[i], indptr[i] + n_shell):
                total += (lengths_nm[e] - mean) ** 2
            out[i, 3] = np.sqrt(total / n_shell) / mean if mean > 0 else np.nan
        known = _directions(i, xyz, indptr, indices, min(n, len(unit)), unit)
        if known < min(n, len(unit)):
            continue  # an ion at the very same place has no direction
        if n >= n_bonds and n_bonds >= 2:
            out[i, 6], out[i, 7], _ = _angles(unit, n_bonds)
        if n >= n_shell and n_shell >= 2:
            out[i, 8], out[i, 9], out[i, 10] = _angles(unit, n_shell)
        if n >= 4:
            out[i, 11] = _tetrahedrality(unit)
        if n >= n_bonds:
            out[i, 12], out[i, 13], out[i, 14], out[i, 15] = _dihedrals(i, xyz, indptr, indices, n_bonds, unit)


@njit(cache=True, nogil=True)
def _mean(values: NDArray[np.float32], first: int, n: int) -> float:
    total = 0.0
    for e in range(first, first + n):
        total += values[e]
    return total / n


@njit(cache=True, nogil=True)
def _directions(
    i: int,
    xyz: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n: int,
    unit: NDArray[np.float64],
) -> int:
    for e in range(n):
        j = indices[indptr[i] + e]
        x = np.float64(xyz[j, 0]) - xyz[i, 0]
        y = np.float64(xyz[j, 1]) - xyz[i, 1]
        z = np.float64(xyz[j, 2]) - xyz[i, 2]
        d = np.sqrt(x * x + y * y + z * z)
        if d == 0.0:
            return e
        unit[e, 0], unit[e, 1], unit[e, 2] = x / d, y / d, z / d
    return n


@njit(cache=True, nogil=True)
def _angles(unit: NDArray[np.float64], n: int) -> tuple[float, float, float]:
    # moments about 90 degrees keep their digits
    s1, s2, s3, count = 0.0, 0.0, 0.0, 0
    for a in range(n):
        for b in range(a + 1, n):
            cosine = unit[a, 0] * unit[b, 0] + unit[a, 1] * unit[b, 1] + unit[a, 2] * unit[b, 2]
            angle = np.degrees(np.arccos(min(max(cosine, -1.0), 1.0))) - 90.0
            s1 += angle
            s2 += angle * angle
            s3 += angle * angle * angle
            count += 1
    mean = s1 / count
    variance = max(s2 / count - mean * mean, 0.0)
    third = s3 / count - 3 * mean * s2 / count + 2 * mean**3
    skew = third / variance**1.5 if variance > 1e-6 else 0.0
    return mean + 90.0, np.sqrt(variance), skew


@njit(cache=True, nogil=True)
def _tetrahedrality(unit: NDArray[np.float64]) -> float:
    total = 0.0
    for a in range(4):
        for b in range(a + 1, 4):
            cosine = unit[a, 0] * unit[b, 0] + unit[a, 1] * unit[b, 1] + unit[a, 2] * unit[b, 2]
            total += (cosine + 1 / 3) ** 2
    return 1 - 0.375 * total


@njit(cache=True, nogil=True)
def _paths(
    i: int,
    xyz: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    lengths_nm: NDArray[np.float32],
    n_bonds: int,
    reached: NDArray[np.int64],
    path: NDArray[np.float64],
) -> tuple[float, float]:
    n = 0
    for e in range(indptr[i], indptr[i] + n_bonds):
        n = _reach(np.int64(indices[e]), np.float64(lengths_nm[e]), n, reached, path)
    for e in range(indptr[i], indptr[i] + n_bonds):
        k = indices[e]
        for f in range(indptr[k], min(indptr[k] + n_bonds, indptr[k + 1])):
            if indices[f] != i:
                n = _reach(np.int64(indices[f]), np.float64(lengths_nm[e]) + lengths_nm[f], n, reached, path)
    total, detour, n_apart = 0.0, 0.0, 0
    for a in range(n):
        j = reached[a]
        total += path[a]
        x = np.float64(xyz[j, 0]) - xyz[i, 0]
        y = np.float64(xyz[j, 1]) - xyz[i, 1]
        z = np.float64(xyz[j, 2]) - xyz[i, 2]
        straight = np.sqrt(x * x + y * y + z * z)
        if straight > 0:
            detour += path[a] / straight
            n_apart += 1
    return total / n, detour / n_apart if n_apart else np.nan


@njit(cache=True, nogil=True)
def _reach(j: int, length: float, n: int, reached: NDArray[np.int64], path: NDArray[np.float64]) -> int:
    for a in range(n):
        if reached[a] == j:
            path[a] = min(path[a], length)
            return n
    reached[n], path[n] = j, length
    return n + 1


@njit(cache=True, nogil=True)
def _dihedrals(
    i: int,
    xyz: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n_bonds: int,
    unit: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Means of cos(phi), |exp(i phi)|, cos(3 phi) and sin(3 phi) over all chains a-i-k-b with bonds of i and of k."""
    c1, s1, c3, s3, count = 0.0, 0.0, 0.0, 0.0, 0
    near = np.empty((n_bonds, 2))
    for middle in range(n_bonds):
        k = indices[indptr[i] + middle]
        ax, ay, az = unit[middle, 0], unit[middle, 1], unit[middle, 2]
        # two directions across the bond; angles about it are then those of points in a plane
        px, py, pz = _across(ax, ay, az)
        qx, qy, qz = ay * pz - az * py, az * px - ax * pz, ax * py - ay * px
        for a in range(n_bonds):
            x = unit[a, 0] * px + unit[a, 1] * py + unit[a, 2] * pz
            y = unit[a, 0] * qx + unit[a, 1] * qy + unit[a, 2] * qz
            d = np.sqrt(x * x + y * y)
            straight = a == middle or d < 1e-6
            near[a, 0] = np.nan if straight else x / d
            near[a, 1] = 0.0 if straight else y / d
        for f in range(indptr[k], min(indptr[k] + n_bonds, indptr[k + 1])):
            last = indices[f]
            if last == i:
                continue
            bx = np.float64(xyz[last, 0]) - xyz[k, 0]
            by = np.float64(xyz[last, 1]) - xyz[k, 1]
            bz = np.float64(xyz[last, 2]) - xyz[k, 2]
            x, y = bx * px + by * py + bz * pz, bx * qx + by * qy + bz * qz
            d = np.sqrt(x * x + y * y)
            if d <= 1e-6 * np.sqrt(bx * bx + by * by + bz * bz):
                continue
            x, y = x / d, y / d
            for a in range(n_bonds):
                if np.isnan(near[a, 0]) or indices[indptr[i] + a] == last:
                    continue
                c = near[a, 0] * x + near[a, 1] * y
                s = near[a, 0] * y - near[a, 1] * x
                c1 += c
                s1 += s
                c3 += c * (4 * c * c - 3)
                s3 += s * (3 - 4 * s * s)
                count += 1
    if count == 0:
        return np.nan, np.nan, np.nan, np.nan
    return c1 / count, np.sqrt(c1 * c1 + s1 * s1) / count, c3 / count, s3 / count


@njit(cache=True, nogil=True)
def _across(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Unit vector at right angles to a unit vector."""
    if abs(z) < 0.7:
        d = np.sqrt(x * x + y * y)
        return y / d, -x / d, 0.0
    d = np.sqrt(y * y + z * z)
    return 0.0, z / d, -y / d
