from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import DataWarning, FormatError, MissingFileError, ParameterError
from napari_aptdefect.io.rrng import read_rrng, write_rrng

GOOD = """[Ions]
Number=2
Ion1=Si
Ion2=O
[Ranges]
Number=2
Range1=13.9 14.1 Vol:0.02003 Si:1 Color:CCCCCC
Range2=43.9 44.1 Vol:0.04886 Si:1 O:1 Color:00CCFF
"""
IN_TMP = settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.rrng"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _read_odd(path: Path) -> RangeTable:
    """Read a file that is odd; check that this was told exactly once."""
    with pytest.warns(DataWarning, match="see the issues") as caught:
        table = read_rrng(path)
    assert len(caught) == 1
    return table


def _codes(table: RangeTable) -> Counter[str]:
    return Counter(issue.code for issue in table.issues)


@pytest.mark.parametrize(
    ("name", "n_ions", "n_ranges"),
    [("test1", 1, 1), ("test2", 3, 6), ("test3", 8, 42), ("test4", 14, 15), ("test5", 1, 1), ("test6", 2, 4)],
)
@pytest.mark.filterwarnings("ignore::napari_aptdefect.errors.DataWarning")
def test_agrees_with_3depict(shared_data: Path, name: str, n_ions: int, n_ranges: int) -> None:
    # the counts that 3Depict's own tests expect
    table = read_rrng(shared_data / "rangefiles_3depict" / f"{name}.rrng")
    assert (len(table.ions), len(table.ranges)) == (n_ions, n_ranges)


@pytest.mark.parametrize(
    ("pattern", "n_ranges", "codes"),
    [
        ("**/aus_sydney_theska*.rrng", 86, {"unknown-line": 1, "missing-section": 1, "malformed-entry": 8, "count": 1}),
        ("**/usa_portland*.rrng", 73, {"name-only": 7}),
        ("**/VAlN*.rrng", 1440, {"duplicate-range": 1392, "overlap": 17}),
        ("**/Ranges_R45*.rrng", 13, {}),
        ("**/TiAlN*.rrng", 54, {"duplicate-key": 1}),
        ("**/Mo_range.rrng", 46, {"comma-decimal": 1}),
        ("**/R18_58152*.RRNG", 14, {}),
        ("**/R31_06365*.rrng", 72, {}),
    ],
)
def test_real_files_load_and_tell_what_is_odd(
    shared_data: Path, pattern: str, n_ranges: int, codes: dict[str, int]
) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob(pattern)
    table = _read_odd(path) if codes else read_rrng(path)
    assert len(table.ranges) == n_ranges
    assert Counter(issue.code for issue in table.issues if issue.severity == "warning") == codes


def test_glued_elements_are_read_and_reported(shared_data: Path) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob("**/aus_sydney_theska*.rrng")
    table = _read_odd(path)
    moc = table.ions[table.names.index("MoC")]
    assert moc.elements == (("Mo", 1), ("C", 1))
    assert sum(r.ion_idx == table.names.index("MoC") for r in table.ranges) == 7
    assert 72 in [issue.line for issue in table.issues if issue.code == "malformed-entry"]


def test_commas_are_decimal_points(shared_data: Path) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob("**/Mo_range.rrng")
    first = _read_odd(path).ranges[0]
    assert (first.lo_da, first.hi_da, first.volume_nm3) == (22.8615, 23.0910, 0.01558)


def test_name_only_ranges_are_labels(shared_data: Path) -> None:
    (path,) = (shared_data / "rangefiles_ifes").glob("**/usa_portland*.rrng")
    table = _read_odd(path)
    assert table.ions[table.names.index("unknown60")].elements == ()


def test_si(si_dir: Path) -> None:
    table = read_rrng(si_dir / "Si.RRNG")
    assert table.names == ("Si", "Cr", "Cu", "C", "O", "CrO", "CrO2", "Cr2O")
    assert len(table.ranges) == 25
    assert table.issues == ()
    assert table.ions[-1] == Ion("Cr2O", (("Cr", 2), ("O", 1)), (0, 0, 255))
    assert table.ranges[0] == MassRange(13.8745, 14.2410, 0, 0.02003)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Range1=1 2 Si:1", (None, None)),
        ("Range1=1 2 Si:1 Color:FF0000", (None, (255, 0, 0))),
        ("Range1=1 2 Si:1 Vol:0.5", (0.5, None)),
        ("range1 = 1 2 vol:0.5 Si:1 COLOR:#ff0000", (0.5, (255, 0, 0))),
        ("Range1= 1\t2   Color:FF0000 Vol:0.5 Si:1", (0.5, (255, 0, 0))),
    ],
)
def test_optional_entries(tmp_path: Path, line: str, expected: tuple[object, object]) -> None:
    text = f"# made by hand\n\n[IONS]\nnumber = 1\nion1 = Si\n\n[ranges]\nNUMBER=1\n{line}   # a comment\n"
    table = read_rrng(_write(tmp_path, text.replace("\n", "\r\n")))
    assert (table.ranges[0].volume_nm3, table.ions[0].color) == expected
    assert (table.ranges[0].lo_da, table.ranges[0].hi_da) == (1, 2)
    assert table.ions[0].elements == (("Si", 1),)
    assert table.issues == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    table = read_rrng(_write(tmp_path, ("# für Ångström\n" + GOOD).encode(encoding)))
    assert len(table.ranges) == 2


