"""How well a blurred empty ball explains the counts around a place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.apt.voids.profile import Table, read_slice, slices

N_STATE = 6
"""x, y, z (nm), log radius (nm), logit of the depletion, log factor on the blur."""

_LEAST = 1e-4


class Window(NamedTuple):
    """Part of the grid around a candidate, for compiled code.

    Parameters
    ----------
    counts, expected
        Shape (a, b, c), float32, ions per voxel; without this candidate, with all other voids.
    origin_nm
        Shape (3,): middle of the first voxel, nm.
    voxel_nm
        Edge of a voxel, nm.
    """

    counts: NDArray[np.float32]
    expected: NDArray[np.float32]
    origin_nm: NDArray[np.float64]
    voxel_nm: float


@njit(cache=True, nogil=True)
def log_ratio(
    window: Window, theta: NDArray[np.float64], table: Table, scale_error: float, n: float, total: float
) -> float:
    """Log likelihood ratio of a ball against none.

    Parameters
    ----------
    window
        The counts around it.
    theta
        State, shape (6,).
    table
        Profiles.
    scale_error
        Relative standard deviation of the background's local error.
    n, total
        Sums of counts and expectation over the window.

    Notes
    -----
    Counts are Poisson with mean b B_v (1 - s h_v): B the background, h the profile, s the depletion, and b a factor
    common to the window with a Gamma prior of mean 1 and shape a = 1 / scale_error^2, integrated out:
    sum N_v log(1 - s h_v) - (a + n) [log(a + sum B_v (1 - s h_v)) - log(a + sum B_v)].
    """
    counts, expected, origin, voxel = window
    radius, factor = np.exp(theta[3]), np.exp(theta[5])
    s = 1 / (1 + np.exp(-theta[4]))
    i, w, near, far = slices(table, radius, factor)
    lateral = radius + 3.5 * factor * table.sigma_lateral_nm
    depth = radius + 3.5 * factor * table.sigma_depth_nm
    x0, x1 = _span(theta[0], lateral, origin[0], voxel, counts.shape[0])
    y0, y1 = _span(theta[1], lateral, origin[1], voxel, counts.shape[1])
    z0, z1 = _span(theta[2], depth, origin[2], voxel, counts.shape[2])
    logs, taken = 0.0, 0.0
    for a in range(x0, x1):
        dx = origin[0] + a * voxel - theta[0]
        for b in range(y0, y1):
            dy = origin[1] + b * voxel - theta[1]
            rho = np.sqrt(dx * dx + dy * dy)
            if rho > lateral:
                continue
            for c in range(z0, z1):
                e = expected[a, b, c]
                if e <= 0:
                    continue
                z = abs(origin[2] + c * voxel - theta[2])
                h = (1 - w) * read_slice(table.values, i, rho * near, z * near)
                h += w * read_slice(table.values, i + 1, rho * far, z * far)
                if h < _LEAST:
                    continue
                taken += e * s * h
                if counts[a, b, c] > 0:
                    logs += counts[a, b, c] * np.log(max(1 - s * h, 1e-4))
    shape = 1 / scale_error**2
    return float(logs - (shape + n) * np.log1p(-taken / (shape + total)))


@njit(cache=True, nogil=True)
def _span(center: float, reach: float, origin: float, voxel: float, n: int) -> tuple[int, int]:
    low = int(np.ceil((center - reach - origin) / voxel))
    high = int(np.floor((center + reach - origin) / voxel)) + 1
    return max(low, 0), min(high, n)


@njit(cache=True, nogil=True)
def multiply_ball(
    grid: NDArray[np.float32],
    origin_nm: NDArray[np.float64],
    voxel_nm: float,
    theta: NDArray[np.float64],
    table: Table,
    divide: bool,
) -> None:
    """Multiply a grid with what a ball leaves, 1 - s h, or divide it out again, in place."""
    radius, factor = np.exp(theta[3]), np.exp(theta[5])
    s = 1 / (1 + np.exp(-theta[4]))
    i, w, near, far = slices(table, radius, factor)
    lateral = radius + 3.5 * factor * table.sigma_lateral_nm
    depth = radius + 3.5 * factor * table.sigma_depth_nm
    x0, x1 = _span(theta[0], lateral, origin_nm[0], voxel_nm, grid.shape[0])
    y0, y1 = _span(theta[1], lateral, origin_nm[1], voxel_nm, grid.shape[1])
    z0, z1 = _span(theta[2], depth, origin_nm[2], voxel_nm, grid.shape[2])
    for a in range(x0, x1):
        for b in range(y0, y1):
            dx, dy = origin_nm[0] + a * voxel_nm - theta[0], origin_nm[1] + b * voxel_nm - theta[1]
            rho = np.sqrt(dx * dx + dy * dy)
            for c in range(z0, z1):
                z = abs(origin_nm[2] + c * voxel_nm - theta[2])
                h = (1 - w) * read_slice(table.values, i, rho * near, z * near)
                h += w * read_slice(table.values, i + 1, rho * far, z * far)
                left = np.float32(max(1 - s * h, 1e-3))
                if divide:
                    grid[a, b, c] /= left
                else:
                    grid[a, b, c] *= left
