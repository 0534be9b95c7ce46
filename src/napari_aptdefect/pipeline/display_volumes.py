"""Volumes that stand for all ions where only a sample of them is drawn: density, composition, the room of defects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.delocalize import Delocalized, DelocalizeParams, delocalize
from napari_aptdefect.apt.profiles import Surface, isosurface
from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data import Ion, RangeTable, VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.stage import Progress, Stage, param, scaled

_MAX_VOXELS: Final = 1 << 25
_MAX_TRIANGLES: Final = 3_000_000
_STANDS_OUT: Final = 5.0  # robust standard deviations; noise alone reaches about 4 in a million voxels
_FULL: Final = 0.5  # of the typical density, below which a voxel lies at the rim


class VolumeParams(DelocalizeParams):
    """Parameters of a volume and of the isosurface in it."""

    min_ions: float = param(
        50.0,
        title="Fewest ions",
        description="Composition is left empty where the Gaussian holds fewer ranged ions than this.",
        ge=0.0,
        le=1e6,
    )
    rendering: Literal["attenuated_mip", "mip", "translucent", "iso"] = param(
        "attenuated_mip",
        title="Rendering",
        description="How the volume is drawn: highest value in sight (mip; attenuated: nearer ones cover farther "
        "ones), translucent, or the surface at one value (iso). The layer controls can change it.",
    )
    surface: bool = param(
        True, title="Isosurface", description="Make a surface by marching cubes as well, which proxigrams need."
    )
    level: float | None = param(
        None,
        title="Level",
        description="Value on the isosurface, in ions/nm3 or as a fraction from 0 to 1; when not set it is suggested "
        "from the volume.",
        gt=0.0,
        le=1e4,
    )


@dataclass(frozen=True)
class Quantity:
    """What a volume shows.

    Parameters
    ----------
    kind
        ``"density"`` of all ions, atomic fraction of an ``"element"``, or share of an ``"ion"`` among ranged ions.
    name
        Element or ion; empty for the density.
    """

    kind: Literal["density", "element", "ion"] = "density"
    name: str = ""

    @property
    def label(self) -> str:
        """How a person chooses it."""
        if self.kind == "density":
            return "density of all ions"
        return f"{self.name}, atomic fraction" if self.kind == "element" else f"{self.name}, share of ranged ions"


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and what goes with it.

    Parameters
    ----------
    grid
        The values; NaN where there are too few ions to say.
    surface
        Isosurface, when one was asked for.
    note
        Where its level comes from, in words.
    """

    grid: VoxelGrid
    surface: Surface | None = None
    note: str = ""


@dataclass(frozen=True)
class Level:
    """A value for an isosurface.

    Parameters
    ----------
    value
        Half way between `matrix` and `region`.
    matrix
        Typical value.
    region
        Typical value of what differs from the matrix most; 0 for a density, the outside of the specimen.
    contrast
        Distance of the two in robust standard deviations of the values on the side of the matrix.
    """

    value: float
    matrix: float
    region: float
    contrast: float

    @property
    def is_sure(self) -> bool:
        """Whether the region stands out from the noise of the matrix."""
        return self.contrast >= _STANDS_OUT


def quantities(ranges: RangeTable | None) -> list[Quantity]:
    """Everything a volume can show of ions with these ranges: density, elements, then ions that are no lone atom."""
    if ranges is None:
        return [Quantity()]
    elements = dict.fromkeys(symbol for ion in ranges.ions for symbol, _ in ion.elements)
    ions = dict.fromkeys(ion.name for ion in ranges.ions if ion.name not in elements)
    return [Quantity(), *(Quantity("element", name) for name in elements), *(Quantity("ion", name) for name in ions)]


