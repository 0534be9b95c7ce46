"""The stage that gives each ion its name, and the composition that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.composition import Composition, composition_of_counts
from napari_aptdefect.data.ranges import RangeTable
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.stage import Params, Progress, Stage, param


class RangingParams(Params):
    """How ions are identified."""

    chunk_ions: int = param(
        1 << 20,
        title="Ions per step",
        description="How many ions are read and identified at a time; it bounds the memory, not the result.",
        unit="ions",
        ge=1,
        le=1 << 26,
    )


@dataclass(frozen=True, eq=False)
class Ranging:
    """Which ion each entry of a cloud is.

    Parameters
    ----------
    ion_idx
        Shape (N,), int16, index into ``table.ions``, -1 outside all ranges; in file order.
    table
        The ranges that were applied.
    counts
        Shape (n_ions,), int64, how many of each ion.
    n_unranged
        Ions in no range.
    """

    ion_idx: NDArray[np.int16]
    table: RangeTable
    counts: NDArray[np.int64]
    n_unranged: int

    @property
    def n_ranged(self) -> int:
        """Ions within a range."""
        return int(self.counts.sum())

    @property
    def ranged_fraction(self) -> float:
        """Share of all ions that lie within a range."""
        return self.n_ranged / len(self.ion_idx)


def identify(cloud: IonCloud, table: RangeTable, params: RangingParams | None = None) -> Stage[Ranging]:
    """Give each ion of a cloud the ion of the range its mass-to-charge ratio lies in.

    Parameters
    ----------
    cloud
        Ions; only ``mass_da`` is read, chunk by chunk.
    table
        Ranges; see `RangeTable` for limits, overlaps and rounding.
    params
        Parameters, the defaults when None.

    Yields
    ------
    Progress, in ions.

    Returns
    -------
    The ranging.

    Raises
    ------
    EmptySelectionError
        If the table holds no range, the cloud no ion, or no ion lies in any range.
    """
    params = params or RangingParams()
    if not table.ranges:
        raise EmptySelectionError(f"the range table {table.source or ''} holds no range; choose or suggest another one")
    if cloud.n_ions == 0:
        raise EmptySelectionError("the cloud holds no ion; choose another file")
    out = np.empty(cloud.n_ions, np.int16)
    counts = np.zeros(len(table.ions), np.int64)
    lowest, highest = np.inf, -np.inf
    for start, stop in cloud.chunks(params.chunk_ions):
        yield Progress(start, cloud.n_ions, "Identifying ions")
        mass = cloud.read("mass_da", start, stop)
        found = table.assign(mass)
        out[start:stop] = found
        counts += np.bincount(found[found >= 0], minlength=len(counts))
        lowest, highest = np.fmin(lowest, np.fmin.reduce(mass)), np.fmax(highest, np.fmax.reduce(mass))
    n_ranged = int(counts.sum())
    if n_ranged == 0:
        spans = [r.lo_da for r in table.ranges], [r.hi_da for r in table.ranges]
        raise EmptySelectionError(
            f"none of {cloud.n_ions} ions ({lowest:g} to {highest:g} Da) lies in any of the {len(table.ranges)} ranges "
            f"({min(spans[0]):g} to {max(spans[1]):g} Da); the range file may belong to another data set"
        )
    yield Progress(cloud.n_ions, cloud.n_ions, "Identifying ions")
    return Ranging(read_only(out), table, read_only(counts), cloud.n_ions - n_ranged)


def composition(ranging: Ranging) -> Composition:
    """Composition of all ranged ions, background and all; `MassBackground.composition` is net of it.

    Returns
    -------
    Ionic and atomic fractions with their counting errors; see `composition_of_counts` for the equation.
    """
    return composition_of_counts(ranging.table, ranging.counts)
