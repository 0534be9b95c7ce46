"""The .rrng range file of IVAS and AP Suite: a small INI-like text.

Layout (D.J. Larson et al. 2013, appendix A, doi 10.1007/978-1-4614-8721-0, and what real files hold)::

    [Ions]
    Number=2
    Ion1=Si
    Ion2=O
    [Ranges]
    Number=1
    Range1=43.9000 44.1000 Vol:0.04886 Si:1 O:1 Name:SiO Color:CCCCCC

``[Ions]`` lists what ions are made of; the ions are those that ranges name. Vol (nm³), Name, Color and the order of
the entries are optional, ``#`` starts a comment, upper and lower case of keywords does not matter.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from napari_aptdefect.data.elements import (
    MAX_ATOMS,
    Elements,
    elements_of_name,
    format_formula,
    is_element,
    merge_elements,
    parse_formula,
)
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import FormatError, Issue, MissingFileError, ParameterError
from napari_aptdefect.io._text import (
    CommaCounter,
    IonCollector,
    build_table,
    limit_issues,
    parse_limits,
    parse_number,
    read_lines,
    split_lines,
    write_text_atomically,
)

_SECTION: Final = re.compile(r"\[\s*([^\]]*?)\s*\]")
_ENTRY: Final = re.compile(r"(number|ion\s*[0-9]+|range\s*[0-9]+)\s*=\s*(.*)", re.IGNORECASE)
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")
_GLUED: Final = re.compile(r"(?:[A-Za-z]+:[0-9]+){2,}")
_COLOR: Final = re.compile(r"#?([0-9A-Fa-f]{6})")
# An atom takes 0.01 nm³ or so; a larger number is a volume in Å³ (files of other programs hold such).
_LARGEST_VOLUME_NM3: Final = 2.0


def read_rrng(path: Path | str) -> RangeTable:
    """Read a .rrng range file.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The ions that ranges name (those of ``[Ions]`` first) and all ranges, in the order of the file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If the file is no .rrng file, or a range lacks two finite limits in order.

    Warns
    -----
    DataWarning
        Once, if anything is odd; each oddity is among the issues of the table.
    """
    file = Path(path)
    parsed = _parse(file, read_lines(file, ".rrng"))
    ions, ranges = _ranged_only(parsed)
    return build_table(file, ions, ranges, parsed.lines, parsed.issues + parsed.ions.issues)


def write_rrng(table: RangeTable, path: Path | str) -> None:
    """Write a range table as a .rrng file; reading it back gives the same ranged ions and the same ranges.

    Parameters
    ----------
    table
        Ions and ranges. Ions without a range are listed in ``[Ions]``, where a reader reports them.
    path
        File to write; an existing one is replaced when the new one is complete.

    Raises
    ------
    ParameterError
        If the name of an ion can't be written in this format (it holds ``:``, ``#`` or a line end, for example).
    MissingFileError
        If the folder does not exist.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise MissingFileError(f"folder {file.parent} does not exist; create it before writing {file.name}")
    used = sorted({item.ion_idx for item in table.ranges})
    expected = ([table.ions[idx] for idx in used], [_moved(r, used.index(r.ion_idx)) for r in table.ranges])
    for names in (_constituents(table), [ion.name for ion in table.ions]):
        text = _render(table, names)
        if _reads_back(file, text, expected):
            write_text_atomically(file, text)
            return
    raise ParameterError(
        f"the .rrng format can't hold these ions exactly: {', '.join(repr(ion.name) for ion in table.ions)[:300]}; "
        "use names without ':', '#', '[' and line ends, and formulas of chemical elements"
    )


@dataclass
class _Parsed:
    ions: IonCollector = field(default_factory=IonCollector)
    ranges: list[MassRange] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    constituents: set[str] = field(default_factory=set)
    sections: list[str] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    molecules: dict[tuple[tuple[str, int], ...], str] = field(default_factory=dict)
    n_entries: dict[str, int] = field(default_factory=lambda: {"ions": 0, "ranges": 0})
    commas: CommaCounter = field(default_factory=CommaCounter)

    def report(self, code: str, message: str, line: int) -> None:
        self.issues.append(Issue(code, message, line=line))


