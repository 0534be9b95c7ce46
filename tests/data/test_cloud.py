"""The ion cloud container: shapes, laziness, selections, and what its checks say."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from napari_aptdefect.data import Column, IonCloud
from napari_aptdefect.errors import DataWarning, EmptySelectionError, ParameterError, ShapeError


def cloud_of(n=10, **extra):
    rng = np.random.default_rng(0)
    return IonCloud.from_arrays(rng.normal(0, 10, (n, 3)), rng.uniform(1, 90, n), **extra)


class CountingReader:
    """Hands out ion numbers, and counts how often each ion was read."""

    block = 1000
    parallel = True

    def __init__(self, n):
        self.counts = np.zeros(n, int)
        self.opened = []

    @contextmanager
    def open(self, names):
        self.opened.append((names, threading.get_ident()))

        def fill(start, stop, out):
            self.counts[start:stop] += 1
            for values in out.values():
                values[...] = np.arange(start, stop).reshape((-1,) + (1,) * (values.ndim - 1))

        yield fill

    def locate(self, name, ion):
        return ion


def test_positions_and_masses_are_read_in_one_pass_and_once():
    n = 1_000_003
    reader = CountingReader(n)
    f4 = np.dtype("f4")
    columns = {"xyz_nm": Column("xyz_nm", f4, 3, "nm", reader), "mass_da": Column("mass_da", f4, 1, "Da", reader)}
    cloud = IonCloud(n, columns)
    assert reader.opened == []
    np.testing.assert_array_equal(cloud.mass_da, np.arange(n, dtype="f4"))
    np.testing.assert_array_equal(cloud.xyz_nm[:, 2], np.arange(n, dtype="f4"))
    assert (reader.counts == 1).all()
    assert {names for names, _ in reader.opened} == {("xyz_nm", "mass_da")}


def test_take_keeps_columns_and_units():
    cloud = cloud_of(10, tof_ns=np.arange(10.0), pair=np.arange(20).reshape(10, 2))
    part = cloud.take(np.array([7, 2]))
    assert part.read("tof_ns").tolist() == [7, 2]
    assert part.read("pair").tolist() == [[14, 15], [4, 5]]
    assert part.columns["tof_ns"].unit == "ns"
    assert len(cloud.take(cloud.mass_da > 0)) == 10


def test_selections_that_make_no_sense():
    cloud = cloud_of(10)
    with pytest.raises(EmptySelectionError):
        cloud.take(np.zeros(10, bool))
    with pytest.raises(ShapeError, match="mask"):
        cloud.take(np.ones(9, bool))
    with pytest.raises(ShapeError, match="integer"):
        cloud.take(np.array([0.5]))


def test_with_columns_replaces_and_adds():
    cloud = cloud_of(3, label=[1, 2, 3])
    more = cloud.with_columns(label=[4, 5, 6], det_x_mm=[0.0, 1.0, 2.0])
    assert more.read("label").tolist() == [4, 5, 6]
    assert more.columns["det_x_mm"].unit == "mm"
    assert cloud.read("label").tolist() == [1, 2, 3]
    with pytest.raises(ShapeError, match="3 rows"):
        cloud.with_columns(label=[1, 2])


@pytest.mark.parametrize("values", [["a", "b", "c"], [1j, 2, 3], np.zeros((3, 2, 2))])
def test_columns_hold_numbers(values):
    with pytest.raises(ShapeError):
        cloud_of(3, odd=values)


def test_a_cloud_needs_positions_and_masses():
    with pytest.raises(ParameterError, match="xyz_nm"):
        IonCloud(3, {})
    with pytest.raises(ParameterError, match="-1"):
        IonCloud(-1, dict(cloud_of(3).columns))


def test_arrays_are_read_only():
    cloud = cloud_of(3)
    with pytest.raises(ValueError, match="read-only"):
        cloud.xyz_nm[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        cloud.mass_da[0] = 1


def codes(cloud):
    return {issue.code: issue for issue in cloud.check()}


def test_check_of_a_sound_cloud_says_only_where_z_runs():
    assert set(codes(cloud_of(1000))) == {"z-direction"}


def test_check_of_labels():
    found = codes(IonCloud.from_arrays(np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 5))
    assert found["mass-labels"].message.startswith("the mass column holds only the 5 whole number(s) 0, 1, 2, 3, 4")
    assert "zero-mass" not in found


def test_check_of_extents():
    assert "zero-extent" in codes(IonCloud.from_arrays(np.zeros((5, 3)), np.arange(5) + 0.5))
    assert "same point" in codes(IonCloud.from_arrays(np.ones((5, 3)), np.arange(5) + 0.5))["zero-extent"].message
    assert "huge-extent" in codes(IonCloud.from_arrays([[0, 0, 0], [0, 20_000, 0]], [1.5, 2.5]))
    nothing = codes(IonCloud.from_arrays(np.full((2, 3), np.nan), [1.5, 2.5]))
    assert {"nan-position", "no-position"} <= set(nothing)


@pytest.mark.parametrize(("z", "word"), [((0, 50), "upward"), ((-50, 0), "downward"), ((-50, 50), "through 0")])
def test_check_of_the_sign_of_z(z, word):
    cloud = IonCloud.from_arrays([[0, 0, z[0]], [1, 0, z[1]]], [1.5, 2.5])
    assert word in codes(cloud)["z-direction"].message
    assert codes(cloud)["z-direction"].severity == "info"


def test_identical_positions_are_counted_exactly():
    rng = np.random.default_rng(1)
    xyz = rng.integers(0, 30, (20_000, 3)).astype("f4")
    xyz[xyz == 0] = -0.0
    xyz[5] = np.nan
    xyz[6] = np.nan
    expected = 20_000 - 2 - len(np.unique(np.delete(xyz, [5, 6], axis=0) + np.float32(0), axis=0))
    found = codes(IonCloud.from_arrays(xyz, rng.uniform(1, 9, 20_000)))["identical-positions"]
    assert found.message.startswith(f"{expected} of 20000 ions")


def test_content_issues_are_warned_of_once():
    reader = CountingReader(5)
    f4 = np.dtype("f4")

    def fill_nan(names):
        @contextmanager
        def opened():
            def fill(start, stop, out):
                for values in out.values():
                    values[...] = np.nan

            yield fill

        return opened()

    reader.open = fill_nan
    columns = {"xyz_nm": Column("xyz_nm", f4, 3, "nm", reader), "mass_da": Column("mass_da", f4, 1, "Da", reader)}
    cloud = IonCloud(5, columns)
    with pytest.warns(DataWarning, match="5 of 5"):
        _ = cloud.xyz_nm
    _ = cloud.mass_da
    assert [issue.code for issue in cloud.issues] == ["nan-position", "nan-mass"]
