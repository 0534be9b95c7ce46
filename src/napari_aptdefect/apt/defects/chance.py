"""What chance explains: false discovery rates of groups and of ions, from the matched reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_Q = 1e-3
_LEAST_SLOPE = 1.0  # a single ion one reference unit above the gate; keeps a reference without groups finite


def false_discovery(mass: NDArray[np.float64], chance: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Share of chance findings among the groups of at least each mass, never below one in a thousand.

    The floor is what the exponential tail can be trusted for; smaller numbers would come from the tail's shape alone.
    """
    if len(mass) == 0:
        return np.zeros(0)
    expected = _expected_by_chance(mass, chance) / max(share, 1e-6)
    order = np.argsort(-mass, kind="stable")
    found = np.searchsorted(-mass[order], -mass, side="right")
    q = np.clip(expected / found, _LEAST_Q, 1.0)
    ordered = np.minimum.accumulate(q[order][::-1])[::-1]  # a stronger group is never less certain
    out = np.empty_like(q)
    out[order] = ordered
    return out


def _expected_by_chance(mass: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected number of chance groups of at least each mass in the references together.

    One group more than was seen is assumed at the top (as in permutation tests). Beyond the heaviest group the number
    falls off exponentially, with the larger of the mean excess of the upper tenth, at least ten, of the chance groups
    and a tenth of the heaviest.
    """
    ordered = np.sort(chance) if len(chance) else np.zeros(1)
    counted = len(ordered) - np.searchsorted(ordered, mass, side="left") + 1.0
    upper = ordered[-max(10, len(ordered) // 10) :]
    slope = max(float(np.mean(upper - upper[0])), 0.1 * float(ordered[-1]), _LEAST_SLOPE)
    tail = 2.0 * np.exp(-(mass - ordered[-1]) / slope)
    return np.asarray(np.where(mass > ordered[-1], np.minimum(tail, 1.0), counted))


def local_chance(anomaly: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability that an ion of this anomaly is one of the matrix (local false discovery rate), falling with anomaly.

    Efron 2004, doi 10.1198/016214504000000089: ratio of the reference's density to the measured one, here over bins of
    equal measured counts, made monotone by isotonic regression.
    """
    from sklearn.isotonic import IsotonicRegression

    if len(anomaly) == 0 or len(reference) == 0:
        return np.ones(len(anomaly))
    n_bins = int(np.clip(len(anomaly) // 50, 1, 400))
    edges = np.unique(np.quantile(anomaly, np.linspace(0, 1, n_bins + 1)))
    if len(edges) < 3:
        return np.ones(len(anomaly))
    mine = np.histogram(anomaly, edges)[0] / len(anomaly)
    edges_all = edges.copy()
    edges_all[0], edges_all[-1] = -np.inf, np.inf
    theirs = np.histogram(reference, edges_all)[0] / len(reference)
    ratio = np.minimum(theirs / np.maximum(mine, 1e-12), 1.0)
    centers = (edges[1:] + edges[:-1]) / 2
    model = IsotonicRegression(y_min=0, y_max=1, increasing=False, out_of_bounds="clip")
    fitted: NDArray[np.float64] = model.fit(centers, ratio, sample_weight=mine).predict(anomaly)
    return fitted
