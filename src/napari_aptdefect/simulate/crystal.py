"""The atoms of a GaN nanowire with its defects, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import Dislocation, GrainBoundary, InversionDomain, StackingFault
from napari_aptdefect.simulate.placement import Placed, polarity_sign
from napari_aptdefect.stage import Progress, Stage

ATOMS_PER_SLAB: Final = 400_000
_TOO_CLOSE_NM: Final = 0.15  # no two atoms across a grain boundary or in a core are nearer than this
_CORE_NM: Final = 2 * gan.A_NM
_MARGIN_NM: Final = 1.0  # displacements carry atoms over the border


@dataclass(frozen=True, eq=False)
class Sites:
    """Lattice sites in the wire's frame; parallel arrays.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), float32: places after all displacements, nm.
    sublattice
        Shape (N,), int8: 0 for Ga, 1 for N.
    channel
        Shape (N,), int8: index in `channels_nm` of the way from a Ga site to the octahedral site beside it; -1 where
        there is none (N sites, grains other than the first).
    channels_nm
        Shape (K, 3), the ways, nm.
    grain
        Shape (N,), int8: 0 for the first grain, then one for each boundary.
    depth_nm
        Shape (N,), float32: depth before the displacements of dislocations, by which a fault knows its bilayers, nm.
    """

    xyz_nm: NDArray[np.float32]
    sublattice: NDArray[np.int8]
    channel: NDArray[np.int8]
    channels_nm: NDArray[np.float64]
    grain: NDArray[np.int8]
    depth_nm: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sublattice)

    def __getitem__(self, rows: NDArray[np.bool_]) -> Sites:
        return Sites(
            self.xyz_nm[rows],
            self.sublattice[rows],
            self.channel[rows],
            self.channels_nm,
            self.grain[rows],
            self.depth_nm[rows],
        )


@dataclass(frozen=True, eq=False)
class _Grain:
    """A crystal: x = rotation u + shift, with u in the frame of the lattice, and the sense of its polarity."""

    rotation: NDArray[np.float64]
    shift_nm: NDArray[np.float64]
    up: int
    cubic: frozenset[int] = frozenset()


def build_sites(params: GanNanowireParams, placed: Sequence[Placed]) -> Stage[Sites]:
    """Fill the wire with sites: one crystal, or one on each side of every boundary, displaced around dislocations.

    Yields
    ------
    Progress over the slabs.

    Notes
    -----
    Of two boundaries the later one in the list rules where they overlap. Inversion domain boundaries are of the kind
    IDB*: Ga and N exchange their places and the domain is shifted by c/2, so that every bond across joins Ga and N
    (J. E. Northrup, J. Neugebauer and L. T. Romano, Phys. Rev. Lett. 77, 103 (1996),
    doi 10.1103/PhysRevLett.77.103). Strain of alloyed layers is left out.
    """
    boundaries = [p for p in placed if isinstance(p.spec, (InversionDomain, GrainBoundary))]
    grains = [_first_grain(params, placed), *(_grain_beyond(params, p) for p in boundaries)]
    lines = [p for p in placed if isinstance(p.spec, Dislocation) and p.spec.core != "none"]
    held = [grains_held(line, placed) for line in lines]
    whole: list[Sites] = []
    for number, grain in enumerate(grains):
        slabs = list(_slab_layers(params, grain))
        places = gan.stacking(slabs[-1].stop - slabs[0].start, slabs[0].start, grain.cubic)
        net = gan.lateral_net(_lateral_reach(params, grain))
        parts: list[Sites] = []
        for done, layers in enumerate(slabs):
            yield Progress(number + done / len(slabs), len(grains), f"bilayers {layers.start} to {layers.stop}")
            own = [line for line, holders in zip(lines, held, strict=True) if number in holders]
            sites = _slab(params, grain, layers, places[layers.start - slabs[0].start :], net, own)
            parts.append(sites[_grain_of(sites.xyz_nm, boundaries) == number] if boundaries else sites)
        new = joined_sites(parts)
        if number:
            new = replace(new, channel=np.full(len(new), -1, np.int8), grain=np.full(len(new), number, np.int8))
            new = _without_clashes(new, whole, boundaries[number - 1])
        whole.append(new)
    return _without_crowding(joined_sites(whole), lines)


def joined_sites(parts: Sequence[Sites]) -> Sites:
    """Join sites of several slabs."""
    if len(parts) == 1:
        return parts[0]
    return Sites(
        np.concatenate([p.xyz_nm for p in parts]),
        np.concatenate([p.sublattice for p in parts]),
        np.concatenate([p.channel for p in parts]),
        parts[0].channels_nm,
        np.concatenate([p.grain for p in parts]),
        np.concatenate([p.depth_nm for p in parts]),
    )


def grains_held(placed: Placed, others: Sequence[Placed]) -> frozenset[int]:
    """Grains that a fault or a dislocation lies in, by number: 0 for the first, then one for each boundary of `others`.

    A fault belongs to the stack of the first grain. A dislocation belongs to the crystal that its center lies in; an
    inversion domain has the lattice of the first grain, so a line of one goes on in the other, but none goes on in a
    grain that is turned.
    """
    boundaries = [p for p in others if isinstance(p.spec, (InversionDomain, GrainBoundary))]
    aligned = frozenset({0, *(i for i, p in enumerate(boundaries, 1) if isinstance(p.spec, InversionDomain))})
    if isinstance(placed.spec, StackingFault):
        return frozenset({0})
    own = int(_grain_of(np.array([placed.region.center_nm], np.float32), boundaries)[0])
    return aligned if own in aligned else frozenset({own})


def _first_grain(params: GanNanowireParams, placed: Sequence[Placed]) -> _Grain:
    cubic = frozenset(
        layer
        for p in placed
        if isinstance(p.spec, StackingFault)
        for layer in range(p.layer, p.layer + gan.n_cubic_bilayers(p.spec.fault))
    )
    return _Grain(np.eye(3), np.zeros(3), polarity_sign(params), cubic)


def _grain_beyond(params: GanNanowireParams, boundary: Placed) -> _Grain:
    up = polarity_sign(params)
    if isinstance(boundary.spec, InversionDomain):
        # Ga on the sites of N: u c along the bond, then c/2, which also exchanges the places A and B.
        return _Grain(np.eye(3), np.array([0.0, 0.0, up * gan.U * gan.C_NM + gan.BILAYER_NM]), -up)
    from scipy.spatial.transform import Rotation

    spec, center = boundary.spec, np.asarray(boundary.region.center_nm)
    rotation = Rotation.from_rotvec(np.deg2rad(spec.angle_deg) * np.asarray(spec.axis)).as_matrix()
    return _Grain(rotation, center - rotation @ center, up)


def _grain_of(xyz_nm: NDArray[np.float32], boundaries: Sequence[Placed]) -> NDArray[np.int8]:
    grain = np.zeros(len(xyz_nm), np.int8)
    for number, boundary in enumerate(boundaries, start=1):
        grain[_beyond_nm(xyz_nm, boundary) > 0] = number
    return grain


def _corners(params: GanNanowireParams, grain: _Grain) -> NDArray[np.float64]:
    """Corners of the wire's bounding box in the frame of the lattice; shape (8, 3), nm."""
    reach = params.radius_nm * 2 / np.sqrt(3) + _MARGIN_NM
    box = np.array(
        [(x, y, z) for x in (-reach, reach) for y in (-reach, reach) for z in (-_MARGIN_NM, params.length_nm + 1)]
    )
    return np.asarray((box - grain.shift_nm) @ grain.rotation)


