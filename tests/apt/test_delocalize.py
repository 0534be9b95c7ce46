"""Delocalized fields: no ion is lost, the kernel is the Gaussian that was asked for, order means nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_aptdefect.apt.delocalize import Delocalized, DelocalizeParams, delocalize, voxelize
from napari_aptdefect.data import Ion, RangeTable
from napari_aptdefect.data.composition import composition_of_counts
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import drain

TABLE = RangeTable((Ion("Ga", (("Ga", 1),)), Ion("GaN", (("Ga", 1), ("N", 1))), Ion("X", ())), ())


def run(xyz: np.ndarray, species: np.ndarray, workers: int | None = None, **params: float) -> Delocalized:
    return drain(delocalize(xyz, species, TABLE, DelocalizeParams(**params), workers=workers))


def cloud(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.random((n, 3)) * [8, 9, 12] - 3).astype(np.float32), rng.integers(-1, 3, n).astype(np.int16)


def test_the_sum_over_the_voxels_is_the_number_of_ions() -> None:
    xyz, species = cloud(5000)  # as 3Depict's tests want of its voxels
    assert voxelize(xyz, 0.7).values.sum() == 5000
    grid = run(xyz, species)
    for kind in range(3):
        assert grid.counts[kind].sum(dtype=float) == pytest.approx(np.sum(species == kind), rel=1e-6)
    assert grid.counts[-1].sum(dtype=float) == pytest.approx(np.sum(species == -1), rel=1e-6)
    assert grid.density().values.sum(dtype=float) == pytest.approx(5000, rel=1e-6)
    assert grid.counts.dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(-20, 20, width=32)] * 3), st.sampled_from([(1.0, 1.0, 0.5), (0.5, 1.1, 0.3)]))
def test_mean_and_variance_of_one_ion_are_those_of_the_gaussian(
    place: tuple[float, float, float], widths: tuple[float, float, float]
) -> None:
    voxel, lateral, depth = widths
    params = {"voxel_nm": voxel, "sigma_lateral_nm": lateral, "sigma_depth_nm": depth}
    grid = run(np.array([place], np.float32), np.zeros(1, np.int16), **params).count("Ga")
    for axis, sigma in enumerate((lateral, lateral, depth)):
        weight = grid.values.sum(axis=tuple({0, 1, 2} - {axis}), dtype=float)
        x = grid.centers_nm(axis)
        mean = (weight * x).sum()
        assert mean == pytest.approx(place[axis], abs=2e-4 * voxel)
        assert ((x - mean) ** 2 * weight).sum() == pytest.approx(sigma**2, rel=1e-3)


def test_agrees_with_a_gaussian_over_fine_voxels() -> None:
    xyz, species = cloud(20_000)
    fine = Frame.around(np.array([[-9, -9, -9], [12, 12, 15]], np.float32), 0.1)
    exact = ndimage.gaussian_filter(fine.count(xyz[species == 0]), (10, 10, 5), mode="constant") / 0.1**3
    grid = run(xyz, species).count("Ga")
    centers = np.stack(np.meshgrid(*[grid.centers_nm(a) for a in range(3)], indexing="ij"), -1).reshape(-1, 3)
    inside = ((centers > [-8, -8, -8]) & (centers < [11, 11, 14])).all(axis=1)
    expected = fine.sample(exact, centers[inside].astype(np.float32))
    np.testing.assert_allclose(grid.values.ravel()[inside], expected, atol=0.02 * expected.max())


def test_neither_order_nor_threads_change_a_bit() -> None:
    xyz, species = cloud(20_000, seed=3)
    once = run(xyz, species, workers=1)
    order = np.random.default_rng(1).permutation(len(xyz))
    again = run(xyz[order], species[order], workers=3)
    np.testing.assert_array_equal(once.counts, again.counts)


def test_ions_without_a_place_are_left_out_and_counted() -> None:
    xyz, species = cloud(1000)
    broken = xyz.copy()
    broken[[3, 500, 999], [0, 1, 2]] = [np.nan, np.inf, -np.inf]
    grid = run(broken, species)
    assert grid.n_left_out == 3
    keep = np.isfinite(broken).all(axis=1)
    np.testing.assert_allclose(grid.counts.sum(dtype=float), keep.sum(), rtol=1e-6)
    with pytest.raises(EmptySelectionError, match="finite position"):
        run(np.full((2, 3), np.nan), np.zeros(2, np.int16))


def test_fraction_and_error_are_those_of_the_counts() -> None:
    rng = np.random.default_rng(5)
    n, share, inner = 60_000, 0.3, slice(8, -8)
    xyz = (rng.random((n, 3)) * 15).astype(np.float32)
    values, errors = [], []
    for _ in range(4):
        grid = run(xyz, (rng.random(n) < share).astype(np.int16))
        fraction, error = grid.fraction("N")
        values.append(fraction.values[inner, inner, inner])
        errors.append(error.values[inner, inner, inner])
    expected = composition_of_counts(TABLE, [1 - share, share, 0])["N"][0]
    assert np.mean(values) == pytest.approx(expected, abs=3e-3)
    # the error that is stated is the scatter between random draws
    assert np.std(values, axis=0, ddof=1).mean() * 1.085 == pytest.approx(np.mean(errors), rel=0.1)


def test_empty_places_have_no_fraction() -> None:
    fraction, error = run(*cloud(2000)).fraction("Ga")
    middle = tuple(n // 2 for n in fraction.values.shape)
    assert np.isnan(fraction.values[0, 0, 0])
    assert np.array_equal(np.isnan(fraction.values), np.isnan(error.values))
    assert fraction.values[middle] > 0


def test_bad_input_is_an_error_that_says_what_to_do() -> None:
    xyz, species = cloud(100)
    with pytest.raises(ParameterError, match=r"voxel of at most 0\.6 nm"):
        run(xyz, species, sigma_depth_nm=0.3)
    with pytest.raises(ParameterError, match="table has 3 ions"):
        run(xyz, np.full(100, 3))
    with pytest.raises(ParameterError, match="no element 'Mg'"):
        run(xyz, species).fraction("Mg")
    with pytest.raises(ParameterError, match="no ion 'Mg'"):
        run(xyz, species).count("Mg")
    with pytest.raises(ParameterError, match="positive length"):
        voxelize(xyz, 0)
    with pytest.raises(ParameterError, match="outside the grid"):
        voxelize(xyz, frame=Frame(np.zeros(3), 1.0, (2, 2, 2)))
