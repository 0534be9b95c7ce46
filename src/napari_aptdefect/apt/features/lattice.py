"""Features of a resolved lattice: bonds, stacking, sense and orientation, empty and extra sites, strain.

They only say something where each ion can be told to come from one site; `lattice_resolved` says whether it does. The
c axis of the crystal is taken to lie along the axis of the specimen, as in a nanowire.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_aptdefect.apt.features import lattice_axes as axes
from napari_aptdefect.apt.features import lattice_bonds as bonds
from napari_aptdefect.apt.features import lattice_fields as fields
from napari_aptdefect.apt.features import lattice_gaps as gaps
from napari_aptdefect.apt.features.shapes import surface_depth
from napari_aptdefect.arrays import as_points, as_vector
from napari_aptdefect.data.feature_table import FeatureColumn
from napari_aptdefect.data.tree import PointTree, build_tree, run_blocks
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.stage import Progress, Stage

RESOLVED: Final = 0.5
"""Below this share of resolved ions there is no lattice to describe."""

_BLOCK: Final = 8192
_SAMPLE: Final = 20_000
_DEEP_NM: Final = 1.0
_DOPANT: Final = 2
_ORDER: Final = 5
_MISSING: Final = bonds.N_LOCAL
_TOLERANCE: Final = 0.35  # the blur of the ideal instrument alone moves a bond by 15 %

_AROUND: Final = (
    (
        "lattice_missing_around",
        "",
        "empty sites at a bond length, mean over the ion and the ions up to two bonds away",
        "mean",
    ),
    ("lattice_order_around", "", "order of the tetrahedra, mean over the same", "mean"),
    ("lattice_bonds_least", "", "fewest bonds among the ion and its bonded neighbors", "min"),
)


def columns() -> tuple[FeatureColumn, ...]:
    """Columns that `describe_lattice` fills, in its order."""
    found = [
        ("lattice_bonds", "", "bonds to ions of the other sublattice, 4 in a tetrahedral lattice", "n"),
        ("lattice_near_unlike", "", "ions of the other sublattice within 1.33 bond lengths", "n"),
        ("lattice_near_like", "", "ions of the own sublattice within 1.33 bond lengths, 0 in the lattice", "n"),
        ("lattice_second_shell", "", "ions of the own sublattice within 1.95 bond lengths, 12 in the lattice", "n"),
        ("lattice_nearest_nm", "nm", "distance to the nearest ion", "d_1"),
        (
            "lattice_tetrahedrality",
            "",
            "order of the four bonds: 1 in a perfect tetrahedron; missing with fewer bonds",
            "1 - 3/8 sum over the 6 pairs of (cos + 1/3)^2 (Errington & Debenedetti 2001, doi 10.1038/35053024)",
        ),
        ("lattice_bond_length", "", "mean length of the bonds over that of the cloud", "mean(d) / b"),
        ("lattice_bond_spread", "", "spread of the lengths of the bonds over that of the cloud", "std(d) / b"),
        ("lattice_missing", "", "empty sites of the other sublattice within 1.33 bond lengths", "n"),
        *_AROUND,
        (
            "lattice_eclipsed",
            "",
            "stacking about the bond along the axis, mean over the plane: 1 eclipsed (hexagonal), -1 staggered (cubic)",
            "mean of cos(3 phi), phi the dihedral angles about the axial bonds of the plane",
        ),
        ("lattice_eclipsed_before", "", "the same of the next bilayer toward smaller z", "see lattice_eclipsed"),
        ("lattice_eclipsed_after", "", "the same of the next bilayer toward larger z", "see lattice_eclipsed"),
        (
            "lattice_missing_nm",
            "nm",
            f"distance to the nearest empty site, at most {gaps.REACH_NM:g} nm",
            "min |r - m|",
        ),
        ("lattice_extra_nm", "nm", f"distance to the nearest extra ion, at most {gaps.REACH_NM:g} nm", "min |r - e|"),
        (
            "lattice_cavity_nm",
            "nm",
            f"distance to the sphere of the nearest cavity (a group of empty sites), at most {gaps.REACH_NM:g} nm",
            "|r - c| - R, R the radius that best parts empty sites from ions",
        ),
        ("lattice_cavity_room_nm", "nm", "distance to a ball with as much room as its sites have", "|r - c| - R_n"),
        ("lattice_cavity_radius_nm", "nm", "radius of its sphere, 0 without a cavity", "R"),
        ("lattice_cavity_size", "", "logarithm of the number of its empty sites beside ions", "ln n"),
        ("lattice_cavity_heavy_share", "", "share of them that miss a heavy ion", "n_heavy / n"),
        ("lattice_cavity_roundness", "", "smallest over largest extent of the cavity", "sqrt(l_1 / l_3)"),
        *(
            (
                f"lattice_change{s:g}_log",
                "",
                f"how fast the sense of the axial bonds and the angle in the plane change, over {s:g} nm",
                "ln |grad of the Gaussian mean of (sense, cos 6 phi, sin 6 phi)|, per nm",
            )
            for s in fields.CHANGE_NM
        ),
        ("lattice_border_nm", "nm", "distance to a plane border, from both", "d of h exp(-d^2 / 2 s^2) / s"),
        *(
            (
                f"lattice_strain{s:g}_log",
                "",
                f"how far the bonds deviate from those of the cloud, mean over {s:g} nm",
                "ln |Gaussian mean of sum of v v^T / b^2 less its median|, v the bonds",
            )
            for s in fields.STRAIN_NM
        ),
        ("lattice_line_strain_log", "", "the same over 0.3 nm across and 1.5 nm along the axis", "see there"),
        (
            "lattice_line_nm",
            "nm",
            f"distance to the nearest line of disorder, at most {fields.LINE_REACH_NM:g} nm",
            "min |r - l|",
        ),
        ("lattice_line_height_log", "", "disorder of the tetrahedra on that line over its lower quartile", "ln"),
        (
            "lattice_line_dopant_log",
            "",
            "dopants at the ion's distance from its line over those 1.5 to 2.5 nm from it; 0 far from lines",
            "ln((n + 1/2) / (e + 1/2)) in a shell of 0.3 nm along the whole line",
        ),
        ("lattice_line_dopant_within", "", "share of their excess nearer to the line than the ion", "X(r) / X(1.4 nm)"),
        ("lattice_line_dopant_sigma", "sigma", "their excess within 1.4 nm", "X / sqrt(e + 1)"),
    ]
    return tuple(
        FeatureColumn(name, "compositional" if "dopant" in name else "structural", unit, text, how)
        for name, unit, text, how in found
    )


def lattice_resolved(xyz_nm: NDArray[np.floating], kind: NDArray[np.integer]) -> float:
    """Share of ions deep in the cloud whose four nearest neighbors are all unlike and about a bond length away.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; rows that are not finite are passed over.
    kind
        Shape (N,): 0 for the heavier main element, 1 for the lighter, others above.

    Returns
    -------
    Near 1 where the lattice is resolved, near 0 where it is blurred or there is none. The middle half of the cloud
    along each axis counts, of which up to 20,000 ions, evenly spread over it.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ShapeError
        If positions and kinds differ in number.
    """
    xyz, kinds = _checked(xyz_nm, kind)
    return _resolved(*_four_nearest(build_tree(xyz), kinds))


def describe_lattice(
    xyz_nm: NDArray[np.floating],
    kind: NDArray[np.integer],
    out: NDArray[np.float32],
    workers: int | None = None,
) -> Stage[None]:
    """Fill in what the lattice is like at each ion; nothing where the lattice is not resolved.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm, z along the axis of the specimen; rows that are not finite stay missing.
    kind
        Shape (N,): 0 for the heavier main element, 1 for the lighter, 2 for dopants, 3 for others; dopants and others
        are taken to sit on the sublattice across from most of their nearest neighbors.
    out
        Shape (N, number of columns), float32, filled with NaN; written in place.
    workers
        Number of threads; the result does not depend on it.

    Yields
    ------
    `Progress`.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ShapeError
        If positions, kinds and rows of `out` differ in number.
    """
    xyz, kinds = _checked(xyz_nm, kind)
    if out.shape != (len(xyz), len(columns())):
        raise ShapeError(f"out has the shape {out.shape}; give ({len(xyz)}, {len(columns())})")
    yield Progress(0, 100, "lattice: neighbors")
    tree = build_tree(xyz)
    four_nm, unlike = _four_nearest(tree, kinds)
    if _resolved(four_nm, unlike) < RESOLVED:
        return
    bond_nm = _bond_length(four_nm)
    values = np.full((len(tree.order), len(columns())), np.nan, np.float32)
    lattice = yield from _lattice(tree, kinds, bond_nm, workers)
    yield from _local(lattice, values, workers)
    at = _MISSING + 1 + len(_AROUND)
    yield from _stack(lattice, values[:, at : at + 3], workers)
    at += 3
    yield Progress(60, 100, "lattice: cavities")
    yield from _gaps(lattice, values, values[:, at : at + 8], workers)
    _spread(lattice, values)
    at += 8
    yield Progress(75, 100, "lattice: borders and lines")
    fields.change(lattice.splat, lattice.state, tree.xyz, values[:, at : at + 3])
    at += 3
    line = fields.strain(lattice.splat, lattice.tensor, values[:, _ORDER], tree.xyz, values[:, at : at + 5])
    fields.line_dopants(values[:, at + 3], line, kinds[tree.order] == _DOPANT, values[:, at + 5 :])
    out[tree.order] = values


class _Lattice:
    """Rows of the tree with their sublattice, neighbors and bonds."""

    def __init__(self, tree: PointTree, bond_nm: float) -> None:
        n = len(tree.order)
        self.tree, self.bond_nm = tree, bond_nm
        self.splat = fields.Splat.of(tree.xyz)
        self.side = np.zeros(n, np.int8)
        self.near = np.zeros((n, bonds.N_NEAR), np.int32)
        self.n_near = np.zeros(n, np.int32)
        self.bonds = np.full((n, 4), -1, np.int32)
        self.angle = np.zeros(n, np.float32)
        self.extra = np.full((n, 3), np.nan, np.float32)
        self.tensor = np.full((n, 6), np.nan, np.float32)
        self.state = np.full((n, 3), np.nan, np.float32)
        self.axial = np.full(n, -1, np.int32)
        self.turn = np.zeros((n, 2), np.float32)

    def blocks(self, work: Any, workers: int | None) -> Stage[None]:
        yield from run_blocks(work, len(self.side), block=_BLOCK, message="lattice", workers=workers)


def _lattice(tree: PointTree, kind: NDArray[np.int8], bond_nm: float, workers: int | None) -> Stage[_Lattice]:
    one = _Lattice(tree, bond_nm)

    def find(start: int, stop: int) -> None:
        bonds.find_near(tree, start, stop, bonds.NEAR_BONDS * bond_nm, one.near, one.n_near)
        bonds.take_sides(tree, start, stop, kind, 4, one.side)

    def join(start: int, stop: int) -> None:
        bonds.find_bonds(tree.xyz, start, stop, one.side, one.near, one.n_near, bond_nm, one.bonds)

    yield from one.blocks(find, workers)
    yield from one.blocks(join, workers)
    yield from _find_axes(one, np.zeros(len(one.side), np.float32), one.state, workers)
    mean = fields.around(one.splat, one.state, tree.xyz)
    one.angle[:] = np.arctan2(mean[:, 2], mean[:, 1]) / 6
    yield from _find_axes(one, np.sign(mean[:, 0]), np.empty_like(one.state), workers)
    return one


def _find_axes(
    one: _Lattice, sense: NDArray[np.float32], state: NDArray[np.float32], workers: int | None
) -> Stage[None]:
    def look(start: int, stop: int) -> None:
        about = (one.tree.xyz, start, stop, one.side, one.near, one.n_near)
        axes.find_axes(*about, one.bonds, one.bond_nm, sense, one.axial, one.turn, state)

    yield from one.blocks(look, workers)


def _local(one: _Lattice, out: NDArray[np.float32], workers: int | None) -> Stage[None]:
    """Columns of the bonds."""

    def write(start: int, stop: int) -> None:
        about = (one.tree.xyz, start, stop, one.side, one.near, one.n_near)
        bonds.write_local(*about, one.bonds, one.bond_nm, out, one.tensor)

    yield from one.blocks(write, workers)


def _spread(one: _Lattice, out: NDArray[np.float32]) -> None:
    """Columns of what bonded neighbors say."""
    there = one.bonds >= 0
    joined = np.where(there, one.bonds, 0)
    for column, source in ((_MISSING + 1, _MISSING), (_MISSING + 2, _ORDER)):
        values = np.nan_to_num(out[:, source])
        for _round in range(2):
            total = values + np.where(there, values[joined], 0).sum(axis=1)
            values = total / (1 + there.sum(axis=1))
        out[:, column] = values
    out[:, _MISSING + 3] = np.minimum(out[:, 0], np.where(there, out[joined, 0], 4).min(axis=1))


def _stack(one: _Lattice, out: NDArray[np.float32], workers: int | None) -> Stage[None]:
    own, plane = (np.full(len(one.side), np.nan, np.float32) for _ in range(2))

    def eclipse(start: int, stop: int) -> None:
        axes.write_eclipsed(start, stop, one.axial, one.turn, own)

    def smooth(start: int, stop: int) -> None:
        axes.mean_in_plane(one.tree.xyz, start, stop, one.side, one.near, one.n_near, one.bond_nm, own, plane)

    yield from one.blocks(eclipse, workers)
    yield from one.blocks(smooth, workers)
    rows = np.flatnonzero(one.axial >= 0)
    partner = plane[one.axial[rows]]
    pair = plane.copy()
    pair[rows] = np.where(np.isnan(partner), plane[rows], (plane[rows] + partner) / 2)

    def stack(start: int, stop: int) -> None:
        axes.write_stack(one.tree.xyz, start, stop, one.bonds, one.axial, pair, out)

    yield from one.blocks(stack, workers)


def _gaps(one: _Lattice, values: NDArray[np.float32], out: NDArray[np.float32], workers: int | None) -> Stage[None]:
    """Columns of empty and extra sites; those at the surface of the specimen are none."""
    xyz, step_nm = one.tree.xyz, bonds.LIKE_BONDS * one.bond_nm
    pointed = np.full((len(xyz), 6, 3), np.nan, np.float32)
    crowded = (values[:, 1] + values[:, 2] >= bonds.CROWD[0]) & (values[:, 2] >= bonds.CROWD[1])

    def point(start: int, stop: int) -> None:
        about = (xyz, start, stop, one.side, one.near, one.n_near)
        axes.point_in_plane(*about, step_nm, one.angle, pointed)
        bonds.find_extra(*about, one.bond_nm, crowded, one.extra)

    yield from one.blocks(point, workers)
    deep = surface_depth(xyz) > _DEEP_NM
    found = np.isfinite(pointed[:, :, 0]) & deep[:, None]
    empty = gaps.empty_sites(pointed[found], np.repeat(one.side[:, None], 6, axis=1)[found], one.bond_nm)
    tree = cKDTree(xyz)
    values[:, _MISSING] = 0
    reach = bonds.CROWD_BONDS * one.bond_nm
    for place, side in zip(empty.place_nm, empty.side, strict=True):
        rows = np.asarray(tree.query_ball_point(place, reach), np.int64)
        values[rows[one.side[rows] != side], _MISSING] += 1
    extra = one.extra[np.isfinite(one.extra[:, 0])]
    for column, some in ((0, empty.place_nm), (1, extra)):
        out[:, column] = gaps.REACH_NM
        if len(some):
            distance, _ = cKDTree(some).query(xyz, distance_upper_bound=gaps.REACH_NM)
            out[:, column] = np.minimum(distance, gaps.REACH_NM)
    out[:, 2:4], out[:, 4:] = gaps.REACH_NM, 0.0
    gaps.write_cavities(gaps.find_cavities(empty, xyz, one.side, one.bond_nm), tree, out[:, 2:])


def _checked(xyz_nm: NDArray[np.floating], kind: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    xyz = as_points(xyz_nm)
    kinds = as_vector(kind, "kind", length=len(xyz), dtype=np.int8)
    if not np.isfinite(xyz).all(axis=1).any():
        raise EmptySelectionError(f"none of the {len(xyz)} ions has a finite position")
    return xyz, kinds


def _bond_length(four_nm: NDArray[np.float64]) -> float:
    """Median of the mean distance to the four nearest ions, nm."""
    return float(np.median(four_nm.mean(axis=1))) if len(four_nm) else 0.0


def _resolved(four_nm: NDArray[np.float64], unlike: NDArray[np.bool_]) -> float:
    bond_nm = _bond_length(four_nm)
    if bond_nm == 0:
        return 0.0
    return float(np.mean((np.abs(four_nm / bond_nm - 1) < _TOLERANCE).all(axis=1) & unlike))


def _four_nearest(tree: PointTree, kind: NDArray[np.int8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of ions in the middle of the cloud: distances to the four nearest, shape (n, 4), and whether all are unlike.

    Dopants may sit on either sublattice, so they count as unlike of everything.
    """
    low, high = np.quantile(tree.xyz, (0.25, 0.75), axis=0)
    rows = np.flatnonzero(((tree.xyz >= low) & (tree.xyz <= high)).all(axis=1))
    rows = rows[:: max(1, len(rows) // _SAMPLE)]
    distance, which = np.full((len(rows), 4), np.inf), np.zeros((len(rows), 4), np.int32)
    bonds.four_nearest(tree, rows, distance, which)
    whole = np.isfinite(distance).all(axis=1)
    mine, others = kind[tree.order[rows]], kind[tree.order[which]]
    return distance[whole], (others != mine[:, None]).all(axis=1)[whole]
