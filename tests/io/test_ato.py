"""The .ato reader: version 3 in either byte order, in our units; other versions refused by name."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from napari_aptdefect import io
from napari_aptdefect.errors import FormatError


def make_ato(path, n=50, order="<", word_order=None, version=3):
    rng = np.random.default_rng(0)
    records = rng.uniform(1, 100, (n, 14)).astype("f4")
    head = struct.pack("<I", 0) + struct.pack(f"{word_order or order}I", version)
    path.write_bytes(head + records.astype(f"{order}f4").tobytes())
    return records


@pytest.mark.parametrize("order", ["<", ">"])
def test_values_and_units(tmp_path, order):
    records = make_ato(tmp_path / "a.ato", order=order)
    cloud = io.read(tmp_path / "a.ato")
    assert cloud.metadata["byte_order"] == order
    np.testing.assert_allclose(cloud.xyz_nm, records[:, :3] / 10, rtol=2e-7)
    np.testing.assert_array_equal(cloud.mass_da, records[:, 3])
    np.testing.assert_array_equal(cloud.read("cluster_id"), records[:, 4])
    np.testing.assert_allclose(cloud.read("voltage_dc_v"), records[:, 6] * 1000, rtol=2e-7)
    np.testing.assert_allclose(cloud.read("tof_ns"), records[:, 7] * 1000, rtol=2e-7)
    np.testing.assert_allclose(cloud.read("det_x_mm"), records[:, 8] * 10, rtol=2e-7)
    np.testing.assert_allclose(cloud.read("det_y_mm"), records[:, 9] * 10, rtol=2e-7)
    np.testing.assert_allclose(cloud.read("voltage_pulse_v"), records[:, 10] * 1000, rtol=2e-7)
    assert cloud.columns["voltage_dc_v"].unit == "V"
    assert cloud.issues == ()


def test_records_decide_where_the_version_word_contradicts(tmp_path):
    records = make_ato(tmp_path / "a.ato", order=">", word_order="<")
    cloud = io.read(tmp_path / "a.ato")
    np.testing.assert_array_equal(cloud.mass_da, records[:, 3])
    assert [issue.code for issue in cloud.issues] == ["byte-order"]


@pytest.mark.parametrize("version", [4, 5, 6])
def test_other_versions_are_refused_by_name(tmp_path, version):
    make_ato(tmp_path / "a.ato", version=version)
    with pytest.raises(FormatError, match=rf"found version {version}\."):
        io.read(tmp_path / "a.ato")


@pytest.mark.parametrize("n_bytes", [0, 3, 8 + 56 + 1, 8 + 55])
def test_cut_files(tmp_path, n_bytes):
    make_ato(tmp_path / "a.ato")
    raw = (tmp_path / "a.ato").read_bytes()
    (tmp_path / "b.ato").write_bytes(raw[:n_bytes])
    with pytest.raises(FormatError):
        io.read(tmp_path / "b.ato")
