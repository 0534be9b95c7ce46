"""Checks of a range table against itself, against the isotopes of its ions, and against a mass spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.ranging.candidates import COMMON_IONS
from napari_aptdefect.apt.ranging.suggest import PeakParams, suggest_ranges
from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data.elements import Elements, IsotopePattern, format_formula, isotope_pattern, isotopes
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable, overlap_issues
from napari_aptdefect.errors import Issue

_CHUNK: Final = 1 << 20
_NEAR_DA: Final = 0.01
_TOLERANCE_DA: Final = 0.03
_MAX_CHARGE: Final = 4
_MAX_ATOMS: Final = 16  # larger molecules have patterns too wide to say anything
_MIN_ABUNDANCE: Final = 1e-3


def lint_ranges(table: RangeTable, tolerance_da: float = _TOLERANCE_DA) -> tuple[Issue, ...]:
    """Report what is wrong, doubtful or remarkable about ranges, from the table alone.

    Parameters
    ----------
    table
        Ranges to check.
    tolerance_da
        How far outside a range an isotopologue may lie and still count as inside, for shifted spectra, Da.

    Returns
    -------
    Issues, by code: ``overlap`` and ``duplicate-range``; ``touching`` (ranges of different ions closer than 0.01 Da);
    ``states`` (info: which isotopologues and charge states of its ion a range holds); ``charge-state`` (it holds none;
    the nearest is named); ``better-ion`` (the range holds at most a rare isotopologue of its ion, but the main one of
    a common ion); ``ambiguous`` (info: it also holds the main isotopologue of another ion of the table or a common
    one); ``missing-isotope`` (an ion is ranged in a charge state whose main isotopologue is in none of its ranges);
    ``no-elements`` (info: labels that can't be checked).

    Notes
    -----
    Isotopologues are those of charge 1+ to 4+ with an abundance of at least 0.1 %. Mass alone can't tell Si2+ from N+;
    `check_ranges` asks the spectrum, too.
    """
    issues = list(overlap_issues(table.ions, table.ranges))
    issues += _near(table)
    held: dict[tuple[int, int], float] = {}
    others = _other_ions(table)
    for item in table.ranges:
        ion = table.ions[item.ion_idx]
        patterns = _patterns(ion)
        if not patterns:
            continue
        inside = list(_inside(patterns, item, tolerance_da))
        issues.append(_states(ion, item, patterns, inside))
        for state in inside:
            key = (item.ion_idx, state.pattern.charge)
            held[key] = max(held.get(key, 0.0), state.abundance)
        issues += _rivals(ion, item, inside, others, tolerance_da)
    issues += _missing(table, held, tolerance_da)
    labels = [ion.name for ion in table.ions if not _patterns(ion)]
    if labels:
        text = f"not checked against isotopes, as they are no formulas of natural elements: {', '.join(labels)[:200]}"
        issues.append(Issue("no-elements", text, "info"))
    return tuple(issues)


def check_ranges(
    table: RangeTable, mass_da: NDArray[np.floating], params: PeakParams | None = None
) -> tuple[Issue, ...]:
    """Report where a mass spectrum contradicts the ions of a range table.

    Parameters
    ----------
    table
        Ranges to check.
    mass_da
        Mass-to-charge ratios of the data set, shape (N,), Da.
    params
        Parameters of `suggest_ranges`, which gives the second opinion.

    Returns
    -------
    Issues ``better-ion`` (most ions of a range belong to peaks that the isotope pattern gives to another ion) and
    ``empty-range`` (no peak stands out of the background in it).
    """
    masses = as_vector(mass_da, "mass_da", dtype=np.asarray(mass_da).dtype)
    second = suggest_ranges(masses, params)
    # each range as an ion of its own, so that one pass tells which of them holds what
    apart = RangeTable(
        tuple(Ion(f"{number}") for number in range(len(table.ranges))),
        tuple(MassRange(r.lo_da, r.hi_da, number) for number, r in enumerate(table.ranges)),
    )
    shape = (len(table.ranges) + 1, len(second.ions) + 1)
    counts = np.zeros(shape[0] * shape[1], np.int64)
    for start in range(0, len(masses), _CHUNK):
        block = masses[start : start + _CHUNK]
        pair = (apart.assign(block) + 1).astype(np.int64) * shape[1] + second.assign(block) + 1
        counts += np.bincount(pair, minlength=len(counts))
    found = counts.reshape(shape)[1:]
    issues = []
    for item, held in zip(table.ranges, found, strict=True):
        ion = table.ions[item.ion_idx]
        if ion.elements:
            issues += _compare(ion, item, int(held.sum()), held[1:], second)
    return tuple(issues)


def _compare(ion: Ion, item: MassRange, n_held: int, named: NDArray[np.int64], second: RangeTable) -> list[Issue]:
    text = f"range {item.lo_da:g} to {item.hi_da:g} Da ({ion.name})"
    if named.sum() == 0:
        return [Issue("empty-range", f"{text} holds {n_held} ions and no peak above the background")]
    best = second.ions[int(np.argmax(named))]
    share = named.max() / n_held
    if best.elements and sorted(best.elements) != sorted(ion.elements) and share > 0.5:
        message = f"{text}: {share:.0%} of its {n_held} ions lie in peaks whose isotope pattern is {best.name}"
        return [Issue("better-ion", message)]
    return []


@dataclass(frozen=True, slots=True)
class _State:
    pattern: IsotopePattern
    which: int

    @property
    def abundance(self) -> float:
        return float(self.pattern.abundance[self.which])

    @property
    def is_main(self) -> bool:
        return self.which == self.pattern.base

    def __str__(self) -> str:
        label, mass = self.pattern.labels[self.which], self.pattern.mass_da[self.which]
        return f"{label} {self.pattern.charge}+ at {mass:.3f} ({self.abundance:.1%})"


def _patterns(ion: Ion) -> list[IsotopePattern]:
    if not ion.elements or ion.n_atoms > _MAX_ATOMS or not all(isotopes(symbol) for symbol, _ in ion.elements):
        return []
    return _patterns_of(ion.elements)


def _patterns_of(elements: Elements) -> list[IsotopePattern]:
    found = (isotope_pattern(elements, charge, _MIN_ABUNDANCE) for charge in range(1, _MAX_CHARGE + 1))
    return [pattern for pattern in found if pattern is not None]


def _inside(patterns: Sequence[IsotopePattern], item: MassRange, tolerance_da: float) -> Iterator[_State]:
    for pattern in patterns:
        lo = np.searchsorted(pattern.mass_da, item.lo_da - tolerance_da)
        hi = np.searchsorted(pattern.mass_da, item.hi_da + tolerance_da, side="right")
        for which in range(int(lo), int(hi)):
            yield _State(pattern, which)


def _near(table: RangeTable) -> list[Issue]:
    issues = []
    ordered = sorted(table.ranges, key=lambda r: (r.lo_da, r.hi_da))
    for first, second in pairwise(ordered):
        gap = second.lo_da - first.hi_da
        if 0 <= gap < _NEAR_DA and first.ion_idx != second.ion_idx:
            names = table.ions[first.ion_idx].name, table.ions[second.ion_idx].name
            message = (
                f"ranges of {names[0]} and {names[1]} are {gap:.4g} Da apart at {second.lo_da:g} Da; peaks that close "
                "overlap, and ions are given to the wrong one"
            )
            issues.append(Issue("touching", message, "info"))
    return issues


def _states(ion: Ion, item: MassRange, patterns: Sequence[IsotopePattern], inside: Sequence[_State]) -> Issue:
    text = f"range {item.lo_da:g} to {item.hi_da:g} Da ({ion.name})"
    if inside:
        best = sorted(inside, key=lambda state: -state.abundance)
        more = f" and {len(best) - 6} more" if len(best) > 6 else ""
        return Issue("states", f"{text} holds {', '.join(str(state) for state in best[:6])}{more}", "info")
    every = [_State(pattern, which) for pattern in patterns for which in range(len(pattern.mass_da))]
    middle = (item.lo_da + item.hi_da) / 2
    nearest = min(every, key=lambda state: abs(state.pattern.mass_da[state.which] - middle))
    return Issue("charge-state", f"{text} holds no isotopologue of {ion.name} in 1+ to 4+; the nearest is {nearest}")


def _other_ions(table: RangeTable) -> dict[tuple[tuple[str, int], ...], list[IsotopePattern]]:
    """Patterns of the ions of the table and of common ones, in the charge states that occur, by their elements."""
    found = {}
    for elements, charges in COMMON_IONS:
        patterns = [isotope_pattern(elements, charge, _MIN_ABUNDANCE) for charge in charges]
        found[tuple(sorted(elements))] = [pattern for pattern in patterns if pattern is not None]
    for ion in table.ions:
        key = tuple(sorted(ion.elements))
        if key not in found and _patterns(ion):
            found[key] = _patterns(ion)[:2]
    return found


def _rivals(
    ion: Ion,
    item: MassRange,
    inside: Sequence[_State],
    others: dict[tuple[tuple[str, int], ...], list[IsotopePattern]],
    tolerance_da: float,
) -> list[Issue]:
    own = max((state.abundance / state.pattern.abundance.max() for state in inside), default=0.0)
    rivals = [
        state
        for key, patterns in others.items()
        if key != tuple(sorted(ion.elements))
        for state in _inside(patterns, item, tolerance_da)
        if state.is_main
    ]
    if not rivals:
        return []
    rivals.sort(key=lambda state: (state.pattern.charge, -state.abundance))
    text = f"range {item.lo_da:g} to {item.hi_da:g} Da ({ion.name})"
    named = ", ".join(f"{format_formula(s.pattern.elements)}: {s}" for s in rivals[:4])
    if own < 0.1:
        what = "no isotopologue" if own == 0 else f"a rare isotopologue (at most {own:.1%} of the main one)"
        return [Issue("better-ion", f"{text} holds {what} of its ion, but the main one of {named}")]
    return [Issue("ambiguous", f"{text} also holds the main isotopologue of {named}", "info")]


def _missing(table: RangeTable, held: dict[tuple[int, int], float], tolerance_da: float) -> list[Issue]:
    issues = []
    pieces = table.disjoint()
    for (idx, charge), best in sorted(held.items()):
        ion = table.ions[idx]
        pattern = isotope_pattern(ion.elements, charge, _MIN_ABUNDANCE)
        # rare isotopologues fall into ranges by chance; a charge state is meant when a good part of it is ranged
        if pattern is None or best < 0.05 * pattern.abundance.max():
            continue
        main = _State(pattern, pattern.base)
        mass = float(pattern.mass_da[pattern.base])
        owners = {r.ion_idx for r in pieces if r.lo_da - tolerance_da <= mass <= r.hi_da + tolerance_da}
        if idx not in owners:
            names = ", ".join(table.ions[owner].name for owner in sorted(owners))
            where = f"it lies in a range of {names}" if owners else "it lies in no range"
            severity = "info" if owners else "warning"
            message = f"{ion.name} {charge}+ is ranged, but not its main isotopologue {main}: {where}"
            issues.append(Issue("missing-isotope", message, "info" if severity == "info" else "warning"))
    return issues
