"""Confidence intervals, held to scipy, to a table, and to their own promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate import intervals
from napari_aptdefect.evaluate.intervals import bootstrap_interval, flatten, intervals_of, student_interval

VALUES = [0.61, 0.55, 0.70, 0.58, 0.64, 0.66, 0.52, 0.59, 0.63, 0.60]


def test_student_agrees_with_the_table() -> None:
    interval = student_interval(VALUES)
    half = 2.262157 * np.std(VALUES, ddof=1) / np.sqrt(10)  # t(9, 0.975)
    assert (interval.low, interval.high) == pytest.approx((np.mean(VALUES) - half, np.mean(VALUES) + half))
    assert (interval.n, interval.n_undefined, interval.method) == (10, 0, "student")


def test_bootstrap_agrees_with_scipy() -> None:
    interval = bootstrap_interval(VALUES, n_draws=50_000)
    rng = np.random.default_rng(1)
    oracle = stats.bootstrap((VALUES,), np.mean, n_resamples=50_000, method="percentile", rng=rng).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), abs=1e-3)
    assert interval.mean == pytest.approx(np.mean(VALUES))


def test_bootstrap_is_deterministic_and_seeded() -> None:
    assert bootstrap_interval(VALUES) == bootstrap_interval(VALUES)
    assert bootstrap_interval(VALUES, seed=1) != bootstrap_interval(VALUES, seed=2)


def test_blocks_give_as_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_BLOCK", 64)
    whole = bootstrap_interval(VALUES, n_draws=1001)
    monkeypatch.setattr(intervals, "_BLOCK", 1 << 22)
    assert whole == bootstrap_interval(VALUES, n_draws=1001)


def test_student_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        interval = student_interval(rng.normal(0.5, 0.1, 5), level=0.9)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.87 < covered / 1000 < 0.93  # three standard errors


@pytest.mark.parametrize("make", [student_interval, bootstrap_interval])
class TestBoth:
    def test_one_value_has_no_interval(self, make: type) -> None:
        interval = make([0.5])
        assert interval.mean == 0.5
        assert np.isnan([interval.low, interval.high]).all()

    def test_none_has_no_mean(self, make: type) -> None:
        assert np.isnan(make([np.nan]).mean)
        assert make([np.nan]).n_undefined == 1

    def test_undefined_values_are_left_out(self, make: type) -> None:
        with_nan, without = make([0.4, np.nan, 0.6]), make([0.4, 0.6])
        assert (with_nan.low, with_nan.high, with_nan.n) == (without.low, without.high, 2)
        assert with_nan.n_undefined == 1

    def test_equal_values_have_a_point(self, make: type) -> None:
        interval = make([0.5, 0.5, 0.5])
        assert interval.low == interval.high == 0.5

    @pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
    def test_refuses_levels(self, make: type, level: float) -> None:
        with pytest.raises(ParameterError, match="between 0 and 1"):
            make([0.5, 0.6], level=level)


def test_refuses_no_draws() -> None:
    with pytest.raises(ParameterError, match="at least 1"):
        bootstrap_interval([0.5, 0.6], n_draws=0)


def test_flatten_passes_over_what_is_no_number() -> None:
    flat = flatten({"a": {"b": 1, "c": None, "d": "text", "e": True}, "f": [1, 2]})
    assert flat == pytest.approx({"a.b": 1.0, "a.c": np.nan}, nan_ok=True)


def test_intervals_of_several_scores() -> None:
    found = intervals_of([{"ions": {"f1": 0.4}}, {"ions": {"f1": 0.6, "iou": 0.3}}, {"ions": {"f1": None}}], "student")
    assert list(found) == ["ions.f1", "ions.iou"]
    assert found["ions.f1"].mean == 0.5
    assert (found["ions.f1"].n, found["ions.f1"].n_undefined) == (2, 1)
    assert (found["ions.iou"].n, found["ions.iou"].n_undefined) == (1, 2)
