"""The blurred ball against its closed form, against random places, and by its volume."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from napari_aptdefect.apt.voids.profile import Blur, build_table, kernel, missing


def _closed_form(d: float, radius: float, sigma: float) -> float:
    root = np.sqrt(2) * sigma
    edges = (erf((radius + d) / root) + erf((radius - d) / root)) / 2
    tails = np.exp(-((d - radius) ** 2) / root**2) - np.exp(-((d + radius) ** 2) / root**2)
    return float(edges - sigma / (d * np.sqrt(2 * np.pi)) * tails)


@pytest.mark.parametrize("radius", [0.5, 1.3, 4.0])
def test_equal_blur_gives_the_closed_form(radius: float) -> None:
    table = build_table(Blur(0.5, 0.5))
    for rho, z in ((0.1, 0.0), (radius, 0.0), (0.0, radius), (0.6 * radius, 0.8 * radius), (radius + 0.7, 0.2)):
        want = _closed_form(float(np.hypot(rho, z)) or 1e-6, radius, 0.5)
        assert missing(table, rho, z, radius, 1.0) == pytest.approx(want, abs=0.012)


def test_unequal_blur_agrees_with_random_places() -> None:
    table, rng = build_table(Blur(0.6, 0.2)), np.random.default_rng(0)
    shift = rng.standard_normal((200_000, 3)) * [0.6, 0.6, 0.2]
    for place in ((0.3, 0.0, 0.4), (1.1, 0.0, 0.0), (0.0, 0.0, 1.1), (0.9, 0.0, 0.9)):
        want = (np.linalg.norm(np.asarray(place) + shift, axis=1) < 1.1).mean()
        assert missing(table, place[0], place[2], 1.1, 1.0) == pytest.approx(want, abs=0.01)


def test_factor_scales_the_blur() -> None:
    wide, narrow = build_table(Blur(0.6, 0.3)), build_table(Blur(0.5, 0.25))
    assert missing(narrow, 0.8, 0.5, 1.2, 1.2) == pytest.approx(missing(wide, 0.8, 0.5, 1.2, 1.0), abs=0.005)


def test_blur_keeps_the_volume() -> None:
    profile = kernel(build_table(Blur(0.6, 0.25)), 1.5, 0.5)
    assert profile.shape[0] > profile.shape[2]
    assert profile.sum() * 0.125 == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.02)
