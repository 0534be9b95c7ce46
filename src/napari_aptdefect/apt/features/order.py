"""Bond-orientational order: spherical harmonics of the directions to the nearest ions."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, isqrt, pi, sqrt
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.feature_table import FeatureColumn

N_HARMONICS: Final = 12
"""Components that are kept per ion: m = 0..4 of l = 4, then m = 0..6 of l = 6; those of m < 0 follow from them."""

_STEINHARDT: Final = "Steinhardt et al. 1983, doi 10.1103/PhysRevB.28.784"
_LECHNER: Final = "Lechner & Dellago 2008, doi 10.1063/1.2977970"
_MEAN: Final = "q_lm = mean of Y_lm over the directions to the shell of nearest ions"

COLUMNS: Final = (
    *(
        FeatureColumn(
            f"q{degree}",
            "structural",
            "",
            f"bond-orientational order of degree {degree} of the shell; 0 for directions without order",
            f"q_l = sqrt(4 pi / (2 l + 1) sum_m |q_lm|^2), {_MEAN} ({_STEINHARDT}, Eqs. 1.3 and 1.4)",
        )
        for degree in (4, 6)
    ),
    *(
        FeatureColumn(
            f"w{degree}",
            "structural",
            "",
            f"third-order invariant of degree {degree}, normalized: tells packings of like q apart; missing at q = 0",
            "w_l = sum of 3j(l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3 over m1 + m2 + m3 = 0, over (sum_m |q_lm|^2)^(3/2) "
            f"({_STEINHARDT}, Eq. 1.5)",
        )
        for degree in (4, 6)
    ),
    *(
        FeatureColumn(
            f"q{degree}_averaged",
            "structural",
            "",
            f"order of degree {degree}, q_lm averaged over the ion and its shell first: less noise, longer range",
            f"q_l of the mean of q_lm over the ion and its shell ({_LECHNER}, Eqs. 5 and 6)",
        )
        for degree in (4, 6)
    ),
    FeatureColumn(
        "w6_averaged",
        "structural",
        "",
        "third-order invariant of degree 6 after the same average",
        f"w_6 of the mean of q_6m over the ion and its shell ({_LECHNER}, Eq. 7)",
    ),
)
"""Columns that `write_order` fills, in its order."""


def wigner_3j(degree: int, m1: int, m2: int) -> float:
    """Wigner's symbol (l l l; m1 m2 -m1-m2) by Racah's formula, in exact fractions.

    Notes
    -----
    Edmonds, *Angular Momentum in Quantum Mechanics*, 1957, Eq. 3.6.11.

    Examples
    --------
    >>> round(wigner_3j(4, 0, 0) ** 2 * 1001, 9)
    18.0
    """
    m3 = -m1 - m2
    if max(abs(m1), abs(m2), abs(m3)) > degree:
        return 0.0
    total = Fraction(0)
    for t in range(max(0, -m1, m2), min(degree, degree - m1, degree + m2) + 1):
        parts = (t, m1 + t, t - m2, degree - t, degree - m1 - t, degree + m2 - t)
        total += Fraction((-1) ** t, _product(parts))
    square = Fraction(factorial(degree) ** 3, factorial(3 * degree + 1))
    for m in (m1, m2, m3):
        square *= factorial(degree + m) * factorial(degree - m)
    sign = -1 if m3 % 2 else 1
    return sign * float(total) * _root(square)


@cache
def triples(degree: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Triples m1 <= m2 <= m3 that add up to 0, shape (K, 3), and their 3j times their permutations, shape (K,)."""
    found, weight = [], []
    for m1 in range(-degree, degree + 1):
        for m2 in range(m1, degree + 1):
            m3 = -m1 - m2
            if m2 <= m3 <= degree:
                different = len({m1, m2, m3})
                found.append((m1, m2, m3))
                weight.append(wigner_3j(degree, m1, m2) * {1: 1, 2: 3, 3: 6}[different])
    return np.array(found, np.int64), np.array(weight)


@cache
def norms() -> NDArray[np.float64]:
    """Factors of the harmonics, shape (N_HARMONICS,): sqrt((2 l + 1) / 4 pi (l - m)! / (l + m)!)."""
    pairs = [(4, m) for m in range(5)] + [(6, m) for m in range(7)]
    out = [sqrt((2 * d + 1) / (4 * pi) * factorial(d - m) / factorial(d + m)) * (-1) ** m for d, m in pairs]
    return np.array(out)


