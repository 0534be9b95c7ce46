"""What the readers of text range files share: decoding, numbers with a comma, collecting ions, atomic writing."""

from __future__ import annotations

import math
import os
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from napari_aptdefect.data.elements import Elements, elements_of_name
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable, overlap_issues
from napari_aptdefect.errors import DataWarning, FormatError, Issue, MissingFileError

MAX_BYTES: Final = 16 << 20
"""A range file is far smaller; a larger file was chosen by mistake and isn't read into memory."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NOT_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_LINE_END: Final = re.compile(r"\r\n|\n|\r")


def read_lines(path: Path, format_name: str) -> list[str]:
    """Lines of a text file, decoded as UTF-8 (or UTF-16 with a byte order mark), else as Windows-1252.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If the file is empty, binary or much too large for a range file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; name a {format_name} file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FormatError(
            path, expected=f"a {format_name} file of less than {MAX_BYTES >> 20} MiB", found=f"{size} bytes"
        )
    text = decode(path.read_bytes())
    if "\0" in text:
        raise FormatError(
            path, expected=f"the text of a {format_name} file", found="binary data", offset=text.index("\0")
        )
    if not text.strip():
        raise FormatError(path, expected=f"the text of a {format_name} file", found="an empty file")
    return split_lines(text)


def split_lines(text: str) -> list[str]:
    """Split at the line ends of any system, and at nothing else, so that line numbers agree with an editor's."""
    return _LINE_END.split(text)


def decode(raw: bytes) -> str:
    """Text of a file written by any of the programs in use: UTF-8, UTF-16 with its mark, or Windows-1252."""
    encodings = ["utf-8-sig", "cp1252"]
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings.insert(0, "utf-16")
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")  # five bytes have no meaning in Windows-1252; they only occur in comments


def parse_number(token: str) -> float | None:
    """Value of a decimal number with a point or a comma; NaN and infinity as written; None if it is no number."""
    if _NUMBER.fullmatch(token):
        return float(token.replace(",", "."))
    return float(token) if _NOT_FINITE.fullmatch(token) else None


def parse_limits(path: Path, line: int, tokens: Sequence[str]) -> tuple[float, float]:
    """Lower and upper limit of a range, from its first two tokens.

    Raises
    ------
    FormatError
        If they are not two finite numbers in order: what such a range holds can't be guessed, and leaving it out
        would change every composition.
    """
    expected = "a lower and an upper mass-to-charge limit"
    hint = "Correct the limits or remove the range."
    found = " ".join(tokens[:2]) or "nothing"
    values = [value for value in map(parse_number, tokens[:2]) if value is not None]
    if len(values) < 2:
        raise FormatError(path, line=line, expected=expected, found=repr(found[:80]), hint=hint)
    lo, hi = values
    if not (math.isfinite(lo) and math.isfinite(hi)) or hi < lo:
        raise FormatError(path, line=line, expected=f"{expected}, finite and in order", found=repr(found), hint=hint)
    return lo, hi


def limit_issues(lo: float, hi: float, line: int) -> list[Issue]:
    """What is allowed but odd about the limits of a range."""
    issues = []
    if lo == hi:
        issues.append(
            Issue("zero-width", f"the range {lo:g} to {hi:g} Da has no width; it holds that mass only", line=line)
        )
    if lo < 0:
        issues.append(Issue("negative-mass", f"the range {lo:g} to {hi:g} Da reaches below zero", "info", line))
    return issues


class CommaCounter:
    """Counts numbers written with a comma, to report them once per file."""

    def __init__(self) -> None:
        self.count = 0
        self.line = 0

    def see(self, tokens: Iterable[str], line: int) -> None:
        """Note the tokens of one line that are numbers with a comma."""
        found = sum("," in token and _NUMBER.fullmatch(token) is not None for token in tokens)
        if found and not self.count:
            self.line = line
        self.count += found

    def issues(self) -> list[Issue]:
        """One report, if there was any."""
        if not self.count:
            return []
        text = f"{self.count} numbers are written with a decimal comma (first on this line) and were read as such"
        return [Issue("comma-decimal", text, line=self.line)]


