"""The verb ``simulate``: data with known defects."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.options import given, options_for, overridden
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire, write_simulated


def gan_nanowire(
    *,
    out: Path,
    seed: NonNegativeInt = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    options: options_for(GanNanowireParams) = None,  # type: ignore[valid-type]
) -> int:
    """Make an ion cloud of a GaN nanowire with known defects.

    Parameters
    ----------
    out
        Folder to write the cloud, its ranges and the truth into.
    seed
        Seed of everything random.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        result = write_gan_nanowire(out, overridden(GanNanowireParams(), given(options)), seed)
        write(result, lambda: "\n".join(result["files"]))
    return terminal.EXIT.DONE


def write_gan_nanowire(out: Path, params: GanNanowireParams, seed: int) -> dict[str, Any]:
    """Simulate and write into `out`; the files appear there together or not at all."""
    simulated = terminal.run_stage(simulate_gan_nanowire(params, seed))
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as work:
        write_simulated(simulated, Path(work))
        files = sorted(path for path in Path(work).iterdir() if path.is_file())
        for path in files:
            path.replace(out / path.name)
    return {"out": str(out), "seed": seed, "files": [str(out / path.name) for path in files]}
