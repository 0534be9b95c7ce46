"""Volumes and isosurfaces as layers, and their widget in the real viewer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_aptdefect._napari.frames import grid_to_zyx, layer_to_grid, layer_to_xyz
from napari_aptdefect._napari.layers import KEY
from napari_aptdefect._napari.profiles import Way
from napari_aptdefect._napari.runs import run_layers
from napari_aptdefect._napari.sources import find_sources
from napari_aptdefect._napari.viewing import add_layers, note
from napari_aptdefect._napari.volume_layers import level_text, surface_layer, volume_layer
from napari_aptdefect._napari.volume_widget import VolumesAndSurfaces
from napari_aptdefect.apt.profiles import isosurface
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.run_folder import RunFolder


def wedge(unit="atomic fraction", name="In") -> VoxelGrid:
    """Rises along x only, on voxels that differ along each axis."""
    values = np.broadcast_to(np.linspace(0.1, 0.9, 9, dtype=np.float32)[:, None, None], (9, 5, 4)).copy()
    return VoxelGrid(values, np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0]), name, unit)


def dock(viewer):
    widget = VolumesAndSurfaces(viewer)
    viewer.window.add_dock_widget(widget, name="Volumes")
    return widget


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.job.running, timeout=60_000)


def choose(box, text):
    assert text in [box.itemText(i) for i in range(box.count())]
    box.setCurrentIndex(box.findText(text))


def test_a_grid_comes_back_from_its_layer():
    grid = wedge()
    back = layer_to_grid(Layer.create(*volume_layer(grid, "In", {})), "In", grid.unit)
    np.testing.assert_array_equal(back.values, grid.values)
    np.testing.assert_allclose(back.origin_nm, grid.origin_nm)
    np.testing.assert_allclose(back.voxel_nm, grid.voxel_nm)


def test_a_layer_in_other_units_lies_where_it_lies():
    image = Image(np.zeros((2, 3, 4)), scale=(1, 1, 1), translate=(5, 0, 0), units=("um", "um", "um"))
    assert layer_to_xyz(image, np.array([[1, 0, 0]])) == pytest.approx(np.array([[0, 0, 6000]]))
    with pytest.raises(ParameterError, match="no length"):
        layer_to_grid(Image(np.zeros((2, 3, 4)), units=("s", "um", "um")))
    with pytest.warns(UserWarning, match="Non-orthogonal"):
        turned = Image(np.zeros((2, 3, 4)), rotate=(10, 20, 30))
    with pytest.raises(ParameterError, match="turned"):
        layer_to_grid(turned)
    with pytest.raises(ParameterError, match="no volume"):
        layer_to_grid(Image(np.zeros((3, 4))))


def test_a_surface_lies_in_its_volume_and_comes_back():
    surface = isosurface(wedge(), 0.5)
    layer = Layer.create(*surface_layer(surface, "wire", {"quantity": "In"}))
    assert layer.name == "wire surface In = 50 at.%"
    # value 0.5 is at voxel 4 of x, whose center lies at 1 + 4.5 * 0.5
    assert layer.data[0][:, 2] == pytest.approx(3.25)
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    back = Way("surface", "", 0, layer).surface()
    np.testing.assert_allclose(back.vertices_nm, surface.vertices_nm, atol=1e-5)
    assert np.array_equal(back.triangles, surface.triangles)
    assert (back.level, back.name, back.unit) == (0.5, "In", "atomic fraction")


def test_levels_say_their_unit():
    assert level_text("In", 0.052, "atomic fraction") == "In = 5.2 at.%"
    assert level_text("GaN", 0.3, "fraction of ranged ions") == "GaN = 30 % (of ranged ions)"
    assert level_text("density", 20, "ions/nm3") == "density = 20 ions/nm³"


def test_contrast_follows_the_data():
    values = np.random.default_rng(0).normal(0.5, 0.01, (20, 20, 20)).astype(np.float32)
    values[5:8, 5:8, 5:8] = 0.8
    values[0] = np.nan
    grid = VoxelGrid(values, np.zeros(3), np.ones(3), "In", "atomic fraction")
    layer = Layer.create(*volume_layer(grid, "In", {}, color=(1, 0, 0), rendering="iso"))
    low, high = layer.contrast_limits
    assert low == pytest.approx(0.5, abs=0.01)
    assert high == pytest.approx(0.8, abs=0.01)
    assert layer.iso_threshold == pytest.approx(0.65, abs=0.01)
    assert layer.rendering == "iso"
    assert np.isfinite(layer.data).all()
    values[5:8, 5:8, 5:8] = 0.2
    poor = Layer.create(*volume_layer(grid, "In", {}))
    assert poor.contrast_limits[0] == pytest.approx(0.2, abs=0.01)
    empty = VoxelGrid(np.zeros((2, 2, 2), np.float32), np.zeros(3), np.ones(3), "In", "atomic fraction")
    assert Layer.create(*volume_layer(empty, "In", {})).contrast_limits == [0, 1]


def test_layers_hold_names_and_numbers_only(run_folder):
    for _, attributes, _ in run_layers(RunFolder(run_folder), budget=100):
        assert all(isinstance(v, (str, int, float, type(None))) for v in attributes["metadata"][KEY].values())


def test_sources_are_clouds_runs_and_volumes(gl, make_napari_viewer_proxy, pos, rrng, run_folder):
    viewer = make_napari_viewer_proxy()
    viewer.open(str(pos), plugin="napari-aptdefect")
    add_layers(viewer, run_layers(RunFolder(run_folder), budget=100))
    assert [one.label for one in find_sources(viewer.layers)] == ["wire.pos", "wire_run (run)"]
    kinds = [one.kind for one in find_sources(viewer.layers, volumes=True)]
    assert kinds == ["cloud", "run", "volume", "volume", "volume"]
    cloud, run = find_sources(viewer.layers)
    assert [item.name for item in cloud.quantities()] == [""]
    assert [item.name for item in run.quantities()] == ["", "N", "Ga"]
    theirs = run.reading().ions()
    viewer.open(str(rrng), plugin="napari-aptdefect")
    assert [item.name for item in cloud.quantities()] == ["", "N", "Ga"]
    mine = cloud.reading().ions()
    np.testing.assert_array_equal(mine.species_idx, theirs.species_idx)
    np.testing.assert_array_equal(mine.xyz_nm, theirs.xyz_nm)
    volume = find_sources(viewer.layers, volumes=True)[3]
    with pytest.raises(ParameterError, match="holds no ions"):
        volume.reading()
    values = volume.grid().values
    assert np.isnan(values).any() == (volume.layer.data == 0).any()
    assert np.nanmax(values) == 1


def test_a_composition_becomes_an_image_and_a_surface(gl, make_napari_viewer_proxy, pos, rrng, qtbot):
    viewer = make_napari_viewer_proxy()
    widget = dock(viewer)
    widget.job.run_button.click()
    assert "open one first" in widget.job.status.text()
    viewer.open(str(pos), plugin="napari-aptdefect")
    assert widget.quantity_box.count() == 1  # no ranges, no composition
    viewer.open(str(rrng), plugin="napari-aptdefect")
    choose(widget.quantity_box, "Ga, atomic fraction")
    widget.form.fields["min_ions"].value = 5.0
    widget.form.fields["rendering"].value = "translucent"
    widget.job.run_button.click()
    assert widget.job.running
    finish(widget, qtbot)
    assert widget.job.status.text().startswith("Done in ")
    assert "triangles" in widget.job.status.text()
    image, surface = viewer.layers[-2], viewer.layers[-1]
    assert image.name == "wire.pos Ga, atomic fraction"
    assert image.rendering == "translucent"
    assert image.data[image.data > 0].mean() == pytest.approx(0.55, abs=0.05)
    assert json.loads(note(image)["params"])["min_ions"] == 5.0
    assert surface.name.startswith("wire.pos surface Ga = ")
    assert viewer.layers[0].opacity < 0.5  # the ions let it show through
    assert image.iso_threshold == note(surface)["level"]
    lower, upper = viewer.layers[0].extent.world
    assert (surface.extent.world[0] > lower - 3).all()
    assert (surface.extent.world[1] < upper + 3).all()


def test_the_density_of_a_run_lies_on_its_ions(gl, make_napari_viewer_proxy, run_folder, qtbot):
    viewer = make_napari_viewer_proxy()
    add_layers(viewer, run_layers(RunFolder(run_folder), budget=1000))
    widget = dock(viewer)
    assert widget.source_box.currentText() == "wire_run (run)"
    widget.form.fields["surface"].value = False
    widget.job.run_button.click()
    finish(widget, qtbot)
    density = viewer.layers[-1]
    assert density.name == "wire_run (run) density of all ions"
    assert float(density.data.sum()) == pytest.approx(4000, rel=1e-4)
    ions = viewer.layers["wire_run box (12 × 10 × 18 nm)"]  # noqa: RUF001 - as the layer says it
    middle = [np.mean(layer.extent.world, axis=0) for layer in (density, ions)]
    assert middle[0] == pytest.approx(middle[1], abs=1.0)


def test_a_surface_in_a_volume_that_is_there(gl, make_napari_viewer_proxy, run_folder, qtbot):
    viewer = make_napari_viewer_proxy()
    add_layers(viewer, run_layers(RunFolder(run_folder), budget=100))
    widget = dock(viewer)
    choose(widget.source_box, "wire_run Ga fraction")
    assert not widget.form.fields["voxel_nm"].enabled
    assert widget.form.fields["level"].enabled
    widget.job.run_button.click()
    finish(widget, qtbot)
    surface = viewer.layers[-1]
    assert note(surface)["kind"] == "isosurface"
    assert note(surface)["level"] == pytest.approx(0.775, abs=0.01)
    n_layers = len(viewer.layers)
    widget.form.fields["level"][0].value = True
    widget.form.fields["level"][1].value = 5.0
    widget.job.run_button.click()
    finish(widget, qtbot)
    assert "never through 5" in widget.job.status.text()
    assert widget.job.status.text().startswith("Failed: ")
    assert len(viewer.layers) == n_layers
    choose(widget.source_box, "wire_run (run)")
    assert widget.form.fields["voxel_nm"].enabled


def test_a_canceled_volume_adds_nothing(make_napari_viewer_proxy, pos, qtbot):
    viewer = make_napari_viewer_proxy()
    viewer.open(str(pos), plugin="napari-aptdefect")
    widget = dock(viewer)
    widget.job.run_button.click()
    widget.job.cancel_button.click()
    finish(widget, qtbot)
    assert widget.job.status.text() == "Canceled; nothing was changed."
    assert len(viewer.layers) == 2
    assert widget.job.run_button.isEnabled()


def test_a_range_file_that_is_gone_is_said(make_napari_viewer_proxy, pos, rrng):
    viewer = make_napari_viewer_proxy()
    viewer.open(str(pos), plugin="napari-aptdefect")
    viewer.open(str(rrng), plugin="napari-aptdefect")
    rrng.unlink()
    widget = dock(viewer)
    assert "wire.rrng" in widget.job.status.text()
    assert widget.quantity_box.count() == 1


def test_the_widget_fits_a_small_screen(make_napari_viewer_proxy):
    widget = dock(make_napari_viewer_proxy())
    assert widget.minimumSizeHint().height() < 500
    assert widget.minimumSizeHint().width() < 480


def test_a_grid_and_its_placing_are_one():
    assert grid_to_zyx(wedge())[1]["translate"] == pytest.approx((4.0, 2.5, 1.25))
