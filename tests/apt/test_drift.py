"""Drift: what was injected comes back, poles that stay do not hold it, and registration agrees with scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from napari_aptdefect.apt.drift import Drift, DriftParams, correct_drift, estimate_drift, image_scale
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
from napari_aptdefect.stage import drain

RADIUS = 9.0


def disc(n: int, seed: int = 0, blur: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    r, angle = RADIUS * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle)]) + rng.normal(0, blur, (n, 2))


def wave(n: int, size: float = 1.5, turns: float = 1.3) -> np.ndarray:
    phase = 2 * np.pi * turns * np.arange(n) / n
    return np.column_stack([size * np.sin(phase), 0.4 * size * np.cos(phase)])


def rms(found: Drift, true: np.ndarray, keep: np.ndarray | slice = slice(None)) -> np.ndarray:
    off = (found.of_ions() - true)[keep]
    return np.sqrt(np.mean((off - off.mean(axis=0)) ** 2, axis=0))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_recovers_the_drift_of_a_simulated_wire_to_half_an_angstrom(level: int) -> None:
    period = 30.0
    change = {"drift_nm": 1.5, "drift_period_nm": period}
    wire = GanNanowireParams(radius_nm=8, length_nm=24, level=level, measurement=change)
    made = drain(simulate_gan_nanowire(wire, 7))
    still = drain(simulate_gan_nanowire(wire.model_copy(update={"measurement": _without_drift(wire)}), 7))
    ions = made.species < len(made.species_names) - 1  # a background event lies where another ion was
    true = made.cloud.xyz_nm[:, :2] - still.cloud.xyz_nm[:, :2]
    assert np.ptp(true[ions, 0]) > 2
    found = drain(estimate_drift(made.cloud.xyz_nm[:, :2]))
    assert (rms(found, true, ions) < 0.05).all()
    aligned = correct_drift(made.cloud.xyz_nm, found) - still.cloud.xyz_nm
    assert np.std(aligned[ions, :2], axis=0).max() < 0.05
    assert not aligned[ions, 2].any()


def _without_drift(wire: GanNanowireParams) -> object:
    return wire.measurement.model_copy(update={"drift_nm": 0.0})


def test_error_covers_the_scatter() -> None:
    ratios = []
    for seed in range(6):
        true = wave(60_000)
        found = drain(estimate_drift(disc(60_000, seed) + true, DriftParams(ions_per_slice=2000)))
        off = found.shift - [true[int(a)] for a in found.at]
        ratios.append((off - off.mean(axis=0)) / found.error)
    assert 0.5 < np.std(ratios) < 1.5


def test_poles_that_stay_on_the_detector_do_not_hold_the_outline() -> None:
    n = 160_000
    true = wave(n, 1.0)
    places = disc(n, 1) + true
    keep = np.ones(n, bool)
    rng = np.random.default_rng(2)
    for pole in ((0, 0), (5, 0), (-2.5, 4.3), (-2.5, -4.3)):  # fixed, while the disc moves
        keep &= rng.random(n) > 0.45 * np.exp(-((places - pole) ** 2).sum(axis=1) / 1.2**2)
    found = drain(estimate_drift(places[keep]))
    assert (rms(found, true[keep]) < 0.05).all()


def test_density_follows_moving_poles_in_a_fixed_field_of_view() -> None:
    n = 400_000
    true = wave(n, 0.8)
    rng = np.random.default_rng(3)
    places = rng.uniform(-RADIUS, RADIUS, (n, 2))
    keep = np.hypot(*places.T) < RADIUS  # the detector's edge stays
    for pole in ((0, 0), (5, 0), (-2.5, 4.3), (-2.5, -4.3)):
        keep &= rng.random(n) > 0.6 * np.exp(-((places - true - pole) ** 2).sum(axis=1) / 1.2**2)
    found = drain(estimate_drift(places[keep], DriftParams(feature="density", ions_per_slice=10_000)))
    assert (rms(found, true[keep]) < 0.15).all()
    blind = drain(estimate_drift(places[keep], DriftParams(ions_per_slice=10_000)))
    assert np.abs(blind.shift).max() < 0.1  # the outline is the detector's: as documented, it shows no drift


def test_still_specimen_has_no_drift() -> None:
    found = drain(estimate_drift(disc(60_000)))
    assert np.abs(found.shift).max() < 0.05
    assert not found.issues


def test_registration_agrees_with_scikit_image() -> None:
    from napari_aptdefect.apt import drift

    counts = np.zeros((2, 96, 96))
    for image, offset in zip(counts, ((0.0, 0.0), (1.3, -0.7)), strict=True):
        cells = np.floor((disc(400_000, 5) + offset) / 0.3 + 48).astype(int)
        np.add.at(image, tuple(cells.T), 1)
    images = drift._outlines(counts)
    spectra, waves = drift._spectra(images, 0.3)
    mine = drift._shift(spectra[0], spectra[1], waves, np.zeros(2))
    theirs = -0.3 * phase_cross_correlation(images[0], images[1], upsample_factor=100, normalization=None)[0]
    np.testing.assert_allclose(mine, (1.3, -0.7), atol=0.02)
    np.testing.assert_allclose(mine, theirs, atol=0.02)


def test_order_within_a_slice_and_the_unit_do_not_matter() -> None:
    n = 50_000
    places = disc(n) + wave(n)
    found = drain(estimate_drift(places))
    shuffled = places.reshape(10, 5000, 2)[:, np.random.default_rng(0).permutation(5000)].reshape(-1, 2)
    np.testing.assert_allclose(drain(estimate_drift(shuffled)).shift, found.shift, atol=2e-3)
    larger = drain(estimate_drift(2.5 * places, unit="mm"))
    np.testing.assert_allclose(larger.shift, 2.5 * found.shift, atol=5e-3)
    assert larger.unit == "mm"


def test_hits_on_the_detector_correct_positions_by_their_scale() -> None:
    n = 50_000
    xyz = np.column_stack([disc(n) + wave(n), np.linspace(0, 40, n)]).astype(np.float32)
    hits = xyz[:, :2] / 1.25 + 3.0
    assert image_scale(hits, xyz) == pytest.approx(1.25)
    on_hits = correct_drift(xyz, drain(estimate_drift(hits, unit="mm")), 1.25)
    np.testing.assert_allclose(on_hits, correct_drift(xyz, drain(estimate_drift(xyz[:, :2]))), atol=0.01)


def test_steady_part_stays_when_asked_for() -> None:
    n = 50_000
    steady = np.linspace(-1, 1, n)[:, None] * [1.0, 0.5]
    assert (rms(drain(estimate_drift(disc(n) + steady)), steady) < 0.05).all()
    kept = drain(estimate_drift(disc(n) + steady, DriftParams(keep_tilt=False)))
    assert np.abs(kept.shift).max() < 0.05


def test_jump_is_reported() -> None:
    places = disc(60_000)
    places[30_000:, 0] += 4
    assert "drift-jump" in {issue.code for issue in drain(estimate_drift(places)).issues}


def test_bad_input_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EmptySelectionError, match="choose smaller slices"):
        drain(estimate_drift(disc(1000)))
    with pytest.raises(ShapeError, match=r"\(N, 2\)"):
        drain(estimate_drift(np.zeros((10, 3))))
    with pytest.raises(ParameterError, match="no image"):
        drain(estimate_drift(np.zeros((30_000, 2))))
    with pytest.raises(EmptySelectionError, match="finite place"):
        drain(estimate_drift(np.full((30_000, 2), np.nan)))
    found = drain(estimate_drift(disc(30_000)))
    with pytest.raises(ShapeError, match="measured on 30000 ions"):
        correct_drift(np.zeros((3, 3)), found)
    with pytest.raises(ParameterError, match="hold no measurement"):
        image_scale(np.zeros((5, 2)), np.ones((5, 3)))
    with pytest.raises(ShapeError, match=r"\(5, 2\)"):
        image_scale(np.zeros((4, 2)), np.ones((5, 3)))


def test_ions_without_a_place_do_not_count() -> None:
    places = disc(100_000) + wave(100_000)
    places[::10] = np.nan
    assert (rms(drain(estimate_drift(places, DriftParams(ions_per_slice=2500))), wave(100_000)) < 0.05).all()
