"""Lines and surfaces among layers, and the Profiles widget in the real viewer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Points, Shapes, Surface

from napari_aptdefect._napari.profile_widget import Profiles
from napari_aptdefect._napari.profiles import find_ways
from napari_aptdefect._napari.runs import run_layers
from napari_aptdefect._napari.viewing import add_layers
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.pipeline.run_folder import RunFolder

CUT = Surface(
    # the plane z = 9 nm in (z, y, x); normals point to lower z
    (np.array([[9, -7, -7], [9, -7, 7], [9, 7, 7], [9, 7, -7]], float), np.array([[0, 2, 1], [0, 3, 2]])),
    name="cut",
)


def dock(viewer):
    widget = Profiles(viewer)
    viewer.window.add_dock_widget(widget, name="Profiles")
    return widget


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.job.running, timeout=60_000)


def choose(box, text):
    assert text in [box.itemText(i) for i in range(box.count())]
    box.setCurrentIndex(box.findText(text))


@pytest.fixture
def widget(make_napari_viewer_proxy, pos, rrng):
    viewer = make_napari_viewer_proxy()
    viewer.open(str(pos), plugin="napari-aptdefect")
    viewer.open(str(rrng), plugin="napari-aptdefect")
    return dock(viewer)


def test_ways_are_axes_lines_points_and_surfaces():
    shapes = Shapes([np.array([[0, 0, 0], [10, 1, 2]]), np.eye(3)], shape_type=["line", "polygon"], name="mine")
    points = Points([[1, 2, 3], [4, 5, 6], [7, 8, 9]], name="two")
    ways = find_ways([shapes, points, Points([[0, 0, 0]]), CUT])
    assert [way.label for way in ways] == [
        "z axis, through the middle",
        "x axis, through the middle",
        "y axis, through the middle",
        "mine: line 1",
        "two: its first two points",
        "distance from cut",
    ]
    assert ways[3].ends().tolist() == [[0, 0, 0], [2, 1, 10]]
    assert ways[4].ends().tolist() == [[3, 2, 1], [6, 5, 4]]
    assert ways[5].surface().vertices_nm[:, 2].tolist() == [9] * 4
    shapes.data = []
    with pytest.raises(EmptySelectionError, match="no line any more"):
        ways[3].ends()
    flat = Shapes([np.array([[0, 0], [10, 1]])], shape_type="line")
    with pytest.raises(ParameterError, match="2 axes"):
        find_ways([flat])[3].ends()


def test_a_profile_along_z_is_drawn_and_saved(widget, qtbot, tmp_path):
    assert not widget.save_button.isEnabled()
    widget.save_csv(tmp_path / "p.csv")
    assert "press Run first" in widget.job.status.text()
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert widget.job.status.text().startswith("Done in ")
    (axes,) = widget.figure.axes
    assert axes.get_xlabel() == "z (nm)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Ga", "N"]
    assert len(axes.collections) == 2  # the bands
    widget.save_csv(tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv", comment="#")
    assert table["center_nm"].iloc[0] == pytest.approx(0.25, abs=0.1)  # z itself, not the distance from its start
    share, error = table["fraction_Ga"], table["error_Ga"]
    assert (np.abs(share - 0.55) < 4.5 * error).all()
    assert table[["ions_N", "ions_Ga"]].to_numpy().sum() < 4000  # a cylinder within the block
    notes = (tmp_path / "p.csv").read_text().splitlines()[:3]
    assert notes[0].endswith("wire.pos")
    assert "bin_nm" in notes[1]
    widget.save_csv(tmp_path / "absent" / "p.csv")
    assert widget.job.status.text().startswith("Can't write")


def test_a_proxigram_of_a_surface(widget, qtbot):
    widget._viewer.add_layer(CUT)
    choose(widget.way_box, "distance from cut")
    assert widget.forms.currentIndex() == 1
    widget.surface_form.fields["reach_nm"].value = 3.0
    widget.surface_form.fields["elements"].value = "Ga"
    widget.job.run_button.click()
    finish(widget, qtbot)
    (axes,) = widget.figure.axes
    assert axes.get_xlim() == (-3, 3)
    assert axes.get_xlabel().startswith("distance from ")
    profile = widget.drawn.profile
    # 4000 ions in 18 nm, 6 nm of them in reach
    assert profile.ion_counts.sum() + profile.n_unranged.sum() == pytest.approx(4000 / 3, rel=0.1)


def test_a_line_that_is_drawn_is_chosen(widget, qtbot):
    widget.line_button.click()
    viewer = widget._viewer
    layer = viewer.layers["profile line"]
    assert viewer.dims.ndisplay == 2
    assert layer.mode == "add_line"
    assert viewer.layers.selection.active == layer
    layer.add_lines(np.array([[2, 0, -4], [16, 0, 4]]))
    assert widget.way_box.currentText() == "profile line: line 1"
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert widget.drawn.profile.edges_nm[-1] == pytest.approx(np.hypot(14, 8), abs=0.5)
    assert "-4, 0, 2 to 4, 0, 16 (x, y, z)" in widget.drawn.notes["line_nm"]
    widget.line_button.click()
    assert sum(one.name.startswith("profile line") for one in viewer.layers) == 1


def test_a_run_gives_the_same_profile_as_its_cloud(gl, widget, run_folder, qtbot):
    widget.job.run_button.click()
    finish(widget, qtbot)
    first = widget.drawn.profile
    add_layers(widget._viewer, run_layers(RunFolder(run_folder), budget=100))
    choose(widget.source_box, "wire_run (run)")
    widget.job.run_button.click()
    finish(widget, qtbot)
    np.testing.assert_array_equal(widget.drawn.profile.ion_counts, first.ion_counts)


def test_what_is_missing_is_said(make_napari_viewer_proxy, pos, qtbot):
    viewer = make_napari_viewer_proxy()
    widget = dock(viewer)
    widget.job.run_button.click()
    assert "open one first" in widget.job.status.text()
    widget.line_button.click()
    assert "nothing with three axes" in widget.job.status.text()
    viewer.open(str(pos), plugin="napari-aptdefect")
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert widget.job.status.text().startswith("Failed: none of the ions has a species")
    assert not widget.save_button.isEnabled()


def test_an_element_that_is_not_there_is_said(widget, qtbot):
    widget.line_form.fields["elements"].value = "Xe"
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert "no Xe in this profile" in widget.job.status.text()


def test_the_widget_fits_a_small_screen(widget):
    assert widget.minimumSizeHint().height() < 620
    assert widget.minimumSizeHint().width() < 480
