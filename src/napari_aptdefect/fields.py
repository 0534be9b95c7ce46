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
_TRIM = 3.0  # standard deviations from which a place no longer counts for the background
_LEAST_SHARE = 0.05  # of the background's kernel that must be left for a background to be taken from it
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


def background_density(
    frame: Frame, counts: NDArray[np.float32], core: NDArray[np.bool_], near_nm: float, far_nm: float
) -> NDArray[np.float32]:
    """Expected ions per voxel: a smooth background in the core, in the shell around it what was counted there.

    Taking the shell as it is keeps the shape and the roughness of the surface out of the judgment of the core. Places
    that deviate from the background are left out of it, and it is taken again, so that a defect does not hide itself.

    Parameters
    ----------
    frame, counts
        Grid and ions per voxel, shape `frame.shape`.
    core
        Voxels that the background describes, shape `frame.shape`.
    near_nm, far_nm
        Widths of the Gaussians of the comparison and of the background, nm.
    """
    near = frame.smooth(counts, near_nm)
    kept = core.astype(np.float32)
    density = counts
    for last in (False, False, True):
        share = frame.smooth(kept, far_nm)
        usable = core & (share > _LEAST_SHARE)
        density = np.divide(frame.smooth(counts * kept, far_nm), share, out=counts.copy(), where=usable)
        if not last:
            expected, variance = frame.smooth(density, near_nm), frame.smooth(density, near_nm, squared=True)
            kept = (core & (np.abs(poisson_evidence(near, expected, variance)) < _TRIM)).astype(np.float32)
    return density


class BackgroundShare:
    """Share of each species in the slowly varying background, places that deviate from it left out.

    Parameters
    ----------
    frame, counts
        Grid and ranged ions per voxel, shape `frame.shape`.
    near_nm, far_nm
        Widths of the Gaussians of the comparison and of the background, nm.
    """

    def __init__(self, frame: Frame, counts: NDArray[np.float32], near_nm: float, far_nm: float) -> None:
        self.frame, self.counts, self.near_nm, self.far_nm = frame, counts, near_nm, far_nm
        self.near, self.far = frame.smooth(counts, near_nm), frame.smooth(counts, far_nm)
        self.variance = frame.smooth(counts, near_nm, squared=True)

    def of(self, hits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Background share of a species with `hits` ions per voxel, shape `frame.shape`, 0 to 1."""
        near = self.frame.smooth(hits, self.near_nm)
        far, far_hits = self.far, self.frame.smooth(hits, self.far_nm)
        share = np.divide(far_hits, far, out=np.zeros_like(far), where=far > 0)
        for _ in range(2):
            kept = np.abs(binomial_evidence(self.near, self.variance, near, share)) < _TRIM
            far = self.frame.smooth(self.counts * kept, self.far_nm)
            far_hits = self.frame.smooth(hits * kept, self.far_nm)
            share = np.divide(far_hits, far, out=share, where=far > _LEAST_SHARE * self.far)
        return share


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
