"""Which claimed defect is which true one: matched by the ions that both hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.agreement import contingency
from napari_aptdefect.evaluate.checks import check_equal_length
from napari_aptdefect.evaluate.labels import CONTROL, STRUCTURE, TARGET, Claim, Truth
from napari_aptdefect.evaluate.numbers import mean_defined, ratio, share


@dataclass(frozen=True, eq=False)
class Matches:
    """Which of M claimed defects meets which of D true ones.

    Parameters
    ----------
    truth, claim
        What was compared.
    best_iou
        Of each true target the largest intersection over union with any claim, shape (D,), 0 to 1; 0 for others.
    target_claim
        Row of the claim that each true defect is matched to, shape (D,); -1 for none.
    claim_target
        Row of the target that each claim is matched to, shape (M,); -1 for none.
    claim_iou
        Intersection over union with that target, shape (M,); 0 for none.
    in_structure
        Unmatched claims that lie mostly in structures: neither true nor false, shape (M,), bool.
    on_control
        Unmatched claims of which a notable share lies in controls: false, shape (M,), bool.
    n_target_ions
        Ions of each true defect, shape (D,).
    """

    truth: Truth
    claim: Claim
    best_iou: NDArray[np.float64]
    target_claim: NDArray[np.int64]
    claim_target: NDArray[np.int64]
    claim_iou: NDArray[np.float64]
    in_structure: NDArray[np.bool_]
    on_control: NDArray[np.bool_]
    n_target_ions: NDArray[np.int64]

    @cached_property
    def same_class(self) -> NDArray[np.bool_]:
        """Which claims are matched and of the class of their target, shape (M,)."""
        codes = np.append(self.truth.defects.class_idx, np.int8(-1))
        return np.asarray(codes[self.claim_target] == self.claim.number_class)

    def right(self, class_aware: bool) -> NDArray[np.bool_]:
        """Which claims are true, shape (M,): matched, and of the right class where that counts."""
        return self.same_class if class_aware else np.asarray(self.claim_target >= 0)

    def false(self, class_aware: bool) -> NDArray[np.bool_]:
        """Which claims are false, shape (M,): neither true nor in a structure."""
        return ~self.right(class_aware) & ~self.in_structure

    def found(self, class_aware: bool) -> NDArray[np.bool_]:
        """Which true defects have a true claim, shape (D,)."""
        right = np.append(self.right(class_aware), False)
        return np.asarray(right[self.target_claim])


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality of a set of segments.

    Parameters
    ----------
    n_true, n_false, n_missed
        True claims (TP), false claims (FP) and targets without true claim (FN).
    sum_iou
        Sum of the intersections over union of the true claims.

    Notes
    -----
    PQ = sum(IoU) / (TP + FP/2 + FN/2) = SQ * RQ, with the segmentation quality SQ = sum(IoU) / TP and the recognition
    quality RQ = TP / (TP + FP/2 + FN/2), which is the F1 of the instances. NaN where a denominator is 0.

    References
    ----------
    Kirillov et al. 2019, doi 10.1109/CVPR.2019.00963, equations 1 and 2.
    """

    n_true: int
    n_false: int
    n_missed: int
    sum_iou: float

    @property
    def pq(self) -> float:
        """Panoptic quality."""
        return share(self.sum_iou, self._denominator)

    @property
    def sq(self) -> float:
        """Segmentation quality: mean intersection over union of the true claims."""
        return share(self.sum_iou, self.n_true)

    @property
    def rq(self) -> float:
        """Recognition quality: F1 of the instances."""
        return share(self.n_true, self._denominator)

    @property
    def precision(self) -> float:
        """Share of the claims that are true; 1 minus the false discovery rate."""
        return share(self.n_true, self.n_true + self.n_false)

    @property
    def recall(self) -> float:
        """Share of the targets that have a true claim."""
        return share(self.n_true, self.n_true + self.n_missed)

    @property
    def _denominator(self) -> float:
        return self.n_true + self.n_false / 2 + self.n_missed / 2

    def as_dict(self) -> dict[str, float]:
        """Gather all values by name."""
        names = ("pq", "sq", "rq", "precision", "recall", "n_true", "n_false", "n_missed")
        return {name: getattr(self, name) for name in names}


