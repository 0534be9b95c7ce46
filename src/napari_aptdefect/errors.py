"""Exceptions and reported issues: every message says what was got, what was expected and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class AptDefectError(Exception):
    """Base of every error this package raises on purpose."""


class FormatError(AptDefectError, ValueError):
    """A file does not hold what its format promises.

    Parameters
    ----------
    path
        File that was read.
    expected
        What the format asks for at this place.
    found
        What the file holds there.
    offset
        Byte offset (binary files) of the problem, or None.
    line
        1-based line number (text files) of the problem, or None.
    hint
        What the user can do about it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        expected: str,
        found: str,
        offset: int | None = None,
        line: int | None = None,
        hint: str = "",
    ) -> None:
        self.path = Path(path)
        self.offset = offset
        self.line = line
        self.expected = expected
        self.found = found
        self.hint = hint
        where = f"{self.path}"
        if line is not None:
            where += f", line {line}"
        if offset is not None:
            where += f", byte {offset}"
        message = f"{where}: expected {expected}, found {found}."
        super().__init__(f"{message} {hint}" if hint else message)


class MissingFileError(AptDefectError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class ParameterError(AptDefectError, ValueError):
    """A parameter is out of its bounds, of the wrong type or unknown."""


class ShapeError(ParameterError):
    """An array has the wrong shape or dtype."""


class EmptySelectionError(AptDefectError, ValueError):
    """Nothing is left to work on (no ions, no ranged ions, no defects)."""


class MissingExtraError(AptDefectError, ImportError):
    """An optional dependency is needed and not installed."""


class DownloadError(AptDefectError, ConnectionError):
    """A data set could not be fetched or does not have the expected hash."""


class RunFolderError(AptDefectError, OSError):
    """A run folder is missing, incomplete or would be overwritten."""


class DataWarning(UserWarning):
    """Something in a file is odd, was reported, and reading went on."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One odd thing found in an input, reported and never swallowed.

    Parameters
    ----------
    code
        Stable short name, such as ``"overlap"`` or ``"nan-position"``.
    message
        One sentence for a person, with the numbers.
    severity
        ``"warning"`` when a result may be affected, ``"info"`` otherwise.
    line
        1-based line in a text file, or None.
    offset
        Byte offset in a binary file, or None.
    """

    code: str
    message: str
    severity: Literal["info", "warning"] = "warning"
    line: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        where += f"byte {self.offset}: " if self.offset is not None else ""
        return f"{where}{self.message}"
