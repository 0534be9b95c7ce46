"""Recall of each defect type at a stated false discovery rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.instances import Matches
from napari_aptdefect.evaluate.numbers import share

SCOPES = ("all", "visible", "reachable")
"""Over which targets recall is taken: all; those that pass the search bound; of these, those that can be matched."""


@dataclass(frozen=True)
class Found:
    """How many targets were found.

    Parameters
    ----------
    n
        Targets.
    n_found
        Of these, how many have a true claim.
    """

    n: int
    n_found: int

    @property
    def recall(self) -> float:
        """Share of the targets that were found; NaN where there is none."""
        return share(self.n_found, self.n)

    def as_dict(self) -> dict[str, float]:
        """Gather the values by name."""
        return {"n": self.n, "n_found": self.n_found, "recall": self.recall}


@dataclass(frozen=True)
class Discovery:
    """What is found with the claims whose probability reaches a threshold.

    Parameters
    ----------
    limit
        The false discovery rate that was asked for.
    threshold
        Lowest probability of the claims that are kept; NaN where none keeps the limit; then no claim is kept.
    rate
        Measured false discovery rate of the claims kept; NaN where none is kept.
    n_kept
        Claims kept, those in structures left out.
    n_false
        Of these, the false ones.
    recall
        By scope (`SCOPES`) and class, ``"pooled"`` for all classes together.
    """

    limit: float
    threshold: float
    rate: float
    n_kept: int
    n_false: int
    recall: dict[str, dict[str, Found]]

    def as_dict(self) -> dict[str, Any]:
        """Gather all values by name."""
        return {
            "limit": self.limit,
            "threshold": self.threshold,
            "rate": self.rate,
            "n_kept": self.n_kept,
            "n_false": self.n_false,
            "recall": {
                scope: {name: found.as_dict() for name, found in by_class.items()}
                for scope, by_class in self.recall.items()
            },
        }


def discover(matches: Matches, class_aware: bool, limit: float, iou_threshold: float = 0.5) -> Discovery:
    """Take as many claims as a false discovery rate allows, the surest first, and say what they find.

    Parameters
    ----------
    matches
        The matched claims.
    class_aware
        Whether a true claim must be of the right class.
    limit
        Largest share of false claims among those kept, 0 to 1.
    iou_threshold
        Ceiling that a visible target must exceed to be reachable: that of the matching.

    Notes
    -----
    FDR(t) = FP(t) / (TP(t) + FP(t)) over the claims of probability >= t, those in structures left out. The threshold
    is the lowest t with FDR(t) <= limit; claims of equal probability are kept or dropped together. The threshold is
    read off the truth, so it tells what a ranking is worth, not what a probability promises on another specimen.

    References
    ----------
    Benjamini, Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x (the false discovery rate).
    """
    right, counted = matches.right(class_aware), ~matches.in_structure
    probability = matches.claim.probability
    threshold = lowest_threshold(probability[counted], right[counted], limit)
    kept = counted & (probability >= threshold)  # NaN keeps nothing
    n_kept, n_false = int(np.count_nonzero(kept)), int(np.count_nonzero(kept & ~right))
    found = np.append(kept & right, False)[matches.target_claim]
    return Discovery(limit, threshold, share(n_false, n_kept), n_kept, n_false, _recall(matches, found, iou_threshold))


def lowest_threshold(probability: NDArray[np.float64], right: NDArray[np.bool_], limit: float) -> float:
    """Lowest probability down to which at most a share `limit` of the claims is false; NaN where there is none.

    Examples
    --------
    >>> lowest_threshold(np.array([0.9, 0.8, 0.8, 0.5]), np.array([True, True, False, True]), 0.25)
    0.5
    >>> lowest_threshold(np.array([0.9, 0.8, 0.8]), np.array([True, True, False]), 0.25)
    0.9
    """
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    n_false = np.cumsum(~right[order])
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    allowed = last_of_tie & (n_false <= limit * np.arange(1, len(ordered) + 1) * (1 + 1e-12))
    return float(ordered[allowed][-1]) if allowed.any() else math.nan


def _recall(matches: Matches, found: NDArray[np.bool_], iou_threshold: float) -> dict[str, dict[str, Found]]:
    defects = matches.truth.defects
    visible = defects.is_target & defects.visible
    scopes = (defects.is_target, visible, visible & (defects.iou_ceiling > iou_threshold))
    out: dict[str, dict[str, Found]] = {}
    for name, scope in zip(SCOPES, scopes, strict=True):
        n = np.bincount(defects.class_idx[scope], minlength=len(DEFECT_CLASSES))
        n_found = np.bincount(defects.class_idx[scope & found], minlength=len(DEFECT_CLASSES))
        by_class = {DEFECT_CLASSES[c]: Found(int(n[c]), int(n_found[c])) for c in np.flatnonzero(n)}
        out[name] = {"pooled": Found(int(n.sum()), int(n_found.sum())), **by_class}
    return out
