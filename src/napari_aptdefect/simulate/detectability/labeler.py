"""A labeler that knows the geometry of every defect, and sees measured positions and species only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.simulate.detectability.conditions import SITES_PER_NM3, Conditions, element_of
from napari_aptdefect.simulate.gan_specs import VacancyCluster
from napari_aptdefect.simulate.labels import label_reach_nm, rank
from napari_aptdefect.simulate.truth import DefectTruth

_REACH: Final = 3.0  # standard deviations
_DRAWS: Final = 64
_NOISE: Final = 65_537  # prime, so that the draws of neighboring ions don't repeat
_CELL_NM: Final = 1.0
_CHUNK: Final = 1 << 18
_SHAPES: Final = {"point": 0, "sphere": 1, "tube": 2, "slab": 3}


def known_geometry(
    blurred_nm: NDArray[np.floating],
    species: NDArray[np.integer],
    defects: Sequence[DefectTruth],
    conditions: Conditions,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Label ions as well as the blur allows: the known-geometry bound.

    Parameters
    ----------
    blurred_nm
        Measured positions, shape (N, 3), nm, in the frame of the regions.
    species
        Shape (N,), codes of `Conditions.species`.
    defects
        All defects of the specimen.
    conditions
        Blur and composition.
    rng
        Source of the draws.

    Returns
    -------
    Shape (N,): instance number that each ion is given, 0 for the matrix.

    Raises
    ------
    ShapeError
        If the arrays differ in length.

    Notes
    -----
    The true place of an ion is its measured one minus a draw of the blur. Of 64 draws, each votes for the instance
    whose label its place carries (the convention of `labels.label_places`), with the density that the ion's species has
    at that place relative to the matrix: nothing inside a void, more of the solute inside a cluster. An ion gets the
    instance with the most votes if their share p is above a threshold of that instance: the one that gives the best
    expected overlap with the truth, which is below one half for small defects. (The more probable of defect and matrix
    would leave a ball of 1 nm without any ion at a blur of 1 nm.) Single points need more than half. Events of species
    without a density in the conditions count as matrix. The lattice is unknown to the labeler.
    """
    if blurred_nm.ndim != 2 or blurred_nm.shape[1:] != (3,) or len(blurred_nm) != len(species):
        raise ShapeError(
            f"positions of shape {blurred_nm.shape} and species of shape {species.shape}; give (N, 3) and (N,)"
        )
    if not defects or not len(blurred_nm):
        return np.zeros(len(blurred_nm), np.int32)
    ordered = sorted(defects, key=rank)[::-1]  # of equals the later one wins, as in label_places
    table, weights = _table(ordered), _weights(ordered, conditions)
    lateral, depth = conditions.level_sigma_nm
    noise = rng.normal(size=(_NOISE, 3)) * (lateral, lateral, depth)
    reach = _REACH * max(lateral, depth)

    def vote(start: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
        rows = slice(start, start + _CHUNK)
        part = np.ascontiguousarray(blurred_nm[rows], np.float64)
        low = part.min(axis=0)
        shape = ((part.max(axis=0) - low) // _CELL_NM).astype(np.int64) + 1
        first, near = _candidates(ordered, low, shape, reach)
        codes = np.ascontiguousarray(species[rows], np.int64)
        best, chance, mass = _vote(part, codes, weights, table, first, near, low, shape, noise, reach, start)
        return best, chance, mass

    with ThreadPoolExecutor() as pool:  # the compiled loop releases the interpreter
        parts = list(pool.map(vote, range(0, len(blurred_nm), _CHUNK)))
    best = np.concatenate([part[0] for part in parts])
    chance = np.concatenate([part[1] for part in parts])
    mass = np.sum([part[2] for part in parts], axis=0)
    thresholds = _thresholds(best, chance, mass, table[:, 0] == _SHAPES["point"])
    numbers = np.array([0, *(one.defect for one in ordered)], np.int32)  # row -1 means none
    return np.where(chance > thresholds[best], numbers[best + 1], np.int32(0))


def _thresholds(
    best: NDArray[np.int32], chance: NDArray[np.float32], mass: NDArray[np.float64], is_point: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Chance above which the label of each defect raises its expected overlap; shape (D + 1,), the last for none.

    With ions in order of their chance p, the expected intersection over union of the first k is about
    Σ_k p / (Σ_all p + Σ_k (1 - p)); it is largest where p falls below J/(1 + J), J the overlap itself.
    """
    thresholds = np.append(np.full(len(mass), 0.5), 1.0)
    rows = np.flatnonzero(best >= 0)
    rows = rows[np.lexsort((-chance[rows], best[rows]))]
    ends = np.searchsorted(best[rows], np.arange(len(mass) + 1))
    for row in np.flatnonzero(~is_point & (np.diff(ends) > 0)):
        p = chance[rows[ends[row] : ends[row + 1]]].astype(float)
        within = np.cumsum(p)
        overlap = float((within / (mass[row] + np.cumsum(1 - p))).max())
        thresholds[row] = min(overlap / (1 + overlap), 0.5)
    return thresholds


def _table(ordered: Sequence[DefectTruth]) -> NDArray[np.float64]:
    """Shape, center, direction, radius and reach of the label of each defect; shape (D, 9)."""
    return np.array(
        [
            (_SHAPES[d.region.shape], *d.region.center_nm, *d.region.direction, d.region.radius_nm, label_reach_nm(d))
            for d in ordered
        ],
        np.float64,
    )


def _weights(ordered: Sequence[DefectTruth], conditions: Conditions) -> NDArray[np.float64]:
    """Density of each species in the region of each defect, and last in the matrix; shape (S + 1, D + 1), nm⁻³.

    The last row belongs to codes that tell nothing: it gives the matrix everything.
    """
    found = np.zeros((len(conditions.species) + 1, len(ordered) + 1))
    found[-1, -1] = 1.0
    for row, name in enumerate(conditions.species):
        element = element_of(name)
        density = conditions.detected_per_nm3.get(name)
        if density is None:
            found[row, -1] = 1.0
            continue
        base = density + conditions.background_per_nm3
        found[row] = base
        for column, one in enumerate(ordered):
            found[row, column] = max(density + _added(one, element, density, conditions), 0.0)
            found[row, column] += conditions.background_per_nm3
    return found


def _added(defect: DefectTruth, element: str, density: float, conditions: Conditions) -> float:
    """Change of the density of detected ions of an element inside a defect's region, nm⁻³."""
    if defect.region.shape == "point" or not defect.n_sites:
        return 0.0
    if defect.n_missing or defect.defect_class == "void":
        spec = conditions.specs.get(defect.defect)
        if isinstance(spec, VacancyCluster) and spec.sublattice == "Ga":
            return 0.0 if element == "N" else -density * min(2 * defect.n_missing / defect.n_sites, 1.0)
        return -density * min(defect.n_missing / defect.n_sites, 1.0)
    if not defect.solute or element not in (defect.solute, "Ga"):
        return 0.0
    share = min(2 * defect.n_excess / defect.n_sites, 1.0)
    change = share * SITES_PER_NM3 * conditions.efficiency_of(element)
    return change if element == defect.solute else -change


def _candidates(
    ordered: Sequence[DefectTruth], low: NDArray[np.float64], shape: NDArray[np.int64], reach_nm: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Defects near each cell of a grid, those that win first: where each cell's start, and their rows."""
    half = _CELL_NM * np.sqrt(3) / 2
    cells, rows = [], []
    for row, one in enumerate(ordered):
        outer = reach_nm + label_reach_nm(one)
        start, stop = np.zeros(3, np.int64), shape.copy()
        if one.region.shape in ("point", "sphere"):
            box = one.region.radius_nm + outer
            start = np.maximum(np.floor((np.array(one.center_nm) - box - low) / _CELL_NM), 0).astype(np.int64)
            stop = np.minimum(np.floor((np.array(one.center_nm) + box - low) / _CELL_NM) + 1, shape).astype(np.int64)
        if (stop <= start).any():
            continue
        grid = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), axis=-1).reshape(-1, 3)
        near = one.region.distance_nm(low + (grid + 0.5) * _CELL_NM) <= outer + half
        grid = grid[near]
        cells.append((grid[:, 0] * shape[1] + grid[:, 1]) * shape[2] + grid[:, 2])
        rows.append(np.full(len(grid), row, np.int32))
    n_cells = int(np.prod(shape))
    if not cells:
        return np.zeros(n_cells + 1, np.int64), np.zeros(0, np.int32)
    cell, defect = np.concatenate(cells), np.concatenate(rows)
    order = np.argsort(cell, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=n_cells))]), defect[order]


