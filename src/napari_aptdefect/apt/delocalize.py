"""Voxelization and delocalization: ions become smooth fields of counts, density and composition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize

from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.data import RangeTable, VoxelGrid
from napari_aptdefect.data.tree import available_processors, run_blocks
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Params, Progress, Stage, param

_TRUNCATE = 4.0  # the Gaussian ends at 4 sigma
_SPLINE_VARIANCE = 0.25  # of the quadratic B-spline, in voxels squared, wherever in its voxel the ion lies
_SAMPLE = 100_000


class DelocalizeParams(Params):
    """Parameters of the delocalization."""

    voxel_nm: float = param(
        1.0,
        title="Voxel",
        description="Edge of the cubic voxels; at most twice the narrower of the two widths.",
        unit="nm",
        ge=0.05,
        le=20.0,
    )
    sigma_lateral_nm: float = param(
        1.0,
        title="Lateral delocalization",
        description="Standard deviation, along x and y, of the Gaussian over which each ion is spread; other programs "
        "give three standard deviations.",
        unit="nm",
        ge=0.025,
        le=50.0,
    )
    sigma_depth_nm: float = param(
        0.5,
        title="Delocalization in depth",
        description="Standard deviation of that Gaussian along z, where atom probe tomography resolves more.",
        unit="nm",
        ge=0.025,
        le=50.0,
    )


@dataclass(frozen=True, eq=False)
class Delocalized:
    """Smooth fields of ion counts, and what follows from them.

    Parameters
    ----------
    frame
        The grid, wider than the cloud by the reach of the Gaussian: no part of an ion is lost.
    ions
        Names of the ions of the range table.
    elements
        Symbols of the elements in those ions.
    atoms
        Shape (n_ions, n_elements): atoms of each element in each ion.
    counts
        Shape (n_ions + 1, nx, ny, nz), float32: ions per voxel of each name, then of no range. The sum over the voxels
        is the number of ions.
    sigma_nm
        Standard deviations along x, y, z, nm.
    n_left_out
        Ions without a finite position.
    """

    frame: Frame
    ions: tuple[str, ...]
    elements: tuple[str, ...]
    atoms: NDArray[np.int64]
    counts: NDArray[np.float32]
    sigma_nm: tuple[float, float, float]
    n_left_out: int

    @property
    def sampled_nm3(self) -> float:
        """Volume over which a value averages, 8 pi^1.5 sx sy sz: that of a box with the Gaussian's variance, nm3."""
        return float(8 * np.pi**1.5 * np.prod(self.sigma_nm))

    def count(self, ion: str) -> VoxelGrid:
        """Ions of one name per voxel.

        Raises
        ------
        ParameterError
            If no ion has this name.
        """
        if ion not in self.ions:
            raise ParameterError(f"no ion {ion!r} in the ranges; there are {', '.join(self.ions)}")
        return self.frame.grid(self.counts[self.ions.index(ion)], f"count {ion}", "ions")

    def density(self) -> VoxelGrid:
        """All ions, unranged ones too, per nm3."""
        total = self.counts.sum(axis=0) / np.float32(self.frame.voxel_nm**3)
        return self.frame.grid(total, "density", "ions/nm3")

    def fraction(self, element: str, min_ions: float = 1.0) -> tuple[VoxelGrid, VoxelGrid]:
        """Atomic fraction of an element, and its counting error; molecular ions are taken apart.

        Parameters
        ----------
        element
            Symbol of the element.
        min_ions
            Voxels whose sampled volume holds fewer ranged ions are NaN.

        Raises
        ------
        ParameterError
            If no ion of the table holds the element.

        Notes
        -----
        Counts are spread first and divided then. With N_i ions of kind i within the sampled volume, n_ie atoms of
        element e in each and s_i atoms at all, c = sum n_ie N_i / sum s_i N_i; its standard error is that of the ratio
        estimator (Cochran 1977, ch. 6), var c = sum N_i (n_ie - c s_i)^2 / (sum s_i N_i)^2, which is the binomial
        c (1 - c) / N for ions of one atom. N_i is the density times `sampled_nm3`; that is exact where the density
        is even over the Gaussian. Neighboring voxels share ions: their errors are correlated.
        """
        if element not in self.elements:
            raise ParameterError(f"no element {element!r} in the ranges; there are {', '.join(self.elements)}")
        number = self.atoms[:, self.elements.index(element)].astype(np.float32)
        size = self.atoms.sum(axis=1).astype(np.float32)
        ions = self.counts[:-1] * np.float32(self.sampled_nm3 / self.frame.voxel_nm**3)
        atoms = np.tensordot(size, ions, 1)
        enough = (ions[size > 0].sum(axis=0) >= min_ions) & (atoms > 0)
        share = np.full(self.frame.shape, np.nan, np.float32)
        share[enough] = np.tensordot(number, ions, 1)[enough] / atoms[enough]
        error = np.full(self.frame.shape, np.nan, np.float32)
        variance = np.zeros(int(enough.sum()), np.float32)
        for n_e, s, n in zip(number, size, ions, strict=True):
            variance += n[enough] * (n_e - share[enough] * s) ** 2
        error[enough] = np.sqrt(variance) / atoms[enough]
        name = f"fraction {element}"
        return self.frame.grid(share, name, "1"), self.frame.grid(error, f"{name} error", "1")


