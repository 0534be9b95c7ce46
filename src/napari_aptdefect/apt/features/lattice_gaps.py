"""Cavities of a resolved lattice: empty sites, joined to groups, each with the sphere that parts it from the ions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

REACH_NM: Final = 1.5
"""Farther from all cavities and extra ions than this, all ions are alike."""

_SAME_BONDS: Final = 0.6
_JOINED_BONDS: Final = 2.1
_SIDE_SHARE: Final = 0.2
_LEAST_IONS: Final = 3
_DENSE: Final = 6
_SITES: Final = 8 * 3 ** (-1.5) * 2  # volume per ion of a tetrahedral lattice over the cubed bond length, times 2


@dataclass(frozen=True, eq=False)
class Cavity:
    """A group of empty sites.

    Parameters
    ----------
    center_nm
        Their mean place, shape (3,), nm.
    n_sites
        Empty sites beside ions; those amid a large cavity are not known.
    radius_nm
        Radius of the sphere around the center that best parts empty sites from ions, nm.
    room_nm
        Radius of a ball with as much room as the sites have, nm.
    heavy_share
        Share of the sites that miss a heavy ion.
    roundness
        Smallest over largest standard deviation of the sites along their principal axes; 1 for a single one.
    """

    center_nm: NDArray[np.float64]
    n_sites: int
    radius_nm: float
    room_nm: float
    heavy_share: float
    roundness: float


@dataclass(frozen=True, eq=False)
class EmptySites:
    """Sites that no ion takes.

    Parameters
    ----------
    place_nm
        Shape (S, 3), nm.
    side
        Shape (S,), int8: sublattice of the missing ion, 0 heavy, 1 light.
    group
        Shape (S,), int32: sites that are second neighbors or nearer have the same number, from 0.
    """

    place_nm: NDArray[np.float64]
    side: NDArray[np.int8]
    group: NDArray[np.int32]


def empty_sites(pointed_nm: NDArray[np.floating], side: NDArray[np.int8], bond_nm: float) -> EmptySites:
    """Find empty sites from the places that single ions point at, shape (P, 3), nm, and the sublattice of each.

    Several of them are one site. Sites that one ion alone points at are left out, and groups that fewer than three
    point at: where the blur or a strain has moved an ion far from its site, that seems empty to the one or other.
    """
    site = joined(pointed_nm, _SAME_BONDS * bond_nm)
    twice = np.bincount(site)[site] > 1
    if not twice.any():
        return EmptySites(np.empty((0, 3)), np.empty(0, np.int8), np.empty(0, np.int32))
    pointed_nm, side = pointed_nm[twice], side[twice]
    site = np.unique(site[twice], return_inverse=True)[1].astype(np.int32)
    n = np.bincount(site)
    place = np.stack([np.bincount(site, pointed_nm[:, a].astype(np.float64)) / n for a in range(3)], axis=1)
    light = (np.bincount(site, side) / n > 0.5).astype(np.int8)
    group = _groups(place, _JOINED_BONDS * bond_nm)
    kept = np.bincount(group, n)[group] >= _LEAST_IONS
    return EmptySites(place[kept], light[kept], np.unique(group[kept], return_inverse=True)[1].astype(np.int32))


def find_cavities(
    empty: EmptySites, xyz_nm: NDArray[np.float32], ion_side: NDArray[np.int8], bond_nm: float
) -> list[Cavity]:
    """Describe each group of empty sites.

    Parameters
    ----------
    empty
        The sites.
    xyz_nm, ion_side
        All ions, shape (N, 3), nm, and the sublattice of each.
    bond_nm
        Bond length, nm.
    """
    if len(empty.side) == 0:
        return []
    trees = [(cKDTree(xyz_nm[ion_side == s]), s) for s in (0, 1)]
    order = np.argsort(empty.group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(empty.group[order])) + 1)
    return [_cavity(empty.place_nm[part], empty.side[part], trees, bond_nm) for part in parts]


def _groups(place_nm: NDArray[np.float64], reach_nm: float) -> NDArray[np.int32]:
    """Join sites to groups: those amid many others first, then those beside these, then the rest among themselves.

    A cavity would else hang together with the thin chains of empty sites that dislocations and boundaries leave.
    """
    tree = cKDTree(place_nm)
    n_near = np.asarray(tree.query_ball_point(place_nm, reach_nm, return_length=True)) - 1
    dense = n_near >= _DENSE
    group = np.full(len(place_nm), -1, np.int32)
    group[dense] = joined(place_nm[dense], reach_nm)
    if dense.any():
        sparse = np.flatnonzero(~dense)
        distance, nearest = cKDTree(place_nm[dense]).query(place_nm[sparse], distance_upper_bound=reach_nm)
        beside = np.isfinite(distance)
        group[sparse[beside]] = group[dense][nearest[beside]]
    rest = group < 0
    group[rest] = joined(place_nm[rest], reach_nm) + group.max(initial=-1) + 1
    return group


def joined(places: NDArray[np.floating], reach: float) -> NDArray[np.int32]:
    """Group of each place, shape (S,): those within reach of each other have the same number, from 0."""
    if len(places) == 0:
        return np.empty(0, np.int32)
    pairs = cKDTree(places).query_pairs(reach, output_type="ndarray")
    graph = sparse.coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _cavity(
    sites: NDArray[np.float64], side: NDArray[np.int8], trees: list[tuple[cKDTree, int]], bond_nm: float
) -> Cavity:
    center = sites.mean(axis=0)
    from_center = np.sort(np.linalg.norm(sites - center, axis=1))
    share = [float(np.mean(side == s)) for s in (0, 1)]
    reach = from_center[-1] + _JOINED_BONDS * bond_nm
    near = [
        np.linalg.norm(tree.data[tree.query_ball_point(center, reach)] - center, axis=1)
        for tree, s in trees
        if share[s] > _SIDE_SHARE
    ]
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(sites.T, bias=True)), 0)) if len(sites) > 3 else np.ones(3)
    two_sided = min(share) > _SIDE_SHARE
    room = len(sites) * _SITES * bond_nm**3 / (2 if two_sided else 1)
    return Cavity(
        center,
        len(sites),
        _parting(from_center, np.sort(np.concatenate(near))),
        (3 * room / (4 * math.pi)) ** (1 / 3),
        share[0],
        float(spread[0] / max(spread[-1], 1e-9)),
    )


def _parting(inner: NDArray[np.float64], outer: NDArray[np.float64]) -> float:
    """Radius with as few inner distances beyond and outer distances within as can be; the middle of the best gap."""
    edges = np.unique(np.concatenate([[0.0], inner, outer]))
    wrong = len(inner) - np.searchsorted(inner, edges, side="right") + np.searchsorted(outer, edges, side="right")
    best = int(np.flatnonzero(wrong == wrong.min())[-1])
    return float(edges[best] + edges[best + 1]) / 2 if best + 1 < len(edges) else float(edges[best])


def write_cavities(cavities: list[Cavity], tree: cKDTree, out: NDArray[np.float32], reach_nm: float = REACH_NM) -> None:
    """Write, for each ion of the tree, what there is to say of the cavity whose sphere is nearest; shape (N, 6).

    Distance to its sphere and to the ball of its room, radius, logarithm of the number of sites, share of heavy ones,
    roundness; ions out of reach keep what is there.
    """
    best = np.full(len(out), np.inf, np.float32)
    for one in cavities:
        rows = np.asarray(tree.query_ball_point(one.center_nm, one.radius_nm + reach_nm, return_sorted=True), np.int64)
        distance = np.linalg.norm(tree.data[rows] - one.center_nm, axis=1)
        gap = (distance - one.radius_nm).astype(np.float32)
        closer = gap < best[rows]
        rows, gap, distance = rows[closer], gap[closer], distance[closer]
        best[rows] = gap
        out[rows, 0], out[rows, 1] = gap, distance - one.room_nm
        out[rows, 2:] = one.radius_nm, math.log(one.n_sites), one.heavy_share, one.roundness
