"""The range table: which mass-to-charge intervals belong to which ion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import Issue


@dataclass(frozen=True, slots=True)
class Ion:
    """One kind of ion.

    Parameters
    ----------
    name
        Name as the range file gives it, such as ``"Cr2O"``.
    elements
        (symbol, count) pairs; empty for a user's label that is no chemical formula.
    color
        Red, green, blue, 0 to 255, or None when the file gives none.
    """

    name: str
    elements: tuple[tuple[str, int], ...] = ()
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class MassRange:
    """One closed interval [lo_da, hi_da] of mass-to-charge, and the index of its ion in the table.

    `volume_nm3` is the volume the reconstruction gives to one such ion; None when the file gives none.
    """

    lo_da: float
    hi_da: float
    ion_idx: int
    volume_nm3: float | None = None


@dataclass(frozen=True)
class RangeTable:
    """Ions and their mass-to-charge ranges, in the order of the file.

    A range is the closed interval [lo_da, hi_da]; masses are compared as float64. Where ranges overlap or touch, the
    range with the lower `lo_da` wins, and among equal ones the first in the file; every overlap is among `issues`.
    """

    ions: tuple[Ion, ...]
    ranges: tuple[MassRange, ...]
    source: Path | None = None
    issues: tuple[Issue, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the ions, in order."""
        return tuple(ion.name for ion in self.ions)

    def assign(self, mass_da: NDArray[np.floating]) -> NDArray[np.int16]:
        """Index into `ions` for each mass-to-charge ratio; -1 where no range holds it.

        Parameters
        ----------
        mass_da
            Mass-to-charge ratios, shape (N,), Da; NaN is in no range.

        Returns
        -------
        Shape (N,), int16.
        """
        edges, owners = self._segments()
        out = np.empty(len(mass_da), np.int16)
        for start in range(0, len(mass_da), 1 << 20):  # bounds the memory of the float64 copy
            block = mass_da[start : start + (1 << 20)].astype(np.float64)
            out[start : start + len(block)] = owners[np.searchsorted(edges, block, side="right")]
        return out

    def _segments(self) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
        """Disjoint segments of the mass axis: mass m belongs to owners[searchsorted(edges, m, 'right')].

        A closed upper end is the half-open interval up to the next larger float64, so one sorted search decides.
        """
        edges: list[float] = []
        owners: list[int] = [-1]
        reach = -np.inf
        for item in sorted(self.ranges, key=lambda r: r.lo_da):
            if not item.hi_da >= item.lo_da:
                continue
            start = max(item.lo_da, reach)
            end = float(np.nextafter(item.hi_da, np.inf))
            if end <= start:
                continue
            if edges and edges[-1] == start:
                owners[-1] = item.ion_idx
            else:
                edges.append(start)
                owners.append(item.ion_idx)
            edges.append(end)
            owners.append(-1)
            reach = end
        edges.append(np.inf)  # NaN sorts behind everything
        owners.append(-1)
        return np.asarray(edges, np.float64), np.asarray(owners, np.int16)
