from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from napari.layers import Layer

from napari_aptdefect._napari.frames import grid_to_zyx, to_zyx
from napari_aptdefect._napari.layers import KEY, cloud_layers, defect_layers, image_layer, unique_names
from napari_aptdefect._napari.palette import species_colors
from napari_aptdefect._napari.runs import run_layers
from napari_aptdefect._napari.volume_layers import volume_layer
from napari_aptdefect.apt.delocalize import voxelize
from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable, HaadfImage, Ion, RangeTable, VoxelGrid
from napari_aptdefect.pipeline.run_folder import RunFolder


def test_axes_are_reversed_in_one_place():
    assert to_zyx(np.array([[1, 2, 3]])).tolist() == [[3, 2, 1]]


def test_a_grid_lies_exactly_on_the_ions():
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 2, 3] = 1
    grid = VoxelGrid(values, np.array([10.0, 20.0, 30.0]), np.array([0.5, 1.0, 2.0]), "density")
    data, attributes, kind = volume_layer(grid, "d", {})
    layer = Layer.create(data, attributes, kind)
    # the center of voxel (1, 2, 3) is at x = 10.75, y = 22.5, z = 37
    assert layer.world_to_data((37.0, 22.5, 10.75)) == pytest.approx((3, 2, 1))
    assert layer.data[3, 2, 1] == 1
    assert grid_to_zyx(grid)[1]["units"] == ("nm", "nm", "nm")


def test_every_ion_falls_into_the_voxel_that_counted_it(cloud):
    grid = voxelize(cloud.xyz_nm, 1.0)
    density = Layer.create(*volume_layer(grid, "d", {}))
    points = to_zyx(cloud.xyz_nm)
    voxel = np.rint([density.world_to_data(point) for point in points[::97]]).astype(int)
    assert (density.data[tuple(voxel.T)] > 0).all()


def test_a_cloud_becomes_points_that_say_how_many_are_drawn(cloud, ranges):
    tuples = cloud_layers(cloud, ranges, name="wire", budget=500, seed=3)
    points, box = (Layer.create(*item) for item in tuples)
    assert points.name == "wire ions (drawn 500 of 4,000)"
    assert len(points.data) == 500
    idx = points.features["ion_idx"].to_numpy()
    assert np.array_equal(points.data[:, ::-1].astype(np.float32), cloud.xyz_nm[idx])
    assert list(points.features["species"].cat.categories) == ["N", "Ga", "unranged"]
    assert (points.features["species"] == "unranged").sum() == 5  # a rare kind is kept whole
    red = points.features["species"].to_numpy() == "N"
    assert np.allclose(points.face_color[red], species_colors(ranges.ions)[0])
    for layer in (points, box):
        assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        assert KEY in layer.metadata
    assert len(box.data) == 12
    assert "nm" in box.name


def test_a_cloud_without_ranges_is_colored_by_mass(cloud):
    points = Layer.create(*cloud_layers(cloud, budget=100)[0])
    light = points.features["mass_da"].to_numpy() < 20
    assert len(np.unique(points.face_color[light], axis=0)) == 1
    assert not np.allclose(points.face_color[light][0], points.face_color[~light][0])


def test_the_layer_holds_no_cloud(cloud):
    metadata = cloud_layers(cloud, budget=100)[0][1]["metadata"][KEY]
    assert all(isinstance(value, (str, int, float, type(None))) for value in metadata.values())


def test_colors_of_the_range_file_are_used_and_the_rest_is_told_apart():
    table = species_colors((Ion("A", (), (255, 0, 0)), Ion("B"), Ion("C"), Ion("D", (), (255, 255, 255))))
    assert table[0] == pytest.approx((1, 0, 0, 1), abs=0.06)
    assert len(np.unique(table[1:4], axis=0)) == 3
    assert table.shape == (5, 4)


def test_ions_of_one_name_stay_apart():
    assert unique_names(RangeTable((Ion("H"), Ion("H"), Ion("unranged")), ())) == [
        "H", "H (2)", "unranged", "unranged (2)",
    ]  # fmt: skip


@pytest.mark.parametrize(("pixel", "unit"), [((0.02, 0.03), "nanometer"), (None, "pixel")])
def test_an_image_has_its_pixel_size(pixel, unit):
    layer = Layer.create(*image_layer(HaadfImage(np.zeros((5, 6)), pixel), "scan"))
    assert tuple(layer.scale) == (pixel or (1.0, 1.0))
    assert str(layer.units[0]) == unit
    assert ("no pixel size" in layer.name) == (pixel is None)


def test_a_stack_of_frames_keeps_the_frames_apart():
    layer = Layer.create(*image_layer(HaadfImage(np.zeros((3, 5, 6)), (0.1, 0.1)), "scan"))
    assert layer.axis_labels == ("frame", "y", "x")
    assert tuple(layer.scale) == (1.0, 0.1, 0.1)


def test_a_run_folder_becomes_layers(run_folder):
    layers = [Layer.create(*item) for item in run_layers(RunFolder(run_folder), budget=1000)]
    by_kind = {layer.metadata[KEY]["kind"]: layer for layer in layers}
    assert [layer.metadata[KEY]["kind"] for layer in layers][1:4] == ["grid"] * 3
    assert list(by_kind) == ["run ions", "grid", "run defect ions", "box", "defect volumes", "defects"]
    inside = by_kind["run defect ions"]
    n_defect = int((RunFolder(run_folder).ions(["defect"])["defect"].to_numpy() > 0).sum())
    assert len(inside.data) == n_defect > 10
    assert len(inside.data) + len(by_kind["run ions"].data) == 1000
    assert "of 4,000" in by_kind["run ions"].name
    defects = by_kind["defects"]
    assert defects.features.loc[0, "composition"] == "Ga 70.0±14.0 %"
    assert defects.text.values.tolist() == ["solute_cluster 1"]
    visible = {layer.name: layer.visible for layer in layers if layer.metadata[KEY]["kind"] == "grid"}
    assert visible == {"wire_run density": False, "wire_run Ga fraction": True, "wire_run N fraction": False}
    labels = by_kind["defect volumes"]
    voxel = np.rint(labels.world_to_data(tuple(defects.data[0]))).astype(int)
    assert labels.data[tuple(voxel)] == 1
    assert labels.features["index"].tolist()[-1] == 1
    assert layers[-1].name == "wire_run defects (1)"


@pytest.mark.parametrize(("n", "last"), [(12, "void 12"), (13, "13")])
def test_labels_of_many_defects_are_numbers_alone(n, last):
    row = {
        "defect_class": "void", "n_ions": 5, "centroid_x_nm": 0.0, "centroid_y_nm": 0.0, "centroid_z_nm": 0.0,
        "volume_nm3": 1.0, "axis_lengths_nm": [1.0] * 3, "axis_directions": [0.0] * 9, "composition": [],
        "probability": 0.9, "anomaly_score": 2.0, "nearest_signature": None, "touches_surface": False,
    }  # fmt: skip
    table = DefectTable(pa.Table.from_pylist([{"defect": i + 1, **row} for i in range(n)], schema=DEFECT_SCHEMA))
    (layer,) = defect_layers(table, None, "run", {"kind": "run"})
    assert Layer.create(*layer).text.values.tolist()[-1] == last
