"""Scores per ion: all of them follow from one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.checks import check_equal_length
from napari_aptdefect.evaluate.labels import Truth
from napari_aptdefect.evaluate.numbers import mean_defined, ratio, share

_N_CLASSES = len(DEFECT_CLASSES)


@dataclass(frozen=True, eq=False)
class IonScores:
    """What follows from counting, for each true class, how many ions are claimed to be of each class.

    Parameters
    ----------
    confusion
        Ions by true class (rows) and claimed class (columns), shape (C, C), int64, in the order of `DEFECT_CLASSES`.
        Ions of controls count as matrix; those of structures are left out.
    n_left_out
        Ions of structures.
    n_control
        Ions of controls.
    n_control_claimed
        Of these, how many are claimed to belong to a defect.

    Notes
    -----
    With h ions of class c claimed as c, s ions that are of class c (support) and p that are claimed as c:
    precision h/p, recall h/s, F1 = 2h/(s + p), IoU = h/(s + p - h) (Jaccard index). A value whose denominator is 0 is
    NaN. A class that is claimed and not there has F1 = IoU = 0, so it lowers the means; a class that is neither
    claimed nor there has none and enters no mean.

    References
    ----------
    Sokolova, Lapalme 2009, doi 10.1016/j.ipm.2009.03.002 (macro averages); Brodersen et al. 2010,
    doi 10.1109/ICPR.2010.764 (balanced accuracy); Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x.
    """

    confusion: NDArray[np.int64]
    n_left_out: int = 0
    n_control: int = 0
    n_control_claimed: int = 0

    @property
    def n_ions(self) -> int:
        """Ions that are scored."""
        return int(self.confusion.sum())

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """Ions of each class, shape (C,)."""
        return np.asarray(self.confusion.sum(axis=1))

    @cached_property
    def n_claimed(self) -> NDArray[np.int64]:
        """Ions claimed to be of each class, shape (C,)."""
        return np.asarray(self.confusion.sum(axis=0))

    @cached_property
    def n_right(self) -> NDArray[np.int64]:
        """Ions of each class that are claimed to be of it, shape (C,)."""
        return np.diagonal(self.confusion)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the ions claimed as a class that are of it, shape (C,)."""
        return ratio(self.n_right, self.n_claimed)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the ions of a class that are claimed as it, shape (C,)."""
        return ratio(self.n_right, self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall, shape (C,)."""
        return ratio(2 * self.n_right, self.support + self.n_claimed)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union, shape (C,)."""
        return ratio(self.n_right, self.support + self.n_claimed - self.n_right)

    @property
    def accuracy(self) -> float:
        """Share of ions whose class is right; means nothing without `majority_accuracy` beside it."""
        return share(int(self.n_right.sum()), self.n_ions)

    @property
    def majority_class(self) -> str:
        """The most frequent true class."""
        return DEFECT_CLASSES[int(self.support.argmax())]

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of calling every ion by the most frequent class."""
        return share(int(self.support.max()), self.n_ions)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that are there."""
        return mean_defined(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that are there or claimed, the matrix included."""
        return mean_defined(self.f1)

    @property
    def macro_f1_defects(self) -> float:
        """Mean F1 over the defect classes that are there or claimed."""
        return mean_defined(self.f1[1:])

    @property
    def mean_iou_defects(self) -> float:
        """Mean IoU over the defect classes that are there or claimed."""
        return mean_defined(self.iou[1:])

    @cached_property
    def any_defect(self) -> IonScores:
        """The same with one class for all defects: found or not, whatever the name; its codes are 0 and 1."""
        both = np.add.reduceat(np.add.reduceat(self.confusion, [0, 1], axis=0), [0, 1], axis=1)
        return IonScores(both, self.n_left_out, self.n_control, self.n_control_claimed)

    def iou_over(self, bound: IonScores) -> NDArray[np.float64]:
        """IoU divided by that of the known-geometry labeler, shape (C,); NaN for classes of which it gets no ion right.

        Notes
        -----
        The labeler decides by the most likely place of each ion, not by the best IoU, so a ratio may exceed 1 slightly.
        """
        return ratio(self.iou, bound.iou)

    def as_dict(self, bound: IonScores | None = None) -> dict[str, Any]:
        """Gather all scores by name; with those of the bound, each IoU also relative to it."""
        whole = self.any_defect
        out: dict[str, Any] = {
            "n_ions": self.n_ions,
            "n_left_out": self.n_left_out,
            "accuracy": self.accuracy,
            "majority_class": self.majority_class if self.n_ions else None,
            "majority_class_accuracy": self.majority_accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "macro_f1_defects": self.macro_f1_defects,
            "mean_iou_defects": self.mean_iou_defects,
            "any_defect": {
                name: float(getattr(whole, name)[1]) for name in ("precision", "recall", "f1", "iou", "support")
            },
            "controls": {
                "n_ions": self.n_control,
                "n_claimed": self.n_control_claimed,
                "share_claimed": share(self.n_control_claimed, self.n_control),
            },
            "classes": self._by_class(bound),
            "confusion": {"classes": list(DEFECT_CLASSES), "true_by_claimed": self.confusion},
        }
        if bound is not None:
            there = (self.support > 0)[1:]
            out["mean_iou_defects_over_bound"] = mean_defined(self.iou_over(bound)[1:][there])
        return out

    def _by_class(self, bound: IonScores | None) -> dict[str, dict[str, Any]]:
        names = ("support", "n_claimed", "precision", "recall", "f1", "iou")
        columns = {name: getattr(self, name) for name in names}
        if bound is not None:
            columns |= {"iou_bound": bound.iou, "iou_over_bound": self.iou_over(bound)}
        seen = np.flatnonzero((self.support > 0) | (self.n_claimed > 0))
        return {DEFECT_CLASSES[c]: {name: column[c] for name, column in columns.items()} for c in seen}


def score_ions(truth: Truth, class_idx: NDArray[np.int8]) -> IonScores:
    """Compare the claimed class of each ion with the true one.

    Parameters
    ----------
    truth
        The truth.
    class_idx
        Claimed codes of `DEFECT_CLASSES` in file order, shape (N,).

    Raises
    ------
    ShapeError
        If the numbers of ions differ.
    """
    check_equal_length(len(truth), len(class_idx))
    pair = truth.scored_class * np.int8(_N_CLASSES) + class_idx  # below 81, so int8 holds it
    everything = bool(truth.scored.all())
    counts = np.bincount(pair if everything else pair[truth.scored], minlength=_N_CLASSES**2)
    control = np.append(truth.defects.is_control, False)[truth.row]
    return IonScores(
        counts.reshape(_N_CLASSES, _N_CLASSES).astype(np.int64),
        0 if everything else int(len(truth) - np.count_nonzero(truth.scored)),
        int(np.count_nonzero(control)),
        int(np.count_nonzero(class_idx[control])),
    )
