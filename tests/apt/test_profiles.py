"""Isosurfaces and profiles: spheres and planes whose area, volume and concentration are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_aptdefect.apt.profiles import Surface, isosurface, line_profile, proxigram, signed_distance
from napari_aptdefect.data import Ion, RangeTable, VoxelGrid
from napari_aptdefect.data.composition import composition_of_counts
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError

TABLE = RangeTable((Ion("Ga", (("Ga", 1),)), Ion("Mg", (("Mg", 1),)), Ion("MgN", (("Mg", 1), ("N", 1)))), ())
CENTER, RADIUS, VOXEL = np.array([1.0, -2.0, 5.0]), 4.0, 0.5


def ball_grid(sharp: float = 1.0) -> VoxelGrid:
    """A field that falls from 1 to 0 and is 0.5 on the sphere; anisotropic voxels."""
    voxel = np.array([VOXEL, VOXEL, 0.8 * VOXEL])
    shape = np.ceil(16 / voxel).astype(int)
    origin = CENTER - shape * voxel / 2 + [0.1, 0.05, -0.07]
    places = np.stack(np.meshgrid(*[o + (np.arange(n) + 0.5) * v for o, n, v in zip(origin, shape, voxel, strict=True)],
                                  indexing="ij"), -1)  # fmt: skip
    values = np.clip(0.5 + (RADIUS - np.linalg.norm(places - CENTER, axis=-1)) * sharp / 8, 0, 1)
    return VoxelGrid(values.astype(np.float32), origin, voxel, "Mg fraction", "1")


@pytest.fixture(scope="module")
def ball() -> Surface:
    return isosurface(ball_grid(), 0.5)


def test_sphere_has_its_area_volume_and_place(ball: Surface) -> None:
    distance = np.linalg.norm(ball.vertices_nm - CENTER, axis=1)
    np.testing.assert_allclose(distance, RADIUS, atol=0.02)
    assert ball.area_nm2 == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01)
    assert ball.volume_nm3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    assert (ball.name, ball.level) == ("Mg fraction", 0.5)


def test_surface_around_a_hole_faces_inward() -> None:
    grid = ball_grid()
    hole = isosurface(VoxelGrid(1 - grid.values, grid.origin_nm, grid.voxel_nm), 0.5)
    distance = signed_distance(CENTER[None], hole)
    assert distance[0] == pytest.approx(-RADIUS, abs=0.03)


def test_no_triangle_beside_unknown_voxels() -> None:
    grid = ball_grid()
    grid.values[: grid.values.shape[0] // 2] = np.nan
    surface = isosurface(grid, 0.5)
    assert surface.vertices_nm[:, 0].min() >= grid.centers_nm(0)[grid.values.shape[0] // 2] - 1e-4
    assert surface.area_nm2 == pytest.approx(2 * np.pi * RADIUS**2, rel=0.1)


def test_distance_from_a_sphere(ball: Surface) -> None:
    xyz = np.random.default_rng(0).uniform(-7, 7, (20_000, 3)) + CENTER
    expected = RADIUS - np.linalg.norm(xyz - CENTER, axis=1)
    got = signed_distance(xyz, ball, 3.0)
    near = np.abs(expected) < 2.9
    np.testing.assert_allclose(got[near], expected[near], atol=0.03)
    assert np.isnan(got[np.abs(expected) > 3.1]).all()
    assert np.isnan(signed_distance([[np.nan, 0, 0]], ball)).all()


def test_distance_is_the_smallest_over_all_points_of_all_triangles(ball: Surface) -> None:
    xyz = (np.random.default_rng(1).uniform(-6, 6, (300, 3)) + CENTER).astype(np.float32)
    weights = np.random.default_rng(2).dirichlet([1, 1, 1], 200)
    dense = np.einsum("wc,tcx->twx", weights, ball.vertices_nm[ball.triangles]).reshape(-1, 3)
    nearest = cKDTree(np.concatenate([dense, ball.vertices_nm])).query(xyz)[0]
    got = np.abs(signed_distance(xyz, ball, 20.0))
    assert (got <= nearest + 1e-5).all()
    assert (nearest <= np.hypot(got, 0.1)).all()  # no place of a triangle is farther from a sample


def planted(seed: int = 0, n: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of 30 % Mg in 5 %, sharp."""
    rng = np.random.default_rng(seed)
    xyz = (rng.uniform(-8, 8, (n, 3)) + CENTER).astype(np.float32)
    share = np.where(np.linalg.norm(xyz - CENTER, axis=1) < RADIUS, 0.30, 0.05)
    return xyz, (rng.random(n) < share).astype(np.int16)