class IonCollector:
    """Ions in the order they turn up, found again by name and elements."""

    def __init__(self) -> None:
        self.ions: list[Ion] = []
        self.issues: list[Issue] = []
        self._known: dict[tuple[str, Elements], int] = {}
        self._first: dict[str, int] = {}
        self._names: set[str] = set()
        self._n_alike: Counter[str] = Counter()
        self._reported: set[tuple[str, str]] = set()

    def add(self, name: str, elements: Elements | None, color: tuple[int, int, int] | None, line: int) -> int:
        """Index of the ion of that name; a new one is added.

        An ion of the same name that is made of something else keeps its own place under a name with a number, because
        merging the two would change the composition. The first color wins.
        """
        wanted = elements_of_name(name) if elements is None else elements
        idx = self._find(name, wanted)
        if idx is None:
            return self._append(name, wanted, color, line)
        known = self.ions[idx]
        if known.color is None and color is not None:
            self.ions[idx] = Ion(known.name, known.elements, color)
        elif color is not None and color != known.color:
            self.report_once("color-conflict", f"ion {name} has more than one color; the first is kept", line)
        return idx

    def named(self, name: str) -> Ion | None:
        """First ion that came under a name, or None."""
        return self.ions[self._first[name]] if name in self._first else None

    def _find(self, name: str, wanted: Elements) -> int | None:
        if not wanted:
            return self._first.get(name)
        key = (name, tuple(sorted(wanted)))
        if key not in self._known and (name, ()) in self._known:
            # a label that turns out to stand for something
            idx = self._known[key] = self._known.pop((name, ()))
            self.ions[idx] = Ion(self.ions[idx].name, wanted, self.ions[idx].color)
        return self._known.get(key)

    def _append(self, name: str, wanted: Elements, color: tuple[int, int, int] | None, line: int) -> int:
        self._n_alike[name] += 1
        unique = name
        while unique in self._names:
            self._n_alike[name] += unique != name
            unique = f"{name} ({max(self._n_alike[name], 2)})"
        if unique != name:
            message = f"two different ions are named {name}; one is now {unique}"
            self.issues.append(Issue("name-conflict", message, line=line))
        idx = len(self.ions)
        self._names.add(unique)
        self._known[name, tuple(sorted(wanted))] = idx
        self._first.setdefault(name, idx)
        self.ions.append(Ion(unique, wanted, color))
        return idx

    def report_once(self, code: str, message: str, line: int) -> None:
        """Add an info that is not there yet."""
        if (code, message) not in self._reported:
            self._reported.add((code, message))
            self.issues.append(Issue(code, message, "info", line))


def build_table(
    path: Path,
    ions: Sequence[Ion],
    ranges: Sequence[MassRange],
    lines: Sequence[int | None],
    issues: Sequence[Issue],
    metadata: dict[str, object] | None = None,
) -> RangeTable:
    """Assemble the table, add the reports on its ranges and warn once if there is anything to warn of."""
    found = list(issues)
    if not ranges:
        found.append(Issue("no-range", "the file holds no range; no ion can be identified with it"))
    found += overlap_issues(ions, ranges, lines)
    found.sort(key=lambda issue: issue.line if issue.line is not None else 0)
    table = RangeTable(tuple(ions), tuple(ranges), path, tuple(found), metadata or {})
    warn_once(path, table.issues)
    return table


def warn_once(path: Path, issues: Sequence[Issue]) -> None:
    """Give one `DataWarning` that sums up the issues of severity "warning"."""
    counts = Counter(issue.code for issue in issues if issue.severity == "warning")
    if counts:
        text = ", ".join(f"{count} x {code}" for code, count in counts.items())
        warnings.warn(f"{path}: {text}; see the issues of the table", DataWarning, stacklevel=4)


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text so that the file is either the old one or complete; line ends as they are in the text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
