"""Likelihood against its formula written out, evidence against plain averaging over the prior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nbinom

from napari_aptdefect.apt.voids.joint import connected, neighbor_pairs
from napari_aptdefect.apt.voids.likelihood import Window, log_ratio, multiply_ball
from napari_aptdefect.apt.voids.profile import Blur, build_table, missing
from napari_aptdefect.apt.voids.sampler import CENTER_NM, DEPLETION_MEAN, DEPLETION_SD, IMPOSSIBLE, log_prior, sample

TABLE = build_table(Blur(0.6, 0.25))
N = 14
NONE = np.zeros((0, 4))
CENTER = np.full(3, 3.5)


def _window(radius: float, seed: int, density: float = 5.6) -> Window:
    expected = np.full((N, N, N), density, np.float32)
    truth = expected.copy()
    origin = np.full(3, 0.25)
    if radius:
        state = np.array([3.5, 3.5, 3.5, np.log(radius), 8.0, 0.0])
        multiply_ball(truth, origin, 0.5, state, TABLE, False)
    counts = np.random.default_rng(seed).poisson(truth).astype(np.float32)
    return Window(counts, expected, origin, 0.5)


def test_log_ratio_is_that_of_poisson_counts_with_a_gamma_scale() -> None:
    window = _window(1.0, 0)
    theta = np.array([3.4, 3.6, 3.5, np.log(1.1), 2.5, 0.05])
    place = np.arange(N) * 0.5 + 0.25
    x, y, z = np.meshgrid(*[place - c for c in theta[:3]], indexing="ij")
    h = np.vectorize(lambda r, d: missing(TABLE, r, d, 1.1, np.exp(0.05)))(np.hypot(x, y), z)
    share = 1 - h / (1 + np.exp(-2.5))
    shape, n = 1 / 0.05**2, window.counts.sum()

    def total(mean: float) -> float:  # the sum of the counts is negative binomial, their split multinomial
        return float(nbinom.logpmf(n, shape, shape / (shape + mean)))

    rate = window.expected * share
    split = np.sum(window.counts * (np.log(rate / rate.sum()) - np.log(window.expected / window.expected.sum())))
    want = split + total(rate.sum()) - total(window.expected.sum())
    got = log_ratio(window, theta, TABLE, 0.05, float(n), float(window.expected.sum()))
    assert got == pytest.approx(want, abs=0.3)  # the profile ends at 3.5 widths


@pytest.mark.parametrize(("radius", "seed"), [(0.0, 1), (0.8, 2)])
def test_evidence_is_the_mean_likelihood_over_the_prior(radius: float, seed: int) -> None:
    window, rng = _window(radius, seed), np.random.default_rng(seed)
    n, total = float(window.counts.sum()), float(window.expected.sum())
    draws = np.empty((40_000, 6))
    draws[:, :3] = CENTER + CENTER_NM * rng.standard_normal((len(draws), 3))
    draws[:, 3] = rng.uniform(np.log(0.3), np.log(5.0), len(draws))
    draws[:, 4] = DEPLETION_MEAN + DEPLETION_SD * rng.standard_normal(len(draws))
    draws[:, 5] = 0.1 * rng.standard_normal(len(draws))
    ratio = np.array([log_ratio(window, d, TABLE, 0.05, n, total) for d in draws])
    weight = np.exp(ratio - ratio.max())
    want = ratio.max() + np.log(weight.mean())
    out = np.empty((600, 6))
    got = sample(window, CENTER, NONE, TABLE, 0.05, 0.1, 1.0, 600, 5, out)
    assert got == pytest.approx(want, abs=0.6)
    assert out[:, 3].mean() == pytest.approx(np.average(draws[:, 3], weights=weight), abs=0.15)


def test_posterior_holds_the_truth_and_follows_the_seed() -> None:
    window, one, two = _window(1.5, 3), np.empty((200, 6)), np.empty((200, 6))
    first, second = (sample(window, CENTER, NONE, TABLE, 0.05, 0.1, 1.0, 200, 7, out) for out in (one, two))
    assert first == second > 30
    np.testing.assert_array_equal(one, two)
    assert np.exp(one[:, 3]).mean() == pytest.approx(1.5, abs=0.2)
    np.testing.assert_allclose(one[:, :3].mean(axis=0), 3.5, atol=0.3)


def test_no_center_lies_in_another_void() -> None:
    state = np.array([3.5, 3.5, 3.5, 0.0, 3.0, 0.0])
    near, far = np.array([[4.3, 3.5, 3.5, 1.0]]), np.array([[4.7, 3.5, 3.5, 1.0]])
    assert log_prior(state, CENTER, 0.1, near) == IMPOSSIBLE
    assert log_prior(state, CENTER, 0.1, far) > IMPOSSIBLE


def test_groups_are_what_neighbors_connect() -> None:
    states = np.zeros((4, 6))
    states[:, 0] = [0.0, 3.0, 6.0, 20.0]
    pairs = neighbor_pairs(states, 1.5)
    assert [list(p) for p in pairs] == [[1], [0, 2], [1], []]
    assert connected(pairs) == [[0, 1, 2], [3]]
