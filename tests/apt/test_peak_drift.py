"""Peak drift: an injected scale comes back; signs and units that are wrong are reported."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.peak_drift import (
    PeakDriftParams,
    check_units,
    estimate_peak_drift,
    normalize_masses,
)
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.stage import drain

N = 200_000
PEAKS = np.array([14.003, 28.006, 34.463, 35.462, 68.926, 70.925])


def masses(seed: int = 0, resolving_power: float = 1000, background: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mass = rng.choice(PEAKS, N, p=[0.3, 0.1, 0.12, 0.08, 0.24, 0.16])
    tail = np.where(rng.random(N) < 0.3, rng.exponential(1.5 / resolving_power, N), 0)
    mass = mass * (1 + rng.normal(0, 1 / resolving_power / 2.355, N) + tail)
    noise = rng.random(N) < background
    mass[noise] = rng.uniform(0.01, 200, noise.sum())
    return mass


def slow(size: float = 2e-3) -> np.ndarray:
    scale = 1 + size * np.sin(np.linspace(0, 7, N))
    return scale / scale.mean()


@pytest.mark.parametrize("resolving_power", [600, 1500])
def test_recovers_an_injected_scale(resolving_power: float) -> None:
    drift = drain(estimate_peak_drift(masses(0, resolving_power) * slow(), PeakDriftParams(ions_per_slice=5000)))
    assert np.std(drift.of_ions() / slow()) < 0.15 / resolving_power  # a third of a peak's sigma
    np.testing.assert_allclose(np.sort(drift.peaks_da), [14.003, 68.926, 70.925], rtol=2e-3)
    assert not [issue for issue in drift.issues if issue.severity == "warning"]


def test_peaks_become_as_narrow_as_without_drift() -> None:
    def width(mass: np.ndarray) -> float:
        near = mass[(mass > 68.5) & (mass < 69.6)]
        return float(np.subtract(*np.quantile(near, [0.75, 0.25])))

    straight = masses()
    smeared = straight * slow(4e-3)
    drift = drain(estimate_peak_drift(smeared, PeakDriftParams(ions_per_slice=5000)))
    assert width(smeared) > 2 * width(straight)
    assert width(normalize_masses(smeared, drift)) < 1.1 * width(straight)


def test_steady_masses_stay_where_they_are() -> None:
    drift = drain(estimate_peak_drift(masses()))
    np.testing.assert_allclose(drift.scale, 1, atol=1e-4)
    np.testing.assert_allclose(normalize_masses(masses(), drift), masses(), rtol=1e-4)


def test_order_within_a_slice_does_not_matter() -> None:
    mass = masses() * slow()
    shuffled = mass.reshape(10, -1)[:, np.random.default_rng(0).permutation(N // 10)].ravel()
    params = PeakDriftParams(ions_per_slice=20_000)
    expected = drain(estimate_peak_drift(mass, params)).scale
    np.testing.assert_allclose(drain(estimate_peak_drift(shuffled, params)).scale, expected, rtol=1e-9)


def test_stated_error_is_the_scatter() -> None:
    drift = drain(estimate_peak_drift(masses(3), PeakDriftParams(ions_per_slice=2000, n_peaks=1)))
    assert np.std(drift.measured) == pytest.approx(drift.error.mean(), rel=0.35)


def test_peaks_that_disagree_are_reported() -> None:
    mass = masses(background=0)
    heavy = mass > 50
    mass[heavy] *= slow(3e-3)[heavy]
    mass[~heavy] *= slow(-3e-3)[~heavy]
    issues = {issue.code for issue in drain(estimate_peak_drift(mass, PeakDriftParams(ions_per_slice=5000))).issues}
    assert "peaks-disagree" in issues


def test_drift_beyond_the_reach_is_reported() -> None:
    params = PeakDriftParams(ions_per_slice=5000, reach_percent=0.5)
    assert "peak-reach" in {issue.code for issue in drain(estimate_peak_drift(masses() * slow(3e-3), params)).issues}


def test_bad_input_is_an_error() -> None:
    with pytest.raises(EmptySelectionError, match="choose smaller slices"):
        drain(estimate_peak_drift(np.ones(100)))
    with pytest.raises(EmptySelectionError, match="positive mass"):
        drain(estimate_peak_drift(np.full(N, np.nan)))
    even = np.exp(np.random.default_rng(0).uniform(0, 5, N))
    with pytest.raises(EmptySelectionError, match="stands out"):
        drain(estimate_peak_drift(even))
    with pytest.raises(ShapeError, match=f"{N} values"):
        normalize_masses(np.ones(3), drain(estimate_peak_drift(masses())))


def specimen(down: bool = False) -> np.ndarray:
    rng = np.random.default_rng(1)
    z = np.sort(rng.random(40_000) * 40) + rng.normal(0, 1, 40_000)
    return np.column_stack([rng.random((40_000, 2)) * 6, -z if down else z]).astype(np.float32)


@pytest.mark.parametrize(
    ("xyz", "code"),
    [
        (specimen(), None),
        (specimen(down=True), "z-sign"),
        (np.random.default_rng(0).permutation(specimen()), "z-order"),
        (10 * specimen(), "unit"),
        (specimen() / 1000, "unit"),
        (specimen()[:50], "too-few"),
    ],
)
def test_sign_order_and_unit(xyz: np.ndarray, code: str | None) -> None:
    assert [issue.code for issue in check_units(xyz)] == ([code] if code else [])


def test_unit_is_guessed() -> None:
    (issue,) = check_units(10 * specimen())
    assert "but angstrom" in str(issue)
    (issue,) = check_units(specimen() / 1000)
    assert "but um" in str(issue)
