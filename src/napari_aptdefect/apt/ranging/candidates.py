"""Which ions may be in a spectrum, and how surprising each would be: the prior of the peak assignment.

The prior is a judgment, in units of chi-square: an ion is accepted when it improves the fit of the spectrum by more
than its cost. A well-measured peak is worth at most 1 / (model error)^2 = 400 units, so a rare element has to explain
more than one peak, while a common one may rest on one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from napari_aptdefect.data.elements import SYMBOLS, Elements, IsotopePattern, isotope_pattern, isotopes, parse_formula


def _words(text: str) -> list[str]:
    return text.split()


GASES: Final = ("H", "C", "N", "O")
"""Elements that any vacuum holds; their ions and their compounds with others are always possible."""

_COMMON: Final = frozenset(
    _words("Li B Na Mg Al Si P S Cl K Ca Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Zr Nb Mo Ag In Sn Ta W Pt Au")
)
_ONLY_SINGLE: Final = frozenset(_words("H He Li F Ne Na Cl Ar K Br Kr Rb I Xe Cs Hg"))
_COST_COMMON: Final = 30.0
_COST_RARE: Final = 450.0
_COST_UNEXPECTED_GAS: Final = 10.0
_COST_CHARGE: Final = {1: 0.0, 2: 0.0, 3: 60.0, 4: 150.0}
_COST_GAS_CHARGE: Final = 30.0
_COST_MOLECULE: Final = 25.0
_COST_PER_ATOM: Final = 15.0
_COST_MOLECULE_CHARGE: Final = 40.0

_GAS_MOLECULES: Final = tuple(
    _words("H2 H3 OH H2O H3O O2 N2 N3 NO NH NH2 NH3 CO CO2 CH CH2 CH3 C2 C3 CN N2H C2H2 C2H3")
)
_COMPOUNDS: Final = tuple(
    _words("XH XH2 XH3 XC XC2 XN XN2 XN3 XO XO2 XO3 XOH XO2H X2 X2H X2C X2N X2O X2O2 X2O3 X3 X3N X3O X3O2")
)

COMMON_IONS: Final[tuple[tuple[Elements, tuple[int, ...]], ...]] = tuple(
    (parse_formula(name), charges)
    for name, charges in (
        ("H", (1,)), ("H2", (1,)), ("C", (1, 2)), ("N", (1,)), ("N2", (1, 2)), ("O", (1,)), ("O2", (1,)), ("OH", (1,)),
        ("H2O", (1,)), ("CO", (1,)), ("CO2", (1,)), ("Al", (1, 2, 3)), ("Si", (1, 2)), ("Ti", (2, 3)), ("Cr", (1, 2)),
        ("Fe", (1, 2)), ("Ni", (1, 2)), ("Cu", (1, 2)), ("Ga", (1, 2)),
    )
)  # fmt: skip
"""(elements, charge states) of ions that many spectra hold; a range is checked against them."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An ion in a charge state, with its isotope pattern and its prior cost."""

    pattern: IsotopePattern
    cost: float

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the ion."""
        return sum(count for _, count in self.pattern.elements)


def atomic_candidates(expected: Collection[str], max_charge: int) -> Iterator[Candidate]:
    """Single atoms: the expected elements and gases, or all that have natural isotopes when none is named."""
    for symbol in SYMBOLS:
        if not isotopes(symbol) or (expected and symbol not in expected and symbol not in GASES):
            continue
        if symbol in expected:
            cost = 0.0
        elif symbol in GASES:
            cost = _COST_UNEXPECTED_GAS
        else:
            cost = _COST_COMMON if symbol in _COMMON else _COST_RARE
        for charge in range(1, (1 if symbol in _ONLY_SINGLE else max_charge) + 1):
            extra = _COST_CHARGE[charge] + (_COST_GAS_CHARGE if symbol in GASES and charge > 1 else 0.0)
            pattern = isotope_pattern(((symbol, 1),), charge)
            if pattern is not None:
                yield Candidate(pattern, cost + extra)


def molecular_candidates(
    elements: Collection[str], named: Collection[Elements], max_charge: int
) -> Iterator[Candidate]:
    """Simple molecules of gases and of the given elements, and those that the user names."""
    formulas: dict[Elements, None] = {parse_formula(name): None for name in _GAS_MOLECULES}
    solids = sorted(set(elements) - set(GASES))
    for symbol in solids:
        formulas.update({parse_formula(compound.replace("X", symbol)): None for compound in _COMPOUNDS})
    for first in solids:
        formulas.update({((first, 1), (second, 1)): None for second in solids if first < second})
    for wanted in [*formulas, *named]:
        n_atoms = sum(count for _, count in wanted)
        cost = 0.0 if wanted in named else _COST_MOLECULE + _COST_PER_ATOM * (n_atoms - 2)
        for charge in range(1, min(max_charge, 2) + 1):
            pattern = isotope_pattern(wanted, charge)
            if pattern is not None:
                yield Candidate(pattern, cost + _COST_MOLECULE_CHARGE * (charge - 1))
