"""The range table: which mass-to-charge intervals belong to which ion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import Issue, ParameterError, ShapeError

_BLOCK: Final = 1 << 18  # a block and its indices stay in a core's cache


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

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the ion; 0 for a label."""
        return sum(count for _, count in self.elements)


@dataclass(frozen=True, slots=True)
class MassRange:
    """One closed interval [lo_da, hi_da] of mass-to-charge, and the index of its ion in the table.

    `volume_nm3` is the volume the reconstruction gives to one such ion; None when the file gives none.
    """

    lo_da: float
    hi_da: float
    ion_idx: int
    volume_nm3: float | None = None

    @property
    def width_da(self) -> float:
        """Width of the interval, Da."""
        return self.hi_da - self.lo_da


@dataclass(frozen=True)
class RangeTable:
    """Ions and their mass-to-charge ranges, in the order of the file.

    Parameters
    ----------
    ions
        Kinds of ions.
    ranges
        Intervals; limits are finite and not in reverse order, zero width and negative masses are allowed.
    source
        File the table was read from, or None.
    issues
        What was odd in the file, or what a suggestion has to say about each of its ranges.
    metadata
        What else the file says, by name.

    Raises
    ------
    ParameterError
        If a limit is not finite, a range is in reverse order or names no ion of the table.

    Notes
    -----
    A range is the closed interval [lo_da, hi_da]. Limits are decimal numbers, masses are stored in float32: an ion
    stored as float32(20.0880) is meant to lie at the limit 20.0880, whichever way the rounding went. So limits are
    rounded to the precision of the masses (float32 for float32 masses, float64 for float64 ones) before they are
    compared, and such an ion is inside. Half-open intervals, as APAV 1.4.0 has them, lose it.

    Where ranges overlap or touch, the range with the lower `lo_da` wins, and among equal ones the first in the file;
    every overlap in a file is among `issues`.
    """

    ions: tuple[Ion, ...]
    ranges: tuple[MassRange, ...]
    source: Path | None = None
    issues: tuple[Issue, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.ions) > np.iinfo(np.int16).max:
            raise ParameterError(f"a range table holds at most {np.iinfo(np.int16).max} ions, got {len(self.ions)}")
        for number, item in enumerate(self.ranges, start=1):
            if not (math.isfinite(item.lo_da) and math.isfinite(item.hi_da)) or item.hi_da < item.lo_da:
                raise ParameterError(
                    f"range {number} is {item.lo_da} to {item.hi_da} Da; give two finite numbers, the lower one first"
                )
            if not 0 <= item.ion_idx < len(self.ions):
                raise ParameterError(f"range {number} names ion {item.ion_idx}, the table has {len(self.ions)} ions")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the ions, in order."""
        return tuple(ion.name for ion in self.ions)

    def assign(self, mass_da: NDArray[np.floating]) -> NDArray[np.int16]:
        """Index into `ions` for each mass-to-charge ratio; -1 where no range holds it.

        Parameters
        ----------
        mass_da
            Mass-to-charge ratios as they are stored, shape (N,), Da; NaN and infinity are in no range.

        Returns
        -------
        Shape (N,), int16.

        Raises
        ------
        ShapeError
            If the masses are not a one-dimensional array of numbers.

        Examples
        --------
        >>> table = RangeTable((Ion("Ca", (("Ca", 1),)),), (MassRange(19.9, 20.088, 0),))
        >>> table.assign(np.array([19.0, 20.0, 20.088], np.float32)).tolist()
        [-1, 0, 0]
        """
        masses = np.asarray(mass_da)
        if masses.ndim != 1 or masses.dtype.kind not in "iuf":
            raise ShapeError(f"mass_da must be one-dimensional numbers, got shape {masses.shape}, {masses.dtype}")
        single = masses.dtype.kind == "f" and masses.dtype.itemsize <= 4
        dtype: type[np.floating] = np.float32 if single else np.float64
        edges, owners = self._segments(dtype)
        out = np.empty(len(masses), np.int16)
        for start in range(0, len(masses), _BLOCK):  # bounds the memory of the copy
            block = masses[start : start + _BLOCK].astype(dtype)
            out[start : start + len(block)] = owners[np.searchsorted(edges, block, side="right")]
        return out

    def disjoint(self) -> tuple[MassRange, ...]:
        """Intervals that don't overlap, ascending: what each range really holds after overlaps are decided."""
        edges, owners = self._segments(np.float64)
        ends = np.nextafter(edges[1:], -np.inf)
        return tuple(
            MassRange(float(lo), float(hi), int(owner))
            for lo, hi, owner in zip(edges[:-1], ends, owners[1:-1], strict=True)
            if owner >= 0
        )

    def _segments(self, dtype: type[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.int16]]:
        """Disjoint segments of the mass axis: mass m belongs to owners[searchsorted(edges, m, 'right')].

        A closed upper end is the half-open interval up to the next larger number, so one sorted search decides.
        """
        largest = float(np.finfo(dtype).max)
        lo = np.clip([r.lo_da for r in self.ranges], -largest, largest).astype(dtype)
        hi = np.clip([r.hi_da for r in self.ranges], -largest, largest).astype(dtype)
        with np.errstate(over="ignore"):
            ends = np.nextafter(hi, dtype(np.inf))
        edges: list[np.floating] = []
        owners: list[int] = [-1]
        reach = dtype(-np.inf)
        # the order is that of the limits as written: rounding must not change who wins
        for idx in sorted(range(len(self.ranges)), key=lambda i: self.ranges[i].lo_da):
            start = max(lo[idx], reach)
            if ends[idx] <= start:
                continue
            if edges and edges[-1] == start:
                owners[-1] = self.ranges[idx].ion_idx
            else:
                edges.append(start)
                owners.append(self.ranges[idx].ion_idx)
            edges.append(ends[idx])
            owners.append(-1)
            reach = ends[idx]
        edges.append(dtype(np.inf))  # NaN sorts behind everything
        owners.append(-1)
        return np.asarray(edges, dtype), np.asarray(owners, np.int16)


