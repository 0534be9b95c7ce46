"""What weights are scored by: macro-F1 of a cheap classifier where labels exist, else compactness and stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.weights.classifier import LinearClassifier, fit_linear, macro_f1
from napari_aptdefect.apt.weights.space import FusionSpace, SpaceParams, fused, on_simplex
from napari_aptdefect.arrays import as_vector
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import param

_RESTARTS: Final = 3  # of k-means
_SHARE: Final = 0.8  # of the ions in each of the two resamples


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one evaluation of weights gives.

    Parameters
    ----------
    score
        The larger, the better; 1 at most.
    gradient
        Shape (S,), float64: derivative of a differentiable surrogate, the smaller the better, with respect to the
        log-weights; None where the problem has none.
    """

    score: float
    gradient: NDArray[np.float64] | None


class Problem(Protocol):
    """Anything that scores weights."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the feature sets."""

    def evaluate(self, weights: NDArray[np.float64]) -> Evaluation:
        """Score of weights on the simplex, shape (S,)."""


@dataclass(frozen=True, eq=False)
class LabeledIons:
    """Features and classes of ions.

    Parameters
    ----------
    blocks
        One array per feature set, shape (N, m); not finite where missing.
    label
        Shape (N,), integer: class of each ion, from 0.
    """

    blocks: tuple[NDArray[Any], ...]
    label: NDArray[Any]

    def __post_init__(self) -> None:
        n = len(self.blocks[0]) if self.blocks else 0
        label = as_vector(self.label, "label", length=n, dtype=np.int64)
        if n == 0:
            raise EmptySelectionError("there are no labeled ions")
        if label.min() < 0:
            raise ParameterError(f"classes are numbered from 0, got {int(label.min())}")
        object.__setattr__(self, "label", label)


class LabeledParams(SpaceParams):
    """How weights are scored where labels exist."""

    penalty: float = param(
        1e-3, title="Penalty", description="L2 penalty on the coefficients of the classifier.", gt=0, le=1e3
    )


