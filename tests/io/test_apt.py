"""The .apt reader against the real file, against layouts other readers get wrong, and against lying headers."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from apt_builder import Section, mass, position, write_apt_file

from napari_aptdefect import io
from napari_aptdefect.errors import FormatError
from napari_aptdefect.io.apt import read_apt
from napari_aptdefect.io.apt_write import write_apt


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# pynxtools-apm publishes these hashes for the Si.apt of APAV 1.4.0
GOLDEN_MASS = "e333db8dc985e7f530f0ee0413dac016bd4f6845f1c45079d39fcc5f280218f6"
GOLDEN_XYZ = "76be319480973cb02cdf01b152092dced22bcc416529c7b254c942892a71027c"
GOLDEN_HISTOGRAM = "f642f703f033f05b68c924d5f2c43f4aea91966c0257c878c20b7766258f181c"


def test_real_file_has_the_published_hashes(si_dir):
    cloud = io.read(si_dir / "Si.apt")
    assert len(cloud) == 945_211
    assert sha256(cloud.mass_da) == GOLDEN_MASS
    assert sha256(cloud.xyz_nm) == GOLDEN_XYZ
    histogram, _ = np.histogram(cloud.mass_da, np.linspace(0, 379, 37901))
    assert sha256(histogram.astype(np.uint32)) == GOLDEN_HISTOGRAM


def test_real_file_structure(si_dir):
    cloud = io.read(si_dir / "Si.apt")
    names = [section["name"] for section in cloud.metadata["sections"]]
    assert names == ["tofc", "Mass", "XDet_mm", "YDet_mm", "Multiplicity", "Detector Coordinates", "Position"]
    assert cloud.metadata["created_utc"].startswith("2021-03-23T20:31:26")
    assert cloud.metadata["original_file"].endswith(".apt")
    assert cloud.metadata["sections"][-1]["header_bytes"] == 172
    box = np.array(cloud.metadata["bounding_box_nm"], "f4")
    np.testing.assert_array_equal(box[:, 0], cloud.xyz_nm.min(axis=0))
    np.testing.assert_array_equal(box[:, 1], cloud.xyz_nm.max(axis=0))
    assert cloud.issues == ()


def test_real_detector_coordinates_agree_with_their_own_sections(si_dir):
    """ifes 0.5.0 reads this section with the stride of three columns."""
    cloud = io.read(si_dir / "Si.apt")
    both = cloud.read("Detector_Coordinates")
    np.testing.assert_array_equal(both[:, 0], cloud.read("det_x_mm"))
    np.testing.assert_array_equal(both[:, 1], cloud.read("det_y_mm"))


def test_small_fixture(shared_data):
    cloud = io.read(shared_data / "apt_fixture" / "Si_first10.apt")
    assert len(cloud) == 10
    assert np.isfinite(cloud.xyz_nm).all()
    assert "tofc_ns" in cloud.columns
    assert cloud.columns["tofc_ns"].unit == "ns"


@pytest.mark.parametrize("with_bounds", [True, False])
def test_position_need_not_come_last(tmp_path, with_bounds):
    """PyCCAPT 0.2.4 shifts positions against masses here."""
    xyz = position(50) if with_bounds else position(50, extra=b"")
    sections = [xyz, mass(50), Section("tof", np.arange(50, dtype="f4"), "ns")]
    cloud = io.read(write_apt_file(tmp_path / "a.apt", sections))
    np.testing.assert_array_equal(cloud.xyz_nm, xyz.values)
    np.testing.assert_array_equal(cloud.mass_da, sections[1].values)
    np.testing.assert_array_equal(cloud.read("tof_ns"), np.arange(50))
    assert (cloud.metadata["bounding_box_nm"] is not None) == with_bounds


def test_unknown_section_is_kept(tmp_path):
    """ifes 0.5.0 refuses the whole file."""
    values = np.arange(20, dtype="f8").reshape(10, 2)
    sections = [Section("Var 44!", values, "furlong"), mass(10), position(10)]
    cloud = io.read(write_apt_file(tmp_path / "a.apt", sections))
    assert cloud.columns["Var_44"].unit == "furlong"
    np.testing.assert_array_equal(cloud.read("Var_44"), values)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
def test_every_number_type(tmp_path, dtype):
    """APAV 1.4.0 refuses the file with a uint16 section (tstage)."""
    values = (np.arange(9) * 13).astype(dtype)
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [Section("tstage", values), mass(9), position(9)]))
    assert cloud.columns["tstage"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(cloud.read("tstage"), values)


def test_two_files_at_once_are_independent(tmp_path):
    """In ifes 0.5.0 the first takes the second's size."""
    a = io.read(write_apt_file(tmp_path / "a.apt", [mass(30, 1), position(30, 2)]))
    b = io.read(write_apt_file(tmp_path / "b.apt", [mass(70, 3), position(70, 4)]))
    assert (len(a), len(b)) == (30, 70)
    np.testing.assert_array_equal(a.xyz_nm, position(30, 2).values)
    np.testing.assert_array_equal(b.xyz_nm, position(70, 4).values)
    np.testing.assert_array_equal(a.mass_da, mass(30, 1).values)


