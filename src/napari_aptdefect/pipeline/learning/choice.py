"""Which model looks at a cloud: the user's own, the one shipped for its material, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from napari_aptdefect.apt.features.lattice import RESOLVED, lattice_resolved
from napari_aptdefect.apt.features.shapes import VOXEL_NM
from napari_aptdefect.errors import Issue, ParameterError
from napari_aptdefect.pipeline.learning.inputs import elements_of, kinds_of
from napari_aptdefect.stage import Params, Progress, Stage, param

if TYPE_CHECKING:
    from napari_aptdefect.pipeline.job import Job
    from napari_aptdefect.pipeline.judging import Gathered
    from napari_aptdefect.pipeline.learning.model_file import DefectModel
    from napari_aptdefect.pipeline.learning.sight import Sights


_MOST_VOXELS: Final = 2e7  # of which each takes about 500 bytes


_LATTICE: Final = (
    "The lattice of the specimen is resolved: single vacancies and interstitials and bare faults are named, too, and "
    "no random reference says what chance makes, since none has a lattice."
)


class ModelParams(Params):
    """Which trained model names defects."""

    use: Literal["auto", "off"] = param(
        "auto",
        title="Use",
        description="auto: the model given here, else the one shipped for the two main elements, where there is one; "
        "off: types and names without anything learned.",
    )
    path: str = param(
        "", title="Model file", description="A model of aptdefect train. Empty: those shipped with the package."
    )
    right_ions: float = param(
        100.0,
        title="Right ions",
        description="A defect that a model finds has at least this many ions of its class, by the sum of their "
        "probabilities; one where the lattice is resolved.",
        unit="ions",
        ge=0.0,
        le=1e9,
    )


def shipped_models() -> tuple[Path, ...]:
    """Models that come with the package."""
    return tuple(sorted((Path(__file__).parent / "models").glob("*.safetensors")))


def chosen_model(job: Job, gathered: Gathered) -> Stage[DefectModel | None]:
    """Find and read the model for a cloud, at 78 of 100; None where there is none or none is wanted.

    Raises
    ------
    MissingFileError
        If the given file is not there.
    FormatError
        If it is no model.
    ParameterError
        If it was trained on another material.
    """
    params: ModelParams = job.params.model
    if params.use == "off":
        return None
    yield Progress(78, 100, "network: choose a model")
    from napari_aptdefect.pipeline.learning.model_file import DefectModel, read_card

    try:
        main, _ = elements_of(gathered.ranging.table.ions, gathered.species_idx)
        _check_size(gathered)
    except ParameterError as error:
        if params.path:
            raise
        job.note("network", (Issue("no-model", f"no trained model was used: {error}"),))
        return None
    paths = (Path(params.path),) if params.path else shipped_models()
    cards = {path: read_card(path) for path in paths}
    fitting = [path for path in paths if tuple(cards[path]["elements"]) == main]
    if any(cards[path]["for_lattice"] for path in fitting):
        kind = kinds_of(gathered.species_idx, gathered.ranging.table.ions)
        resolved = lattice_resolved(gathered.xyz_nm, kind)
        fitting = [path for path in fitting if not cards[path]["for_lattice"] or resolved >= RESOLVED]
        fitting.sort(key=lambda path: not cards[path]["for_lattice"])
    if fitting:
        with job.log.measure("read the model"):
            return DefectModel.read(fitting[0])
    if params.path:
        card = cards[paths[0]]
        needs = f"{'-'.join(card['elements'])}{' with a resolved lattice' if card['for_lattice'] else ''}"
        raise ParameterError(
            f"the model {paths[0]} was trained on {needs}, the main elements of the cloud are {'-'.join(main)}"
            + (
                f" and {resolved:.0%} of its ions are resolved, at least {RESOLVED:.0%} are needed"
                if tuple(card["elements"]) == main
                else ""
            )
            + '; give another model, or set [model] use = "off" (--model.use off)'
        )
    return None


def _check_size(gathered: Gathered) -> None:
    """Make sure that the grids of the shapes fit in memory: those of the model's inputs are not made in tiles yet.

    Raises
    ------
    ParameterError
        If they don't.
    """
    voxels = float(np.prod(np.ptp(gathered.xyz_nm, axis=0).astype(float) / VOXEL_NM))
    if voxels > _MOST_VOXELS:
        raise ParameterError(
            f"the specimen spans {voxels / 1e6:.0f} million voxels of the model's inputs, at most "
            f"{_MOST_VOXELS / 1e6:.0f} million fit in memory; cut it along z, or switch the model off"
        )


def model_notes(job: Job, sights: Sights | None) -> list[str]:
    """How the names came about, in sentences."""
    if sights is None:
        left_out = any(issue["code"] == "no-model" for issue in job.issues)
        why = "the issues say why" if left_out else "there is none for this material"
        why = "as asked for" if job.params.model.use == "off" else why
        return [
            f"No trained model was used ({why}): types come from clustering without labels, names from rules of thumb."
        ]
    material = "-".join(sights.model.elements)
    levels = ", ".join(str(one["level"]) for one in sights.model.card.get("test", ()))
    return [
        f"A trained model named the defects, which has learned from simulated {material} wires only (levels {levels}).",
        *([_LATTICE] if sights.model.for_lattice else []),
        "How well it does on wires that it had not seen is said in run.json, under summary, model, card.",
    ]
