"""The verb ``simulate``: data with known defects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.options import given, made, options_for
from napari_aptdefect.pipeline.params import load_toml
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire, write_simulated


def gan_nanowire(
    *,
    out: Path,
    params: Path | None = None,
    seed: NonNegativeInt = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    options: options_for(GanNanowireParams) = None,  # type: ignore[valid-type]
) -> int:
    """Make an ion cloud of a GaN nanowire with known defects.

    Parameters
    ----------
    out
        Folder to write the cloud, its ranges and the truth into.
    params
        TOML file with parameters; options given here override it. A [[defects]] table adds one defect with its own.
    seed
        Seed of everything random.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        chosen = made(GanNanowireParams, load_toml(params), given(options))
        files = [str(path) for path in write_gan_nanowire(out, chosen, seed)]
        write({"out": str(out), "seed": seed, "files": files}, lambda: "\n".join(files))
    return terminal.EXIT.DONE


def write_gan_nanowire(out: Path, params: GanNanowireParams, seed: int) -> tuple[Path, ...]:
    """Simulate a nanowire, write its data, ranges and truth into a folder, and return the files."""
    return write_simulated(terminal.run_stage(simulate_gan_nanowire(params, seed)), out)
