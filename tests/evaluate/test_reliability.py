"""Reliability: scikit-learn's curve and Brier score, and errors where there are any."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.evaluate.reliability import reliability


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 2, 5000)
    happened = rng.random(5000) < p**1.3
    found = reliability(p, happened, 15)
    frequency, mean = calibration_curve(happened, p, n_bins=15)
    np.testing.assert_allclose(found.frequency, frequency)
    np.testing.assert_allclose(found.probability, mean)
    assert found.brier == pytest.approx(brier_score_loss(happened, p))
    assert found.n.sum() == 5000
    assert found.base_rate == happened.mean()
    assert found.as_dict()["n"] == found.n.tolist()


def test_honest_probabilities_have_little_error_and_others_have_theirs() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(100_000)
    happened = rng.random(100_000) < p
    assert reliability(p, happened).calibration_error < 0.01
    assert reliability(np.clip(p + 0.1, 0, 1), happened).calibration_error == pytest.approx(0.095, abs=0.01)


def test_the_ends_are_in_a_bin() -> None:
    found = reliability([0.0, 1.0], [False, True])
    assert found.n.tolist() == [1, 1]
    assert found.brier == found.calibration_error == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(EmptySelectionError):
        reliability([], [])
    with pytest.raises(ParameterError, match="between 0 and 1"):
        reliability([1.2], [True])
    with pytest.raises(ParameterError, match="n_bins"):
        reliability([0.2], [True], 0)
    with pytest.raises(ShapeError):
        reliability([0.2, 0.3], [True])
