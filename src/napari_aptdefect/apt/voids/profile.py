"""The blurred ball: which share of the ions is missing at a place, for a ball of a given radius and blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ive, ndtr

_RADII = np.geomspace(0.2, 7.0, 40)
_STEP_NM = 0.1
_SIGMAS = 4.0  # beyond this many widths nothing is missing
_N_SLABS = 96


class Table(NamedTuple):
    """Profiles of blurred balls, for compiled code.

    Parameters
    ----------
    values
        Shape (radii, rho, z), float32: share that is missing at the lateral distance rho and the height z.
    log_radius, log_step
        Logarithm of the first radius, and its step.
    step_nm
        Step of rho and z, nm.
    sigma_lateral_nm, sigma_depth_nm
        Blur, nm.
    """

    values: NDArray[np.float32]
    log_radius: float
    log_step: float
    step_nm: float
    sigma_lateral_nm: float
    sigma_depth_nm: float


@dataclass(frozen=True)
class Blur:
    """Width of the position errors as the counts see them, nm: instrument, dither, and the box of a voxel."""

    lateral_nm: float
    depth_nm: float


def build_table(blur: Blur) -> Table:
    """Tabulate the profiles of balls of 0.2 to 7 nm radius.

    Notes
    -----
    A ball of radius R is a stack of discs of radius a(z') = sqrt(R^2 - z'^2). A disc convolved with a lateral Gaussian
    of width s is D(rho, a) = int_0^a (r / s^2) exp(-(r^2 + rho^2) / 2 s^2) I0(r rho / s^2) dr (Rice's distribution
    function, 1 - Q1(rho / s, a / s) with Marcum's Q); the convolution along z weighs each disc with the Gaussian's
    share of its slab. With equal widths this is the closed form
    [erf((R+d)/(sqrt2 s)) + erf((R-d)/(sqrt2 s))]/2 - s/(d sqrt(2 pi)) [exp(-(d-R)^2/2s^2) - exp(-(d+R)^2/2s^2)].
    """
    lateral, depth = blur.lateral_nm, blur.depth_nm
    reach = float(_RADII[-1]) + _SIGMAS * max(lateral, depth)
    place = np.arange(0.0, reach + 2 * _STEP_NM, _STEP_NM)
    fine = np.linspace(0.0, float(_RADII[-1]), 1401)
    scaled = fine[None, :] * place[:, None] / lateral**2
    density = fine / lateral**2 * np.exp(-((fine - place[:, None]) ** 2) / (2 * lateral**2)) * ive(0, scaled)
    step = fine[1] - fine[0]
    disc = np.concatenate(
        [np.zeros((len(place), 1)), np.cumsum((density[:, 1:] + density[:, :-1]) * step / 2, axis=1)], axis=1
    )
    values = np.empty((len(_RADII), len(place), len(place)), np.float32)
    for i, radius in enumerate(_RADII):
        edges = radius * np.sin(np.linspace(-np.pi / 2, np.pi / 2, _N_SLABS + 1))  # finer where discs change
        middle = (edges[1:] + edges[:-1]) / 2
        at = np.sqrt(np.maximum(radius**2 - middle**2, 0)) / step
        low = np.minimum(at.astype(int), len(fine) - 2)
        discs = disc[:, low] + (disc[:, low + 1] - disc[:, low]) * (at - low)
        share = np.diff(ndtr((edges[:, None] - place) / depth), axis=0)
        values[i] = discs @ share
    log_radius = np.log(_RADII)
    return Table(values, float(log_radius[0]), float(log_radius[1] - log_radius[0]), _STEP_NM, lateral, depth)


@njit(cache=True, nogil=True)
def slices(table: Table, radius_nm: float, factor: float) -> tuple[int, float, float, float]:
    """Which two slices a ball lies between, how much of the second, and what scales places to each."""
    values, log_radius, log_step, step_nm, _, _ = table
    at = (np.log(radius_nm / factor) - log_radius) / log_step
    at = min(max(at, 0.0), values.shape[0] - 1.001)
    i = int(at)
    near = np.exp(log_radius + i * log_step)
    return i, at - i, near / radius_nm / step_nm, near * np.exp(log_step) / radius_nm / step_nm


@njit(cache=True, nogil=True)
def read_slice(values: NDArray[np.float32], i: int, rho: float, z: float) -> float:
    """Interpolate one slice at a place in steps; 0 beyond its end."""
    a, b = int(rho), int(z)
    if a + 1 >= values.shape[1] or b + 1 >= values.shape[2]:
        return 0.0
    u, v = rho - a, z - b
    low = values[i, a, b] * (1 - v) + values[i, a, b + 1] * v
    high = values[i, a + 1, b] * (1 - v) + values[i, a + 1, b + 1] * v
    return float(low * (1 - u) + high * u)


@njit(cache=True, nogil=True)
def missing(table: Table, rho_nm: float, z_nm: float, radius_nm: float, factor: float) -> float:
    """Share of the ions that a ball with `factor` times the blur takes at a place.

    Both neighboring slices are scaled so that their balls have the wanted radius; only their blur differs.
    """
    i, w, near, far = slices(table, radius_nm, factor)
    z = abs(z_nm)
    share: float = (1 - w) * read_slice(table.values, i, rho_nm * near, z * near) + w * read_slice(
        table.values, i + 1, rho_nm * far, z * far
    )
    return share


def kernel(table: Table, radius_nm: float, voxel_nm: float) -> NDArray[np.float32]:
    """Profile of a ball in the middle of a voxel, on the voxels around it; odd shape."""
    lateral = int(np.ceil((radius_nm + 3 * table.sigma_lateral_nm) / voxel_nm))
    depth = int(np.ceil((radius_nm + 3 * table.sigma_depth_nm) / voxel_nm))
    out = np.empty((2 * lateral + 1, 2 * lateral + 1, 2 * depth + 1), np.float32)
    _fill(table, radius_nm, voxel_nm, out)
    return out


@njit(cache=True, nogil=True)
def _fill(table: Table, radius_nm: float, voxel_nm: float, out: NDArray[np.float32]) -> None:
    n, _, m = out.shape
    for i in range(n):
        for j in range(n):
            rho = voxel_nm * np.sqrt(float((i - n // 2) ** 2 + (j - n // 2) ** 2))
            for k in range(m):
                out[i, j, k] = missing(table, rho, voxel_nm * (k - m // 2), radius_nm, 1.0)
