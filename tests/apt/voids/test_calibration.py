"""The tail of the evidence in void-free clouds."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.voids.calibration import fit_tail


def test_tail_recovers_the_rate_of_an_exponential_law() -> None:
    evidence = np.random.default_rng(0).exponential(2.0, 3000)
    alarms = fit_tail(evidence, n_clouds=10, share=0.5)
    assert alarms.scale == pytest.approx(2.0, rel=0.1)
    for t in (4.0, 8.0):
        assert alarms.expected(t) == pytest.approx(3000 / 5 * np.exp(-t / 2), rel=0.25)
    assert alarms.expected(alarms.threshold(0.05)) == pytest.approx(0.05)
    assert alarms.probability(alarms.threshold(0.05)) == pytest.approx(1 - np.exp(-0.05))


def test_tail_is_never_steeper_than_markov_allows() -> None:
    alarms = fit_tail(np.linspace(0.0, 0.1, 30), 3, 1.0)
    assert alarms.scale == 1.0


def test_clouds_without_candidates_still_give_a_threshold() -> None:
    alarms = fit_tail(np.empty(0), 4, 0.5)
    assert alarms.n_candidates == 0
    assert alarms.threshold(0.05) == pytest.approx(np.log(0.5 / 0.05))