def make_volume(
    ions: RangedIons, quantity: Quantity | None = None, params: VolumeParams | None = None
) -> Stage[Volume]:
    """Delocalize all ions into one volume and, when asked, lay an isosurface through it.

    Parameters
    ----------
    ions
        The ions.
    quantity
        What to show; the density when None.
    params
        Parameters; the defaults when None.

    Raises
    ------
    EmptySelectionError
        If no ion has a finite position, or the volume does not pass through the level.
    ParameterError
        If the grid or the surface would be too large to draw, or no ion holds the element.
    """
    quantity, params = quantity or Quantity(), params or VolumeParams()
    _check_size(ions.xyz_nm, params)
    species, table = _merged(ions, quantity)
    fields = yield from scaled(_onward(delocalize(ions.xyz_nm, species, table, params)), 0, 80)
    yield Progress(80, 100, quantity.label)
    if quantity.kind == "density":
        grid = fields.density()
    else:
        grid = fields.fraction("X", params.min_ions)[0]
        unit = "atomic fraction" if quantity.kind == "element" else "fraction of ranged ions"
        grid = VoxelGrid(grid.values, grid.origin_nm, grid.voxel_nm, quantity.name, unit)
        if not np.isfinite(grid.values).any():
            raise EmptySelectionError(
                f"nowhere does the Gaussian hold {params.min_ions:g} ranged ions; widen it, or ask for fewer ions"
            )
    if not params.surface:
        return Volume(grid)
    yield Progress(85, 100, "isosurface")
    surface, note = surface_at(grid, params.level, _well_filled(fields.counts.sum(axis=0)))
    return Volume(grid, surface, note)


def surface_at(
    grid: VoxelGrid, level: float | None = None, judged: NDArray[np.bool_] | None = None
) -> tuple[Surface, str]:
    """Lay an isosurface through a volume.

    Parameters
    ----------
    grid
        The volume.
    level
        Value on the surface; `suggest_level` when None.
    judged
        Voxels that a suggestion looks at, those of full density; all when None.

    Returns
    -------
    The surface, and where its level comes from in words.

    Raises
    ------
    EmptySelectionError
        If the volume does not pass through the level.
    ParameterError
        If the surface has too many triangles to be drawn, as one through noise has.
    """
    note = ""
    if level is None:
        found = suggest_level(grid, judged)
        level = found.value
        note = f"level {level:.3g} {grid.unit} suggested: half way from {found.matrix:.3g} to {found.region:.3g}"
        if not found.is_sure:
            note += "; nothing stands out from the noise, which this surface follows"
    surface = isosurface(grid, level)
    if len(surface.triangles) > _MAX_TRIANGLES:
        raise ParameterError(
            f"the surface at {level:.3g} has {len(surface.triangles):,} triangles: the level runs through noise; "
            "choose another level, larger voxels or a wider delocalization"
        )
    return surface, note


def suggest_level(grid: VoxelGrid, judged: NDArray[np.bool_] | None = None) -> Level:
    """Suggest where to lay an isosurface.

    Parameters
    ----------
    grid
        A density (its unit has nm in it) or fractions; NaN does not count.
    judged
        Voxels whose fractions count, shape of the grid: at the rim of a specimen few ions make much noise. All when
        None.

    Raises
    ------
    EmptySelectionError
        If the volume has one value only, so that no surface exists.

    Notes
    -----
    Density: half of the typical density, where a flat smooth edge passes through the surface itself; this is the
    outline of the specimen and of its voids. Fractions: the matrix is the median; the region is the mean of what lies
    beyond three quarters of the highest peak (or of the deepest dip, if that is farther off); the level is half way
    between both. Thresholds that weigh all voxels, as Otsu's, end in the noise of the matrix when the region fills less
    than about a percent.
    """
    values = grid.values[np.isfinite(grid.values)]
    if len(values) == 0 or not values.min() < values.max():
        raise EmptySelectionError("the volume has one value everywhere; there is no surface to lay through it")
    if "nm" in grid.unit:
        filled = values[values > _FULL * np.percentile(values, 99)]
        matrix = float(np.median(filled))
        spread = _spread(filled, matrix)
        return Level(0.5 * matrix, matrix, 0.0, matrix / spread if spread > 0 else np.inf)
    if judged is not None and (judged & np.isfinite(grid.values)).any():
        values = grid.values[judged & np.isfinite(grid.values)]
    matrix = float(np.median(values))
    sign = 1.0 if values.max() - matrix >= matrix - values.min() else -1.0
    offset = sign * (values.astype(np.float64) - matrix)
    beyond = offset > 0.75 * offset.max()
    height = float(offset[beyond].mean())
    spread = _spread(offset[~beyond], 0.0)
    contrast = height / spread if spread > 0 else float(np.inf)
    return Level(matrix + sign * 0.5 * height, matrix, matrix + sign * height, contrast)


