"""Smooth fields of a resolved lattice: where its sense or its orientation changes, and where it is strained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_aptdefect.apt.features.lattice_gaps import joined
from napari_aptdefect.fields import Frame

VOXEL_NM: Final = 0.2
CHANGE_NM: Final = (0.4, 0.8)
STRAIN_NM: Final = (0.3, 0.7)
LINE_NM: Final = (0.3, 1.5)
LINE_REACH_NM: Final = 2.5
"""Farther from all lines than this, all ions are alike."""

_LEAST: Final = 1e-3
_RIDGE_VOXELS: Final = 7
_RIDGE: Final = 1.16
_WHOLE: Final = 0.7
_SAME_LINE_NM: Final = 0.45
_SHELL_NM: Final = 0.1


@dataclass(frozen=True, eq=False)
class Splat:
    """Means of quantities of ions around each voxel.

    Parameters
    ----------
    frame
        The grid.
    cell
        Shape (N,), int64: voxel of each ion.
    """

    frame: Frame
    cell: NDArray[np.int64]

    @classmethod
    def of(cls, xyz_nm: NDArray[np.float32]) -> Splat:
        """Grid around positions of shape (N, 3), nm."""
        frame = Frame.around(xyz_nm, VOXEL_NM, 0.4)
        return cls(frame, frame.voxel_idx(xyz_nm))

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Sum of values, shape (N, C), over the ions of each voxel; missing ones count as 0; shape (C, nx, ny, nz)."""
        filled = np.nan_to_num(values)
        return np.stack(
            [
                np.bincount(self.cell, filled[:, c], self.frame.n_voxels).astype(np.float32).reshape(self.frame.shape)
                for c in range(filled.shape[1])
            ]
        )

    def whole(self) -> NDArray[np.bool_]:
        """Voxels with about as many ions around as elsewhere: not those at a surface or in a cavity."""
        counts = np.bincount(self.cell, minlength=self.frame.n_voxels).astype(np.float32).reshape(self.frame.shape)
        near = _smooth(counts, LINE_NM)
        return np.asarray(near > _WHOLE * np.median(near[near > 0.1 * near.max()]))

    def means(self, values: NDArray[np.floating], sigma_nm: tuple[float, float]) -> NDArray[np.float32]:
        """Gaussian means, widths across and along the axis, shape (C, nx, ny, nz), of the ions with a value."""
        there = np.isfinite(values).all(axis=1)
        weight = _smooth(self.sums(there[:, None])[0], sigma_nm)
        out = self.sums(np.where(there[:, None], values, 0))
        for field in out:
            field[...] = _smooth(field, sigma_nm)
            np.divide(field, weight, out=field, where=weight > _LEAST)
            field[weight <= _LEAST] = 0
        return out


def _smooth(values: NDArray[np.float32], sigma_nm: tuple[float, float]) -> NDArray[np.float32]:
    across, along = sigma_nm[0] / VOXEL_NM, sigma_nm[1] / VOXEL_NM
    found: NDArray[np.float32] = ndimage.gaussian_filter(
        values, (across, across, along), mode="constant", truncate=3.0, output=np.float32
    )
    return found


