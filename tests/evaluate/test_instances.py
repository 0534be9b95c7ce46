"""Matching of instances and panoptic quality: examples by hand, and what must hold for every labeling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.instances import (
    Matches,
    PanopticQuality,
    match_instances,
    mean_pq,
    panoptic,
    panoptic_by_class,
)
from napari_aptdefect.evaluate.labels import ROLES, Claim, TrueDefects, Truth

CLUSTER, VOID = DEFECT_CLASSES.index("solute_cluster"), DEFECT_CLASSES.index("void")


def runs(*parts: tuple[int, int]) -> NDArray[np.int32]:
    """Labels in runs (value, length)."""
    return np.concatenate([np.full(n, value, np.int32) for value, n in parts])


def by_hand() -> Matches:
    """Four targets, five claims.

    Target 1 (cluster, ions 0-9)   claim 1 (cluster, 0-7)       IoU 8/10
    Target 2 (cluster, ions 10-19) claim 2 (void, 12-21)        IoU 8/12, wrong name
    Target 3 (void, ions 22-29)    claim 3 (void, 22-25)        IoU 4/8: not above 0.5
    Target 4 (void, ions 30-34)    no claim
                                   claim 4 (cluster, 40-44), claim 5 (void, 8-9)
    """
    truth = runs((1, 10), (2, 10), (0, 2), (3, 8), (4, 5), (0, 10))
    claim = runs((1, 8), (5, 2), (0, 2), (2, 10), (3, 4), (0, 14), (4, 5))
    true_class = np.array([0, CLUSTER, CLUSTER, VOID, VOID])[truth]
    claimed_class = np.array([0, CLUSTER, VOID, VOID, CLUSTER, VOID])[claim]
    return match_instances(Truth.from_labels(true_class, truth), Claim.from_labels(claimed_class, claim))


class TestByHand:
    def test_matches(self) -> None:
        matches = by_hand()
        assert matches.target_claim.tolist() == [0, 1, -1, -1]
        assert matches.claim_target.tolist() == [0, 1, -1, -1, -1]
        assert matches.claim_iou == pytest.approx([0.8, 8 / 12, 0, 0, 0])
        assert matches.best_iou == pytest.approx([0.8, 8 / 12, 0.5, 0])

    def test_any_class(self) -> None:
        quality = panoptic(by_hand(), class_aware=False)
        assert (quality.n_true, quality.n_false, quality.n_missed) == (2, 3, 2)
        assert quality.pq == pytest.approx((0.8 + 8 / 12) / (2 + 1.5 + 1))
        assert quality.sq == pytest.approx((0.8 + 8 / 12) / 2)
        assert quality.rq == pytest.approx(2 / 4.5)
        assert quality.pq == pytest.approx(quality.sq * quality.rq)

    def test_the_class_counts(self) -> None:
        quality = panoptic(by_hand(), class_aware=True)
        assert (quality.n_true, quality.n_false, quality.n_missed) == (1, 4, 3)
        assert quality.pq == pytest.approx(0.8 / (1 + 2 + 1.5))
        assert (quality.precision, quality.recall) == (0.2, 0.25)

    def test_by_class(self) -> None:
        quality = panoptic_by_class(by_hand())
        assert list(quality) == ["solute_cluster", "void"]
        cluster, void = quality.values()
        assert (cluster.n_true, cluster.n_false, cluster.n_missed) == (1, 1, 1)
        assert cluster.pq == pytest.approx(0.8 / 2)
        assert (void.n_true, void.n_false, void.n_missed, void.pq) == (0, 3, 2, 0.0)
        assert mean_pq(quality) == pytest.approx(0.2)


class TestRoles:
    """Ions 0-9 target 1, 10-19 control 2, 20-39 structure 3, 40-59 matrix."""

    def match(self, claim: NDArray[np.int32], **options: float) -> Matches:
        defects = TrueDefects(
            [1, 2, 3], [CLUSTER, VOID, 0], np.arange(len(ROLES), dtype=np.int8), [True, False, False], [1] * 3, [9] * 3
        )
        instance = runs((1, 10), (2, 10), (3, 20), (0, 20))
        truth = Truth(np.array([0, CLUSTER, VOID, 0])[instance], instance, defects)
        return match_instances(truth, Claim.from_labels(np.where(claim > 0, CLUSTER, 0), claim), **options)

    def test_a_perfect_claim_of_a_control_is_false(self) -> None:
        matches = self.match(runs((0, 10), (1, 10), (0, 40)))
        assert matches.false(False).tolist() == [True]
        assert matches.on_control.tolist() == [True]
        quality = panoptic(matches, class_aware=False)
        assert (quality.n_true, quality.n_false, quality.n_missed) == (0, 1, 1)

    def test_a_share_decides_whether_a_false_claim_is_about_a_control(self) -> None:
        claim = runs((0, 18), (1, 2), (0, 20), (1, 18), (0, 2))  # 2 of 20 ions
        assert self.match(claim).on_control.tolist() == [True]
        assert self.match(claim, control_share=0.11).on_control.tolist() == [False]
        assert self.match(claim, control_share=0.11).false(False).tolist() == [True]

    def test_a_claim_mostly_in_a_structure_is_neither_true_nor_false(self) -> None:
        matches = self.match(runs((0, 30), (1, 10), (1, 9), (0, 11)))
        assert matches.in_structure.tolist() == [True]
        assert not matches.false(True).any()
        assert panoptic(matches, class_aware=True).n_false == 0

    def test_half_in_a_structure_is_false(self) -> None:
        matches = self.match(runs((0, 30), (1, 10), (1, 10), (0, 10)))
        assert matches.in_structure.tolist() == [False]
        assert matches.false(True).tolist() == [True]

    def test_ions_of_structures_don_t_count_in_the_union(self) -> None:
        matches = self.match(runs((1, 10), (0, 10), (1, 20), (0, 20)))
        assert matches.claim_iou.tolist() == [1.0]
        assert not matches.in_structure.any()

    def test_ions_of_controls_count_in_the_union(self) -> None:
        assert self.match(runs((1, 16), (0, 44))).claim_iou == pytest.approx([10 / 16])


def test_nothing_true_and_nothing_claimed() -> None:
    zeros = np.zeros(4, int)
    matches = match_instances(Truth.from_labels(zeros, zeros), Claim.from_labels(zeros, zeros))
    quality = panoptic(matches, class_aware=True)
    assert all(np.isnan(getattr(quality, name)) for name in ("pq", "sq", "rq", "precision", "recall"))
    assert panoptic_by_class(matches) == {}
    assert np.isnan(mean_pq({}))


def test_nothing_true_and_one_claim() -> None:
    zeros = np.zeros(4, int)
    claim = Claim.from_labels([0, 0, VOID, VOID], [0, 0, 1, 1])
    quality = panoptic(match_instances(Truth.from_labels(zeros, zeros), claim), class_aware=True)
    assert quality == PanopticQuality(0, 1, 0, 0.0)
    assert quality.pq == 0
    assert np.isnan(quality.recall)


def test_a_claim_and_a_target_without_ions() -> None:
    defects = TrueDefects([1], [VOID], np.zeros(1, np.int8), [True], [np.nan], [7.0])
    truth = Truth([0, 0], [0, 0], defects)
    quality = panoptic(match_instances(truth, Claim([0, 0], [0, 0], [1], [VOID], [1.0])), class_aware=True)
    assert (quality.n_true, quality.n_false, quality.n_missed) == (0, 1, 1)


numbers = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=40)


def labeled(pairs: list[tuple[int, int]], renumber: NDArray[np.int32] | None = None) -> Matches:
    true, claimed = np.array(pairs).T
    of_number = np.array([0, CLUSTER, VOID, CLUSTER, VOID])
    codes = np.where(claimed > 0, of_number[claimed], 0)
    if renumber is not None:
        claimed = np.where(claimed > 0, renumber[claimed], claimed)
    return match_instances(Truth.from_labels(of_number[true], true), Claim.from_labels(codes, claimed))


@settings(derandomize=True, deadline=None)
@given(numbers, st.permutations(range(1, 5)), st.booleans())
def test_numbers_of_instances_don_t_matter(pairs: list[tuple[int, int]], order: list[int], aware: bool) -> None:
    renumber = np.array([0, *order], np.int32) * 13
    ours, theirs = panoptic(labeled(pairs), aware), panoptic(labeled(pairs, renumber), aware)
    assert (ours.n_true, ours.n_false, ours.n_missed) == (theirs.n_true, theirs.n_false, theirs.n_missed)
    assert ours.sum_iou == pytest.approx(theirs.sum_iou)


@settings(derandomize=True, deadline=None)
@given(numbers, st.booleans())
def test_quality_is_within_0_and_1_and_each_match_is_unique(pairs: list[tuple[int, int]], aware: bool) -> None:
    matches = labeled(pairs)
    quality = panoptic(matches, aware)
    for name in ("pq", "sq", "rq", "precision", "recall"):
        assert np.isnan(getattr(quality, name)) or 0 <= getattr(quality, name) <= 1
    matched = matches.claim_target[matches.claim_target >= 0]
    assert len(set(matched.tolist())) == len(matched)
    assert quality.n_true + quality.n_missed == len(matches.truth.defects)
    assert quality.n_true + quality.n_false == matches.claim.n_claims


@settings(derandomize=True, deadline=None)
@given(numbers)
def test_the_truth_as_claim_is_perfect(pairs: list[tuple[int, int]]) -> None:
    same = [(true, true) for true, _ in pairs]
    quality = panoptic(labeled(same), class_aware=True)
    assert quality.n_false == quality.n_missed == 0
    if quality.n_true:
        assert quality.pq == quality.sq == quality.rq == 1
