"""Voids among the defects: what they replace, what they take, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.defects import Defect, Defects, DefectsParams, Evidence
from napari_aptdefect.apt.voids import FalseAlarms, Voids
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.pipeline.void_defects import join_voids

_PARAMS = DefectsParams(min_ions=5)
_ALARMS = FalseAlarms(2.0, 1.0, 1.0, 3, 30)


def _xyz() -> np.ndarray:
    rng = np.random.default_rng(3)
    xyz = (rng.random((40_000, 3)) * 10).astype(np.float32)
    return xyz[np.linalg.norm(xyz - 5, axis=1) > 1.2]


def _evidence(xyz: np.ndarray, density: np.ndarray | None = None) -> Evidence:
    n = len(xyz)
    ones, none = np.ones(n, np.float32), np.zeros((n, 0), np.float32)
    surface = np.minimum(xyz, 10 - xyz).min(axis=1).astype(np.float32)
    thin = -np.ones(n, np.float32) if density is None else density
    nature = np.zeros(n, np.int16)
    return Evidence(xyz, 2 * ones, nature, ones, surface > 1, none, none, thin, ones, ones / 40, surface, 40.0)


def _defect(name: str, rows: np.ndarray, probability: float = 0.97) -> Defect:
    return Defect(name, rows, np.zeros(3), np.ones(3), np.eye(3), 1.0, probability, 3.0, False)


def _defects(xyz: np.ndarray, *found: Defect) -> Defects:
    instance, codes = np.zeros(len(xyz), np.int32), np.zeros(len(xyz), np.int8)
    probability = np.zeros(len(xyz), np.float32)
    for number, one in enumerate(found, 1):
        instance[one.rows], probability[one.rows] = number, 0.5
        codes[one.rows] = DEFECT_CLASSES.index(one.defect_class)
    return Defects(found, instance, codes, probability, 4)


def _voids(*balls: tuple[tuple[float, float, float], float], alarm: float = 1e-9) -> Voids:
    center = np.array([place for place, _ in balls], float).reshape(-1, 3)
    radius = np.array([r for _, r in balls], float)
    k = len(radius)
    ones = np.ones(k)
    return Voids(
        center, center - 0.1, center + 0.1, radius, radius - 0.1, radius + 0.1, 0.9 * ones, 50 * ones, 40 * ones,
        ones, alarm * ones, _ALARMS, 1.0, k,
    )  # fmt: skip


def _gap(xyz: np.ndarray, center: float = 5.0) -> np.ndarray:
    return np.linalg.norm(xyz - center, axis=1) - 1.2


def test_without_voids_nothing_changes() -> None:
    xyz = _xyz()
    defects = _defects(xyz, _defect("solute_cluster", np.arange(50)))
    for voids in (None, _voids()):
        joint = join_voids(defects, voids, _evidence(xyz), _PARAMS)
        assert joint.defects is defects
        assert len(joint.void_defect) == 0


def test_a_void_replaces_the_group_that_misses_its_ions() -> None:
    xyz = _xyz()
    group = np.flatnonzero(_gap(xyz) < 1.0)
    joint = join_voids(_defects(xyz, _defect("void", group)), _voids(((5, 5, 5), 1.2)), _evidence(xyz), _PARAMS)
    (one,) = joint.defects.defects
    np.testing.assert_array_equal(one.rows, np.flatnonzero(_gap(xyz) <= 0.5))
    assert one.defect_class == "void"
    assert one.volume_nm3 == pytest.approx(4 / 3 * np.pi * 1.2**3)
    np.testing.assert_allclose(one.centroid_nm, 5)
    assert one.probability == 0.999  # no more than the calibration can be trusted for
    assert not one.touches_surface
    assert joint.void_defect.tolist() == [1]
    assert set(np.flatnonzero(joint.defects.instance)) == set(one.rows)
    assert (joint.defects.probability[one.rows] == np.float32(0.999)).all()
    assert joint.defects.n_rejected == 4


def test_an_unknown_group_goes_only_where_it_misses_ions() -> None:
    xyz = _xyz()
    group = np.flatnonzero((_gap(xyz) > 0.6) & (_gap(xyz) < 1.5))
    for density, names in ((-1.0, ["void"]), (1.0, ["void", "unknown"])):
        evidence = _evidence(xyz, np.full(len(xyz), density, np.float32))
        joint = join_voids(_defects(xyz, _defect("unknown", group)), _voids(((5, 5, 5), 1.2)), evidence, _PARAMS)
        assert [one.defect_class for one in joint.defects.defects] == names


def test_a_cluster_beside_a_void_keeps_the_rest_of_its_ions() -> None:
    xyz = _xyz()
    inside = np.linalg.norm(xyz - [6.5, 5, 5], axis=1) < 1.0
    before = _defects(xyz, _defect("solute_cluster", np.flatnonzero(inside), 0.9995))
    joint = join_voids(before, _voids(((5, 5, 5), 1.2)), _evidence(xyz), _PARAMS)
    cluster, void = joint.defects.defects  # the more probable first
    np.testing.assert_array_equal(cluster.rows, np.flatnonzero(inside & (_gap(xyz) > 0.5)))
    assert void.defect_class == "void"
    assert joint.void_defect.tolist() == [2]
    assert (joint.defects.class_idx[cluster.rows] == DEFECT_CLASSES.index("solute_cluster")).all()
    assert (joint.defects.probability[cluster.rows] == 0.5).all()


def test_what_keeps_too_few_ions_is_dropped() -> None:
    xyz = _xyz()
    near = np.flatnonzero(_gap(xyz) < 0.4)[:30]
    far = np.flatnonzero(_gap(xyz) > 3)[:4]
    before = _defects(xyz, _defect("solute_cluster", np.sort(np.concatenate([near, far]))))
    joint = join_voids(before, _voids(((5, 5, 5), 1.2)), _evidence(xyz, np.ones(len(xyz), np.float32)), _PARAMS)
    assert [one.defect_class for one in joint.defects.defects] == ["void"]
    assert (joint.defects.instance[far] == 0).all()


def test_a_void_without_ions_around_it_is_no_defect() -> None:
    xyz = _xyz()
    joint = join_voids(_defects(xyz), _voids(((5, 5, 5), 1.2), ((50, 50, 50), 1.0)), _evidence(xyz), _PARAMS)
    assert joint.void_defect.tolist() == [1, 0]
    assert len(joint.defects.defects) == 1


def test_a_void_at_the_zone_that_is_not_judged_touches_the_surface() -> None:
    xyz = _xyz()
    joint = join_voids(_defects(xyz), _voids(((2.0, 5, 5), 1.0), alarm=0.03), _evidence(xyz), _PARAMS)
    (one,) = joint.defects.defects
    assert one.touches_surface
    assert one.probability == pytest.approx(0.97)


def test_what_is_not_sure_enough_becomes_no_defect() -> None:
    xyz = _xyz()
    group = np.flatnonzero(_gap(xyz) < 1.0)
    before = _defects(xyz, _defect("void", group))
    joint = join_voids(before, _voids(((5, 5, 5), 1.2), alarm=0.2), _evidence(xyz), _PARAMS, 0.05)
    assert joint.void_defect.tolist() == [0]
    (one,) = joint.defects.defects
    np.testing.assert_array_equal(one.rows, group)  # the search's own finding stays
