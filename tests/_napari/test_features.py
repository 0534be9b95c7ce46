"""Regions among layers, and the Features widget in the real viewer."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from napari.layers import Image, Labels, Points, Shapes, Surface
from qtpy.QtCore import Qt

from napari_aptdefect._napari.feature_widget import FeaturesOfIons
from napari_aptdefect._napari.features import collect, find_marks
from napari_aptdefect._napari.frames import AXES_3D
from napari_aptdefect._napari.runs import run_layers
from napari_aptdefect._napari.viewing import add_layers
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.io.regions import read_regions
from napari_aptdefect.pipeline.run_folder import RunFolder

# z, y, x: the plane y = 0, z from 4 to 10, x from -3 to 3
RECTANGLE = np.array([[4, 0, -3], [4, 0, 3], [10, 0, 3], [10, 0, -3]], float)


def shapes(*, name="grain", **more):
    return Shapes([RECTANGLE], shape_type="polygon", name=name, **AXES_3D, **more)


def dock(viewer):
    widget = FeaturesOfIons(viewer)
    viewer.window.add_dock_widget(widget, name="Features")
    return widget


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.job.running, timeout=120_000)


def texts(widget):
    items = [widget.mark_list.item(row) for row in range(widget.mark_list.count())]
    return {item.text(): item.checkState() == Qt.CheckState.Checked for item in items}


@pytest.fixture
def widget(make_napari_viewer_proxy, pos, rrng):
    viewer = make_napari_viewer_proxy()
    viewer.open(str(pos), plugin="napari-aptdefect")
    viewer.open(str(rrng), plugin="napari-aptdefect")
    found = dock(viewer)
    found.form.fields["radii_nm"].value = "(1.0,)"
    found.form.fields["context_nm"].value = 1.0
    return found


def test_marks_are_closed_shapes_labels_and_surfaces():
    line = Shapes([RECTANGLE[:2]], shape_type="line", name="profile line")
    surface = Surface((RECTANGLE, np.array([[0, 1, 2], [0, 2, 3]])), name="wall")
    layers = [
        Image(np.zeros((3, 3, 3))),
        line,
        shapes(),
        Labels(np.ones((2, 2, 2), int), name="paint"),
        Labels(np.ones((2, 2), int)),
        surface,
        Shapes(ndim=3, name="new"),
        Points([[0, 0, 0]]),
    ]
    found = find_marks(layers)
    assert [(mark.label, mark.is_drawn) for mark in found] == [
        ("grain (region)", True),
        ("paint (region)", True),
        ("wall (boundary)", False),
        ("new (region)", False),
    ]
    marks = collect(found[:3], 2.0)
    assert list(marks.regions) == ["grain", "paint"]
    assert list(marks.surfaces) == ["wall"]
    assert marks.regions["grain"].span_nm == (-1, 1)
    with pytest.raises(EmptySelectionError, match="new holds no polygon"):
        collect(found[3:], None)
    with pytest.raises(ParameterError, match="already is a region 'grain'"):
        collect([found[0], found[0]], None)
    with pytest.raises(ParameterError, match="two surfaces"):
        collect([found[2], found[2]], None)


def test_a_shape_is_where_it_is_seen():
    (prism,) = collect(find_marks([shapes(scale=(1, 2, 2), translate=(1, 5, 0))]), 2.0).regions.values()
    assert prism.axis == "y"
    assert prism.span_nm == (4, 6)
    assert prism.vertices_nm.tolist() == [[-6, 5], [6, 5], [6, 11], [-6, 11]]  # x, z
    flat = Shapes([RECTANGLE[:, [0, 2]]], shape_type="polygon")
    with pytest.raises(ParameterError, match="2 axes"):
        collect(find_marks([flat]), None)


def test_labels_are_where_they_are_seen():
    values = np.zeros((4, 5, 6), int)
    values[1, 2, 3] = 1
    paint = Labels(values, scale=(1, 2, 0.5), translate=(10, 20, 30), name="paint", **AXES_3D)
    (grid,) = collect(find_marks([paint]), None).regions.values()
    center = grid.origin_nm + (np.argwhere(grid.values > 0.5)[0] + 0.5) * grid.voxel_nm
    np.testing.assert_allclose(center, [30 + 1.5, 20 + 4, 10 + 1])


def test_what_napari_saves_is_what_the_command_line_reads(tmp_path):
    from napari_builtins.io import napari_write_shapes

    kinds = ["polygon", "ellipse", "rectangle", "path"]
    layer = Shapes([RECTANGLE] * 4, shape_type=kinds, name="mine", **AXES_3D)
    assert napari_write_shapes(str(tmp_path / "mine.csv"), layer.data, {"shape_type": layer.shape_type})
    seen, read = collect(find_marks([layer]), 3.0).regions, read_regions(tmp_path / "mine.csv", 3.0)
    assert list(seen) == list(read) == ["mine_1", "mine_2", "mine_3"]
    for one, other in zip(seen.values(), read.values(), strict=True):
        assert (one.axis, one.span_nm) == (other.axis, other.span_nm) == ("y", (-1.5, 1.5))
        np.testing.assert_allclose(one.vertices_nm, other.vertices_nm, atol=1e-6)


def test_columns_are_laid_on_the_drawn_ions_and_color_them(widget, qtbot, tmp_path):
    viewer = widget._viewer
    (ions,) = [layer for layer in viewer.layers if isinstance(layer, Points)]
    before = ions.face_color.copy()
    viewer.add_layer(shapes())
    assert texts(widget) == {"grain (region)": True}
    assert not widget.color_box.isEnabled()
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert widget.job.status.text().startswith("Done in "), widget.job.status.text()
    assert {"ion_idx", "species", "q6", "fraction_Ga_r1", "region_grain_inside"} <= set(ions.features)
    z, _, x = ions.data.T
    inside = (np.abs(x) < 3) & (np.abs(z - 7) < 3)
    np.testing.assert_array_equal(ions.features["region_grain_inside"] == 1, inside)
    np.testing.assert_array_equal(ions.face_color, before)
    widget.color_box.setCurrentIndex(widget.color_box.findText("region_grain_inside"))
    assert len(np.unique(ions.face_color, axis=0)) == 2
    assert ions.face_color[inside][0, 0] > 0.9  # yellow
    assert "1 in the region grain" in widget.about.text()
    widget.color_box.setCurrentIndex(0)
    np.testing.assert_array_equal(ions.face_color, before)
    widget.save_table(tmp_path / "f.parquet")
    assert pq.read_metadata(tmp_path / "f.parquet").num_rows == 4000
    widget.save_table(tmp_path / "absent" / "f.parquet")
    assert widget.job.status.text().startswith("Can't write")
    item = widget.mark_list.item(0)
    item.setCheckState(Qt.CheckState.Unchecked)
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert texts(widget) == {"grain (region)": False}
    assert "region_grain_inside" not in widget.features.table


def test_a_region_that_is_drawn_is_chosen(widget):
    widget.draw_button.click()
    layer = widget._viewer.layers["drawn"]
    assert layer.mode == "add_polygon"
    assert texts(widget) == {"drawn (region)": False}
    layer.add_polygons(RECTANGLE)
    assert texts(widget) == {"drawn (region)": True}
    widget.draw_button.click()
    assert sum(one.name.startswith("drawn") for one in widget._viewer.layers) == 1


def test_a_run_brings_its_voids_and_boundaries(gl, make_napari_viewer_proxy, run_folder, qtbot):
    viewer = make_napari_viewer_proxy()
    add_layers(viewer, run_layers(RunFolder(run_folder)))
    widget = dock(viewer)
    widget.form.fields["radii_nm"].value = "(1.0,)"
    widget.form.fields["context_nm"].value = 1.0
    assert texts(widget) == {"wire_run defect volumes (region)": False}
    widget.mark_list.item(0).setCheckState(Qt.CheckState.Checked)
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert widget.job.status.text().startswith("Done in "), widget.job.status.text()
    names = ("wire_run ions", "wire_run defect ions")
    both = [layer for layer in viewer.layers if layer.name.startswith(names)]
    assert len(both) == 2
    for layer in both:
        assert {"region_wire_run_defect_volumes_inside", "boundary_planar_defect_distance_nm"} <= set(layer.features)
    widget.color_box.setCurrentIndex(widget.color_box.findText("q6"))
    assert {layer.opacity for layer in both} == {1.0}
    viewer.layers.remove(both[0])
    widget.color_box.setCurrentIndex(0)
    assert len(both[1].face_color) == len(both[1].data)


def test_what_is_missing_is_said(make_napari_viewer_proxy, pos):
    viewer = make_napari_viewer_proxy()
    widget = dock(viewer)
    widget.job.run_button.click()
    assert "open one first" in widget.job.status.text()
    widget.draw_button.click()
    assert "nothing with three axes" in widget.job.status.text()
    viewer.open(str(pos), plugin="napari-aptdefect")
    viewer.layers[0].features = viewer.layers[0].features[[]]
    widget.job.run_button.click()
    assert "too many ions to carry features" in widget.job.status.text()


def test_the_widget_fits_a_small_screen(make_napari_viewer_proxy):
    widget = dock(make_napari_viewer_proxy())
    assert widget.minimumSizeHint().height() < 560
    assert widget.minimumSizeHint().width() < 480
