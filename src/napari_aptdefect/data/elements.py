"""Chemical formulas and isotope patterns of ions; masses and abundances are those of `periodictable`, loaded lazily."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Elements = tuple[tuple[str, int], ...]
"""(symbol, count) pairs, in the order a formula writes them."""

_PERIODIC_TABLE: Final = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru
Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At
Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS: Final = tuple(_PERIODIC_TABLE.split())
"""Symbols of the chemical elements by atomic number."""

MAX_ATOMS: Final = 1000
"""Largest count of one element in an ion that a formula may ask for."""

# total mass, abundance, and how many of each isotope
_Peak = tuple[float, float, Mapping[tuple[str, int], int]]

_KNOWN: Final = frozenset(SYMBOLS)
_PART: Final = re.compile(r"([A-Z][a-z]?)([0-9]{0,4})")
_FORMULA: Final = re.compile(r"(?:[A-Z][a-z]?[0-9]{0,4})+")
# Isotopologues closer than this at charge 1 can't be told apart by an atom probe; merging them bounds their number.
_MERGE_DA: Final = 0.004


def is_element(symbol: str) -> bool:
    """Whether a symbol names a chemical element."""
    return symbol in _KNOWN


def merge_elements(pairs: Iterable[tuple[str, int]]) -> Elements:
    """Add up the counts of equal symbols, keeping the order of their first occurrence."""
    total: dict[str, int] = {}
    for symbol, count in pairs:
        total[symbol] = total.get(symbol, 0) + count
    return tuple(total.items())


def parse_formula(text: str) -> Elements:
    """Elements of a chemical formula such as ``"Cr2O"``; empty when the text is no formula of chemical elements.

    Examples
    --------
    >>> parse_formula("Cr2O")
    (('Cr', 2), ('O', 1))
    >>> parse_formula("unknown60")
    ()
    """
    if not _FORMULA.fullmatch(text):
        return ()
    pairs = [(symbol, int(count or 1)) for symbol, count in _PART.findall(text)]
    if not all(symbol in _KNOWN and 0 < count <= MAX_ATOMS for symbol, count in pairs):
        return ()
    return merge_elements(pairs)


def elements_of_name(name: str) -> Elements:
    """Elements that the name of an ion stands for: a formula, or one invented symbol such as ``"A"`` in a simulation.

    Examples
    --------
    >>> elements_of_name("A"), elements_of_name("52pt5")
    ((('A', 1),), ())
    """
    return parse_formula(name) or (((name, 1),) if re.fullmatch(r"[A-Z][a-z]?", name) else ())


def format_formula(elements: Elements) -> str:
    """Formula of (symbol, count) pairs, in their order.

    Examples
    --------
    >>> format_formula((("Cr", 2), ("O", 1)))
    'Cr2O'
    """
    return "".join(f"{symbol}{count if count != 1 else ''}" for symbol, count in elements)


@dataclass(frozen=True, slots=True)
class Isotope:
    """One natural isotope: mass number, atomic mass in Da, abundance as a fraction."""

    number: int
    mass_da: float
    abundance: float


@lru_cache(maxsize=256)
def isotopes(symbol: str) -> tuple[Isotope, ...]:
    """Natural isotopes of an element, lightest first; empty for an unknown symbol and for elements without any.

    Notes
    -----
    Masses and abundances are those of the pinned `periodictable`; abundances are scaled to add up to one. For uranium,
    whose abundances its release 2.1.0 loses, the isotope nearest to the standard atomic weight stands for all. Elements
    whose weight is a mere mass number (Tc, Pm, ...) have no natural isotopes.
    """
    if symbol not in _KNOWN:
        return ()
    from periodictable import elements as table  # loading it costs 20 ms that only these functions need

    element = table.symbol(symbol)
    found = [(number, element[number].mass, element[number].abundance) for number in element.isotopes]
    total = sum(abundance for _, _, abundance in found)
    if not total and element.mass != round(element.mass):
        found = [min(((n, mass, 1.0) for n, mass, _ in found), key=lambda item: abs(item[1] - element.mass))]
        total = 1.0
    return tuple(Isotope(n, float(m), float(a) / total) for n, m, a in sorted(found) if a > 0)


@dataclass(frozen=True, eq=False)
class IsotopePattern:
    """The peaks that one ion in one charge state makes in a mass spectrum.

    Parameters
    ----------
    elements
        What the ion is made of.
    charge
        Charge state, 1 or more.
    mass_da
        Shape (K,), float64, mass-to-charge ratios of the isotopologues, Da, ascending.
    abundance
        Shape (K,), float64, their shares; they add up to one less what was pruned.
    labels
        What each isotopologue is made of, such as ``"69Ga14N"``; of merged ones, the most abundant.
    """

    elements: Elements
    charge: int
    mass_da: NDArray[np.float64]
    abundance: NDArray[np.float64]
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """Formula and charge, such as ``"Si 2+"``."""
        return f"{format_formula(self.elements)} {self.charge}+"

    @property
    def base(self) -> int:
        """Index of the most abundant isotopologue."""
        return int(np.argmax(self.abundance))


@lru_cache(maxsize=8192)
def isotope_pattern(elements: Elements, charge: int, min_abundance: float = 1e-4) -> IsotopePattern | None:
    """Isotopologues of an ion; None when it holds a symbol without natural isotopes.

    Parameters
    ----------
    elements
        (symbol, count) pairs.
    charge
        Charge state.
    min_abundance
        Isotopologues rarer than this are left out.

    Notes
    -----
    The distribution is the convolution of the isotope distributions of the atoms; m/q = (sum of atomic masses -
    charge * electron mass) / charge. Isotopologues of one nominal mass that differ by less than 4 mDa are merged
    (abundance-weighted mean mass).

    Examples
    --------
    >>> pattern = isotope_pattern((("Si", 1),), 2)
    >>> pattern.labels, pattern.mass_da.round(3).tolist(), pattern.abundance.round(3).tolist()
    (('28Si', '29Si', '30Si'), [13.988, 14.488, 14.986], [0.923, 0.047, 0.031])
    """
    from periodictable.constants import electron_mass

    peaks: list[_Peak] = [(0.0, 1.0, {})]
    for symbol, count in elements:
        natural = isotopes(symbol)
        if not natural:
            return None
        for _ in range(count):
            grown: list[_Peak] = []
            for mass, share, parts in peaks:
                for isotope in natural:
                    key = (symbol, isotope.number)
                    weight = share * isotope.abundance
                    grown.append((mass + isotope.mass_da, weight, {**parts, key: parts.get(key, 0) + 1}))
            peaks = _merge(grown, min_abundance * 1e-2)
    kept = [peak for peak in peaks if peak[1] >= min_abundance]
    return IsotopePattern(
        elements,
        charge,
        np.array([(mass - charge * electron_mass) / charge for mass, _, _ in kept]),
        np.array([share for _, share, _ in kept]),
        tuple(_label(parts) for _, _, parts in kept),
    )


def _merge(peaks: list[_Peak], floor: float) -> list[_Peak]:
    merged: list[_Peak] = []
    strongest = 0.0
    for mass, share, parts in sorted(peaks, key=lambda peak: peak[0]):
        if share < floor:
            continue
        if merged and mass - merged[-1][0] < _MERGE_DA:
            other_mass, other_share, other_parts = merged[-1]
            total = share + other_share
            mean = (mass * share + other_mass * other_share) / total
            merged[-1] = (mean, total, parts if share > strongest else other_parts)
            strongest = max(strongest, share)
        else:
            merged.append((mass, share, parts))
            strongest = share
    return merged


def _label(parts: Mapping[tuple[str, int], int]) -> str:
    return "".join(f"{number}{symbol}{count if count != 1 else ''}" for (symbol, number), count in parts.items())
