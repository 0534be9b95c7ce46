"""Tasks of a benchmark: keys that say what a result depends on, processes that may be stopped at any time."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from napari_aptdefect.pipeline.benchmark.pool import WorkerError, run_tasks
from napari_aptdefect.pipeline.benchmark.tasks import Results, Task, in_order
from napari_aptdefect.stage import Progress, drain


def add_up(task: Task, results: Results) -> None:
    """Add the number of a task to the results of what it needs."""
    if task.recipe["value"] < 0:
        raise ValueError(f"{task.name} is negative")
    total = task.recipe["value"] + sum(results.load(need)["total"] for need in task.needs.values())
    results.save(task, {"total": total, "threads": os.environ.get("NUMBA_NUM_THREADS")})


def task(name: str, value: int, **needs: Task) -> Task:
    return Task("sum", name, {"value": value}, needs)


def test_the_key_follows_the_recipe_and_what_it_needs() -> None:
    one, other = task("a", 1), task("a", 2)
    assert one.key == task("a", 1).key
    assert one.key != other.key
    assert task("b", 3, before=one).key != task("b", 3, before=other).key
    assert one.file == f"sum/a-{one.key}.json"


def test_the_key_follows_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = task("a", 1).key
    monkeypatch.setattr("napari_aptdefect.pipeline.benchmark.tasks.code_hash", lambda code: "other")
    assert task("a", 1).key != before


def test_order_puts_needs_first_and_each_once() -> None:
    first = task("first", 1)
    second = task("second", 2, a=first)
    assert [t.name for t in in_order([task("third", 3, a=second, b=first), first])] == ["first", "second", "third"]


def test_a_second_call_skips_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, first = Results(tmp_path), task("first", 1)
    last = task("last", 10, a=first)
    drain(run_tasks([last], results, add_up))
    assert results.load(last)["total"] == 11

    def never(task: Task, results: Results) -> None:
        raise AssertionError(task.name)

    drain(run_tasks([last], results, never))
    results.path(first).unlink()
    with pytest.raises(AssertionError, match="first"):
        drain(run_tasks([last], results, never))


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    results, one = Results(tmp_path), task("one", 1)

    def write_half() -> None:
        with results.writing(one) as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert not results.has(one)
    assert list(tmp_path.rglob("*.json")) == []
    (tmp_path / "sum" / ".partial-of-a-killed-process.json").write_text("half")
    drain(run_tasks([one], results, add_up))
    assert [path.name for path in tmp_path.rglob("*.json")] == [results.path(one).name]


def test_progress_tells_the_time_left(tmp_path: Path) -> None:
    seen: list[Progress] = []
    drain(run_tasks([task("a", 1), task("b", 2)], Results(tmp_path), add_up), seen.append)
    assert seen[-1].done == seen[-1].total == 2
    assert "left" in seen[-1].message


def test_processes_share_the_work_and_the_cores(tmp_path: Path) -> None:
    results = Results(tmp_path)
    first = [task(f"first-{i}", i) for i in range(3)]
    last = task("last", 10, **{t.name: t for t in first})
    before = os.environ.get("NUMBA_NUM_THREADS")
    drain(run_tasks([last], results, add_up, n_jobs=2))
    assert results.load(last)["total"] == 13
    assert results.load(last)["threads"] == str(max(1, (os.cpu_count() or 1) // 2))
    assert os.environ.get("NUMBA_NUM_THREADS") == before


def test_what_a_process_raises_arrives_here(tmp_path: Path) -> None:
    results, good = Results(tmp_path), task("good", 1)
    with pytest.raises(ValueError, match="bad is negative") as caught:
        drain(run_tasks([good, task("bad", -1, after=good)], results, add_up, n_jobs=2))
    assert "in the task bad" in caught.value.__notes__[0]
    assert results.has(good)


def die(task: Task, results: Results) -> None:
    """End the process as the kernel would."""
    os._exit(9)


def test_a_process_that_dies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="ended with code 9"):
        drain(run_tasks([task("a", 1)], Results(tmp_path), die, n_jobs=2))


def wait_forever(task: Task, results: Results) -> None:
    """Begin to write and never end."""
    import time

    with results.writing(task):
        time.sleep(60)


def test_closing_ends_the_processes_and_sweeps(tmp_path: Path) -> None:
    stage = run_tasks([task("a", 1)], Results(tmp_path), wait_forever, n_jobs=2)
    next(stage)
    next(stage)
    while not list(tmp_path.glob("sum/.partial-*")):
        next(stage)
    assert multiprocessing.active_children()
    stage.close()
    assert not multiprocessing.active_children()
    assert list(tmp_path.rglob("*.json")) == []
