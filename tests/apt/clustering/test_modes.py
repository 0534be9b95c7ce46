"""Modes of a density: as many as there are, none by chance, whatever the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from napari_aptdefect.apt.clustering import DensityModes, ModesParams, density_modes
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import drain


def find(points: np.ndarray, seed: int = 0, **values: float) -> DensityModes:
    return drain(density_modes(points, ModesParams(**values), seed=seed))


def crowds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Crowds of three widths, a factor of ten in scale."""
    rng = np.random.default_rng(seed)
    centers, widths = np.array([[0, 0, 0], [6, 0, 0], [0, 40, 0]]), np.array([0.5, 1.0, 5.0])
    label = np.repeat(np.arange(3), 300)
    return centers[label] + widths[label, None] * rng.normal(size=(900, 3)), label


def test_crowds_of_different_width_are_told_apart() -> None:
    points, label = crowds()
    found = find(points)
    assert len(found) == 3
    assert adjusted_rand_score(label, found.label) > 0.95
    assert (found.p_value <= 0.05).all()
    assert (found.prominence >= found.threshold).all()
    assert sorted(label[found.peak]) == [0, 1, 2]


def test_neither_scale_nor_order_changes_anything() -> None:
    points, _ = crowds()
    order = np.random.default_rng(1).permutation(len(points))
    found, other = find(points), find(points[order] * 1024)
    np.testing.assert_array_equal(other.label, found.label[order])
    np.testing.assert_array_equal(order[other.peak], found.peak)
    np.testing.assert_allclose(other.prominence, found.prominence)


@pytest.mark.parametrize("shape", ["cube", "ball", "one crowd"])
def test_what_has_one_mode_is_not_split(shape: str) -> None:
    split = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = {"cube": rng.random((250, 3)), "one crowd": rng.normal(size=(250, 3))}.get(shape)
        if points is None:
            points = rng.normal(size=(250, 3))
            points *= rng.random((250, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
        split += len(find(points, seed=seed)) > 1
    assert split <= 4  # 5 % of 20 is one; five or more have a chance of 0.3 %


def test_points_without_a_way_between_them_are_apart() -> None:
    rng = np.random.default_rng(0)
    found = find(np.concatenate([rng.random((100, 2)), rng.random((60, 2)) + 50]), neighbors=8)
    assert len(found) == 2
    assert np.isinf(found.prominence).all()
    assert np.bincount(found.label).tolist() == [100, 60]


def test_coincident_points_do_not_fail() -> None:
    assert len(find(np.zeros((50, 3)), neighbors=8)) == 1


def test_bad_input_is_refused() -> None:
    with pytest.raises(ParameterError, match="lower `neighbors`"):
        find(np.zeros((5, 3)))
    with pytest.raises(ShapeError, match="finite"):
        find(np.full((50, 3), np.nan))
    with pytest.raises(ParameterError, match="take 99"):
        find(np.zeros((50, 3)), level=0.01)


def test_the_hundred_clusters(shared_data: Path) -> None:
    """No parameter comes from the labels; with more repeats, benchmarks/spectral.py finds the same."""
    table = np.loadtxt(shared_data / "hiperclust" / "example_plot.txt")
    found = find(table[:, :3], level=0.25, repeats=3)
    assert len(found) == 100
    assert adjusted_rand_score(table[:, 3], found.label) > 0.99
