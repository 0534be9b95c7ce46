"""Search of parameters: fair, reproducible, and open about what failed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines import (
    BASELINES,
    COORDINATES,
    FUSED,
    METHODS,
    Baseline,
    Clustering,
    Dbscan,
    MaximumSeparation,
    claimed_clusters,
    tune,
)
from napari_aptdefect.evaluate.baselines.density_based import DbscanParams
from napari_aptdefect.evaluate.baselines.draws import draw_params
from napari_aptdefect.stage import Params, Progress, drain, param

ids = [f"{b.name}-{b.space}" for b in BASELINES]


@pytest.mark.parametrize("baseline", BASELINES, ids=ids)
def test_draws_fill_the_bounds(baseline: Baseline) -> None:
    rng = np.random.default_rng(0)
    drawn = [baseline.draw(rng) for _ in range(300)]
    default = baseline.params_model()
    assert baseline.searched
    for name in baseline.params_model.model_fields:
        values = [getattr(each, name) for each in drawn]
        if name not in baseline.searched:
            assert set(values) == {getattr(default, name)}
            continue
        metadata = baseline.params_model.model_fields[name].metadata
        bounds = {kind: getattr(m, kind) for m in metadata for kind in ("ge", "le") if hasattr(m, kind)}
        if not bounds:  # a switch or a choice
            assert len(set(values)) == 2
            continue
        span = bounds["le"] - bounds["ge"]
        assert min(values) < bounds["ge"] + 0.1 * span
        assert max(values) > bounds["le"] - 0.2 * span
        if bounds["ge"] == 0:
            assert 0.15 < np.mean(np.array(values) == 0) < 0.35


def test_what_has_no_effect_in_a_space_is_not_searched() -> None:
    for method in METHODS:
        assert not {"anomalous_share", "deviation", "enrichment"} & set(method(COORDINATES).searched)
        assert not {"threshold_percent", "low", "high"} & set(method(FUSED).searched)
        assert not {"max_points", "link_nm", "n_relabelings", "false_clusters"} & set(method(FUSED).searched)


def test_a_field_without_bounds_is_not_drawn() -> None:
    class Open(Params):
        size: float = param(1.0, title="Size", description="No upper bound.", ge=0.0)

    with pytest.raises(ParameterError, match="can't draw size"):
        draw_params(Open, ["size"], np.random.default_rng(0))


def _recall(truth: Any) -> Any:
    def objective(index: int, found: Clustering) -> float:
        claimed = claimed_clusters(found)
        return float(np.sum(claimed & (truth > 0)) / np.sum(claimed | (truth > 0)))

    return objective


def test_tuning_starts_from_the_defaults_and_never_ends_below_them(spheres: Any) -> None:
    progress: list[Progress] = []
    method = Dbscan(COORDINATES)
    tuned = drain(tune(method, [spheres.specimen], _recall(spheres.truth), 6, 1), progress.append)
    assert len(tuned.trials) == len(progress) == 6
    assert tuned.trials[0].params == DbscanParams()
    assert tuned.score == max(trial.score for trial in tuned.trials) >= tuned.trials[0].score
    assert tuned.params in [trial.params for trial in tuned.trials if trial.score == tuned.score]
    again = drain(tune(method, [spheres.specimen], _recall(spheres.truth), 6, 1))
    assert [t.params for t in again.trials] == [t.params for t in tuned.trials]
    assert [t.score for t in again.trials] == [t.score for t in tuned.trials]
    other = drain(tune(method, [spheres.specimen], _recall(spheres.truth), 2, 2))
    assert other.trials[1].params != tuned.trials[1].params


def test_the_score_is_the_mean_over_specimens(spheres: Any) -> None:
    scores = [0.25, 0.75]
    tuned = drain(tune(Dbscan(COORDINATES), [spheres.specimen] * 2, lambda i, _: scores[i], 1, 0))
    assert tuned.score == 0.5


def test_failed_trials_are_recorded(spheres: Any) -> None:
    calls = iter([math.nan, 0.5, 0.7])
    tuned = drain(tune(Dbscan(COORDINATES), [spheres.specimen], lambda *_: next(calls), 3, 0))
    assert tuned.trials[0].score == -math.inf
    assert "not a number" in tuned.trials[0].error
    assert tuned.params == tuned.trials[2].params

    def fails(index: int, found: Clustering) -> float:
        raise ValueError("no such thing")

    tuned = drain(tune(MaximumSeparation(COORDINATES), [spheres.specimen], fails, 2, 0))
    assert [trial.score for trial in tuned.trials] == [-math.inf] * 2
    assert "ValueError: no such thing" in tuned.trials[1].error
    assert tuned.params == tuned.trials[0].params


def test_nothing_to_tune_on_is_refused(spheres: Any) -> None:
    with pytest.raises(ParameterError, match="at least one trial"):
        drain(tune(Dbscan(COORDINATES), [], lambda *_: 0.0, 1, 0))
    with pytest.raises(ParameterError, match="at least one trial"):
        drain(tune(Dbscan(COORDINATES), [spheres.specimen], lambda *_: 0.0, 0, 0))
