"""The search for parameters: it keeps what it has done, starts from what it is given, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.learning import tuning
from napari_aptdefect.pipeline.learning.course import CourseParams
from napari_aptdefect.pipeline.learning.tuning import TuningParams, tuned
from napari_aptdefect.stage import Progress, drain

PARAMS = CourseParams.model_validate(
    {
        "lessons": {"levels": (1,), "lessons": 2, "empty": 0, "validation": 1, "test": 1, "size": "quick"},
        "network": {"width": 16, "n_layers": 1, "heads": 2, "embedding": 8},
    }
)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[CourseParams]:
    """Parameters that were tried; a trial is the better, the nearer its learning rate is to 1 %."""
    tried: list[CourseParams] = []

    def score(params, *_):  # type: ignore[no-untyped-def]
        tried.append(params)
        yield Progress(0, 1, "trained")
        return -abs(params.training.learning_rate - 0.01)

    def nothing(*_):  # type: ignore[no-untyped-def]
        yield Progress(1, 1, "lessons")

    monkeypatch.setattr(tuning, "_score", score)
    monkeypatch.setattr(tuning, "run_tasks", nothing)
    monkeypatch.setattr(tuning, "scaling_of", lambda *_: None)
    monkeypatch.setattr(tuning, "load_lesson", lambda *_: type("Lesson", (), {"names": ()}))
    monkeypatch.setattr(tuning, "labeled_cloud", lambda *_: None)
    return tried


def test_the_best_trial_wins_and_the_first_is_what_was_given(scores: list[CourseParams], tmp_path: Path) -> None:
    best = drain(tuned(PARAMS, n_trials=12, work=tmp_path))
    assert len(scores) == 12
    assert scores[0] == PARAMS
    nearest = min(scores, key=lambda one: abs(one.training.learning_rate - 0.01))
    assert best == nearest
    assert best.lessons == PARAMS.lessons
    assert best.network.embedding == 8


def test_a_search_goes_on_where_it_was_stopped(scores: list[CourseParams], tmp_path: Path) -> None:
    drain(tuned(PARAMS, n_trials=3, work=tmp_path))
    stage = tuned(PARAMS, n_trials=6, work=tmp_path)
    for _ in range(4):
        next(stage)
    stage.close()  # in the middle of a trial, which is not told of
    before = len(scores)
    drain(tuned(PARAMS, n_trials=6, work=tmp_path))
    assert 4 <= before <= 5
    assert len(scores) - before <= 3
    assert drain(tuned(PARAMS, n_trials=6, work=tmp_path)) == min(
        scores, key=lambda one: abs(one.training.learning_rate - 0.01)
    )


def test_another_search_is_told_apart(scores: list[CourseParams], tmp_path: Path) -> None:
    drain(tuned(PARAMS, n_trials=1, work=tmp_path))
    with pytest.raises(ParameterError, match="other parameters"):
        drain(tuned(PARAMS, TuningParams(epochs=9), n_trials=1, work=tmp_path))
    with pytest.raises(ParameterError, match="one trial at least"):
        drain(tuned(PARAMS, n_trials=0, work=tmp_path))


def test_a_real_trial(tmp_path: Path) -> None:
    found = drain(tuned(PARAMS, TuningParams(lessons=1, epochs=1), n_trials=1, work=tmp_path))
    assert found == PARAMS
