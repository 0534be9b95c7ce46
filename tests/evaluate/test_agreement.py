"""Chance-corrected indices, held to scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from napari_aptdefect.evaluate import agreement
from napari_aptdefect.evaluate.agreement import adjusted_mutual_information, adjusted_rand, contingency

labels = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 6)), min_size=1, max_size=60)


@settings(derandomize=True, deadline=None)
@given(labels)
def test_scikit_learn_agrees(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    table = contingency(a, b)
    assert table.n_ions == len(pairs)
    assert adjusted_rand(table) == pytest.approx(metrics.adjusted_rand_score(a, b), abs=1e-9)
    assert adjusted_mutual_information(table) == pytest.approx(metrics.adjusted_mutual_info_score(a, b), abs=1e-6)


@settings(derandomize=True, deadline=None)
@given(labels)
def test_sorting_and_counting_give_the_same_table(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    counted = contingency(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "_DENSE", 0)
        sorted_ = contingency(a, b)
    for name in ("row", "column", "count"):
        np.testing.assert_array_equal(getattr(counted, name), getattr(sorted_, name))


def test_no_ions() -> None:
    empty = contingency(np.zeros(0, int), np.zeros(0, int))
    assert np.isnan(adjusted_rand(empty))
    assert np.isnan(adjusted_mutual_information(empty))


def test_by_hand() -> None:
    # Hubert & Arabie: together 2, first 2 + ... : {0,1},{2,3} against {0,1,2},{3}: s = 1, a = 2, b = 3, t = 6
    table = contingency(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    assert adjusted_rand(table) == pytest.approx((1 - 1) / (2.5 - 1))
