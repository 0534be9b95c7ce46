"""Drawn shapes and labels made into regions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.data.region import (
    DrawnShape,
    PolygonPrism,
    column_name,
    drawn_regions,
    ellipse_corners,
    label_regions,
    prism_over,
)
from napari_aptdefect.errors import EmptySelectionError, ParameterError

FLAT = np.array([[0.0, 0], [4, 0], [4, 2], [0, 2]])


@pytest.mark.parametrize("along", [0, 1, 2])
def test_a_shape_stands_on_the_axis_across_its_plane(along: int) -> None:
    corners = np.insert(FLAT, along, 7.0, axis=1)
    endless, thick = prism_over(corners), prism_over(corners, 3.0)
    assert endless.axis == thick.axis == "xyz"[along]
    np.testing.assert_array_equal(endless.vertices_nm, FLAT)
    assert endless.span_nm == (-np.inf, np.inf)
    assert thick.span_nm == (5.5, 8.5)
    assert along not in thick.across


def test_an_ellipse_fills_its_box() -> None:
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    box = np.insert(FLAT @ turn.T, 2, 1.0, axis=1)
    corners = ellipse_corners(box)
    own = (corners - box.mean(axis=0))[:, :2] @ turn
    np.testing.assert_allclose((own[:, 0] / 2) ** 2 + own[:, 1] ** 2, 1)
    x, y = corners[:, 0], corners[:, 1]
    assert abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 == pytest.approx(np.pi * 2, rel=1e-3)
    with pytest.raises(ParameterError, match="4 corners"):
        ellipse_corners(corners)


def test_each_closed_shape_is_a_region() -> None:
    corners = np.insert(FLAT, 2, 0.0, axis=1)
    shapes = [DrawnShape("rectangle", corners), DrawnShape("line", corners[:2]), DrawnShape("ellipse", corners + 1)]
    found = drawn_regions("my grains", shapes, 2.0)
    assert list(found) == ["my_grains_1", "my_grains_3"]
    assert len(found["my_grains_3"].vertices_nm) == 96
    assert list(drawn_regions("one", shapes[:2])) == ["one"]
    with pytest.raises(EmptySelectionError, match="no polygon, rectangle or ellipse"):
        drawn_regions("lines", shapes[1:2])
    with pytest.raises(ParameterError, match="33 regions; 32"):
        drawn_regions("many", shapes[:1] * 33)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (np.eye(3), "shape 1: its corners don't lie in one plane"),
        (np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0.0]]), "enclose no area"),
        (np.array([[0, 0, 0], [1, 1, 0], [3, 3, 0.0]]), "enclose no area"),
        (np.zeros((3, 3)), "enclose no area"),
        (np.array([[0, 0, np.nan], [1, 1, 0], [3, 3, 0.0]]), "finite|3 or more"),
    ],
)
def test_what_encloses_nothing_is_refused(corners, message) -> None:
    with pytest.raises(ParameterError, match=message):
        drawn_regions("odd", [DrawnShape("polygon", corners)])


def test_each_label_is_a_region_where_it_lies() -> None:
    values = np.zeros((40, 30, 20), np.float32)
    values[10:12, 20:25, 3:4], values[38:40, 0:2, 18:20] = 2, 7
    grid = VoxelGrid(values, np.array([1.0, 2, 3]), np.array([0.5, 1, 2]))
    found = label_regions("paint", grid)
    assert list(found) == ["paint_2", "paint_7"]
    for label, one in zip((2, 7), found.values(), strict=True):
        where = one.origin_nm + (np.argwhere(one.values > 0.5) + 0.5) * one.voxel_nm
        np.testing.assert_allclose(where, grid.origin_nm + (np.argwhere(values == label) + 0.5) * grid.voxel_nm)
    assert found["paint_2"].values.size < values.size / 10
    assert list(label_regions("paint", VoxelGrid(values == 2, grid.origin_nm, grid.voxel_nm))) == ["paint"]
    with pytest.raises(EmptySelectionError, match="paint labels no voxel"):
        label_regions("paint", VoxelGrid(np.zeros((2, 2, 2), np.float32), grid.origin_nm, grid.voxel_nm))


def test_bad_prisms_are_refused() -> None:
    with pytest.raises(ParameterError, match="3 or more"):
        PolygonPrism(np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="lower and an upper"):
        PolygonPrism(FLAT, (3, 3))
    with pytest.raises(ParameterError, match="axis x, y or z"):
        PolygonPrism(FLAT, (0, 3), "w")


def test_names_of_columns() -> None:
    assert [column_name(name) for name in ("a b", "ä", "", "7", "Shapes [1]")] == [
        "a_b",
        "region",
        "region",
        "_7",
        "Shapes_1",
    ]
