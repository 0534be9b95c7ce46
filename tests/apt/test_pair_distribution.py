from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.pair_distribution import (
    PairDistributionParams,
    pair_distribution,
    suggest_cutoff,
)
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def fcc(n, a=0.4):
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return ((cells + basis) * a).reshape(-1, 3)


@pytest.mark.parametrize("shape", ["slab", "cone"])
def test_random_ions_have_g_of_one_in_any_convex_specimen(rng, shape):
    # both specimens are thinner than r_max: without the correction g would fall to about a half
    xyz = rng.random((120_000, 3)) * [30, 30, 4]
    if shape == "cone":
        xyz = rng.random((400_000, 3)) * [12, 12, 40]
        xyz = xyz[np.hypot(xyz[:, 0] - 6, xyz[:, 1] - 6) < 1 + xyz[:, 2] / 8]
    result = drain(pair_distribution(xyz, PairDistributionParams(r_max_nm=3, n_bins=30, n_sample=4000)))
    np.testing.assert_allclose(result.g[5:], 1, atol=0.02)
    assert np.all(np.abs(result.g - 1) < 6 * result.g_error + 0.015)


def test_random_ions_of_varying_density_have_g_of_one_with_their_local_density(rng):
    xyz = rng.random((300_000, 3)) * [12, 12, 30]
    xyz = xyz[rng.random(len(xyz)) < 0.3 + 0.7 * xyz[:, 2] / 30]
    hollow = np.linalg.norm(xyz - [6, 6, 0], axis=1) < 5  # a concave base
    xyz = xyz[~hollow]
    density = 300_000 / (12 * 12 * 30) * (0.3 + 0.7 * xyz[:, 2] / 30)
    inner = (np.minimum(xyz, [12, 12, 30] - xyz).min(axis=1) > 1.5) & (np.linalg.norm(xyz - [6, 6, 0], axis=1) > 6.5)
    params = PairDistributionParams(r_max_nm=1.5, n_bins=30, n_sample=8000)
    result = drain(pair_distribution(xyz, params, local_density_nm3=np.where(inner, density, np.nan)))
    np.testing.assert_allclose(result.g[8:], 1, atol=0.02)
    assert drain(pair_distribution(xyz, params)).g[8:].mean() > 1.05  # what the convex hull makes of it
    assert result.n_within[-1] == pytest.approx(result.density_nm3 * 4 / 3 * np.pi * 1.5**3, rel=0.02)


@pytest.mark.parametrize(
    ("density", "error"),
    [(np.full(50, np.nan), EmptySelectionError), (np.zeros(50), ParameterError), (np.ones(49), ShapeError)],
)
def test_local_densities_that_are_none(rng, density, error):
    with pytest.raises(error):
        drain(pair_distribution(rng.random((50, 3)), local_density_nm3=density))


def test_fcc_shells():
    # shells at a/sqrt(2), a, a sqrt(3/2) with 12, 6, 24 neighbors
    result = drain(pair_distribution(fcc(20), PairDistributionParams(r_max_nm=0.6, n_bins=120)))
    outer = result.r_nm + 0.0025
    for radius, count in [(0.33, 12), (0.45, 18), (0.52, 42)]:
        assert result.n_within[np.searchsorted(outer, radius)] == pytest.approx(count, rel=0.06)
    assert result.r_nm[np.argmax(result.g > 5)] == pytest.approx(0.4 / 2**0.5, abs=0.005)


def test_cutoff_of_a_crystal_is_between_its_shells(rng):
    xyz = fcc(20) + 0.01 * rng.standard_normal((4 * 20**3, 3))
    cutoff = suggest_cutoff(drain(pair_distribution(xyz)))
    assert cutoff.rule == "first minimum of g(r)"
    assert 0.31 < cutoff.cutoff_nm < 0.38
    assert cutoff.n_neighbors == pytest.approx(12, rel=0.06)


def test_cutoff_of_a_random_cloud_holds_twelve_neighbors(rng):
    xyz = rng.random((50_000, 3)) * 50_000 ** (1 / 3)
    cutoff = suggest_cutoff(drain(pair_distribution(xyz)))
    assert cutoff.rule == "mean of 12 neighbors"
    assert cutoff.cutoff_nm == pytest.approx((12 / (4 / 3 * np.pi)) ** (1 / 3), rel=0.01)


def test_the_cutoff_is_that_of_the_atoms_at_any_efficiency(rng):
    crystal, random = fcc(22), rng.random((80_000, 3)) * 80_000 ** (1 / 3)
    crystal = crystal + 0.01 * rng.standard_normal(crystal.shape)
    for xyz in (crystal, random):
        whole = suggest_cutoff(drain(pair_distribution(xyz)))
        half = suggest_cutoff(drain(pair_distribution(xyz[rng.random(len(xyz)) < 0.5])), efficiency=0.5)
        assert half.rule == whole.rule
        assert half.cutoff_nm == pytest.approx(whole.cutoff_nm, rel=0.04)
        assert half.n_atoms == pytest.approx(12, rel=0.07)
        assert half.n_neighbors == pytest.approx(6, rel=0.07)


@pytest.mark.parametrize("efficiency", [0.0, 1.5, -1.0])
def test_an_efficiency_that_is_none(rng, efficiency):
    with pytest.raises(ParameterError, match="efficiency"):
        suggest_cutoff(drain(pair_distribution(rng.random((5000, 3)))), efficiency)


def test_cutoff_needs_twelve_neighbors_or_a_shell(rng):
    result = drain(pair_distribution(rng.random((20_000, 3)), PairDistributionParams(r_max_nm=0.02)))
    with pytest.raises(ParameterError, match="raise r_max_nm"):
        suggest_cutoff(result)


def test_the_seed_alone_decides(rng):
    xyz = rng.random((5000, 3)).astype(np.float32)
    xyz[0] = np.nan
    params = PairDistributionParams(n_sample=1500, seed=5)
    one, two = drain(pair_distribution(xyz, params, workers=1)), drain(pair_distribution(xyz, params, workers=3))
    np.testing.assert_array_equal(one.g, two.g)
    other = drain(pair_distribution(xyz, params.model_copy(update={"seed": 6})))
    assert not np.array_equal(one.g, other.g)


def test_the_error_is_the_scatter(rng):
    xyz = rng.random((3000, 3))
    params = PairDistributionParams(r_max_nm=0.1, n_bins=10)
    results = [drain(pair_distribution(rng.random(xyz.shape), params)) for _ in range(30)]
    ratio = np.std([r.g for r in results], axis=0)[2:] / np.mean([r.g_error for r in results], axis=0)[2:]
    assert np.all((ratio > 0.6) & (ratio < 1.6))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_ions(n):
    with pytest.raises(EmptySelectionError):
        drain(pair_distribution(np.zeros((n, 3))))


@pytest.mark.parametrize("directions", [[[0, 0, 0]], [[1, 2, 3]], [[1, 0, 0], [0, 1, 1]]])
def test_flat_ions_have_no_scale(rng, directions):
    with pytest.raises(ParameterError, match="no volume"):
        drain(pair_distribution(rng.random((50, len(directions))) @ np.array(directions, float)))


def test_ions_on_their_own_hull(rng):
    with pytest.raises(EmptySelectionError, match="none inside"):
        drain(pair_distribution(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])))