def test_ions_that_only_ranges_name_are_added(tmp_path: Path) -> None:
    table = read_rrng(_write(tmp_path, GOOD.replace("O:1", "Ga:2 N:1")))
    assert table.names == ("Si", "SiGa2N")
    assert _codes(table) == {"unused-ion": 1, "unlisted-ion": 1}


def test_order_of_elements_makes_no_other_ion(tmp_path: Path) -> None:
    table = read_rrng(_write(tmp_path, GOOD.replace("13.9 14.1 Vol:0.02003 Si:1", "13.9 14.1 O:1 Si:1")))
    assert table.names == ("OSi",)
    assert {r.ion_idx for r in table.ranges} == {0}


def test_name_tells_ions_of_equal_elements_apart(tmp_path: Path) -> None:
    table = read_rrng(_write(tmp_path, GOOD.replace("Si:1 O:1", "Si:1 Name:oxide silicon")))
    assert table.names == ("Si", "oxide silicon")
    assert table.ions[1].elements == (("Si", 1),)


def test_one_name_for_two_ions_does_not_merge_them(tmp_path: Path) -> None:
    text = GOOD.replace("Si:1 Color", "Si:1 Name:X Color").replace("Si:1 O:1", "O:1 Name:X").replace("CCCCCC", "00CCFF")
    table = _read_odd(_write(tmp_path, text + "Range3=50 51 Ga:1 Name:X\nRange4=60 61 Name:X\n"))
    assert table.names == ("X", "X (2)", "X (3)")
    assert [r.ion_idx for r in table.ranges] == [0, 1, 2, 0]
    assert _codes(table)["name-conflict"] == 2


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("Number=2\nRange1", "Number=3\nRange1", "count", 6),
        ("Number=2\nIon1", "Number=x\nIon1", "count", 2),
        ("Range2=43.9", "Range1=43.9", "duplicate-key", 8),
        ("Ion2=O", "Ion2=Si", "duplicate-ion", 4),
        ("Range2=43.9", "Range2=14.05", "overlap", 8),
        ("43.9 44.1", "44 44", "zero-width", 8),
        ("CCCCCC", "grey", "color", 7),
        ("Vol:0.02003", "Vol:-1", "volume", 7),
        ("Vol:0.02003", "Vol:nan", "volume", 7),
        ("Si:1 O:1", "Si:1.5 O:1", "malformed-entry", 8),
        ("Si:1 O:1", "Si:0 O:1", "malformed-entry", 8),
        ("Si:1 O:1", "Si:1 O:1 what", "malformed-entry", 8),
        ("Si:1 O:1", "", "no-ion", 8),
        ("[Ranges]", "[Ranges]\nhello", "unknown-line", 6),
        ("[Ranges]", "[Colors]\nx=1\n[Ranges]", "unknown-section", 5),
        ("[Ions]\n", "", "missing-section", 1),
    ],
)
def test_oddities_are_reported_and_reading_goes_on(tmp_path: Path, old: str, new: str, code: str, line: int) -> None:
    assert old in GOOD
    table = _read_odd(_write(tmp_path, GOOD.replace(old, new, 1)))
    assert len(table.ranges) == 2
    assert (code, line) in [(issue.code, issue.line) for issue in table.issues]


def test_negative_masses_are_allowed_and_told(tmp_path: Path) -> None:
    table = read_rrng(_write(tmp_path, GOOD.replace("13.9", "-0.5")))
    assert table.ranges[0].lo_da == -0.5
    assert _codes(table)["negative-mass"] == 1


def test_volume_in_another_unit_is_told(shared_data: Path) -> None:
    table = read_rrng(shared_data / "rangefiles_3depict" / "test6.rrng")
    assert table.ranges[0].volume_nm3 == 12.11
    assert _codes(table) == {"volume-unit": 1}


@pytest.mark.parametrize("limits", ["14.1 13.9", "nan 14", "13 inf", "x 14", "13", "", "13.9 Si:1", "1e999 2"])
def test_broken_limits_are_refused_with_their_line(tmp_path: Path, limits: str) -> None:
    path = _write(tmp_path, GOOD.replace("13.9 14.1", limits))
    with pytest.raises(FormatError, match="line 7") as caught:
        read_rrng(path)
    assert caught.value.line == 7
    assert "Correct the limits" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"  \r\n", b"\0\1\2\3", b"hello", b"1 1\nA\nA 1 1 1\n----\n. 1 2 1\n", b"[x]"]
)
def test_what_is_no_rrng_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FormatError):
        read_rrng(_write(tmp_path, content))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="missing"):
        read_rrng(tmp_path / "none.rrng")
    with pytest.raises(MissingFileError, match="a folder"):
        read_rrng(tmp_path)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.rrng"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FormatError, match="less than 16 MiB"):
        read_rrng(path)


