"""Ion counts as fields on a grid: count, smooth, sample back at the ions.

A Gaussian kernel of width sigma over the counts is a scan over places and a weighted count at once; the kernel squared
gives the variance of that count, so every field here comes with its counting statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, ParameterError

_TRUNCATE = 4.0  # kernels end at 4 sigma
_CHUNK = 1 << 20
_LEAST_SHARE = 1e-3  # of the largest smoothed weight, below which there is nothing to fit
_RIDGE = 1e-3
_MAX_VOXELS = 400_000_000  # 1.6 GB of float32


@dataclass(frozen=True, eq=False)
class Frame:
    """Geometry of a grid in the frame of the ions.

    Parameters
    ----------
    origin_nm
        Shape (3,), lower corner of the first voxel, nm.
    voxel_nm
        Edge of the cubic voxels, nm.
    shape
        Number of voxels along x, y, z.
    """

    origin_nm: NDArray[np.float64]
    voxel_nm: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, xyz_nm: NDArray[np.float32], voxel_nm: float, margin_nm: float = 0.0) -> Frame:
        """Grid that holds all the (finite) positions with a margin.

        Raises
        ------
        EmptySelectionError
            If there is no position.
        ParameterError
            If the grid would not fit in memory; the message says which voxel would.
        """
        if len(xyz_nm) == 0:
            raise EmptySelectionError("no ion with a finite position is left to put on a grid")
        low = xyz_nm.min(axis=0).astype(np.float64) - margin_nm
        extent = xyz_nm.max(axis=0).astype(np.float64) + margin_nm - low
        shape = tuple(int(n) for n in np.floor(extent / voxel_nm) + 1)
        n_voxels = float(np.prod([float(n) for n in shape]))
        if n_voxels > _MAX_VOXELS:
            fitting = voxel_nm * (n_voxels / _MAX_VOXELS) ** (1 / 3)
            raise ParameterError(
                f"a grid of {shape} voxels of {voxel_nm} nm is too large; choose a voxel of at least {fitting:.2g} nm "
                "or look at the extent of the positions (is one ion far away, are they in nm?)"
            )
        return cls(low, float(voxel_nm), (shape[0], shape[1], shape[2]))

    @cached_property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def grid(self, values: NDArray[np.float32], name: str, unit: str = "") -> VoxelGrid:
        """Wrap values on this frame as a `VoxelGrid`."""
        return VoxelGrid(values, self.origin_nm, np.full(3, self.voxel_nm), name, unit)

    def voxel_idx(self, xyz_nm: NDArray[np.float32]) -> NDArray[np.int64]:
        """Flat voxel index of each position, shape (N,); positions outside go to the nearest voxel."""
        cell = np.floor((xyz_nm - self.origin_nm) / self.voxel_nm).astype(np.int64)
        np.clip(cell, 0, np.asarray(self.shape) - 1, out=cell)
        return np.asarray(np.ravel_multi_index((cell[:, 0], cell[:, 1], cell[:, 2]), self.shape), np.int64)

    def count(self, xyz_nm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Count the positions per voxel, shape `shape`, float32."""
        total = np.zeros(self.n_voxels, np.float32)
        for start in range(0, len(xyz_nm), _CHUNK):
            total += np.bincount(self.voxel_idx(xyz_nm[start : start + _CHUNK]), minlength=self.n_voxels)
        return total.reshape(self.shape)

    def smooth(self, values: NDArray[np.float32], sigma_nm: float, *, squared: bool = False) -> NDArray[np.float32]:
        """Convolve with a Gaussian of unit sum, or with its square; nothing lies outside the grid.

        Notes
        -----
        The square of a Gaussian g of width s is again one, of width s / sqrt(2), times sum(g^2) = (2 sqrt(pi) s)^-3 in
        units of voxels; it turns counts into the variance of the smoothed count.
        """
        width = sigma_nm / self.voxel_nm
        factor = 1.0
        if squared:
            factor = float(np.square(_taps(width)).sum() ** 3)
            width /= np.sqrt(2.0)
        out: NDArray[np.float32] = ndimage.gaussian_filter(
            values, width, mode="constant", truncate=_TRUNCATE, output=np.float32
        )
        if squared:
            out *= np.float32(factor)
        return out

    def sample(self, values: NDArray[np.float32], xyz_nm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate a field trilinearly at positions, shape (N,), float32."""
        out = np.empty(len(xyz_nm), np.float32)
        for start in range(0, len(xyz_nm), _CHUNK):
            block = xyz_nm[start : start + _CHUNK]
            place = ((block - self.origin_nm) / self.voxel_nm - 0.5).T
            ndimage.map_coordinates(values, place, out[start : start + len(block)], order=1, mode="nearest")
        return out

    def self_weight(
        self, xyz_nm: NDArray[np.float32], sigma_nm: float, *, squared: bool = False
    ) -> NDArray[np.float32]:
        """What an ion itself adds to the smoothed count that is sampled at its own position, shape (N,), float32.

        Subtracting it leaves the ion out of its own neighborhood; a rare species would else look enriched wherever one
        of its ions is.
        """
        taps = _taps(sigma_nm / self.voxel_nm / (np.sqrt(2.0) if squared else 1.0))
        radius = len(taps) // 2
        near, next_ = taps[radius], taps[radius + 1]
        place = (xyz_nm - self.origin_nm) / self.voxel_nm
        offset = np.abs(place - np.floor(place) - 0.5)  # from the center of the own voxel, in voxels
        weight = np.prod((1.0 - offset) * near + offset * next_, axis=1)
        if squared:
            weight *= np.square(_taps(sigma_nm / self.voxel_nm)).sum() ** 3
        return np.asarray(weight, np.float32)


def support(frame: Frame, counts: NDArray[np.float32], closing_nm: float = 4.0) -> NDArray[np.bool_]:
    """Voxels that lie inside the specimen, cavities included; shape `frame.shape`.

    A place is occupied where the count, smoothed over 1 nm, exceeds half of its average over 5 nm of specimen: half is
    where the smoothed edge of a flat surface passes through the surface itself. Occupied places are closed
    morphologically by `closing_nm`, so that a void narrower than twice that stays inside, and holes are filled.
    """
    near = frame.smooth(counts, max(1.0, frame.voxel_nm))
    typical = float(np.median(near[counts > 0])) if np.any(counts > 0) else 0.0
    rough = (near > 0.2 * typical).astype(np.float32)
    share = frame.smooth(rough, 5.0)
    average = np.divide(frame.smooth(counts * rough, 5.0), share, out=np.zeros_like(near), where=share > 1e-3)
    occupied = (near > 0.5 * average) & (rough > 0)
    pad = int(np.ceil(closing_nm / frame.voxel_nm)) + 1
    padded = np.pad(occupied, pad)
    reach = closing_nm / frame.voxel_nm
    grown = ndimage.distance_transform_edt(~padded) <= reach
    closed = ndimage.distance_transform_edt(grown) > reach
    filled = ndimage.binary_fill_holes(closed | padded)
    inner = tuple(slice(pad, -pad) for _ in range(3))
    return np.asarray(filled[inner], np.bool_)


def binomial_evidence(
    weight: NDArray[np.float32], variance: NDArray[np.float32], hits: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Signed root deviance of a weighted count of one species against its expected share.

    Parameters
    ----------
    weight
        Sum of the kernel weights of all neighbors, shape (N,).
    variance
        Sum of the squared weights, shape (N,).
    hits
        Sum of the weights of the neighbors of the species, shape (N,).
    share
        Expected share of the species, 0 to 1, shape (N,).

    Returns
    -------
    Shape (N,), float32; close to a standard normal variable where composition equals the expected one; 0 where there
    is no neighbor.

    Notes
    -----
    With c = variance / weight, hits / c has the mean and the variance of a binomial count out of n = weight / c; its
    deviance is 2 [k ln(k / np) + (n - k) ln((n - k) / n(1 - p))] (McCullagh & Nelder, Generalized Linear Models, 2nd
    ed. 1989, section 4.4.1).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(variance > 0, weight / variance, 0.0)
        n = np.maximum(weight, 0.0) * scale
        k = np.clip(hits * scale, 0.0, n)
        p = np.clip(share, 1e-9, 1.0 - 1e-9)
        deviance = 2.0 * (_xlogy_ratio(k, n * p) + _xlogy_ratio(n - k, n * (1.0 - p)))
        out = np.sign(k - n * p) * np.sqrt(np.maximum(deviance, 0.0))
    return np.asarray(np.where(n > 0, out, 0.0), np.float32)


def poisson_evidence(
    count: NDArray[np.float32], expected: NDArray[np.float32], variance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Signed root deviance of a weighted count against its Poisson expectation; shapes (N,), float32.

    Notes
    -----
    As in `binomial_evidence`, with c = variance / expected: deviance 2 [k ln(k / e) - (k - e)].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(variance > 0, expected / variance, 0.0)
        k = np.maximum(count, 0.0) * scale
        e = np.maximum(expected, 0.0) * scale
        deviance = 2.0 * (_xlogy_ratio(k, e) - (k - e))
        out = np.sign(k - e) * np.sqrt(np.maximum(deviance, 0.0))
    return np.asarray(np.where(e > 0, out, 0.0), np.float32)


@dataclass(frozen=True, eq=False)
class Background:
    """The slowly varying background on a grid; all of the shape of its frame, float32 unless said otherwise.

    Parameters
    ----------
    depth_nm
        Distance to the surface of the specimen, nm; 0 outside.
    core
        Voxels deep enough to be judged, bool.
    density
        Expected ions per voxel in the core; counted ions per voxel in the shell around it.
    ranged
        Share of ranged ions among all.
    shares
        Share of each channel's species among the ranged ions.
    """

    depth_nm: NDArray[np.float32]
    core: NDArray[np.bool_]
    density: NDArray[np.float32]
    ranged: NDArray[np.float32]
    shares: tuple[NDArray[np.float32], ...]


class LinearFit:
    """Slowly varying ratio of two counts: a plane fitted around each voxel, with Gaussian weights.

    A plane, not a mean: the mean of a gradient is wrong wherever the surface cuts off one side of the surroundings.

    Parameters
    ----------
    frame
        Grid.
    weight
        What the ratio is taken of, per voxel, shape `frame.shape`; places with 0 do not count.
    sigma_nm
        Width of the Gaussian, nm.

    Notes
    -----
    Normalized convolution of first order (Knutsson & Westin 1993, doi 10.1109/CVPR.1993.341081, Eq. 9): minimizes
    sum g (h - w (a + b x))^2 / w over a and b, with g the Gaussian, w the weights and h the hits. A ridge on b makes
    the fit a mean where too little is left to tell a slope.
    """

    def __init__(self, frame: Frame, weight: NDArray[np.float32], sigma_nm: float) -> None:
        self.frame, self.sigma_nm = frame, sigma_nm
        self._axes = [(np.arange(n) - (n - 1) / 2) / (sigma_nm / frame.voxel_nm) for n in frame.shape]
        zeroth = self._smooth(weight)
        self.usable = zeroth > _LEAST_SHARE * float(zeroth.max(initial=0.0))
        first = self._first(weight)
        n = int(self.usable.sum())
        matrix = np.empty((n, 4, 4))
        place = self._place()
        m0 = zeroth[self.usable]
        m1 = [moment[self.usable] - m0 * x for moment, x in zip(first, place, strict=True)]
        matrix[:, 0, 0] = m0
        for i in range(3):
            matrix[:, 0, 1 + i] = matrix[:, 1 + i, 0] = m1[i]
            for j in range(i, 3):
                moment = self._smooth(weight * self._along(i) * self._along(j))[self.usable]
                second = moment - first[i][self.usable] * place[j] - first[j][self.usable] * place[i]
                matrix[:, 1 + i, 1 + j] = matrix[:, 1 + j, 1 + i] = second + m0 * place[i] * place[j]
            matrix[:, 1 + i, 1 + i] += _RIDGE * m0
        self._row = np.linalg.inv(matrix)[:, 0, :]  # only the value at the voxel itself is wanted

    def of(self, hits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ratio of hits to weight, shape `frame.shape`, never negative; 0 where there is no weight around."""
        s0 = self._smooth(hits)[self.usable]
        value = self._row[:, 0] * s0
        for i, (moment, x) in enumerate(zip(self._first(hits), self._place(), strict=True)):
            value += self._row[:, 1 + i] * (moment[self.usable] - s0 * x)
        out = np.zeros(self.frame.shape, np.float32)
        out[self.usable] = np.maximum(value, 0)
        return out

    def _smooth(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        width = self.sigma_nm / self.frame.voxel_nm
        out: NDArray[np.float64] = ndimage.gaussian_filter(
            values, width, mode="constant", truncate=_TRUNCATE, output=np.float64
        )
        return out

    def _first(self, values: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        return [self._smooth(values * self._along(axis)) for axis in range(3)]

    def _along(self, axis: int) -> NDArray[np.float64]:
        return np.asarray(self._axes[axis].reshape([-1 if i == axis else 1 for i in range(3)]), np.float64)

    def _place(self) -> list[NDArray[np.float64]]:
        return [np.broadcast_to(self._along(axis), self.frame.shape)[self.usable] for axis in range(3)]


def _xlogy_ratio(k: NDArray[np.floating], e: NDArray[np.floating]) -> NDArray[np.floating]:
    ratio = np.divide(k, e, out=np.ones_like(k), where=e > 0)
    out: NDArray[np.floating] = special.xlogy(k, ratio)
    return out


def _taps(width: float) -> NDArray[np.float64]:
    """Weights of the discrete Gaussian that `ndimage.gaussian_filter` uses, from its own impulse response."""
    radius = int(_TRUNCATE * width + 0.5) + 1
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1.0
    out: NDArray[np.float64] = ndimage.gaussian_filter1d(impulse, width, mode="constant", truncate=_TRUNCATE)
    return out
