from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_aptdefect.data.ranges import Ion, MassRange
from napari_aptdefect.errors import DataWarning, FormatError, MissingFileError
from napari_aptdefect.io.env import read_env

GOOD = """# Version Id
Rev_2.0
# Number of elements / Number of mass ranges
2 2
# List of Element and Color components ( Red / Green / Blue )
Mn\t0.0\t0.5\t1.0
MnO\t1.0\t0.0\t0.0
# Definition of  Mass ranges / Atomic volumes / Increment for concentration
Mn\t27.330\t27.950\t11.660\t1.000
MnO\t70.590\t72.810\t20.000\t1.000
# Flight length (m)
0.100500
"""


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_layout(tmp_path: Path) -> None:
    table = read_env(_write(tmp_path, GOOD))
    assert table.ions == (Ion("Mn", (("Mn", 1),), (0, 128, 255)), Ion("MnO", (("Mn", 1), ("O", 1)), (255, 0, 0)))
    assert table.ranges[0] == MassRange(27.33, 27.95, 0, pytest.approx(0.01166))
    assert table.metadata == {"version": "Rev_2.0", "Flight length (m)": 0.1005}
    assert table.issues == ()


def test_agrees_with_3depict(shared_data: Path) -> None:
    table = read_env(shared_data / "rangefiles_3depict" / "test1.env")
    assert (len(table.ions), len(table.ranges)) == (1, 1)
    assert table.ions[0] == Ion("HiggsBoson", (), (0, 0, 255))


def test_real_file(shared_data: Path) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob("**/ErMnO.env")
    with pytest.warns(DataWarning, match="2 x overlap"):
        table = read_env(path)
    assert (len(table.ions), len(table.ranges)) == (12, 26)
    assert table.ions[table.names.index("Hyd")].elements == (("H", 1),)
    assert table.ions[table.names.index("X23")].elements == ()
    assert table.metadata["Flight length (m)"] == 0.1005
    assert table.metadata["Efficiency of the detection system"] == 0.55
    assert Counter(issue.code for issue in table.issues) == {"hydrogen": 1, "overlap": 2}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("2 2", "3 2", "count"),
        ("2 2", "2 9", "count"),
        ("MnO\t70.590", "Xy\t70.590", "unlisted-ion"),
        ("MnO\t1.0", "Mn\t1.0", "duplicate-ion"),
        ("0.5\t1.0", "0.5\t9.0", "color"),
        ("20.000", "-2", "volume"),
        ("20.000\t1.000", "20.000\t2.000", "increment"),
        ("70.590", "70,590", "comma-decimal"),
    ],
)
def test_oddities_are_reported_and_reading_goes_on(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert old in GOOD
    with pytest.warns(DataWarning, match=code):
        table = read_env(_write(tmp_path, GOOD.replace(old, new)))
    assert len(table.ranges) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only comments\n",
        b"USER=me\nHOME=/\n",
        b"2 2\n",
        b"1 1\nMn x y z\n",
        GOOD.replace("27.330", "28.330").encode(),
        GOOD.replace("27.330", "nan").encode(),
        b"1 1\nhello world\n",
    ],
)
def test_what_is_no_env_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FormatError):
        read_env(_write(tmp_path, content))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_env(tmp_path / "none.env")


_pieces = st.sampled_from([*GOOD.replace("\n", " \n ").split(" "), "\n", "#", "1", "nan", "1e400", "é"])
_text = st.text(max_size=200) | st.lists(_pieces, max_size=60).map(" ".join)


@given(_text.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200))
@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_a_valid_table_or_a_format_error(tmp_path: Path, raw: bytes) -> None:
    path = _write(tmp_path, raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            table = read_env(path)
        except FormatError:
            return
    assert all(0 <= r.ion_idx < len(table.ions) for r in table.ranges)