def _slab_layers(params: GanNanowireParams, grain: _Grain) -> Iterator[range]:
    z = _corners(params, grain)[:, 2]
    first, last = int(np.floor(z.min() / gan.BILAYER_NM)) - 1, int(np.ceil(z.max() / gan.BILAYER_NM)) + 1
    per_layer = 2 * gan.GA_PER_LAYER_NM2 * np.pi * _lateral_reach(params, grain) ** 2
    step = max(1, int(ATOMS_PER_SLAB / per_layer))
    for start in range(first, last, step):
        yield range(start, min(start + step, last))


def _lateral_reach(params: GanNanowireParams, grain: _Grain) -> float:
    """Radius of the circle of sites that each bilayer needs, nm."""
    if np.allclose(grain.rotation, np.eye(3)):
        return float(params.radius_nm * 2 / np.sqrt(3)) + _MARGIN_NM
    corners = _corners(params, grain)
    return float(np.hypot(corners[:, 0], corners[:, 1]).max())


def _slab(
    params: GanNanowireParams,
    grain: _Grain,
    layers: range,
    places: NDArray[np.int8],
    net: NDArray[np.float64],
    lines: Sequence[Placed],
) -> Sites:
    """Sites of some bilayers that lie in the wire."""
    found = [gan.layer_sites(net, layer, places[i], grain.up).reshape(-1, 3) for i, layer in enumerate(layers)]
    xyz = np.concatenate(found)
    if not np.array_equal(grain.rotation, np.eye(3)) or grain.shift_nm.any():
        xyz = xyz @ grain.rotation.T + grain.shift_nm
    moved = xyz
    for line in lines:
        x, y, z = (float(v) for v in grain.rotation @ np.asarray(_burgers(line.spec)))
        moved = moved + gan.dislocation_displacement(
            xyz, line.region.center_nm, line.region.direction, (x, y, z), params.radius_nm
        )
    inside = gan.in_prism(moved, params.radius_nm, params.length_nm, params.facets)
    n = len(net)
    sublattice = np.tile(np.repeat(np.array([0, 1], np.int8), n), len(layers))
    # Neighboring places differ, so two of three digits name the channel; the last layer's own neighbor is not known.
    following = np.append(places[1 : len(layers)], places[len(layers)] if len(places) > len(layers) else -1)
    kinds = np.where(following >= 0, places[: len(layers)] * 3 + following, -1).astype(np.int8)
    channel = np.repeat(kinds, 2 * n)
    channel[sublattice == 1] = -1
    pairs = [divmod(kind, 3) for kind in range(9)]
    ways = np.array([gan.channel_offset_nm(a, b, grain.up) if a != b else np.zeros(3) for a, b in pairs])
    return Sites(
        moved[inside].astype(np.float32),
        sublattice[inside],
        channel[inside],
        ways,
        np.zeros(int(inside.sum()), np.int8),
        xyz[inside, 2].astype(np.float32),
    )


