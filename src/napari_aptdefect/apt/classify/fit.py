"""Fitting: logistic regressions on training ions, calibration and thresholds on ions of other specimens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from napari_aptdefect.apt.classify.model import SigmoidClassifier, as_rows
from napari_aptdefect.arrays import as_vector
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Progress, Stage, param

_WEAK: Final = 1e-3  # inverse of the penalty of the calibration: keeps it finite where a type separates perfectly


class ClassifyParams(Params):
    """Parameters of the classifier."""

    inverse_penalty: float = param(
        1.0,
        title="Inverse penalty",
        description="Inverse of the L2 penalty on the coefficients (C of scikit-learn).",
        ge=1e-6,
        le=1e6,
    )
    balanced: bool = param(
        True, title="Balanced", description="Whether a type and its rest count the same, however many ions they have."
    )
    most_per_type: int = param(
        50_000,
        title="Most ions per type",
        description="Of a type with more training ions this many are drawn.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )
    calibration: Literal["platt", "temperature", "none"] = param(
        "platt",
        title="Calibration",
        description="On the validation ions: slope and offset of each type (Platt), or one slope for all types.",
    )
    share_right: float = param(
        0.95,
        title="Share right",
        description="Share of the claims of each type that is to be right; what can't keep it is unknown.",
        ge=0.5,
        le=0.9999,
    )


@dataclass(frozen=True, eq=False)
class Labeled:
    """Ions with a known type.

    Parameters
    ----------
    x
        Shape (N, d): embedding and features; not finite where missing.
    type_idx
        Shape (N,), integer: index of the type; -1 for ions of no type, which belong to the rest of each.
    """

    x: NDArray[Any]
    type_idx: NDArray[np.int32]


def fit_classifier(
    training: Labeled,
    validation: Labeled,
    types: Sequence[str],
    features: Sequence[str],
    params: ClassifyParams | None = None,
    *,
    seed: int = 0,
) -> Stage[SigmoidClassifier]:
    """Fit one sigmoid per type, calibrate it, and find from which probability on its claims are right often enough.

    Parameters
    ----------
    training
        Ions that the coefficients are fitted to.
    validation
        Ions of other specimens, with the types as frequent as where the classifier will be used: calibration and
        thresholds hold for this mixture.
    types
        Names of the types; the matrix is one of them where it is to be claimed.
    features
        Names of the columns.
    params
        Parameters; the defaults when None.
    seed
        Seed of the draw of training ions.

    Yields
    ------
    `Progress` in types.

    Raises
    ------
    ShapeError
        If names and columns differ in number.
    ParameterError
        If names are not unique, or a type has no index.
    EmptySelectionError
        If a type has no training ions, or all of them.

    Notes
    -----
    P(D = t | X) = sigma(w_t . z + b_t), z the standardized columns, by penalized maximum likelihood (scikit-learn's
    LogisticRegression), one type against all other ions. Balancing changes the odds, and `platt` takes that back: slope
    and offset of the log-odds by maximum likelihood on the validation ions, with Platt's targets (n+ + 1) / (n+ + 2)
    and 1 / (n- + 2) (Platt 1999, Probabilistic outputs for support vector machines; Guo et al. 2017,
    arXiv 1706.04599, for one slope, which can't).

    The threshold of a type is the lowest probability p with (1 + wrong claims) / (1 + claims) <= 1 - share_right among
    the validation ions for which the type is the likeliest, at p or more: the one added is the next ion, unseen
    (Angelopoulos et al. 2022, arXiv 2208.02814). A type with fewer than 1 / (1 - share_right) - 1 claims is never
    claimed.
    """
    params = params or ClassifyParams()
    names = tuple(types)
    train, train_type = _checked(training, names, features, "training")
    valid, valid_type = _checked(validation, names, features, "validation")
    present = np.bincount(train_type[train_type >= 0], minlength=len(names))
    for name, n in zip(names, present, strict=True):
        if n in (0, len(train)):
            raise EmptySelectionError(f"{n} of {len(train)} training ions are {name!r}; some and not all are needed")
    rows = _drawn(train_type, params.most_per_type, seed)
    center, scale = _standard(train[rows])
    z = (np.where(np.isfinite(train[rows]), train[rows], center) - center) / scale
    weight, bias = np.empty((len(names), len(center))), np.empty(len(names))
    for t, name in enumerate(names):
        yield Progress(t, len(names) + 1, name)
        weight[t], bias[t] = _logistic(z, train_type[rows] == t, params)
    yield Progress(len(names), len(names) + 1, "Calibration")
    one, zero = np.ones(len(names)), np.zeros(len(names))
    raw = SigmoidClassifier(names, tuple(features), center, scale, weight, bias, one, zero, zero)
    odds = raw.log_odds(valid).astype(np.float64)
    slope, offset = _calibrated(odds, valid_type, params.calibration)
    threshold = _thresholds(expit(slope * odds + offset), valid_type, params.share_right)
    return SigmoidClassifier(names, tuple(features), center, scale, weight, bias, slope, offset, threshold)


def calibrated_classifier(
    weight: NDArray[np.floating],
    bias: NDArray[np.floating],
    validation: Labeled,
    types: Sequence[str],
    features: Sequence[str],
) -> SigmoidClassifier:
    """Calibrate sigmoids whose weights have been learned elsewhere, such as the last layer of a network.

    Parameters
    ----------
    weight, bias
        Shape (T, d) and (T,): log-odds of each type are ``weight @ x + bias`` before calibration.
    validation
        Ions of other specimens, with the types as frequent as where the classifier will be used.
    types
        Names of the T types.
    features
        Names of the d columns.

    Returns
    -------
    The classifier: slope and offset of each type's log-odds as in `fit_classifier` (`platt`); no claim of it is
    "unknown".

    Raises
    ------
    ShapeError
        If names, weights and columns differ in number.
    ParameterError
        If names are not unique, or a type has no index.
    EmptySelectionError
        If there are no validation ions.
    """
    names = tuple(types)
    x, index = _checked(validation, names, features, "validation")
    width, n = len(tuple(features)), len(names)
    zero, one = np.zeros(n), np.ones(n)
    raw = SigmoidClassifier(
        names, tuple(features), np.zeros(width), np.ones(width), np.asarray(weight), np.asarray(bias), one, zero, zero
    )
    slope, offset = _calibrated(raw.log_odds(x).astype(np.float64), index, "platt")
    return replace(raw, slope=slope, offset=offset)


def _checked(
    ions: Labeled, types: tuple[str, ...], features: Sequence[str], name: str
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    for what, given in (("types", types), ("features", tuple(features))):
        if len(set(given)) != len(given) or not given:
            raise ParameterError(f"the names of the {what} must be there and differ, got {given}")
    x = as_rows(ions.x, len(features))
    index = as_vector(ions.type_idx, f"type_idx of the {name} ions", length=len(x), dtype=np.int32)
    if len(index) == 0:
        raise EmptySelectionError(f"there are no {name} ions")
    if index.min() < -1 or index.max() >= len(types):
        raise ParameterError(f"type_idx must be -1 to {len(types) - 1}, got {index.min()} to {index.max()}")
    return x.astype(np.float64), index


def _drawn(type_idx: NDArray[np.int32], most: int, seed: int) -> NDArray[np.int64]:
    """Rows of at most so many ions of each type, and of none, ascending."""
    rng = np.random.default_rng([seed, 0xC1])
    chosen = []
    for t in np.unique(type_idx):
        rows = np.flatnonzero(type_idx == t)
        chosen.append(rows if len(rows) <= most else rng.choice(rows, most, replace=False))
    return np.sort(np.concatenate(chosen))


def _standard(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the finite values of each column; 0 and 1 where they don't exist."""
    known = np.isfinite(x)
    n = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, x, 0).sum(axis=0) / n
    spread = np.sqrt((np.where(known, x - center, 0) ** 2).sum(axis=0) / n)
    return center, np.where(spread > 1e-12 * np.maximum(np.abs(center), 1), spread, 1.0)