def overlap_issues(
    ions: Sequence[Ion], ranges: Sequence[MassRange], lines: Sequence[int | None] | None = None
) -> tuple[Issue, ...]:
    """Report every range that repeats or overlaps an earlier one on the mass axis, once each.

    Parameters
    ----------
    ions, ranges
        As in a `RangeTable`.
    lines
        Line of each range in its file, for the reports.

    Returns
    -------
    Issues ``"duplicate-range"`` (same limits, same ion) and ``"overlap"``, in the order of the file.

    Notes
    -----
    One sweep over the ranges sorted by their lower limit: O(n log n), where comparing all pairs would be O(n²). A
    range is compared with the one that reaches farthest before it, and repeats are found in a dictionary.
    """
    issues: list[tuple[int, Issue]] = []
    seen: dict[tuple[float, float, int], int] = {}
    farthest = -1
    for idx in sorted(range(len(ranges)), key=lambda i: ranges[i].lo_da):
        item = ranges[idx]
        line = lines[idx] if lines is not None else None
        key = (item.lo_da, item.hi_da, item.ion_idx)
        text = f"range {item.lo_da:g} to {item.hi_da:g} Da ({ions[item.ion_idx].name})"
        if key in seen:
            first = seen[key]
            issues.append((idx, Issue("duplicate-range", f"{text} repeats range no. {first + 1}", line=line)))
            continue
        seen[key] = idx
        if farthest >= 0 and item.lo_da < ranges[farthest].hi_da:
            other = ranges[farthest]
            shared = min(item.hi_da, other.hi_da) - item.lo_da
            same = item.ion_idx == other.ion_idx
            winner = (
                "both are the same ion" if same else f"{ions[other.ion_idx].name} wins there: its range starts first"
            )
            message = (
                f"{text} overlaps {other.lo_da:g} to {other.hi_da:g} Da ({ions[other.ion_idx].name}) "
                f"by {shared:.4g} Da; {winner}"
            )
            issues.append((idx, Issue("overlap", message, line=line)))
        if farthest < 0 or item.hi_da > ranges[farthest].hi_da:
            farthest = idx
    return tuple(issue for _, issue in sorted(issues, key=lambda pair: pair[0]))
