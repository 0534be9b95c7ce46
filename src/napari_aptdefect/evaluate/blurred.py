"""Claims measured by what the blur leaves of their targets: a share of the known-geometry labeler's overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.evaluate.agreement import contingency
from napari_aptdefect.evaluate.checks import check_equal_length, rows_of
from napari_aptdefect.evaluate.labels import Claim, Truth
from napari_aptdefect.evaluate.numbers import ratio


@dataclass(frozen=True, eq=False)
class Blurred:
    """Which of M claims meets which of D targets, as well as the blur lets anyone.

    Parameters
    ----------
    right
        Claims that meet a target of their class, each the best one of its target, shape (M,), bool.
    counted
        Claims that count: all but those about targets that are left out, shape (M,), bool.
    target_probability
        Probability of the claim that meets each true defect, shape (D,); NaN where none does.
    """

    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    target_probability: NDArray[np.float64]


def blurred_matches(truth: Truth, claim: Claim, part: Truth, share: float = 0.5) -> Blurred:
    """Match claims to the targets of a part of a truth, asking for a share of the overlap that is possible at all.

    Parameters
    ----------
    truth
        The whole truth.
    claim
        The claim about it.
    part
        The same truth with some targets left out (`Truth.visible_only`).
    share
        A claim meets the target of its class with which it has the largest intersection over union, if that is at
        least this share of the ceiling of the target: blur keeps that of small defects below 0.5 for any method.

    Raises
    ------
    ShapeError
        If the numbers of ions differ.
    """
    check_equal_length(len(truth), len(claim))
    table = contingency(truth.row, claim.row)
    true, claimed, n_shared = table.row, table.column, table.count
    n_true, n_claimed = (
        np.bincount(rows[rows >= 0], n_shared[rows >= 0], n)
        for rows, n in ((true, len(truth.defects)), (claimed, claim.n_claims))
    )
    meet = (true >= 0) & (claimed >= 0)
    meet[meet] &= part.defects.is_target[true[meet]]
    true, claimed, n_shared = true[meet], claimed[meet], n_shared[meet]
    iou = ratio(n_shared, n_true[true] + n_claimed[claimed] - n_shared)
    ceiling = part.defects.iou_ceiling[true]
    good = (claim.number_class[claimed] == part.defects.class_idx[true]) & (iou >= share * ceiling) & (ceiling > 0)
    right = np.zeros(claim.n_claims, np.bool_)
    found = np.full(len(truth.defects), np.nan)
    taken = set()
    for pair in np.flatnonzero(good)[np.argsort(-iou[good], kind="stable")].tolist():
        row, one = int(true[pair]), int(claimed[pair])
        if not (np.isfinite(found[row]) or one in taken):
            found[row], right[one] = claim.probability[one], True
            taken.add(one)
    return Blurred(right, right | ~claims_about_others(truth, claim, part), found)


def claims_about_others(truth: Truth, claim: Claim, part: Truth) -> NDArray[np.bool_]:
    """Find the claims about what `part` leaves out of a truth, shape (M,): more than half of such a claim lies there.

    They count as not made, as those in structures do in `match_instances`. An ion lies in a defect if it is of it, or
    the known-geometry labeler gives it to it: what blur puts there can't be told apart.
    """
    left_out = np.append(~part.defects.is_target & ~part.defects.is_control, False)
    inside = left_out[truth.row]
    if truth.bound_instance is not None:
        inside |= left_out[rows_of(truth.bound_instance, truth.defects.number, "bound_instance")]
    of_claim = claim.row >= 0
    n_inside, n = (
        np.bincount(claim.row[rows], minlength=claim.n_claims) for rows in (np.flatnonzero(of_claim & inside), of_claim)
    )
    return np.asarray(2 * n_inside > n)
