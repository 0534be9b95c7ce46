"""Tasks of a benchmark: each is one small file named after a hash of everything it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

_LEAVES: Final = ("arrays.py", "fields.py", "stage.py", "units.py")
_CODE: Final = ("apt", "data", "evaluate", "pipeline", "simulate")
_SHOWS_ONLY: Final = ("report", "display", "templates", "run_folder", "tables", "figures", "pages", "pool", "summary")


@dataclass(frozen=True)
class Task:
    """One piece of work with one file as its result.

    Parameters
    ----------
    kind
        Which worker does it.
    name
        What it is called in file names and messages.
    recipe
        Everything that its result depends on, besides the code: numbers, texts, and nested mappings of them.
    needs
        Tasks whose files it reads, by the name it knows them under.
    suffix
        Of its file.
    cost
        Expected seconds, for the order of work and the time that is left.
    code
        Rooms and modules that its result depends on.
    """

    kind: str
    name: str
    recipe: Mapping[str, Any]
    needs: Mapping[str, Task] = field(default_factory=dict)
    suffix: str = ".json"
    cost: float = 1.0
    code: tuple[str, ...] = _CODE

    @cached_property
    def key(self) -> str:
        """Hash of the recipe, of what it needs, and of the code: another result has another key."""
        text = json.dumps(
            {
                "kind": self.kind,
                "recipe": self.recipe,
                "needs": {name: task.key for name, task in self.needs.items()},
                "code": code_hash(self.code),
            },
            sort_keys=True,
            allow_nan=False,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def file(self) -> str:
        """Place of the result within the folder of results."""
        return f"{self.kind}/{self.name}-{self.key}{self.suffix}"


@dataclass(frozen=True)
class Results:
    """Folder that holds the results of tasks.

    Parameters
    ----------
    folder
        Where they are; it is made when it is missing.
    """

    folder: Path

    def path(self, task: Task) -> Path:
        """Place of a task's file."""
        return self.folder / task.file

    def has(self, task: Task) -> bool:
        """Whether a task is done."""
        return self.path(task).is_file()

    def load(self, task: Task) -> dict[str, Any]:
        """Read the result of a task that wrote JSON."""
        result: dict[str, Any] = json.loads(self.path(task).read_text(encoding="utf-8"))
        return result

    @contextmanager
    def writing(self, task: Task) -> Iterator[Path]:
        """Give a temporary name to write to; the file gets its own name when it is whole, or vanishes."""
        final = self.path(task)
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".partial-", suffix=task.suffix, dir=final.parent)
        os.close(handle)
        try:
            yield Path(temporary)
            Path(temporary).replace(final)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def save(self, task: Task, result: Mapping[str, Any]) -> None:
        """Write the result of a task as JSON."""
        with self.writing(task) as path:
            path.write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")

    def sweep(self) -> None:
        """Remove what workers that were stopped had begun to write."""
        for path in self.folder.glob("*/.partial-*"):
            path.unlink(missing_ok=True)


Worker = Callable[[Task, Results], None]


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """All tasks and what they need, each once, none before what it needs."""
    ordered: dict[str, Task] = {}

    def add(task: Task) -> None:
        if task.key not in ordered:
            for need in task.needs.values():
                add(need)
            ordered[task.key] = task

    for task in tasks:
        add(task)
    return list(ordered.values())


@cache
def code_hash(code: tuple[str, ...] = _CODE) -> str:
    """Hash of all code that a result can depend on, and of the versions of the libraries under it.

    `code` names the rooms, and single modules with their place in the package.
    """
    from napari_aptdefect.pipeline.record import versions

    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    libraries = {name: version for name, version in versions().items() if name != "napari-aptdefect"}
    digest.update(json.dumps(libraries, sort_keys=True).encode())
    files = [root / leaf for leaf in _LEAVES]
    for one in code:
        found = (path for path in (root / one).rglob("*") if path.suffix in (".py", ".safetensors"))
        files += [root / one] if one.endswith(".py") else sorted(found)
    for path in files:
        if not any(path.stem.startswith(name) for name in _SHOWS_ONLY):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
