"""Features: each says what it claims about a cloud whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.background import estimate_background
from napari_aptdefect.apt.features import Features, describe
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.normalize import normalize
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.stage import drain

_CENTER = np.array([7.0, 7.0, 7.0])


def _features(xyz: np.ndarray, species: np.ndarray) -> Features:
    found = drain(normalize(xyz))
    assert found.used.all()
    graph = drain(build_graph(xyz, GraphParams()))
    nothing = np.full(len(xyz), np.nan, np.float32)
    estimate = drain(estimate_background(xyz, species, found.frame, found.inside))
    return drain(describe(xyz, species, estimate.channels, found.frame, estimate.background, graph, nothing, nothing))


@pytest.fixture(scope="module")
def random_box() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = (rng.random((100_000, 3)) * 14).astype(np.float32)
    return xyz, (rng.random(100_000) < 0.05).astype(np.int16)


def _near(xyz: np.ndarray, radius: float) -> np.ndarray:
    return np.sum((xyz - _CENTER) ** 2, axis=1) < radius**2


def test_random_box_has_no_evidence_for_anything(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    found = _features(*random_box)
    for evidence in (found.density_evidence, found.enrichment[:, 1]):
        judged = evidence[found.judged]
        assert abs(judged.mean()) < 0.25
        assert judged.std() == pytest.approx(1, abs=0.25)
        assert np.abs(judged).max() < 6


def test_cluster_is_enriched_and_its_surroundings_are_not(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = random_box
    rng = np.random.default_rng(1)
    clustered = species.copy()
    clustered[_near(xyz, 1.5) & (rng.random(len(xyz)) < 0.3)] = 1
    found = _features(xyz, clustered)
    assert found.channels == (0, 1)
    assert np.median(found.enrichment[_near(xyz, 1.0), 1]) > 8
    assert np.median(found.enrichment[_near(xyz, 1.0), 0]) < -8
    assert abs(np.median(found.enrichment[found.judged & ~_near(xyz, 4.0), 1])) < 1.0
    assert abs(np.median(found.density_evidence[_near(xyz, 1.0)])) < 2


def test_rim_of_a_void_lacks_ions(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = random_box
    kept = ~_near(xyz, 1.3)
    found = _features(xyz[kept], species[kept])
    rim = _near(xyz[kept], 1.7)
    assert np.median(found.density_evidence[rim]) < -4
    assert np.median(found.density_ratio[rim]) < 0.9
    assert np.median(found.spatial[rim, 2]) > 3 * np.median(found.spatial[found.judged & ~_near(xyz[kept], 4), 2])


def test_surface_makes_no_evidence_in_what_is_judged() -> None:
    # a density step is as sharp as the surface of a specimen gets; the judged core must not see it
    rng = np.random.default_rng(2)
    xyz = (rng.random((150_000, 3)) * 14).astype(np.float32)
    round_ = xyz[np.sum((xyz[:, :2] - 7) ** 2, axis=1) < 6.5**2]
    blurred = (round_ + rng.normal(0, 0.4, round_.shape)).astype(np.float32)
    found = _features(blurred, np.zeros(len(blurred), np.int16))
    at_edge = found.judged & (found.surface_nm < 2.5)
    assert abs(found.density_evidence[at_edge].mean()) < 0.4
    assert found.density_evidence[at_edge].std() < 1.3


def test_structural_features_of_a_line_and_a_plane() -> None:
    rng = np.random.default_rng(3)
    box = (rng.random((30_000, 3)) * 10).astype(np.float32)
    line = np.stack([np.full(400, 5.0), np.full(400, 5.0), np.linspace(2, 8, 400)], axis=1)
    plane = np.concatenate([rng.uniform(2, 8, (4000, 2)), np.full((4000, 1), 3.0)], axis=1)
    for shape, column in ((line, "linearity"), (plane, "planarity")):
        xyz = np.concatenate([box, shape]).astype(np.float32)
        found = _features(xyz, np.zeros(len(xyz), np.int16))
        values = found.structural[:, found.structural_names.index(column)]
        assert np.median(values[30_000:]) > np.median(values[:30_000]) + 0.2


def test_neighbor_density_is_unbiased_in_a_random_box(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    found = _features(*random_box)
    ratio = np.exp(found.structural[found.judged, found.structural_names.index("log neighbor density")])
    assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_unranged_ions_count_for_density_only(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = random_box
    unranged = species.copy()
    unranged[::2] = -1
    mine, theirs = _features(xyz, species), _features(xyz, unranged)
    np.testing.assert_allclose(mine.density_evidence, theirs.density_evidence, atol=1e-3)
    assert theirs.enrichment[theirs.judged, 1].std() == pytest.approx(1, abs=0.25)


def test_lengths_that_disagree_are_refused(random_box: tuple[np.ndarray, np.ndarray]) -> None:
    xyz, species = random_box[0][:5000], random_box[1][:5000]
    found = drain(normalize(xyz))
    graph = drain(build_graph(xyz, GraphParams()))
    estimate = drain(estimate_background(xyz, species, found.frame, found.inside))
    nan = np.full(10, np.nan, np.float32)
    with pytest.raises(ShapeError, match="5000"):
        drain(describe(xyz, species, estimate.channels, found.frame, estimate.background, graph, nan, nan))