def around(splat: Splat, values: NDArray[np.float32], xyz_nm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gaussian means of values, shape (N, C), at the ions; shape (N, C)."""
    means = splat.means(values, (CHANGE_NM[0], CHANGE_NM[0]))
    return np.stack([splat.frame.sample(field, xyz_nm) for field in means], axis=1)


def change(splat: Splat, state: NDArray[np.float32], xyz_nm: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write how fast the state of the lattice changes, and how far the border is where it does; shape (N, 3).

    The logarithm of the norm of the gradient of the state, shape (N, S), over two widths, per nm, and the distance to a
    plane border, nm.

    Notes
    -----
    Across a step of height h the gradient of the mean over a width s is h exp(-d^2 / 2 s^2) / (sqrt(2 pi) s), so two
    widths give the distance d without the height.
    """
    logs = []
    for i, sigma in enumerate(CHANGE_NM):
        squared = np.full(splat.frame.shape, 1e-8, np.float32)
        for field in splat.means(state, (sigma, sigma)):
            for part in np.gradient(field, VOXEL_NM):
                squared += part * part
        out[:, i] = splat.frame.sample((np.log(squared) / 2).astype(np.float32), xyz_nm)
        logs.append(out[:, i] + np.log(sigma))
    near, far = CHANGE_NM
    out[:, 2] = np.sqrt(np.maximum(-2 * (logs[0] - logs[1]) / (near**-2 - far**-2), 0))


def strain(
    splat: Splat,
    tensor: NDArray[np.float32],
    order: NDArray[np.float32],
    xyz_nm: NDArray[np.float32],
    out: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Write the logarithm of the strain over two widths and along lines, and the nearest ridge of disorder along lines.

    ``tensor``, shape (N, 6), holds the bonds of each ion and ``order``, shape (N,), the order of its tetrahedron, of
    which the disorder is what is missing to 1.

    ``out``, shape (N, 5): three logarithms, distance to the nearest ridge, nm, at most `LINE_REACH_NM`, and the
    logarithm of its height over the lower quartile. Returns the number of the line that this ridge belongs to, shape
    (N,), -1 for none in reach.
    """
    away = tensor - np.nanmedian(tensor, axis=0)
    widths = (*((s, s) for s in STRAIN_NM), LINE_NM)
    size = np.zeros(splat.frame.shape, np.float32)
    for i, sigma in enumerate(widths):
        mean = splat.means(away, sigma)
        size = np.sqrt((mean[:3] ** 2).sum(axis=0) + 2 * (mean[3:] ** 2).sum(axis=0))
        out[:, i] = splat.frame.sample(np.log(size + np.float32(1e-4)), xyz_nm)
    disorder = splat.means(1 - order[:, None], LINE_NM)[0]
    disorder[~splat.whole()] = 0
    place, height = _ridges(splat.frame, disorder)
    out[:, 3], out[:, 4] = LINE_REACH_NM, 0.0
    line = np.full(len(xyz_nm), -1, np.int32)
    if len(place):
        distance, which = cKDTree(place).query(xyz_nm, distance_upper_bound=LINE_REACH_NM)
        hit = np.isfinite(distance)
        out[hit, 3], out[hit, 4] = distance[hit], np.log(height[which[hit]])
        line[hit] = joined(place, _SAME_LINE_NM)[which[hit]]
    return line


def line_dopants(
    distance_nm: NDArray[np.float32], line: NDArray[np.int32], dopant: NDArray[np.bool_], out: NDArray[np.float32]
) -> None:
    """Write how the dopants lie about the line of each ion, counted along all of it; 0 far from lines; shape (N, 3).

    Logarithm of their share in a shell of 0.3 nm around the ion's distance over that from 1.5 to 2.5 nm; share of the
    excess within 1.4 nm that lies within the ion's distance; that excess in standard deviations.

    Parameters
    ----------
    distance_nm, line
        Shape (N,): distance to the nearest line, nm, and its number, -1 for none.
    dopant
        Shape (N,): which ions are dopants.
    """
    out[...] = 0.0
    rows = np.flatnonzero(line >= 0)
    if len(rows) == 0:
        return
    n_bins, n_lines = round(LINE_REACH_NM / _SHELL_NM), int(line.max()) + 1
    shell = np.minimum((distance_nm[rows] / _SHELL_NM).astype(np.int64), n_bins - 1)
    flat = line[rows] * n_bins + shell
    everything, doped = (
        np.bincount(flat, weight, n_lines * n_bins).reshape(n_lines, n_bins) for weight in (None, dopant[rows])
    )
    beyond, whole = round(1.5 / _SHELL_NM), round(1.4 / _SHELL_NM)
    overall = dopant.mean() + 1e-6
    usual = (doped[:, beyond:].sum(1) + 5) / (everything[:, beyond:].sum(1) + 5 / overall)
    expected = everything * usual[:, None]

    def three(values: NDArray[Any]) -> NDArray[Any]:
        padded = np.pad(values, ((0, 0), (1, 1)))
        return np.asarray(padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])

    ratio = np.log((three(doped) + 0.5) / (three(expected) + 0.5))
    excess = np.cumsum(doped - expected, axis=1)
    total = excess[:, whole - 1]
    sigma = total / np.sqrt(expected[:, :whole].sum(1) + 1)
    within = np.clip(excess / np.maximum(total, 1)[:, None], -1, 2)
    out[rows, 0], out[rows, 1], out[rows, 2] = ratio[line[rows], shell], within[line[rows], shell], sigma[line[rows]]


def _ridges(frame: Frame, size: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Maxima across the axis of a field, between voxels, shape (R, 3), nm, and their height over its lower quartile."""
    usual = float(np.quantile(size[size > 0], 0.25)) if (size > 0).any() else 1.0
    top = ndimage.maximum_filter(size, (_RIDGE_VOXELS, _RIDGE_VOXELS, 1))
    i, j, k = np.nonzero((size == top) & (size > _RIDGE * usual))
    inner = (i > 0) & (j > 0) & (i < size.shape[0] - 1) & (j < size.shape[1] - 1)
    i, j, k = i[inner], j[inner], k[inner]
    at = size[i, j, k]

    def shift(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float64]:
        curved = np.minimum(low + high - 2 * at, -1e-9)
        return np.asarray(np.clip((low - high) / (2 * curved), -0.5, 0.5), np.float64)

    x = i + 0.5 + shift(size[i - 1, j, k], size[i + 1, j, k])
    y = j + 0.5 + shift(size[i, j - 1, k], size[i, j + 1, k])
    place = np.stack([x, y, k + 0.5], axis=1)
    return np.asarray(frame.origin_nm + place * frame.voxel_nm, np.float64), at / usual
