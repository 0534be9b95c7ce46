"""Median and Gaussian smoothing, of grids and of values at the ions themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data import NeighborGraph, VoxelGrid
from napari_aptdefect.errors import ParameterError

_TRUNCATE = 4.0
_LEAST_WEIGHT = 1e-3  # of the kernel, below which too little is known around a voxel
_MAX_WINDOW = 1 << 15


def smooth_grid(grid: VoxelGrid, sigma_nm: float) -> VoxelGrid:
    """Convolve a grid with a Gaussian; NaN and what lies outside do not count.

    Parameters
    ----------
    grid
        Values; NaN where there is none.
    sigma_nm
        Standard deviation of the Gaussian, nm, on all axes.

    Returns
    -------
    The smoothed grid; NaN stays where less than a thousandth of the kernel finds a value.

    Raises
    ------
    ParameterError
        If the width is no positive length.

    Notes
    -----
    Normalized convolution (Knutsson & Westin 1993, doi 10.1109/CVPR.1993.341081): (g * v w) / (g * w), with w = 1 where
    there is a value. A constant stays that constant up to the border. It is a mean, so it preserves no sums: to spread
    counts without losing any use `apt.delocalize`.
    """
    if not (np.isfinite(sigma_nm) and sigma_nm > 0):
        raise ParameterError(f"the width of a Gaussian must be a positive length, got {sigma_nm} nm")
    known = np.isfinite(grid.values)
    width = sigma_nm / np.asarray(grid.voxel_nm, float)
    filled = np.where(known, grid.values, 0)
    values = ndimage.gaussian_filter(filled, width, mode="constant", truncate=_TRUNCATE, output=np.float64)
    weight = ndimage.gaussian_filter(known.astype(np.float64), width, mode="constant", truncate=_TRUNCATE)
    out = np.full(grid.values.shape, np.nan, np.float32)
    enough = weight > _LEAST_WEIGHT
    out[enough] = values[enough] / weight[enough]
    return replace(grid, values=out)


def median_grid(grid: VoxelGrid, radius_voxels: int = 1) -> VoxelGrid:
    """Median over the cube of voxels around each; NaN and what lies outside do not count, NaN itself stays.

    Parameters
    ----------
    grid
        Values; NaN where there is none.
    radius_voxels
        The cube has 2 r + 1 voxels along each edge.

    Raises
    ------
    ParameterError
        If the radius is negative, or the cube has more than 32,768 voxels.
    """
    n = 2 * int(radius_voxels) + 1
    if radius_voxels < 0 or n**3 > _MAX_WINDOW:
        raise ParameterError(f"the radius of a median must be 0 to 15 voxels, got {radius_voxels}")
    values = np.ascontiguousarray(grid.values, np.float32)
    return replace(grid, values=_median_cubes(values, int(radius_voxels)))


def local_median(values: ArrayLike, graph: NeighborGraph) -> NDArray[np.float32]:
    """Median over each ion and its neighbors: the median filter of a point cloud.

    Parameters
    ----------
    values
        Shape (N,), one per ion; NaN does not count.
    graph
        Neighbors of each ion.

    Returns
    -------
    Shape (N,), float32; NaN where neither the ion nor a neighbor has a value. Positions stay as they are: a filter that
    moved ions would invent structure.

    Raises
    ------
    ShapeError
        If there is not one value per node.

    Examples
    --------
    >>> graph = NeighborGraph(np.array([0, 2, 4, 6]), np.int32([1, 2, 0, 2, 1, 0]), np.float32([1, 2, 1, 1, 1, 2]))
    >>> local_median([0.0, 10.0, 1.0], graph).tolist()
    [1.0, 1.0, 1.0]
    """
    array = as_vector(values, "values", length=graph.n_nodes)
    out: NDArray[np.float32] = _median_lists(array, graph.indptr, graph.indices)
    return out


def local_mean(values: ArrayLike, graph: NeighborGraph, sigma_nm: float) -> NDArray[np.float32]:
    """Gaussian-weighted mean over each ion and its neighbors: the Gaussian filter of a point cloud.

    Parameters
    ----------
    values
        Shape (N,), one per ion; NaN does not count. Zeros and ones for a species give its local share.
    graph
        Neighbors of each ion. The Gaussian ends with them: they should reach two standard deviations.
    sigma_nm
        Standard deviation of the Gaussian, nm.

    Returns
    -------
    Shape (N,), float32; NaN where no value is near.

    Raises
    ------
    ParameterError
        If the width is no positive length.
    ShapeError
        If there is not one value per node.

    Notes
    -----
    m_i = sum_j w_ij v_j / sum_j w_ij, w_ij = exp(-d_ij^2 / 2 sigma^2), j over the ion itself (w = 1) and its neighbors:
    the estimator of Nadaraya (1964, doi 10.1137/1109020) and Watson (1964). Unlike a grid it follows the density: where
    ions are few the neighbors reach farther.
    """
    if not (np.isfinite(sigma_nm) and sigma_nm > 0):
        raise ParameterError(f"the width of a Gaussian must be a positive length, got {sigma_nm} nm")
    array = as_vector(values, "values", length=graph.n_nodes, dtype=np.float64)
    known = np.isfinite(array)
    weights = graph.matrix(np.exp(-0.5 * (graph.lengths_nm.astype(np.float64) / sigma_nm) ** 2))
    filled = np.where(known, array, 0.0)
    total = known + weights @ known.astype(np.float64)
    summed = filled + weights @ filled
    mean = np.divide(summed, total, out=np.full(len(array), np.nan), where=total > 0)
    return np.asarray(mean, np.float32)


def local_density(graph: NeighborGraph) -> NDArray[np.float32]:
    """Neighbors of each ion per volume of the sphere out to the farthest, shape (N,), float32, ions/nm3.

    Notes
    -----
    k / (4/3 pi r_k^3), as 3Depict counts. Of k nearest neighbors the farthest defines the sphere, so in an even cloud
    the expected value is k / (k - 1) times the density (the volume of the sphere is gamma distributed). NaN for an ion
    without neighbors, infinity where all lie in one place.
    """
    reach = np.full(graph.n_nodes, np.nan, np.float64)
    some = graph.degree > 0
    reach[some] = np.maximum.reduceat(graph.lengths_nm, graph.indptr[:-1][some]) if some.any() else 0
    with np.errstate(divide="ignore"):
        density: NDArray[np.float32] = (graph.degree / (4 / 3 * np.pi * reach**3)).astype(np.float32)
    return density


@njit(cache=True, nogil=True)
def _median_of(buffer: NDArray[np.float32], n: int) -> float:
    if n == 0:
        return np.nan
    part = np.sort(buffer[:n])
    middle = n // 2
    return part[middle] if n % 2 else 0.5 * (np.float64(part[middle - 1]) + np.float64(part[middle]))


@njit(cache=True, nogil=True)
def _median_cubes(values: NDArray[np.float32], r: int) -> NDArray[np.float32]:
    nx, ny, nz = values.shape
    out = np.empty_like(values)
    buffer = np.empty((2 * r + 1) ** 3, np.float32)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                if np.isnan(values[i, j, k]):
                    out[i, j, k] = np.nan
                    continue
                n = 0
                for a in range(max(i - r, 0), min(i + r + 1, nx)):
                    for b in range(max(j - r, 0), min(j + r + 1, ny)):
                        for c in range(max(k - r, 0), min(k + r + 1, nz)):
                            value = values[a, b, c]
                            if not np.isnan(value):
                                buffer[n] = value
                                n += 1
                out[i, j, k] = _median_of(buffer, n)
    return out


@njit(cache=True, nogil=True)
def _median_lists(
    values: NDArray[np.float32], indptr: NDArray[np.int64], indices: NDArray[np.int32]
) -> NDArray[np.float32]:
    n_nodes = len(indptr) - 1
    longest = 0
    for i in range(n_nodes):
        longest = max(longest, indptr[i + 1] - indptr[i])
    buffer = np.empty(longest + 1, np.float32)
    out = np.empty(n_nodes, np.float32)
    for i in range(n_nodes):
        n = 0
        if not np.isnan(values[i]):
            buffer[0] = values[i]
            n = 1
        for e in range(indptr[i], indptr[i + 1]):
            value = values[indices[e]]
            if not np.isnan(value):
                buffer[n] = value
                n += 1
        out[i] = _median_of(buffer, n)
    return out