def voxelize(xyz_nm: ArrayLike, voxel_nm: float = 1.0, frame: Frame | None = None) -> VoxelGrid:
    """Count the ions in each voxel, sharply.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; ions without a finite position are left out.
    voxel_nm
        Edge of the voxels, nm.
    frame
        Grid to count on; one around the ions by default.

    Returns
    -------
    Ions per voxel, float32; the sum is the number of ions with a finite position.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ParameterError
        If the voxel is no positive length, or ions lie outside the given grid, which would pile them up at its rim.

    Examples
    --------
    >>> voxelize([[0.5, 0.5, 0.5], [0.6, 0.5, 2.5]]).values.sum(axis=(0, 1)).tolist()
    [1.0, 0.0, 1.0]
    """
    if not (np.isfinite(voxel_nm) and voxel_nm > 0):
        raise ParameterError(f"the edge of a voxel must be a positive length, got {voxel_nm} nm")
    xyz = as_points(xyz_nm)
    xyz = xyz[finite_rows(xyz)]
    if frame is None:
        frame = Frame.around(xyz, voxel_nm)
    elif len(xyz):
        place = (np.array([xyz.min(axis=0), xyz.max(axis=0)]) - frame.origin_nm) / frame.voxel_nm
        if (place < 0).any() or (place >= np.array(frame.shape)).any():
            raise ParameterError("ions lie outside the grid they shall be counted on; give a grid around all of them")
    return frame.grid(frame.count(xyz), "count", "ions")


