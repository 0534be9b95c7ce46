"""Fusion: weights are convex, scales come from the reference, undefined features are unremarkable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_aptdefect.apt.fusion import Fused, FusionParams, fuse
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import drain


def _fuse(sets: list[np.ndarray], reference: list[np.ndarray], **params: float) -> Fused:
    n, m = len(sets[0]), len(reference[0])
    return drain(fuse(sets, reference, np.ones(n, bool), np.ones(m, bool), FusionParams(**params)))


def _sets(seed: int, n: int = 4000) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, k)).astype(np.float32) for k in (6, 4, 3)]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3).filter(lambda w: sum(w) > 1e-6))
def test_weights_are_non_negative_and_sum_to_one(raw: tuple[float, float, float]) -> None:
    weights = FusionParams(structural_weight=raw[0], compositional_weight=raw[1], spatial_weight=raw[2]).weights
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


def test_all_zero_or_negative_weights_are_refused() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        _ = FusionParams(structural_weight=0, compositional_weight=0, spatial_weight=0).weights
    with pytest.raises(ValidationError):
        FusionParams(structural_weight=-0.1)


def test_reference_like_ions_have_anomaly_one_and_outliers_more() -> None:
    sets = _sets(0)
    sets[1][:20] += 8
    fused = _fuse(sets, _sets(1))
    assert float(np.mean(fused.reference_anomaly**4)) == pytest.approx(1, rel=1e-4)
    assert fused.anomaly[:20].min() > np.quantile(fused.reference_anomaly, 0.999)
    assert fused.vectors.shape == (4000, 8)


def test_scale_and_shift_of_a_feature_do_not_matter() -> None:
    sets, reference = _sets(0), _sets(1)
    plain = _fuse(sets, reference)
    for group in (sets, reference):
        group[0] *= 1000
        group[2] += 7
    moved = _fuse(sets, reference)
    np.testing.assert_allclose(moved.anomaly, plain.anomaly, rtol=1e-3)


def test_weight_zero_silences_a_set() -> None:
    sets = _sets(0)
    sets[1][:20] += 8
    fused = _fuse(sets, _sets(1), compositional_weight=0)
    assert fused.anomaly[:20].max() < np.quantile(fused.anomaly[20:], 0.9999) * 1.2
    quiet = _fuse(_sets(0), _sets(1), compositional_weight=0)
    np.testing.assert_array_equal(fused.vectors, quiet.vectors)


def test_undefined_and_constant_features_are_unremarkable() -> None:
    sets, reference = _sets(0), _sets(1)
    sets[0][:50, 2] = np.nan
    sets[2][:, 1] = reference[2][:, 1] = 3.0
    fused = _fuse(sets, reference)
    assert np.isfinite(fused.anomaly).all()
    assert np.isfinite(fused.vectors).all()


def test_sets_without_features_leave_the_others() -> None:
    sets, reference = _sets(0), _sets(1)
    sets[1], reference[1] = sets[1][:, :0], reference[1][:, :0]
    fused = _fuse(sets, reference)
    assert float(np.mean(fused.reference_anomaly**4)) == pytest.approx(1, rel=1e-4)


def test_sets_that_do_not_correspond_are_refused() -> None:
    sets, reference = _sets(0), _sets(1)
    with pytest.raises(ShapeError, match="feature set 0"):
        _fuse([sets[0][:, :3], *sets[1:]], reference)
