"""What a terminal gets: results on standard output; progress, warnings and errors on standard error."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from napari_aptdefect.errors import DataWarning

if TYPE_CHECKING:
    from napari_aptdefect.stage import Progress, Stage

T = TypeVar("T")

_LINE_EVERY_S = 5.0
_QUIET_S = 0.5
_stop_requested = threading.Event()


class EXIT(IntEnum):
    """Exit codes of every verb."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BAD_DATA = 3
    INTERRUPTED = 130


def say_error(message: str) -> None:
    """Write one line of error to standard error."""
    sys.stderr.write(f"aptdefect: error: {_one_line(message)}\n")
    sys.stderr.flush()


def say(message: str) -> None:
    """Write a line of what goes on to standard error."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _one_line(message: str) -> str:
    return " ".join(message.split())


@contextlib.contextmanager
def show_warnings() -> Iterator[None]:
    """Show warnings as one line each on standard error, each message once."""
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = _one_line(str(message))
        if text not in seen:
            seen.add(text)
            say(f"aptdefect: warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", DataWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into KeyboardInterrupt, once, so that stages can clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    old = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}

    def stop(number: int, frame: object) -> None:
        for each in old:
            signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not cut off the cleaning up
        _stop_requested.set()
        raise KeyboardInterrupt

    _stop_requested.clear()
    for each, handler in old.items():
        if handler is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in old.items():
            signal.signal(each, handler)


def run_stage(stage: Stage[T]) -> T:
    """Run a stage to its end and show its progress; an interrupt closes it, which undoes what it began."""
    from napari_aptdefect.stage import drain

    with progress() as show:
        return drain(stage, show)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows a `Progress`: a bar on a terminal, a line now and then elsewhere."""
    shown = _bar() if sys.stderr.isatty() else _lines()
    with shown as show:

        def step(now: Progress) -> None:
            if _stop_requested.is_set():
                # Some libraries swallow an exception that a signal raises inside their callbacks.
                raise KeyboardInterrupt
            show(now)

        yield step


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(24), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with RichProgress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)

        def show(now: Progress) -> None:
            bar.update(task, completed=now.done, total=now.total or None, description=now.message)

        yield show


@contextlib.contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    last_time = time.monotonic()  # an error at once leaves only its own line
    last_step = ""

    def show(now: Progress) -> None:
        nonlocal last_time, last_step
        clock = time.monotonic()
        step = now.message.partition(":")[0]
        due = _QUIET_S if step != last_step else _LINE_EVERY_S
        if clock - last_time < due:
            return
        last_time, last_step = clock, step
        percent = f"{100 * now.done / now.total:3.0f} %  " if now.total else ""
        say(f"{percent}{now.message}")

    yield show


@contextlib.contextmanager
def output(as_json: bool) -> Iterator[Callable[[Mapping[str, Any], Callable[[], str]], None]]:
    """Give a function that writes the result, as one JSON object or as text, and keep everything else off the output.

    The function takes the result as a mapping and a function that renders it for a person.
    """
    out = sys.stdout

    def write(result: Mapping[str, Any], render: Callable[[], str]) -> None:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, default=str) if as_json else render().rstrip()
        out.write(text + "\n")

    if not as_json:
        yield write
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield write


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], numeric: tuple[int, ...] = ()) -> str:
    """Lay out rows in columns with two spaces between, the numeric ones to the right.

    Examples
    --------
    >>> print(table(("ion", "n"), [("Ga", "12"), ("N", "3")], numeric=(1,)))
    ion   n
    Ga   12
    N     3
    """
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
