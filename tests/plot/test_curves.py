"""Drift curves and profiles are drawn as they are."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot import canvas
from napari_aptdefect.plot.drift import draw_drift, draw_peak_drift
from napari_aptdefect.plot.profiles import draw_profile


@pytest.fixture
def axes():
    with canvas.house_style():
        yield canvas.new_figure(5, 3).add_subplot()


def test_drift_has_a_curve_per_direction_and_its_band(axes):
    at, curve = np.arange(4.0), np.column_stack([np.arange(4.0), -np.arange(4.0)])
    draw_drift(axes, at, curve + 0.1, curve, np.full((4, 2), 0.25), unit="mm")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["x", "y"]
    assert axes.get_ylabel() == "drift (mm)"
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(lines["y"], curve[:, 1])
    low, high = axes.collections[0].get_datalim(axes.transData).get_points()[:, 1]
    assert (low, high) == pytest.approx((-0.5, 3.5))
    with pytest.raises(ShapeError, match="4 slices"):
        draw_drift(axes, at, curve, curve[:3], curve)


def test_peak_drift_is_in_parts_per_thousand(axes):
    measured = np.array([[1.001, np.nan], [0.999, 1.0]])
    draw_peak_drift(axes, np.arange(2.0), np.array([14.0, 28.0]), measured, np.array([1.001, 0.999]))
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["mass scale"], [1, -1])
    np.testing.assert_allclose(lines["14.00 Da"], [1, -1])
    with pytest.raises(ShapeError, match="2 peaks"):
        draw_peak_drift(axes, np.arange(3.0), np.array([14.0, 28.0]), measured, np.ones(2))


def test_profile_is_in_percent_at_the_centers_with_bands(axes):
    fraction = np.array([[0.1, 0.9], [0.2, 0.8], [np.nan, np.nan]])
    draw_profile(axes, np.arange(-1.0, 3.0), fraction, np.full((3, 2), 0.01), ["Mg", "Ga"], at_surface=True)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["Mg"].get_xdata(), [-0.5, 0.5, 1.5])
    np.testing.assert_allclose(lines["Ga"].get_ydata(), [90, 80, np.nan])
    assert any(np.array_equal(line.get_xdata(), [0, 0]) for line in axes.lines)
    low, high = axes.collections[0].get_datalim(axes.transData).get_points()[:, 1]
    assert (low, high) == pytest.approx((9, 21))
    assert canvas.png_bytes(axes.get_figure(root=True))
    with pytest.raises(ShapeError, match="3 bins"):
        draw_profile(axes, np.arange(4.0), fraction[:2], fraction[:2], ["Mg", "Ga"])
