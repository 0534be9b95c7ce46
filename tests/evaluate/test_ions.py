"""Scores per ion, held to scikit-learn and to numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.evaluate.ions import IonScores, score_ions
from napari_aptdefect.evaluate.labels import ROLES, TrueDefects, Truth

N_CLASSES = len(DEFECT_CLASSES)


def scores_of(true: np.ndarray, claimed: np.ndarray) -> IonScores:
    """Each class one instance."""
    return score_ions(Truth.from_labels(true, true), claimed.astype(np.int8))


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.choice([0, 1, 3, 5], 500, p=[0.7, 0.1, 0.1, 0.1])
    claimed = np.where(rng.random(500) < 0.6, true, rng.choice([0, 2, 3, 5, 8], 500))  # 2 and 8 are not there
    scores = scores_of(true, claimed)
    labels = list(range(N_CLASSES))
    np.testing.assert_array_equal(scores.confusion, metrics.confusion_matrix(true, claimed, labels=labels))
    oracle = metrics.precision_recall_fscore_support(true, claimed, labels=labels, zero_division=np.nan)
    for ours, theirs in zip((scores.precision, scores.recall), oracle[:2], strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_allclose(
        scores.f1, metrics.f1_score(true, claimed, labels=labels, average=None, zero_division=np.nan)
    )
    np.testing.assert_array_equal(scores.support, oracle[3])
    seen = sorted(set(true) | set(claimed))
    jaccard = metrics.jaccard_score(true, claimed, labels=seen, average=None)
    np.testing.assert_allclose(scores.iou[seen], jaccard)
    assert np.isnan(np.delete(scores.iou, seen)).all()
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(true, claimed, average="macro"))
    defects = [c for c in seen if c]
    assert scores.macro_f1_defects == pytest.approx(metrics.f1_score(true, claimed, labels=defects, average="macro"))
    assert scores.mean_iou_defects == pytest.approx(jaccard[1:].mean())
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(true, claimed))
    known = np.where(np.isin(claimed, true), claimed, 0)  # sklearn warns of classes that are not there
    assert scores_of(true, known).balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, known))


def test_all_matrix_has_the_majority_accuracy_and_nothing_else() -> None:
    true = np.array([0] * 8 + [5, 5])
    scores = scores_of(true, np.zeros(10))
    assert scores.accuracy == scores.majority_accuracy == 0.8
    assert scores.majority_class == "matrix"
    assert scores.balanced_accuracy == 0.5
    assert scores.macro_f1 == pytest.approx((16 / 18 + 0) / 2)
    assert scores.macro_f1_defects == scores.mean_iou_defects == 0
    assert np.isnan(scores.precision[5])


def test_a_class_that_is_claimed_and_not_there_lowers_the_means() -> None:
    true = np.array([0, 0, 0, 5, 5])
    right = scores_of(true, true)
    wrong = scores_of(true, np.array([0, 0, 8, 5, 5]))
    assert right.macro_f1_defects == 1
    assert wrong.macro_f1_defects == 0.5
    assert wrong.f1[8] == wrong.precision[8] == wrong.iou[8] == 0
    assert np.isnan(wrong.recall[8])


def test_a_defect_under_a_wrong_name_is_a_defect_all_the_same() -> None:
    scores = scores_of(np.array([0, 0, 5, 5]), np.array([0, 3, 3, 0])).any_defect
    assert scores.confusion.tolist() == [[1, 1], [1, 1]]
    assert scores.iou[1] == pytest.approx(1 / 3)


def test_controls_count_as_matrix_and_structures_not_at_all() -> None:
    defects = TrueDefects(
        [1, 2, 3], [5, 1, 0], np.arange(len(ROLES), dtype=np.int8), [True, False, False], [1, 1, 1], [9, 1, 1]
    )
    truth = Truth([0, 5, 5, 1, 1, 0, 0], [0, 1, 1, 2, 2, 3, 3], defects)
    scores = score_ions(truth, np.array([0, 5, 0, 1, 0, 6, 0], np.int8))
    assert (scores.n_ions, scores.n_left_out) == (5, 2)
    assert (scores.n_control, scores.n_control_claimed) == (2, 1)
    assert scores.support.tolist() == [3, 0, 0, 0, 0, 2, 0, 0, 0]
    assert scores.confusion[0, 1] == 1
    assert scores.n_claimed[6] == 0


def test_relative_to_the_bound() -> None:
    true = np.array([0, 0, 0, 5, 5, 5, 5, 6])
    bound = scores_of(true, np.array([0, 0, 5, 5, 5, 5, 0, 0]))  # IoU of class 5: 3/5; of class 6: 0
    ours = scores_of(true, np.array([0, 0, 5, 5, 5, 0, 0, 6]))  # 2/5; 1
    out = ours.as_dict(bound)
    assert out["classes"]["solute_cluster"]["iou_bound"] == pytest.approx(0.6)
    assert out["classes"]["solute_cluster"]["iou_over_bound"] == pytest.approx(2 / 3)
    assert np.isnan(out["classes"]["void"]["iou_over_bound"])
    assert out["mean_iou_defects_over_bound"] == pytest.approx(2 / 3)
    assert "mean_iou_defects_over_bound" not in ours.as_dict()


def test_no_ions() -> None:
    scores = scores_of(np.zeros(0, int), np.zeros(0))
    for name in ("accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1", "macro_f1_defects"):
        assert np.isnan(getattr(scores, name)), name
    assert scores.as_dict()["majority_class"] is None


def test_only_matrix() -> None:
    scores = scores_of(np.zeros(4, int), np.zeros(4))
    assert scores.macro_f1 == scores.accuracy == 1
    assert np.isnan(scores.macro_f1_defects)
    assert np.isnan(scores.any_defect.recall[1])


def test_refuses_another_number_of_ions() -> None:
    with pytest.raises(ShapeError, match="truth holds 4 ions and the claim 3"):
        scores_of(np.zeros(4, int), np.zeros(3))
