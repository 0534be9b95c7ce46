"""Which atom sits on each site of a wire with defects: solute, nothing, or something extra; and the truth about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.atoms import SUBLATTICES, Atoms
from napari_aptdefect.simulate.crystal import Sites, grains_held
from napari_aptdefect.simulate.detectability import role_of
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import (
    Dislocation,
    GrainBoundary,
    Insertion,
    Interstitial,
    SoluteCluster,
    StackingFault,
    Vacancy,
    VacancyCluster,
    Void,
    solute_share,
)
from napari_aptdefect.simulate.labels import label_places, label_points, label_reach_nm, rank
from napari_aptdefect.simulate.placement import POINTS, Placed
from napari_aptdefect.simulate.regions import Region
from napari_aptdefect.simulate.truth import NEIGHBOR_NM, DefectTruth
from napari_aptdefect.stage import Progress, Stage

_CHUNK: Final = 50_000
_SPLIT_NM: Final = 0.135  # N-N distance of the split interstitial
_ROOM_NM: Final = 0.35
_DIRECTIONS: Final = 32
_POINT_DEPTH_NM: Final = 0.3
_SNAP_NM: Final = 0.5
_TRIES: Final = 200
_WIDTH_10_90: Final = 2.563  # 10 to 90 % width of an error function in its standard deviations
_EXTRA: Final = SUBLATTICES.index("interstitial")
_SHIFT_NM: Final = gan.C_NM  # a screw dislocation moves the bilayers of a fault by up to half of this

Held = Mapping[int, frozenset[int]]
"""Grains that faults and dislocations lie in, by instance number."""


@dataclass(frozen=True, eq=False)
class Wire:
    """A wire before the measurement: its atoms, in the wire's frame, and what is true of each defect."""

    atoms: Atoms
    defects: tuple[DefectTruth, ...]


def occupy(params: GanNanowireParams, placed: Sequence[Placed], sites: Sites, rng: np.random.Generator) -> Stage[Wire]:
    """Put atoms on the sites of a wire.

    Parameters
    ----------
    params
        The wire.
    placed
        Its extended defects; single points are put on sites of the matrix here.
    sites
        All sites of the wire.
    rng
        Source of random numbers.

    Yields
    ------
    Progress over the steps.

    Raises
    ------
    ParameterError
        If there is no site for a point defect.
    """
    yield Progress(0, 4, "sort the sites by depth")
    order = np.argsort(sites.xyz_nm[:, 2], kind="stable")
    xyz = sites.xyz_nm[order]
    column = _Column(
        xyz,
        sites.sublattice[order],
        sites.channel[order],
        sites.channels_nm,
        xyz[:, 2].copy(),
        sites.grain[order],
        sites.depth_nm[order],
    )
    truths = [_truth(number, p, params) for number, p in enumerate(placed, start=1)]
    held = {
        truth.defect: grains_held(p, placed)
        for truth, p in zip(truths, placed, strict=True)
        if truth.defect_class in ("stacking_fault", "dislocation") and getattr(p.spec, "core", "") != "none"
    }
    yield Progress(1, 4, "label the atoms")
    instance = _labels(column, truths, held)
    _check_labeled(instance, truths)
    yield Progress(2, 4, "place the solute")
    element = column.sublattice.copy()
    symbols = params.elements()
    background = rng.random(len(element), np.float32) < params.solute_percent / 100
    element[background & (element == 0)] = symbols.index(params.solute)
    empty = np.zeros(len(element), bool)
    for i in sorted(range(len(placed)), key=lambda k: rank(truths[k])):
        truths[i] = _apply(placed[i].spec, truths[i], params, symbols, column, element, empty, held, rng)
    yield Progress(3, 4, "place single points")
    points, extra = _points(params, column, instance, empty, len(truths), rng)
    atoms = _joined(column, element, instance, symbols, extra)
    instance = atoms.instance
    label_points(atoms.xyz_nm, points, instance)
    keep = ~np.append(empty, np.zeros(len(extra), bool))
    defects = (*truths, *points)
    return Wire(atoms[keep], tuple(_counted(defects, atoms.element, instance, keep, symbols)))