def delocalize(
    xyz_nm: ArrayLike,
    species_idx: ArrayLike,
    ranges: RangeTable,
    params: DelocalizeParams | None = None,
    *,
    workers: int | None = None,
) -> Stage[Delocalized]:
    """Spread every ion over a Gaussian, on one grid per kind of ion.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; ions without a finite position are left out and counted.
    species_idx
        Ion of the range table for each, shape (N,); -1 for none.
    ranges
        What the ions are made of.
    params
        Parameters; the defaults when None.
    workers
        Number of threads; all processors by default. Neither it nor the order of the ions changes a bit of the result.

    Raises
    ------
    EmptySelectionError
        If no ion has a finite position.
    ParameterError
        If a width is below half a voxel, the grid does not fit in memory, or a species is not in the table.

    Notes
    -----
    The double splat of Hellman, Blatz du Rivage & Seidman (2003): a transfer to the grid, then a Gaussian on the grid
    whose variance is what the transfer left of the whole. The transfer here is the quadratic B-spline: over 3 x 3 x 3
    voxels, with sum one, the ion's place as its mean, and a variance of voxel^2 / 4 wherever the ion lies, so that the
    two variances add up to sigma^2 exactly; the sawtooth of the paper has a variance that depends on the place.
    The Gaussian on the grid is sampled, and as wide as gives it exactly the variance it should have.
    Weights are sums of integers (2^-39 of an ion), hence independent of the order. Counts are preserved: the grid is
    wider than the cloud by four standard deviations, where the Gaussian ends.

    References
    ----------
    O.C. Hellman, J. Blatz du Rivage, D.N. Seidman, "Efficient sampling for three-dimensional atom probe microscopy
    data", Ultramicroscopy 95 (2003) 199-205, doi 10.1016/S0304-3991(02)00317-0
    """
    params = params or DelocalizeParams()
    xyz = as_points(xyz_nm)
    species = as_vector(species_idx, "species_idx", length=len(xyz), dtype=np.int32)
    n_kinds = len(ranges.ions)
    if len(species) and (species.max() >= n_kinds or species.min() < -1):
        raise ParameterError(f"species {species.min()} to {species.max()}, but the table has {n_kinds} ions and -1")
    sigma = (params.sigma_lateral_nm, params.sigma_lateral_nm, params.sigma_depth_nm)
    rest = [s**2 / params.voxel_nm**2 - _SPLINE_VARIANCE for s in sigma]
    if min(rest) < -1e-9:
        raise ParameterError(
            f"a delocalization of {min(sigma)} nm is below half a voxel of {params.voxel_nm} nm; choose a voxel of at "
            f"most {2 * min(sigma):.3g} nm"
        )
    n_finite, corners = _bounds(xyz)
    if n_finite == 0:
        raise EmptySelectionError(f"none of {len(xyz)} ions has a finite position; there is nothing to delocalize")
    frame = Frame.around(corners, params.voxel_nm, margin_nm=_TRUNCATE * max(sigma) + 3 * params.voxel_nm)
    kernels = [_kernel(r) for r in rest]
    exact = yield from _splatted(xyz, species, n_kinds, frame, workers)
    counts = np.empty(exact.shape, np.float32)
    scale = 0.5 ** (3 * _bits(len(xyz)))
    for kind, grid in enumerate(exact):
        yield Progress(kind, len(exact), "Gaussian")
        counts[kind] = grid * scale
        for axis, kernel in enumerate(kernels):
            counts[kind] = ndimage.correlate1d(counts[kind], kernel, axis, mode="constant")
    elements = tuple(dict.fromkeys(symbol for ion in ranges.ions for symbol, _ in ion.elements))
    atoms = np.array([[dict(ion.elements).get(e, 0) for e in elements] for ion in ranges.ions], np.int64)
    return Delocalized(
        frame, ranges.names, elements, atoms.reshape(n_kinds, len(elements)), counts, sigma, len(xyz) - n_finite
    )


def _kernel(variance: float) -> NDArray[np.float64]:
    """Sampled Gaussian whose own variance is the given one, in voxels squared; sampling makes a narrow one narrower."""
    if variance < 1e-9:
        return np.ones(1)
    radius = int(_TRUNCATE * np.sqrt(variance) + 1.5)
    x2 = np.arange(-radius, radius + 1) ** 2

    def taps(log_width: float) -> NDArray[np.float64]:
        weight: NDArray[np.float64] = np.exp(-0.5 * x2 / np.exp(2 * log_width))
        weight /= weight.sum()
        return weight

    middle = 0.5 * np.log(variance)
    return taps(optimize.brentq(lambda log_width: float(taps(log_width) @ x2) - variance, middle - 5, middle + 2))


