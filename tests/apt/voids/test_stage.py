"""Voids in boxes of random ions with the blur of level 2."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.voids import VoidParams, Voids, find_voids, label_rims
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Progress, drain

PARAMS = VoidParams(n_particles=120, n_null=2)
Ball = tuple[tuple[float, float, float], float]


def _box(*balls: Ball, side: float = 14.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    xyz = rng.random((int(45 * (side + 4) ** 3), 3)) * (side + 4) - 2
    for center, radius in balls:
        xyz = xyz[np.linalg.norm(xyz - center, axis=1) > radius]
    xyz = xyz + rng.standard_normal(xyz.shape) * [0.6, 0.6, 0.2]
    return xyz[((xyz > 0) & (xyz < side)).all(axis=1)].astype(np.float32)


def _find(xyz: np.ndarray, seed: int = 1, workers: int | None = None, params: VoidParams = PARAMS) -> Voids:
    frame = Frame.around(xyz, 0.5)
    return drain(find_voids(xyz, frame, np.ones(frame.shape, bool), params, seed, workers=workers))


@pytest.fixture(scope="module")
def pair() -> np.ndarray:
    return _box(((5.3, 7.0, 7.0), 1.2), ((8.7, 7.0, 7.0), 1.2))  # 1 nm between their surfaces


@pytest.fixture(scope="module")
def found(pair: np.ndarray) -> Voids:
    return _find(pair)


def test_neighbors_come_out_as_two(found: Voids) -> None:
    assert len(found) == 2
    order = np.argsort(found.center_nm[:, 0])
    np.testing.assert_allclose(found.center_nm[order], [[5.3, 7, 7], [8.7, 7, 7]], atol=0.35)
    np.testing.assert_allclose(found.radius_nm, 1.2, atol=0.2)
    assert (found.radius_low_nm < found.radius_nm).all()
    assert (found.radius_nm < found.radius_high_nm).all()
    assert (found.center_low_nm < found.center_high_nm).all()
    assert (found.false_alarm < 1e-3).all()
    np.testing.assert_allclose(found.n_missing, 45 * 4 / 3 * np.pi * 1.2**3, rtol=0.35)


def test_same_seed_gives_the_same_voids_on_any_number_of_threads(pair: np.ndarray, found: Voids) -> None:
    again = _find(pair, workers=1)
    np.testing.assert_array_equal(again.center_nm, found.center_nm)
    np.testing.assert_array_equal(again.radius_low_nm, found.radius_low_nm)
    np.testing.assert_array_equal(again.log_bayes, found.log_bayes)


def test_void_free_box_gives_none() -> None:
    found = _find(_box(seed=4))
    assert len(found) == 0
    assert found.center_nm.shape == (0, 3)
    assert 0.6 < found.dispersion < 1.6


def test_thin_places_in_rough_surroundings_are_less_sure(found: Voids) -> None:
    xyz, rng = _box(seed=6, side=16.0), np.random.default_rng(6)
    grains = np.where(rng.random((8, 8, 8)) < 0.5, 0.5, 1.0)  # of 2.5 nm, in one half of the box
    kept = np.where(xyz[:, 0] < 9, 1.0, grains[tuple((xyz / 2.5).astype(int).T)])
    ball = np.linalg.norm(xyz - [4, 8, 8], axis=1) < 1.3
    rough = _find(xyz[(rng.random(len(xyz)) < kept) & ~ball])
    real = np.linalg.norm(rough.center_nm - [4, 8, 8], axis=1) < 0.5
    assert real.sum() == 1
    assert rough.local_dispersion[real] < 1.4
    assert rough.false_alarm[real] < 1e-3
    grain = rough.center_nm[:, 0] > 11
    assert grain.any()
    assert (rough.local_dispersion[grain] > 1.4).all()
    assert (rough.false_alarm[grain] > rough.false_alarms.probability(rough.log_bayes[grain])).all()
    np.testing.assert_array_equal(found.false_alarm, found.false_alarms.probability(found.log_bayes))


def test_zone_of_low_density_is_no_void() -> None:
    xyz, rng = _box(seed=5), np.random.default_rng(5)
    inside = np.linalg.norm(xyz - 7, axis=1) < 2.5
    assert len(_find(xyz[~inside | (rng.random(len(xyz)) > 0.3)])) == 0


def test_rims_are_numbered(found: Voids, pair: np.ndarray) -> None:
    label = label_rims(pair, found, 0.5)
    gap = np.linalg.norm(pair[:, None] - found.center_nm, axis=2) - found.radius_nm
    np.testing.assert_array_equal(label, np.where(gap.min(axis=1) <= 0.5, gap.argmin(axis=1) + 1, 0))


def test_progress_rises_to_its_total(pair: np.ndarray) -> None:
    frame, seen = Frame.around(pair, 0.5), []
    stage = find_voids(pair, frame, np.ones(frame.shape, bool), PARAMS)
    drain(stage, lambda p: seen.append(p))
    assert all(isinstance(p, Progress) and 0 <= p.done <= p.total for p in seen)
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_bad_input_is_refused() -> None:
    xyz = np.random.default_rng(0).random((500, 3)).astype(np.float32) * 5
    frame = Frame.around(xyz, 0.5)
    inside = np.ones(frame.shape, bool)
    with pytest.raises(ShapeError, match="inside must have the shape"):
        drain(find_voids(xyz, frame, inside[1:]))
    with pytest.raises(ShapeError, match="expected must have the shape"):
        drain(find_voids(xyz, frame, inside, expected=np.ones((2, 2, 2), np.float32)))
    with pytest.raises(EmptySelectionError, match="finite position"):
        drain(find_voids(np.full((3, 3), np.nan), frame, inside))
    coarse = Frame.around(xyz, 1.0)
    with pytest.raises(ParameterError, match="too large"):
        drain(find_voids(xyz, coarse, np.ones(coarse.shape, bool)))
