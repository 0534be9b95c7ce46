"""The .epos reader: absent columns, the unit of the voltage, multiplicity."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from napari_aptdefect import io
from napari_aptdefect.errors import DataWarning, FormatError, ParameterError
from napari_aptdefect.io.epos import read_epos, write_epos

DTYPE = np.dtype([("f", ">f4", 9), ("u", ">u4", 2)])


def make_epos(path, n=1000, volts=4000.0, seed=0):
    rng = np.random.default_rng(seed)
    records = np.zeros(n, DTYPE)
    records["f"] = rng.normal(0, 10, (n, 9))
    records["f"][:, 3] = rng.uniform(1, 100, n)
    records["f"][:, 5] = rng.normal(volts, volts / 10, n)
    records["f"][:, 6] = rng.normal(volts / 5, volts / 50, n)
    records["u"][:, 1] = 1
    records["u"][:, 0] = 7
    path.write_bytes(records.tobytes())
    return records


def test_real_file(si_dir):
    path = si_dir / "Si.epos"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "fc99c73baf2e6b6352d414beb7f900ec1853c5c62ca4770ba126ccc49a2db906"
    cloud = io.read(path)
    pos = io.read(si_dir / "Si.pos")
    assert cloud.xyz_nm.tobytes() == pos.xyz_nm.tobytes()
    assert cloud.mass_da.tobytes() == pos.mass_da.tobytes()
    assert cloud.absent_columns == ("tof_ns", "voltage_dc_v", "voltage_pulse_v", "pulse_delta")
    assert "tof_ns" not in cloud.columns
    assert "absent-columns" in {issue.code for issue in cloud.issues}
    with pytest.raises(ParameterError, match="zeros"):
        cloud.read("tof_ns")
    n_hits = cloud.read("ions_per_pulse").astype(np.int64)
    assert n_hits.sum() == 945_211
    assert np.count_nonzero(n_hits) == 924_845
    assert round(100 * (1 - np.count_nonzero(n_hits == 1) / len(n_hits)), 4) == 4.0898


def test_all_columns_with_their_units(tmp_path):
    records = make_epos(tmp_path / "a.epos")
    cloud = io.read(tmp_path / "a.epos")
    names = ["xyz_nm", "mass_da", "tof_ns", "voltage_dc_v", "voltage_pulse_v", "det_x_mm", "det_y_mm"]
    names += ["pulse_delta", "ions_per_pulse"]
    assert list(cloud.columns) == names
    assert [cloud.columns[n].unit for n in names] == ["nm", "Da", "ns", "V", "V", "mm", "mm", "", ""]
    np.testing.assert_array_equal(cloud.xyz_nm, records["f"][:, :3].astype("f4"))
    for i, name in enumerate(names[1:7]):
        np.testing.assert_array_equal(cloud.read(name), records["f"][:, 3 + i].astype("f4"))
    assert cloud.read("pulse_delta").dtype == np.uint32
    np.testing.assert_array_equal(cloud.read("pulse_delta"), 7)
    assert cloud.absent_columns == ()
    assert cloud.issues == ()


def test_volts_are_left_alone(tmp_path):
    """ifes 0.5.0 returns values 1000 times too large."""
    make_epos(tmp_path / "a.epos", volts=3900)
    assert 3000 < np.median(io.read(tmp_path / "a.epos").read("voltage_dc_v")) < 5000


def test_kilovolts_are_converted_and_reported(tmp_path):
    make_epos(tmp_path / "a.epos", volts=3.9)
    cloud = io.read(tmp_path / "a.epos")
    with pytest.warns(DataWarning, match="kV"):
        voltage = cloud.read("voltage_dc_v")
    assert 3000 < np.median(voltage) < 5000
    assert 600 < np.median(cloud.read("voltage_pulse_v")) < 1000
    assert [issue.code for issue in cloud.issues] == ["voltage-kv"]


def test_a_single_value_makes_a_column_present(tmp_path):
    records = make_epos(tmp_path / "a.epos", 50_000)
    records["f"][:, 4] = 0
    records["f"][:, 7] = -0.0
    records["f"][49_999, 4] = 1e-30
    (tmp_path / "a.epos").write_bytes(records.tobytes())
    cloud = io.read(tmp_path / "a.epos")
    assert "tof_ns" in cloud.columns
    assert cloud.absent_columns == ("det_x_mm",)


@pytest.mark.parametrize("n_extra", [1, 16, 43])
def test_a_cut_file_says_how_many_ions_are_whole(tmp_path, n_extra):
    make_epos(tmp_path / "a.epos", 10)
    path = tmp_path / "a.epos"
    path.write_bytes(path.read_bytes()[: 9 * 44 + n_extra])
    with pytest.raises(FormatError, match=f"9 whole ions and {n_extra} bytes more"):
        read_epos(path)
    with pytest.raises(FormatError):
        io.read(path)


def test_empty_file(tmp_path):
    (tmp_path / "a.epos").touch()
    cloud = io.read(tmp_path / "a.epos")
    assert len(cloud) == 0
    assert cloud.absent_columns == ()
    assert cloud.read("tof_ns").shape == (0,)


def test_round_trip_keeps_every_bit(tmp_path):
    words = np.random.default_rng(1).integers(0, 2**32, (3000, 11), dtype="u4").astype(">u4")
    words[:, 5] = np.full(3000, 5000, ">f4").view(">u4")  # so that the voltage is taken as volts
    (tmp_path / "a.epos").write_bytes(words.tobytes())
    assert write_epos(read_epos(tmp_path / "a.epos"), tmp_path / "b.epos") == ()
    assert (tmp_path / "b.epos").read_bytes() == (tmp_path / "a.epos").read_bytes()


def test_missing_columns_are_written_as_zeros_and_told(tmp_path):
    make_epos(tmp_path / "a.epos", 20)
    cloud = io.read(tmp_path / "a.epos")
    io.write(cloud, tmp_path / "b.pos")
    issues = io.write(io.read(tmp_path / "b.pos"), tmp_path / "c.epos")
    assert [issue.code for issue in issues] == ["zero-filled"]
    assert len(io.read(tmp_path / "c.epos").absent_columns) == 7


def test_counts_that_do_not_fit_are_refused(tmp_path):
    make_epos(tmp_path / "a.epos", 20)
    cloud = io.read(tmp_path / "a.epos")
    with pytest.raises(ParameterError, match="ions_per_pulse"):
        io.write(cloud.with_columns(ions_per_pulse=np.full(20, -1)), tmp_path / "b.epos")
    assert not (tmp_path / "b.epos").exists()


@pytest.mark.parametrize("n_bytes", [1, 16, 32, 43])
def test_part_of_one_ion_is_no_pos(tmp_path, n_bytes):
    path = tmp_path / "cut.epos"
    path.write_bytes(bytes(range(1, 45))[:n_bytes])
    with pytest.raises(FormatError, match="44"):
        io.read(path)