def test_padding_is_skipped(tmp_path):
    sections = [mass(5, padding=b"\7" * 13), Section("pulse", np.arange(5, dtype="f4"), padding=b"x"), position(5)]
    cloud = io.read(write_apt_file(tmp_path / "a.apt", sections))
    np.testing.assert_array_equal(cloud.mass_da, sections[0].values)
    np.testing.assert_array_equal(cloud.read("pulse"), np.arange(5))
    np.testing.assert_array_equal(cloud.xyz_nm, sections[2].values)


@pytest.mark.parametrize(
    "odd",
    [
        Section("sparse", np.arange(3, dtype="i8"), relation=2),
        Section("unrelated", np.arange(3, dtype="f4"), relation=3),
        Section("many", np.arange(3, dtype="f4"), relation=4),
        Section("future", np.arange(3, dtype="f4"), relation=77),
        Section("variable", np.arange(3, dtype="f4"), record_kind=2, record_bytes=0),
        Section("text", np.arange(8, dtype="u1"), data_kind=4),
        Section("bits", np.arange(8, dtype="u1"), data_bits=3),
        Section("short", np.arange(3, dtype="f4")),
        Section("no width", np.arange(8, dtype="f4"), data_bits=0),
    ],
    ids=lambda s: s.name,
)
def test_sections_that_are_not_one_number_per_ion_are_kept_raw(tmp_path, odd):
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [mass(8), odd, position(8)], n_ions=8))
    assert odd.name in cloud.metadata["raw_sections"]
    assert odd.name not in cloud.columns
    assert any(issue.code == "raw-section" for issue in cloud.issues)
    np.testing.assert_array_equal(cloud.xyz_nm, position(8).values)


def test_units_are_converted_and_reported(tmp_path):
    xyz = position(4)
    sections = [
        Section("Position", xyz.values, "m"),
        mass(4, unit="amu"),
        Section("Voltage", np.array([2, 3, 4, 5], "f4"), "kV"),
        Section("tof", np.ones(4, "f4"), "us"),
        Section("XDet_mm", np.ones(4, "f4"), "cubit"),
    ]
    cloud = io.read(write_apt_file(tmp_path / "a.apt", sections))
    np.testing.assert_allclose(cloud.xyz_nm, xyz.values * 1e9, rtol=1e-6)
    np.testing.assert_array_equal(cloud.read("voltage_dc_v"), [2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(cloud.read("tof_ns"), 1000)
    assert {issue.severity for issue in cloud.issues if issue.code == "unit"} == {"info", "warning"}


def test_float64_positions_are_read_as_float32_and_reported(tmp_path):
    xyz = np.linspace(0, 1, 12).reshape(4, 3)
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [Section("Position", xyz, "nm"), mass(4)]))
    assert cloud.xyz_nm.dtype == np.float32
    np.testing.assert_array_equal(cloud.xyz_nm, xyz.astype("f4"))
    assert [issue.code for issue in cloud.issues] == ["precision"]


def test_detector_coordinates_stand_in_for_separate_sections(tmp_path):
    both = np.arange(10, dtype="f4").reshape(5, 2)
    cloud = io.read(
        write_apt_file(tmp_path / "a.apt", [Section("Detector Coordinates", both, "mm"), mass(5), position(5)])
    )
    np.testing.assert_array_equal(cloud.read("det_x_mm"), both[:, 0])
    np.testing.assert_array_equal(cloud.read("det_y_mm"), both[:, 1])


def test_second_section_of_a_name_is_kept_under_another(tmp_path):
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [mass(5, 1), mass(5, 2), position(5)]))
    np.testing.assert_array_equal(cloud.mass_da, mass(5, 1).values)
    np.testing.assert_array_equal(cloud.read("Mass"), mass(5, 2).values)
    assert [issue.code for issue in cloud.issues] == ["second-section"]


@pytest.mark.parametrize("missing", ["Position", "Mass"])
def test_missing_section_is_named(tmp_path, missing):
    sections = [s for s in (mass(5), position(5)) if s.name != missing]
    with pytest.raises(FormatError, match=f"expected a section '{missing}'"):
        io.read(write_apt_file(tmp_path / "a.apt", sections))


