"""The matched reference has the density and composition of the specimen, and none of its defects."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.background import estimate_background
from napari_aptdefect.apt.normalize import normalize
from napari_aptdefect.apt.reference import Reference, ReferenceParams, matched_reference
from napari_aptdefect.stage import drain


def _reference(xyz: np.ndarray, species: np.ndarray, seed: int = 0, **params: int) -> Reference:
    found = drain(normalize(xyz))
    estimate = drain(estimate_background(xyz, species, found.frame, found.inside))
    chosen = ReferenceParams(**params)
    return drain(matched_reference(found.frame, estimate.background, estimate.channels, chosen, seed=seed))


@pytest.fixture(scope="module")
def gradient() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = (rng.random((150_000, 3)) * [15, 15, 30]).astype(np.float32)
    species = (rng.random(150_000) < xyz[:, 2] / 60).astype(np.int16)  # 0 to 50 % along z
    species[rng.random(150_000) < 0.1] = -1
    return xyz, species


def test_matches_number_and_composition_profile(gradient: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = gradient
    found = _reference(xyz, species)
    assert len(found.xyz_nm) == pytest.approx(len(xyz), rel=0.03)
    assert found.share == 1.0
    for low, high in ((3, 8), (12, 18), (22, 27)):
        mine = species[(xyz[:, 2] > low) & (xyz[:, 2] < high)]
        theirs = found.species_idx[(found.xyz_nm[:, 2] > low) & (found.xyz_nm[:, 2] < high)]
        assert np.mean(theirs == 1) == pytest.approx(np.mean(mine == 1), abs=0.02)
        assert np.mean(theirs == -1) == pytest.approx(0.1, abs=0.01)


def test_has_no_cluster(gradient: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = gradient
    ball = np.sum((xyz - [7, 7, 15]) ** 2, axis=1) < 1.5**2
    clustered = np.where(ball, 2, species).astype(np.int16)
    found = _reference(xyz, clustered)
    near = np.sum((found.xyz_nm - [7, 7, 15]) ** 2, axis=1) < 1.5**2
    assert np.mean(clustered[ball] == 2) == 1.0
    assert np.mean(found.species_idx[near] == 2) < 0.1


def test_is_seeded(gradient: tuple[np.ndarray, np.ndarray]) -> None:
    first, again, other = (_reference(*gradient, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.xyz_nm, again.xyz_nm)
    np.testing.assert_array_equal(first.species_idx, again.species_idx)
    assert len(other.xyz_nm) != len(first.xyz_nm) or not np.array_equal(other.xyz_nm, first.xyz_nm)


def test_large_specimen_gets_a_reference_of_a_part(gradient: tuple[np.ndarray, np.ndarray]) -> None:
    found = _reference(*gradient, max_ions=50_000)
    assert len(found.xyz_nm) == pytest.approx(50_000, rel=0.05)
    assert found.share == pytest.approx((10 - 4) / 26, abs=0.03)  # of the judged length, a margin at either cut
    assert np.ptp(found.xyz_nm[:, 2]) == pytest.approx(10, abs=1.5)
