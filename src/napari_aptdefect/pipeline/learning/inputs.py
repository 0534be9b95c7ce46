"""What the network is told of a cloud: evidence for shapes, distance to the surface, kind of species, the lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.features import lattice
from napari_aptdefect.apt.features.shapes import columns, describe_shapes, surface_depth
from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.elements import SYMBOLS
from napari_aptdefect.data.feature_table import FEATURE_SETS, FeatureColumn, FeatureTable
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Progress, Stage, scaled

DEPTH_NM: Final = 4.0
"""Deeper below the surface all ions are alike."""

HEAVY, LIGHT, DOPANT, OTHER = range(4)
"""Rows of `apt.network.model.SPECIES_KINDS`."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the network is told.

    Parameters
    ----------
    table
        Features of the N ions.
    kind
        Shape (N,), int8: kind of species, a row of `apt.network.model.SPECIES_KINDS`.
    depth_nm
        Shape (N,), float32: distance to the surface of the specimen, nm, at most 4.
    main
        The two main elements, the heavier first.
    dopants
        All other elements, the most abundant first.
    """

    table: FeatureTable
    kind: NDArray[np.int8]
    depth_nm: NDArray[np.float32]
    main: tuple[str, ...]
    dopants: tuple[str, ...]


def describe(
    xyz_nm: NDArray[np.floating],
    species_idx: NDArray[np.integer],
    ions: Sequence[Ion],
    workers: int | None = None,
    *,
    with_lattice: bool = False,
) -> Stage[Inputs]:
    """Compute what the network is told of each ion.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm, finite, z along the specimen axis.
    species_idx
        Shape (N,): ion of each, -1 unranged.
    ions
        The ions of the range table.
    workers
        Number of threads.
    with_lattice
        Whether the lattice is described too; worth it where it is resolved.

    Yields
    ------
    `Progress`.

    Raises
    ------
    ParameterError
        If no ion of the cloud has an element.
    """
    xyz = as_points(xyz_nm)
    species = np.asarray(species_idx, np.int64)
    main, dopants = elements_of(ions, species)
    kinds, which = _kinds(ions, main, dopants)
    kind, dopant = kinds[species], which[species]
    names = (*columns(dopants), *_OWN, *(lattice.columns() if with_lattice else ()))
    values = np.full((len(xyz), len(names)), np.nan, np.float32)
    n_shapes = len(columns(dopants))
    shapes = describe_shapes(xyz, dopant, species >= 0, len(dopants), values[:, :n_shapes], workers)
    yield from scaled(shapes, 0, 60 if with_lattice else 95, lambda p: p.message)
    if with_lattice:
        found = lattice.describe_lattice(xyz, kind, values[:, n_shapes + len(_OWN) :], workers)
        yield from scaled(found, 60, 95, lambda p: p.message)
    yield Progress(95, 100, "distance to the surface")
    depth = np.minimum(surface_depth(xyz), np.float32(DEPTH_NM))
    values[:, n_shapes], values[:, n_shapes + 1], values[:, n_shapes + 2] = depth, kind == DOPANT, kind == LIGHT
    return Inputs(FeatureTable(values, names), kind, depth, main, dopants)


def takes_lattice(names: Sequence[str]) -> bool:
    """Whether some of these features are those of a resolved lattice."""
    return not {column.name for column in lattice.columns()}.isdisjoint(names)


def kinds_of(species_idx: NDArray[np.integer], ions: Sequence[Ion]) -> NDArray[np.int8]:
    """Kind of species of each ion, shape (N,), int8: a row of `apt.network.model.SPECIES_KINDS`.

    Raises
    ------
    ParameterError
        If no ion of the cloud has an element.
    """
    species = np.asarray(species_idx, np.int64)
    return _kinds(ions, *elements_of(ions, species))[0][species]


def feature_sets(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Columns of each feature set.

    Raises
    ------
    ParameterError
        If a name is none of the network's features.
    """
    known = {column.name: column.set for column in (*columns(()), *_OWN, *lattice.columns())}
    strange = [name for name in names if name not in known]
    if strange:
        raise ParameterError(f"{strange[0]!r} is none of the network's features")
    return {one: tuple(i for i, name in enumerate(names) if known[name] == one) for one in FEATURE_SETS}


def elements_of(ions: Sequence[Ion], species_idx: NDArray[np.integer]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The two most abundant elements, the heavier first, and all others, the most abundant first.

    Raises
    ------
    ParameterError
        If no ion of the cloud has an element.
    """
    species = np.asarray(species_idx, np.int64)
    counts = np.bincount(species[species >= 0], minlength=len(ions))
    total: dict[str, int] = {}
    for ion, count in zip(ions, counts.tolist(), strict=True):
        for symbol, number in ion.elements:
            total[symbol] = total.get(symbol, 0) + number * count
    ranked = sorted((one for one in total if total[one] > 0), key=lambda one: (-total[one], one))
    if not ranked:
        raise ParameterError("no ion of the cloud has an element; the network needs ranges that name elements")
    return tuple(sorted(ranked[:2], key=lambda one: -SYMBOLS.index(one))), tuple(ranked[2:])


def _kinds(
    ions: Sequence[Ion], main: Sequence[str], dopants: Sequence[str]
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Kind of each ion, and which dopant it holds, -1 for none; the last entry of both is for unranged ions."""
    kind = np.full(len(ions) + 1, OTHER, np.int8)
    dopant = np.full(len(ions) + 1, -1, np.int16)
    for i, ion in enumerate(ions):
        held = {symbol for symbol, _ in ion.elements}
        dopant[i] = next((d for d, symbol in enumerate(dopants) if symbol in held), -1)
        if dopant[i] >= 0:
            kind[i] = DOPANT
        elif len(held) == 1:
            kind[i] = HEAVY if held == {main[0]} else LIGHT
    return kind, dopant


_OWN: Final = (
    FeatureColumn(
        "surface_depth_nm", "spatial", "nm", f"distance to the surface, at most {DEPTH_NM:g} nm", "distance transform"
    ),
    FeatureColumn("is_dopant", "compositional", "", "1 where the ion holds a dopant", "indicator"),
    FeatureColumn("is_lighter", "compositional", "", "1 where the ion is of the lighter main element", "indicator"),
)
