"""Persistence diagrams, Betti curves and maps of columns are drawn as they are."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.plot import canvas
from napari_aptdefect.plot.consistency import draw_columns
from napari_aptdefect.plot.persistence import draw_betti, draw_persistence


@pytest.fixture
def axes():
    with canvas.house_style():
        yield canvas.new_figure(4, 3.5).add_subplot()


def test_diagram_has_a_dot_per_class_that_ends(axes):
    intervals = [np.array([[0, 0.2], [0, np.inf]]), np.array([[0.2, 0.5], [0.3, 0.35]]), np.zeros((0, 2))]
    draw_persistence(axes, intervals, [0.2, 0.1, 0.1])
    offsets = [dots.get_offsets() for dots in axes.collections]
    assert [len(one) for one in offsets] == [1, 2, 0]
    np.testing.assert_array_equal(offsets[1], intervals[1])
    assert [entry.get_text() for entry in axes.get_legend().get_texts()] == ["1 components", "2 loops", "0 cavities"]
    assert sum(line.get_linestyle() == "--" for line in axes.lines) == 2
    assert canvas.png_bytes(axes.get_figure(root=True))
    with pytest.raises(ShapeError, match="components, loops, cavities"):
        draw_persistence(axes, intervals[:2])


def test_betti_curves_stand_beside_the_reference(axes):
    radii, betti = np.linspace(0, 1, 4), np.arange(12).reshape(4, 3)
    draw_betti(axes, radii, betti, betti + 0.5)
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(lines["cavities"], betti[:, 2])
    np.testing.assert_array_equal(lines["random ions"], betti[:, 0] + 0.5)
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        draw_betti(axes, radii, betti[:, :2])


def test_columns_lie_where_they_are(axes):
    contrast = np.full((6, 4), np.nan)
    contrast[2, 1] = -0.1
    draw_columns(axes, contrast, (-3.0, -2.0), 0.5, [(1.0, 0.5, 2.0, 1.0, 30.0)], unit="mm")
    (image,) = axes.images
    assert tuple(image.get_extent()) == (-3.0, 0.0, -2.0, 0.0)
    assert image.get_array()[1, 2] == pytest.approx(-10)
    assert image.get_clim() == (-10, 10)
    (mark,) = axes.patches
    assert (mark.width, mark.height, mark.angle) == (4.0, 2.0, 30.0)
    assert axes.get_xlabel() == "x (mm)"
    with pytest.raises(ShapeError, match="two dimensions"):
        draw_columns(axes, contrast[0], (0, 0), 1)
