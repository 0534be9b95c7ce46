from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_aptdefect.apt.weights import LabeledIons, LabeledProblem, UnlabeledParams, UnlabeledProblem
from napari_aptdefect.apt.weights.classifier import fit_linear, macro_f1
from napari_aptdefect.apt.weights.space import softmax
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError

Draw = Callable[[int], LabeledIons]


def test_macro_f1_is_that_of_sklearn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(3)
    truth, claimed = rng.integers(0, 4, 300), rng.integers(1, 5, 300)
    assert macro_f1(truth, claimed, 9) == pytest.approx(f1_score(truth, claimed, average="macro"), abs=1e-12)


def test_classifier_is_that_of_sklearn(draw: Draw) -> None:
    from sklearn.linear_model import LogisticRegression

    ions = draw(5)
    x, penalty = np.concatenate(ions.blocks, axis=1).astype(float), 0.02
    ours = fit_linear(x, ions.label, 3, penalty)
    # its loss is C * sum of n / (classes * ions of the class) terms + |W|^2 / 2
    theirs = LogisticRegression(C=1 / (penalty * len(x)), class_weight="balanced", tol=1e-8, max_iter=5000)
    theirs.fit(x, ions.label)
    np.testing.assert_allclose(ours.weight.T, theirs.coef_, atol=2e-3)
    assert np.mean(ours.classes(x) == theirs.predict(x)) > 0.99


def test_a_class_without_training_ions_is_never_claimed(draw: Draw) -> None:
    ions = draw(5)
    fitted = fit_linear(ions.blocks[0].astype(float), np.where(ions.label == 2, 3, ions.label), 5, 0.01)
    assert set(fitted.classes(ions.blocks[0].astype(float)).tolist()) <= {0, 1, 3}


def test_gradient_is_that_of_the_loss(problem: LabeledProblem) -> None:
    logits, step = np.array([0.3, -0.2, 0.5]), 1e-3
    found = problem.evaluate(softmax(logits)).gradient
    for i in range(3):
        ends = [problem.classifier(softmax(logits + sign * step * np.eye(3)[i])).loss for sign in (1, -1)]
        assert found is not None
        assert found[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-4)
    assert abs(found.sum()) < 1e-12  # a constant added to all log-weights changes nothing


def test_the_informative_set_scores_best(problem: LabeledProblem) -> None:
    alone = [problem.evaluate(w).score for w in np.eye(3)]
    assert int(np.argmax(alone)) == 1
    assert alone[2] < 0.45
    assert problem.evaluate(np.full(3, 1 / 3)).score < alone[1]


def test_scores_on_other_ions(problem: LabeledProblem, draw: Draw) -> None:
    validation, test = draw(2), draw(9)
    w = np.array([0.2, 0.7, 0.1])
    assert problem.score_on(w, validation) == pytest.approx(problem.evaluate(w).score, abs=1e-12)
    assert problem.concatenated(validation, test)[1] > 0.7


def test_refuses_labels_that_teach_nothing(draw: Draw) -> None:
    ions = draw(1)
    with pytest.raises(ParameterError, match="two classes"):
        LabeledProblem(("a", "b", "c"), LabeledIons(ions.blocks, np.ones(600, int)), ions)
    with pytest.raises(ParameterError, match="from 0"):
        LabeledIons(ions.blocks, ions.label - 1)
    with pytest.raises(ShapeError):
        LabeledIons(ions.blocks, ions.label[:5])
    with pytest.raises(EmptySelectionError):
        LabeledIons((np.zeros((0, 2)),), np.zeros(0, int))


def clusters_in_one_set() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 3, 400)
    return 8.0 * np.eye(3)[kind] + rng.normal(size=(400, 3)), rng.normal(size=(400, 3))


def test_without_labels_the_set_with_clusters_scores_best() -> None:
    blocks = clusters_in_one_set()
    problem = UnlabeledProblem(("clear", "noise"), blocks, UnlabeledParams(width=3, n_clusters=3, most_ions=300))
    clear, noise = (problem.evaluate(w) for w in np.eye(2))
    assert clear.score > 0.8 > 0.5 > noise.score
    assert clear.gradient is None
    assert problem.evaluate(np.eye(2)[1]).score == noise.score


def test_too_few_ions_for_the_clusters() -> None:
    with pytest.raises(EmptySelectionError, match="too few"):
        UnlabeledProblem(("a",), (np.zeros((20, 2)),))
