"""The stage that gives each ion its name, and the composition that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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

    background: Literal["none", "before", "both"] = param(
        "none",
        title="Background",
        description="Estimate the background under each range from the unranged masses before it, on both sides of it, "
        "or not at all; mass peaks have a tail behind them, so 'before' is the cleaner estimate.",
    )
    background_margin_da: float = param(
        0.5,
        title="Background margin",
        description="How far from a range the unranged masses that tell its background may lie.",
        unit="Da",
        gt=0.0,
        le=10.0,
    )
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
    background
        Shape (n_ions,), float64, expected background among the counts, or None when none was asked for.
    background_variance
        Shape (n_ions,), float64, variance of that estimate, or None.
    """

    ion_idx: NDArray[np.int16]
    table: RangeTable
    counts: NDArray[np.int64]
    n_unranged: int
    background: NDArray[np.float64] | None = None
    background_variance: NDArray[np.float64] | None = None

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

    Notes
    -----
    The background of a range [a, b] is the number of unranged ions within the margin before a (or on both sides),
    per Da of unranged width there, times b - a. It is local in mass and takes all ions at once, whenever they were
    detected. A range without any unranged width next to it has no estimate and counts as free of background.
    """
    params = params or RangingParams()
    if not table.ranges:
        raise EmptySelectionError(f"the range table {table.source or ''} holds no range; choose or suggest another one")
    if cloud.n_ions == 0:
        raise EmptySelectionError("the cloud holds no ion; choose another file")
    out = np.empty(cloud.n_ions, np.int16)
    counts = np.zeros(len(table.ions), np.int64)
    windows = _Windows(table, params) if params.background != "none" else None
    lowest, highest = np.inf, -np.inf
    for start, stop in cloud.chunks(params.chunk_ions):
        yield Progress(start, cloud.n_ions, "Identifying ions")
        mass = cloud.read("mass_da", start, stop)
        found = table.assign(mass)
        out[start:stop] = found
        counts += np.bincount(found[found >= 0], minlength=len(counts))
        if windows is not None:
            windows.count(mass[found < 0])
        lowest, highest = np.fmin(lowest, np.fmin.reduce(mass)), np.fmax(highest, np.fmax.reduce(mass))
    n_ranged = int(counts.sum())
    if n_ranged == 0:
        spans = [r.lo_da for r in table.ranges], [r.hi_da for r in table.ranges]
        raise EmptySelectionError(
            f"none of {cloud.n_ions} ions ({lowest:g} to {highest:g} Da) lies in any of the {len(table.ranges)} ranges "
            f"({min(spans[0]):g} to {max(spans[1]):g} Da); the range file may belong to another data set"
        )
    background, variance = windows.result() if windows is not None else (None, None)
    yield Progress(cloud.n_ions, cloud.n_ions, "Identifying ions")
    return Ranging(read_only(out), table, read_only(counts), cloud.n_ions - n_ranged, background, variance)


def composition(ranging: Ranging) -> Composition:
    """Composition of all ranged ions, net of the background if the ranging estimated one.

    Returns
    -------
    Ionic and atomic fractions with their counting errors; see `composition_of_counts` for the equation.
    """
    return composition_of_counts(ranging.table, ranging.counts, ranging.background, ranging.background_variance)


class _Windows:
    """Counts unranged ions next to each range and turns them into the background below it."""

    def __init__(self, table: RangeTable, params: RangingParams) -> None:
        self._n_ions = len(table.ions)
        self._pieces = table.disjoint()
        margin = params.background_margin_da
        self._sides: list[list[tuple[float, float]]] = []
        for item in self._pieces:
            sides = [(item.lo_da - margin, item.lo_da)]
            if params.background == "both":
                sides.append((item.hi_da, item.hi_da + margin))
            self._sides.append(sides)
        limits = {limit for sides in self._sides for side in sides for limit in side}
        limits.update(limit for item in self._pieces for limit in (item.lo_da, item.hi_da))
        self._edges = np.array(sorted(limits))
        self._counts = np.zeros(len(self._edges) + 1, np.int64)
        # what is ranged can't be counted, so its width is no width of a window
        middles = (self._edges[1:] + self._edges[:-1]) / 2
        self._free = np.where(table.assign(middles) < 0, np.diff(self._edges), 0.0)

    def count(self, unranged: NDArray[np.floating]) -> None:
        """Count the masses of unranged ions."""
        place = np.searchsorted(self._edges, unranged.astype(np.float64))
        self._counts += np.bincount(place, minlength=len(self._counts))

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Background of each ion and its variance."""
        total = np.concatenate([[0], np.cumsum(self._counts[1:-1])])
        width = np.concatenate([[0.0], np.cumsum(self._free)])
        background = np.zeros(self._n_ions)
        variance = np.zeros(self._n_ions)
        for item, sides in zip(self._pieces, self._sides, strict=True):
            lo, hi = (np.searchsorted(self._edges, limit) for limit in zip(*sides, strict=True))
            n_ions = float((total[hi] - total[lo]).sum())
            free = float((width[hi] - width[lo]).sum())
            if free > 0:
                scale = item.width_da / free
                background[item.ion_idx] += n_ions * scale
                variance[item.ion_idx] += n_ions * scale**2
        return read_only(background), read_only(variance)
