"""OPTICS against scikit-learn's, point by point."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import OPTICS

from napari_aptdefect.evaluate.baselines.reachability import _walk, optics_labels


@pytest.mark.parametrize(("seed", "width", "max_eps"), [(0, 3, 1.0), (1, 3, 4.0), (2, 5, 2.0)])
def test_order_and_clusters_are_those_of_scikit_learn(seed: int, width: int, max_eps: float) -> None:
    rng = np.random.default_rng(seed)
    blobs = [rng.normal(center, 0.4, (40, width)) for center in (0.0, 3.0, 4.0)]
    points = np.concatenate([*blobs, rng.uniform(-2, 6, (60, width))]).astype(np.float32)
    points = points[rng.permutation(len(points))]
    model = OPTICS(min_samples=5, max_eps=max_eps, xi=0.05, min_cluster_size=12).fit(points)
    assert len(np.unique(model.labels_)) > 2
    order, reach, before = _walk(points.astype(np.float64), model.core_distances_, max_eps)
    assert np.array_equal(order, model.ordering_)
    assert reach == pytest.approx(model.reachability_, abs=1e-14)
    assert np.array_equal(before, model.predecessor_)
    assert np.array_equal(optics_labels(points, 5, max_eps, 0.05, 12), model.labels_)


def test_points_too_far_apart_or_too_few_are_noise() -> None:
    points = np.arange(30, dtype=np.float32).reshape(10, 3)
    assert (optics_labels(points, 3, 0.5, 0.05, 4) == -1).all()
    assert (optics_labels(points, 11, 50.0, 0.05, 4) == -1).all()
    assert len(optics_labels(points[:0], 3, 0.5, 0.05, 4)) == 0
