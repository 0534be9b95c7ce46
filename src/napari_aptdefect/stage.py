"""The stage contract: a pure, seeded function with one frozen parameter model, that yields its progress.

It lies below the stages' rooms because they build on it; `pipeline` joins the stages. A long stage is a generator that
yields `Progress` and returns its result; `drain` runs one headless, a worker thread in napari runs the same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `done` of `total` steps, and what it does now."""

    done: float
    total: float
    message: str = ""


Stage = Generator[Progress, None, T]
"""A running stage: yields `Progress`, returns its result; closing it cancels the stage."""


class Params(BaseModel):
    """Base of every parameter model: frozen, no unknown names, each field with title, description, unit and bounds.

    One such model is the Python argument, the form in napari, the options of the command line, the TOML file and the
    provenance record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=False)


def param(default: Any, *, title: str, description: str, unit: str = "", **bounds: Any) -> Any:
    """Declare one field of a `Params` model.

    Parameters
    ----------
    default
        Value when the user says nothing.
    title
        Label in forms and reports.
    description
        One sentence of help.
    unit
        Unit of the value, empty for pure numbers, choices and switches.
    bounds
        ``ge``, ``gt``, ``le``, ``lt`` and whatever else pydantic's ``Field`` takes.

    Returns
    -------
    The pydantic field.
    """
    extra: dict[str, Any] = {"unit": unit}
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def drain(stage: Stage[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run a stage to its end and return its result, handing each `Progress` to `on_progress`."""
    try:
        while True:
            progress = next(stage)
            if on_progress is not None:
                on_progress(progress)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        stage.close()


def scaled(stage: Stage[T], start: float, stop: float, message: Callable[[Progress], str] | None = None) -> Stage[T]:
    """Run a stage inside another, its progress mapped to start..stop of 100; closing the outer one closes it too.

    Parameters
    ----------
    stage
        The inner stage.
    start, stop
        Its share of the outer one, 0 to 100.
    message
        What to say of its progress; its own message when None.

    Returns
    -------
    The result of the inner stage.
    """
    try:
        while True:
            progress = next(stage)
            share = progress.done / progress.total if progress.total else 1.0
            text = progress.message if message is None else message(progress)
            yield Progress(start + (stop - start) * min(max(share, 0.0), 1.0), 100.0, text)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        stage.close()
