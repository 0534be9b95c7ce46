"""NXapm: what we write follows the definition and comes back bit by bit; what others write is found by its names."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from napari_aptdefect import io
from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import DataWarning, FormatError
from napari_aptdefect.io.nxapm import write_nxapm


def test_round_trip_keeps_every_bit(tmp_path):
    n = 3000
    bits = np.random.default_rng(0).integers(0, 2**32, (n, 4), dtype="u4").view("f4")
    cloud = IonCloud.from_arrays(
        bits[:, :3], bits[:, 3], voltage_dc_v=np.arange(n), pair=np.zeros((n, 2), "u2"), flag=np.arange(n) % 2 == 0
    )
    for name in ("a.nxs", "a.h5"):
        assert io.write(cloud, tmp_path / name) == ()
        copy = io.read(tmp_path / name)
        assert copy.format == "nxapm"
        for column in cloud.columns.values():
            assert copy.read(column.name).tobytes() == cloud.read(column.name).tobytes()
            assert copy.columns[column.name].unit == column.unit
            assert copy.columns[column.name].dtype == column.dtype


def test_names_of_the_application_definition(tmp_path):
    write_nxapm(IonCloud.from_arrays(np.ones((2, 3)), [1, 2]), tmp_path / "a.nxs")
    with h5py.File(tmp_path / "a.nxs") as tree:
        entry = tree["entry1"]
        assert entry.attrs["NX_class"] == b"NXentry"
        assert entry["definition"][()] == b"NXapm"
        xyz = entry["atom_probe/reconstruction/reconstructed_positions"]
        assert (xyz.shape, xyz.dtype, xyz.attrs["units"]) == ((2, 3), np.dtype("f4"), b"nm")
        assert entry["atom_probe/mass_to_charge_conversion/mass_to_charge"].attrs["units"] == b"Da"


@pytest.mark.parametrize("branch", ["entry1/atom_probe", "entry1/atom_probeID", "my_entry/measurement/deep/er"])
@pytest.mark.parametrize("mass_shape", [(5,), (5, 1)])
def test_foreign_files(tmp_path, branch, mass_shape):
    xyz = np.arange(15, dtype="f8").reshape(5, 3)
    with h5py.File(tmp_path / "a.nxs", "w") as tree:
        tree[f"{branch}/reconstruction/reconstructed_positions"] = xyz
        tree[f"{branch}/reconstruction/reconstructed_positions"].attrs["units"] = "angstrom"
        masses = f"{branch}/mass_to_charge_conversion/mass_to_charge"
        tree.create_dataset(masses, data=np.arange(5, dtype="f4").reshape(mass_shape), chunks=True, compression="gzip")
        tree[masses].attrs["units"] = "u"
    cloud = io.read(tmp_path / "a.nxs")
    np.testing.assert_allclose(cloud.xyz_nm, xyz / 10, rtol=1e-6)
    np.testing.assert_array_equal(cloud.mass_da, np.arange(5))
    assert {issue.code for issue in cloud.issues} == {"unit", "precision"}


def test_several_reconstructions_are_reported(tmp_path):
    with h5py.File(tmp_path / "a.nxs", "w") as tree:
        for entry, value in (("entry1", 1), ("entry2", 2)):
            tree[f"{entry}/atom_probe/reconstruction/reconstructed_positions"] = np.full((3, 3), value, "f4")
            tree[f"{entry}/atom_probe/mass_to_charge_conversion/mass_to_charge"] = np.full(3, value, "f4")
    cloud = io.read(tmp_path / "a.nxs")
    assert [issue.code for issue in cloud.issues] == ["several-reconstructions"]
    assert cloud.xyz_nm.max() == cloud.mass_da.max() == 1


def test_pieces_never_written_are_reported(tmp_path):
    with h5py.File(tmp_path / "a.nxs", "w") as tree:
        xyz = tree.create_dataset("e/reconstruction/reconstructed_positions", (100, 3), "f4", chunks=(10, 3))
        xyz[:50] = 1
        tree["e/mass_to_charge_conversion/mass_to_charge"] = np.ones(100, "f4")
    (issue,) = io.read(tmp_path / "a.nxs").issues
    assert issue.code == "unwritten"
    assert issue.message.startswith("5 of 10")


def test_masses_of_other_ions_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.nxs", "w") as tree:
        tree["e/reconstruction/reconstructed_positions"] = np.ones((5, 3), "f4")
        tree["e/mass_to_charge_conversion/mass_to_charge"] = np.ones(6, "f4")
    with pytest.raises(FormatError, match="masses of shape"):
        io.read(tmp_path / "a.nxs")


def test_offset_of_a_bad_value(tmp_path):
    xyz = np.ones((20, 3), "f4")
    xyz[7, 1] = np.nan
    io.write(IonCloud.from_arrays(xyz, np.ones(20)), tmp_path / "a.nxs")
    cloud = io.read(tmp_path / "a.nxs")
    with pytest.warns(DataWarning):
        _ = cloud.xyz_nm
    offset = cloud.issues[0].offset
    row = np.frombuffer((tmp_path / "a.nxs").read_bytes()[offset : offset + 12], "<f4")
    np.testing.assert_array_equal(row, xyz[7])
