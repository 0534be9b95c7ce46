"""The .pos reader: the real file, labels in the mass column, damage."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from napari_aptdefect import io
from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import DataWarning, FormatError, MissingFileError, ParameterError
from napari_aptdefect.io.pos import compare_pair, read_pos, write_pos


def make_pos(path, n=100, seed=0):
    rng = np.random.default_rng(seed)
    records = rng.normal(0, 10, (n, 4)).astype(">f4")
    records[:, 3] = rng.uniform(1, 100, n)
    path.write_bytes(records.tobytes())
    return records.astype("f4")


def test_real_file(si_dir):
    path = si_dir / "Si.pos"
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == "dff134cc5015f56963763bee664b56f04bcace5cd6e45b63b762c722f547d98a"
    cloud = io.read(path)
    assert len(cloud) == 945_211
    expected = np.frombuffer(raw, ">f4").reshape(-1, 4).astype("f4")
    np.testing.assert_array_equal(cloud.xyz_nm, expected[:, :3])
    np.testing.assert_array_equal(cloud.mass_da, expected[:, 3])
    np.testing.assert_allclose(cloud.xyz_nm.min(axis=0), [-20.4336, -17.8572, -75.0807], atol=5e-5)
    np.testing.assert_allclose(cloud.xyz_nm.max(axis=0), [19.7064, 21.2830, -0.0200], atol=5e-5)
    assert cloud.mass_da.min() == 0
    assert round(float(cloud.mass_da.max()), 4) == 378.3013
    apt = io.read(si_dir / "Si.apt")
    assert apt.xyz_nm.tobytes() == cloud.xyz_nm.tobytes()
    assert apt.mass_da.tobytes() == cloud.mass_da.tobytes()
    codes = {issue.code: issue for issue in cloud.check()}
    assert codes["zero-mass"].message.startswith("569 of 945211")
    assert "downward" in codes["z-direction"].message


@pytest.mark.parametrize(
    ("name", "n_ions"), [("pnnl_optics/test_simple_syn.pos", 619), ("cubic/cubicTestSmall.pos", 4000)]
)
def test_labels_in_the_mass_column_are_reported(shared_data, name, n_ions):
    cloud = io.read(shared_data / name)
    assert len(cloud) == n_ions
    assert "mass-labels" in {issue.code for issue in cloud.check()}


def test_label_sizes_of_the_pnnl_file(shared_data):
    cloud = io.read(shared_data / "pnnl_optics" / "test_simple_syn.pos")
    _, sizes = np.unique(cloud.mass_da, return_counts=True)
    assert sorted(sizes.tolist()) == sorted([231, 74, 74, 54, 107, 79])


def test_reading_by_range_agrees_with_reading_all(tmp_path):
    expected = make_pos(tmp_path / "a.pos", 300_000)
    cloud = read_pos(tmp_path / "a.pos")
    np.testing.assert_array_equal(cloud.read("mass_da", 123_456, 234_567), expected[123_456:234_567, 3])
    np.testing.assert_array_equal(cloud.read("xyz_nm", 299_999), expected[299_999:, :3])
    assert cloud.read("mass_da", 7, 7).shape == (0,)
    np.testing.assert_array_equal(cloud.xyz_nm, expected[:, :3])
    assert not cloud.xyz_nm.flags.writeable
    assert cloud.xyz_nm is cloud.xyz_nm or cloud.xyz_nm.base is cloud.xyz_nm.base


@pytest.mark.parametrize("start_stop", [(-1, 5), (5, 4), (0, 101)])
def test_ranges_outside_the_cloud_are_refused(tmp_path, start_stop):
    make_pos(tmp_path / "a.pos")
    with pytest.raises(ParameterError, match="ions"):
        read_pos(tmp_path / "a.pos").read("mass_da", *start_stop)


def test_unknown_column_lists_the_known(tmp_path):
    make_pos(tmp_path / "a.pos")
    with pytest.raises(ParameterError, match="xyz_nm, mass_da"):
        read_pos(tmp_path / "a.pos").read("tof_ns")


@pytest.mark.parametrize("n_extra", range(1, 16))
def test_a_cut_file_says_how_many_ions_are_whole(tmp_path, n_extra):
    make_pos(tmp_path / "a.pos", 10)
    path = tmp_path / "a.pos"
    path.write_bytes(path.read_bytes() + b"\1" * n_extra)
    with pytest.raises(FormatError, match=f"10 whole ions and {n_extra} bytes more") as info:
        io.read(path)
    assert info.value.offset == 160


def test_empty_file_is_an_empty_cloud(tmp_path):
    (tmp_path / "a.pos").touch()
    cloud = io.read(tmp_path / "a.pos")
    assert len(cloud) == 0
    assert cloud.xyz_nm.shape == (0, 3)
    assert [issue.code for issue in cloud.check()] == ["empty"]


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        io.read(tmp_path / "none.pos")
    with pytest.raises(FormatError, match="a folder"):
        io.read(tmp_path)


def test_values_that_are_not_finite_are_reported_and_kept(tmp_path):
    records = make_pos(tmp_path / "a.pos", 200_000)
    records[150_000, 1] = np.nan
    records[170_000, 2] = np.inf
    records[7, 3] = -np.inf
    (tmp_path / "a.pos").write_bytes(records.astype(">f4").tobytes())
    cloud = io.read(tmp_path / "a.pos")
    assert cloud.issues == ()
    with pytest.warns(DataWarning) as caught:
        xyz = cloud.xyz_nm
    assert len(caught) == 2
    np.testing.assert_array_equal(xyz, records[:, :3])
    by_code = {issue.code: issue for issue in cloud.issues}
    assert by_code["nan-position"].message.startswith("2 of 200000 ions")
    assert "ion 150000" in by_code["nan-position"].message
    assert by_code["nan-position"].offset == 150_000 * 16
    assert by_code["nan-mass"].offset == 7 * 16 + 12
    assert sum(issue.code == "nan-mass" for issue in cloud.check()) == 1


def test_check_finds_what_is_odd(tmp_path):
    records = make_pos(tmp_path / "a.pos", 1000)
    records[5] = records[4]
    records[9, 3] = -2
    records[11, 0] = 5e4
    (tmp_path / "a.pos").write_bytes(records.astype(">f4").tobytes())
    codes = {issue.code: issue for issue in io.read(tmp_path / "a.pos").check()}
    assert {"identical-positions", "negative-mass", "huge-extent"} <= set(codes)
    assert codes["negative-mass"].offset == 9 * 16 + 12
    assert codes["identical-positions"].message.startswith("1 of 1000")


def test_a_file_that_changed_is_not_read_silently(tmp_path):
    path = tmp_path / "a.pos"
    make_pos(path, 5000)
    cloud = io.read(path)
    path.write_bytes(path.read_bytes()[:1600])
    with pytest.raises(FormatError, match="changed since"):
        _ = cloud.xyz_nm
    path.unlink()
    with pytest.raises(MissingFileError):
        cloud.read("mass_da")


def test_round_trip_keeps_every_bit(tmp_path):
    raw = np.random.default_rng(3).integers(0, 2**32, 40_000, dtype="u4")  # every kind of NaN
    (tmp_path / "a.pos").write_bytes(raw.astype(">u4").tobytes())
    cloud = read_pos(tmp_path / "a.pos")
    assert write_pos(cloud, tmp_path / "b.pos") == ()
    assert (tmp_path / "b.pos").read_bytes() == (tmp_path / "a.pos").read_bytes()


def test_columns_left_out_are_told(tmp_path):
    cloud = IonCloud.from_arrays(np.zeros((2, 3)), [1, 2], cluster_id=[0, 1])
    (issue,) = io.write(cloud, tmp_path / "a.pos")
    assert "cluster_id" in issue.message


def test_the_file_being_read_is_not_overwritten(tmp_path):
    make_pos(tmp_path / "a.pos")
    before = (tmp_path / "a.pos").read_bytes()
    with pytest.raises(ParameterError, match="read from"):
        io.write(io.read(tmp_path / "a.pos"), tmp_path / "a.pos")
    assert (tmp_path / "a.pos").read_bytes() == before


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    make_pos(tmp_path / "a.pos", 5000)
    (tmp_path / "b.pos").write_bytes(b"old")
    cloud = io.read(tmp_path / "a.pos")
    (tmp_path / "a.pos").write_bytes(b"")
    for suffix in (".pos", ".epos", ".apt", ".parquet", ".nxs"):
        with pytest.raises(FormatError):
            io.write(cloud, tmp_path / f"b{suffix}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pos", "b.pos"]
    assert (tmp_path / "b.pos").read_bytes() == b"old"


def test_pair_of_one_run(tmp_path):
    make_pos(tmp_path / "a.pos", 50)
    cloud = io.read(tmp_path / "a.pos")
    assert compare_pair(cloud, cloud) == ()
    (issue,) = compare_pair(cloud, cloud.take(np.arange(49)))
    assert issue.code == "pair-count"
    assert "the first 49 are identical" in issue.message
    (issue,) = compare_pair(cloud, cloud.take(np.arange(50)[::-1]))
    assert issue.code == "pair-differs"