def test_proxigram_of_a_planted_sphere_is_its_exact_concentration(ball: Surface) -> None:
    profile = proxigram(*planted(), TABLE, ball, bin_nm=0.5, reach_nm=3.5)
    value, error = profile.of("Mg")
    expected = np.where(profile.centers_nm > 0, 0.30, 0.05)
    assert (np.abs(value - expected) < 4 * error + 0.004).all()  # triangles lie up to 0.01 nm inside the sphere
    shells = 4 / 3 * np.pi * np.abs(np.diff((RADIUS - profile.edges_nm) ** 3))
    expected = shells * 200_000 / 16**3
    assert (np.abs(profile.ion_counts.sum(axis=1) - expected) < 4 * np.sqrt(expected) + 0.02 * expected).all()
    assert 0.0 in profile.edges_nm


def test_errors_are_the_scatter_between_draws(ball: Surface) -> None:
    draws = [proxigram(*planted(seed, 40_000), TABLE, ball, bin_nm=1.0, reach_nm=3.0).of("Mg") for seed in range(12)]
    values, errors = np.array([d[0] for d in draws]), np.array([d[1] for d in draws])
    assert np.std(values, axis=0, ddof=1).mean() == pytest.approx(errors.mean(), rel=0.25)


def test_profiles_do_not_depend_on_the_order_of_the_ions(ball: Surface) -> None:
    xyz, species = planted(n=5000)
    order = np.random.default_rng(0).permutation(5000)
    one, other = proxigram(xyz, species, TABLE, ball), proxigram(xyz[order], species[order], TABLE, ball)
    np.testing.assert_array_equal(one.ion_counts, other.ion_counts)


def test_line_profile_counts_a_cylinder_in_any_direction() -> None:
    rng = np.random.default_rng(3)
    xyz = rng.uniform(-10, 10, (50_000, 3)).astype(np.float32)
    species = rng.integers(-1, 3, 50_000)
    start, stop = np.array([-4.0, 1.0, 0.0]), np.array([2.0, 4.0, 6.0])
    profile = line_profile(xyz, species, TABLE, start, stop, radius_nm=2.0, bin_nm=1.0)
    axis = (stop - start) / 9
    along = (xyz - start) @ axis
    inside = (np.linalg.norm(xyz - start - along[:, None] * axis, axis=1) <= 2) & (along >= 0) & (along < 9)
    assert profile.ion_counts.sum() + profile.n_unranged.sum() == inside.sum()
    bin_3 = inside & (along >= 3) & (along < 4)
    np.testing.assert_array_equal(profile.ion_counts[3], np.bincount(species[bin_3 & (species >= 0)], minlength=3))
    composition = composition_of_counts(TABLE, profile.ion_counts[3])
    assert [v[3] for v in profile.of("Mg")] == list(composition["Mg"])


def test_binomial_error_of_ions_of_one_atom() -> None:
    xyz = np.column_stack([np.zeros((100, 2)), np.full(100, 0.5)])
    profile = line_profile(xyz, np.repeat([0, 1], [80, 20]), TABLE, [0, 0, 0], [0, 0, 2], bin_nm=1.0)
    value, error = profile.of("Mg")
    assert (value[0], error[0]) == pytest.approx((0.2, np.sqrt(0.2 * 0.8 / 100)))
    assert np.isnan(value[1])


def test_bad_input_is_an_error_that_says_what_to_do(ball: Surface) -> None:
    with pytest.raises(EmptySelectionError, match="never through 2"):
        isosurface(ball_grid(), 2.0)
    with pytest.raises(EmptySelectionError, match="never through"):
        isosurface(VoxelGrid(np.full((3, 3, 3), np.nan, np.float32), np.zeros(3), np.ones(3)), 2.0)
    with pytest.raises(ShapeError, match="two voxels"):
        isosurface(VoxelGrid(np.ones((1, 3, 3), np.float32), np.zeros(3), np.ones(3)), 0.5)
    with pytest.raises(EmptySelectionError, match="no ion lies"):
        proxigram([[100, 100, 100]], [0], TABLE, ball)
    with pytest.raises(ParameterError, match="positive lengths"):
        proxigram([[0, 0, 0]], [0], TABLE, ball, bin_nm=0)
    with pytest.raises(ParameterError, match="two different places"):
        line_profile([[0, 0, 0]], [0], TABLE, [0, 0, 0], [0, 0, 0])
    with pytest.raises(ShapeError, match="3 numbers each"):
        line_profile([[0, 0, 0]], [0], TABLE, [0, 0], [0, 0, 0])
    with pytest.raises(ParameterError, match="table has 3 ions"):
        line_profile([[0, 0, 0]], [5], TABLE, [0, 0, 0], [0, 0, 1])
    with pytest.raises(ParameterError, match="no element 'Al'"):
        line_profile([[0, 0, 0]], [0], TABLE, [0, 0, 0], [0, 0, 1]).of("Al")
