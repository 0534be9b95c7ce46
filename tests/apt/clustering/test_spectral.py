"""Spectral clustering against scikit-learn's, landmarks against all pairs, and the number of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_moons
from sklearn.manifold import spectral_embedding
from sklearn.metrics import adjusted_rand_score, silhouette_score

from napari_aptdefect.apt.clustering import SpectralClusters, SpectralParams, agreement, spectral_clusters
from napari_aptdefect.apt.clustering.affinity import exact_coordinates
from napari_aptdefect.apt.clustering.choice import best_k, eigengap, stratified_silhouette
from napari_aptdefect.apt.clustering.content import content_order
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.stage import drain

LANDMARKS = SpectralParams(exact_most=0, n_landmarks=100, silhouette_sample=300, k_max=6)
EXACT = SpectralParams(silhouette_sample=300, k_max=6)


def blobs(sizes: list[int], d: int = 16, distance: float = 8.0, seed: int = 0) -> tuple[NDArray[np.float32], NDArray]:
    rng = np.random.default_rng(seed)
    centers = distance * np.linalg.qr(rng.normal(size=(d, d)))[0][: len(sizes)]
    label = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(label))
    vectors = centers[label] + rng.normal(size=(len(label), d))
    return vectors[order].astype(np.float32), label[order]


def run(vectors: NDArray[np.float32], params: SpectralParams, **values: int) -> SpectralClusters:
    return drain(spectral_clusters(vectors, params, **values))


def self_tuned(vectors: NDArray[np.float32], neighbor: int = 7) -> NDArray[np.float64]:
    x = vectors.astype(float)
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    scale = np.sort(d, axis=1)[:, neighbor]
    affinity = np.exp(-(d**2) / np.outer(scale, scale))
    np.fill_diagonal(affinity, 0)
    return affinity


def test_exact_coordinates_are_those_of_scikit_learn() -> None:
    vectors, _ = blobs([60, 40, 30], d=3, distance=3.0)
    ours = exact_coordinates(vectors, 3, 7).on_sphere(3).astype(float)
    theirs = spectral_embedding(self_tuned(vectors), n_components=3, drop_first=False, random_state=0)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)  # rows scaled alike: only the turn of the space is free
    ours_gram, theirs_gram = ours @ ours.T, theirs @ theirs.T
    assert np.corrcoef(ours_gram.ravel(), theirs_gram.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("params", [EXACT, LANDMARKS], ids=["exact", "landmarks"])
def test_clusters_agree_with_scikit_learn(params: SpectralParams) -> None:
    vectors, _ = blobs([200, 90, 60, 40], d=8, distance=6.0)
    theirs = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(self_tuned(vectors))
    assert adjusted_rand_score(run(vectors, params, k=4).label, theirs) > 0.95


@pytest.mark.parametrize("params", [EXACT, LANDMARKS], ids=["exact", "landmarks"])
@pytest.mark.parametrize("sizes", [[500], [300, 200], [400, 150, 120, 80, 50]], ids=len)
def test_finds_how_many_there_are(sizes: list[int], params: SpectralParams) -> None:
    vectors, truth = blobs(sizes)
    found = run(vectors, params)
    assert found.k == found.eigengap_k == len(sizes)
    assert adjusted_rand_score(truth, found.label) > 0.97
    assert np.bincount(found.label).tolist() == sorted(np.bincount(found.label), reverse=True)
    assert [entry[0] for entry in found.silhouette] == list(range(2, 7))
    assert found.n_landmarks == (0 if params is EXACT else 100)


def test_moons_that_k_means_cuts() -> None:
    vectors, truth = make_moons(600, noise=0.05, random_state=0)
    for params in (EXACT, LANDMARKS):
        assert adjusted_rand_score(truth, run(vectors, params, k=2).label) > 0.98


def test_scales_follow_the_density() -> None:
    rng = np.random.default_rng(3)
    vectors = np.concatenate([rng.normal(0, 0.02, (200, 2)), rng.normal((12, 0), 2, (200, 2))])
    assert adjusted_rand_score(np.repeat([0, 1], 200), run(vectors, EXACT, k=2).label) == 1.0


@pytest.mark.parametrize("params", [EXACT, LANDMARKS], ids=["exact", "landmarks"])
def test_the_order_of_the_ions_changes_nothing(params: SpectralParams) -> None:
    vectors, _ = blobs([200, 100, 60], distance=4.0)
    order = np.random.default_rng(5).permutation(len(vectors))
    found, permuted = run(vectors, params, seed=2), run(vectors[order], params, seed=2)
    np.testing.assert_array_equal(permuted.label, found.label[order])
    assert permuted.silhouette == found.silhouette
    np.testing.assert_array_equal(permuted.eigenvalues, found.eigenvalues)


def test_the_seed_decides() -> None:
    vectors, _ = blobs([200, 100, 60], distance=3.0)
    first, again, other = (run(vectors, LANDMARKS, seed=seed) for seed in (0, 0, 1))
    assert first.silhouette == again.silhouette != other.silhouette


def test_draws_by_content_are_uniform() -> None:
    vectors = np.arange(4000, dtype=np.float32)[:, None]
    drawn = np.array([content_order(vectors, seed)[:400] for seed in range(40)])
    assert drawn.mean() == pytest.approx(2000, abs=50)
    assert np.bincount(drawn.ravel() // 1000).min() > 3700


def test_agreement_of_landmarks_with_all_pairs() -> None:
    vectors, _ = blobs([500, 300, 200], distance=7.0)
    assert drain(agreement(vectors, SpectralParams(exact_most=400), k=3)) > 0.95
    noise = np.random.default_rng(0).normal(size=(500, 8))
    assert drain(agreement(noise, SpectralParams(exact_most=400), k=4)) < 0.8


def test_equal_vectors_and_hardly_any() -> None:
    assert run(np.zeros((0, 3), np.float32), EXACT).k == 0
    assert run(np.ones((2, 3), np.float32), EXACT).label.tolist() == [0, 0]
    same = run(np.ones((50, 3), np.float32), EXACT)
    assert same.k == 1
    assert same.label.tolist() == [0] * 50
    three = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    for params in (EXACT, LANDMARKS):
        found = run(three, params, k=3)
        assert adjusted_rand_score(np.repeat(np.arange(3), 40), found.label) == 1.0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="the first in row 1"):
        run(np.array([[0.0], [np.nan], [1.0]]), EXACT)
    with pytest.raises(ShapeError, match="shape"):
        run(np.zeros(3), EXACT)
    with pytest.raises(ShapeError, match="k must lie"):
        run(np.zeros((3, 1)), EXACT, k=4)


def test_the_stratified_silhouette_is_that_of_all_rows() -> None:
    vectors, label = blobs([900, 60, 12], distance=5.0)
    mean, error = stratified_silhouette(vectors, label, 400, np.random.default_rng(0))
    assert 0 < error < 0.02
    assert mean == pytest.approx(silhouette_score(vectors, label), abs=0.02)
    everything, none = stratified_silhouette(vectors, label, 10_000, np.random.default_rng(0))
    assert everything == pytest.approx(silhouette_score(vectors, label), abs=1e-6)
    assert 0 < none < error
    assert stratified_silhouette(vectors, np.zeros(len(label), int), 400, np.random.default_rng(0))[0] == -1


def test_ties_go_to_the_smaller_number() -> None:
    assert best_k([(2, 0.7, 0.0), (3, 0.7, 0.0)]) == 2
    assert best_k([]) == 1
    assert eigengap(np.array([1.0, 1.0, 0.9, 0.2, 0.1])) == 3
    assert eigengap(np.array([1.0])) == 1
