"""What one answer about one wire is worth, as a row of numbers."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.agreement import adjusted_mutual_information, adjusted_rand, contingency
from napari_aptdefect.evaluate.baselines import claimed_clusters
from napari_aptdefect.evaluate.blurred import Blurred, blurred_matches, claims_about_others
from napari_aptdefect.evaluate.clusters import name_clusters
from napari_aptdefect.evaluate.ions import score_ions
from napari_aptdefect.evaluate.labels import Claim, Truth
from napari_aptdefect.evaluate.numbers import plain
from napari_aptdefect.evaluate.score import Scores, score_claim, score_clustering
from napari_aptdefect.pipeline.benchmark.methods import Answer
from napari_aptdefect.pipeline.benchmark.wires import ReadyWire
from napari_aptdefect.simulate.truth import VISIBLE_D_PRIME

CLEAR_D_PRIME: Final = 3 * VISIBLE_D_PRIME
"""Three times the detection threshold: what the mission's setting asks for above level 0."""

_UNKNOWN: Final = DEFECT_CLASSES.index("unknown")


def objective(wire: ReadyWire, answer: Answer) -> float:
    """Macro-F1 over the classes with the names that favor an answer most: what parameters are searched for."""
    truth = wire.truth
    if isinstance(answer, Claim):
        return score_ions(truth, answer.class_idx).macro_f1
    names = name_clusters(truth, answer.cluster[wire.core])
    return score_ions(truth, names.classes(names.majority)).macro_f1


def score_mixture(wire: ReadyWire, answer: Answer) -> dict[str, Any]:
    """Score an answer about a wire that holds defects.

    Returns
    -------
    The scores that the table shows, and one entry per target. Clusters have no names: macro-F1 is given with those of
    the Hungarian method and with those of the majority; all other scores are with the latter, which suit them better.
    """
    truth = wire.truth
    if isinstance(answer, Claim):
        scores = score_claim(truth, answer)
        hungarian = scores.ions.macro_f1
        types = contingency(truth.scored_class[truth.scored], answer.class_idx[truth.scored])
        ari, ami = adjusted_rand(types), adjusted_mutual_information(types)
    else:
        both = score_clustering(truth, answer.cluster[wire.core], answer.instance[wire.core])
        scores, hungarian = both.majority, both.hungarian.ions.macro_f1
        ari, ami = both.ari, both.ami
    out = {"macro_f1_hungarian": hungarian, "macro_f1_majority": scores.ions.macro_f1, "ari": ari, "ami": ami}
    out |= _common(truth, scores) | _parts(truth, answer, wire.core)
    claim = scores.instances.matches.claim
    met = blurred_matches(truth, claim, truth.visible_only())
    claims = {"probability": claim.probability[met.counted].tolist(), "right": met.right[met.counted].tolist()}
    result: dict[str, Any] = plain(out | {"claims": claims, "targets": _targets(wire, scores, met)})
    return result


def score_false(wire: ReadyWire, answer: Answer) -> dict[str, Any]:
    """Count what is claimed on a wire without targets: every claim is false.

    Clusters can't be named there after the truth. What a clustering claims are the connected objects of all its
    clusters, without the noise; a method without noise claims all clusters but the largest.
    """
    if isinstance(answer, Claim):
        claim = answer
    else:
        claimed = claimed_clusters(answer)[wire.core]
        codes = np.where(claimed, np.int8(_UNKNOWN), np.int8(0))
        claim = Claim.from_labels(codes, np.where(claimed, answer.instance[wire.core], 0))
    instances = score_claim(wire.truth, claim, bound=False).instances
    n_ions = len(wire.truth)
    result: dict[str, Any] = plain(
        {
            "n_ions": n_ions,
            "n_false": instances.agnostic.n_false,
            "n_on_controls": int(np.count_nonzero(instances.matches.on_control)),
            "share_claimed": float(np.count_nonzero(claim.class_idx)) / n_ions,
        }
    )
    return result


