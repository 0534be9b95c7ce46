"""A course on small wires: from the simulator to a model that names what it sees, and goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
from napari_aptdefect.pipeline.benchmark.tasks import Results
from napari_aptdefect.pipeline.benchmark.wires import true_arrays, truth_of
from napari_aptdefect.pipeline.finding import find, find_both
from napari_aptdefect.pipeline.learning import choice
from napari_aptdefect.pipeline.learning.course import CourseParams, LessonsParams, Timetable, course, labeled_cloud
from napari_aptdefect.pipeline.learning.lessons import MATRIX_IONS, lesson_task, load_lesson
from napari_aptdefect.pipeline.learning.model_file import DefectModel, read_card
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
from napari_aptdefect.stage import Progress, drain

PARAMS = CourseParams.model_validate(
    {
        "lessons": {"levels": (1,), "lessons": 2, "empty": 1, "validation": 1, "test": 1, "size": "quick"},
        "network": {"width": 16, "n_layers": 1, "heads": 2, "embedding": 8},
        "training": {"epochs": 3, "patience": 3},
    }
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("course")


@pytest.fixture(scope="module")
def seen(work: Path) -> tuple[DefectModel, list[Progress]]:
    told: list[Progress] = []
    model = drain(course(PARAMS, work=work), told.append)
    return model, told


def test_wires_of_one_purpose_have_no_other() -> None:
    wires = Timetable.of(LessonsParams(lessons=6, empty=3, validation=2, test=2))
    assert len(set(wires.all)) == len(wires.all) == 6 + 3 + 3 * (2 + 2 + 2 + 2)
    assert {one.split for one in wires.train} == {"train"}
    assert {one.split for one in wires.validation + wires.calibration} == {"validation"}
    assert {one.split for one in wires.test} == {"test"}
    assert [one.level for one in wires.train[:3]] == [1, 2, 3]
    assert len({one.seed for one in wires.all}) == len({(one.kind, one.split, one.number) for one in wires.all})
    with pytest.raises(ValueError, match="each once"):
        LessonsParams(levels=(1, 1))


def test_a_course_ends_with_a_model_that_was_tested(seen: tuple[DefectModel, list[Progress]], tmp_path: Path) -> None:
    model, told = seen
    assert set(model.classes) <= set(DEFECT_CLASSES[1:])
    assert 0 < model.cut < 1
    (level,) = model.card["test"]
    assert level["level"] == 1
    assert 0 < level["macro_f1"]["mean"] < 1
    assert 0 <= level["claimed_of_empty"] < 0.5
    assert np.all(np.diff(model.tail[:, 1]) >= 0)  # the rarer the higher
    done = [one.done / one.total for one in told]
    assert all(b >= a - 1e-9 for a, b in pairwise(done))
    model.write(tmp_path / "model.safetensors")
    assert read_card(tmp_path / "model.safetensors")["test"] == json.loads(json.dumps(model.card["test"]))


def test_the_card_says_how_sure_and_why(seen: tuple[DefectModel, list[Progress]], work: Path) -> None:
    model, _ = seen
    told = model.card["calibration"]
    assert list(told) == list(model.classes)
    for one in told.values():
        assert sum(one["n"]) > 1000
        assert 0 <= one["brier"] <= 1
    why = model.card["reasons"]
    assert set(why) <= set(model.classes)
    # the coefficients are the slopes of the log-odds, here taken by a small step of the strongest feature
    recipe = WireRecipe("mixture", "validation", 0, 1, "quick")
    cloud = labeled_cloud(load_lesson(Results(work / "tasks").path(lesson_task(recipe))), model.scaling)
    name = next(iter(why))
    feature, slope = why[name][0]
    rows = torch.from_numpy(np.flatnonzero(cloud.label.numpy() == DEFECT_CLASSES.index(name)))
    step, odds = torch.zeros(len(model.columns)), []
    for size in (-0.01, 0.01):
        step[model.columns.index(feature)] = size
        tensors = cloud.float()
        moved = replace(tensors, features=tensors.features + step, pooled=tensors.pooled + step)
        with torch.no_grad():
            embedding = model.network.embed(moved, model.network.nodes(moved)[0], rows).numpy()
        odds.append(model.classifier.log_odds(embedding)[:, model.classes.index(name)].astype(np.float64).mean())
    assert len(rows) < 2000
    assert (odds[1] - odds[0]) / 0.02 == pytest.approx(slope, rel=0.05, abs=1e-3)


def test_a_second_course_only_reads(seen: tuple[DefectModel, list[Progress]], work: Path) -> None:
    again = drain(course(PARAMS, work=work))
    for name, value in seen[0].network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(again.classifier.weight, seen[0].classifier.weight)


def test_a_lesson_holds_the_truth_of_its_wire(seen: tuple[DefectModel, list[Progress]], work: Path) -> None:
    recipe = WireRecipe("lesson", "train", 0, 1, "quick")
    lesson = load_lesson(Results(work / "tasks").path(lesson_task(recipe)))
    params = recipe.params()
    simulated = drain(simulate_gan_nanowire(params, recipe.seed))
    truth = truth_of(true_arrays(simulated, params)).visible_only()
    counted = np.bincount(truth.scored_class[truth.scored], minlength=len(DEFECT_CLASSES))
    weighed = np.bincount(lesson.label, lesson.stands_for, len(DEFECT_CLASSES))
    np.testing.assert_allclose(weighed, counted, rtol=1e-4)
    assert (lesson.label == 0).sum() == min(MATRIX_IONS, counted[0])
    assert (counted[1:] > 0).sum() >= 2
    assert len(lesson.pooled) == len(lesson.n_ions) == len(lesson.shares)
    assert all(len(one.indptr) == len(lesson.pooled) + 1 for one in lesson.relations)
    np.testing.assert_allclose(lesson.shares.sum(axis=1), 1, rtol=1e-5)


def test_a_model_judges_a_wire(seen: tuple[DefectModel, list[Progress]], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    seen[0].write(path)
    recipe = WireRecipe("mixture", "validation", 0, 1, "quick")
    simulated = drain(simulate_gan_nanowire(recipe.params(), recipe.seed))
    params = AnalysisParams.model_validate(
        {"model": {"path": str(path)}, "reference": {"min_ions": 0}, "clustering": {"k_max": 2}}
    )
    plain, learned = drain(find_both(simulated.cloud, simulated.ranges, params))
    assert learned is not None
    assert learned.sights is not None
    assert plain.sights is None
    assert any("No trained model" in note for note in plain.notes)
    assert any("A trained model named" in note for note in learned.notes)
    assert learned.clusters.threshold >= max(seen[0].cut, seen[0].threshold(0.001))
    named = {one.defect_class for one in learned.defects.defects}
    assert named <= {*seen[0].classes, "unknown", "void"}
    claimed = learned.defects.class_idx > 0
    voids = learned.defects.class_idx == DEFECT_CLASSES.index("void")  # those of the particle filter have their own
    agree = learned.defects.class_idx == learned.sights.mine.class_idx
    assert np.all(agree[claimed & ~voids])


def test_another_material_is_refused(seen: tuple[DefectModel, list[Progress]], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    replace(seen[0], elements=("In", "P")).write(path)
    recipe = WireRecipe("empty", "validation", 0, 1, "quick")
    simulated = drain(simulate_gan_nanowire(recipe.params(), recipe.seed))
    params = AnalysisParams.model_validate({"model": {"path": str(path)}, "reference": {"min_ions": 0}})
    with pytest.raises(ParameterError, match="trained on In-P"):
        drain(find_both(simulated.cloud, simulated.ranges, params))


def test_a_cloud_too_large_for_the_grids_goes_without_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_MOST_VOXELS", 1000.0)
    recipe = WireRecipe("empty", "validation", 0, 1, "quick")
    simulated = drain(simulate_gan_nanowire(recipe.params(), recipe.seed))
    params = AnalysisParams.model_validate({"reference": {"min_ions": 0}, "steps": {"voids": False, "hull": False}})
    found = drain(find(simulated.cloud, simulated.ranges, params))
    assert found.sights is None
    assert any("the issues say why" in note for note in found.notes)


def test_a_device_that_is_not_there(work: Path) -> None:
    with pytest.raises(ParameterError, match="no device 'nonsense'"):
        drain(course(PARAMS, work=work, device="nonsense"))