def _parse(path: Path, lines: list[str]) -> _Parsed:
    parsed = _Parsed()
    numbers: list[tuple[str, str, int]] = []
    section = ""
    for line, raw in enumerate(lines, start=1):
        text = _COMMENT.sub("", raw).strip()
        if not text:
            continue
        if header := _SECTION.fullmatch(text):
            section = header[1].lower()
            if section not in ("ions", "ranges"):
                parsed.report("unknown-section", f"section {text} is not known; its lines are left out", line)
            elif section in parsed.sections:
                parsed.report("repeated-section", f"section {text} occurs again", line)
            parsed.sections.append(section)
        elif section not in ("", "ions", "ranges"):
            continue
        elif entry := _ENTRY.fullmatch(text):
            key = re.sub(r"\s+", "", entry[1].lower())
            if key == "number":
                numbers.append((section, entry[2].strip(), line))
            else:
                _read_entry(path, parsed, key, entry[2].strip(), line)
        else:
            parsed.report("unknown-line", f"not understood and left out: {text[:60]!r}", line)
    _check_whole(path, parsed, numbers)
    return parsed


def _read_entry(path: Path, parsed: _Parsed, key: str, value: str, line: int) -> None:
    kind = "ions" if key.startswith("ion") else "ranges"
    parsed.n_entries[kind] += 1
    if key in parsed.keys:
        message = f"{key.capitalize()} occurs again (first on line {parsed.keys[key]}); both are kept"
        parsed.report("duplicate-key", message, line)
    parsed.keys.setdefault(key, line)
    if kind == "ranges":
        _read_range(path, parsed, key, value, line)
    elif not value:
        parsed.report("malformed-ion", f"{key.capitalize()} has no name", line)
    elif value in parsed.listed:
        parsed.report("duplicate-ion", f"ion {value} is listed again (first on line {parsed.listed[value]})", line)
    else:
        parsed.listed[value] = line
        parsed.ions.add(value, None, None, line)


def _read_range(path: Path, parsed: _Parsed, key: str, value: str, line: int) -> None:
    tokens = value.split()
    lo, hi = parse_limits(path, line, tokens)
    parsed.commas.see(tokens[:2], line)
    parsed.issues += limit_issues(lo, hi, line)
    volume: float | None = None
    color: tuple[int, int, int] | None = None
    name: list[str] = []
    pairs: list[tuple[str, int]] = []
    in_name = False
    for token in tokens[2:]:
        word, colon, rest = token.partition(":")
        keyword = word.lower()
        if not colon and in_name:
            name.append(token)
            continue
        in_name = colon != "" and keyword == "name"
        if in_name:
            name = [rest] if rest else []
        elif colon and keyword == "vol":
            parsed.commas.see([rest], line)
            volume = _volume(parsed, rest, line)
        elif colon and keyword in ("color", "colour"):
            color = _color(parsed, rest, line)
        else:
            pairs += _element(parsed, token, line)
    elements = merge_elements(pairs)
    parsed.constituents.update(symbol for symbol, _ in elements)
    idx = _ion_of_range(parsed, " ".join(name), elements, color, f"range {lo:g} to {hi:g} Da", line)
    parsed.ranges.append(MassRange(lo, hi, idx, volume))
    parsed.lines.append(line)


def _ion_of_range(
    parsed: _Parsed, name: str, elements: Elements, color: tuple[int, int, int] | None, where: str, line: int
) -> int:
    if elements:
        # Ti:1 O:1 is the ion that another range calls O:1 Ti:1
        formula = parsed.molecules.setdefault(tuple(sorted(elements)), format_formula(elements))
        return parsed.ions.add(name or formula, elements, color, line)
    if name:
        known = parsed.ions.named(name)
        guess = elements_of_name(name) if known is None else known.elements
        message = f"the {where} has only the name {name!r}"
        message += f", read as {format_formula(guess)}" if guess else ", a label without elements"
        parsed.report("name-only", message, line)
        return parsed.ions.add(name, guess, color, line)
    parsed.report("no-ion", f"the {where} names no ion; it is kept under the name 'unassigned'", line)
    return parsed.ions.add("unassigned", (), color, line)


def _element(parsed: _Parsed, token: str, line: int) -> list[tuple[str, int]]:
    if _GLUED.fullmatch(token):
        pairs = [(symbol, int(count[:5])) for symbol, count in re.findall(r"([A-Za-z]+):([0-9]+)", token)]
        if all(0 < count <= MAX_ATOMS for _, count in pairs):
            text = " ".join(f"{symbol}:{count}" for symbol, count in pairs)
            parsed.report("malformed-entry", f"{token[:60]!r} lacks a space and was read as {text}", line)
            return pairs
    symbol, _, rest = token.partition(":")
    count = parse_number(rest)
    if not symbol or count is None or not 0 < count <= MAX_ATOMS or count != int(count):
        parsed.report("malformed-entry", f"{token[:60]!r} is no element with a whole count and is left out", line)
        return []
    molecule = () if is_element(symbol) else parse_formula(symbol)
    if molecule:
        return [(part, many * int(count)) for part, many in molecule]
    return [(symbol, int(count))]