class LabeledProblem:
    """Score of weights: macro-F1 on validation ions of a classifier that was fitted to training ions.

    Parameters
    ----------
    names
        Names of the feature sets.
    training
        Ions the projection and the classifier are fitted to; two classes at least.
    validation
        Ions of other specimens, which the score is of.
    params
        Parameters; the defaults when None.

    Raises
    ------
    ParameterError
        If there is only one class to learn.

    Notes
    -----
    The classifier is a multinomial logistic regression on F = sum_i w_i P_i f_i; all classes count the same. Its
    penalized training loss L at the optimum is the surrogate: as the derivative of L by the coefficients is zero there,
    dL/dw_i is the partial derivative at fixed coefficients (the envelope theorem), and comes with the fit for the price
    of one more pass over the ions. One evaluation is one fit, with or without the gradient.
    """

    def __init__(
        self,
        names: Sequence[str],
        training: LabeledIons,
        validation: LabeledIons,
        params: LabeledParams | None = None,
    ) -> None:
        self.params = params or LabeledParams()
        if len(np.unique(training.label)) < 2:
            raise ParameterError("the training ions must be of two classes at least, got one")
        self.space = FusionSpace.fit(names, training.blocks, self.params)
        self.n_classes = int(max(training.label.max(), validation.label.max())) + 1
        self._label = training.label
        self._projected = self.space.project(training.blocks)
        self._validation = (self.space.project(validation.blocks), validation.label)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the feature sets."""
        return self.space.names

    def classifier(self, weights: ArrayLike) -> LinearClassifier:
        """Fit the classifier of the features fused with these weights."""
        w = on_simplex(weights, len(self.names))
        return fit_linear(fused(self._projected, w), self._label, self.n_classes, self.params.penalty)

    def evaluate(self, weights: NDArray[np.float64]) -> Evaluation:
        """Macro-F1 on the validation ions, and the derivative of the training loss by the log-weights."""
        w = on_simplex(weights, len(self.names))
        fitted = self.classifier(w)
        projected, label = self._validation
        score = macro_f1(label, fitted.classes(fused(projected, w)), self.n_classes)
        error = fitted.error(fused(self._projected, w), self._label)
        partial = np.einsum("snd,nd->s", self._projected, error @ fitted.weight.T, optimize=True)
        return Evaluation(score, w * (partial - w @ partial))

    def score_on(self, weights: ArrayLike, ions: LabeledIons) -> float:
        """Macro-F1 of the classifier with these weights on other ions; for reports, never for the search."""
        w = on_simplex(weights, len(self.names))
        claimed = self.classifier(w).classes(fused(self.space.project(ions.blocks), w))
        return macro_f1(ions.label, claimed, max(self.n_classes, int(ions.label.max()) + 1))

    def concatenated(self, *ions: LabeledIons) -> tuple[float, ...]:
        """Macro-F1 without any weights: the same classifier on the same projections, side by side instead of added."""
        width = np.concatenate(self._projected, axis=1)
        fitted = fit_linear(width, self._label, self.n_classes, self.params.penalty)
        scores = []
        for one in ions:
            claimed = fitted.classes(np.concatenate(self.space.project(one.blocks), axis=1))
            scores.append(macro_f1(one.label, claimed, max(self.n_classes, int(one.label.max()) + 1)))
        return tuple(scores)


class UnlabeledParams(SpaceParams):
    """How weights are scored without labels."""

    n_clusters: int = param(
        5, title="Clusters", description="Number of clusters of k-means.", unit="clusters", ge=2, le=100
    )
    most_ions: int = param(
        2_000,
        title="Most ions",
        description="Ions that are drawn for the score; its time grows with their square.",
        unit="ions",
        ge=50,
        le=50_000,
    )


class UnlabeledProblem:
    """Score of weights without labels: how compact the clusters of F are, and how well they come again.

    Parameters
    ----------
    names
        Names of the feature sets.
    blocks
        One array per set, shape (N, m), of ions that passed the gate: with the matrix among them, compactness says
        nothing of the defects.
    params
        Parameters; the defaults when None.
    seed
        Seed of the draws.

    Raises
    ------
    EmptySelectionError
        If there are too few ions for so many clusters.

    Notes
    -----
    (silhouette + ARI) / 2: the mean silhouette of k-means clusters (Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7),
    and the adjusted Rand index (Hubert & Arabie 1985, doi 10.1007/BF01908075) between what the centers found in two
    resamples, each of 80 %, make of all ions. A stand-in for the accuracy that nobody can measure without labels: it
    likes any set that splits the ions cleanly, whatever the split means.
    """

    def __init__(
        self,
        names: Sequence[str],
        blocks: Sequence[NDArray[Any]],
        params: UnlabeledParams | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.params, self.seed = params or UnlabeledParams(), seed
        self.space = FusionSpace.fit(names, blocks, self.params)
        n, least = len(blocks[0]), 5 * self.params.n_clusters
        if n < least:
            raise EmptySelectionError(f"{n} ions are too few for {self.params.n_clusters} clusters; {least} are needed")
        rng = np.random.default_rng([seed, 0xF0])
        rows = np.sort(rng.permutation(n)[: self.params.most_ions])
        self._projected = self.space.project([np.asarray(block)[rows] for block in blocks])
        self._resamples = [np.sort(rng.permutation(len(rows))[: int(_SHARE * len(rows))]) for _ in range(2)]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the feature sets."""
        return self.space.names

    @cached_property
    def _seeds(self) -> list[int]:
        return [int(one) for one in np.random.default_rng([self.seed, 0xF1]).integers(2**31, size=3)]

    def evaluate(self, weights: NDArray[np.float64]) -> Evaluation:
        """Mean of silhouette and stability; there is no gradient."""
        import warnings

        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import adjusted_rand_score, silhouette_score

        points = fused(self._projected, on_simplex(weights, len(self.names)))

        def labels(rows: NDArray[np.int64] | slice, seed: int) -> NDArray[np.int32]:
            model = KMeans(self.params.n_clusters, n_init=_RESTARTS, random_state=seed)
            return np.asarray(model.fit(points[rows]).predict(points), np.int32)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
            whole = labels(slice(None), self._seeds[0])
            first, second = (labels(r, s) for r, s in zip(self._resamples, self._seeds[1:], strict=True))
        if len(np.unique(whole)) < 2:
            return Evaluation(-1.0, None)  # one point many times: nothing to tell apart
        stability = float(adjusted_rand_score(first, second))
        return Evaluation((float(silhouette_score(points, whole)) + stability) / 2, None)
