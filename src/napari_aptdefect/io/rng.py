r"""The .rng range file of Oak Ridge: a table of ranges against ions, and IVAS's extension of it for molecules.

Layout (M.K. Miller, *Atom Probe Tomography*, 2000, and what real files hold)::

    2 3                           number of ions, number of ranges
    Aluminum                      name of the first ion
    Al 0.2 1.0 1.0                its short name and color (red, green, blue, 0 to 1)
    Hydrogen
    H 0.8 0.8 0.0
    ----------------- Al H        columns of the table (names are a comment and may be absent)
    . 13.3276 13.8690  1 0        range: marker (may be absent), limits, how many of each ion
    . 26.8486 28.5130  1 0
    . 13.9510 14.1010  1 1

    --- polyatomic extension      the same layout again for molecular ions: their ranges repeat ranges above
    1 1
    AlH
    AlH 1.0 0.0 0.0
    ----------------- AlH
    . 13.9510 14.1010   1
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from napari_aptdefect.data.elements import (
    MAX_ATOMS,
    Elements,
    elements_of_name,
    format_formula,
    merge_elements,
    parse_formula,
)
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import FormatError, Issue
from napari_aptdefect.io._text import (
    CommaCounter,
    IonCollector,
    build_table,
    limit_issues,
    parse_limits,
    parse_number,
    read_lines,
)

_DASHES: Final = re.compile(r"-{2,}")
_SPACE: Final = re.compile(r"[ \t\f\v\u00a0]+")


def read_rng(path: Path | str) -> RangeTable:
    """Read a .rng range file, with or without the polyatomic extension.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The ions of the table, in order, those without a range included, then molecular ions; and all ranges. Full names
    that differ from the short ones are in ``metadata["long_names"]``.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If the file does not have the layout; if a range lacks two finite limits in order or lies wholly inside
        another one; if a range holds several ions, the file names ions that no range uses, and none of these is
        what the range holds.

    Warns
    -----
    DataWarning
        Once, if anything is odd; each oddity is among the issues of the table.

    Notes
    -----
    A range that holds several ions is a molecular ion. It is the ion of the polyatomic extension with the same
    limits; or else the otherwise unused ion whose name is its formula; or else, when every ion is used, a new ion.
    These are the rules of 3Depict, so files that its tests refuse are refused here.
    """
    file = Path(path)
    lines = read_lines(file, ".rng")
    commas = CommaCounter()
    block, end = _read_block(file, lines, 0, commas)
    extension, issues = _Block(), list(block.issues)
    start = next((n for n in range(end, len(lines)) if _DASHES.match(lines[n].strip())), None)
    if start is not None:
        extension, end = _read_block(file, lines, start + 1, commas)
        issues += extension.issues
    issues += _leftover(lines, end)
    _refuse_nested(file, block)
    collector = IonCollector()
    idx, derived = _resolve(file, block, extension, collector, has_extension=start is not None)
    ranges = [MassRange(row.lo, row.hi, i) for row, i in zip(block.rows, idx, strict=True) if i is not None]
    numbers: list[int | None] = [row.line for row, i in zip(block.rows, idx, strict=True) if i is not None]
    _add_unmatched(block, extension, collector, ranges, numbers)
    long_names = {**extension.long_names, **block.long_names}
    metadata: dict[str, object] = {"long_names": long_names} if long_names else {}
    issues += derived + collector.issues + commas.issues()
    return build_table(file, collector.ions, ranges, numbers, issues, metadata)


@dataclass(frozen=True, slots=True)
class _Row:
    lo: float
    hi: float
    counts: tuple[int, ...]
    line: int


@dataclass
class _Block:
    ions: list[Ion] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    long_names: dict[str, str] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


def _tokens(line: str) -> list[str]:
    return [token for token in _SPACE.split(line.strip()) if token]


def _read_block(path: Path, lines: list[str], start: int, commas: CommaCounter) -> tuple[_Block, int]:
    """Read one table; return it and the index of the line after it."""
    filled = [n for n in range(start, len(lines)) if lines[n].strip()]
    head = _tokens(lines[filled[0]]) if filled else []
    if len(head) != 2 or not all(token.isascii() and token.isdigit() and len(token) < 7 for token in head):
        raise FormatError(
            path,
            line=(filled[0] if filled else start) + 1,
            expected="the numbers of ions and ranges",
            found=repr(lines[filled[0]][:60]) if filled else "the end of the file",
            hint="Choose a .rng file; .rrng and .env files have their own readers.",
        )
    bar = next((place for place, n in enumerate(filled) if place and _DASHES.match(lines[n].strip())), None)
    if bar is None:
        raise FormatError(
            path, line=filled[0] + 1, expected="a line of dashes between ions and ranges", found="none until the end"
        )
    block = _Block()
    _read_ions(path, lines, filled[1:bar], block)
    if int(head[0]) != len(block.ions):
        message = f"the file declares {head[0]} ions and lists {len(block.ions)}"
        block.issues.append(Issue("count", message, line=filled[0] + 1))
    _check_header(lines[filled[bar]], filled[bar] + 1, block)
    end = filled[bar] + 1
    for n in filled[bar + 1 :]:
        if _DASHES.match(lines[n].strip()):
            break
        if len(block.rows) >= int(head[1]) and not _looks_like_row(lines[n], len(block.ions)):
            break
        block.rows.append(_read_row(path, lines[n], n + 1, block, commas))
        end = n + 1
    if int(head[1]) != len(block.rows):
        message = f"the file declares {head[1]} ranges and lists {len(block.rows)}"
        block.issues.append(Issue("count", message, line=filled[0] + 1))
    return block, end


def _read_ions(path: Path, lines: list[str], where: list[int], block: _Block) -> None:
    if not where or len(where) % 2:
        raise FormatError(
            path,
            line=(where[-1] if where else 0) + 1,
            expected="two lines for each ion: its name, then its short name and color",
            found=f"{len(where)} lines before the line of dashes",
        )
    taken: set[str] = set()
    for first, second in zip(where[::2], where[1::2], strict=True):
        tokens = _tokens(lines[second])
        color = [parse_number(token) for token in tokens[1:4]]
        if len(tokens) < 4 or any(value is None for value in color):
            raise FormatError(
                path,
                line=second + 1,
                expected="a short name and three numbers for red, green and blue",
                found=repr(lines[second].strip()[:60]),
            )
        name = tokens[0]
        if name in taken:
            long_name = lines[first].strip()[:200]
            unique = long_name or name
            number = 2
            while unique in taken:
                unique = f"{name} ({number})"
                number += 1
            message = f"two ions have the short name {name}; this one is now {unique}"
            block.issues.append(Issue("duplicate-ion", message, line=second + 1))
            name = unique
        taken.add(name)
        block.ions.append(Ion(name, elements_of_name(tokens[0]), _color(color, name, second + 1, block)))
        block.lines.append(second + 1)
        if lines[first].strip() != name:
            block.long_names[name] = lines[first].strip()


def _color(values: list[float | None], name: str, line: int, block: _Block) -> tuple[int, int, int] | None:
    red, green, blue = (round(255 * v) if v is not None and 0 <= v <= 1 else -1 for v in values)
    if min(red, green, blue) < 0:
        block.issues.append(Issue("color", f"the color of {name} is not within 0 to 1 and is left out", line=line))
        return None
    return red, green, blue


def _check_header(text: str, line: int, block: _Block) -> None:
    header = _tokens(text.strip().lstrip("-"))
    names = [ion.name for ion in block.ions]
    if header and header != names:
        message = f"the table is headed {' '.join(header)[:80]}, the ions are {' '.join(names)[:80]}; the order of the "
        block.issues.append(Issue("header", message + "ions is used", "info", line))


def _looks_like_row(text: str, n_ions: int) -> bool:
    tokens = _tokens(text)
    return len(tokens) in (n_ions + 2, n_ions + 3) and all(parse_number(token) is not None for token in tokens[1:])


def _read_row(path: Path, text: str, line: int, block: _Block, commas: CommaCounter) -> _Row:
    tokens = _tokens(text)
    n_ions = len(block.ions)
    if len(tokens) == n_ions + 3:
        tokens = tokens[1:]
    if len(tokens) != n_ions + 2:
        raise FormatError(
            path,
            line=line,
            expected=f"two limits and {n_ions} counts, one per ion",
            found=f"{len(tokens)} entries",
            hint="Correct the row, or the list of ions above the table.",
        )
    lo, hi = parse_limits(path, line, tokens)
    commas.see(tokens[:2], line)
    block.issues += limit_issues(lo, hi, line)
    counts = [parse_number(token) for token in tokens[2:]]
    if any(value is None or not 0 <= value <= MAX_ATOMS or value != int(value) for value in counts):
        raise FormatError(
            path,
            line=line,
            expected="whole counts from 0 on",
            found=repr(" ".join(tokens[2:])[:80]),
            hint="Correct the row.",
        )
    return _Row(lo, hi, tuple(int(value) for value in counts if value is not None), line)


def _leftover(lines: list[str], end: int) -> list[Issue]:
    for n in range(end, len(lines)):
        text = lines[n].strip()
        if _DASHES.match(text):
            return []
        if text:
            return [
                Issue("unknown-line", f"not understood and left out, as all that follows: {text[:60]!r}", line=n + 1)
            ]
    return []


def _refuse_nested(path: Path, block: _Block) -> None:
    """A range wholly inside another one is a mistyped limit: 3Depict refuses such tables as inconsistent, too."""
    farthest: _Row | None = None
    for row in sorted(block.rows, key=lambda r: (r.lo, -r.hi)):
        if farthest is not None and farthest.lo < row.lo and row.hi < farthest.hi:
            raise FormatError(
                path,
                line=max(row.line, farthest.line),
                expected="ranges of which none lies wholly inside another",
                found=f"{row.lo:g} to {row.hi:g} Da inside {farthest.lo:g} to {farthest.hi:g} Da",
                hint="Correct the limits of one of them.",
            )
        if farthest is None or row.hi > farthest.hi:
            farthest = row


def _resolve(
    path: Path, block: _Block, extension: _Block, collector: IonCollector, *, has_extension: bool
) -> tuple[list[int | None], list[Issue]]:
    """Index of the ion of each row (None where a row names no ion), and what is to be told about it."""
    for ion, line in zip(block.ions, block.lines, strict=True):
        collector.add(ion.name, ion.elements, ion.color, line)
    used = {column for row in block.rows for column, count in enumerate(row.counts) if count}
    unused = [column for column in range(len(block.ions)) if column not in used]
    molecules = _molecules(extension)
    out: list[int | None] = []
    issues: list[Issue] = []
    for row in block.rows:
        total = sum(row.counts)
        if total == 0:
            message = f"the range {row.lo:g} to {row.hi:g} Da counts no ion and is left out"
            issues.append(Issue("no-ion", message, line=row.line))
            out.append(None)
        elif total == 1:
            out.append(row.counts.index(1))
        elif (row.lo, row.hi) in molecules:
            ion, line = molecules[row.lo, row.hi]
            out.append(_extension_ion(block, row, ion, collector, issues, line))
        else:
            out.append(_molecular_ion(path, block, row, unused, collector, issues, has_extension=has_extension))
    return out, issues


def _molecules(extension: _Block) -> dict[tuple[float, float], tuple[Ion, int]]:
    found: dict[tuple[float, float], tuple[Ion, int]] = {}
    for row in extension.rows:
        if sum(row.counts) == 1:
            found.setdefault((row.lo, row.hi), (extension.ions[row.counts.index(1)], row.line))
        else:
            message = f"the extension must name one molecular ion for {row.lo:g} to {row.hi:g} Da; this row is left out"
            extension.issues.append(Issue("polyatomic", message, line=row.line))
    return found


def _elements(block: _Block, row: _Row) -> Elements:
    pairs: list[tuple[str, int]] = []
    for ion, count in zip(block.ions, row.counts, strict=True):
        if count:
            parts = ion.elements or ((ion.name, 1),)
            pairs += [(symbol, many * count) for symbol, many in parts]
    return merge_elements(pairs)


def _extension_ion(block: _Block, row: _Row, ion: Ion, collector: IonCollector, issues: list[Issue], line: int) -> int:
    elements = _elements(block, row)
    named = parse_formula(ion.name)
    if named and sorted(named) != sorted(elements):
        message = f"{ion.name} holds {format_formula(elements)} in the table above, which is used"
        issues.append(Issue("polyatomic", message, line=line))
    return collector.add(ion.name, elements, ion.color, line)


def _molecular_ion(
    path: Path,
    block: _Block,
    row: _Row,
    unused: list[int],
    collector: IonCollector,
    issues: list[Issue],
    *,
    has_extension: bool,
) -> int:
    elements = _elements(block, row)
    names = {ion.name for ion in block.ions}
    for column in unused:
        if sorted(_compose(block.ions[column].name, names)) == sorted(elements):
            collector.ions[column] = Ion(block.ions[column].name, elements, block.ions[column].color)
            return column
    if unused and not has_extension:
        raise FormatError(
            path,
            line=row.line,
            expected=f"an ion named {format_formula(elements)} for this range among those without a range of their own",
            found=f"only {', '.join(block.ions[column].name for column in unused)[:80]}",
            hint="Remove the ions that have no range, or add the molecular ion to the list or a polyatomic extension.",
        )
    name = format_formula(elements)
    message = f"the range {row.lo:g} to {row.hi:g} Da counts several ions; it is read as the molecular ion {name}"
    issues.append(Issue("derived-ion", message, "info", row.line))
    return collector.add(name, elements, None, row.line)


def _compose(name: str, names: set[str]) -> Elements:
    """Parts of a name that is a formula of other ions' names, such as ``AbCd2``."""
    parts = re.findall(r"([A-Z][a-z]?)([0-9]{0,3})", name)
    if "".join(symbol + count for symbol, count in parts) != name:
        return ()
    if not all(symbol in names for symbol, _ in parts):
        return ()
    return merge_elements((symbol, int(count or 1)) for symbol, count in parts)


def _add_unmatched(
    block: _Block, extension: _Block, collector: IonCollector, ranges: list[MassRange], numbers: list[int | None]
) -> None:
    """Keep ranges of the extension that repeat no molecular range of the table; tell of it."""
    molecular = {(row.lo, row.hi) for row in block.rows if sum(row.counts) > 1}
    for (lo, hi), (ion, line) in _molecules(extension).items():
        if (lo, hi) not in molecular:
            message = f"the extension's range {lo:g} to {hi:g} Da ({ion.name}) repeats no molecular range above; added"
            collector.issues.append(Issue("polyatomic", message, line=line))
            ranges.append(MassRange(lo, hi, collector.add(ion.name, ion.elements, ion.color, line)))
            numbers.append(line)
