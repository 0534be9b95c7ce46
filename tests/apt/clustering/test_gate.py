"""The gate keeps the share of chance that it states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_aptdefect.apt.clustering import Gate
from napari_aptdefect.errors import ParameterError, ShapeError


def test_p_values_count_what_is_at_least_as_large() -> None:
    rng = np.random.default_rng(0)
    calibration, scores = rng.integers(0, 9, 50), rng.integers(-1, 10, 20)
    expected = [(1 + np.sum(calibration >= s)) / 51 for s in scores]
    np.testing.assert_allclose(Gate.fit(calibration).p_values(scores), expected)


@given(st.lists(st.integers(0, 20), max_size=60), st.floats(0.001, 0.999))
def test_the_threshold_is_where_the_p_value_falls_to_the_level(calibration: list[int], level: float) -> None:
    gate = Gate.fit(np.array(calibration, float))
    scores = np.arange(-1, 23, 0.5)
    below = gate.p_values(scores) <= level * (1 + 1e-12)
    np.testing.assert_array_equal(scores > gate.threshold(level), below)


def test_chance_passes_as_often_as_stated() -> None:
    rng = np.random.default_rng(1)
    passed = [np.mean(Gate.fit(rng.normal(size=99)).p_values(rng.normal(size=200)) <= 0.1) for _ in range(300)]
    assert np.mean(passed) == pytest.approx(0.1, abs=0.008)


def test_too_few_scores_show_nothing_rare() -> None:
    assert Gate.fit(np.arange(98.0)).threshold(0.01) == np.inf
    assert Gate.fit(np.arange(99.0)).threshold(0.01) == 98
    assert Gate.fit([]).threshold(0.5) == np.inf


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 calibration scores are NaN"):
        Gate.fit([1.0, np.nan])
    with pytest.raises(ParameterError, match="level"):
        Gate.fit([1.0]).threshold(0.0)
    assert np.isnan(Gate.fit([1.0]).p_values([np.nan])).all()