def _common(truth: Truth, scores: Scores) -> dict[str, Any]:
    ions, instances = scores.ions, scores.instances
    bound = score_ions(truth, truth.bound.class_idx) if truth.bound is not None else None
    per_ion = ions.as_dict(bound)
    recall = instances.aware_discovery.recall
    matches = instances.matches
    return {
        "ari_instances": scores.ari,
        "balanced_accuracy": ions.balanced_accuracy,
        "mean_iou": ions.mean_iou_defects,
        "iou_over_ceiling": per_ion.get("mean_iou_defects_over_bound", math.nan),
        "accuracy": ions.accuracy,
        "majority_accuracy": ions.majority_accuracy,
        "pq": instances.aware.pq,
        "pq_agnostic": instances.agnostic.pq,
        "recall_visible": recall["visible"]["pooled"].recall,
        "recall_all": recall["all"]["pooled"].recall,
        "n_claims": matches.claim.n_claims,
        "n_false": instances.aware.n_false,
        "n_on_controls": int(np.count_nonzero(matches.on_control)),
        "n_ions": len(truth),
        "iou": {name: one["iou"] for name, one in per_ion["classes"].items()},
        "f1": {name: one["f1"] for name, one in per_ion["classes"].items()},
    }


def _parts(truth: Truth, answer: Answer, core: NDArray[np.bool_]) -> dict[str, Any]:
    """Scores per ion against targets that a search can find and those that are clear, and claims about the others."""
    out: dict[str, Any] = {}
    for name, least in (("visible", 0.0), ("clear", CLEAR_D_PRIME)):
        part = truth.visible_only(least)
        codes = _codes(part, truth, answer, core)
        kept = codes
        if isinstance(answer, Claim):  # the rims of what is about others, in the matrix, are not false
            others = np.append(claims_about_others(truth, answer, part), False)[answer.row]
            kept = np.where(others, np.int8(0), codes)
        ions = score_ions(part, kept)
        out |= {
            f"{name}_macro_f1": ions.macro_f1,
            f"{name}_balanced_accuracy": ions.balanced_accuracy,
            f"{name}_mean_iou": ions.mean_iou_defects,
            f"{name}_iou": dict(zip(DEFECT_CLASSES, ions.iou.tolist(), strict=True)),
        }
        if name == "visible":
            hidden = truth.defects.is_target & ~truth.defects.visible
            claimed = np.append(hidden, False)[truth.row] & (codes != 0)
            out |= {"n_hidden_claimed": len(np.unique(truth.instance[claimed])), "n_hidden": int(hidden.sum())}
    return out


def _codes(part: Truth, truth: Truth, answer: Answer, core: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What an answer says of each ion, the targets that are left out being known to who takes names from the truth."""
    if not isinstance(answer, Claim):
        names = name_clusters(part, answer.cluster[core])
        return names.classes(names.majority)
    if truth.bound is not None and part.bound is not None and np.array_equal(answer.class_idx, truth.bound.class_idx):
        return part.bound.class_idx
    return answer.class_idx


def _targets(wire: ReadyWire, scores: Scores, met: Blurred) -> list[dict[str, Any]]:
    """One entry per target: what it is, how visible, and whether it was found, whatever its name."""
    matches, defects = scores.instances.matches, wire.truth.defects
    found: NDArray[np.bool_] = matches.target_claim >= 0
    kinds = {one["defect"]: one["kind"] for one in wire.facts["defects"]}
    return [
        {
            "class": DEFECT_CLASSES[defects.class_idx[row]],
            "kind": kinds[int(defects.number[row])],
            "d_prime": float(defects.d_prime[row]),
            "visible": bool(defects.visible[row]),
            "n_ions": int(matches.n_target_ions[row]),
            "iou": float(matches.best_iou[row]),
            "iou_ceiling": float(defects.iou_ceiling[row]),
            "found": bool(found[row]),
            "named": bool(matches.found(True)[row]),
            "met": float(met.target_probability[row]),
        }
        for row in np.flatnonzero(defects.is_target)
    ]
