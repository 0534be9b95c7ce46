"""A wire made ready for all methods: simulated, analyzed once, and kept in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.evaluate.labels import ROLES, Claim, TrueDefects, Truth
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.fields import Frame
from napari_aptdefect.pipeline.benchmark.scenarios import CORE_NM, WireRecipe
from napari_aptdefect.pipeline.finding import find_both
from napari_aptdefect.pipeline.outputs import Found, ion_columns
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.simulated import SimulatedCloud
from napari_aptdefect.simulate.truth import VISIBLE_D_PRIME
from napari_aptdefect.stage import drain

_CLAIM: Final = ("class", "instance", "number", "number_class", "probability")
_MAIN_ELEMENTS: Final = {"Ga", "N"}
_ANALYSIS: Final = {
    "full": AnalysisParams(),
    # One small reference knows chance badly, but a trial run need not.
    "quick": AnalysisParams.model_validate({"reference": {"min_ions": 0}, "clustering": {"k_max": 2}}),
}


@dataclass(frozen=True, eq=False)
class ReadyWire:
    """What a method may see of a wire, and what is true of it.

    Parameters
    ----------
    name
        What it is called.
    specimen
        What a method may see: positions, species, local composition, fused features and anomaly of all ions.
    named
        What our own analysis claims without anything learned, all ions.
    learned
        What it claims with the shipped model, all ions; None where none is shipped for the material.
    truth
        Truth about the ions of the core, which alone are scored.
    core
        Which ions are scored, shape (N,), bool: those that truly come from 2 nm and more below the surface.
    facts
        The recipe, counts, and one entry per true defect.
    """

    name: str
    specimen: Specimen
    named: Claim
    learned: Claim | None
    truth: Truth
    core: NDArray[np.bool_]
    facts: dict[str, Any]

    @cached_property
    def named_in_core(self) -> Claim:
        """What our own analysis claims about the core without anything learned."""
        return in_core(self.named, self.core)

    @cached_property
    def learned_in_core(self) -> Claim | None:
        """What it claims about the core with the shipped model."""
        return None if self.learned is None else in_core(self.learned, self.core)


def in_core(claim: Claim, core: NDArray[np.bool_]) -> Claim:
    """Part of a claim about the ions of the core; claimed defects without an ion there are dropped."""
    instance = claim.instance[core]
    kept = np.isin(claim.number, instance)
    return Claim(claim.class_idx[core], instance, claim.number[kept], claim.number_class[kept], claim.probability[kept])


def make_wire(recipe: WireRecipe, path: Path) -> None:
    """Simulate a wire, analyze it, and write all that methods need to one file.

    Parameters
    ----------
    recipe
        Which wire.
    path
        File to write, ``.npz``.
    """
    params = recipe.params()
    simulated = drain(simulate_gan_nanowire(params, recipe.seed))
    cloud = simulated.cloud
    if recipe.kind == "relabeled":
        rng = np.random.default_rng([11, recipe.seed])
        cloud = IonCloud.from_arrays(cloud.xyz_nm, cloud.mass_da[rng.permutation(cloud.n_ions)])
    found, learned = drain(find_both(cloud, simulated.ranges, _ANALYSIS[recipe.size], seed=recipe.seed))
    claims = _named(found, "claim") | ({} if learned is None else _named(learned, "learned"))
    arrays = _seen(found, simulated.ranges) | claims | true_arrays(simulated, params)
    facts = {
        "recipe": recipe.as_dict(),
        "n_ions": cloud.n_ions,
        "n_core": int(arrays["core"].sum()),
        "species": list(simulated.ranges.names),
        "solutes": list(solutes_of(simulated.ranges)),
        "defects": [
            {
                "defect": one.defect,
                "defect_class": one.defect_class,
                "kind": one.kind,
                "role": one.role,
                "radius_nm": one.region.radius_nm,
                "n_ions": one.n_ions,
                "d_prime": one.d_prime if np.isfinite(one.d_prime) else None,
                "visible": one.visible,
            }
            for one in simulated.defects
        ],
    }
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)


def load_wire(path: Path) -> ReadyWire:
    """Read a wire that `make_wire` wrote."""
    with np.load(path) as stored:
        data = {name: stored[name] for name in stored.files}
    facts: dict[str, Any] = json.loads(str(data.pop("facts")))
    core = data["core"]
    truth = truth_of(data)
    return ReadyWire(
        WireRecipe(**facts["recipe"]).name,
        Specimen(
            xyz_nm=data["xyz_nm"],
            species_idx=data["species_idx"],
            species_names=tuple(facts["species"]),
            solutes=tuple(facts["solutes"]),
            composition=data["composition"],
            fused=data["fused"],
            anomaly=data["anomaly"],
            judged=data["judged"],
        ),
        _claim(data, "claim"),
        _claim(data, "learned") if "learned_class" in data else None,
        truth,
        core,
        facts,
    )


def _claim(data: Mapping[str, NDArray[Any]], prefix: str) -> Claim:
    return Claim(*(data[f"{prefix}_{name}"] for name in _CLAIM))


def truth_of(data: Mapping[str, NDArray[Any]]) -> Truth:
    """Truth about the ions of the core, from the arrays of `true_arrays`."""
    core = data["core"]
    defects = TrueDefects(
        data["true_number"],
        data["true_class"],
        data["true_role"],
        data["true_visible"],
        data["true_ceiling"],
        data["true_d_prime"],
    )
    bound_class = np.append(np.int8(0), defects.class_idx)[data["bound_instance"]]
    return Truth(
        np.append(np.int8(0), defects.class_idx)[data["instance"]][core],
        data["instance"][core],
        defects,
        bound_class[core],
        data["bound_instance"][core],
    )


def solutes_of(ranges: RangeTable) -> tuple[int, ...]:
    """Ions that hold an element besides Ga and N: the analyst's choice of what may cluster."""
    return tuple(i for i, ion in enumerate(ranges.ions) if {name for name, _ in ion.elements} - _MAIN_ELEMENTS)