@njit(cache=True, nogil=True)
def mean_harmonics(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    xyz: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n_shell: int,
    norm: NDArray[np.float64],
    out: NDArray[np.complex64],
) -> None:
    """Write q_lm of the ions ``order[start:stop]``, shape (N, N_HARMONICS); NaN with fewer neighbors than the shell.

    Neighbors at the very place of the ion have no direction and are passed over.
    """
    total = np.empty(N_HARMONICS, np.complex128)
    for row in range(start, stop):
        i = order[row]
        if indptr[i + 1] - indptr[i] < n_shell:
            out[i, :] = np.nan
            continue
        total[:] = 0.0
        n = 0
        for e in range(indptr[i], indptr[i] + n_shell):
            j = indices[e]
            x = np.float64(xyz[j, 0]) - xyz[i, 0]
            y = np.float64(xyz[j, 1]) - xyz[i, 1]
            z = np.float64(xyz[j, 2]) - xyz[i, 2]
            d = np.sqrt(x * x + y * y + z * z)
            if d == 0.0:
                continue
            n += 1
            _add_harmonics(x / d, y / d, z / d, total)
        for c in range(N_HARMONICS):
            out[i, c] = total[c] * norm[c] / n if n else np.nan


@njit(cache=True, nogil=True)
def _add_harmonics(x: float, y: float, z: float, total: NDArray[np.complex128]) -> None:
    # derivatives of the Legendre polynomials P4 and P6 times (x + i y)^m; the norms come last
    z2 = z * z
    e1 = complex(x, y)
    e2 = e1 * e1
    e3, e4 = e2 * e1, e2 * e2
    total[0] += ((35 * z2 - 30) * z2 + 3) / 8
    total[1] += z * (35 * z2 - 15) / 2 * e1
    total[2] += (105 * z2 - 15) / 2 * e2
    total[3] += 105 * z * e3
    total[4] += 105 * e4
    total[5] += (((231 * z2 - 315) * z2 + 105) * z2 - 5) / 16
    total[6] += 21 / 8 * z * ((33 * z2 - 30) * z2 + 5) * e1
    total[7] += 105 / 8 * ((33 * z2 - 18) * z2 + 1) * e2
    total[8] += 315 / 2 * z * (11 * z2 - 3) * e3
    total[9] += 945 / 2 * (11 * z2 - 1) * e4
    total[10] += 10395 * z * e4 * e1
    total[11] += 10395 * e4 * e2


@njit(cache=True, nogil=True)
def write_order(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n_shell: int,
    harmonics: NDArray[np.complex64],
    m4: NDArray[np.int64],
    w4: NDArray[np.float64],
    m6: NDArray[np.int64],
    w6: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the columns of the ions ``order[start:stop]`` into their rows of ``out``, shape (N, len(COLUMNS))."""
    own, mean = np.empty(N_HARMONICS, np.complex128), np.empty(N_HARMONICS, np.complex128)
    for row in range(start, stop):
        i = order[row]
        if indptr[i + 1] - indptr[i] < n_shell or np.isnan(harmonics[i, 0].real):
            continue
        n = 1
        for c in range(N_HARMONICS):
            own[c] = mean[c] = harmonics[i, c]
        for e in range(indptr[i], indptr[i] + n_shell):
            j = indices[e]
            if np.isnan(harmonics[j, 0].real):
                continue
            n += 1
            for c in range(N_HARMONICS):
                mean[c] += harmonics[j, c]
        for c in range(N_HARMONICS):
            mean[c] /= n
        out[i, 0], out[i, 2] = _invariants(own[:5], m4, w4)
        out[i, 1], out[i, 3] = _invariants(own[5:], m6, w6)
        out[i, 4] = np.sqrt(4 * np.pi / 9 * _power(mean[:5]))
        out[i, 5], out[i, 6] = _invariants(mean[5:], m6, w6)


@njit(cache=True, nogil=True)
def _power(q: NDArray[np.complex128]) -> float:
    total: float = q[0].real ** 2
    for m in range(1, len(q)):
        total += 2 * (q[m].real ** 2 + q[m].imag ** 2)
    return total


@njit(cache=True, nogil=True)
def _component(q: NDArray[np.complex128], m: int) -> complex:
    # q_l,-m = (-1)^m times the conjugate of q_lm, as the directions are real
    value: complex = q[abs(m)]
    if m < 0:
        value = np.conj(value) if m % 2 == 0 else -np.conj(value)
    return value


@njit(cache=True, nogil=True)
def _invariants(q: NDArray[np.complex128], m: NDArray[np.int64], weight: NDArray[np.float64]) -> tuple[float, float]:
    power = _power(q)
    degree = len(q) - 1
    ql = np.sqrt(4 * np.pi / (2 * degree + 1) * power)
    if ql < 1e-6:
        return ql, np.nan
    total = 0.0
    for t in range(len(weight)):
        product = _component(q, m[t, 0]) * _component(q, m[t, 1]) * _component(q, m[t, 2])
        total += weight[t] * product.real
    return ql, total / power**1.5


def _product(numbers: tuple[int, ...]) -> int:
    out = 1
    for number in numbers:
        out *= factorial(number)
    return out


def _root(square: Fraction) -> float:
    """Square root of a fraction whose parts may be too long for a float."""
    shift = 1 << 200
    return isqrt(square.numerator * shift // square.denominator) / 2.0**100