def _onward(stage: Stage[Delocalized]) -> Stage[Delocalized]:
    """The progress of the two passes of a delocalization, one after the other."""
    try:
        while True:
            step = next(stage)
            share = step.done / step.total if step.total else 1.0
            yield Progress(50 * share + (50 if step.message == "Gaussian" else 0), 100, step.message)
    except StopIteration as done:
        result: Delocalized = done.value
        return result
    finally:
        stage.close()


def _well_filled(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels with at least half of the typical density, those of the rim left out."""
    return np.asarray(density >= _FULL * np.median(density[density > _FULL * density.max()]), np.bool_)


def _spread(values: NDArray[np.floating], center: float) -> float:
    """Standard deviation of a normal distribution with the same median distance from its center."""
    return 1.4826 * float(np.median(np.abs(values - center))) if len(values) else 0.0


def _check_size(xyz_nm: NDArray[np.float32], params: VolumeParams) -> None:
    rows = xyz_nm[finite_rows(xyz_nm)]
    if len(rows) == 0:
        raise EmptySelectionError(f"none of the {len(xyz_nm)} ions has a finite position")
    margin = 8 * max(params.sigma_lateral_nm, params.sigma_depth_nm)
    n = np.prod((np.ptp(rows, axis=0).astype(float) + margin) / params.voxel_nm + 7)
    if n > _MAX_VOXELS:
        fitting = params.voxel_nm * (n / _MAX_VOXELS) ** (1 / 3)
        raise ParameterError(
            f"voxels of {params.voxel_nm:g} nm would make {n / 1e6:,.0f} million of them; choose at least "
            f"{fitting:.2g} nm"
        )


def _merged(ions: RangedIons, quantity: Quantity) -> tuple[NDArray[np.int16], RangeTable]:
    """Species and table with kinds joined that the quantity can't tell apart, which saves a grid for each.

    What is asked for is the element X of that table. Kinds with the same number of atoms of it, and of others, are one.
    """
    if quantity.kind == "density":
        return np.full(len(ions.species_idx), -1, np.int16), RangeTable((), ())
    if quantity.kind == "element":
        shares = [(dict(ion.elements).get(quantity.name, 0), ion.n_atoms) for ion in ions.ranges.ions]
    else:
        shares = [(int(ion.name == quantity.name), 1) for ion in ions.ranges.ions]
    if not any(part for part, _ in shares):
        known = ", ".join(item.name for item in quantities(ions.ranges) if item.kind == quantity.kind)
        raise ParameterError(f"no {quantity.kind} {quantity.name!r} in the ranges; there are {known or 'none'}")
    kinds = list(dict.fromkeys(shares))
    table = RangeTable(
        tuple(
            Ion(f"kind {n}", tuple(pair for pair in (("X", part), ("rest", whole - part)) if pair[1]))
            for n, (part, whole) in enumerate(kinds)
        ),
        (),
    )
    lookup = np.array([*(kinds.index(share) for share in shares), -1], np.int16)
    return lookup[ions.species_idx], table


def label_volume(xyz_nm: NDArray[np.floating[Any]], defect: NDArray[np.integer[Any]], grid: VoxelGrid) -> VoxelGrid:
    """Mark the voxels of a grid that hold ions of a defect with the number of that defect.

    Parameters
    ----------
    xyz_nm
        Positions of ions, shape (N, 3), nm; ions outside of the grid are left out.
    defect
        Defect instance of each ion, shape (N,), 0 in the matrix.
    grid
        Gives the voxels.

    Returns
    -------
    On the voxels of `grid`, the defect that has most ions in the voxel (the lower number when two have equally many), 0
    where no ion of a defect lies; whole numbers, exact in float32 below 2**24.
    """
    inside = defect > 0
    voxel = np.floor((xyz_nm[inside] - grid.origin_nm) / grid.voxel_nm)
    shape = np.asarray(grid.values.shape)
    fits = ((voxel >= 0) & (voxel < shape)).all(axis=1)
    labels = np.zeros(grid.values.shape, np.float32)
    flat = np.ravel_multi_index(tuple(voxel[fits].astype(np.int64).T), grid.values.shape)
    owner = defect[inside][fits].astype(np.int64)
    if len(flat):
        pairs, counts = np.unique(np.stack([flat, owner], axis=1), axis=0, return_counts=True)
        order = np.lexsort((-pairs[:, 1], counts))  # ascending: the last write to a voxel wins
        labels.reshape(-1)[pairs[order, 0]] = pairs[order, 1]
    return VoxelGrid(labels, grid.origin_nm, grid.voxel_nm, "defect")
