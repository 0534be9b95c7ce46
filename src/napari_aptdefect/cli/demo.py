"""The verb ``demo``: the main job on the built-in sample and on real data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.analysis import run_result, run_text
from napari_aptdefect.cli.simulate import write_gan_nanowire
from napari_aptdefect.cli.window import has_display, launch
from napari_aptdefect.errors import DownloadError
from napari_aptdefect.io.samples import fetch_si
from napari_aptdefect.pipeline import analysis
from napari_aptdefect.pipeline.run_folder import RunFolder
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams

SAMPLE = GanNanowireParams()


def demo(
    *,
    out: Path = Path("aptdefect-demo"),
    si: Annotated[bool, Parameter(negative="--no-si")] = True,
    gui: Annotated[bool, Parameter(negative="--no-gui")] = True,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Analyze the built-in sample and a real data set, and show the result.

    Parameters
    ----------
    out
        Folder to write into; the demo's own earlier runs in it are replaced.
    si
        Also fetch (57 MB, once) and analyze the real silicon data set.
    gui
        Open napari at the end when there is a display.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        runs = [_demo_gan(out)]
        trouble = None
        if si:
            try:
                runs.append(_demo_si(out))
            except DownloadError as error:
                trouble = str(error)
                terminal.say(
                    f"The real silicon data set could not be fetched, so the demo goes on without it: {trouble}"
                )
        results = [run_result(run) for run in runs]
        write({"runs": results, "not_fetched": trouble}, lambda: "\n\n".join(_demo_text(result) for result in results))
    if gui and has_display():
        terminal.say("Opening napari; close its window to end the demo.")
        launch([runs[-1].path])
    elif gui:
        command = sys.argv[0] if Path(sys.argv[0]).stem == "aptdefect" else "aptdefect"  # make demo has its own
        terminal.say(f"There is no display here; on a desktop, see the result with: {command} gui {runs[-1].path}")
    return terminal.EXIT.DONE


def _demo_gan(out: Path) -> RunFolder:
    terminal.say("Making the built-in sample, a GaN nanowire with known defects")
    sample = out / "gan-nanowire"
    write_gan_nanowire(sample, SAMPLE, seed=0)
    return _demo_run("the GaN nanowire", sample / "cloud.epos", sample / "ranges.rrng", out / "gan-nanowire-run")


def _demo_si(out: Path) -> RunFolder:
    terminal.say("Getting the real silicon data set, 945,211 ions (57 MB are fetched the first time)")
    with terminal.progress() as show:
        folder = fetch_si(show)
    return _demo_run("the silicon data set", folder / "Si.epos", folder / "Si.RRNG", out / "si-run")


def _demo_run(what: str, cloud: Path, ranges: Path, out: Path) -> RunFolder:
    terminal.say(f"Analyzing {what}")
    run: RunFolder = terminal.run_stage(analysis.analyze(cloud, out, ranges=ranges, overwrite=True))
    return run


def _demo_text(result: dict[str, Any]) -> str:
    return "\n".join([run_text(result), *(f"picture     {path}" for path in result["figures"])])
