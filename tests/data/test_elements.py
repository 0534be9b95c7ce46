from __future__ import annotations

import subprocess
import sys

import numpy as np
import periodictable
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_aptdefect.data.elements import (
    SYMBOLS,
    elements_of_name,
    format_formula,
    isotope_pattern,
    isotopes,
    merge_elements,
    parse_formula,
)


def test_symbols_are_those_of_the_library() -> None:
    assert tuple(element.symbol for element in periodictable.elements if element.number > 0) == SYMBOLS


def test_the_library_is_loaded_only_when_isotopes_are_asked_for() -> None:
    code = (
        "import sys, napari_aptdefect.io.rrng, napari_aptdefect.data.elements as e; e.parse_formula('GaN');"
        "assert 'periodictable' not in sys.modules; e.isotopes('Ga'); assert 'periodictable' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("Si", (("Si", 1),)),
        ("Cr2O", (("Cr", 2), ("O", 1))),
        ("C12", (("C", 12),)),
        ("OH3O", (("O", 2), ("H", 3))),
        ("CO", (("C", 1), ("O", 1))),
        ("Co", (("Co", 1),)),
        ("", ()),
        ("A", ()),
        ("si", ()),
        ("H0", ()),
        ("H1001", ()),
        ("Si 2", ()),
        ("Si\n", ()),
        ("52pt5", ()),
        ("Si²", ()),
    ],
)
def test_formulas(text: str, elements: tuple[tuple[str, int], ...]) -> None:
    assert parse_formula(text) == elements


@given(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 99)), min_size=1, max_size=5))
@settings(derandomize=True, max_examples=100)
def test_formulas_round_trip(pairs: list[tuple[str, int]]) -> None:
    elements = merge_elements(pairs)
    assert parse_formula(format_formula(elements)) == elements


def test_names_of_invented_symbols() -> None:
    assert elements_of_name("Aa") == (("Aa", 1),)
    assert elements_of_name("HiggsBoson") == ()


def test_isotopes_of_gallium() -> None:
    # IUPAC 2013: 69Ga 60.108 %, 71Ga 39.892 %
    light, heavy = isotopes("Ga")
    assert (light.number, heavy.number) == (69, 71)
    assert light.abundance == pytest.approx(0.60108, abs=1e-4)
    assert light.mass_da == pytest.approx(68.92557, abs=1e-4)
    assert isotopes("Tc") == isotopes("Xx") == ()


def test_pattern_takes_the_mass_of_the_electrons_off() -> None:
    pattern = isotope_pattern((("Ga", 1),), 2)
    assert pattern is not None
    assert pattern.mass_da[0] == pytest.approx((68.9255735 - 2 * 0.00054858) / 2, abs=1e-6)
    assert pattern.name == "Ga 2+"


def test_pattern_of_a_molecule_is_the_convolution() -> None:
    pattern = isotope_pattern((("Ga", 2),), 1)
    assert pattern is not None
    a, b = (isotope.abundance for isotope in isotopes("Ga"))
    assert pattern.abundance == pytest.approx([a * a, 2 * a * b, b * b])
    assert pattern.labels == ("69Ga2", "69Ga71Ga", "71Ga2")
    assert pattern.base == 1


@pytest.mark.parametrize("formula", ["Si", "GaN", "Cr2O", "Sn3", "Mo2", "C12", "Nd2O3"])
def test_patterns_add_up_and_keep_the_mean_mass(formula: str) -> None:
    elements = parse_formula(formula)
    pattern = isotope_pattern(elements, 1, 1e-6)
    assert pattern is not None
    assert np.all(np.diff(pattern.mass_da) > 0)
    assert pattern.abundance.sum() == pytest.approx(1, abs=1e-3)
    mean = sum(count * sum(i.mass_da * i.abundance for i in isotopes(symbol)) for symbol, count in elements)
    assert np.average(pattern.mass_da, weights=pattern.abundance) == pytest.approx(mean - 0.00054858, abs=2e-3)


def test_no_pattern_without_natural_isotopes() -> None:
    assert isotope_pattern((("Tc", 1),), 1) is None
    assert isotope_pattern((("A", 1), ("O", 1)), 1) is None


def test_uranium_has_its_main_isotope() -> None:
    (main,) = isotopes("U")
    assert (main.number, round(main.mass_da, 2), main.abundance) == (238, 238.05, 1.0)
