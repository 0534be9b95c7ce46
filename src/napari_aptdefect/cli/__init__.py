"""The command ``aptdefect``: one verb per module, loaded when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from napari_aptdefect.cli.terminal import EXIT, interruptible, say_error, show_warnings
from napari_aptdefect.errors import (
    AptDefectError,
    MissingExtraError,
    ParameterError,
    RunFolderError,
)

__all__ = ["EXIT", "VERBS", "app", "main"]

_EPILOGUE: Final = (
    "Exit codes: 0 done, 1 failed (no network, or a bug), 2 wrong usage, 3 bad data, 130 interrupted. "
    "--traceback (or APTDEFECT_DEBUG=1) shows where an error comes from."
)


def _version() -> str:
    from importlib.metadata import version

    return f"napari-aptdefect {version('napari-aptdefect')}"


app = App(
    name="aptdefect",
    help="Find, name and measure defects in atom probe tomography and HAADF-STEM data.",
    help_epilogue=_EPILOGUE,
    version=_version,
    version_flags=["--version"],
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

# The modules behind these load numpy, scipy and the parameter models, so they are named, not imported.
VERBS: Final = {
    "info": ("describe:info", "Say what a file holds: format, counts, columns, extent, ranges, and what is odd in it."),
    "analyze": ("analysis:analyze", "Find the defects in an ion cloud and write a run folder with a report."),
    "rerun": ("analysis:rerun", "Repeat a run with the same input, parameters and seed."),
    "simulate gan-nanowire": ("simulate:gan_nanowire", "Make an ion cloud of a GaN nanowire with known defects."),
    "evaluate": ("evaluate:evaluate", "Hold a run against the truth of the specimen it analyzed."),
    "train": ("train:train", "Train a model on simulated wires, test it, and write it to a file."),
    "benchmark": ("benchmark:benchmark", "Run every method on simulated wires of every level and score it."),
    "gui": ("window:gui", "Open napari with runs or files."),
    "demo": ("demo:demo", "Analyze the built-in sample and a real data set, and show the result."),
}
_groups = {"simulate": App(name="simulate", help="Make data with known defects: the data, its ranges, and the truth.")}
for _group in _groups.values():
    app.command(_group)
for _verb, (_target, _help) in VERBS.items():
    _first, _, _second = _verb.partition(" ")
    _parent = _groups[_first] if _second else app
    _parent.command(f"napari_aptdefect.cli.{_target}", name=_second or _first, help=_help)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process when None.

    Returns
    -------
    Exit code: 0 done, 1 failed, 2 wrong usage, 3 bad data, 130 interrupted.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    traced = os.environ.get("APTDEFECT_DEBUG", "0") not in ("", "0")
    if "--traceback" in tokens:
        tokens.remove("--traceback")
        traced = True
    try:
        with show_warnings(), interruptible():
            code = app(tokens, exit_on_error=False, print_error=False)
            sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, SystemExit) or (traced and not isinstance(error, KeyboardInterrupt)):
            raise
        return _report(error)
    return int(code or EXIT.DONE)


def _report(error: BaseException) -> int:
    """Say an error in one line and give its exit code."""
    if isinstance(error, KeyboardInterrupt):
        say_error("interrupted; nothing half-written was left behind")
        return EXIT.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of the output went away, as `| head` does; the flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT.DONE
    if isinstance(error, CycloptsError):
        from napari_aptdefect.cli.options import usage_message

        say_error(f"{usage_message(error, sorted({verb.split()[0] for verb in VERBS}))} (see aptdefect --help)")
        return EXIT.USAGE
    if isinstance(error, AptDefectError):
        say_error(str(error))
        return _code_of(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        say_error(f"{where}{error.strerror or error}")
        return EXIT.BAD_DATA
    if isinstance(error, MemoryError):
        say_error("not enough memory for this input")
        return EXIT.FAILED
    say_error(f"{type(error).__name__}: {error}. This is a bug; --traceback shows where, please report it")
    return EXIT.FAILED


def _code_of(error: AptDefectError) -> int:
    if isinstance(error, (ParameterError, RunFolderError, MissingExtraError)):
        return EXIT.USAGE
    return EXIT.FAILED if isinstance(error, ConnectionError) else EXIT.BAD_DATA