def test_a_file_without_ranges_is_read_and_told(tmp_path: Path) -> None:
    table = _read_odd(_write(tmp_path, "[Ions]\nNumber=1\nIon1=Si\n[Ranges]\nNumber=0\n"))
    assert table.ranges == ()
    assert "no-range" in _codes(table)


# --- writing ---------------------------------------------------------------------------------------------------------

_limits = st.floats(-1e3, 1e12, allow_nan=False)
_ions = st.sampled_from(
    [
        Ion("Si", (("Si", 1),), (1, 2, 3)),
        Ion("GaN", (("Ga", 1), ("N", 1))),
        Ion("N2", (("N", 2),), (0, 0, 0)),
        Ion("N", (("N", 1),)),
        Ion("peak 34.50"),
        Ion("silicon", (("Si", 1),), (255, 255, 255)),
        Ion("A", (("A", 1),)),
        Ion("Cr2O", (("Cr", 2), ("O", 1))),
        Ion("unknown"),
    ]
)


@st.composite
def _tables(draw: st.DrawFn) -> RangeTable:
    ions = draw(st.lists(_ions, min_size=1, max_size=6, unique_by=lambda ion: ion.name))
    ranges = []
    for idx in [*range(len(ions)), *draw(st.lists(st.integers(0, len(ions) - 1), max_size=5))]:
        lo, hi = sorted((draw(_limits), draw(_limits)))
        ranges.append(MassRange(lo, hi, idx, draw(st.none() | st.floats(0, 1e3))))
    return RangeTable(tuple(ions), tuple(ranges))


@given(_tables())
@IN_TMP
@pytest.mark.filterwarnings("ignore::napari_aptdefect.errors.DataWarning")
def test_round_trip_is_exact(tmp_path: Path, table: RangeTable) -> None:
    path = tmp_path / "out.rrng"
    write_rrng(table, path)
    again = read_rrng(path)
    assert again.ions == table.ions
    assert again.ranges == table.ranges


@pytest.mark.filterwarnings("ignore::napari_aptdefect.errors.DataWarning")
def test_round_trip_of_real_files(shared_data: Path, tmp_path: Path) -> None:
    paths = [p for p in (shared_data / "rangefiles_ifes").glob("**/*") if p.suffix.lower() == ".rrng"]
    assert len(paths) == 8
    for path in paths:
        table = read_rrng(path)
        write_rrng(table, tmp_path / "out.rrng")
        again = read_rrng(tmp_path / "out.rrng")
        assert (again.ions, again.ranges) == (table.ions, table.ranges)


def test_ions_without_range_are_written_to_the_list(tmp_path: Path) -> None:
    table = RangeTable((Ion("H", (("H", 1),)), Ion("Si", (("Si", 1),))), (MassRange(1, 2, 1),))
    write_rrng(table, tmp_path / "out.rrng")
    again = read_rrng(tmp_path / "out.rrng")
    assert again.names == ("Si",)
    assert "ion H is listed" in str(again.issues[0])


@pytest.mark.parametrize("name", ["x b:c", "a\nRange9=1 2 H:1", "x #y", "", "CrO", " pad", "a  b", "\ud800"])
def test_names_that_the_format_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    table = RangeTable((Ion(name),), (MassRange(1, 2, 0),))
    with pytest.raises(ParameterError, match="can't hold"):
        write_rrng(table, tmp_path / "out.rrng")
    assert list(tmp_path.iterdir()) == []


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.rrng"
    table = RangeTable((Ion("Si", (("Si", 1),)),), (MassRange(1, 2, 0),))
    write_rrng(table, path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_rrng(RangeTable(table.ions, (MassRange(3, 4, 0),)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.rrng"]


def test_writing_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        write_rrng(RangeTable((Ion("Si"),), (MassRange(1, 2, 0),)), tmp_path / "no" / "out.rrng")


# --- fuzzing ---------------------------------------------------------------------------------------------------------

_pieces = st.sampled_from(
    [
        *GOOD.replace("\n", " \n ").split(" "),
        "\n",
        "#",
        ":",
        "=",
        "[",
        "Name:",
        "1,5",
        "nan",
        "1e400",
        "Si:1O:2",
        "é",
        "-1",
    ]
)
_text = (
    st.text(max_size=200) | st.lists(_pieces, max_size=60).map(" ".join) | st.lists(_pieces, max_size=60).map("".join)
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    raw = bytearray(GOOD.encode())
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(raw)))
        raw[place : place + draw(st.integers(0, 5))] = draw(st.binary(max_size=4))
    return bytes(raw)


@given(_text.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200) | _mutated())
@IN_TMP
def test_any_bytes_give_a_valid_table_or_a_format_error(tmp_path: Path, raw: bytes) -> None:
    path = _write(tmp_path, raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            table = read_rrng(path)
        except FormatError:
            return
    assert isinstance(table, RangeTable)
    assert len(set(table.names)) == len(table.names)
    assert all(0 <= r.ion_idx < len(table.ions) and r.lo_da <= r.hi_da for r in table.ranges)