def _volume(parsed: _Parsed, text: str, line: int) -> float | None:
    value = parse_number(text)
    if value is None or not math.isfinite(value) or value < 0:
        parsed.report("volume", f"volume {text[:40]!r} is no positive number and is left out", line)
        return None
    if value > _LARGEST_VOLUME_NM3:
        message = f"a volume of {value:g} nm³ is too large for an ion; the file may mean Å³. It is kept as written"
        parsed.ions.report_once("volume-unit", message, line)
    return value


def _color(parsed: _Parsed, text: str, line: int) -> tuple[int, int, int] | None:
    match = _COLOR.fullmatch(text)
    if match is None:
        parsed.report("color", f"color {text[:40]!r} is not of the form RRGGBB and is left out", line)
        return None
    red, green, blue = bytes.fromhex(match[1])
    return red, green, blue


def _check_whole(path: Path, parsed: _Parsed, numbers: list[tuple[str, str, int]]) -> None:
    known = [section for section in parsed.sections if section in ("ions", "ranges")]
    if not known and not parsed.ranges:
        raise FormatError(
            path,
            expected="the sections [Ions] and [Ranges] of a .rrng file",
            found="neither of them",
            hint="Choose a .rrng file, or read .rng and .env files with their own readers.",
        )
    for section in ("ions", "ranges"):
        if section not in known:
            parsed.report("missing-section", f"there is no section [{section.capitalize()}]", 1)
    for section, text, line in numbers:
        found = parsed.n_entries.get(section or "ions", 0)
        if parse_number(text) != found:
            message = f"Number={text[:20]} in section [{section.capitalize()}], but there are {found} entries"
            parsed.report("count", message, line)
    parsed.issues += parsed.commas.issues()


def _ranged_only(parsed: _Parsed) -> tuple[list[Ion], list[MassRange]]:
    """Leave out the listed ions that no range names, as 3Depict does; report those that are no constituent either."""
    used = sorted({item.ion_idx for item in parsed.ranges})
    place = {old: new for new, old in enumerate(used)}
    for idx, ion in enumerate(parsed.ions.ions):
        if idx not in place and ion.name not in parsed.constituents:
            line = parsed.listed.get(ion.name)
            parsed.issues.append(Issue("unused-ion", f"ion {ion.name} is listed but no range names it", "info", line))
    if parsed.listed:
        unlisted = sorted(parsed.constituents - parsed.listed.keys())
        if unlisted:
            message = f"ranges name {', '.join(unlisted)}, which [Ions] does not list; added"
            parsed.issues.append(Issue("unlisted-ion", message, "info"))
    return [parsed.ions.ions[idx] for idx in used], [_moved(r, place[r.ion_idx]) for r in parsed.ranges]


def _moved(item: MassRange, ion_idx: int) -> MassRange:
    return MassRange(item.lo_da, item.hi_da, ion_idx, item.volume_nm3)


def _constituents(table: RangeTable) -> list[str]:
    """What [Ions] lists in files of AP Suite: single elements and labels, in the order of the table."""
    names: dict[str, None] = {}
    for ion in table.ions:
        if not ion.elements or (ion.n_atoms == 1 and ion.name == format_formula(ion.elements)):
            names[ion.name] = None
    for ion in table.ions:
        names.update(dict.fromkeys(symbol for symbol, _ in ion.elements))
    return list(names)


def _render(table: RangeTable, names: list[str]) -> str:
    listed = dict.fromkeys(names)
    for ion in table.ions:
        listed.update(dict.fromkeys(symbol for symbol, _ in ion.elements))
    lines = ["[Ions]", f"Number={len(listed)}"]
    lines += [f"Ion{number}={name}" for number, name in enumerate(listed, start=1)]
    lines += ["[Ranges]", f"Number={len(table.ranges)}"]
    for number, item in enumerate(table.ranges, start=1):
        ion = table.ions[item.ion_idx]
        parts = [f"Range{number}={float(item.lo_da)!r} {float(item.hi_da)!r}"]
        if item.volume_nm3 is not None:
            parts.append(f"Vol:{float(item.volume_nm3)!r}")
        parts += [f"{symbol}:{count}" for symbol, count in ion.elements]
        if ion.name != format_formula(ion.elements):
            parts.append(f"Name:{ion.name}")
        if ion.color is not None:
            parts.append("Color:" + bytes(ion.color).hex().upper())
        lines.append(" ".join(parts))
    return "\r\n".join(lines) + "\r\n"


def _reads_back(path: Path, text: str, expected: tuple[list[Ion], list[MassRange]]) -> bool:
    if not expected[1]:
        return True
    try:
        return _ranged_only(_parse(path, split_lines(text.encode().decode()))) == expected
    except (FormatError, ParameterError, UnicodeError):
        return False
