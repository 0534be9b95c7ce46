import numpy as np
import pytest

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.plot.splat import Camera, Frame, flatten, fog, sphere_radius, splat

RED, BLUE = (255, 0, 0), (0, 0, 255)
FRAME = Frame(-1, 1, -1, 1, 40, 40)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_ion_hides_the_farther_one(order):
    xyz = np.array([[0, 0, 0], [0, 0, 5]], np.float32)[list(order)]
    rgb = np.array([RED, BLUE], np.uint8)[list(order)]
    picture = splat(xyz, rgb, FRAME, 3, depth_fade=0)
    assert picture[20, 20, 2] > 0.5
    assert picture[20, 20, 0] == 0


def test_row_zero_is_the_bottom_and_columns_go_right():
    picture = splat(np.array([[0.9, -0.9, 0]], np.float32), np.array([RED], np.uint8), FRAME, 0)
    row, col = (int(i[0]) for i in np.nonzero(picture[..., 3]))
    assert (row, col) == (2, 38)


def test_ions_outside_the_frame_are_left_out():
    picture = splat(np.array([[9, 0, 0]], np.float32), np.array([RED], np.uint8), FRAME, 2)
    assert not picture.any()
    assert not splat(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), FRAME, 2).any()


def test_a_picture_without_relief_keeps_the_colors():
    xyz = np.random.default_rng(1).uniform(-1, 1, (500, 3)).astype(np.float32)
    picture = splat(xyz, np.full((500, 3), (10, 200, 30), np.uint8), FRAME, 2, depth_fade=0, relief=False)
    hit = picture[..., 3] > 0
    assert np.allclose(picture[hit][:, :3] * 255, (10, 200, 30), atol=1e-3)


def test_equal_input_gives_equal_pixels():
    rng = np.random.default_rng(2)
    xyz = np.repeat(rng.uniform(-1, 1, (300, 3)), 2, axis=0).astype(np.float32)  # with exact ties
    rgb = rng.integers(0, 255, (600, 3)).astype(np.uint8)
    assert np.array_equal(splat(xyz, rgb, FRAME, 2), splat(xyz.copy(), rgb.copy(), FRAME, 2))


@pytest.mark.parametrize("camera", [Camera.turned(-60, 18), Camera.turned(10, 80).rolled(), Camera.along(2, 0)])
def test_cameras_keep_distances(camera):
    assert np.allclose(camera.rows @ camera.rows.T, np.eye(3), atol=1e-12)
    assert np.isclose(np.linalg.det(camera.rows), 1)


def test_rolling_lays_z_to_the_right():
    assert np.allclose(Camera.turned(0, 0).rolled().project(np.array([[0, 0, 1]], np.float32)), [[1, 0, 0]], atol=1e-6)


def test_frame_of_a_point_has_an_area():
    frame = Frame.around(np.zeros((1, 3)), 50)
    assert frame.u1 > frame.u0
    assert frame.v1 > frame.v0


def test_veil_is_denser_where_more_ions_lie():
    xyz = np.array([[-0.5, 0, 0]] * 9 + [[0.5, 0, 0]], np.float32)
    veil = fog(xyz, FRAME)
    assert veil[20, 10, 3] > veil[20, 30, 3] > 0
    assert fog(xyz[:0], FRAME)[..., 3].max() == 0


def test_flatten_averages_over_white():
    layer = np.zeros((2, 2, 4), np.float32)
    layer[0, 0] = (0, 0, 0, 1)
    assert flatten([layer]).tolist() == [[[191, 191, 191]]]


def test_spheres_have_bounds():
    assert 1 <= sphere_radius(10**8, FRAME) <= sphere_radius(1, FRAME) <= 8
    with pytest.raises(ParameterError, match="0 to 8 pixels"):
        splat(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), FRAME, 9)
