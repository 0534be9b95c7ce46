from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_aptdefect.data.ranges import Ion, RangeTable
from napari_aptdefect.errors import DataWarning, FormatError, MissingFileError
from napari_aptdefect.io.rng import read_rng
from napari_aptdefect.io.rrng import read_rrng

GOOD = """2 3
Aluminum
Al 0.20 1.00 1.00 (extra)
Hydrogen
H 0.80 0.80 0.00
----------------- Al H
. 13.3276 13.8690  1 0
. 26.8486 28.5130  1 0
. 13.9510 14.1010  1 1

--- polyatomic extension
1 1
AlH
AlH 1.00 0.00 0.00
----------------- AlH
. 13.9510 14.1010   1
"""


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.rng"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _codes(table: RangeTable) -> Counter[str]:
    return Counter(issue.code for issue in table.issues)


@pytest.mark.parametrize(
    ("number", "counts"),
    list(
        enumerate(
            [(10, 6), (7, 9), (19, 59), None, (4, 2), None, (2, 2), (2, 2), (3, 3), (3, 3), (5, 10), (5, 10)], start=1
        )
    ),
)
def test_agrees_with_3depict(shared_data: Path, number: int, counts: tuple[int, int] | None) -> None:
    # the counts that 3Depict's own tests expect; None where they expect a failure
    path = shared_data / "rangefiles_3depict" / f"test{number}.rng"
    if counts is None:
        with pytest.raises(FormatError):
            read_rng(path)
        return
    table = read_rng(path)
    assert (len(table.ions), len(table.ranges)) == counts


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("87D_1.rng", (32, 92)),
        ("R18_53705-v03.rng", (1, 2)),
        ("R18_55377-v02.rng", (4, 8)),
        ("R18_59377.rng", (11, 39)),
        ("R18_59377_new.rng", (12, 45)),
        ("R18_60310-v02.rng", (1, 3)),
        ("SeHoKim_R5076_44076_v02.rng", (39, 138)),
        ("all02.rng", (1, 1)),
        ("range_file_RNG.RNG", (11, 18)),
    ],
)
def test_real_files_load(shared_data: Path, name: str, counts: tuple[int, int]) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob(f"**/{name}")
    table = read_rng(path)
    assert (len(table.ions), len(table.ranges)) == counts


def test_si_agrees_with_its_rrng(si_dir: Path) -> None:
    rng, rrng = read_rng(si_dir / "Si.RNG"), read_rrng(si_dir / "Si.RRNG")

    def facts(table: RangeTable) -> set[tuple[float, float, Ion]]:
        # the two exports differ in their colors
        return {
            (r.lo_da, r.hi_da, Ion(table.ions[r.ion_idx].name, table.ions[r.ion_idx].elements)) for r in table.ranges
        }

    assert facts(rng) == facts(rrng)


def test_extension_names_and_colors_the_molecular_ion(tmp_path: Path) -> None:
    table = read_rng(_write(tmp_path, GOOD.replace("\n", "\r\n")))
    assert table.names == ("Al", "H", "AlH")
    assert table.ions[2] == Ion("AlH", (("Al", 1), ("H", 1)), (255, 0, 0))
    assert [r.ion_idx for r in table.ranges] == [0, 0, 2]
    assert table.issues == ()
    assert table.metadata == {"long_names": {"Al": "Aluminum", "H": "Hydrogen"}}


def test_without_extension_the_molecular_ion_is_derived(tmp_path: Path) -> None:
    table = read_rng(_write(tmp_path, GOOD.split("--- poly")[0]))
    assert table.names == ("Al", "H", "AlH")
    assert table.ions[2] == Ion("AlH", (("Al", 1), ("H", 1)), None)
    assert _codes(table) == {"derived-ion": 1}


def test_composed_columns(shared_data: Path) -> None:
    table = read_rng(shared_data / "rangefiles_3depict" / "test5.rng")
    assert [table.names[r.ion_idx] for r in table.ranges] == ["Cd2", "AbCd2"]
    assert table.ions[3].elements == (("Ab", 1), ("Cd", 2))


