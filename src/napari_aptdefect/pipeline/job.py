"""One analysis while it runs: its parameters, its log, and the issues its stages report."""

from __future__ import annotations

from typing import Any

from napari_aptdefect.errors import Issue
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.record import StageLog
from napari_aptdefect.stage import Stage, scaled


class Job:
    """One analysis: keeps the log of its stages and the issues they report."""

    def __init__(self, params: AnalysisParams, seed: int, scheduler: str | None = None) -> None:
        self.params, self.seed, self.scheduler = params, seed, scheduler
        self.log = StageLog()
        self.issues: list[dict[str, Any]] = []

    def note(self, stage: str, issues: tuple[Issue, ...]) -> None:
        """Keep issues for the record; none is dropped."""
        self.issues += [
            {"code": i.code, "message": str(i), "severity": i.severity, "stage": stage}
            for i in dict.fromkeys(issues)  # the same one can come from opening and from checking
        ]

    def run(self, name: str, stage: Stage[Any], start: float, stop: float) -> Stage[Any]:
        """Run one stage, measured, its progress mapped to start..stop of 100."""
        with self.log.measure(name):
            result = yield from scaled(stage, start, stop, lambda p: f"{name}: {p.message}")
        return result
