"""The containers of truth and claim: what they refuse, and what controls and structures count as."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.evaluate.checks import rows_of
from napari_aptdefect.evaluate.ions import score_ions
from napari_aptdefect.evaluate.labels import ROLES, Claim, TrueDefects, Truth

VACANCY, FAULT, CLUSTER, VOID = (
    DEFECT_CLASSES.index(n) for n in ("vacancy", "stacking_fault", "solute_cluster", "void")
)


def true_defects(*rows: tuple[int, int, str], visible: bool = True) -> TrueDefects:
    """One row (number, class, role) each."""
    n = len(rows)
    return TrueDefects(
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int8),
        np.array([ROLES.index(r[2]) for r in rows], np.int8),
        np.full(n, visible),
        np.full(n, 0.8),
        np.full(n, 9.0),
    )


ROWS = ((3, CLUSTER, "target"), (1, VACANCY, "control"), (7, 0, "structure"))


class TestTruth:
    def test_controls_count_as_matrix_and_structures_are_left_out(self) -> None:
        truth = Truth([0, CLUSTER, VACANCY, 0, CLUSTER], [-1, 3, 1, 7, 3], true_defects(*ROWS))
        assert truth.scored_class.tolist() == [0, CLUSTER, 0, 0, CLUSTER]
        assert truth.scored.tolist() == [True, True, True, False, True]
        assert truth.row.tolist() == [-1, 0, 1, 2, 0]
        assert truth.bound is None

    def test_bound_is_a_claim_about_targets_only(self) -> None:
        truth = Truth(
            [0, CLUSTER, VACANCY, 0],
            [0, 3, 1, 7],
            true_defects(*ROWS),
            np.array([CLUSTER, CLUSTER, VACANCY, 0], np.int8),
            np.array([3, 3, 1, 7], np.int32),
        )
        assert truth.bound is not None
        assert truth.bound.class_idx.tolist() == [CLUSTER, CLUSTER, 0, 0]
        assert truth.bound.instance.tolist() == [3, 3, 0, 0]
        assert truth.bound.number.tolist() == [3]

    def test_what_cannot_be_seen_is_left_out_of_the_visible_truth(self) -> None:
        defects = TrueDefects(
            np.array([3, 1, 7, 4], np.int32),
            np.array([CLUSTER, VACANCY, 0, VOID], np.int8),
            np.array([0, 1, 2, 0], np.int8),
            np.array([True, False, False, False]),
            np.full(4, 0.8),
            np.array([9.0, 0.0, 0.0, 2.0]),
        )
        codes, instance = [0, CLUSTER, VACANCY, 0, VOID, VOID], np.array([0, 3, 1, 7, 4, 4], np.int32)
        truth = Truth(codes, instance, defects, np.array(codes, np.int8), instance)
        visible = truth.visible_only()
        assert truth.scored.tolist() == [True, True, True, False, True, True]
        assert visible.scored.tolist() == [True, True, True, False, False, False]
        assert visible.scored_class[:3].tolist() == [0, CLUSTER, 0]
        assert visible.bound is not None
        assert visible.bound.class_idx.tolist() == [0, CLUSTER, 0, 0, 0, 0]
        # found or not, the hidden void changes no score; on the whole truth it does
        found, blind = np.array([0, CLUSTER, 0, 0, VOID, VOID]), np.array([0, CLUSTER, 0, 0, 0, 0])
        assert truth.visible_only(10.0).scored.tolist() == [True, False, True, False, False, False]
        scores = [score_ions(one, claim).macro_f1 for one in (visible, truth) for claim in (found, blind)]
        assert scores[0] == scores[1] == 1
        assert scores[2] == 1 > scores[3]

    def test_no_defects_at_all(self) -> None:
        truth = Truth([0, 0], [0, 0], true_defects())
        assert truth.row.tolist() == [-1, -1]
        assert truth.scored.all()

    def test_arrays_are_read_only(self) -> None:
        truth = Truth([0, CLUSTER], [0, 3], true_defects(*ROWS))
        for array in (truth.class_idx, truth.instance, truth.defects.number, truth.row):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1

    @pytest.mark.parametrize(
        ("codes", "instance", "error", "says"),
        [
            ([0, CLUSTER], [0], ShapeError, "must have 2 values"),
            ([0, 9], [0, 3], ParameterError, "codes 0 to 8"),
            ([0, -1], [0, 3], ParameterError, "codes 0 to 8"),
            ([0.0, 1.0], [0, 3], ShapeError, "whole numbers"),
            ([0, CLUSTER], [0, 4], ParameterError, "instance 4, which the table of 3 defects"),
            ([0, CLUSTER], [-2, 3], ParameterError, "0 or -1"),
            ([0, VOID], [0, 3], ParameterError, "ion 1 is labeled void, but its defect 3 is of class solute_cluster"),
            ([VOID, CLUSTER], [0, 3], ParameterError, "ion 0 is labeled void, but its defect 0 is of class matrix"),
        ],
    )
    def test_refuses(self, codes: list[int], instance: list[int], error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            Truth(codes, instance, true_defects(*ROWS))

    def test_refuses_half_a_bound(self) -> None:
        with pytest.raises(ParameterError, match="belong together"):
            Truth([0], [0], true_defects(), bound_class=np.zeros(1, np.int8))

    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            (((1, CLUSTER, "target"), (1, VOID, "target")), "each once"),
            (((0, CLUSTER, "target"),), "positive"),
            (((1, 0, "target"),), "structures are of class matrix"),
            (((1, CLUSTER, "structure"),), "structures are of class matrix"),
        ],
    )
    def test_refuses_tables(self, rows: tuple[tuple[int, int, str], ...], says: str) -> None:
        with pytest.raises(ParameterError, match=says):
            true_defects(*rows)

    def test_refuses_an_unknown_role(self) -> None:
        one = np.ones(1)
        with pytest.raises(ParameterError, match="role must hold codes 0 to 2"):
            TrueDefects([1], [VOID], np.array([3], np.int8), one.astype(bool), one, one)

    def test_labels_of_others_are_all_visible_targets(self) -> None:
        truth = Truth.from_labels([0, CLUSTER, VOID, CLUSTER], [-1, 4, 2, 4])
        assert truth.defects.number.tolist() == [2, 4]
        assert truth.defects.class_idx.tolist() == [VOID, CLUSTER]
        assert truth.defects.is_target.all()
        assert truth.defects.visible.all()

    def test_labels_of_others_need_one_class_per_instance(self) -> None:
        with pytest.raises(ParameterError, match="carries the class of its defect"):
            Truth.from_labels([CLUSTER, VOID], [1, 1])


class TestClaim:
    def test_class_of_a_claim_is_that_of_most_of_its_ions(self) -> None:
        claim = Claim.from_labels([CLUSTER, CLUSTER, VOID, VOID, 0], [5, 5, 5, 9, -1], [0.5, 0.25])
        assert claim.number.tolist() == [5, 9]
        assert claim.number_class.tolist() == [CLUSTER, VOID]
        assert claim.probability.tolist() == [0.5, 0.25]
        assert claim.row.tolist() == [0, 0, 0, 1, -1]

    def test_a_claim_of_matrix_is_none(self) -> None:
        claim = Claim.from_labels([0, 0, VOID, VOID], [1, 1, 1, 2])
        assert claim.number.tolist() == [2]
        assert claim.instance.tolist() == [0, 0, 0, 2]
        assert claim.probability.tolist() == [1.0]

    def test_a_claim_may_have_no_ion(self) -> None:
        claim = Claim([0], [0], [4], [VOID], [0.9])
        assert claim.n_claims == 1

    @pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan])
    def test_refuses_probabilities(self, probability: float) -> None:
        with pytest.raises(ParameterError, match="within 0 and 1"):
            Claim.from_labels([VOID], [1], [probability])

    def test_refuses_unequal_lengths(self) -> None:
        with pytest.raises(ShapeError, match="must have 2 values"):
            Claim.from_labels([VOID, 0], [1])
        with pytest.raises(ShapeError, match="probability must have 1 values"):
            Claim.from_labels([VOID, 0], [1, 0], [0.5, 0.5])

    def test_refuses_an_instance_that_is_not_in_the_table(self) -> None:
        with pytest.raises(ParameterError, match="ion 1 belongs to instance 2"):
            Claim([VOID, VOID], [1, 2], [1], [VOID], [1.0])


def test_rows_of_large_numbers_equal_those_of_small_ones() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 6, 50).astype(np.int32)
    number = np.array([4, 1, 5, 2, 3], np.int32)
    large = np.where(small > 0, small + 1_000_000, 0).astype(np.int32)
    expected = [-1 if s == 0 else number.tolist().index(s) for s in small]
    assert rows_of(small, number, "x").tolist() == expected
    assert rows_of(large, number + 1_000_000, "x").tolist() == expected
    with pytest.raises(ParameterError, match="instance 1000006"):
        rows_of(np.array([1_000_006], np.int32), number + 1_000_000, "x")
    with pytest.raises(ParameterError, match="instance 1000006"):
        rows_of(np.array([1_000_006], np.int32), number[:0], "x")
