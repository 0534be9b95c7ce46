"""Isosurfaces, proxigrams and one-dimensional profiles, with counting errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.data import RangeTable, VoxelGrid
from napari_aptdefect.data.composition import composition_of_counts
from napari_aptdefect.data.surface import Surface, signed_distance
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError

__all__ = ["Profile", "Surface", "isosurface", "line_profile", "proxigram", "signed_distance"]


@dataclass(frozen=True, eq=False)
class Profile:
    """Composition along a coordinate, with counting errors.

    Parameters
    ----------
    edges_nm
        Shape (n + 1,): limits of the bins, nm.
    ions, elements
        Names of the columns of the counts, and of the fractions.
    ion_counts
        Shape (n, n_ions), int64.
    n_unranged
        Shape (n,), int64: ions of no range.
    fraction, error
        Shape (n, n_elements): atomic fraction and its standard error; NaN in bins without an atom.
    coordinate
        What the bins run along.
    """

    edges_nm: NDArray[np.float64]
    ions: tuple[str, ...]
    elements: tuple[str, ...]
    ion_counts: NDArray[np.int64]
    n_unranged: NDArray[np.int64]
    fraction: NDArray[np.float64]
    error: NDArray[np.float64]
    coordinate: str

    @property
    def centers_nm(self) -> NDArray[np.float64]:
        """Centers of the bins, shape (n,), nm."""
        return np.asarray(0.5 * (self.edges_nm[:-1] + self.edges_nm[1:]), np.float64)

    def of(self, element: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fraction of an element and its error along the profile, shapes (n,).

        Raises
        ------
        ParameterError
            If the profile has no such element.
        """
        if element not in self.elements:
            raise ParameterError(f"no element {element!r} in this profile; it has {', '.join(self.elements)}")
        column = self.elements.index(element)
        return self.fraction[:, column], self.error[:, column]


def isosurface(grid: VoxelGrid, level: float) -> Surface:
    """Surface where a field has a value, by marching cubes.

    Parameters
    ----------
    grid
        The field; values belong to the centers of the voxels. No surface is drawn beside a voxel that is NaN.
    level
        The value.

    Raises
    ------
    EmptySelectionError
        If the field does not pass through the value.
    ShapeError
        If the grid has fewer than two voxels along an axis.

    Notes
    -----
    The variant of Lewiner et al. (2003, doi 10.1080/10867651.2003.10487582) without holes in ambiguous cubes, from
    scikit-image. A surface that leaves the grid is open there.
    """
    from skimage.measure import marching_cubes

    values = np.asarray(grid.values, np.float32)
    if min(values.shape) < 2:
        raise ShapeError(f"an isosurface needs two voxels along each axis, the grid has {values.shape}")
    known = np.isfinite(values)
    low, high = (float(f(values[known])) for f in (np.min, np.max)) if known.any() else (np.nan, np.nan)
    if not low < level < high:
        raise EmptySelectionError(f"the values run from {low:.4g} to {high:.4g} {grid.unit}, never through {level:.4g}")
    # a cube is drawn where all its corners are known; the mask of scikit-image speaks of the cube's upper corner
    cubes = np.ones_like(known)
    for shift in np.ndindex(2, 2, 2):
        part = tuple(slice(1 - s, n - s) for s, n in zip(shift, known.shape, strict=True))
        cubes[1:, 1:, 1:] &= known[part]
    mask = None if known.all() else cubes
    spacing = tuple(float(v) for v in grid.voxel_nm)
    filled = np.where(known, values, low)
    try:
        vertices, triangles, _, _ = marching_cubes(
            filled, level, spacing=spacing, mask=mask, gradient_direction="ascent"
        )
    except RuntimeError as error:
        raise EmptySelectionError(f"no voxel with known neighbors lies at {level:.4g} {grid.unit}") from error
    first = np.asarray(grid.origin_nm) + 0.5 * np.asarray(grid.voxel_nm)
    return Surface(
        (vertices + first).astype(np.float32), triangles.astype(np.int32), float(level), grid.name, grid.unit
    )


