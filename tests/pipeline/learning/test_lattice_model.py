"""The model for a resolved lattice: when it is chosen, and what it names that no other can."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_aptdefect.apt.features.lattice import columns
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
from napari_aptdefect.pipeline.benchmark.wires import true_arrays
from napari_aptdefect.pipeline.finding import find
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.learning.choice import chosen_model, shipped_models
from napari_aptdefect.pipeline.learning.course import LessonsParams
from napari_aptdefect.pipeline.learning.inputs import describe, kinds_of, takes_lattice
from napari_aptdefect.pipeline.learning.lessons import load_lesson, write_lesson
from napari_aptdefect.pipeline.learning.model_file import DefectModel
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
from napari_aptdefect.stage import drain

LATTICE_MODEL, PLAIN_MODEL = shipped_models()


def gathered(level: int) -> Any:
    """What `chosen_model` asks of a cloud."""
    recipe = WireRecipe("empty", "validation", 0, level, "quick")
    simulated = drain(simulate_gan_nanowire(recipe.params(), recipe.seed))
    ranging = SimpleNamespace(table=simulated.ranges)
    species = simulated.ranges.assign(simulated.cloud.mass_da)
    return SimpleNamespace(xyz_nm=simulated.cloud.xyz_nm, species_idx=species, ranging=ranging)


def chosen(level: int, path: Path | None = None) -> DefectModel | None:
    params = AnalysisParams.model_validate({"model": {"path": str(path or "")}})
    return drain(chosen_model(Job(params, 0), gathered(level)))


@pytest.mark.parametrize(("level", "expected"), [(0, LATTICE_MODEL), (1, PLAIN_MODEL), (3, PLAIN_MODEL)])
def test_the_lattice_decides_which_model_looks(level: int, expected: Path) -> None:
    model = chosen(level)
    assert model is not None
    assert model.path == expected


def test_a_given_model_is_used_where_it_can_be() -> None:
    model = chosen(0, PLAIN_MODEL)
    assert model is not None
    assert not model.for_lattice
    with pytest.raises(
        ParameterError, match=r"with a resolved lattice.* 2% of its ions are resolved, at least 50% are needed"
    ):
        chosen(1, LATTICE_MODEL)


def test_one_model_learns_from_lattices_or_from_blurred_wires() -> None:
    assert LessonsParams(levels=(0,)).levels == (0,)
    with pytest.raises(ValueError, match="give 0 alone"):
        LessonsParams(levels=(0, 1))


def test_a_lesson_of_level_0_has_points_and_the_lattice(tmp_path: Path) -> None:
    recipe = WireRecipe("lesson", "train", 1, 0, "quick")
    write_lesson(recipe, tmp_path / "lesson.npz")
    lesson = load_lesson(tmp_path / "lesson.npz")
    assert takes_lattice(lesson.names)
    names = {DEFECT_CLASSES[code] for code in np.unique(lesson.label).tolist()}
    assert {"vacancy", "interstitial"} <= names
    blurred = WireRecipe("lesson", "train", 1, 1, "quick").params().defects
    assert len(blurred) < len(recipe.params().defects)
    assert recipe.params().defects[: len(blurred)] == blurred  # the same wire, and points


def test_the_lattice_is_described_on_request_only() -> None:
    cloud = gathered(0)
    ions = cloud.ranging.table.ions
    plain, told = (
        drain(describe(cloud.xyz_nm, cloud.species_idx, ions, workers=1, with_lattice=on)) for on in (False, True)
    )
    assert told.table.names == (*plain.table.names, *(one.name for one in columns()))
    np.testing.assert_array_equal(told.table.values[:, : len(plain.table.names)], plain.table.values)
    assert np.nanmedian(told.table["lattice_bonds"]) == 4
    np.testing.assert_array_equal(kinds_of(cloud.species_idx, ions), told.kind)


def test_single_points_and_bare_faults_are_named_where_the_lattice_is_resolved() -> None:
    recipe = WireRecipe("controls", "validation", 1, 0, "quick")
    params = recipe.params()
    simulated = drain(simulate_gan_nanowire(params, recipe.seed))
    quick = {"reference": {"min_ions": 0}, "clustering": {"k_max": 2}, "steps": {"hull": False}}
    found = drain(find(simulated.cloud, simulated.ranges, AnalysisParams.model_validate(quick)))
    assert found.sights is not None
    assert found.sights.model.for_lattice
    assert len(found.sights.theirs.anomaly) == 0
    assert any("lattice of the specimen is resolved" in note for note in found.notes)
    truth = true_arrays(simulated, params)
    named = np.zeros(simulated.cloud.n_ions, np.int8)
    named[found.normalized.used] = found.defects.class_idx
    hit = {
        int(number): float((named[truth["core"] & (truth["instance"] == number)] == code).mean())
        for number, code in zip(truth["true_number"], truth["true_class"], strict=True)
        if (truth["core"] & (truth["instance"] == number)).any()
    }
    kinds = {one.defect: one.kind for one in simulated.defects}
    right = [kinds[number] for number, share in hit.items() if share > 0.5]
    assert sum("vacancy" in kind for kind in right) >= 2
    assert any("fault" in kind for kind in right)
    assert (named[truth["core"] & (truth["instance"] == 0)] != 0).mean() < 0.05
