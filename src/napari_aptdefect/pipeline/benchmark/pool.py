"""Work through tasks in several processes: no result is ever half written, and what is done stays done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from napari_aptdefect.errors import AptDefectError
from napari_aptdefect.pipeline.benchmark.tasks import Results, Task, Worker, in_order
from napari_aptdefect.stage import Progress, Stage

_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerError(AptDefectError, RuntimeError):
    """A process that worked on a task ended without an answer, usually for lack of memory."""


def run_tasks(tasks: Sequence[Task], results: Results, worker: Worker, n_jobs: int = 1) -> Stage[None]:
    """Do all tasks that are not done yet, and what they need.

    Parameters
    ----------
    tasks
        What to do; what these need is added.
    results
        Where results are and go.
    worker
        Does one task and writes its file; it must be importable by its name.
    n_jobs
        Number of processes; with 1 the work is done here.

    Yields
    ------
    Progress in expected seconds, with the time that is left; closing the generator ends the processes.

    Raises
    ------
    WorkerError
        If a process dies.
    Exception
        Whatever a worker raised; tasks that are done by then stay done.
    """
    ordered = in_order(tasks)
    waiting = [task for task in ordered if not results.has(task)]
    clock = _Clock(sum(task.cost for task in ordered), sum(task.cost for task in waiting), n_jobs)
    yield clock.progress(f"{len(ordered) - len(waiting)} of {len(ordered)} tasks are done already")
    try:
        if n_jobs == 1:
            for task in waiting:
                yield clock.progress(task.name)
                worker(task, results)
                clock.finish(task)
        else:
            yield from _in_processes(waiting, results, worker, n_jobs, clock)
    finally:
        results.sweep()
    yield clock.progress(f"{len(ordered)} tasks are done")


@dataclass
class _Clock:
    """How far the work is, and when it will end."""

    total: float
    left: float
    n_jobs: int
    start: float = field(default_factory=time.monotonic)
    worked: float = 0.0

    def finish(self, task: Task) -> None:
        self.left -= task.cost
        self.worked += task.cost

    def progress(self, what: str) -> Progress:
        message = f"benchmark: {what}"
        if self.worked > 0:
            minutes = (time.monotonic() - self.start) * self.left / self.worked / 60
            message += f" ({minutes:.0f} min left)" if minutes >= 1 else " (under a minute left)"
        return Progress(self.total - self.left, self.total, message)


@dataclass(frozen=True)
class _Process:
    process: SpawnProcess
    pipe: Connection


def _in_processes(waiting: list[Task], results: Results, worker: Worker, n_jobs: int, clock: _Clock) -> Stage[None]:
    """Hand each process the next task that has what it needs."""
    with _processes(worker, results.folder, min(n_jobs, max(len(waiting), 1))) as idle:
        busy: dict[Connection, tuple[_Process, Task]] = {}
        pending = list(waiting)
        undone = {task.key for task in waiting}
        while pending or busy:
            for task in [t for t in pending if not any(need.key in undone for need in t.needs.values())]:
                if not idle:
                    break
                one = idle.pop()
                one.pipe.send(task)
                busy[one.pipe] = (one, task)
                pending.remove(task)
            yield clock.progress(", ".join(task.name for _, task in busy.values()))
            ready: list[Any] = wait(list(busy), timeout=1.0)
            for pipe in ready:
                one, task = busy.pop(pipe)
                _check(one, task)
                idle.append(one)
                undone.discard(task.key)
                clock.finish(task)


def _check(one: _Process, task: Task) -> None:
    """Take the answer of a process: nothing, or what went wrong."""
    try:
        error, trace = one.pipe.recv()
    except (EOFError, OSError) as broken:
        one.process.join(1)
        raise WorkerError(
            f"the process for {task.name} ended with code {one.process.exitcode}, perhaps for lack of memory; try "
            "fewer --jobs. What is done is kept: the same command goes on from there"
        ) from broken
    if error is not None:
        error.add_note(f"in the task {task.name}:\n{trace}")
        raise error


@contextmanager
def _processes(worker: Worker, folder: Path, n: int) -> Iterator[list[_Process]]:
    """Start processes that share the cores, and end them whatever happens."""
    context = multiprocessing.get_context("spawn")
    threads = str(max(1, (os.cpu_count() or 1) // n))
    started: list[_Process] = []
    kept = {name: os.environ.get(name) for name in _THREADS}
    try:
        # A library sizes its pool of threads when it is loaded, so a child must find the limit in its environment.
        os.environ.update(dict.fromkeys(_THREADS, threads))
        for _ in range(n):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, worker, folder), daemon=True)
            process.start()
            theirs.close()
            started.append(_Process(process, mine))
        _restore(kept)
        yield list(started)
    finally:
        _restore(kept)
        for one in started:
            one.process.terminate()
        for one in started:
            one.process.join()
            one.pipe.close()


def _restore(kept: dict[str, str | None]) -> None:
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _serve(pipe: Connection, worker: Worker, folder: Path) -> None:
    """Do tasks until the pipe is closed."""
    import traceback

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children
    results = Results(folder)
    with suppress(EOFError, BrokenPipeError):
        while True:
            task: Task = pipe.recv()
            answer: tuple[Any, str] = (None, "")
            try:
                worker(task, results)
            except Exception as error:  # noqa: BLE001  # carried to the parent, which raises it
                answer = (error, traceback.format_exc())
            pipe.send(answer)
