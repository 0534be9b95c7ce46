import numpy as np
import pytest

from napari_aptdefect.data import Ion, MassRange, RangeTable
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.plot import canvas
from napari_aptdefect.plot.spectrum import (
    dense_range,
    draw_background,
    draw_spectrum,
    histogram,
    nice_step,
    whole_range,
)

EMPTY = RangeTable((), ())


def table(n):
    ions = tuple(Ion(f"Species{i}" if i % 7 else "X" * 90) for i in range(n))
    return RangeTable(ions, tuple(MassRange(5 + i - 0.2, 5 + i + 0.2, i) for i in range(n)))


def test_no_ion_is_lost_from_the_count():
    mass = np.array([0, 1.5, 9.99999, 10, 200, -3, np.nan, np.inf, 3e38], np.float32)
    spectrum = histogram(mass, 0, 10)
    assert spectrum.counts.sum() + spectrum.n_outside + spectrum.n_not_finite == len(mass)
    assert spectrum.n_not_finite == 2
    assert spectrum.counts.sum() == 3


def test_counts_equal_numpy():
    mass = np.random.default_rng(0).uniform(0, 30, 20_000)
    spectrum = histogram(mass, 0, 30)
    assert spectrum.bin_da == pytest.approx(0.01)
    assert np.abs(spectrum.counts - np.histogram(mass, spectrum.edges_da)[0]).sum() <= 4  # rounding at the edges


def test_empty_interval_is_an_error():
    with pytest.raises(ParameterError, match="lo_da < hi_da"):
        histogram(np.zeros(3), 2, 2)


@pytest.mark.parametrize(("step", "nice"), [(0.1, 0.1), (0.11, 0.2), (3, 5), (60, 100), (0.0021, 0.005)])
def test_nice_steps(step, nice):
    assert nice_step(step) == pytest.approx(nice)


def test_dense_range_is_where_the_ions_are():
    rng = np.random.default_rng(0)
    mass = np.concatenate([rng.normal(28, 0.1, 9_500), rng.uniform(0, 100, 500)])
    lo, hi = dense_range(histogram(mass, 0, 100))
    assert 26 < lo < 27.9
    assert 28.1 < hi < 30


def test_whole_range_copes_with_wild_or_no_masses():
    wild = np.concatenate([np.full(1000, 28.0), [1e30, np.nan, -5]]).astype(np.float32)
    assert whole_range(wild, EMPTY) == (0.0, pytest.approx(29.4))
    assert whole_range(np.full(4, np.nan, np.float32), EMPTY) == (0.0, 1.0)
    assert whole_range(wild, table(60))[1] > 64.2


@pytest.mark.parametrize("n", [0, 1, 60])
def test_drawn_labels_do_not_overlap(n):
    ranges = table(n)
    mass = np.concatenate([np.random.default_rng(0).normal(5 + i, 0.05, 50 + 13 * i) for i in range(n)] or [[3.0, 4.0]])
    with canvas.house_style():
        figure = canvas.new_figure(9.6, 3)
        axes = figure.add_axes((0.08, 0.15, 0.9, 0.8))
        left_out = draw_spectrum(axes, histogram(mass, *whole_range(mass, ranges)), ranges)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) + left_out == n
    assert len(boxes) >= n / 4
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            assert not (one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1)


def test_ranges_are_shaded_in_the_color_of_the_ion():
    ranges = RangeTable((Ion("Si", color=(255, 0, 0)),), (MassRange(27.5, 28.5, 0),))
    with canvas.house_style():
        figure = canvas.new_figure(6, 3)
        axes = figure.add_axes((0.1, 0.15, 0.85, 0.8))
        draw_spectrum(axes, histogram(np.full(100, 28.0), 0, 40), ranges)
    faces = [tuple(c.get_facecolor()[0][:3]) for c in axes.collections]
    assert (1.0, 0.0, 0.0) in faces
    assert axes.get_yscale() == "log"


def test_background_is_drawn_where_it_was_measured():
    with canvas.house_style():
        figure = canvas.new_figure(6, 3)
        axes = figure.add_axes((0.1, 0.2, 0.85, 0.7))
        found = histogram((10 * np.random.default_rng(0).random(50_000)) ** 2, 0, 100)
        draw_background(axes, found, 5000.0, 4.0, 81.0)
        x, y = axes.lines[0].get_data()
    assert 4 < x.min() < 4.2
    assert 80.8 < x.max() < 81
    assert y.sum() == pytest.approx(5000 * (9 - 2), rel=0.01)
    inside = (found.edges_da[:-1] >= 4) & (found.edges_da[1:] <= 81)
    assert found.counts[inside].sum() == pytest.approx(y.sum(), rel=0.02)