def _logistic(
    z: NDArray[np.float64], positive: NDArray[np.bool_], params: ClassifyParams
) -> tuple[NDArray[np.float64], float]:
    from sklearn.linear_model import LogisticRegression

    balance = "balanced" if params.balanced else None
    model = LogisticRegression(C=params.inverse_penalty, class_weight=balance, max_iter=1_000).fit(z, positive)
    return model.coef_[0], float(model.intercept_[0])


def _calibrated(
    odds: NDArray[np.float64], type_idx: NDArray[np.int32], method: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope and offset of each type's log-odds; the same slope and no offset for `temperature`."""
    n_types = odds.shape[1]
    is_type = type_idx[:, None] == np.arange(n_types)
    if method == "none":
        return np.ones(n_types), np.zeros(n_types)
    if method == "temperature":
        slope, _ = _platt(odds.ravel(), is_type.ravel(), shift=False)
        return np.full(n_types, slope), np.zeros(n_types)
    fitted = [_platt(odds[:, t], is_type[:, t], shift=True) for t in range(n_types)]
    return np.array([slope for slope, _ in fitted]), np.array([offset for _, offset in fitted])


def _platt(odds: NDArray[np.float64], positive: NDArray[np.bool_], *, shift: bool) -> tuple[float, float]:
    """Slope, not negative, and offset of maximum likelihood with Platt's targets."""
    from scipy.optimize import minimize

    n = int(positive.sum())
    target = np.where(positive, (n + 1) / (n + 2), 1 / (len(positive) - n + 2))

    def loss(p: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        fitted = p[0] * odds + p[1] * shift
        over = expit(fitted) - target
        value = np.mean(np.logaddexp(0, fitted) - target * fitted) + _WEAK / len(odds) * (p @ p)
        gradient = np.array([np.mean(over * odds), np.mean(over) * shift]) + 2 * _WEAK / len(odds) * p
        return float(value), gradient

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    return float(found.x[0]), float(found.x[1]) if shift else 0.0


def _thresholds(chance: NDArray[np.float64], type_idx: NDArray[np.int32], share_right: float) -> NDArray[np.float64]:
    """Lowest probability from which on the claims of each type are right often enough; infinite where there is none."""
    out = np.full(chance.shape[1], np.inf)
    best = chance.argmax(axis=1)
    for t in range(chance.shape[1]):
        mine = best == t
        order = np.argsort(-chance[mine, t], kind="stable")
        p, wrong = chance[mine, t][order], (type_idx[mine] != t)[order]
        risk = (1 + np.cumsum(wrong)) / (2 + np.arange(len(p)))
        last_of_tie = np.append(p[1:] != p[:-1], True)[: len(p)]
        kept = np.flatnonzero(last_of_tie & (risk <= (1 - share_right) * (1 + 1e-12)))
        if len(kept):
            # a little lower, so that the float32 probability of the claims reaches it
            out[t] = p[kept[-1]] * (1 - 1e-6)
    return out
