"""The expectation follows what is smooth, columns and layers, and leaves voids alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.voids.background import count_dithered, effective_blur, make_field
from napari_aptdefect.apt.voids.model import VoidParams
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.fields import Frame

FRAME = Frame(np.zeros(3), 0.5, (32, 32, 60))
INSIDE = np.ones(FRAME.shape, bool)
PARAMS = VoidParams()


def _places() -> list[np.ndarray]:
    return [
        (np.arange(n) * 0.5 + 0.25).reshape([-1 if a == i else 1 for a in range(3)]) for i, n in enumerate(FRAME.shape)
    ]


def _error(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    counts = np.random.default_rng(seed).poisson(truth).astype(np.float32)
    field = make_field(counts, FRAME, INSIDE, PARAMS)
    deep = field.centers
    ratio = np.where(field.expected > 0, field.expected / truth - 1, 0)  # unknown in the outermost nanometer
    smooth = FRAME.smooth(ratio.astype(np.float32), 0.8)
    return np.abs(smooth[deep])


def test_slopes_and_poles_are_followed() -> None:
    x, y, z = _places()
    pole = 1 - 0.15 * np.exp(-((x - 6) ** 2 + (y - 9) ** 2) / 2.4**2)
    truth = 6 * (1 + 0.02 * (z - 15)) * pole
    error = _error(truth)
    assert np.percentile(error, 95) < 0.03
    assert error.max() < 0.08


def test_void_does_not_dent_its_own_background() -> None:
    x, y, z = _places()
    truth = np.full(FRAME.shape, 6.0)
    hole = (x - 8) ** 2 + (y - 8) ** 2 + (z - 15) ** 2 < 2.5**2
    counts = np.random.default_rng(1).poisson(np.where(hole, 0, truth)).astype(np.float32)
    field = make_field(counts, FRAME, INSIDE, PARAMS)
    assert field.expected[hole].mean() == pytest.approx(6, rel=0.04)


def test_given_base_is_corrected_too() -> None:
    truth = np.broadcast_to(6 + 0.1 * _places()[2], FRAME.shape)
    counts = np.random.default_rng(2).poisson(truth).astype(np.float32)
    field = make_field(counts, FRAME, INSIDE, PARAMS, np.full(FRAME.shape, 5.0, np.float32))
    deep = field.centers
    assert field.expected[deep].sum() == pytest.approx(truth[deep].sum(), rel=0.01)


def test_dither_only_widens_what_is_sharper_than_the_grid() -> None:
    blur, dither = effective_blur(VoidParams(sigma_lateral_nm=0.6, sigma_depth_nm=0.02), 0.5)
    assert dither[0] == 0
    assert np.hypot(dither[1], 0.02) == pytest.approx(0.15)
    assert blur.lateral_nm == pytest.approx(np.hypot(0.6, 0.5 / np.sqrt(12)))


def test_dither_removes_the_beat_of_planes_and_grid() -> None:
    rng = np.random.default_rng(3)
    planes = (rng.integers(0, 110, 200_000) + 0.5) * 0.26  # c / 2 of GaN against voxels of 0.5 nm
    xyz = np.column_stack([rng.random((200_000, 2)) * 16, planes]).astype(np.float32)
    sharp, soft = (count_dithered(xyz, FRAME, d, rng).sum(axis=(0, 1))[4:-8] for d in ((0.0, 0.0), (0.0, 0.15)))
    assert sharp.std() / sharp.mean() > 0.1
    assert soft.std() / soft.mean() < 0.03


def test_thin_specimen_is_refused() -> None:
    inside = np.zeros(FRAME.shape, bool)
    inside[10:12] = True
    with pytest.raises(EmptySelectionError, match="thinner surface zone"):
        make_field(np.ones(FRAME.shape, np.float32), FRAME, inside, PARAMS)