@njit(cache=True, nogil=True, inline="always")
def _distance(x: float, y: float, z: float, one: NDArray[np.float64]) -> float:
    dx, dy, dz = x - one[1], y - one[2], z - one[3]
    squared = dx * dx + dy * dy + dz * dz
    if one[0] < 1.5:
        return math.sqrt(squared) - float(one[7])
    along = dx * one[4] + dy * one[5] + dz * one[6]
    if one[0] > 2.5:
        return float(abs(along)) - float(one[7])
    return math.sqrt(max(squared - along * along, 0.0)) - float(one[7])


@njit(cache=True, nogil=True)
def _winner(x: float, y: float, z: float, table: NDArray[np.float64], near: NDArray[np.int32]) -> tuple[int, bool]:
    """Place in `near` of the defect whose label a place carries, -1 for none; whether it lies in its region."""
    best, nearest = -1, np.inf
    for i in range(len(near)):
        one = table[near[i]]
        distance = _distance(x, y, z, one)
        if distance > one[8]:
            continue
        if one[0] > 0.5:  # points come last, so nothing extended is left behind them
            return i, distance <= 0
        if distance < nearest:
            best, nearest = i, distance
    return best, False


@njit(cache=True, nogil=True)
def _close(
    x: float,
    y: float,
    z: float,
    table: NDArray[np.float64],
    candidates: NDArray[np.int32],
    reach: float,
    found: NDArray[np.int32],
) -> int:
    """Fill in which candidates a measured place may belong to; returns how many there are."""
    n = 0
    for row in candidates:
        if _distance(x, y, z, table[row]) <= table[row, 8] + reach:
            found[n] = row
            n += 1
    return n


