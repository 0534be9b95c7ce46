from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable, overlap_issues
from napari_aptdefect.errors import ParameterError, ShapeError

IONS = (Ion("A"), Ion("B"), Ion("C"))


def _table(*limits: tuple[float, float, int]) -> RangeTable:
    return RangeTable(IONS, tuple(MassRange(lo, hi, idx) for lo, hi, idx in limits))


def _by_hand(table: RangeTable, mass: float, dtype: type[np.floating]) -> int:
    """The rule in words: of all ranges that hold the mass, the one that starts lowest, then the first in the file."""
    holding = [
        (r.lo_da, number, r.ion_idx)
        for number, r in enumerate(table.ranges)
        if dtype(r.lo_da) <= dtype(mass) <= dtype(r.hi_da)
    ]
    return min(holding)[2] if holding else -1


# few distinct values, so that limits coincide, touch, repeat and meet masses
_grid = st.integers(-3, 12).map(lambda k: k / 4) | st.sampled_from([20.088, 0.1, 1e7, 1e-300, 3.4e38, 1e300])
_limits = st.tuples(_grid, _grid, st.integers(0, 2)).map(lambda t: (min(t[:2]), max(t[:2]), t[2]))
_masses = _grid | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0]) | st.floats(-2, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.lists(_limits, max_size=12), st.lists(_masses, max_size=20))
@settings(derandomize=True, max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_assign_agrees_with_the_rule_in_words(
    dtype: type[np.floating], limits: list[tuple[float, float, int]], masses: list[float]
) -> None:
    limits = [item for item in limits if dtype is np.float64 or max(abs(item[0]), abs(item[1])) < 3.4e38]
    table = _table(*limits)
    near = [np.nextafter(dtype(r[k]), dtype(side)) for r in limits for k in (0, 1) for side in (-np.inf, np.inf)]
    values = np.array([*masses, *(r[k] for r in limits for k in (0, 1)), *near], dtype)
    expected = [_by_hand(table, float(value), dtype) for value in values]
    assert table.assign(values).tolist() == expected


def test_limits_are_closed_in_the_precision_of_the_masses() -> None:
    # one ion of a published data set sits at float32(20.0880): closed intervals give 223,539 Ca ions, half-open ones
    # 223,538
    for limit in (20.088, 0.1, 14.2410, 13.8745):  # rounding to float32 goes down for some and up for others
        below = _table((0, limit, 0))
        above = _table((limit, 99, 1))
        assert below.assign(np.array([limit], np.float32)).tolist() == [0]
        assert above.assign(np.array([limit], np.float32)).tolist() == [1]
        assert below.assign(np.array([limit], ">f4")).tolist() == [0]
        assert below.assign(np.array([limit])).tolist() == [0]


def test_touching_ranges_give_their_common_mass_to_the_lower_one() -> None:
    table = _table((2, 3, 1), (1, 2, 0))
    assert table.assign(np.array([1, 2, 2.0001, 3])).tolist() == [0, 0, 1, 1]


def test_integers_and_empty_arrays() -> None:
    table = _table((1, 2, 0))
    assert table.assign(np.array([0, 1, 2, 3])).tolist() == [-1, 0, 0, -1]
    assert table.assign(np.zeros(0, np.float32)).shape == (0,)
    assert RangeTable((), ()).assign(np.array([1.0])).tolist() == [-1]


def test_many_masses_agree_with_few_at_a_time() -> None:
    rng = np.random.default_rng(0)
    masses = rng.uniform(0, 10, 600_000).astype(np.float32)
    table = _table((1, 2, 0), (1.5, 4, 1), (3, 3.5, 2))
    whole = table.assign(masses)
    assert whole.dtype == np.int16
    assert np.array_equal(whole, np.concatenate([table.assign(part) for part in np.array_split(masses, 7)]))


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.array(["a"]), np.float64(1.0)])
def test_masses_must_be_numbers_in_one_dimension(bad: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="one-dimensional"):
        _table((1, 2, 0)).assign(bad)


@pytest.mark.parametrize("limits", [(2, 1, 0), (np.nan, 1, 0), (1, np.inf, 0), (1, 2, 3), (1, 2, -1)])
def test_impossible_ranges_are_refused(limits: tuple[float, float, int]) -> None:
    with pytest.raises(ParameterError, match="range 1"):
        _table(limits)


@given(st.lists(_limits.filter(lambda item: max(abs(item[0]), abs(item[1])) < 1e9), max_size=10))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_disjoint_pieces_hold_what_the_ranges_hold(limits: list[tuple[float, float, int]]) -> None:
    table = _table(*limits)
    pieces = table.disjoint()
    for first, second in pairwise(pieces):
        assert first.hi_da < second.lo_da
    values = np.array([*(r[k] for r in limits for k in (0, 1)), *np.arange(-1, 4, 0.125)])
    assert np.array_equal(RangeTable(IONS, pieces).assign(values), table.assign(values))


def test_overlaps_are_told_once_per_range() -> None:
    table = _table((1, 2, 0), (5, 6, 0), (1.5, 3, 1), (1, 2, 0), (5, 6, 1), (2.5, 2.6, 1))
    issues = overlap_issues(table.ions, table.ranges, [11, 12, 13, 14, 15, 16])
    assert [(issue.code, issue.line) for issue in issues] == [
        ("overlap", 13),
        ("duplicate-range", 14),
        ("overlap", 15),
        ("overlap", 16),
    ]
    assert "0.5 Da; A wins there" in issues[0].message


def test_ranges_that_only_touch_do_not_overlap() -> None:
    table = _table((1, 2, 0), (2, 3, 1), (3, 3, 2))
    assert overlap_issues(table.ions, table.ranges) == ()


@given(st.lists(_limits, max_size=10))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_every_overlapping_range_is_told(limits: list[tuple[float, float, int]]) -> None:
    table = _table(*limits)
    told = len(overlap_issues(table.ions, table.ranges))
    order = sorted(range(len(limits)), key=lambda i: limits[i][0])
    expected = 0
    for place, idx in enumerate(order):
        earlier = [limits[other] for other in order[:place]]
        expected += limits[idx] in earlier or any(limits[idx][0] < other[1] for other in earlier)
    assert told == expected
