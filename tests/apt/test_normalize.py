"""Normalization: noise is set aside, never dropped; the grid covers the specimen, not the noise."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.normalize import NormalizeParams, normalize
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.stage import drain


@pytest.fixture(scope="module")
def box() -> np.ndarray:
    return (np.random.default_rng(0).random((60_000, 3)) * 12).astype(np.float32)


def test_clean_box_keeps_every_ion(box: np.ndarray) -> None:
    result = drain(normalize(box))
    assert result.used.all()
    assert result.issues == ()
    np.testing.assert_array_equal(result.xyz_nm, box)


def test_density_is_ions_per_volume(box: np.ndarray) -> None:
    result = drain(normalize(box))
    middle = tuple(slice(n // 3, 2 * n // 3) for n in result.frame.shape)
    assert result.density.values[middle].mean() == pytest.approx(60_000 / 12**3, rel=0.03)
    assert result.density.unit == "ions/nm3"
    assert result.density.values.sum() * 0.5**3 == pytest.approx(60_000, rel=0.1)  # tails leave the grid


def test_isolated_and_non_finite_ions_are_set_aside_and_reported(box: np.ndarray) -> None:
    odd = np.array([[500, 0, 0], [np.nan, 1, 1], [3, np.inf, 3]], np.float32)
    result = drain(normalize(np.concatenate([box, odd])))
    np.testing.assert_array_equal(np.flatnonzero(~result.used), [60_000, 60_001, 60_002])
    assert result.isolated[60_000]
    assert len(result.xyz_nm) == 60_003
    assert {issue.code for issue in result.issues} == {"non-finite-position", "isolated-ions"}
    assert max(result.frame.shape) < 40  # the far ion does not blow up the grid


def test_flip_mirrors_z_only(box: np.ndarray) -> None:
    flipped = drain(normalize(box, NormalizeParams(flip_z=True))).xyz_nm
    np.testing.assert_array_equal(flipped, box * [1, 1, -1])


def test_nothing_finite_is_an_error() -> None:
    with pytest.raises(EmptySelectionError, match="finite"):
        drain(normalize(np.full((5, 3), np.nan, np.float32)))


def test_absurd_extent_is_an_error_that_asks_for_units() -> None:
    xyz = np.concatenate([np.zeros((5, 3)), np.full((5, 3), 1e9)]).astype(np.float32)
    with pytest.raises(EmptySelectionError, match="are they in nm"):
        drain(normalize(xyz))
