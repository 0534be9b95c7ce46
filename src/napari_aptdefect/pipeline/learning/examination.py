"""Examination: what a trained model scores on wires it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from napari_aptdefect.apt.classify import SigmoidClassifier
from napari_aptdefect.data.defects import DEFECT_CLASSES
from napari_aptdefect.evaluate.intervals import student_interval
from napari_aptdefect.evaluate.ions import IonScores
from napari_aptdefect.evaluate.numbers import plain
from napari_aptdefect.evaluate.reliability import reliability
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe

LIMITS: Final = (
    "Learned from simulated wires only; poles, other shapes and other dopants of real specimens it has never seen.",
    "Classes of ions nearer than 2 nm to the surface are not claimed.",
    "A cavity of 46 to 250 missing atoms can be a small void or a vacancy cluster: nothing but the name differs.",
    "Single vacancies and interstitials can't be seen above level 0 and are not claimed there.",
)


class Sample(Protocol):
    """Ions of a wire with their true classes, and how many ions of it each of them stands for."""

    @property
    def label(self) -> NDArray[np.integer]: ...  # noqa: D102
    @property
    def stands_for(self) -> NDArray[np.float32]: ...  # noqa: D102


_SUMMED: Final = ("macro_f1", "mean_iou")
_THIRD: Final = 1 / 3


@dataclass(frozen=True, eq=False)
class Embedded:
    """Ions with their embedding.

    Parameters
    ----------
    embedding
        Shape (n, E), float32.
    label
        Shape (n,), int64: code of `DEFECT_CLASSES`.
    stands_for
        Shape (n,), float32: how many ions of the wires each of them stands for.
    """

    embedding: NDArray[np.float32]
    label: NDArray[np.int64]
    stands_for: NDArray[np.float32]

    def natural_rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows in which the classes are as frequent as in the wires."""
        kept = rng.random(len(self.label)) * self.stands_for.max(initial=0.0) < self.stands_for
        return np.flatnonzero(kept)


def matrix_anomaly(classifier: SigmoidClassifier, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute -log10 of the probability that ions are of the matrix, shape (N,), float32.

    P(matrix) = 1 / (1 + sum_t P_t / (1 - P_t)), from the calibrated odds of all classes of defects.
    """
    odds = classifier.log_odds(embedding).astype(np.float64)
    return np.asarray(np.logaddexp(0, np.logaddexp.reduce(odds, axis=1)) / np.log(10), np.float32)


def class_claims(
    classifier: SigmoidClassifier, embedding: NDArray[np.floating]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Code of `DEFECT_CLASSES` of the likeliest defect at each ion, shape (N,), and its probability, shape (N,).

    Both hold for ions that are of a defect at all. The class is "unknown" where none has a third of the odds.
    """
    odds = classifier.log_odds(embedding).astype(np.float64)
    share = np.exp(odds.max(axis=1) - np.logaddexp.reduce(odds, axis=1))
    codes = np.array([DEFECT_CLASSES.index(name) for name in classifier.types])
    named = np.where(share >= _THIRD, codes[odds.argmax(axis=1)], DEFECT_CLASSES.index("unknown"))
    return named.astype(np.int8), expit(odds.max(axis=1)).astype(np.float32)


def claims_above(classifier: SigmoidClassifier, embedding: NDArray[np.floating], cut: float) -> NDArray[np.int8]:
    """Codes of `DEFECT_CLASSES`, shape (N,), int8: the likeliest defect where the anomaly is above a cut, else 0."""
    named, _ = class_claims(classifier, embedding)
    return np.where(matrix_anomaly(classifier, embedding) > cut, named, 0).astype(np.int8)


def best_cut(classifier: SigmoidClassifier, wires: Sequence[Embedded], recipes: Sequence[WireRecipe]) -> float:
    """Anomaly above which claims are best: the largest sum of macro-F1 and mean IoU over all wires.

    Balanced accuracy has no part in it: it would call the surroundings of every defect a defect.
    """
    tried = {float(-np.log10(1 - p)): p for p in np.arange(0.05, 0.8, 0.05)}

    def score(cut: float) -> float:
        levels = examine([claims_above(classifier, one.embedding, cut) for one in wires], wires, recipes)
        return float(sum(one["wires"] * one[name]["mean"] for one in levels for name in _SUMMED))

    return max(tried, key=score)


def examine(
    claims: Sequence[NDArray[np.integer]], wires: Sequence[Sample], recipes: Sequence[WireRecipe]
) -> list[dict[str, Any]]:
    """Score the claims about single ions, before they are joined to defects.

    Parameters
    ----------
    claims
        Code of `DEFECT_CLASSES` that each ion is claimed to be of, for each wire.
    wires, recipes
        Ions of the core of each wire, without targets below the search bound and intended layers; and what it is.

    Returns
    -------
    For each level the mean over its wires, with the 95 % interval of Student's t, of macro-F1, balanced accuracy and
    mean IoU over the defect classes, of IoU by class, and the share of ions of wires without defects that are claimed.
    """
    rows: dict[int, list[dict[str, float]]] = {}
    false: dict[int, list[float]] = {}
    n = len(DEFECT_CLASSES)
    for claimed, wire, recipe in zip(claims, wires, recipes, strict=True):
        table = np.bincount(wire.label * n + claimed, wire.stands_for, n * n).reshape(n, n)
        if recipe.kind == "empty":
            false.setdefault(recipe.level, []).append(1 - table[0, 0] / table.sum())
            continue
        scores = IonScores(np.rint(table).astype(np.int64))
        one = {
            "macro_f1": scores.macro_f1,
            "balanced_accuracy": scores.balanced_accuracy,
            "mean_iou": scores.mean_iou_defects,
        }
        one |= {f"iou_{name}": float(value) for name, value in zip(DEFECT_CLASSES, scores.iou, strict=True)}
        rows.setdefault(recipe.level, []).append(one)
    out = []
    for level, found in sorted(rows.items()):
        means = {name: student_interval([one[name] for one in found]).as_dict() for name in found[0]}
        share = float(np.mean(false[level])) if level in false else None
        out.append(plain({"level": level, "wires": len(found), "claimed_of_empty": share, **means}))
    return out


def calibration(
    classifier: SigmoidClassifier, wires: Sequence[Embedded], n_bins: int = 10, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Say whether the probabilities of each class mean what they say, on wires that took no part in calibration.

    Returns
    -------
    For each class what `evaluate.reliability` gives over ions that are as frequent as in the wires.
    """
    rng = np.random.default_rng([seed, 0xCA])
    rows = [one.natural_rows(rng) for one in wires]
    label = np.concatenate([one.label[mine] for one, mine in zip(wires, rows, strict=True)])
    chance = np.concatenate(
        [classifier.probabilities(one.embedding[mine]) for one, mine in zip(wires, rows, strict=True)]
    )
    return {
        name: reliability(chance[:, t], label == DEFECT_CLASSES.index(name), n_bins).as_dict()
        for t, name in enumerate(classifier.types)
    }
