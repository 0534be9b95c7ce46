"""What every method must do: find what is planted, agree with its library, and give the same again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import cluster as sk
from sklearn.metrics import adjusted_rand_score

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines import (
    BASELINES,
    COORDINATES,
    FUSED,
    METHODS,
    Baseline,
    Clustering,
    CompositionIsosurface,
    Dbscan,
    DensityIsosurface,
    Hdbscan,
    KMeans,
    MaximumSeparation,
    Optics,
    VoxelMixture,
    claimed_clusters,
)
from napari_aptdefect.evaluate.baselines.features import embedded, scaled_features, selected_ions

ids = [f"{b.name}-{b.space}" for b in BASELINES]


def best_ious(planted: Any, found: Clustering) -> list[float]:
    """Intersection over union of each planted object with the object that fits it best."""
    objects = np.where(claimed_clusters(found), found.instance, 0)
    ious = []
    for number in range(1, planted.truth.max() + 1):
        true = planted.truth == number
        candidates = set(objects[true].tolist()) - {0}
        ious.append(
            max((np.sum(true & (objects == o)) / np.sum(true | (objects == o)) for o in candidates), default=0.0)
        )
    return ious


@pytest.mark.parametrize("baseline", BASELINES, ids=ids)
def test_contract(baseline: Baseline, sphere: Any) -> None:
    specimen = sphere.specimen
    params = baseline.params_model()
    found = baseline.run(specimen, params, 3)
    n = len(specimen)
    assert found.cluster.shape == found.instance.shape == (n,)
    assert found.cluster.dtype == found.instance.dtype == np.int32
    assert found.cluster.min() >= -1
    assert np.array_equal(found.instance > 0, found.cluster >= 0)
    for number in np.unique(found.instance[found.instance > 0])[:200]:  # an object is part of one cluster
        assert len(np.unique(found.cluster[found.instance == number])) == 1
    again = baseline.run(specimen, params, 3)
    assert np.array_equal(again.cluster, found.cluster)
    assert np.array_equal(again.instance, found.instance)


@pytest.mark.parametrize("space", [COORDINATES, FUSED])
@pytest.mark.parametrize(
    ("method", "values", "least"),
    [
        (Dbscan, {}, 0.5),
        (Hdbscan, {}, 0.5),
        (Optics, {"xi": 0.1, "envelope_nm": 0.8}, 0.35),
        (MaximumSeparation, {"d_max_nm": 0.8}, 0.5),
        (CompositionIsosurface, {"threshold_percent": 3.0, "deviation": 3.0}, 0.5),
        (VoxelMixture, {"voxel_nm": 1.5}, 0.4),
        (KMeans, {"coordinate_weight": 0.0, "k": 4}, 0.6),
    ],
    ids=lambda v: v.name if isinstance(v, type) else "",
)
def test_spheres_are_found(
    method: type[Baseline], values: dict[str, Any], least: float, space: Any, spheres: Any
) -> None:
    if space == FUSED and "anomalous_share" in method.params_model.model_fields:
        share = {"anomalous_share": 0.01 if method is Optics else 0.05}
        values = {**values, **share, "d_max_nm": 0.6} if method is MaximumSeparation else {**values, **share}
    found = method(space).run(spheres.specimen, method.params_model(**values), 0)
    assert min(best_ious(spheres, found)) > least


def test_a_void_is_found_by_the_density_isosurface(make: Callable[..., Any]) -> None:
    planted = make(void=2.0)
    found = DensityIsosurface(COORDINATES).run(planted.specimen, seed=0)
    assert set(found.cluster.tolist()) == {-1, 0}  # too dilute
    assert found.instance.max() == 1
    assert min(best_ious(planted, found)) > 0.35  # the truth holds the ions within 0.5 nm of the void, all around it
    solid = make(seed=5)
    assert not claimed_clusters(DensityIsosurface(COORDINATES).run(solid.specimen)).any()


def test_dense_places_are_found_by_the_density_isosurface(make: Callable[..., Any]) -> None:
    specimen = make().specimen
    more = np.random.default_rng(1).normal(6, 0.8, (2_000, 3)).astype(np.float32)
    xyz = np.concatenate([specimen.xyz_nm, more])
    idle = np.zeros((len(xyz), 1), np.float32)
    dense = replace(
        specimen,
        xyz_nm=xyz,
        species_idx=np.zeros(len(xyz), np.int16),
        composition=idle,
        fused=None,
        anomaly=None,
        judged=np.ones(len(xyz), bool),
    )
    found = DensityIsosurface(COORDINATES).run(dense)
    assert set(found.cluster.tolist()) == {-1, 1}
    assert np.linalg.norm(xyz[found.cluster == 1].mean(axis=0) - 6) < 0.3


@pytest.mark.parametrize("space", [COORDINATES, FUSED])
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_density_based_methods_are_those_of_the_library(space: Any, weight: float, sphere: Any) -> None:
    specimen = sphere.specimen
    rows = selected_ions(specimen, space, 0.01)
    points = embedded(specimen, space, rows, 1.0, weight)
    assert points.shape[1] == (3 if weight == 0 else 5)
    common = {"feature_weight_nm": weight, "envelope_nm": 0.0, "anomalous_share": 0.01}
    library = [
        (Dbscan, {"eps_nm": 0.9}, sk.DBSCAN(eps=0.9, min_samples=10)),
        (Hdbscan, {}, sk.HDBSCAN(min_cluster_size=20, min_samples=5, copy=True)),
        (Optics, {}, sk.OPTICS(min_samples=10, max_eps=2.0, xi=0.05, min_cluster_size=20)),
    ]
    for method, values, model in library:
        found = method(space).run(specimen, method.params_model(**common, **values), 0)
        expected = model.fit(points).labels_
        assert np.array_equal(found.cluster[rows] < 0, expected < 0)
        assert adjusted_rand_score(found.cluster[rows], expected) == 1.0
        outside = np.ones(len(specimen), bool)
        outside[rows] = False
        assert (found.cluster[outside] == -1).all()


def test_k_means_is_that_of_the_library(sphere: Any) -> None:
    specimen = sphere.specimen
    params = KMeans.params_model(k=4, min_ions=1, max_points=10**6)
    points = embedded(specimen, COORDINATES, np.arange(len(specimen)), 0.1, 1.0)
    expected = sk.KMeans(4, n_init=3, max_iter=100, random_state=2).fit_predict(points)
    found = KMeans(COORDINATES).run(specimen, params, 2)
    assert adjusted_rand_score(found.cluster, expected) > 0.999


@pytest.mark.parametrize("method", [Optics, Hdbscan, Dbscan])
def test_nothing_dense_is_all_noise(method: type[Baseline], make: Callable[..., Any]) -> None:
    dilute = make(edge_nm=10.0, outer=0.0005).specimen  # 22 solutes, nanometers apart
    assert not claimed_clusters(method(COORDINATES).run(dilute)).any()


@pytest.mark.parametrize("method", [Dbscan, Hdbscan, KMeans])
def test_a_sample_gives_nearly_what_all_ions_give(method: type[Baseline], spheres: Any) -> None:
    values = {"coordinate_weight": 0.0, "k": 4} if method is KMeans else {}
    n = len(spheres.specimen) if method is KMeans else int(spheres.specimen.is_solute.sum())
    params = method.params_model(**values, max_points=n // 2)
    found = method(COORDINATES).run(spheres.specimen, params, 0)
    everything = method(COORDINATES).run(spheres.specimen, method.params_model(**values), 0)
    assert not np.array_equal(found.cluster, everything.cluster)
    assert min(best_ious(spheres, found)) > 0.4


def test_the_envelope_takes_the_nearest_cluster(make: Callable[..., Any]) -> None:
    base = make(edge_nm=4.0).specimen
    xyz = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0.3, 0, 0], [0.61, 0, 0], [3, 0, 0]], np.float32)
    n = len(xyz)
    specimen = replace(
        base,
        xyz_nm=xyz,
        species_idx=np.array([1, 1, 1, 0, 0, 0], np.int16),
        composition=np.zeros((n, 1), np.float32),
        fused=None,
        anomaly=None,
        judged=np.ones(n, bool),
    )
    params = Dbscan.params_model(min_samples=2, eps_nm=0.2, envelope_nm=0.5)
    found = Dbscan(COORDINATES).run(specimen, params).cluster
    distance = np.linalg.norm(xyz - np.array([0.1, 0, 0]), axis=1)
    assert np.array_equal(found == 0, (distance <= 0.5) | (specimen.species_idx == 1))


def test_without_solutes_nothing_is_claimed(spheres: Any) -> None:
    specimen = replace(spheres.specimen, species_idx=np.zeros(len(spheres.specimen), np.int16))
    for method in (Dbscan, Hdbscan, Optics, MaximumSeparation, CompositionIsosurface, VoxelMixture):
        assert not claimed_clusters(method(COORDINATES).run(specimen)).any(), method.name


def test_an_empty_specimen(spheres: Any) -> None:
    one = spheres.specimen
    empty = replace(
        one,
        xyz_nm=one.xyz_nm[:0],
        species_idx=one.species_idx[:0],
        composition=one.composition[:0],
        fused=one.fused[:0],
        anomaly=one.anomaly[:0],
        judged=one.judged[:0],
    )
    for baseline in BASELINES:
        assert len(baseline.run(empty)) == 0


def test_ions_that_are_not_judged_stay_out_of_fused_features(spheres: Any) -> None:
    judged = spheres.specimen.xyz_nm[:, 0] < 6
    specimen = replace(spheres.specimen, judged=judged)
    found = KMeans(FUSED).run(specimen)
    assert not claimed_clusters(found)[~judged].any()
    assert judged[selected_ions(specimen, FUSED, 0.05)].all()
    assert (scaled_features(specimen, FUSED)[~judged] == 0).all()
    nothing = replace(spheres.specimen, judged=np.zeros(len(judged), bool))
    for method in METHODS:
        assert not claimed_clusters(method(FUSED).run(nothing)).any(), method.name


def test_features_have_robust_units(spheres: Any) -> None:
    scaled = scaled_features(spheres.specimen, COORDINATES)
    assert np.median(scaled, axis=0) == pytest.approx(0, abs=1e-5)
    assert 1.4826 * np.median(np.abs(scaled), axis=0) == pytest.approx(1, rel=1e-4)


def test_wrong_input_is_refused(spheres: Any) -> None:
    with pytest.raises(ParameterError, match="takes DbscanParams, got HdbscanParams"):
        Dbscan(COORDINATES).run(spheres.specimen, Hdbscan.params_model())
    bare = replace(spheres.specimen, fused=None, anomaly=None)
    with pytest.raises(ParameterError, match="needs a specimen with fused features"):
        Dbscan(FUSED).run(bare)


def test_a_partition_claims_all_but_the_largest_cluster() -> None:
    cluster = np.array([0, 0, 0, 1, 2, -1], np.int32)
    instance = np.array([1, 1, 1, 2, 3, 0], np.int32)
    assert claimed_clusters(Clustering(cluster, instance)).tolist() == [True] * 5 + [False]
    partition = Clustering(cluster, instance, partition=True)
    assert claimed_clusters(partition).tolist() == [False] * 3 + [True] * 2 + [False]
