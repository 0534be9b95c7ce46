"""The dispatcher: content first, extension second, and never anything but a cloud, a table, an image or our error."""

from __future__ import annotations

import pickle
import shutil
import warnings

import numpy as np
import pytest
from apt_builder import Section, mass, position, write_apt_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_aptdefect import io
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.errors import AptDefectError, DataWarning, FormatError, MissingFileError, ParameterError

RRNG = "[Ions]\nNumber=1\nIon1=Si\n[Ranges]\nNumber=1\nRange1=27.9 28.1 Vol:0.02 Si:1 Color:FF0000\n"
CLOUD_SUFFIXES = (".pos", ".epos", ".apt", ".ato", ".parquet", ".nxs")


def small_cloud(n=64):
    rng = np.random.default_rng(5)
    return IonCloud.from_arrays(rng.normal(0, 10, (n, 3)), rng.uniform(1, 90, n))


def epos_bytes(n=64):
    records = np.zeros((n, 11), ">f4")
    records[:, :9] = np.random.default_rng(6).uniform(1, 50, (n, 9))
    records[:, 5] += 4000
    records[:, 9:].view(">u4")[...] = [3, 1]
    return records.tobytes()


@pytest.fixture(scope="session")
def valid_files(tmp_path_factory):
    """One small valid file of each cloud format, by extension."""
    folder = tmp_path_factory.mktemp("valid")
    for suffix in (".pos", ".parquet", ".nxs"):
        io.write(small_cloud(), folder / f"a{suffix}")
    (folder / "a.epos").write_bytes(epos_bytes())
    write_apt_file(folder / "a.apt", [Section("tofc", np.arange(64, dtype="f4"), "ns"), mass(64), position(64)])
    ato = np.random.default_rng(7).uniform(1, 100, (64, 14)).astype("<f4")
    (folder / "a.ato").write_bytes(bytes(4) + b"\3\0\0\0" + ato.tobytes())
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in CLOUD_SUFFIXES}


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
@pytest.mark.parametrize("renamed", [".pos", ".epos", ".apt", ".parquet", ".rrng", ".tif", ".bin", ""])
def test_content_decides(valid_files, tmp_path, suffix, renamed):
    path = tmp_path / f"b{renamed}"
    path.write_bytes(valid_files[suffix])
    kind = {".nxs": "nxapm"}.get(suffix, suffix[1:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cloud = io.read(path)
    assert cloud.format == kind
    assert len(cloud) == 64
    told = [issue.code for issue in cloud.issues]
    if renamed in (*CLOUD_SUFFIXES, ".rrng") and renamed != suffix:
        assert told == ["extension"]
        assert [w.category for w in caught] == [DataWarning]
    else:
        assert told == []


def test_range_files_and_images_are_routed(shared_data):
    for name in ("rangefiles_3depict/test2.rrng", "rangefiles_3depict/test7.rng", "rangefiles_3depict/test1.env"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            assert isinstance(io.read(shared_data / name), RangeTable)
            assert isinstance(io.read_ranges(shared_data / name), RangeTable)
    image = next((shared_data / "stem_real" / "batio3_dm4").rglob("*.dm4"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert type(io.read(image)).__name__ == "HaadfImage"
    with pytest.raises(FormatError, match="found a HAADF-STEM image"):
        io.read_cloud(image)


def test_a_range_file_with_another_extension(tmp_path):
    for name in ("a.txt", "a.pos", "a.rng"):
        (tmp_path / name).write_text(RRNG)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            assert io.read(tmp_path / name).names == ("Si",)


def test_the_wrong_kind_is_told(tmp_path):
    io.write(small_cloud(), tmp_path / "a.pos")
    (tmp_path / "a.rrng").write_text(RRNG)
    with pytest.raises(FormatError, match=r"expected a range file .* found a file of the kind pos"):
        io.read_ranges(tmp_path / "a.pos")
    with pytest.raises(FormatError, match=r"expected an ion cloud .* found a file of the kind rrng"):
        io.read_cloud(tmp_path / "a.rrng")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello world", b"\xff" * 160, b"\x00\x01" * 400, b"PK\3\4" + bytes(99)]
)
def test_unknown_content_lists_what_is_readable(tmp_path, content):
    (tmp_path / "a.xyz").write_bytes(content)
    with pytest.raises(FormatError, match=r"\.pos, \.epos, \.apt.*\.rrng.*HAADF"):
        io.read(tmp_path / "a.xyz")


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
def test_clouds_travel_to_workers(valid_files, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(valid_files[suffix])
    cloud = io.read(path)
    _ = cloud.xyz_nm
    raw = pickle.dumps(cloud)
    assert len(raw) < 6000  # the name of the file, not its ions
    copy = pickle.loads(raw)
    for name in cloud.columns:
        np.testing.assert_array_equal(copy.read(name), cloud.read(name))


def test_write_says_what_it_can_not_do(tmp_path):
    cloud = small_cloud()
    with pytest.raises(ParameterError, match=r"\.pos, \.epos, \.apt, \.parquet, \.nxs, \.h5"):
        io.write(cloud, tmp_path / "a.rrng")
    with pytest.raises(ParameterError, match="can't write a list"):
        io.write([1], tmp_path / "a.pos")
    with pytest.raises(MissingFileError, match="no such folder"):
        io.write(cloud, tmp_path / "none" / "a.pos")
    (tmp_path / "dir.pos").mkdir()
    with pytest.raises(ParameterError, match="folder"):
        io.write(cloud, tmp_path / "dir.pos")


def test_range_table_round_trip(tmp_path):
    (tmp_path / "a.rrng").write_text(RRNG)
    table = io.read_ranges(tmp_path / "a.rrng")
    assert io.write(table, tmp_path / "b.rrng") == ()
    assert io.read_ranges(tmp_path / "b.rrng").ranges == table.ranges


def use(path):
    """Read a file and everything in it; only our own errors may come out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            obj = io.read(path)
            if isinstance(obj, IonCloud):
                assert obj.xyz_nm.shape == (len(obj), 3)
                assert obj.mass_da.shape == (len(obj),)
                for name in obj.columns:
                    assert len(obj.read(name)) == len(obj)
                obj.check()
        except AptDefectError:
            return None
    return obj


FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(data=st.binary(max_size=400), suffix=st.sampled_from([*CLOUD_SUFFIXES, ".h5", ".bin", ".rrng", ".env", ".tif"]))
def test_random_bytes(tmp_path, data, suffix):
    (tmp_path / f"a{suffix}").write_bytes(data)
    use(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
@FUZZ
@given(cut=st.integers(0, 1 << 24))
def test_random_truncation(valid_files, tmp_path, suffix, cut):
    raw = valid_files[suffix]
    n = cut % len(raw)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw[:n])
    obj = use(path)
    if obj is not None:  # headerless files can be cut between two ions
        record = {".pos": 16, ".epos": 44, ".ato": 56}[suffix]
        assert len(obj) == n // record


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
@FUZZ
# Headers are short: many flips hit the first 700 bytes or the last 900.
@given(
    flips=st.lists(
        st.tuples(st.one_of(st.integers(0, 1 << 24), st.integers(-900, 700)), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    )
)
def test_random_flips(valid_files, tmp_path, suffix, flips):
    raw = bytearray(valid_files[suffix])
    for place, value in flips:
        raw[place % len(raw)] = value
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw)
    use(path)


def test_reading_leaves_the_file_alone(valid_files, tmp_path):
    for suffix, raw in valid_files.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(raw)
        path.chmod(0o444)
        use(path)
        assert path.read_bytes() == raw
    shutil.rmtree(tmp_path)
