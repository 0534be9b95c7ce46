"""The sigmoid classifier: its library's coefficients, honest probabilities, and "unknown" where it can't tell."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from napari_aptdefect.apt.classify import UNKNOWN, ClassifyParams, Labeled, SigmoidClassifier, fit_classifier
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain

TYPES = ("matrix", "void", "solute_cluster")
FEATURES = ("density", "enrichment_Mg", "noise", "constant")
SHARES = (0.9, 0.06, 0.04)


def ions(n: int, seed: int, shares: tuple[float, ...] = SHARES) -> Labeled:
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, n, p=shares).astype(np.int32)
    x = rng.normal(size=(n, 4))
    x[:, 0] = 40 + 5 * (x[:, 0] - 2.5 * (kind == 1))
    x[:, 1] += 3.0 * (kind == 2)
    x[:, 3] = 7
    return Labeled(x.astype(np.float32), kind)


def fit(**values: Any) -> SigmoidClassifier:
    return drain(fit_classifier(ions(4000, 0), ions(8000, 1), TYPES, FEATURES, ClassifyParams(**values)))


@pytest.fixture(scope="module")
def fitted() -> SigmoidClassifier:
    return fit()


@pytest.mark.parametrize("balanced", [True, False])
def test_coefficients_are_those_of_the_library(balanced: bool) -> None:
    ours = fit(balanced=balanced, inverse_penalty=0.5, calibration="none")
    train, test = ions(4000, 0), ions(500, 2)
    x = train.x.astype(float)
    spread = x.std(axis=0)
    z = lambda rows: (rows.astype(float) - x.mean(axis=0)) / np.where(spread > 0, spread, 1)  # noqa: E731
    for t in range(3):
        model = LogisticRegression(C=0.5, class_weight="balanced" if balanced else None, max_iter=1000)
        model.fit(z(train.x), train.type_idx == t)
        np.testing.assert_allclose(ours.weight[t], model.coef_[0], atol=1e-5)
        np.testing.assert_allclose(ours.probabilities(test.x)[:, t], model.predict_proba(z(test.x))[:, 1], atol=1e-4)


def test_platt_takes_back_what_balancing_does_to_the_odds(fitted: SigmoidClassifier) -> None:
    test = ions(40_000, 3)
    for t, share in enumerate(SHARES):
        assert fitted.probabilities(test.x)[:, t].mean() == pytest.approx(share, abs=0.006)
    raw, one_slope = fit(calibration="none"), fit(calibration="temperature")
    assert raw.probabilities(test.x)[:, 1].mean() > 2 * SHARES[1]
    assert len(set(one_slope.slope)) == 1
    assert not one_slope.offset.any()

    def brier(model: SigmoidClassifier) -> float:
        return float(np.mean((model.probabilities(test.x) - (test.type_idx[:, None] == np.arange(3))) ** 2))

    assert brier(fitted) < brier(one_slope) < brier(raw)


def test_probabilities_are_those_of_the_generating_model() -> None:
    """Two normal types of one width: their log-odds are linear, so they can be recovered."""
    rng = np.random.default_rng(4)
    kind = (rng.random(60_000) < 0.2).astype(np.int32)
    x = rng.normal(size=(60_000, 1)) + 2 * kind[:, None]
    train, valid = Labeled(x[:30_000], kind[:30_000]), Labeled(x[30_000:], kind[30_000:])
    model = drain(fit_classifier(train, valid, ("a", "b"), ("x",)))
    at = np.linspace(-1, 4, 11)[:, None]
    exact = expit(2 * at[:, 0] - 2 + np.log(0.2 / 0.8))
    np.testing.assert_allclose(model.probabilities(at)[:, 1], exact, atol=0.02)


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_the_stated_share_of_claims_is_right(share: float) -> None:
    model, test = fit(share_right=share), ions(40_000, 5)
    claim, p = model.claims(test.x)
    for t in range(3):
        mine = claim == t
        assert mine.any()
        assert np.mean(test.type_idx[mine] == t) > share - 0.03
    assert (claim == UNKNOWN).any()
    np.testing.assert_allclose(p, model.probabilities(test.x).max(axis=1))


def test_a_type_that_cannot_be_told_is_never_claimed() -> None:
    def unseen(labeled: Labeled) -> Labeled:
        return Labeled(labeled.x[:, 2:3], labeled.type_idx)  # the column of noise alone

    model = drain(fit_classifier(unseen(ions(2000, 0)), unseen(ions(2000, 1)), TYPES, ("noise",)))
    assert np.isinf(model.threshold[1:]).all()
    assert set(model.claims(unseen(ions(500, 2)).x)[0]) <= {UNKNOWN, 0}


def test_ions_of_no_type_are_the_rest() -> None:
    train, valid = ions(4000, 0), ions(4000, 1)
    dropped = [Labeled(one.x, (one.type_idx - 1).astype(np.int32)) for one in (train, valid)]
    model = drain(fit_classifier(dropped[0], dropped[1], TYPES[1:], FEATURES))
    test = ions(4000, 2)
    assert np.mean(model.probabilities(test.x)[test.type_idx == 0]) < 0.05


def test_why(fitted: SigmoidClassifier) -> None:
    table = fitted.why()
    assert len(table) == 12
    assert [abs(c.weight) for c in table] == sorted((abs(c.weight) for c in table), reverse=True)
    void, solute = fitted.why("void", 1)[0], fitted.why("solute_cluster", 1)[0]
    assert (void.feature, void.weight < 0) == ("density", True)
    assert (solute.feature, solute.weight > 0) == ("enrichment_Mg", True)
    with pytest.raises(ParameterError, match="no type 'twin'; there are matrix, void"):
        fitted.why("twin")


def test_contributions_add_up_to_the_log_odds(fitted: SigmoidClassifier) -> None:
    x = ions(50, 6).x
    for t, name in enumerate(TYPES):
        total = fitted.contributions(x, name).sum(axis=1) + fitted.slope[t] * fitted.bias[t] + fitted.offset[t]
        np.testing.assert_allclose(total, fitted.log_odds(x)[:, t], rtol=1e-4, atol=1e-4)


def test_what_is_missing_counts_as_the_mean(fitted: SigmoidClassifier) -> None:
    x = ions(5, 6).x.copy()
    filled = x.copy()
    x[2, 1], filled[2, 1] = np.nan, fitted.center[1]
    np.testing.assert_allclose(fitted.log_odds(x), fitted.log_odds(filled), rtol=1e-6)
    assert (fitted.contributions(x, "void")[2, 1]) == 0
    some = ions(3000, 0)
    some.x[::3, 2] = np.nan
    assert np.isfinite(drain(fit_classifier(some, some, TYPES, FEATURES)).weight).all()


def test_the_state_survives_json_and_arrays(fitted: SigmoidClassifier) -> None:
    arrays, about = fitted.state()
    again = SigmoidClassifier.from_state(arrays, json.loads(json.dumps(about)))
    x = ions(200, 7).x
    np.testing.assert_array_equal(again.probabilities(x), fitted.probabilities(x))
    np.testing.assert_array_equal(again.claims(x)[0], fitted.claims(x)[0])
    with pytest.raises(ParameterError, match="lacks weight"):
        SigmoidClassifier.from_state({k: v for k, v in arrays.items() if k != "weight"}, about)
    with pytest.raises(ParameterError, match="expected the state"):
        SigmoidClassifier.from_state(arrays, {})
    with pytest.raises(ShapeError, match="bias"):
        SigmoidClassifier.from_state({**arrays, "bias": np.zeros(2)}, about)


def test_is_seeded_where_ions_are_drawn() -> None:
    def run(seed: int) -> NDArray[np.float64]:
        params = ClassifyParams(most_per_type=100)
        return drain(fit_classifier(ions(4000, 0), ions(500, 1), TYPES, FEATURES, params, seed=seed)).weight

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_bad_input_is_refused(fitted: SigmoidClassifier) -> None:
    train = ions(300, 0)
    with pytest.raises(ShapeError, match="4 columns"):
        fitted.probabilities(train.x[:, :2])
    with pytest.raises(EmptySelectionError, match="0 of 300 training ions are 'twin'"):
        drain(fit_classifier(train, train, (*TYPES, "twin"), FEATURES))
    with pytest.raises(ParameterError, match="type_idx must be"):
        drain(fit_classifier(train, train, TYPES[:2], FEATURES))
    with pytest.raises(ParameterError, match="differ"):
        drain(fit_classifier(train, train, TYPES, ("a", "a", "b", "c")))
    with pytest.raises(EmptySelectionError, match="no validation ions"):
        drain(fit_classifier(train, Labeled(np.zeros((0, 4)), np.zeros(0, np.int32)), TYPES, FEATURES))
