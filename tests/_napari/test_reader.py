from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import tifffile
from napari.layers import Layer

from napari_aptdefect._napari.peek import is_ours
from napari_aptdefect._napari.reader import get_reader, read_one
from napari_aptdefect._napari.writer import write_cloud
from napari_aptdefect.errors import FormatError, ParameterError
from napari_aptdefect.io import read, write


@pytest.mark.parametrize("suffix", [".pos", ".epos", ".apt", ".parquet", ".nxs"])
def test_own_formats_are_claimed_and_read(tmp_path, cloud, suffix):
    path = tmp_path / f"wire{suffix}"
    write(cloud, path)
    reader = get_reader(str(path))
    assert reader is not None
    layers = [Layer.create(*item) for item in reader(str(path))]
    assert [type(layer).__name__ for layer in layers] == ["Points", "Vectors"]
    assert layers[0].name == f"wire{suffix} ions (drawn 4,000 of 4,000)"


FOREIGN = {
    "notes.pos": b"atoms of a crystal\n1 2 3\n",
    "page.rng.txt": b"x",
    "secrets.env": b"TOKEN=abc\n",
    "settings.rrng": b"<xml/>",
    "package.apt": b"deb http stable main\n",
    "other.parquet": b"PAR1 but broken",
    "volume.h5": b"\x89HDF\r\n\x1a\n broken",
    "plain.h5": b"no hdf5",
    "scan.dm3": b"not a micrograph",
    "scan.mrc": gzip.compress(b"x"),
    "picture.tif": b"II*\0" + b"\xff" * 20,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_left_alone(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    assert get_reader(str(path)) is None


def test_missing_files_and_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"format": "something else"}))
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "absent.pos")) is None
    assert get_reader([]) is None


def test_a_damaged_file_is_ours_and_says_what_is_wrong(tmp_path, pos):
    short = tmp_path / "short.pos"
    short.write_bytes(pos.read_bytes()[:-3])
    reader = get_reader(str(short))
    assert reader is not None
    with pytest.raises(FormatError, match=r"short\.pos"):
        reader(str(short))


def test_only_tiffs_of_microscopes_are_claimed(tmp_path):
    plain, micro = tmp_path / "photo.tif", tmp_path / "stem.tif"
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    tifffile.imwrite(plain, values)
    tifffile.imwrite(micro, values, imagej=True, resolution=(50, 50), metadata={"unit": "nm"})
    assert not is_ours(plain)
    assert is_ours(micro)
    image = Layer.create(*read_one(micro)[0])
    assert tuple(image.scale) == pytest.approx((0.02, 0.02))


def test_a_run_folder_is_claimed_and_read(run_folder):
    layers = get_reader(str(run_folder))(str(run_folder))
    kinds = ["points", "image", "image", "image", "points", "vectors", "labels", "points"]
    assert [kind for _, _, kind in layers] == kinds


def test_a_range_file_without_a_cloud_gives_no_layer(rrng, capsys):
    assert get_reader(str(rrng))(str(rrng)) == [(None,)]


@pytest.mark.parametrize("suffix", [".pos", ".epos", ".apt", ".parquet"])
def test_the_writer_writes_all_ions(tmp_path, pos, cloud, suffix, monkeypatch):
    monkeypatch.setattr("napari_aptdefect._napari.settings.drawn_ions", lambda: 100)
    layer = Layer.create(*read_one(pos)[0])
    assert len(layer.data) == 100
    out = tmp_path / f"copy{suffix}"
    assert write_cloud(str(out), *layer.as_layer_data_tuple()[:2]) == [str(out)]
    copy = read(out)
    assert np.array_equal(copy.xyz_nm, cloud.xyz_nm)
    assert np.array_equal(copy.mass_da, cloud.mass_da)


def test_the_writer_refuses_what_it_can_not_write_whole(tmp_path, pos):
    data, attributes, _ = Layer.create(np.zeros((3, 3)), {}, "points").as_layer_data_tuple()
    with pytest.raises(ParameterError, match="no ion cloud"):
        write_cloud(str(tmp_path / "x.pos"), data, attributes)
    data, attributes, _ = Layer.create(*read_one(pos)[0]).as_layer_data_tuple()
    with pytest.raises(ParameterError, match="another name"):
        write_cloud(str(pos), data, attributes)
    pos.unlink()
    with pytest.raises(ParameterError, match="gone"):
        write_cloud(str(tmp_path / "x.pos"), data, attributes)