@pytest.mark.parametrize(
    ("sections", "header", "message"),
    [
        ([mass(5), position(5)], {"n_ions": 6}, "expected 6 ions in section 'Position'"),
        ([mass(5), position(5)], {"n_ions": -1}, "expected a number of ions, found -1"),
        ([mass(5), position(5)], {"n_ions": 2**62}, "expected 4611686018427387904 ions"),
        ([mass(5, n_bytes=2**61), position(5)], {}, "up to the end of the file"),
        ([mass(5, n_bytes=-20), position(5)], {}, "counts of 0 or more"),
        ([mass(5, n_records=-5), position(5)], {}, "counts of 0 or more"),
        ([mass(5, n_records=2**40), position(5)], {}, "a section of 20 bytes"),
        ([mass(5, n_bytes=16), position(5)], {}, "records of 4 bytes"),
        ([mass(5, header_bytes=0), position(5)], {}, "header of 148 bytes or more"),
        ([mass(5, header_bytes=-148), position(5)], {}, "header of 148 bytes or more"),
        ([mass(5, record_bytes=-4), position(5)], {}, "records of -4 bytes"),
        ([mass(5, magic=b"XEC\0"), position(5)], {}, "a section signature"),
        ([mass(5), position(5)], {"header_bytes": 10**9}, "file header of 540 bytes or more"),
        ([mass(5), position(5)], {"tail": b"SE"}, "a section header of 148 bytes"),
        ([mass(5), position(5)], {"tail": b"junk" * 40}, "a section signature"),
    ],
)
def test_headers_that_lie_are_told(tmp_path, sections, header, message):
    n_ions = header.pop("n_ions", 5)
    path = write_apt_file(tmp_path / "a.apt", sections, n_ions=n_ions, **header)
    with pytest.raises(FormatError, match=message):
        io.read(path)


def test_every_truncation_is_told(tmp_path):
    """Only a cut right behind a section can't be seen, and then positions are missing."""
    raw = write_apt_file(tmp_path / "a.apt", [mass(3), position(3)]).read_bytes()
    cut = tmp_path / "cut.apt"
    for n in range(len(raw)):
        cut.write_bytes(raw[:n])
        with pytest.raises(FormatError):
            io.read(cut)


def test_trailing_zeros_are_reported(tmp_path):
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [mass(3), position(3)], tail=bytes(100)))
    assert [issue.code for issue in cloud.issues] == ["trailing-zeros"]


@pytest.mark.parametrize(
    ("time", "iso"), [(0, None), (2**64 - 1, None), (864_000_000_000, "1601-01-02T00:00:00+00:00")]
)
def test_creation_time(tmp_path, time, iso):
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [mass(3), position(3)], time=time))
    assert cloud.metadata["created_utc"] == iso


def test_round_trip_keeps_every_bit(tmp_path):
    xyz = position(40)
    xyz.values.view("u4")[3, 1] = 0x7FA00001  # a signaling NaN with a payload
    sections = [
        Section("tofc", np.arange(40, dtype="f4"), "ns"),
        Section("Multiplicity", np.arange(40, dtype="i4")),
        Section("Weird name", np.arange(80, dtype="u2").reshape(40, 2), "mm"),
        mass(40),
        xyz,
    ]
    source = io.read(write_apt_file(tmp_path / "a.apt", sections))
    assert write_apt(source, tmp_path / "b.apt") == ()
    copy = read_apt(tmp_path / "b.apt")
    assert set(copy.columns) == set(source.columns)
    for name in source.columns:
        assert copy.read(name).tobytes() == source.read(name).tobytes()
        assert copy.columns[name].unit == source.columns[name].unit
    assert [s["name"] for s in copy.metadata["sections"]] == ["Mass", "tofc", "Multiplicity", "Weird name", "Position"]
    assert copy.metadata["created_utc"] == source.metadata["created_utc"]
    assert copy.metadata["original_file"] == "R5096_1.apt"


def test_real_round_trip_is_read_by_the_peers(si_dir, tmp_path):
    apav = pytest.importorskip("apav", reason="APAV is a benchmark dependency")
    cloud = io.read(si_dir / "Si.epos")
    write_apt(cloud, tmp_path / "si.apt")
    roi = apav.Roi.from_apt(str(tmp_path / "si.apt"))
    np.testing.assert_array_equal(roi.xyz, cloud.xyz_nm)
    np.testing.assert_array_equal(roi.mass, cloud.mass_da)


def test_counts_are_written_signed_as_ap_suite_does(tmp_path):
    cloud = io.read(write_apt_file(tmp_path / "a.apt", [mass(3), position(3)]))
    io.write(cloud.with_columns(ions_per_pulse=np.array([1, 2, 0], "u4")), tmp_path / "b.apt")
    assert io.read(tmp_path / "b.apt").columns["ions_per_pulse"].dtype == np.int32
    io.write(cloud.with_columns(ions_per_pulse=np.array([1, 2**32 - 1, 0], "u4")), tmp_path / "c.apt")
    big = io.read(tmp_path / "c.apt")
    assert big.read("ions_per_pulse").tolist() == [1, 2**32 - 1, 0]


def test_wide_text_survives(tmp_path):
    path = write_apt_file(tmp_path / "a.apt", [mass(3), position(3)])
    raw = bytearray(path.read_bytes())
    raw[12:524] = struct.pack("<256H", *[0xD800] * 256)  # lone surrogates, no NUL
    path.write_bytes(raw)
    assert isinstance(io.read(path).metadata["original_file"], str)