def test_a_marker_need_not_be_a_dot(shared_data: Path) -> None:
    table = read_rng(shared_data / "rangefiles_3depict" / "test8.rng")
    assert [(r.lo_da, r.hi_da) for r in table.ranges] == [(-0.5, 0.5), (1.5, 2.4)]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("2 3\n", "5 3\n", "count"),
        ("2 3\n", "2 4\n", "count"),
        ("13.3276", "13,3276", "comma-decimal"),
        ("26.8486 28.5130", "26.8486 26.8486", "zero-width"),
        ("13.8690", "13.9600", "overlap"),
        (". 26.8486 28.5130", ". 13.3276 13.8690", "duplicate-range"),
        ("28.5130  1 0", "28.5130  0 0", "no-ion"),
        ("0.20 1.00 1.00", "0.20 1.00 7", "color"),
        ("H 0.80", "Al 0.80", "duplicate-ion"),
        ("13.9510 14.1010   1", "13.9510 14.1011   1", "polyatomic"),
        ("AlH 1.00", "SiH 1.00", "polyatomic"),
        ("14.1010   1\n", "14.1010   1\nwhat is this\n", "unknown-line"),
    ],
)
def test_oddities_are_reported_and_reading_goes_on(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert old in GOOD
    with pytest.warns(DataWarning, match=code) as caught:
        table = read_rng(_write(tmp_path, GOOD.replace(old, new, 1)))
    assert len(caught) == 1
    assert _codes(table)[code] >= 1
    assert len(table.ranges) >= 2


def test_headings_in_another_order_are_told(tmp_path: Path) -> None:
    table = read_rng(_write(tmp_path, GOOD.replace("- Al H", "- H Al")))
    assert _codes(table) == {"header": 1}


def test_more_rows_than_declared_are_kept(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="count"):
        table = read_rng(_write(tmp_path, GOOD.replace("2 3\n", "2 2\n")))
    assert len(table.ranges) == 3


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("13.3276 13.8690", "13.8690 13.3276", 7),
        ("13.3276 13.8690", "nan 13.3276", 7),
        ("13.3276 13.8690  1 0", "13.3276 13.8690  1", 7),
        ("13.3276 13.8690  1 0", "13.3276 13.8690  1 x", 7),
        ("13.3276 13.8690  1 0", "13.3276 13.8690  1 -1", 7),
        ("0.20 1.00 1.00 (extra)", "0.20 1.00", 3),
        ("Hydrogen\n", "", 4),
        ("2 3\n", "hello\n", 1),
        ("13.9510 14.1010  1 1", "27.0 28.0  0 1", 9),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path: Path, old: str, new: str, line: int) -> None:
    assert old in GOOD
    with pytest.raises(FormatError) as caught:
        read_rng(_write(tmp_path, GOOD.replace(old, new, 1)))
    assert caught.value.line == line


@pytest.mark.parametrize("content", [b"", b"\0\0", b"1 1\nA\nA 1 1 1\n", b"[Ions]\nNumber=1\n", b"1 1\n-----\n. 1 2 1"])
def test_what_is_no_rng_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FormatError):
        read_rng(_write(tmp_path, content))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_rng(tmp_path / "none.rng")


_pieces = st.sampled_from([*GOOD.replace("\n", " \n ").split(" "), "\n", "-", "--", "1", "0", "nan", "9999999", "é"])
_text = st.text(max_size=200) | st.lists(_pieces, max_size=80).map(" ".join)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    raw = bytearray(GOOD.encode())
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(raw)))
        raw[place : place + draw(st.integers(0, 5))] = draw(
            st.sampled_from([b"", b"0", b"1", b" ", b"\n", b"-", b"--", b"."])
        )
    return bytes(raw)


@given(_text.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200) | _mutated())
@settings(
    derandomize=True, max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_a_valid_table_or_a_format_error(tmp_path: Path, raw: bytes) -> None:
    path = _write(tmp_path, raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            table = read_rng(path)
        except FormatError:
            return
    assert len(set(table.names)) == len(table.names)
    assert all(0 <= r.ion_idx < len(table.ions) for r in table.ranges)