def _bits(n_ions: int) -> int:
    """Binary digits of the weight along one axis, as many as let the sum over all ions fit into 63 bits."""
    return min(13, (62 - max(n_ions, 1).bit_length()) // 3)


def _splatted(
    xyz: NDArray[np.float32], species: NDArray[np.int32], n_kinds: int, frame: Frame, workers: int | None
) -> Stage[NDArray[np.int64]]:
    """Spline weights of all ions as integers, shape (n_kinds + 1, nx, ny, nz).

    Threads write slabs of x of their own, so they need no lock and no second grid; each looks at all ions.
    """
    out = np.zeros((n_kinds + 1, *frame.shape), np.int64)
    n_slabs = 2 * (workers or available_processors())
    sample = xyz[:: max(1, len(xyz) // _SAMPLE), 0]
    sample = sample[np.isfinite(sample)] if np.isfinite(sample).any() else np.array([frame.origin_nm[0]])
    cuts = (np.quantile(sample, np.linspace(0, 1, n_slabs + 1)) - frame.origin_nm[0]) / frame.voxel_nm
    rows = np.maximum.accumulate(np.floor(cuts).astype(np.int64))
    rows[0], rows[-1] = 0, frame.shape[0]

    def work(start: int, stop: int) -> None:
        _splat(
            xyz,
            species,
            frame.origin_nm,
            1 / frame.voxel_nm,
            1 << _bits(len(xyz)),
            int(rows[start]),
            int(rows[stop]),
            out,
        )

    yield from run_blocks(work, n_slabs, block=1, message="transfer to the grid", workers=workers)
    return out


@njit(cache=True, nogil=True)
def _bounds(xyz: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    """Count the finite positions and find their lowest and highest corner, shape (2, 3), in one pass."""
    n = 0
    corners = np.empty((2, 3), np.float32)
    corners[0] = np.inf
    corners[1] = -np.inf
    for row in range(len(xyz)):
        if np.isfinite(xyz[row, 0]) and np.isfinite(xyz[row, 1]) and np.isfinite(xyz[row, 2]):
            n += 1
            for axis in range(3):
                corners[0, axis] = min(corners[0, axis], xyz[row, axis])
                corners[1, axis] = max(corners[1, axis], xyz[row, axis])
    return n, corners


@njit(cache=True, nogil=True, inline="always")
def _spline(offset: float, one: int) -> tuple[int, int, int]:
    """Integer weights of the voxels before, at and behind an ion, whose sum is `one`; offset from the center."""
    before = int(0.5 * (0.5 - offset) ** 2 * one + 0.5)
    behind = int(0.5 * (0.5 + offset) ** 2 * one + 0.5)
    return before, one - before - behind, behind


@njit(cache=True, nogil=True)
def _splat(
    xyz: NDArray[np.float32],
    species: NDArray[np.int32],
    origin: NDArray[np.float64],
    per_nm: float,
    one: int,
    low: int,
    high: int,
    out: NDArray[np.int64],
) -> None:
    """Add the spline weights of all ions to the rows low..high of the grids; ions of species -1 go to the last."""
    for n in range(len(xyz)):
        x = (xyz[n, 0] - origin[0]) * per_nm
        if not (x >= low - 1 and x < high + 1):  # nor is NaN
            continue
        y = (xyz[n, 1] - origin[1]) * per_nm
        z = (xyz[n, 2] - origin[2]) * per_nm
        if not (np.isfinite(y) and np.isfinite(z)):
            continue
        i, j, k = int(x), int(y), int(z)
        wx = _spline(x - i - 0.5, one)
        y0, y1, y2 = _spline(y - j - 0.5, one)
        z0, z1, z2 = _spline(z - k - 0.5, one)
        grid = out[species[n]]
        for a in range(3):
            row = i - 1 + a
            if row < low or row >= high:
                continue
            for b in range(3):
                w = wx[a] * (y0 if b == 0 else (y1 if b == 1 else y2))
                line = grid[row, j - 1 + b]
                line[k - 1] += w * z0
                line[k] += w * z1
                line[k + 1] += w * z2
