"""The .env environment file of the GPM Rouen: ions, ranges and the instrument's constants in one text.

Layout, by example (ErMnO.env of ifes_apt_tc_data_modeling, test1.env of 3Depict; no specification exists)::

    # Number of elements / Number of mass ranges
    1 1
    # List of Element and Color components ( Red / Green / Blue )
    Mn 0.0 0.5 1.0
    # Definition of  Mass ranges / Atomic volumes / Increment for concentration
    Mn 27.330 27.950 11.660 1.000
    # Flight length (m)
    0.100500

Comments are optional. Atomic volumes are in Å³ and become nm³. ``Hyd`` stands for hydrogen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from napari_aptdefect.data.elements import elements_of_name
from napari_aptdefect.data.ranges import MassRange, RangeTable
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

_NM3_PER_ANGSTROM3: Final = 1e-3


def read_env(path: Path | str) -> RangeTable:
    """Read the ions, ranges and constants of a .env file.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    Ions and ranges in the order of the file; ``metadata`` has the constants, by the comment above each.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If the file is no .env file, or a range lacks two finite limits in order.

    Warns
    -----
    DataWarning
        Once, if anything is odd; each oddity is among the issues of the table.
    """
    file = Path(path)
    state = _State(file)
    label = ""
    for line, raw in enumerate(read_lines(file, ".env"), start=1):
        text, _, comment = raw.partition("#")
        tokens = text.split()
        if comment.strip():
            label = comment.strip()
        if not tokens:
            continue
        if state.declared is None:
            state.read_counts(tokens, line)
        elif not state.past_ranges and len(tokens) == 5:
            state.read_range(tokens, line)
        elif not state.ranges and len(tokens) == 4:
            state.read_ion(tokens, line)
        else:
            state.read_constant(tokens, label, line)
            label = ""
    state.check()
    issues = state.issues + state.ions.issues + state.commas.issues()
    return build_table(file, state.ions.ions, state.ranges, state.lines, issues, state.metadata)


@dataclass
class _State:
    path: Path
    declared: tuple[int, int] | None = None
    declared_line: int = 0
    n_listed: int = 0
    past_ranges: bool = False
    ions: IonCollector = field(default_factory=IonCollector)
    names: dict[str, int] = field(default_factory=dict)
    ranges: list[MassRange] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    commas: CommaCounter = field(default_factory=CommaCounter)

    def read_counts(self, tokens: list[str], line: int) -> None:
        if len(tokens) == 2 and all(token.isascii() and token.isdigit() and len(token) < 7 for token in tokens):
            self.declared = (int(tokens[0]), int(tokens[1]))
            self.declared_line = line
        elif len(tokens) == 1 and tokens[0].lower().startswith("rev"):
            self.metadata["version"] = tokens[0]
        else:
            raise self._error(line, "the numbers of elements and mass ranges", " ".join(tokens))

    def read_ion(self, tokens: list[str], line: int) -> None:
        values = [parse_number(token) for token in tokens[1:]]
        if any(value is None for value in values):
            raise self._error(line, "the name of an ion and three numbers for its color", " ".join(tokens))
        color: tuple[int, int, int] | None = None
        red, green, blue = (round(255 * v) if v is not None and 0 <= v <= 1 else -1 for v in values)
        if min(red, green, blue) < 0:
            self.issues.append(
                Issue("color", f"the color of {tokens[0]} is not within 0 to 1 and is left out", line=line)
            )
        else:
            color = (red, green, blue)
        self.n_listed += 1
        if tokens[0] in self.names:
            self.issues.append(Issue("duplicate-ion", f"ion {tokens[0]} is listed again", line=line))
            return
        self._add(tokens[0], color, line)

    def read_range(self, tokens: list[str], line: int) -> None:
        lo, hi = parse_limits(self.path, line, tokens[1:3])
        self.commas.see(tokens[1:], line)
        self.issues += limit_issues(lo, hi, line)
        if tokens[0] not in self.names:
            message = f"the range {lo:g} to {hi:g} Da names {tokens[0]}, which is not in the list of elements; added"
            self.issues.append(Issue("unlisted-ion", message, line=line))
            self._add(tokens[0], None, line)
        volume = parse_number(tokens[3])
        if volume is None or not math.isfinite(volume) or volume < 0:
            self.issues.append(Issue("volume", f"volume {tokens[3][:40]!r} is no positive number; left out", line=line))
            volume = None
        increment = parse_number(tokens[4])
        if increment != 1:
            message = f"the increment {tokens[4][:40]!r} of this range is not 1; every ion counts once here"
            self.issues.append(Issue("increment", message, line=line))
        volume_nm3 = None if volume is None else volume * _NM3_PER_ANGSTROM3
        self.ranges.append(MassRange(lo, hi, self.names[tokens[0]], volume_nm3))
        self.lines.append(line)

    def read_constant(self, tokens: list[str], label: str, line: int) -> None:
        if not self.ranges and self.declared is not None and self.declared[1]:
            raise self._error(line, "the name of an ion with its color, or with a range", " ".join(tokens))
        self.past_ranges = True
        if label:
            value = parse_number(tokens[0]) if len(tokens) == 1 else None
            self.metadata[label] = " ".join(tokens) if value is None else value

    def check(self) -> None:
        if self.declared is None:
            raise self._error(1, "the numbers of elements and mass ranges", "none of this in the file")
        for kind, wanted, got in zip(
            ("elements", "ranges"), self.declared, (self.n_listed, len(self.ranges)), strict=True
        ):
            if wanted != got:
                message = f"the file declares {wanted} {kind} and lists {got}"
                self.issues.append(Issue("count", message, line=self.declared_line))
        if not self.ions.ions:
            raise self._error(self.declared_line, "the names of ions with their colors, and ranges", "neither")

    def _add(self, name: str, color: tuple[int, int, int] | None, line: int) -> None:
        elements = elements_of_name(name)
        if name == "Hyd":
            elements = (("H", 1),)
            self.issues.append(Issue("hydrogen", "Hyd is read as hydrogen, one atom per ion", "info", line))
        self.names[name] = self.ions.add(name, elements, color, line)

    def _error(self, line: int, expected: str, found: str) -> FormatError:
        hint = "Choose a .env file of the GPM Rouen; .rng and .rrng files have their own readers."
        return FormatError(self.path, line=line, expected=expected, found=repr(found[:60]), hint=hint)