def match_instances(truth: Truth, claim: Claim, iou_threshold: float = 0.5, control_share: float = 0.1) -> Matches:
    """Match claimed defects to targets.

    Parameters
    ----------
    truth
        The truth.
    claim
        The claim.
    iou_threshold
        A claim is matched to a target when their intersection over union exceeds this, at least 0.5.
    control_share
        An unmatched claim is about a control when at least this share of its ions lies in controls.

    Raises
    ------
    ShapeError
        If the numbers of ions differ.

    Notes
    -----
    An ion has one true and one claimed instance, so two claims can't both exceed an intersection over union of 0.5 with
    one target: the match is unique. Ions of structures are taken out of the claims before the comparison; an unmatched
    claim with more than half of its ions in structures is not counted (the rule for void labels of Kirillov et al.
    2019, doi 10.1109/CVPR.2019.00963, section 4.2). Whether the classes agree is looked at afterwards.
    """
    check_equal_length(len(truth), len(claim))
    defects, n_true, n_claims = truth.defects, len(truth.defects), claim.n_claims
    table = contingency(truth.row, claim.row)
    true, claimed, n_shared = table.row, table.column, table.count
    n_target_ions = _sum(true, n_shared, n_true)
    n_claim_ions = _sum(claimed, n_shared, n_claims)
    role = np.append(defects.role, np.int8(-1))[true]
    in_structure = _sum(claimed, n_shared * (role == STRUCTURE), n_claims)
    in_control = _sum(claimed, n_shared * (role == CONTROL), n_claims)

    meet = (role == TARGET) & (claimed >= 0)
    true, claimed, n_shared = true[meet], claimed[meet], n_shared[meet]
    n_outside = (n_claim_ions - in_structure)[claimed]
    iou = ratio(n_shared, n_target_ions[true] + n_outside - n_shared)
    best_iou = np.zeros(n_true)
    np.maximum.at(best_iou, true, iou)
    target_claim, claim_target = np.full(n_true, -1), np.full(n_claims, -1)
    claim_iou = np.zeros(n_claims)
    matched = iou > iou_threshold
    target_claim[true[matched]] = claimed[matched]
    claim_target[claimed[matched]] = true[matched]
    claim_iou[claimed[matched]] = iou[matched]

    unmatched = claim_target < 0
    mostly_structure = unmatched & (2 * in_structure > n_claim_ions)
    on_control = unmatched & ~mostly_structure & (in_control > 0) & (in_control >= control_share * n_claim_ions)
    return Matches(
        truth, claim, best_iou, target_claim, claim_target, claim_iou, mostly_structure, on_control, n_target_ions
    )


def panoptic(matches: Matches, class_aware: bool) -> PanopticQuality:
    """Panoptic quality of all segments together."""
    return _panoptic(matches, class_aware, slice(None), slice(None))


def panoptic_by_class(matches: Matches) -> dict[str, PanopticQuality]:
    """Panoptic quality of each class that has a target or a claim that counts; the classes must agree."""
    return dict(_by_class(matches))


def mean_pq(by_class: dict[str, PanopticQuality]) -> float:
    """Mean PQ over the classes, the usual panoptic quality of a set with several classes; NaN without any."""
    return mean_defined([each.pq for each in by_class.values()])


def _by_class(matches: Matches) -> Iterator[tuple[str, PanopticQuality]]:
    targets, claims = matches.truth.defects.class_idx, matches.claim.number_class
    for code, name in enumerate(DEFECT_CLASSES[1:], 1):
        quality = _panoptic(matches, True, targets == code, claims == code)
        if not math.isnan(quality.pq):
            yield name, quality


def _panoptic(matches: Matches, class_aware: bool, targets: Any, claims: Any) -> PanopticQuality:
    right = matches.right(class_aware)[claims]
    is_target = matches.truth.defects.is_target[targets]
    return PanopticQuality(
        int(np.count_nonzero(right)),
        int(np.count_nonzero(matches.false(class_aware)[claims])),
        int(np.count_nonzero(is_target & ~matches.found(class_aware)[targets])),
        float(matches.claim_iou[claims][right].sum()),
    )


def _sum(row: NDArray[np.int64], values: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Sum values by row, leaving out row -1; exact, since float64 counts whole numbers up to 2^53."""
    kept = row >= 0
    return np.bincount(row[kept], values[kept], n).astype(np.int64)