def local_composition(
    xyz_nm: NDArray[np.float32], species_idx: NDArray[np.int16], solutes: Sequence[int], frame: Frame, sigma_nm: float
) -> NDArray[np.float32]:
    """Share of each solute among the ranged ions around each ion, itself left out, and the density around it.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    species_idx
        Shape (N,), -1 unranged.
    solutes
        Species whose shares are wanted.
    frame
        Grid of the counts.
    sigma_nm
        Width of the Gaussian neighborhood, nm.

    Returns
    -------
    Shape (N, number of solutes + 1), float32; the last column is the density over its median.
    """
    own = frame.self_weight(xyz_nm, sigma_nm)
    ranged = species_idx >= 0
    around = frame.sample(frame.smooth(frame.count(xyz_nm[ranged]), sigma_nm), xyz_nm) - np.where(ranged, own, 0)
    out = np.empty((len(xyz_nm), len(solutes) + 1), np.float32)
    for column, solute in enumerate(solutes):
        mine = species_idx == solute
        hits = frame.sample(frame.smooth(frame.count(xyz_nm[mine]), sigma_nm), xyz_nm) - np.where(mine, own, 0)
        out[:, column] = np.divide(hits, around, out=np.zeros_like(hits), where=around > 1e-6)
    density = frame.sample(frame.smooth(frame.count(xyz_nm), sigma_nm), xyz_nm) - own
    out[:, -1] = density / max(float(np.median(density)), 1e-12)
    return out


def _seen(found: Found, ranges: RangeTable) -> dict[str, NDArray[Any]]:
    """What methods may see; ions that the analysis left out have no features and are not judged."""
    used, features = found.normalized.used, found.measured.features
    xyz, species = found.normalized.xyz_nm, found.ranging.ion_idx
    composition = local_composition(xyz[used], species[used], solutes_of(ranges), found.normalized.frame, 1.0)

    def spread(values: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((len(used), *values.shape[1:]), values.dtype)
        out[used] = values
        return out

    return {
        "xyz_nm": xyz,
        "species_idx": species.astype(np.int16),
        "composition": spread(composition),
        "fused": spread(found.fused.vectors),
        "anomaly": spread(found.fused.anomaly),
        "judged": spread(features.judged),
    }


def _named(found: Found, prefix: str) -> dict[str, NDArray[Any]]:
    columns = ion_columns(found)
    defects = found.defects.defects
    classes = dict(zip(columns["defect"].tolist(), columns["class_idx"].tolist(), strict=True))
    number = np.arange(1, len(defects) + 1, dtype=np.int32)
    values: tuple[NDArray[Any], ...] = (
        columns["class_idx"].astype(np.int8),
        columns["defect"].astype(np.int32),
        number,
        np.array([classes[n] for n in number.tolist()], np.int8),
        np.array([one.probability for one in defects], np.float64),
    )
    return {f"{prefix}_{name}": value for name, value in zip(_CLAIM, values, strict=True)}


def true_arrays(simulated: SimulatedCloud, params: GanNanowireParams) -> dict[str, NDArray[Any]]:
    """Gather what is true of a simulated wire as arrays that a file can hold."""
    defects = simulated.defects
    depth = gan.depth_below_facets_nm(simulated.xyz_true_nm, params.radius_nm, params.length_nm, params.facets)
    core = depth >= CORE_NM
    # Of lines and planes only the part in the core can be found there, and d'^2 grows with the length or area.
    number = [one.defect for one in defects]
    whole, part = (
        np.bincount(rows, minlength=len(defects) + 1)[number] for rows in (simulated.instance, simulated.instance[core])
    )
    d_prime = np.array([one.d_prime for one in defects]) * np.sqrt(part / np.maximum(whole, 1))
    return {
        "core": core,
        "instance": simulated.instance,
        "bound_instance": simulated.bound_instance,
        "true_number": np.array([one.defect for one in defects], np.int32),
        "true_class": np.array([one.code for one in defects], np.int8),
        "true_role": np.array([ROLES.index(one.role) for one in defects], np.int8),
        "true_visible": d_prime >= VISIBLE_D_PRIME,
        "true_ceiling": np.array([one.iou_ceiling for one in defects], np.float64),
        "true_d_prime": d_prime,
    }
