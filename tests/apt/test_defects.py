"""Defects: what chance explains is not reported; what it does not is found, separated and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_aptdefect.apt.defects import Chance, Defects, DefectsParams, Evidence, find_defects
from napari_aptdefect.apt.defects.chance import false_discovery
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.data import DEFECT_CLASSES, NeighborGraph
from napari_aptdefect.stage import drain

_THRESHOLD = 3.0
_SIDE = 20.0


def _cloud(seed: int, n: int = 30_000) -> tuple[np.ndarray, NeighborGraph]:
    xyz = (np.random.default_rng(seed).random((n, 3)) * _SIDE).astype(np.float32)
    return xyz, drain(build_graph(xyz, GraphParams()))


@pytest.fixture(scope="module")
def cloud() -> tuple[np.ndarray, NeighborGraph]:
    return _cloud(0)


@pytest.fixture(scope="module")
def chance() -> Chance:
    xyz, graph = _cloud(1)
    anomaly = np.abs(np.random.default_rng(2).normal(size=len(xyz))).astype(np.float32)
    nature = np.where(anomaly > _THRESHOLD, 0, -1).astype(np.int16)
    return Chance(anomaly, nature, np.ones(len(xyz), bool), graph)


def _evidence(
    xyz: np.ndarray, strong: np.ndarray, *, solute: float = 0.0, density: float = 0.0, seed: int = 3
) -> Evidence:
    """Noise, and `strong` ions with the given evidence for a minority species and for the density."""
    rng = np.random.default_rng(seed)
    anomaly = np.minimum(np.abs(rng.normal(size=len(xyz))), 2.9).astype(np.float32)
    anomaly[strong] = rng.uniform(7, 9, int(strong.sum()))
    enrichment = rng.normal(size=(len(xyz), 2)).astype(np.float32)
    enrichment[strong, 1] += solute
    deficit = rng.normal(size=len(xyz)).astype(np.float32)
    deficit[strong] += density
    depth = np.min(np.minimum(xyz, _SIDE - xyz), axis=1)
    return Evidence(
        xyz,
        anomaly,
        np.where(anomaly > _THRESHOLD, 0, -1).astype(np.int16),
        anomaly.copy(),
        depth > 1.0,
        enrichment,
        np.tile(np.array([0.95, 0.05], np.float32), (len(xyz), 1)),
        deficit,
        np.where(deficit < -5, 0.5, 1.0).astype(np.float32),
        np.full(len(xyz), _SIDE**3 / len(xyz), np.float32),
        depth,
        len(xyz) / _SIDE**3,
    )


def _ball(xyz: np.ndarray, center: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.sum((xyz - np.array(center)) ** 2, axis=1) < radius**2


def _search(evidence: Evidence, graph: NeighborGraph, chance: Chance, **params: float) -> Defects:
    return drain(find_defects(evidence, graph, chance, _THRESHOLD, DefectsParams(**params)))


def test_finds_and_measures_a_cluster(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    truth = _ball(xyz, (10, 8, 12), 2.0)
    found = _search(_evidence(xyz, truth, solute=6), graph, chance)
    (defect,) = found.defects
    assert defect.defect_class == "solute_cluster"
    np.testing.assert_array_equal(np.sort(defect.rows), np.flatnonzero(truth))
    np.testing.assert_allclose(defect.centroid_nm, [10, 8, 12], atol=0.2)
    np.testing.assert_allclose(defect.axis_lengths_nm, 2.0 / np.sqrt(5), rtol=0.1)  # a solid ball
    assert defect.volume_nm3 == pytest.approx(truth.sum() * _SIDE**3 / len(xyz), rel=1e-5)
    np.testing.assert_allclose(defect.axis_directions @ defect.axis_directions.T, np.eye(3), atol=1e-9)
    assert not defect.touches_surface
    assert defect.probability > 0.99
    np.testing.assert_array_equal(found.instance > 0, truth)
    assert set(found.class_idx[truth]) == {DEFECT_CLASSES.index("solute_cluster")}
    assert found.probability[truth].min() > 0.7
    assert not found.probability[~truth].any()


def test_chance_is_not_reported(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    noise = _evidence(xyz, np.zeros(len(xyz), bool))
    anomaly = np.abs(np.random.default_rng(7).normal(size=len(xyz))).astype(np.float32)
    nature = np.where(anomaly > _THRESHOLD, 0, -1).astype(np.int16)
    alike = replace(noise, anomaly=anomaly, nature=nature)
    found = _search(alike, graph, chance, min_ions=2)
    assert found.defects == ()
    assert not found.instance.any()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda x: _ball(x, (10, 10, 10), 2.0), "solute_cluster"),
        (lambda x: (np.hypot(x[:, 0] - 10, x[:, 1] - 10) < 1.0) & (np.abs(x[:, 2] - 10) < 8), "dislocation"),
        (lambda x: (np.abs(x[:, 2] - 10) < 0.6) & (np.hypot(x[:, 0] - 10, x[:, 1] - 10) < 5), "stacking_fault"),
        (lambda x: (np.abs(x[:, 2] - 10) < 0.6) & (np.hypot(x[:, 0] - 10, x[:, 1] - 10) < 9), "grain_boundary"),
    ],
)
def test_names_solute_defects_by_shape(
    cloud: tuple[np.ndarray, NeighborGraph], chance: Chance, shape: object, expected: str
) -> None:
    xyz, graph = cloud
    evidence = _evidence(xyz, shape(xyz), solute=6)  # type: ignore[operator]
    found = _search(evidence, graph, chance)
    assert [d.defect_class for d in found.defects] == [expected]
    assert found.defects[0].touches_surface == (expected == "grain_boundary")


def test_void_is_a_compact_deficit(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    rim = _ball(xyz, (10, 10, 10), 2.0) & ~_ball(xyz, (10, 10, 10), 1.0)
    assert [d.defect_class for d in _search(_evidence(xyz, rim, density=-12), graph, chance).defects] == ["void"]
    slab = np.abs(xyz[:, 2] - 10) < 2
    assert [d.defect_class for d in _search(_evidence(xyz, slab, density=-12), graph, chance).defects] == ["unknown"]


def test_interface_between_phases_is_unknown(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    plain = _evidence(xyz, np.abs(xyz[:, 2] - 10) < 0.6, solute=6)
    share = np.stack([1 - xyz[:, 2] / _SIDE / 5, xyz[:, 2] / _SIDE / 5], axis=1).astype(np.float32)
    share[xyz[:, 0] > 10] = [0.5, 0.5]
    changed = replace(plain, background_share=share)
    assert [d.defect_class for d in _search(changed, graph, chance).defects] == ["unknown"]


def test_natures_separate_touching_defects(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    ball = _ball(xyz, (10, 10, 10), 2.0)
    evidence = _evidence(xyz, ball, solute=6)
    evidence.nature[ball & (xyz[:, 0] > 10)] = 1
    assert len(_search(evidence, graph, chance).defects) == 2


def test_weak_bridge_does_not_join_strong_cores(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    cores = _ball(xyz, (7, 10, 10), 1.5) | _ball(xyz, (13, 10, 10), 1.5)
    bridge = (np.hypot(xyz[:, 1] - 10, xyz[:, 2] - 10) < 1.0) & (np.abs(xyz[:, 0] - 10) < 3) & ~cores
    evidence = _evidence(xyz, cores | bridge, solute=6)
    evidence.strength[bridge] = 3.5
    assert len(_search(evidence, graph, chance).defects) == 2
    assert len(_search(evidence, graph, chance, core_level=0.0).defects) == 1


def test_probability_falls_with_the_share_of_chance(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    strong, weak = _ball(xyz, (10, 10, 10), 2.0), _ball(xyz, (4, 4, 4), 0.8)
    evidence = _evidence(xyz, strong | weak, solute=6)
    evidence.anomaly[weak] = 3.2
    found = _search(evidence, graph, chance, false_discovery_rate=0.5, min_ions=2)
    probability = [d.probability for d in found.defects]
    assert probability == sorted(probability, reverse=True)
    assert probability[0] > 0.95


def test_rim_of_another_nature_is_no_defect_of_its_own(cloud: tuple[np.ndarray, NeighborGraph], chance: Chance) -> None:
    xyz, graph = cloud
    core, whole = _ball(xyz, (10, 10, 10), 2.0), _ball(xyz, (10, 10, 10), 2.8)
    evidence = _evidence(xyz, whole, solute=6)
    rim = whole & ~core
    evidence.anomaly[rim], evidence.nature[rim] = 3.6, 1
    assert len(_search(evidence, graph, chance).defects) == 1
    evidence.anomaly[rim] = 6.0
    assert len(_search(evidence, graph, chance).defects) == 2


@pytest.mark.parametrize("n_chance", [0, 1, 3])
def test_few_or_no_chance_groups_do_not_hide_a_strong_defect(
    cloud: tuple[np.ndarray, NeighborGraph], chance: Chance, n_chance: int
) -> None:
    xyz, graph = cloud
    nature = np.full(len(chance.anomaly), -1, np.int16)
    nature[np.argsort(-chance.anomaly)[:n_chance]] = 0
    found = _search(_evidence(xyz, _ball(xyz, (10, 10, 10), 2.0), solute=6), graph, replace(chance, nature=nature))
    assert len(found.defects) == 1


def test_more_chance_groups_never_make_a_group_more_certain() -> None:
    mass, rng = np.array([0.5, 3.0, 8.0, 40.0]), np.random.default_rng(0)
    few = rng.exponential(1.0, 30)
    for more in (np.append(few, few), np.append(few, few.max())):
        assert np.all(false_discovery(mass, more, 1.0) >= false_discovery(mass, few, 1.0) - 1e-12)
    assert false_discovery(mass, few, 1.0).min() >= 1e-3
    assert np.all(np.diff(false_discovery(mass, few, 1.0)) <= 0)


def test_more_references_make_what_they_never_show_more_certain() -> None:
    mass, few = np.array([12.0]), np.random.default_rng(0).exponential(1.0, 30)
    assert false_discovery(mass, np.tile(few, 10), 10.0) < false_discovery(mass, few, 1.0)