@dataclass(frozen=True, eq=False)
class _Column:
    """Sites in order of depth, so that those near a defect are found by bisection."""

    xyz_nm: NDArray[np.float32]
    sublattice: NDArray[np.int8]
    channel: NDArray[np.int8]
    channels_nm: NDArray[np.float64]
    z_nm: NDArray[np.float32]
    grain: NDArray[np.int8]
    depth_nm: NDArray[np.float32]

    def inside(self, truth: DefectTruth, held: Held) -> NDArray[np.intp]:
        """Rows of the sites in the region of a defect, in the grains that it lies in."""
        rows = self.rows(truth.region, _SHIFT_NM if truth.defect_class == "stacking_fault" else 0.0)
        return rows[_belongs(truth, held, self.grain[rows], self.xyz_nm[rows], self.depth_nm[rows])]

    def rows(self, region: Region, reach_nm: float = 0.0) -> NDArray[np.intp]:
        """Rows of the sites in a region or near it."""
        low, high = np.searchsorted(self.z_nm, np.asarray(region.reach_nm(reach_nm), np.float32))
        start = max(int(low) - 1, 0)
        return start + region.rows_within(self.xyz_nm[start : high + 1], reach_nm)


def _belongs(
    truth: DefectTruth,
    held: Held,
    grain: NDArray[np.int8],
    xyz_nm: NDArray[np.float32],
    depth_nm: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which sites lie in a defect: of a fault those of its bilayers, also where a screw dislocation moved them."""
    if truth.defect_class == "stacking_fault":
        inside = abs(depth_nm - np.float32(truth.center_nm[2])) <= truth.region.radius_nm
    else:
        inside = truth.region.distance_nm(xyz_nm) <= 0
    if truth.defect in held:
        inside &= np.isin(grain, list(held[truth.defect]))
    return np.asarray(inside)


def _labels(column: _Column, truths: Sequence[DefectTruth], held: Held) -> NDArray[np.int32]:
    """Labels of extended defects, chunk by chunk of depth."""
    xyz = column.xyz_nm
    instance = np.zeros(len(xyz), np.int32)
    crystal = [truth for truth in truths if truth.defect in held]
    others = [truth for truth in truths if truth.defect not in held]
    for start in range(0, len(xyz), _CHUNK):
        rows = slice(start, start + _CHUNK)
        part, low, high = xyz[rows], float(xyz[start, 2]), float(xyz[rows][-1, 2])
        label = label_places(part, _near(others, low, high, 0.0))
        ranks = {truth.defect: rank(truth) for truth in truths} | {0: (-1, 0)}
        for truth in sorted(_near(crystal, low, high, _SHIFT_NM), key=rank):
            weaker = [number for number, order in ranks.items() if order < rank(truth)]
            inside = _belongs(truth, held, column.grain[rows], part, column.depth_nm[rows])
            label[inside & np.isin(label, weaker)] = truth.defect
        instance[rows] = label
    return instance


def _check_labeled(instance: NDArray[np.int32], truths: Sequence[DefectTruth]) -> None:
    """Refuse a wire in which one defect hides another: its truth would name a defect that nothing can find."""
    found = np.bincount(instance, minlength=len(truths) + 1)
    for truth in truths:
        if not found[truth.defect]:
            place = tuple(round(v, 2) for v in truth.center_nm)
            raise ParameterError(
                f"defect {truth.defect} ({truth.kind} at {place}) labels no atom: others cover it, or it lies outside "
                "the wire; move it or leave one of them out"
            )


def _near(truths: Sequence[DefectTruth], low: float, high: float, more_nm: float) -> list[DefectTruth]:
    """Defects whose labels may reach depths from low to high."""
    near = []
    for truth in truths:
        bottom, top = truth.region.reach_nm(label_reach_nm(truth) + more_nm)
        if bottom <= high and top >= low:
            near.append(truth)
    return near


def _truth(number: int, placed: Placed, params: GanNanowireParams) -> DefectTruth:
    """Truth about an extended defect, before its sites are counted."""
    spec, decorated = placed.spec, True
    solute = getattr(spec, "solute", "")
    missing = 0
    if isinstance(spec, SoluteCluster):
        name, kind = "solute_cluster", f"{solute}-rich cluster"
    elif isinstance(spec, Void):
        name, kind = "void", "void"
    elif isinstance(spec, VacancyCluster):
        name, kind, missing = "vacancy", f"cluster of {spec.n_vacancies} vacancies", spec.n_vacancies
    elif isinstance(spec, StackingFault):
        name, kind, decorated = "stacking_fault", f"{spec.fault} fault", spec.excess_per_nm2 > 0
    elif isinstance(spec, Dislocation):
        kind = "solute line" if spec.core == "none" else f"{spec.core} dislocation"
        name, decorated = "dislocation", spec.excess_per_nm > 0
    elif isinstance(spec, Insertion):
        name, kind = "matrix", f"{spec.solute}GaN insertion"
    else:
        turned = isinstance(spec, GrainBoundary)
        name, kind = "grain_boundary", "grain boundary" if turned else "inversion domain boundary"
        decorated = spec.excess_per_nm2 > 0
    return DefectTruth(
        number,
        name,
        kind,
        role_of(name, params.level, decorated=decorated, is_point=False),
        placed.region,
        solute=solute if decorated else "",
        n_missing=missing,
    )


def _apply(
    spec: Any,
    truth: DefectTruth,
    params: GanNanowireParams,
    symbols: tuple[str, ...],
    column: _Column,
    element: NDArray[np.int8],
    empty: NDArray[np.bool_],
    held: Held,
    rng: np.random.Generator,
) -> DefectTruth:
    """Put a defect's solute on Ga sites, or empty its sites; in place. Returns its truth with the counts of sites."""
    inside = column.inside(truth, held)
    volume = len(inside) / gan.ATOMS_PER_NM3
    n_missing, n_excess = truth.n_missing, 0.0
    if isinstance(spec, Void):
        empty[inside] = True
        n_missing = len(inside)
    elif isinstance(spec, VacancyCluster):
        empty[_nearest(column, truth.region, spec)] = True
    elif truth.solute:
        tail = getattr(spec, "interface_nm", 0.0)
        rows = column.rows(truth.region, tail) if tail else inside
        rows = rows[column.sublattice[rows] == 0]
        base = params.solute_percent / 100 if truth.solute == params.solute else 0.0
        chance = _excess_share(spec, truth.region, column.xyz_nm[rows], base)
        # Of the sites that hold no solute of the background yet, so that the excess comes out as asked for.
        hit = rng.random(len(rows), np.float32) < chance / max(1 - base, 1e-9)
        element[rows[hit]] = symbols.index(truth.solute)
        n_excess = float(chance.sum())
    extent = 0.0
    if truth.region.shape == "tube":
        extent = volume / (np.pi * truth.region.radius_nm**2)
    elif truth.region.shape == "slab":
        extent = volume / (2 * truth.region.radius_nm)
    return replace(
        truth, n_sites=len(inside), n_missing=n_missing, n_excess=n_excess, volume_nm3=volume, extent=float(extent)
    )


def _nearest(column: _Column, region: Region, spec: VacancyCluster) -> NDArray[np.intp]:
    """Rows of the sites that a vacancy cluster empties: the nearest ones of its sublattice."""
    rows = column.rows(region, 2 * gan.A_NM)
    if spec.sublattice == "Ga":
        rows = rows[column.sublattice[rows] == 0]
    if len(rows) < spec.n_vacancies:
        raise ParameterError(f"vacancy_cluster: {spec.n_vacancies} sites asked for, {len(rows)} are near its center")
    nearest = np.argsort(region.distance_nm(column.xyz_nm[rows]), kind="stable")
    return np.asarray(rows[nearest[: spec.n_vacancies]])


def _excess_share(spec: Any, region: Region, xyz_nm: NDArray[np.float32], base: float) -> NDArray[np.float64]:
    """Share of Ga sites that the excess of a defect takes at each place; shape (N,)."""
    distance = region.distance_nm(xyz_nm).astype(float)
    if isinstance(spec, SoluteCluster):
        level = max(spec.percent / 100 - base, 0.0)
        if spec.interface_nm == 0:
            return np.where(distance <= 0, level, 0.0)
        from scipy.special import ndtr

        return np.asarray(level * ndtr(-distance * _WIDTH_10_90 / spec.interface_nm))
    if isinstance(spec, Insertion):
        return np.full(len(distance), max(spec.percent / 100 - base, 0.0))
    share = solute_share(spec)
    if getattr(spec, "profile", "") == "gaussian":
        squared = ((distance + spec.radius_nm) / (spec.radius_nm / 2)) ** 2
        return np.asarray(share * 2.0 / (1 - np.exp(-2.0)) * np.exp(-squared / 2))
    return np.full(len(distance), share)


@dataclass(frozen=True)
class _Extra:
    """An atom between the sites."""

    xyz_nm: NDArray[np.float32]


def _points(
    params: GanNanowireParams,
    column: _Column,
    instance: NDArray[np.int32],
    empty: NDArray[np.bool_],
    n_before: int,
    rng: np.random.Generator,
) -> tuple[list[DefectTruth], list[_Extra]]:
    """Single vacancies and interstitials on sites of the matrix, apart from each other."""
    specs = [spec for spec in params.specs() if isinstance(spec, POINTS)]
    truths: list[DefectTruth] = []
    extra: list[_Extra] = []
    for spec, row in zip(specs, _point_rows(params, specs, column, instance, empty, rng), strict=True):
        place = column.xyz_nm[row].copy()
        if isinstance(spec, Vacancy):
            empty[row] = True
            name, kind = "vacancy", f"{spec.sublattice} vacancy"
        else:
            name, kind = "interstitial", f"N {spec.site} interstitial"
            if spec.site == "octahedral":
                place = (place + column.channels_nm[column.channel[row]]).astype(np.float32)
                extra.append(_Extra(place))
            else:  # two N atoms share the site
                half = _split(column, row, rng).astype(np.float32) / 2
                column.xyz_nm[row] = place - half
                extra.append(_Extra(place + half))
        x, y, z = (float(v) for v in place)
        role = role_of(name, params.level, decorated=False, is_point=True)
        number = n_before + len(truths) + 1
        truths.append(
            DefectTruth(
                number, name, kind, role, Region("point", (x, y, z)), n_sites=1, n_missing=int(name == "vacancy")
            )
        )
    return truths, extra


def _split(column: _Column, row: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """From one N atom of the split interstitial to the other: of some random directions that with the most room."""
    x, y, z = (float(v) for v in column.xyz_nm[row])
    near = column.rows(Region("point", (x, y, z)), _ROOM_NM)
    near = near[near != row]
    ways = rng.normal(size=(_DIRECTIONS, 3))
    ways *= _SPLIT_NM / np.linalg.norm(ways, axis=1, keepdims=True)
    halves = np.concatenate([ways, -ways]) / 2
    gaps = np.linalg.norm(column.xyz_nm[near] - (column.xyz_nm[row] + halves)[:, None], axis=2).min(axis=1, initial=1.0)
    gaps = gaps.reshape(2, -1).min(axis=0)
    return np.asarray(ways[np.argmax(gaps)])


def _point_rows(
    params: GanNanowireParams,
    specs: Sequence[Vacancy | Interstitial],
    column: _Column,
    instance: NDArray[np.int32],
    empty: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[int]:
    """Row of the site that each point defect sits on."""
    rows: dict[int, int] = {}
    for i, spec in enumerate(specs):
        if spec.center_nm is not None:
            rows[i] = _listed_row(spec, column, empty, rows.values())
    groups: dict[tuple[bool, ...], list[int]] = {}
    for i, spec in enumerate(specs):
        if i not in rows:
            groups.setdefault(_site_kind(spec), []).append(i)
    taken = [column.xyz_nm[row] for row in rows.values()]
    for (on_ga, in_channel), members in groups.items():
        suitable = (column.sublattice == 0) == on_ga
        suitable &= (instance == 0) & ~empty
        if in_channel:
            suitable &= column.channel >= 0
        found = _apart(np.flatnonzero(suitable), len(members), params, column, taken, rng)
        rows.update(zip(members, found, strict=True))
    return [rows[i] for i in range(len(specs))]


def _site_kind(spec: Vacancy | Interstitial) -> tuple[bool, bool]:
    """Whether a point defect sits on a Ga site, and whether that needs a channel beside it."""
    if isinstance(spec, Vacancy):
        return spec.sublattice == "Ga", False
    return spec.site == "octahedral", spec.site == "octahedral"


def _listed_row(spec: Vacancy | Interstitial, column: _Column, empty: NDArray[np.bool_], taken: Iterable[int]) -> int:
    on_ga, in_channel = _site_kind(spec)
    x, y, z = spec.center_nm or (0.0, 0.0, 0.0)
    region = Region("point", (x, y, z))
    rows = column.rows(region, _SNAP_NM)
    rows = rows[((column.sublattice[rows] == 0) == on_ga) & ~empty[rows]]
    if in_channel:
        rows = rows[column.channel[rows] >= 0]
    if len(rows) == 0:
        raise ParameterError(
            f"{spec.kind}: no {'Ga' if on_ga else 'N'} site within {_SNAP_NM:g} nm of center_nm = {(x, y, z)}; "
            "is it inside the wire, and outside of every void?"
        )
    nearest = int(rows[np.argmin(region.distance_nm(column.xyz_nm[rows]))])
    if nearest in set(taken):
        raise ParameterError(f"{spec.kind}: two listed point defects share the site nearest to {(x, y, z)}; move one")
    return nearest


def _apart(
    suitable: NDArray[np.intp],
    wanted: int,
    params: GanNanowireParams,
    column: _Column,
    taken: list[NDArray[np.float32]],
    rng: np.random.Generator,
) -> list[int]:
    """Draw rows below the surface whose labels don't touch; `taken` grows by their places."""
    from scipy.spatial import cKDTree

    found: list[int] = []
    for _ in range(_TRIES):
        if len(found) == wanted:
            return found
        if len(suitable) == 0:
            break
        rows = rng.choice(suitable, size=min(len(suitable), 2 * (wanted - len(found)) + 16), replace=False)
        depth = gan.depth_below_facets_nm(column.xyz_nm[rows], params.radius_nm, params.length_nm, params.facets)
        rows = rows[depth >= _POINT_DEPTH_NM]
        if taken and len(rows):
            rows = rows[cKDTree(taken).query(column.xyz_nm[rows])[0] > 2 * NEIGHBOR_NM]
        pairs = cKDTree(column.xyz_nm[rows]).query_pairs(2 * NEIGHBOR_NM, output_type="ndarray") if len(rows) else []
        free = np.ones(len(rows), bool)
        for _first, second in pairs:
            free[second] = False
        rows = rows[free][: wanted - len(found)]
        found += [int(row) for row in rows]
        taken += list(column.xyz_nm[rows])
    raise ParameterError(
        f"no place left for {wanted - len(found)} of {wanted} point defects; make the wire larger, or ask for fewer"
    )


def _joined(
    column: _Column,
    element: NDArray[np.int8],
    instance: NDArray[np.int32],
    symbols: tuple[str, ...],
    extra: Sequence[_Extra],
) -> Atoms:
    """Atoms on sites, then the extra N atoms."""
    if not extra:
        return Atoms(column.xyz_nm, element, column.sublattice, instance, symbols)
    n = len(extra)
    return Atoms(
        np.concatenate([column.xyz_nm, np.array([one.xyz_nm for one in extra])]),
        np.append(element, np.full(n, symbols.index("N"), np.int8)),
        np.append(column.sublattice, np.full(n, _EXTRA, np.int8)),
        np.append(instance, np.zeros(n, np.int32)),
        symbols,
    )


def _counted(
    defects: Sequence[DefectTruth],
    element: NDArray[np.int8],
    instance: NDArray[np.int32],
    keep: NDArray[np.bool_],
    symbols: tuple[str, ...],
) -> list[DefectTruth]:
    """Fill in how many atoms of its solute carry each defect's label."""
    by_symbol = {
        symbol: np.bincount(instance[keep & (element == symbols.index(symbol))], minlength=len(defects) + 1)
        for symbol in {defect.solute for defect in defects if defect.solute}
    }
    return [
        replace(defect, n_solute=int(by_symbol[defect.solute][defect.defect])) if defect.solute else defect
        for defect in defects
    ]
