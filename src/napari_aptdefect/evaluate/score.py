"""Everything that is measured of one claim, in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.evaluate.agreement import Contingency, adjusted_mutual_information, adjusted_rand, contingency
from napari_aptdefect.evaluate.checks import check_equal_length
from napari_aptdefect.evaluate.clusters import ClusterNames, name_clusters
from napari_aptdefect.evaluate.discovery import Discovery, discover
from napari_aptdefect.evaluate.instances import (
    Matches,
    PanopticQuality,
    match_instances,
    mean_pq,
    panoptic,
    panoptic_by_class,
)
from napari_aptdefect.evaluate.ions import IonScores, score_ions
from napari_aptdefect.evaluate.labels import Claim, Truth
from napari_aptdefect.evaluate.numbers import plain, share
from napari_aptdefect.stage import Params, param


class EvaluateParams(Params):
    """What counts as found."""

    iou_threshold: float = param(
        0.5,
        title="Matching threshold",
        description="A claim meets a true defect when the intersection over union of their ions exceeds this.",
        ge=0.5,
        lt=1,
    )
    false_discovery_rate: float = param(
        0.1,
        title="False discovery rate",
        description="Recall is given for the claims that keep the share of false ones at most this high.",
        ge=0,
        le=1,
    )
    control_share: float = param(
        0.1,
        title="Share of controls",
        description="A false claim is made about a control when at least this share of its ions lies in controls.",
        gt=0,
        le=1,
    )


@dataclass(frozen=True, eq=False)
class InstanceScores:
    """Scores of the claimed defects as wholes, once with and once without regard to their names.

    Parameters
    ----------
    matches
        Which claim meets which target.
    aware, agnostic
        Panoptic quality of all segments; aware of the class, a claim of the wrong class is false.
    by_class
        Panoptic quality of each class.
    aware_discovery, agnostic_discovery
        Recall at the stated false discovery rate.
    """

    matches: Matches
    aware: PanopticQuality
    agnostic: PanopticQuality
    by_class: dict[str, PanopticQuality]
    aware_discovery: Discovery
    agnostic_discovery: Discovery

    def as_dict(self) -> dict[str, Any]:
        """Gather all scores by name."""
        defects, matches = self.matches.truth.defects, self.matches
        n_ions = len(matches.truth)
        return {
            "n_targets": int(np.count_nonzero(defects.is_target)),
            "n_targets_visible": int(np.count_nonzero(defects.is_target & defects.visible)),
            "n_targets_without_ions": int(np.count_nonzero(defects.is_target & (matches.n_target_ions == 0))),
            "n_controls": int(np.count_nonzero(defects.is_control)),
            "n_structures": int(np.count_nonzero(defects.is_structure)),
            "n_claims": matches.claim.n_claims,
            "n_claims_in_structures": int(np.count_nonzero(matches.in_structure)),
            "n_claims_on_controls": int(np.count_nonzero(matches.on_control)),
            "class_aware": {
                **self.aware.as_dict(),
                "mean_pq": mean_pq(self.by_class),
                "false_per_million_ions": share(1e6 * self.aware.n_false, n_ions),
                "at_false_discovery_rate": self.aware_discovery.as_dict(),
                "classes": {name: quality.as_dict() for name, quality in self.by_class.items()},
            },
            "class_agnostic": {
                **self.agnostic.as_dict(),
                "false_per_million_ions": share(1e6 * self.agnostic.n_false, n_ions),
                "at_false_discovery_rate": self.agnostic_discovery.as_dict(),
            },
        }


@dataclass(frozen=True, eq=False)
class Scores:
    """Everything measured of one claim.

    Parameters
    ----------
    ions
        Scores per ion.
    instances
        Scores per defect.
    ari
        Adjusted Rand index of the claimed instances and the true ones, over the ions that are scored.
    bound
        The same scores of the known-geometry labeler; None where it was not run.
    """

    ions: IonScores
    instances: InstanceScores
    ari: float
    bound: Scores | None = None

    def as_dict(self) -> dict[str, Any]:
        """Gather all scores by name, ready for JSON: what is undefined is None."""
        bound = self.bound
        out: dict[str, Any] = {
            "ions": self.ions.as_dict(None if bound is None else bound.ions),
            "instances": self.instances.as_dict() | {"ari": self.ari},
        }
        if bound is not None:
            out["bound"] = bound.as_dict()
        result: dict[str, Any] = plain(out)
        return result


@dataclass(frozen=True, eq=False)
class ClusteringScores:
    """Everything measured of clusters without names.

    Parameters
    ----------
    names
        Class that each cluster is given from the truth.
    ari, ami
        Adjusted Rand index and adjusted mutual information of the clusters and the true classes, over the ions that are
        scored; ions without cluster make one of their own.
    hungarian, majority
        Scores of the claim that the clusters make with these names; the bound is in the first only.
    """

    names: ClusterNames
    ari: float
    ami: float
    hungarian: Scores
    majority: Scores

    def as_dict(self) -> dict[str, Any]:
        """Gather all scores by name, ready for JSON: what is undefined is None."""
        result: dict[str, Any] = plain(
            {
                "names": self.names.as_dict(),
                "ari": self.ari,
                "ami": self.ami,
                "hungarian": self.hungarian.as_dict(),
                "majority": self.majority.as_dict(),
            }
        )
        return result


def score_claim(truth: Truth, claim: Claim, params: EvaluateParams | None = None, *, bound: bool = True) -> Scores:
    """Measure what a claim is worth.

    Parameters
    ----------
    truth
        The truth.
    claim
        What a method says.
    params
        What counts as found.
    bound
        Whether to score the known-geometry labeler too, where the truth has it; many claims about one specimen need
        that once only.

    Raises
    ------
    ShapeError
        If the numbers of ions differ.

    Examples
    --------
    >>> truth = Truth.from_labels([0, 0, 5, 5, 5], [0, 0, 1, 1, 1])
    >>> scores = score_claim(truth, Claim.from_labels([0, 0, 0, 5, 5], [0, 0, 0, 7, 7]))
    >>> round(scores.instances.aware.pq, 3), scores.ions.accuracy, scores.ions.majority_accuracy
    (0.667, 0.8, 0.6)
    """
    params = params or EvaluateParams()
    reference = truth.bound if bound else None
    return Scores(
        score_ions(truth, claim.class_idx),
        score_instances(truth, claim, params),
        adjusted_rand(_instances(truth, claim)),
        None if reference is None else score_claim(truth, reference, params, bound=False),
    )


def score_instances(truth: Truth, claim: Claim, params: EvaluateParams) -> InstanceScores:
    """Measure the claimed defects as wholes; see `score_claim`."""
    matches = match_instances(truth, claim, params.iou_threshold, params.control_share)
    limit, threshold = params.false_discovery_rate, params.iou_threshold
    return InstanceScores(
        matches,
        panoptic(matches, class_aware=True),
        panoptic(matches, class_aware=False),
        panoptic_by_class(matches),
        discover(matches, True, limit, threshold),
        discover(matches, False, limit, threshold),
    )


def score_clustering(
    truth: Truth,
    cluster: ArrayLike,
    instance: ArrayLike,
    params: EvaluateParams | None = None,
    *,
    bound: bool = True,
) -> ClusteringScores:
    """Measure what clusters without names are worth, with the names that suit them best.

    Parameters
    ----------
    truth
        The truth.
    cluster
        Type of each ion in file order, shape (N,), integer; -1 for none.
    instance
        Number of the connected defect that each ion would belong to, shape (N,), integer from 1; 0 or -1 for none.
        Where a cluster's name is matrix, its ions belong to no defect.
    params
        What counts as found.
    bound
        Whether to score the known-geometry labeler too.

    Raises
    ------
    ShapeError
        If the numbers of ions differ.
    """
    names = name_clusters(truth, cluster)
    numbers = as_vector(instance, "instance", dtype=np.int64)
    check_equal_length(len(truth), len(numbers))

    table = contingency(truth.scored_class[truth.scored], names.row[truth.scored])

    def scores(of_cluster: Any, with_bound: bool) -> Scores:
        codes = names.classes(of_cluster)
        return score_claim(truth, Claim.from_labels(codes, np.where(codes != 0, numbers, 0)), params, bound=with_bound)

    return ClusteringScores(
        names,
        adjusted_rand(table),
        adjusted_mutual_information(table),
        scores(names.hungarian, bound),
        scores(names.majority, False),
    )


def _instances(truth: Truth, claim: Claim) -> Contingency:
    """Pairs of a true and a claimed instance among the ions that are scored; controls are matrix."""
    is_target = np.append(truth.defects.is_target, False)
    row = np.where(is_target[truth.row], truth.row, -1)
    if truth.scored.all():
        return contingency(row, claim.row)
    return contingency(row[truth.scored], claim.row[truth.scored])
