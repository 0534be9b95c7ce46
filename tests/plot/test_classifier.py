"""Reliability curves and coefficients are drawn as they are."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot import canvas
from napari_aptdefect.plot.classifier import draw_coefficients, draw_reliability
from napari_aptdefect.plot.clusters import draw_silhouette


@pytest.fixture
def axes():
    with canvas.house_style():
        yield canvas.new_figure(4, 4).add_subplot()


def test_reliability_has_the_diagonal_the_curve_and_its_intervals(axes):
    at, frequency = np.array([0.1, 0.8]), np.array([0.0, 0.75])
    draw_reliability(axes, at, frequency, np.array([10, 40]), title="void")
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), frequency)
    (_, (_, top)), ((_, low), (_, high)) = axes.collections[0].get_segments()
    assert top == pytest.approx(0.278, abs=0.001)  # Wilson's interval of 0 of 10
    assert (low, high) == pytest.approx((0.598, 0.858), abs=0.001)  # of 30 of 40
    with pytest.raises(ShapeError, match="one length"):
        draw_reliability(axes, at, frequency, np.array([1]))


def test_the_largest_coefficients_come_first_and_their_sign_shows(axes):
    draw_coefficients(axes, ["a_1", "b$", "c"], np.array([0.5, -2.0, 1.0]), most=2)
    assert [bar.get_width() for bar in axes.patches] == [-2.0, 1.0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [canvas.plain("b$"), "c"]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    with pytest.raises(ShapeError, match="2 features"):
        draw_coefficients(axes, ["a", "b"], np.zeros(3))


def test_the_eigengap_stands_beside_the_silhouette(axes):
    draw_silhouette(axes, [(2, 0.4, 0.1), (3, 0.6, 0.1)], 3, 4)
    assert [line.get_xdata()[0] for line in axes.lines if line.get_label() == "eigengap"] == [4]
