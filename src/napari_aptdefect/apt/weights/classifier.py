"""A cheap classifier to score weights by: balanced multinomial logistic regression, always fitted from zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ITERATIONS: Final = 200


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Coefficients of a multinomial logistic regression.

    Parameters
    ----------
    weight
        Shape (d, C), float64.
    bias
        Shape (C,), float64.
    share
        Shape (C,), float64: how much each training ion of a class counts; those of a class sum to 1 / (classes there).
    loss
        The penalized loss at the optimum.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    share: NDArray[np.float64]
    loss: float

    def classes(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Likeliest class of each row of shape (N, d), shape (N,)."""
        return np.asarray((x @ self.weight + self.bias).argmax(axis=1))

    def error(self, x: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float64]:
        """Derivative of the loss by the log-odds of each training ion, shape (N, C)."""
        chance = _chances(x @ self.weight + self.bias)
        chance[np.arange(len(x)), label] -= 1
        return chance * self.share[label][:, None]


def fit_linear(x: NDArray[np.float64], label: NDArray[np.int64], n_classes: int, penalty: float) -> LinearClassifier:
    """Fit by L-BFGS from zero.

    Parameters
    ----------
    x
        Shape (N, d), float64.
    label
        Shape (N,), int64, below `n_classes`.
    n_classes
        Number of classes C; those without an ion are never claimed.
    penalty
        Factor of half the sum of the squared coefficients beside the mean loss.

    Notes
    -----
    Minimizes sum_n s(y_n) (-log p(y_n | x_n)) + penalty |W|^2 / 2 with s(c) = 1 / (classes there * ions of class c).
    """
    from scipy.optimize import minimize

    count = np.bincount(label, minlength=n_classes)
    there = np.flatnonzero(count)
    share = np.zeros(n_classes)
    share[there] = 1 / (len(there) * count[there])
    place = np.zeros(n_classes, np.int64)
    place[there] = np.arange(len(there))
    target, weight_of_ion, rows = place[label], share[label], np.arange(len(x))
    shape = (x.shape[1], len(there))

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w, b = flat[: shape[0] * shape[1]].reshape(shape), flat[shape[0] * shape[1] :]
        chance = _chances(x @ w + b)
        value = -weight_of_ion @ np.log(np.maximum(chance[rows, target], 1e-300)) + penalty / 2 * np.sum(w * w)
        chance[rows, target] -= 1
        chance *= weight_of_ion[:, None]
        return float(value), np.concatenate([(x.T @ chance + penalty * w).ravel(), chance.sum(axis=0)])

    start = np.zeros(shape[0] * shape[1] + shape[1])
    options = {"maxiter": _ITERATIONS, "gtol": 1e-5, "ftol": 1e-9}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weight, bias = np.zeros((shape[0], n_classes)), np.full(n_classes, -1e9)
    weight[:, there] = found.x[: shape[0] * shape[1]].reshape(shape)
    bias[there] = found.x[shape[0] * shape[1] :]
    return LinearClassifier(weight, bias, share, float(found.fun))


def macro_f1(truth: NDArray[np.int64], claimed: NDArray[np.int64], n_classes: int) -> float:
    """Mean F1 over the classes that are there or claimed, 2 h / (s + p) with h hits, s true and p claimed ions."""
    hits = np.bincount(truth[truth == claimed], minlength=n_classes)
    both = np.bincount(truth, minlength=n_classes) + np.bincount(claimed, minlength=n_classes)
    known = both > 0
    return float(np.mean(2 * hits[known] / both[known]))


def _chances(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax of each row."""
    odds = odds - odds.max(axis=1, keepdims=True)
    np.exp(odds, out=odds)
    odds /= odds.sum(axis=1, keepdims=True)
    return odds
