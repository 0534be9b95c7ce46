"""Our Parquet table: every bit comes back, rows are read by group, other tables are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from napari_aptdefect import io
from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import DataWarning, FormatError
from napari_aptdefect.io.table import read_table, write_table


def random_cloud(n=5000, **extra):
    rng = np.random.default_rng(0)
    return IonCloud.from_arrays(rng.normal(0, 10, (n, 3)), rng.uniform(1, 100, n), **extra)


def test_round_trip_keeps_every_bit(tmp_path):
    n = 5000
    bits = np.random.default_rng(0).integers(0, 2**32, (n, 4), dtype="u4").view("f4")  # every kind of NaN
    cloud = IonCloud.from_arrays(
        bits[:, :3], bits[:, 3], tof_ns=np.arange(n, dtype="f8"), pulse_delta=np.arange(n, dtype="u4"),
        pair=np.arange(2 * n, dtype="i2").reshape(n, 2), flag=np.arange(n) % 2 == 0,
    )  # fmt: skip
    assert write_table(cloud, tmp_path / "a.parquet") == ()
    copy = io.read(tmp_path / "a.parquet")
    assert list(copy.columns) == list(cloud.columns)
    for name, column in cloud.columns.items():
        assert copy.read(name).tobytes() == cloud.read(name).tobytes()
        assert copy.columns[name].dtype == column.dtype
        assert copy.columns[name].unit == column.unit


def test_ions_parquet_of_a_run_is_a_cloud(tmp_path):
    n = 1000
    species = pa.array(["Si", "Cr", None, "Cr2O"] * (n // 4)).dictionary_encode()
    values = np.arange(n, dtype="f4")
    table = pa.table(
        {
            "ion_idx": pa.array(np.arange(n)),
            "x_nm": values, "y_nm": values + 1, "z_nm": values + 2, "mass_da": values + 3,
            "species": species, "defect": pa.array(np.zeros(n, "i4")),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "ions.parquet", row_group_size=300)
    cloud = io.read(tmp_path / "ions.parquet")
    np.testing.assert_array_equal(cloud.xyz_nm, np.stack([values, values + 1, values + 2], axis=1))
    assert cloud.columns["species"].categories == ("Si", "Cr", "Cr2O")
    assert cloud.read("species", 0, 5).tolist() == [0, 1, -1, 2, 0]
    for start, stop in [(0, 1), (299, 301), (250, 950), (600, 600), (0, 1000)]:
        np.testing.assert_array_equal(cloud.read("mass_da", start, stop), values[start:stop] + 3)
        np.testing.assert_array_equal(cloud.read("ion_idx", start, stop), np.arange(start, stop))
    write_table(cloud, tmp_path / "again.parquet")
    again = io.read(tmp_path / "again.parquet")
    np.testing.assert_array_equal(again.read("species"), cloud.read("species"))
    assert again.columns["species"].categories == ("Si", "Cr", "Cr2O")


def test_row_groups_with_dictionaries_of_their_own(tmp_path):
    schema = pa.schema([(n, pa.float32()) for n in ("x_nm", "y_nm", "z_nm", "mass_da")] + [("species", pa.string())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for labels in (["A", "B"], ["B", "C"], ["C", "A"]):
            floats = [pa.array([1, 2], pa.float32())] * 4
            writer.write_table(pa.Table.from_arrays([*floats, pa.array(labels)], schema=schema))
    cloud = read_table(tmp_path / "a.parquet")
    names = cloud.columns["species"].categories
    assert [names[i] for i in cloud.read("species")] == ["A", "B", "B", "C", "C", "A"]


def test_missing_values(tmp_path):
    floats = pa.array([1, None], pa.float32())
    table = pa.table({"x_nm": floats, "y_nm": floats, "z_nm": floats, "mass_da": [1.0, 2.0], "n": [1, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    cloud = io.read(tmp_path / "a.parquet")
    assert {issue.code for issue in cloud.issues} == {"precision"}
    with pytest.warns(DataWarning, match="1 of 2 ions have a position"):
        assert np.isnan(cloud.xyz_nm[1]).all()
    with pytest.raises(FormatError, match="a value in each row of column 'n'"):
        cloud.read("n")


def test_other_tables_are_refused(tmp_path):
    pq.write_table(pa.table({"defect": [1], "n_ions": [2]}), tmp_path / "defects.parquet")
    with pytest.raises(FormatError, match="defect, n_ions"):
        io.read(tmp_path / "defects.parquet")


def test_damage_within_a_page_is_found(tmp_path):
    write_table(random_cloud(), tmp_path / "a.parquet")
    raw = bytearray((tmp_path / "a.parquet").read_bytes())
    raw[2000] ^= 0x10
    (tmp_path / "b.parquet").write_bytes(raw)
    with pytest.raises(FormatError, match="Parquet"):
        _ = io.read(tmp_path / "b.parquet").xyz_nm


def test_empty_cloud(tmp_path):
    write_table(IonCloud.from_arrays(np.empty((0, 3)), []), tmp_path / "a.parquet")
    cloud = io.read(tmp_path / "a.parquet")
    assert cloud.xyz_nm.shape == (0, 3)
