"""The random-relabeling null, and counts of what is claimed where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.evaluate.baselines import (
    COORDINATES,
    FUSED,
    Clustering,
    CompositionIsosurface,
    Dbscan,
    FalseClaims,
    KMeans,
    MaximumSeparation,
    claimed_clusters,
    false_claims,
    false_positive_rate,
    random_labels,
    summarize_false_claims,
)
from napari_aptdefect.stage import drain


def test_relabeling_keeps_all_but_the_places_of_the_species(spheres: Any, features: Callable[..., Any]) -> None:
    species = spheres.specimen.species_idx.copy()
    species[::10] = -1
    specimen = replace(spheres.specimen, species_idx=species)
    new = random_labels(specimen, np.random.default_rng(0), lambda s: features(specimen.xyz_nm, s))
    assert np.array_equal(new.xyz_nm, specimen.xyz_nm)
    assert np.array_equal(new.species_idx < 0, species < 0)
    assert np.array_equal(np.bincount(new.species_idx + 1), np.bincount(species + 1))
    expected = features(specimen.xyz_nm, new.species_idx)
    assert np.array_equal(new.composition, expected.composition)
    assert np.array_equal(new.fused, expected.fused)
    assert np.array_equal(new.anomaly, expected.anomaly)
    inside = spheres.truth > 0
    before, after = (np.mean(s.species_idx[inside] == 1) for s in (specimen, new))
    assert before > 0.07
    assert after < 0.015
    assert np.array_equal(specimen.species_idx, species)  # the given one is as it was
    again = random_labels(specimen, np.random.default_rng(0), lambda s: features(specimen.xyz_nm, s))
    assert np.array_equal(again.species_idx, new.species_idx)


def test_what_is_found_in_spheres_is_not_in_random_labels(spheres: Any, features: Callable[..., Any]) -> None:
    specimen = spheres.specimen
    rng = np.random.default_rng(1)
    random = [random_labels(specimen, rng, lambda s: features(specimen.xyz_nm, s)) for _ in range(3)]
    for method in (Dbscan(COORDINATES), MaximumSeparation(COORDINATES), CompositionIsosurface(COORDINATES)):
        params = method.params_model()
        assert claimed_clusters(method.run(specimen, params)).any()
        found = drain(false_positive_rate(method, params, random))
        assert (found.n_objects, found.claimed_share, found.rate) == (0, 0.0, 0.0)
        assert found.low == 0.0
        assert found.high == pytest.approx(beta.ppf(0.975, 1, 3))
    always = drain(false_positive_rate(KMeans(FUSED), KMeans.params_model(), random[:1]))
    assert always.rate == 1.0  # without noise something is always claimed
    assert 0 < always.claimed_share < 1


def test_counts() -> None:
    cluster = np.array([0, 0, 0, 1, 1, 2, -1, -1], np.int32)
    instance = np.array([1, 1, 1, 2, 3, 4, 0, 0], np.int32)
    assert false_claims(Clustering(cluster, instance)) == FalseClaims(8, 4, 6)
    assert false_claims(Clustering(cluster, instance, partition=True)) == FalseClaims(8, 3, 3)


def test_summary_has_an_exact_interval() -> None:
    runs = [FalseClaims(1_000, 2, 30), FalseClaims(1_000, 0, 0), FalseClaims(2_000, 1, 10), FalseClaims(1_000, 0, 0)]
    found = summarize_false_claims(runs, 0.9)
    assert found.objects_per_million == pytest.approx(600.0)
    assert found.claimed_share == pytest.approx(40 / 5_000)
    assert (found.n_with_claim, found.rate) == (2, 0.5)
    assert found.low == pytest.approx(beta.ppf(0.05, 2, 3))
    assert found.high == pytest.approx(beta.ppf(0.95, 3, 2))
    assert found.as_dict()["n_runs"] == 4
    with pytest.raises(EmptySelectionError, match="at least one specimen"):
        summarize_false_claims([])
