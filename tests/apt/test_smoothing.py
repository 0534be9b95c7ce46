"""Filters of grids against scipy, and of the point cloud against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.smoothing import local_density, local_mean, local_median, median_grid, smooth_grid
from napari_aptdefect.data import NeighborGraph, VoxelGrid
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import drain

VALUES = np.random.default_rng(0).normal(5, 1, (14, 15, 16)).astype(np.float32)
K = 8


def grid(values: np.ndarray) -> VoxelGrid:
    return VoxelGrid(values, np.zeros(3), np.array([1.0, 1.0, 0.5]), "density", "ions/nm3")


@pytest.fixture(scope="module")
def graph() -> NeighborGraph:
    xyz = np.random.default_rng(1).random((400, 3)).astype(np.float32) * 3
    return drain(build_graph(xyz, GraphParams(k=K)))


def test_gaussian_agrees_with_scipy_away_from_the_border() -> None:
    expected = ndimage.gaussian_filter(VALUES, (0.6, 0.6, 1.2))
    got = smooth_grid(grid(VALUES), 0.6).values
    np.testing.assert_allclose(got[4:-4, 4:-4, 6:-6], expected[4:-4, 4:-4, 6:-6], rtol=1e-5)


def test_gaussian_keeps_a_constant_beside_borders_and_gaps() -> None:
    values = np.full((12, 12, 12), 7, np.float32)
    values[5:7, 5:7, 5:7] = np.nan
    np.testing.assert_allclose(smooth_grid(grid(values), 1.0).values, 7, rtol=1e-6)
    lonely = np.full((30, 30, 30), np.nan, np.float32)
    lonely[0, 0, 0] = 7
    assert np.isnan(smooth_grid(grid(lonely), 1.0).values[20, 20, 20])


def test_median_agrees_with_scipy_away_from_the_border() -> None:
    expected = ndimage.median_filter(VALUES, 3)
    np.testing.assert_array_equal(median_grid(grid(VALUES), 1).values[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1])
    np.testing.assert_array_equal(median_grid(grid(VALUES), 0).values, VALUES)


def test_median_leaves_gaps_out() -> None:
    values = VALUES.copy()
    values[4, 5, 6] = np.nan
    got = median_grid(grid(values), 1).values
    assert np.isnan(got[4, 5, 6])
    assert got[4, 5, 7] == pytest.approx(np.nanmedian(values[3:6, 4:7, 6:9]))
    assert got[0, 0, 0] == pytest.approx(np.median(values[:2, :2, :2]))


def test_point_filters_agree_with_brute_force(graph: NeighborGraph) -> None:
    values = np.random.default_rng(2).normal(size=graph.n_nodes).astype(np.float32)
    values[:50:7] = np.nan
    mean, median = local_mean(values, graph, 0.4), local_median(values, graph)
    for i in range(0, graph.n_nodes, 13):
        rows = slice(graph.indptr[i], graph.indptr[i + 1])
        near = np.concatenate([[values[i]], values[graph.indices[rows]]])
        weight = np.exp(-(np.concatenate([[0], graph.lengths_nm[rows]]) ** 2) / (2 * 0.4**2))
        good = np.isfinite(near)
        assert median[i] == pytest.approx(np.median(near[good]), rel=1e-6)
        assert mean[i] == pytest.approx(np.average(near[good], weights=weight[good]), rel=1e-5)


def test_point_filters_keep_a_constant_and_remove_a_spike(graph: NeighborGraph) -> None:
    values = np.full(graph.n_nodes, 3.0)
    np.testing.assert_allclose(local_mean(values, graph, 1.0), 3, rtol=1e-6)
    values[17] = 1e6
    np.testing.assert_array_equal(local_median(values, graph), 3)
    assert np.isnan(local_median(np.full(graph.n_nodes, np.nan), graph)).all()
    assert np.isnan(local_mean(np.full(graph.n_nodes, np.nan), graph, 1.0)).all()


def test_point_filters_do_not_depend_on_the_order_of_the_ions() -> None:
    rng = np.random.default_rng(4)
    xyz, values = rng.random((500, 3)).astype(np.float32), rng.normal(size=500).astype(np.float32)
    order = rng.permutation(500)
    one = drain(build_graph(xyz, GraphParams(k=K)))
    other = drain(build_graph(xyz[order], GraphParams(k=K)))
    np.testing.assert_array_equal(local_median(values, one)[order], local_median(values[order], other))
    np.testing.assert_allclose(local_mean(values, one, 0.1)[order], local_mean(values[order], other, 0.1), rtol=1e-5)


def test_density_of_two_points_is_that_of_3depict() -> None:
    two = drain(build_graph([[0, 0, 0], [0, 0, 1]], GraphParams(k=1)))
    np.testing.assert_allclose(local_density(two), 1 / (4 / 3 * np.pi), rtol=1e-6)


def test_density_of_an_even_cloud_has_the_stated_bias() -> None:
    side, n = 12.0, 40_000
    xyz = (np.random.default_rng(6).random((n, 3)) * side).astype(np.float32)
    inner = ((xyz > 2) & (xyz < side - 2)).all(axis=1)
    density = local_density(drain(build_graph(xyz, GraphParams(k=K))))[inner]
    assert density.mean() == pytest.approx(n / side**3 * K / (K - 1), rel=0.02)
    assert np.isnan(local_density(NeighborGraph(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))))


def test_bad_input_is_an_error(graph: NeighborGraph) -> None:
    with pytest.raises(ParameterError, match="positive length"):
        smooth_grid(grid(VALUES), 0.0)
    with pytest.raises(ParameterError, match="positive length"):
        local_mean(np.zeros(graph.n_nodes), graph, float("nan"))
    with pytest.raises(ParameterError, match="0 to 15"):
        median_grid(grid(VALUES), -1)
    with pytest.raises(ShapeError, match="400 values"):
        local_median(np.zeros(3), graph)
