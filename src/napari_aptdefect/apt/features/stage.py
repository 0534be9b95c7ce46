"""The stage: all features of all ions in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.features import bonds, cells, composition, order, regions, shapes, space
from napari_aptdefect.apt.features.balls import BallSums, Marks, count_in_balls, interpolate, sum_in_balls
from napari_aptdefect.apt.features.params import FeatureContext, FeatureSetParams
from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.data.feature_table import FeatureColumn, FeatureTable
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.data.tree import PointTree, build_tree, run_blocks, tree_spacing
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Progress, Stage, scaled

_BLOCK: Final = 4096
_DEGREE_SPACINGS: Final = 1.3
_LEAST_SHARE: Final = 0.1  # of a ball inside the specimen; below it there is no density to speak of


def describe_ions(
    xyz_nm: ArrayLike,
    species_idx: ArrayLike,
    ions: Sequence[Ion],
    graph: NeighborGraph,
    context: FeatureContext | None = None,
    params: FeatureSetParams | None = None,
    *,
    workers: int | None = None,
) -> Stage[FeatureTable]:
    """Compute the structural, compositional and spatial features of all ions.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm. Ions at non-finite positions have missing values only, and nobody counts them.
    species_idx
        Index into `ions`, shape (N,); -1 is unranged: such ions count for the density, not for the composition.
    ions
        What the species are made of, such as ``RangeTable.ions``.
    graph
        Nearest neighbors of each ion, at least as many as the shell has.
    context
        What else is known: cells, charge states, voids, boundaries, regions.
    params
        The parameters; the defaults when None.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` of 100; closing the generator cancels what is left.

    Returns
    -------
    The table; every column says what it holds and how it was computed.

    Raises
    ------
    ShapeError
        If the inputs do not describe the same ions.
    ParameterError
        If a species is none of the ions, or the graph has fewer neighbors than the shell.
    EmptySelectionError
        If no position is finite.
    """
    params, context = params or FeatureSetParams(), context or FeatureContext()
    xyz = as_points(xyz_nm)
    species = as_vector(species_idx, "species_idx", length=len(xyz), dtype=np.int64)
    _check(xyz, graph, context, params)
    yield Progress(0, 100, "sort the ions")
    tree = build_tree(xyz)
    if len(tree.order) == 0:
        raise EmptySelectionError(f"none of the {len(xyz)} ions has a finite position")
    species = np.where(finite_rows(xyz), species, -1)
    chem = composition.chemistry(ions, species, params)
    plan = _Plan.of(tree, graph, chem, context, params)
    values = np.full((len(xyz), len(plan.columns)), np.nan, np.float32)
    yield from scaled(_write_neighbors(tree, xyz, graph, context, params, plan, values, workers), 2, 45)
    yield Progress(45, 100, "region of the specimen")
    kind = chem.kind[tree.order]
    region = space.find_region(tree.xyz, chem, kind, plan.element, context, params)
    marks = Marks(
        kind,
        composition.flags_of(chem, context.charge, context.multi_hit)[tree.order],
        chem.n_kinds,
        composition.N_FLAGS,
    )
    masks = (region.inside, region.low, _void_mask(region.frame, context.voids))
    grids: list[BallSums] = []
    for i, radius in enumerate(plan.wide):
        stage = sum_in_balls(tree, marks, radius, masks, region.frame, workers=workers)
        step = 10 / len(plan.wide)
        grids.append((yield from scaled(stage, 50 + i * step, 50 + (i + 1) * step)))
    axis = space.Axis.of(tree.xyz, params)
    drawn = tuple(regions.Prepared.of(name, one) for name, one in context.regions.items())
    surroundings = _Surroundings(tree, marks, chem, region, tuple(grids), context, params, plan, values, axis, drawn)
    blocks = run_blocks(
        surroundings.write, len(tree.order), block=_BLOCK, message="density, composition, place", workers=workers
    )
    yield from scaled(blocks, 60, 90 if params.shapes else 100)
    if params.shapes:
        yield from scaled(_write_shapes(tree, ions, species, chem, axis, plan, values, workers), 90, 100)
    return FeatureTable(values, plan.columns)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which columns there are, and where each part of them begins."""

    radii: tuple[float, ...]
    cutoff_nm: float
    element: str | None
    parts: tuple[tuple[FeatureColumn, ...], ...]
    exact: tuple[float, ...]
    wide: tuple[float, ...]

    @classmethod
    def of(
        cls,
        tree: PointTree,
        graph: NeighborGraph,
        chem: composition.Chemistry,
        context: FeatureContext,
        params: FeatureSetParams,
    ) -> _Plan:
        radii = tuple(sorted({*params.radii_nm, params.context_nm}))
        cutoff = params.cutoff_nm or _DEGREE_SPACINGS * _spacing(tree, graph, params.n_shell)
        element = params.ratio.split("/")[0] if params.ratio else next(iter(chem.elements), None)
        exact = tuple(r for r in radii if r <= params.exact_nm)
        parts = (
            bonds.columns(params.n_bonds, params.n_shell),
            order.COLUMNS,
            cells.COLUMNS,
            _surrounding_columns(cutoff, radii, radii[len(exact) :]),
            composition.columns(chem, radii, params),
            space.columns(element, context),
            shapes.columns(chem.dopants) if params.shapes else (),
        )
        return cls(radii, cutoff, element, parts, exact, radii[len(exact) :])

    @property
    def columns(self) -> tuple[FeatureColumn, ...]:
        return tuple(column for part in self.parts for column in part)

    def part(self, values: NDArray[np.float32], which: int) -> NDArray[np.float32]:
        first = sum(len(part) for part in self.parts[:which])
        return values[:, first : first + len(self.parts[which])]


def _surrounding_columns(cutoff: float, radii: tuple[float, ...], wide: tuple[float, ...]) -> tuple[FeatureColumn, ...]:
    found = [("degree", "ions", f"ions within the bond cutoff, {cutoff:.4g} nm", "number of j with d_ij <= cutoff")]
    found += [
        (
            f"density_r{r:g}_per_nm3",
            "1/nm^3",
            f"ions per volume within {r:g} nm, without the ion; missing where hardly any of the ball is inside",
            "n / (4/3 pi r^3 s), s > 0.1 the share of the ball inside the specimen: "
            + ("from its grid" if r in wide else "(2 + 3 t - t^3) / 4 with t = depth / r, a plane surface"),
        )
        for r in radii
    ]
    found += [
        (
            f"low_density_share_r{r:g}",
            "",
            f"share of the specimen within {r:g} nm where the density, over half a nm, is less than half of its median",
            "voxels of low density deeper than 0.75 nm / voxels of the specimen, in the ball",
        )
        for r in wide
    ]
    found += [
        (f"void_share_r{r:g}", "", f"share of the ball of {r:g} nm that lies in a void; missing without voids", "V / V")
        for r in wide
    ]
    found.append(
        (
            "void_distance_nm",
            "nm",
            "distance to the surface of the nearest void, negative inside; missing where there is none",
            "min over the voids of |r - c| - R",
        )
    )
    return tuple(FeatureColumn(name, "structural", unit, text, equation) for name, unit, text, equation in found)


def _write_neighbors(
    tree: PointTree,
    xyz: NDArray[np.float32],
    graph: NeighborGraph,
    context: FeatureContext,
    params: FeatureSetParams,
    plan: _Plan,
    values: NDArray[np.float32],
    workers: int | None,
) -> Stage[None]:
    """What the graph and the cells tell."""
    indptr, indices, lengths = graph.indptr, graph.indices, graph.lengths_nm
    harmonics = np.full((len(xyz), order.N_HARMONICS), np.nan, np.complex64)
    norm, n_shell = order.norms(), params.n_shell
    triples = (*order.triples(4), *order.triples(6))
    of_bonds, of_order, of_cells = (plan.part(values, which) for which in range(3))
    volume = None if context.cells is None else cells.usable_volume(context.cells)

    def first(start: int, stop: int) -> None:
        bonds.write_bonds(tree.order, start, stop, xyz, indptr, indices, lengths, params.n_bonds, n_shell, of_bonds)
        order.mean_harmonics(tree.order, start, stop, xyz, indptr, indices, n_shell, norm, harmonics)
        if context.cells is not None and volume is not None:
            some = tree.order[start:stop]
            cells.write_cells(context.cells, volume, context.face_orders, some, indptr, indices, n_shell, of_cells)

    def second(start: int, stop: int) -> None:
        order.write_order(tree.order, start, stop, indptr, indices, n_shell, harmonics, *triples, of_order)

    n = len(tree.order)
    yield from scaled(run_blocks(first, n, block=_BLOCK, message="bonds", workers=workers), 0, 70)
    yield from scaled(run_blocks(second, n, block=_BLOCK, message="order", workers=workers), 70, 100)


def _write_shapes(
    tree: PointTree,
    ions: Sequence[Ion],
    species: NDArray[np.int64],
    chem: composition.Chemistry,
    axis: space.Axis,
    plan: _Plan,
    values: NDArray[np.float32],
    workers: int | None,
) -> Stage[None]:
    """Evidence for shapes, in the frame of the specimen axis."""
    held = [{symbol for symbol, _ in ion.elements} for ion in ions]
    first = [next((i for i, symbol in enumerate(chem.dopants) if symbol in one), -1) for one in held]
    ranged = np.array([ion.n_atoms > 0 for ion in ions] + [False], np.bool_)
    mine = species[tree.order]
    local = axis.local(tree.xyz)
    found = np.full((len(tree.order), len(plan.parts[6])), np.nan, np.float32)
    yield from shapes.describe_shapes(
        local, np.array([*first, -1])[mine], ranged[mine], len(chem.dopants), found, workers
    )
    plan.part(values, 6)[tree.order] = found


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """Writes what the balls around the ions and the grid of the specimen tell, block by block."""

    tree: PointTree
    marks: Marks
    chem: composition.Chemistry
    region: space.Region
    grids: tuple[BallSums, ...]
    context: FeatureContext
    params: FeatureSetParams
    plan: _Plan
    values: NDArray[np.float32]
    axis: space.Axis
    drawn: tuple[regions.Prepared, ...]

    def write(self, start: int, stop: int) -> None:
        xyz, ions = self.tree.xyz[start:stop], self.tree.order[start:stop]
        place = np.empty((stop - start, self.region.fields.shape[3]))
        interpolate(self.region.fields, self.region.frame.origin_nm, self.region.frame.voxel_nm, xyz, place)
        degree, counts = self._exact(start, stop)
        densities = [
            _density(c[:, : self.chem.n_kinds].sum(axis=1), r, space.ball_share_inside(place[:, 0], r))
            for r, c in zip(self.plan.exact, counts, strict=True)
        ]
        low, void = [], []
        for grid in self.grids:
            sums = grid.at(xyz)
            own = self._own(start, stop)
            n_channels = self.marks.n_channels
            around = np.maximum(sums[:, :n_channels] - own, 0) * grid.scale
            inside = sums[:, n_channels]
            counts.append(around)
            n_ions = around[:, : self.chem.n_kinds].sum(axis=1)
            densities.append(_density(n_ions, grid.radius_nm, inside / grid.n_voxels))
            with np.errstate(divide="ignore", invalid="ignore"):
                low.append(np.where(inside > 0, sums[:, n_channels + 1] / inside, np.nan))
            missing = np.full(stop - start, np.nan)
            void.append(missing if self.context.voids is None else sums[:, n_channels + 2] / grid.n_voxels)
        self._put(3, ions, np.stack([degree, *densities, *low, *void, self._to_void(xyz)], axis=1))
        chemical = composition.describe_composition(
            self.chem,
            counts,
            self.plan.radii.index(self.params.context_nm),
            self.params,
            has_charge=self.context.charge is not None,
            has_multi=self.context.multi_hit is not None,
        )
        self._put(4, ions, chemical)
        known = self.plan.element is not None
        self._put(5, ions, space.describe_space(xyz, ions, place, self.axis, known, self.context, self.drawn))

    def _put(self, which: int, ions: NDArray[np.int32], found: NDArray[np.floating]) -> None:
        found[~np.isfinite(found)] = np.nan
        self.plan.part(self.values, which)[ions] = found

    def _exact(self, start: int, stop: int) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Ions within the cutoff, and counts in the small balls."""
        radii = sorted({self.plan.cutoff_nm, *self.plan.exact})
        marks = self.marks
        out = np.empty((stop - start, len(radii), marks.n_channels), np.int32)
        radius2 = np.square(np.array(radii))
        count_in_balls(self.tree, start, stop, marks.kind, marks.flags, marks.n_kinds, marks.n_flags, radius2, out)
        degree = out[:, radii.index(self.plan.cutoff_nm), : marks.n_kinds].sum(axis=1).astype(np.float64)
        return degree, [out[:, radii.index(r)].astype(np.float64) for r in self.plan.exact]

    def _own(self, start: int, stop: int) -> NDArray[np.float64]:
        """What each ion adds to the counts around itself."""
        own = np.zeros((stop - start, self.marks.n_channels))
        own[np.arange(stop - start), self.marks.kind[start:stop]] = 1
        for f in range(self.marks.n_flags):
            own[:, self.marks.n_kinds + f] = (self.marks.flags[start:stop] >> f) & 1
        return own

    def _to_void(self, xyz: NDArray[np.float32]) -> NDArray[np.float64]:
        out = np.full(len(xyz), np.nan)
        if self.context.voids is not None and len(self.context.voids):
            _void_distance(xyz, np.asarray(self.context.voids, np.float64), out)
        return out


def _density(n: NDArray[np.float64], radius: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(share > _LEAST_SHARE, n / (4 / 3 * np.pi * radius**3 * share), np.nan)


def _spacing(tree: PointTree, graph: NeighborGraph, k: int) -> float:
    """Edge of a cube per ion at the median density up to the k-th neighbor; independent of the order of the ions.

    Of the ions on the sphere through the k-th neighbor half count, so that a full shell of a crystal does not look
    denser than the crystal is.
    """
    first = graph.indptr[:-1][graph.degree >= k]
    if len(first) == 0:
        return tree_spacing(tree) or 1.0
    density = np.empty(len(first))
    for start in range(0, len(first), 1 << 16):
        some = graph.lengths_nm[first[start : start + (1 << 16), None] + np.arange(k)]
        farthest = some[:, -1].astype(np.float64)
        on_sphere = (some > 0.99 * some[:, -1:]).sum(axis=1)
        with np.errstate(divide="ignore"):
            density[start : start + len(some)] = (k - on_sphere / 2) / (4 / 3 * np.pi * farthest**3)
    typical = float(np.median(density))
    return typical ** (-1 / 3) if np.isfinite(typical) else tree_spacing(tree) or 1.0


def _void_mask(frame: Frame, voids: NDArray[np.floating] | None) -> NDArray[np.bool_]:
    """Voxels whose center lies in a void."""
    out = np.zeros(frame.shape, np.bool_)
    for *center, radius in () if voids is None else np.asarray(voids, np.float64):
        low = np.floor((np.array(center) - radius - frame.origin_nm) / frame.voxel_nm).astype(int)
        high = np.ceil((np.array(center) + radius - frame.origin_nm) / frame.voxel_nm).astype(int) + 1
        part = tuple(slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(low, high, frame.shape, strict=True))
        axes = [frame.origin_nm[i] + (np.arange(p.start, p.stop) + 0.5) * frame.voxel_nm for i, p in enumerate(part)]
        x, y, z = (axis - c for axis, c in zip(axes, center, strict=True))
        out[part] |= x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2 <= radius**2
    return out


@njit(cache=True, nogil=True)
def _void_distance(xyz: NDArray[np.float32], voids: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(len(xyz)):
        best = np.inf
        for v in range(len(voids)):
            x, y, z = xyz[i, 0] - voids[v, 0], xyz[i, 1] - voids[v, 1], xyz[i, 2] - voids[v, 2]
            best = min(best, np.sqrt(x * x + y * y + z * z) - voids[v, 3])
        out[i] = best


def _check(xyz: NDArray[np.float32], graph: NeighborGraph, context: FeatureContext, params: FeatureSetParams) -> None:
    n = len(xyz)
    lengths = {"graph": graph.n_nodes}
    for name in ("cells", "face_orders", "charge", "multi_hit"):
        given = getattr(context, name)
        if given is not None:
            lengths[name] = len(given)
    lengths |= {f"boundary {name}": len(one) for name, one in context.boundaries.items()}
    wrong = {name: length for name, length in lengths.items() if length != n}
    if wrong:
        raise ShapeError(f"{n} ions, but {', '.join(f'{name} of {length}' for name, length in wrong.items())}")
    most = int(graph.degree.max(initial=0))
    needed = max(params.n_shell, params.n_bonds)
    if most < min(needed, n - 1):
        raise ParameterError(f"the graph has at most {most} neighbors per ion; build it with k of {needed} or more")
    voids = context.voids
    if voids is not None and (np.ndim(voids) != 2 or np.shape(voids)[1] != 4):
        raise ShapeError(f"voids must have shape (V, 4): center and radius, got {np.shape(voids)}")
    if context.face_orders is not None and np.shape(context.face_orders) != (n, 4):
        raise ShapeError(f"face_orders must have shape ({n}, 4), got {np.shape(context.face_orders)}")