def _burgers(spec: Dislocation) -> tuple[float, float, float]:
    return {"screw": (0.0, 0.0, gan.C_NM), "edge": (gan.A_NM, 0.0, 0.0), "mixed": (gan.A_NM, 0.0, gan.C_NM)}[spec.core]


def _without_clashes(new: Sites, older: Sequence[Sites], boundary: Placed) -> Sites:
    """Sites of a grain without those at its boundary that lie on top of a site of an older grain."""
    from scipy.spatial import cKDTree

    near = [part.xyz_nm[abs(_beyond_nm(part.xyz_nm, boundary)) < 2 * _TOO_CLOSE_NM] for part in older]
    rows = np.flatnonzero(abs(_beyond_nm(new.xyz_nm, boundary)) < 2 * _TOO_CLOSE_NM)
    keep = np.ones(len(new), bool)
    if len(rows) and sum(len(part) for part in near):
        distance, _ = cKDTree(np.concatenate(near)).query(new.xyz_nm[rows], distance_upper_bound=_TOO_CLOSE_NM)
        keep[rows] = ~np.isfinite(distance)
    return new[keep]


def _without_crowding(sites: Sites, lines: Sequence[Placed]) -> Sites:
    """Sites without one of each pair that linear elasticity pushes into each other at the core of a dislocation."""
    from scipy.spatial import cKDTree

    keep = np.ones(len(sites), bool)
    for line in lines:
        core = replace(line.region, radius_nm=_CORE_NM).rows_within(sites.xyz_nm)
        pairs = cKDTree(sites.xyz_nm[core]).query_pairs(_TOO_CLOSE_NM, output_type="ndarray")
        for first, second in pairs:
            if keep[core[first]]:
                keep[core[second]] = False
    return sites if keep.all() else sites[keep]


def _beyond_nm(xyz_nm: NDArray[np.float32], boundary: Placed) -> NDArray[np.float32]:
    """Distance of points beyond a plane, along its normal; shape (N,), nm."""
    normal = np.asarray(boundary.region.direction)
    offset = np.float32(np.dot(boundary.region.center_nm, normal))
    return np.asarray(xyz_nm @ normal.astype(np.float32) - offset)
