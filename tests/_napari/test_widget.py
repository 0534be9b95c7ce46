from __future__ import annotations

import time

import pytest

from napari_aptdefect._napari.launch import WIDGET, open_in
from napari_aptdefect._napari.viewing import add_layers, is_cloud, note
from napari_aptdefect._napari.widget import FullAnalysis
from napari_aptdefect.errors import FormatError
from napari_aptdefect.io import write
from napari_aptdefect.pipeline.run_folder import RunFolder
from napari_aptdefect.plot import canvas, cloud
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
from napari_aptdefect.stage import Progress, drain


def dock(viewer, **kwargs):
    widget = FullAnalysis(viewer, **kwargs)
    viewer.window.add_dock_widget(widget, name="Full analysis")
    return widget


@pytest.fixture
def widget(make_napari_viewer_proxy, job, job_params):
    return dock(make_napari_viewer_proxy(), analyze=job, params=job_params)


def finish(widget, qtbot, timeout_ms=30_000):
    qtbot.waitUntil(lambda: not widget.running, timeout=timeout_ms)


def test_the_choices_follow_the_layers(widget, pos, rrng):
    assert [widget.cloud_box.itemText(i) for i in range(widget.cloud_box.count())] == ["a file ..."]
    viewer = widget._viewer
    viewer.open(str(pos), plugin="napari-aptdefect")
    viewer.open(str(rrng), plugin="napari-aptdefect")
    assert widget.cloud_box.count() == 2
    layer = widget.cloud_box.currentData()
    assert is_cloud(layer)
    layer.name = "renamed"
    assert widget.cloud_box.currentText() == "renamed"
    assert widget.ranges_file.path() == rrng
    assert widget.cloud_path() == pos
    viewer.layers.clear()
    assert widget.cloud_box.count() == 1
    assert widget.cloud_path() is None


def test_run_adds_the_layers_of_the_run(gl, widget, pos, rrng, qtbot):
    viewer = widget._viewer
    widget.cloud_file.set_path(pos)
    widget.ranges_file.set_path(rrng)
    widget.out_folder.set_path(pos.parent / "result")
    widget.seed_box.setValue(4)
    widget.run_button.click()
    assert widget.running
    assert not widget.run_button.isEnabled()
    finish(widget, qtbot)
    assert "1 defect in 4,000 ions" in widget.status.text()
    kinds = [note(layer)["kind"] for layer in viewer.layers]
    assert kinds == ["run ions", *["grid"] * 3, "run defect ions", "box", "defect volumes", "defects"]
    assert viewer.layers.selection.active.name == "result defects (1)"  # light under the mouse, its table at hand
    assert viewer.dims.ndisplay == 3
    assert not viewer.layers["result defects (1)"].editable
    assert widget.report_button.isVisibleTo(widget)
    assert widget.outcome.run.record["seed"] == 4
    assert widget.bar.value() == 100
    assert widget.run_button.isEnabled()


def test_cancel_stops_within_a_second_and_leaves_nothing(widget, pos, qtbot):
    slow = widget._defaults.model_copy(update={"delay_s": 0.2})
    widget.form.show(slow)
    widget.cloud_file.set_path(pos)
    widget.start()
    qtbot.waitUntil(lambda: widget.bar.value() > 0, timeout=10_000)
    began = time.monotonic()
    widget.cancel_button.click()
    finish(widget, qtbot)
    assert time.monotonic() - began < 1.0
    assert widget.status.text() == "Canceled; nothing was written."
    assert [path.name for path in pos.parent.iterdir()] == ["wire.pos"]
    assert len(widget._viewer.layers) == 0
    assert not widget.cancel_button.isEnabled()


def test_an_error_is_said_in_the_widget(make_napari_viewer_proxy, pos, qtbot, job_params):
    def failing(*_args, **_kwargs):
        yield Progress(1, 100, "reading")
        raise FormatError(pos, expected="records of 16 bytes", found="13 bytes", offset=3)

    widget = dock(make_napari_viewer_proxy(), analyze=failing, params=job_params)
    widget.cloud_file.set_path(pos)
    widget.start()
    finish(widget, qtbot)
    assert widget.status.text().startswith("Failed: ")
    assert "expected records of 16 bytes" in widget.status.text()
    widget.cloud_file.set_path(None)
    widget.start()
    assert widget.status.text() == "Can't start: choose an ion cloud first: a layer, or a file with Browse"


def test_reset_gives_the_defaults_back(widget, job_params):
    widget.form.sections["graph"].fields["n_neighbors"].value = 50
    widget.reset_button.click()
    assert widget.form.value() == job_params


def test_a_bad_value_is_said_before_the_run(widget, pos):
    widget.cloud_file.set_path(pos)
    widget.form.sections["graph"].fields["cutoff_nm"].value = 0.0
    widget.start()
    assert "Cutoff (nm)" in widget.status.text()
    assert not widget.running


def test_the_widget_fits_a_small_screen(widget):
    assert widget.minimumSizeHint().height() < 500
    assert widget.minimumSizeHint().width() < 480


@pytest.mark.window
def test_full_analysis_in_a_real_window(gl, make_napari_viewer, tmp_path, qtbot, artifacts, monkeypatch):
    monkeypatch.setattr(canvas, "DPI", 50)  # of the report, which is not looked at here
    monkeypatch.setattr(cloud, "SUPERSAMPLE", 1)
    strong = GanNanowireParams(
        radius_nm=4.5, length_nm=12, n_voids=0, n_clusters=1, cluster_radius_nm=2, cluster_percent=60
    )
    wire = drain(simulate_gan_nanowire(strong, 1))
    write(wire.cloud, tmp_path / "wire.pos")
    write(wire.ranges, tmp_path / "wire.rrng")
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    open_in(viewer, [tmp_path / "wire.pos", tmp_path / "wire.rrng"])
    (name,) = (name for name in viewer.window.dock_widgets if WIDGET in name)
    widget = viewer.window.dock_widgets[name]
    assert widget.ranges_file.path() == tmp_path / "wire.rrng"
    widget.out_folder.set_path(tmp_path / "wire_run")
    # one reference, and no step whose result the window doesn't show: the rest is the real job
    widget.form.sections["reference"].fields["min_ions"].value = 0
    for step in ("consistency", "structure"):
        widget.form.sections["steps"].fields[step].value = False
    widget.run_button.click()
    finish(widget, qtbot, 240_000)
    assert widget.status.text().startswith("Done in ")
    assert RunFolder(tmp_path / "wire_run").record["summary"]["n_ions"] == len(wire.cloud)
    kinds = {note(layer)["kind"] for layer in viewer.layers}
    assert kinds >= {"ions", "run ions", "grid", "box", "defects"}
    assert RunFolder(tmp_path / "wire_run").record["summary"]["n_defects"] > 0
    qtbot.wait(300)
    picture = viewer.screenshot(artifacts / "full_analysis.png", canvas_only=False, flash=False)
    assert picture.shape[0] <= 800
    pixels = viewer.screenshot(canvas_only=True, flash=False)
    assert (pixels[..., :3].max(axis=-1) > 40).mean() > 0.02  # something is drawn


def test_layers_of_others_are_no_clouds(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    layers = add_layers(viewer, [([[0, 0, 0]], {"name": "mine"}, "points")])
    assert not is_cloud(layers[0])
    assert layers[0].editable
