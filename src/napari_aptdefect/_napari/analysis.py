"""What "Full analysis" does, without a window: which run to make, how, and what to show of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_aptdefect._napari.layers import LayerTuple
from napari_aptdefect._napari.runs import run_layers
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.display import DRAWN_IONS
from napari_aptdefect.pipeline.run_folder import RunFolder
from napari_aptdefect.stage import Progress, Stage

Analyze = Callable[..., Stage[RunFolder]]


@dataclass(frozen=True)
class Request:
    """One analysis as the form asks for it.

    Parameters
    ----------
    cloud
        File of the cloud.
    ranges
        Range file, or None to have ranges suggested from the mass spectrum.
    out
        Where the run folder shall be.
    params
        The `AnalysisParams`.
    seed
        Seed of all stages.
    drawn_ions
        Largest number of ions to draw of the result.
    """

    cloud: Path
    ranges: Path | None
    out: Path
    params: Any
    seed: int = 0
    drawn_ions: int = DRAWN_IONS


@dataclass(frozen=True)
class Outcome:
    """A finished analysis: its run folder and the layers that show it."""

    run: RunFolder
    layers: list[LayerTuple]

    @property
    def summary(self) -> str:
        """One line for a person, such as ``"12 defects in 945,211 ions"``."""
        summary = self.run.record.get("summary", {})
        n_defects, n_ions = int(summary.get("n_defects", 0)), int(summary.get("n_ions", 0))
        return f"{n_defects:,} {'defect' if n_defects == 1 else 'defects'} in {n_ions:,} ions"


def make_request(
    cloud: Path | None, ranges: Path | None, out: Path | None, params: Any, seed: int, drawn_ions: int = DRAWN_IONS
) -> Request:
    """Check what the form asks for before anything starts.

    Raises
    ------
    ParameterError
        If there is no cloud, a file is missing, or the place of the run folder is taken.
    """
    if cloud is None:
        raise ParameterError("choose an ion cloud first: a layer, or a file with Browse")
    if not cloud.is_file():
        raise ParameterError(f"there is no file {cloud}")
    if ranges is not None and not ranges.is_file():
        raise ParameterError(f"there is no range file {ranges}; correct it, or leave it empty to have ranges suggested")
    out = out if out is not None else free_run_folder(cloud)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ParameterError(f"{out} exists; name a new folder for the run")
    return Request(cloud, ranges, out, params, seed, drawn_ions)


def free_run_folder(cloud: Path, parent: Path | None = None) -> Path:
    """A path for a new run folder that is not taken: beside the cloud, or in the home folder if that is read-only.

    Parameters
    ----------
    cloud
        File of the cloud, which gives the name.
    parent
        Folder to put the run folder into, or None.
    """
    if parent is None or not parent.is_dir():
        parent = cloud.absolute().parent
    if not os.access(parent, os.W_OK):
        parent = Path.home()
    n = 1
    while (out := parent / f"{cloud.stem}_run{n}").exists():
        n += 1
    return out


def run_analysis(request: Request, analyze: Analyze | None = None) -> Stage[Outcome]:
    """Run one analysis and prepare its layers; closing this generator cancels it and leaves nothing behind.

    Parameters
    ----------
    request
        What to do.
    analyze
        The main job; by default that of the pipeline.
    """
    if analyze is None:
        from napari_aptdefect.pipeline.analysis import analyze
    run = yield from analyze(
        request.cloud, request.out, ranges=request.ranges, params=request.params, seed=request.seed
    )
    yield Progress(100, 100, "drawing the result")
    return Outcome(run, run_layers(run, budget=request.drawn_ions))
