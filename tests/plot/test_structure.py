"""Figures of the structure: what is drawn where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot.structure import draw_angles, draw_coordination, draw_pair_distribution


def test_pair_distribution_leaves_noise_out_of_the_scale() -> None:
    axes = Figure().add_subplot()
    r = np.linspace(0.01, 1, 50)
    g, error = np.ones(50), np.full(50, 0.05)
    g[0], error[0], g[1] = 40.0, 40.0, np.nan
    draw_pair_distribution(axes, r, g, error, 0.4)
    assert axes.get_ylim() == pytest.approx((0, 1.15))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["random", "cutoff 0.40 nm"]
    assert len(axes.lines[1].get_xdata()) == 49


def test_angles_stand_beside_random_directions() -> None:
    axes = Figure().add_subplot()
    edges = np.linspace(0, 180, 91)
    draw_angles(axes, edges, np.full(90, 1 / 180))
    random = axes.lines[0].get_ydata()
    assert np.sum(random) * 2 == pytest.approx(1, abs=1e-3)
    assert axes.get_xlim() == (0, 180)


def test_a_bar_for_each_number_of_bonds() -> None:
    axes = Figure().add_subplot()
    draw_coordination(axes, np.array([0, 3, 5]))
    assert [bar.get_height() for bar in axes.patches] == [0, 3, 5]


def test_arrays_that_do_not_belong_together() -> None:
    axes = Figure().add_subplot()
    with pytest.raises(ShapeError, match="one length"):
        draw_pair_distribution(axes, np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ShapeError, match="4 edges, got 3"):
        draw_angles(axes, np.zeros(3), np.zeros(3))
