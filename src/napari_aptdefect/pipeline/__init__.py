"""Joins the stages: the analysis, the run folder, provenance, tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_aptdefect.pipeline.analysis import analyze, rerun
    from napari_aptdefect.pipeline.params import AnalysisParams, load_params
    from napari_aptdefect.pipeline.run_folder import RunFolder

_HOMES = {
    "AnalysisParams": "params",
    "RunFolder": "run_folder",
    "analyze": "analysis",
    "load_params": "params",
    "rerun": "analysis",
}

__all__ = ["AnalysisParams", "RunFolder", "analyze", "load_params", "rerun"]


def __getattr__(name: str) -> Any:
    # Lazily, because opening a run in napari needs the run folder alone and not the numerics of all stages.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
