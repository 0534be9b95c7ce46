"""Claims measured by what the blur leaves of their targets: forty ions in a row."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.evaluate.blurred import blurred_matches, claims_about_others
from napari_aptdefect.evaluate.labels import Claim, TrueDefects, Truth

VOID, CLUSTER, FAULT = (DEFECT_CLASSES.index(name) for name in ("void", "solute_cluster", "stacking_fault"))
N = 40


@pytest.fixture
def truth() -> Truth:
    """A void of ions 0-9 whose ceiling is 0.4, a cluster of 10-19, a fault of 20-29 that no search can find."""
    instance = np.zeros(N, np.int32)
    instance[:10], instance[10:20], instance[20:30] = 1, 2, 3
    defects = TrueDefects(
        np.array([1, 2, 3], np.int32),
        np.array([VOID, CLUSTER, FAULT], np.int8),
        np.zeros(3, np.int8),
        np.array([True, True, False]),
        np.array([0.4, 0.9, 0.5]),
        np.array([9.0, 9.0, 2.0]),
    )
    codes = np.append(np.int8(0), defects.class_idx)[instance]
    bound = instance.copy()
    bound[30:33] = 3  # the blur has carried ions of the fault there
    return Truth(codes, instance, defects, np.append(np.int8(0), defects.class_idx)[bound], bound)


def claim(*claims: tuple[int, int, int, float]) -> Claim:
    """Claims of a class on the ions from one up to another, with a probability."""
    instance = np.zeros(N, np.int32)
    for number, (_, start, stop, _) in enumerate(claims, 1):
        instance[start:stop] = number
    number = np.arange(1, len(claims) + 1, dtype=np.int32)
    classes = np.array([one[0] for one in claims], np.int8)
    codes = np.append(np.int8(0), classes)[instance]
    return Claim(codes, instance, number, classes, np.array([one[3] for one in claims]))


def test_a_share_of_the_ceiling_is_enough(truth: Truth) -> None:
    part = truth.visible_only()
    # 3 of 10 ions: above half of the void's ceiling, below half of the cluster's
    found = blurred_matches(truth, claim((VOID, 0, 3, 0.9), (CLUSTER, 10, 13, 0.8)), part)
    assert found.right.tolist() == [True, False]
    assert found.counted.tolist() == [True, True]
    np.testing.assert_array_equal(found.target_probability, [0.9, np.nan, np.nan])


def test_the_class_must_agree_and_one_claim_meets_one_target(truth: Truth) -> None:
    part = truth.visible_only()
    found = blurred_matches(truth, claim((VOID, 0, 4, 0.3), (VOID, 4, 10, 0.7), (VOID, 10, 20, 0.9)), part)
    assert found.right.tolist() == [False, True, False]
    assert found.target_probability[0] == 0.7


def test_a_claim_about_what_is_left_out_counts_neither_way(truth: Truth) -> None:
    part = truth.visible_only()
    mostly, hardly = claim((FAULT, 24, 36, 0.5)), claim((FAULT, 27, 40, 0.5))  # 9 of 12 and 6 of 13 ions
    assert claims_about_others(truth, mostly, part).tolist() == [True]
    assert claims_about_others(truth, hardly, part).tolist() == [False]
    assert blurred_matches(truth, mostly, part).counted.tolist() == [False]
    assert blurred_matches(truth, hardly, part).counted.tolist() == [True]
    assert not claims_about_others(truth, mostly, truth).any()


def test_nothing_claimed(truth: Truth) -> None:
    found = blurred_matches(truth, claim(), truth)
    assert len(found.right) == len(found.counted) == 0
    assert np.isnan(found.target_probability).all()


def test_other_ions_are_refused(truth: Truth) -> None:
    with pytest.raises(ShapeError):
        blurred_matches(truth, Claim.from_labels(np.zeros(3, np.int8), np.zeros(3, np.int32)), truth)
