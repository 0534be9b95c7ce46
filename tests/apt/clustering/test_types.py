"""Clustering: only what stands out is sorted, and the number of types is found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from napari_aptdefect.apt.clustering import Candidates, ClusteringParams, Clusters, cluster
from napari_aptdefect.stage import drain


def _data(k: int, n: int = 20_000, per_type: int = 400, seed: int = 0) -> tuple[Candidates, np.ndarray]:
    """Matrix noise, and k types along k axes, of strengths 6 to 20: the type is the direction, not the strength."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    truth = np.full(n, -1)
    for i in range(k):
        rows = slice(i * per_type, (i + 1) * per_type)
        vectors[rows, i] += rng.uniform(6, 20, per_type)
        truth[rows] = i
    return Candidates(vectors, np.linalg.norm(vectors, axis=1), np.ones(n, bool)), truth


def _reference(seed: int = 9) -> Candidates:
    return _data(0, seed=seed)[0]


def _cluster(measured: Candidates, seed: int = 0, **params: float) -> Clusters:
    params = {"gate_quantile": 0.99995, "k_max": 6, **params}  # hardly any ion of the matrix passes by chance
    return drain(cluster(measured, _reference(), ClusteringParams(**params), seed=seed))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_finds_the_types(k: int) -> None:
    measured, truth = _data(k)
    found = _cluster(measured)
    assert found.k == k
    both = (truth >= 0) & (found.label >= 0)
    assert np.mean(found.label[truth >= 0] >= 0) > 0.9
    assert adjusted_rand_score(truth[both], found.label[both]) > 0.95
    assert [point[0] for point in found.silhouette] == list(range(2, 7))


def test_one_type_is_called_one() -> None:
    found = _cluster(_data(1)[0])
    assert found.k == found.eigengap_k == 1


def test_labels_are_ordered_by_size_and_only_on_what_stands_out() -> None:
    measured, _ = _data(3)
    found = _cluster(measured)
    sizes = np.bincount(found.label[found.label >= 0])
    assert list(sizes) == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(found.label >= 0, measured.anomaly > found.threshold)


def test_gate_lets_through_the_stated_share_of_the_reference() -> None:
    found = _cluster(_data(2)[0], gate_quantile=0.99)
    assert np.mean(found.reference_label >= 0) == pytest.approx(0.01, abs=0.001)


def test_ions_that_cannot_be_judged_never_stand_out() -> None:
    measured, truth = _data(2)
    judged = truth != 1
    found = _cluster(Candidates(measured.vectors, measured.anomaly, judged))
    assert (found.label[truth == 1] == -1).all()


def test_nothing_stands_out() -> None:
    calm = Candidates(np.zeros((100, 8), np.float32), np.zeros(100, np.float32), np.ones(100, bool))
    found = _cluster(calm)
    assert found.k == 0
    assert found.silhouette == ()


def test_a_reference_too_small_for_the_gate_lets_nothing_through() -> None:
    found = _cluster(_data(2)[0], gate_quantile=0.999999)
    assert found.threshold == np.inf
    assert found.k == 0


def test_a_handful_of_equal_ions_does_not_fail() -> None:
    measured, _ = _data(0)
    measured.vectors[:3] = 50
    measured.anomaly[:3] = 500
    found = _cluster(measured)
    assert (found.label[:3] >= 0).all()


def test_is_seeded() -> None:
    measured, _ = _data(4)
    np.testing.assert_array_equal(_cluster(measured, seed=5).label, _cluster(measured, seed=5).label)
