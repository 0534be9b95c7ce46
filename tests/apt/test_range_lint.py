from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from napari_aptdefect.apt.ranging import check_ranges, lint_ranges
from napari_aptdefect.data.elements import parse_formula
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import Issue
from napari_aptdefect.io.rrng import read_rrng


def _table(*items: tuple[float, float, str]) -> RangeTable:
    names = list(dict.fromkeys(name for _, _, name in items))
    ions = tuple(Ion(name, parse_formula(name)) for name in names)
    return RangeTable(ions, tuple(MassRange(lo, hi, names.index(name)) for lo, hi, name in items))


def _found(issues: tuple[Issue, ...], code: str) -> list[str]:
    return [issue.message for issue in issues if issue.code == code]


def test_states_of_each_range_are_named() -> None:
    issues = lint_ranges(_table((13.9, 14.1, "Si"), (27.9, 28.1, "Si")))
    states = _found(issues, "states")
    assert "28Si 2+ at 13.988 (92.3%)" in states[0]
    assert "28Si 1+ at 27.976 (92.3%)" in states[1]
    assert not _found(issues, "charge-state")


def test_a_range_without_its_ion_names_the_nearest() -> None:
    issues = lint_ranges(_table((40.0, 40.2, "Al")))
    (message,) = _found(issues, "charge-state")
    assert "the nearest is 27Al 1+ at 26.981 (100.0%)" in message
    assert [issue.severity for issue in issues if issue.code == "charge-state"] == ["warning"]


def test_silicon_and_nitrogen_share_mass_14() -> None:
    silicon, nitrogen = lint_ranges(_table((13.9, 14.1, "Si"))), lint_ranges(_table((13.9, 14.1, "N")))
    assert "N: 14N 1+" in _found(silicon, "ambiguous")[0]
    assert "N2: 14N2 2+" in _found(silicon, "ambiguous")[0]
    assert "Si: 28Si 2+" in _found(nitrogen, "ambiguous")[0]


def test_a_rare_isotope_gives_way_to_a_main_one() -> None:
    (message,) = _found(lint_ranges(_table((17.9, 18.1, "O"))), "better-ion")
    assert "H2O: 1H216O 1+ at 18.010" in message


def test_missing_main_isotope() -> None:
    issues = lint_ranges(_table((70.8, 71.1, "Ga")))
    (message,) = _found(issues, "missing-isotope")
    assert "Ga 1+" in message
    assert "69Ga 1+ at 68.925" in message
    assert "no range" in message
    assert not _found(lint_ranges(_table((70.8, 71.1, "Ga"), (68.8, 69.1, "Ga"))), "missing-isotope")
    elsewhere = lint_ranges(_table((70.8, 71.1, "Ga"), (68.8, 69.1, "V")))
    assert "a range of V" in _found(elsewhere, "missing-isotope")[0]


def test_overlaps_duplicates_and_touching_ranges() -> None:
    issues = lint_ranges(_table((13.9, 14.1, "Si"), (14.05, 14.2, "N"), (13.9, 14.1, "Si"), (14.2, 14.3, "C")))
    codes = Counter(issue.code for issue in issues)
    assert (codes["overlap"], codes["duplicate-range"], codes["touching"]) == (1, 1, 1)


def test_labels_are_told_to_be_unchecked() -> None:
    issues = lint_ranges(
        RangeTable((Ion("peak 34.50"), Ion("A", (("A", 1),))), (MassRange(34, 35, 0), MassRange(1, 2, 1)))
    )
    assert [issue.code for issue in issues] == ["no-elements"]
    assert "peak 34.50, A" in issues[0].message


def test_many_ranges_take_no_quadratic_time() -> None:
    # 20,000 nested ranges; comparing all pairs would be 2e8 steps
    ranges = tuple(MassRange(1 + k * 1e-5, 30 - k * 1e-5, 0) for k in range(20_000))
    issues = lint_ranges(RangeTable((Ion("label"),), ranges))
    assert Counter(issue.code for issue in issues)["overlap"] == 19_999


@pytest.mark.filterwarnings("ignore::napari_aptdefect.errors.DataWarning")
def test_real_tables_lint(shared_data) -> None:
    paths = [p for p in (shared_data / "rangefiles_ifes" / "rrng").glob("**/*") if p.suffix.lower() == ".rrng"]
    assert len(paths) == 8
    for path in paths:
        table = read_rrng(path)
        codes = Counter(issue.code for issue in lint_ranges(table))
        # these ranges were drawn by people over peaks: hardly any holds no isotope of its ion
        assert codes["charge-state"] <= 0.05 * len(table.ranges)


def test_the_spectrum_contradicts_the_published_ranges(si_dir) -> None:
    # Si.RRNG calls the peaks at 58, 60, 61, 62 Da Cr2O; their ratio is that of nickel
    # (68.1 : 26.2 : 1.1 : 3.6, IUPAC), and no peak of chromium is in the spectrum
    mass = np.fromfile(si_dir / "Si.pos", ">f4").reshape(-1, 4)[:, 3].astype(np.float32)
    issues = check_ranges(read_rrng(si_dir / "Si.RRNG"), mass)
    better = _found(issues, "better-ion")
    assert any("57.819 to 61.159 Da (Cr2O)" in message and message.endswith("is Ni") for message in better)
    assert any("51.699 to 54.243 Da (Cr)" in message for message in _found(issues, "empty-range"))
    assert not any("13.8745" in message for message in better)
