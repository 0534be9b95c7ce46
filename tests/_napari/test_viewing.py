from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect._napari import samples, settings
from napari_aptdefect._napari.launch import WIDGET, check_paths, open_in
from napari_aptdefect._napari.viewing import look_in_3d, note, when_added
from napari_aptdefect.errors import MissingFileError, ParameterError


def test_a_range_file_gives_the_only_cloud_its_species(make_napari_viewer, pos, rrng):
    viewer = make_napari_viewer()
    viewer.open(str(pos), plugin="napari-aptdefect")
    ions = viewer.layers[0]
    assert "species" not in ions.features
    viewer.open(str(rrng), plugin="napari-aptdefect")
    assert len(viewer.layers) == 2
    assert ions.features["species"].value_counts()["unranged"] == 5
    assert note(ions)["ranges"] == str(rrng)
    assert np.unique(ions.face_color, axis=0).shape[0] == 3


def test_with_several_clouds_the_selected_one_is_meant(make_napari_viewer, pos, rrng, tmp_path):
    viewer = make_napari_viewer()
    other = tmp_path / "other.pos"
    other.write_bytes(pos.read_bytes())
    for path in (pos, other):
        viewer.open(str(path), plugin="napari-aptdefect")
    viewer.layers.selection = {viewer.layers[1]}  # the box of the first cloud stands for that cloud
    viewer.open(str(rrng), plugin="napari-aptdefect")
    assert "species" in viewer.layers[0].features
    assert "species" not in viewer.layers[2].features


def test_opened_ions_can_not_be_moved_and_the_box_is_active(make_napari_viewer, pos):
    viewer = make_napari_viewer()
    viewer.open(str(pos), plugin="napari-aptdefect")
    assert not viewer.layers[0].editable
    assert viewer.layers.selection.active is viewer.layers[1]
    assert viewer.dims.ndisplay == 2  # a reader switches nothing


def test_the_tip_is_up_whatever_the_sign_of_z(make_napari_viewer):
    viewer = make_napari_viewer()
    for tip in (-1, 1):
        layer = viewer.add_points(np.eye(3) * 10, metadata={"aptdefect": {"kind": "box", "tip_z": tip}})
        look_in_3d(viewer, [layer])
        up = np.asarray(viewer.scene.camera.up_direction)
        assert up[0] * tip > 0.9
        viewer.layers.clear()


def test_waiting_for_layers_ends_when_they_are_there(make_napari_viewer):
    viewer = make_napari_viewer()
    when_added(viewer, 1, look=True)
    viewer.add_points(np.zeros((1, 3)))
    assert viewer.dims.ndisplay == 2  # not one of ours
    viewer.add_points(np.zeros((1, 3)), metadata={"aptdefect": {"kind": "ions"}})
    assert viewer.dims.ndisplay == 3
    viewer.dims.ndisplay = 2
    viewer.add_points(np.zeros((1, 3)), metadata={"aptdefect": {"kind": "ions"}})
    assert viewer.dims.ndisplay == 2


def test_the_synthetic_sample_opens_in_3d(make_napari_viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "sample_folder", lambda: tmp_path / "samples")
    viewer = make_napari_viewer()
    layers = viewer.open_sample("napari-aptdefect", "gan_nanowire")
    assert viewer.dims.ndisplay == 3
    assert layers[0].name.startswith("GaN nanowire (synthetic) ions (drawn ")
    assert {"Ga", "N"} <= set(layers[0].features["species"].cat.categories)
    assert note(layers[0])["source"].endswith("gan_nanowire.pos")


def test_the_real_sample_says_clearly_when_it_can_not_be_fetched(make_napari_viewer, monkeypatch):
    from napari_aptdefect.errors import DownloadError

    def offline(_on_progress=None):
        raise DownloadError("the real Si set could not be fetched with pip: no network")

    monkeypatch.setattr("napari_aptdefect.io.samples.fetch_si", offline)
    viewer = make_napari_viewer()
    with pytest.raises(DownloadError, match="could not be fetched"):
        viewer.open_sample("napari-aptdefect", "silicon")
    assert len(viewer.layers) == 0


def test_the_real_sample(make_napari_viewer, si_dir, monkeypatch):
    monkeypatch.setattr("napari_aptdefect.io.samples.fetch_si", lambda _on_progress=None: si_dir)
    layers = make_napari_viewer().open_sample("napari-aptdefect", "silicon")
    assert layers[0].name.endswith("ions (drawn 200,000 of 945,211)")


def test_the_setting_bounds_the_drawn_ions(make_napari_viewer, pos):
    from napari.settings import get_plugin_settings

    get_plugin_settings("napari-aptdefect").display.drawn_ions = 1000
    viewer = make_napari_viewer()
    viewer.open(str(pos), plugin="napari-aptdefect")
    assert len(viewer.layers[0].data) == 1000


def test_what_was_chosen_is_remembered(tmp_path):
    assert settings.seed() == 0
    settings.remember(seed=11, output_folder=str(tmp_path))
    assert settings.seed() == 11
    assert settings.output_folder() == str(tmp_path)


def test_launch_refuses_what_does_not_exist_before_a_window_opens(tmp_path):
    with pytest.raises(MissingFileError, match="absent"):
        check_paths([tmp_path / "absent.pos"])


def test_launch_docks_the_widget_and_opens_clouds_before_ranges(make_napari_viewer, pos, rrng, monkeypatch, job_params):
    pytest.importorskip("napari_aptdefect.pipeline.analysis")
    viewer = make_napari_viewer()
    open_in(viewer, [rrng, pos])
    assert any(WIDGET in name for name in viewer.window.dock_widgets)
    assert "species" in viewer.layers[0].features
    assert viewer.dims.ndisplay == 3


def test_saving_the_layer_saves_all_ions(make_napari_viewer, pos, tmp_path):
    from napari.settings import get_plugin_settings

    get_plugin_settings("napari-aptdefect").display.drawn_ions = 1000
    viewer = make_napari_viewer()
    viewer.open(str(pos), plugin="napari-aptdefect")
    out = tmp_path / "all.pos"
    assert viewer.layers[0].save(str(out), plugin="napari-aptdefect") == [str(out)]
    assert out.read_bytes() == pos.read_bytes()


def test_a_layer_whose_file_is_gone_says_so(make_napari_viewer, pos):
    from napari_aptdefect._napari.viewing import source_of

    viewer = make_napari_viewer()
    viewer.open(str(pos), plugin="napari-aptdefect")
    pos.unlink()
    with pytest.raises(ParameterError, match="gone"):
        source_of(viewer.layers[0])
