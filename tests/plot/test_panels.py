import numpy as np
import pytest

from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.plot import canvas, clusters, defects, layout, slices
from napari_aptdefect.plot.cloud import sample


@pytest.fixture(autouse=True)
def _style():
    with canvas.house_style():
        yield


def grid(values, voxel=(1.0, 1.0, 1.0)):
    return VoxelGrid(np.asarray(values, np.float32), np.zeros(3), np.asarray(voxel, float), "density", "ions/nm3")


@pytest.mark.parametrize("size", [(10, 10, 10), (60, 50, 300), (300, 300, 4), (40, 1, 40)])
def test_planes_have_one_scale_and_do_not_overlap(size):
    figure = canvas.new_figure(9.6, 4)
    panels, planes = layout.plane_axes(figure, np.array(size, float))
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in panels]
    scales = []
    for box, (right, up) in zip(boxes, planes, strict=True):
        assert 0 < box.x0 < box.x1 < 1
        assert 0 < box.y0 < box.y1 < 1
        scales += [box.width * width / size[right]] if size[right] > 1 else []
        scales += [box.height * height / size[up]] if size[up] > 1 and size[up] > 0.02 * max(size) else []
    assert np.allclose(scales, scales[0])
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_slices_show_the_right_planes():
    values = np.zeros((4, 6, 8), np.float32)
    values[2, 3, 4] = 7
    values[0, 3, 4] = 5  # x low, in the xy plane at the left
    figure = canvas.new_figure(9.6, 4)
    slices.draw_midplanes(figure, grid(values, (1, 1, 0.5)), label="density (ions/nm³)")
    images = {axes.get_title().split()[0]: axes.images[0] for axes in figure.axes if axes.images}
    assert set(images) == {"xy", "xz", "yz"}
    xy = images["xy"].get_array()
    assert xy.shape == (6, 4)
    assert xy[3, 2] == 7
    assert xy[3, 0] == 5
    assert images["xz"].get_extent() == [0, 4, 0, 4]
    assert any("ions/nm³" in axes.get_ylabel() for axes in figure.axes)
    assert all(axes.get_aspect() == 1 for axes in figure.axes if axes.images)


@pytest.mark.parametrize("values", [np.full((2, 2, 2), np.nan), np.zeros((1, 1, 1)), np.ones((3, 3, 3))])
def test_slices_cope_with_flat_values(values):
    figure = canvas.new_figure(9.6, 4)
    slices.draw_midplanes(figure, grid(values), label="x")
    assert canvas.png_bytes(figure)


def test_color_limits_ignore_single_voxels_and_say_so():
    values = np.ones(1000)
    values[0] = 1e6
    assert slices.color_limits(values) == (0.0, 1.0, True)
    assert slices.color_limits(np.array([0.0, 2.0, 2.0])) == (0.0, 2.0, False)


def test_silhouette_marks_the_chosen_k():
    axes = canvas.new_figure(4, 3).add_subplot()
    clusters.draw_silhouette(axes, [(2, 0.3, 0.1), (3, 0.5, float("nan"))], 3)
    assert axes.get_title() == "k = 3 was taken"
    assert axes.lines[-1].get_xydata().tolist() == [[3, 0.5]]


def test_sizes_are_written_at_the_bars():
    axes = canvas.new_figure(4, 3).add_subplot()
    clusters.draw_sizes(axes, np.array([0, 1]), np.array([750, 200]), 50, [(0, 0, 0), (9, 9, 9)])
    assert [text.get_text() for text in axes.texts] == ["750 (75 %)", "200 (20 %)", "50 (5 %)"]


def test_scores_that_are_no_numbers_are_left_out():
    axes = canvas.new_figure(4, 3).add_subplot()
    defects.draw_scores(axes, np.array([0.0, 1.0, np.nan]), np.array([0, 5, 5]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all ions", "solute cluster"]
    assert axes.patches[0].get_data().values.sum() == 2
    defects.draw_scores(canvas.new_figure(4, 3).add_subplot(), np.full(2, np.nan), np.zeros(2, int))


@pytest.mark.parametrize(("n", "limit"), [(0, 10), (1, 1), (10, 10), (1001, 10), (10, 3)])
def test_sample_is_bounded_seeded_and_spread(n, limit):
    picked = sample(n, limit, seed=3)
    assert len(picked) <= limit
    assert len(picked) >= min(n, limit) / 2 - 1
    assert np.array_equal(picked, sample(n, limit, seed=3))
    assert len(np.unique(picked)) == len(picked)
    assert ((picked >= 0) & (picked < n)).all()