def proxigram(
    xyz_nm: ArrayLike,
    species_idx: ArrayLike,
    ranges: RangeTable,
    surface: Surface,
    *,
    bin_nm: float = 0.5,
    reach_nm: float = 5.0,
) -> Profile:
    """Composition against the distance from a surface: the proximity histogram.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    species_idx
        Ion of the range table for each, shape (N,); -1 for none.
    ranges
        What the ions are made of.
    surface
        The surface; distances are positive on the side of higher values.
    bin_nm
        Width of the bins, nm; one edge lies on the surface.
    reach_nm
        Farthest distance on either side, nm.

    Returns
    -------
    The profile.

    Raises
    ------
    EmptySelectionError
        If no ion is so near.

    Notes
    -----
    Hellman et al. (2000). An isosurface drawn through noise follows the noise: within the delocalization of the grid
    around it the profile is biased toward the side that was asked for.

    References
    ----------
    O.C. Hellman, J.A. Vandenbroucke, J. Ruesing, D. Isheim, D.N. Seidman, "Analysis of three-dimensional atom-probe
    data by the proximity histogram", Microsc. Microanal. 6 (2000) 437-444, doi 10.1007/S100050010051
    """
    _check_width(bin_nm)
    n_side = int(np.ceil(reach_nm / bin_nm - 1e-9))
    edges = np.asarray(bin_nm * np.arange(-n_side, n_side + 1), np.float64)
    distance = signed_distance(xyz_nm, surface, float(edges[-1]))
    return _binned(distance, species_idx, ranges, edges, f"distance from {surface.name} = {surface.level:.4g}".strip())


def line_profile(
    xyz_nm: ArrayLike,
    species_idx: ArrayLike,
    ranges: RangeTable,
    start_nm: ArrayLike,
    stop_nm: ArrayLike,
    *,
    radius_nm: float = 5.0,
    bin_nm: float = 0.5,
) -> Profile:
    """Composition along a cylinder.

    Parameters
    ----------
    xyz_nm, species_idx, ranges
        As for `proxigram`.
    start_nm, stop_nm
        Ends of the axis, shape (3,), nm.
    radius_nm
        Radius of the cylinder, nm.
    bin_nm
        Width of the bins, nm; the last one may reach beyond the end.

    Raises
    ------
    EmptySelectionError
        If no ion lies in the cylinder.
    ParameterError
        If the ends coincide, or a width is no positive length.
    """
    _check_width(bin_nm)
    _check_width(radius_nm)
    xyz = as_points(xyz_nm)
    first, last = np.asarray(start_nm, np.float64), np.asarray(stop_nm, np.float64)
    if first.shape != (3,) or last.shape != (3,):
        raise ShapeError(f"the ends of a profile are 3 numbers each, got shapes {first.shape} and {last.shape}")
    length = float(np.linalg.norm(last - first))
    if not (np.isfinite(length) and length > 0):
        raise ParameterError("the ends of a profile must be two different places")
    axis = (last - first) / length
    edges = np.asarray(bin_nm * np.arange(int(np.ceil(length / bin_nm - 1e-9)) + 1), np.float64)
    place = np.full(len(xyz), np.nan)
    good = finite_rows(xyz)
    off = xyz[good].astype(np.float64) - first
    along = off @ axis
    across2 = np.einsum("ij,ij->i", off, off) - along**2
    place[good] = np.where(across2 <= radius_nm**2, along, np.nan)
    return _binned(place, species_idx, ranges, edges, "distance along the profile")


def _binned(
    place: NDArray[np.floating], species_idx: ArrayLike, ranges: RangeTable, edges: NDArray[np.float64], name: str
) -> Profile:
    """Count the ions of each kind per bin; composition and error of each bin by `composition_of_counts`."""
    species = as_vector(species_idx, "species_idx", length=len(place), dtype=np.int64)
    n_kinds, n_bins = len(ranges.ions), len(edges) - 1
    if len(species) and (species.max() >= n_kinds or species.min() < -1):
        raise ParameterError(f"species {species.min()} to {species.max()}, but the table has {n_kinds} ions and -1")
    inside = np.isfinite(place) & (place >= edges[0]) & (place < edges[-1])
    if not inside.any():
        raise EmptySelectionError(f"no ion lies within {edges[0]:.4g} to {edges[-1]:.4g} nm ({name})")
    # an edge is a multiple of the width; searching it keeps an ion on an edge in the bin above it
    idx = np.searchsorted(edges, place[inside], side="right") - 1
    table = np.bincount(idx * (n_kinds + 1) + species[inside] % (n_kinds + 1), minlength=n_bins * (n_kinds + 1))
    counts = table.reshape(n_bins, n_kinds + 1)
    rows = [composition_of_counts(ranges, row[:-1]) for row in counts]
    fraction, error = np.array([row.fraction for row in rows]), np.array([row.fraction_error for row in rows])
    return Profile(edges, ranges.names, rows[0].elements, counts[:, :-1], counts[:, -1], fraction, error, name)


def _check_width(width: float) -> None:
    if not (np.isfinite(width) and width > 0):
        raise ParameterError(f"widths and radii of a profile must be positive lengths, got {width} nm")