@njit(cache=True, nogil=True)
def _vote(
    places: NDArray[np.float64],
    codes: NDArray[np.int64],
    weights: NDArray[np.float64],
    table: NDArray[np.float64],
    first: NDArray[np.int64],
    candidates: NDArray[np.int32],
    low: NDArray[np.float64],
    shape: NDArray[np.int64],
    noise: NDArray[np.float64],
    reach: float,
    offset: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
    """Best defect of each place (row, -1 for none) and its chance; expected number of ions of each defect."""
    result, chance = np.full(len(places), -1, np.int32), np.zeros(len(places), np.float32)
    n_species, matrix = len(weights) - 1, len(table)
    votes, mass, pool = np.zeros(matrix), np.zeros(matrix), np.zeros(matrix, np.int32)
    for row in range(len(places)):
        x, y, z = places[row]
        i = int((x - low[0]) / _CELL_NM)
        j = int((y - low[1]) / _CELL_NM)
        k = int((z - low[2]) / _CELL_NM)
        cell = (i * shape[1] + j) * shape[2] + k
        n_near = _close(x, y, z, table, candidates[first[cell] : first[cell + 1]], reach, pool)
        if n_near == 0:
            continue
        near = pool[:n_near]
        code = codes[row]
        if code < 0 or code >= n_species:
            code = n_species
        votes[: len(near)] = 0.0
        total = 0.0
        at = ((offset + row) * _DRAWS) % len(noise)
        for _ in range(_DRAWS):
            won, inner = _winner(x - noise[at, 0], y - noise[at, 1], z - noise[at, 2], table, near)
            at += 1
            if at == len(noise):
                at = 0
            weight = weights[code, near[won] if inner else matrix]
            total += weight
            if won >= 0:
                votes[won] += weight
        if total <= 0:
            continue
        best = 0
        for c in range(len(near)):
            mass[near[c]] += votes[c] / total
            if votes[c] > votes[best]:
                best = c
        if votes[best] > 0:
            result[row] = near[best]
            chance[row] = votes[best] / total
    return result, chance, mass
