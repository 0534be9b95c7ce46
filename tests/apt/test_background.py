"""The background is what the specimen would be without its defects."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.background import BackgroundParams, BackgroundStage, choose_channels, estimate_background
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.stage import drain

_SIDE = 18.0


def _estimate(xyz: np.ndarray, species: np.ndarray, **params: float) -> tuple[Normalized, BackgroundStage]:
    found = drain(normalize(xyz))
    return found, drain(estimate_background(xyz, species, found.frame, found.inside, BackgroundParams(**params)))


@pytest.fixture(scope="module")
def box() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = (rng.random((150_000, 3)) * _SIDE).astype(np.float32)
    return xyz, rng.choice(np.array([0, 1, 2, -1], np.int16), len(xyz), p=[0.5, 0.43, 0.02, 0.05])


def test_random_box_has_a_flat_background(box: tuple[np.ndarray, np.ndarray]) -> None:
    found, estimate = _estimate(*box)
    background = estimate.background
    per_voxel = len(box[0]) / _SIDE**3 * found.frame.voxel_nm**3
    assert background.density[background.core].mean() == pytest.approx(per_voxel, rel=0.01)
    assert background.density[background.core].std() < 0.05 * per_voxel
    assert estimate.channels == (0, 1, 2)
    for share, expected in zip(background.shares, (0.5 / 0.95, 0.43 / 0.95, 0.02 / 0.95), strict=True):
        assert share[background.core].mean() == pytest.approx(expected, rel=0.05)
    np.testing.assert_allclose(sum(background.shares)[background.core], 1, rtol=1e-4)
    assert background.ranged[background.core].mean() == pytest.approx(0.95, abs=0.005)


def test_slow_gradients_stay_in_the_background() -> None:
    rng = np.random.default_rng(2)
    xyz = (rng.random((150_000, 3)) * [14, 14, 30]).astype(np.float32)
    species = (rng.random(len(xyz)) < 0.1 + 0.4 * xyz[:, 2] / 30).astype(np.int16)
    found, estimate = _estimate(xyz, species)
    share = estimate.background.shares[estimate.channels.index(1)]
    column = tuple(int((7 - o) / 0.5) for o in found.frame.origin_nm[:2])
    for z in (2.5, 8.0, 15.0, 22.0, 27.5):  # near the ends, too, where a mean would be off by 0.05
        at = int((z - found.frame.origin_nm[2]) / 0.5)
        assert share[(*column, at)] == pytest.approx(0.1 + 0.4 * z / 30, abs=0.02)


def test_shell_keeps_what_was_counted_and_is_not_judged(box: tuple[np.ndarray, np.ndarray]) -> None:
    found, estimate = _estimate(*box)
    background = estimate.background
    shell = ~background.core
    np.testing.assert_array_equal(background.density[shell], found.frame.count(box[0])[shell])
    assert background.depth_nm[background.core].min() > 2.0


def test_specimen_without_a_core_is_an_error_that_says_what_to_do() -> None:
    thin = (np.random.default_rng(3).random((30_000, 3)) * [20, 20, 3]).astype(np.float32)
    with pytest.raises(EmptySelectionError, match="thinner surface zone"):
        _estimate(thin, np.zeros(len(thin), np.int16))


def test_rare_species_get_no_channel_and_frequent_ones_come_first() -> None:
    species = np.repeat([3, 0, 1, -1], [500, 2000, 10, 9999]).astype(np.int16)
    assert choose_channels(species) == (0, 3)
    assert choose_channels(species, BackgroundParams(max_species=1)) == (0,)
    assert choose_channels(np.full(5, -1, np.int16)) == ()
