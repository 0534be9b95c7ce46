"""Order of evaporation, pulses, the detector, and the places that ions seem to come from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_aptdefect.simulate.atoms import Lens
from napari_aptdefect.simulate.measurement import LEVELS, STEPS, Measurement
from napari_aptdefect.simulate.measurement import positions as places
from napari_aptdefect.simulate.measurement.detector import hidden_hits, multiplicity, project, standing_voltage
from napari_aptdefect.simulate.measurement.evaporation import pulses, sagitta


def only(*steps: str, **changes: object) -> Measurement:
    return Measurement.at_level(2, skip=tuple(step for step in STEPS if step not in steps), **changes)


def test_sagitta_of_a_hemisphere():
    assert sagitta(np.array([0.0, 36.0, 100.0]), 10.0) == pytest.approx([0.0, 2.0, 10.0])


def test_ions_leave_from_a_spherical_cap(measured, random_gan):
    atoms = random_gan(200_000)
    ions = measured(atoms, only("evaporation_order"))
    place = atoms.xyz_nm[ions.atom_idx]
    r = np.hypot(place[:, 0], place[:, 1])
    middle = slice(95_000, 105_000)
    rim, axis = r[middle] > 7.5, r[middle] < 1.5
    below = place[middle, 2][rim].mean() - place[middle, 2][axis].mean()
    assert below == pytest.approx(16 - np.sqrt(16**2 - 7.75**2), abs=0.1)  # apex radius 2 x 8 nm
    depth = place[:, 2] - (16 - np.sqrt(16**2 - r**2))
    assert np.std(depth - np.sort(depth)) == pytest.approx(0.2, rel=0.1)  # the roughness
    assert (np.diff(ions.voltage_v) >= 0).all()


def test_without_order_planes_leave_one_after_the_other(measured, random_gan):
    atoms = random_gan(5000)
    ions = measured(atoms, only())
    assert (np.diff(atoms.xyz_nm[ions.atom_idx, 2]) >= 0).all()


def test_correlated_ions_are_neighbors(measured, random_gan):
    atoms = random_gan(200_000)
    ions = measured(atoms, only("multiple_hits", correlated_percent=20.0))
    assert ions.ions_per_pulse.sum() == len(ions) == len(atoms)
    followers = (ions.ions_per_pulse == 0).mean()
    assert followers == pytest.approx(0.20, abs=0.005)
    assert (ions.ions_per_pulse == 3).sum() / (ions.ions_per_pulse == 2).sum() == pytest.approx(0.2, abs=0.02)
    place = atoms.xyz_nm[ions.atom_idx]
    pairs = np.flatnonzero(ions.ions_per_pulse == 2)
    apart = np.abs(place[pairs] - place[pairs + 1])
    assert apart.max() < 0.5  # one column, one correlation length
    assert pulses(place[:3, :2], place[:3, 2], only(), np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_dead_zone_hides_the_right_hits():
    event = np.array([0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5])
    tof = np.array([10, 100, 101, 200, 204, 300, 302, 304.5, 400, 401, 400], float)
    hit = np.zeros((11, 2))
    hit[9] = [0.0, 2.5]  # near in time, far in place
    hidden = hidden_hits(event, tof, hit, 3.0, 2.0)
    # Of pulse 1 the later one; of pulse 2 none (4 ns); of pulse 3 the second, and the third behind the second.
    assert np.flatnonzero(hidden).tolist() == [2, 6, 7]
    assert not hidden_hits(event, tof, hit, 0.0, 2.0).any()
    assert np.flatnonzero(hidden_hits(event, tof, hit, 4.5, 2.0)).tolist() == [2, 4, 6, 7]
    assert np.flatnonzero(hidden_hits(event, tof, hit, 3.0, 3.0)).tolist() == [2, 6, 7, 9]
    assert not len(hidden_hits(event[:0], tof[:0], hit[:0], 3.0, 2.0))


def test_dead_zone_takes_like_ions(measured, random_gan):
    atoms = random_gan(100_000)
    ions = measured(atoms, only("multiple_hits", "dead_zone", correlated_percent=40.0))
    event = np.cumsum(ions.ions_per_pulse > 0)
    same = event[1:] == event[:-1]
    near = np.hypot(*np.diff(ions.detector_mm, axis=0).T) < 2
    near &= np.diff(ions.tof_ns) < 3
    assert not (same & near).any()
    assert ions.counts["hidden"] == len(atoms) - len(ions) > 1000
    # Ga and N alike are lost, but pairs of N more often: N has no second isotope to speak of.
    n_lost = 50_000 - (ions.species == ions.species_names.index("N")).sum()
    assert 0.5 < n_lost / ions.counts["hidden"] < 0.75


def test_multiplicity_by_hand():
    first, count = multiplicity(np.array([3, 3, 5, 8, 8, 8]))
    assert first.tolist() == [True, False, True, True, False, False]
    assert count.tolist() == [2, 0, 1, 3, 0, 0]


def test_detector_and_voltage_by_hand():
    model = Measurement.at_level(1, image_compression=1.5, projection_mm=90.0, shank_deg=0.0, field_drift_v_per_nm=0.0)
    xy = np.array([[0, 0], [25, 0], [0, -25]], np.float32)
    hit = project(xy, np.full(3, 50, np.float32), model)  # launch angle 30 degrees, seen at 20
    assert hit == pytest.approx(90 * np.tan(np.radians(20)) * np.array([[0, 0], [1, 0], [0, -1]]), rel=1e-5)
    # k_f R F = 3.7 x 100 nm x 25 V/nm
    assert standing_voltage(np.zeros(1, np.float32), 50.0, model) == pytest.approx(9250)
    pulsed = model.model_copy(update={"pulse_percent": 25.0})
    assert standing_voltage(np.zeros(1, np.float32), 50.0, pulsed) == pytest.approx(7400)


@pytest.mark.parametrize("percent", [15.0, 30.0])
@pytest.mark.parametrize("pole", [0, 3])
def test_poles_are_depleted_by_their_amplitude(percent, pole):
    model = Measurement.at_level(2, pole_percent=percent)
    rng = np.random.default_rng(0)
    apex, n = np.full(1_000_000, 100, np.float32), 1_000_000
    width = 100 * np.sin(np.radians(3))
    center = 100 * places.pole_directions(model)[pole]
    xy = (center + rng.uniform(-3 * width, 3 * width, (n, 2))).astype(np.float32)
    shift = np.zeros((n, 2), np.float32)
    places.deplete_poles(xy, apex, model, shift)
    moved = xy + shift
    inside = [(np.hypot(*(points - center).T) < 0.3 * width).sum() for points in (xy, moved)]
    assert inside[1] / inside[0] == pytest.approx(1 - percent / 100, abs=0.03)
    # What is between 1.1 and 1.9 widths came from between the radii that u (1 + k exp(-u²)) puts there.
    u = np.linspace(0, 3, 3001)
    moved_u = u * (1 + ((1 - percent / 100) ** -0.5 - 1) * np.exp(-(u**2)))
    low, high = np.interp([1.1, 1.9], moved_u, u)
    ring = [(np.abs(np.hypot(*(points - center).T) / width - 1.5) < 0.4).sum() for points in (xy, moved)]
    assert ring[1] / ring[0] == pytest.approx((high**2 - low**2) / (1.9**2 - 1.1**2), abs=0.005)
    assert ring[1] > 1.01 * ring[0]
    assert np.abs(shift[np.hypot(*(xy - center).T) > 2.9 * width]).max() < 1e-3 * width


def test_poles_are_those_of_gan():
    # {10-15} of c / a = 0.5185 / 0.3189: tan = 2 c / (sqrt(3) a 5)
    assert np.degrees(np.arctan(2 * 0.5185 / (np.sqrt(3) * 0.3189 * 5))) == pytest.approx(20.6, abs=0.05)
    # {10-15} lie above the m planes, whose normals are at 30, 90, ... degrees in the frame of the crystal
    ring = places.pole_directions(LEVELS[2])[1:]
    assert np.rad2deg(np.arctan2(ring[:, 1], ring[:, 0])) % 60 == pytest.approx(np.full(6, 30.0))
    turned = places.pole_directions(LEVELS[2], Rotation.from_euler("zy", [10, 5], degrees=True).as_matrix())
    assert turned[0] == pytest.approx([-np.sin(np.radians(5)), 0], abs=1e-9)
    assert np.hypot(*places.pole_directions(LEVELS[2]).T) == pytest.approx([0] + 6 * [np.sin(np.radians(20.6))])


def test_a_lens_moves_by_its_formula():
    xyz = np.array([[1, 0, 10], [0, 2, 10], [0, 2, 11], [30, 0, 10]], np.float32)
    shift = np.zeros((4, 2), np.float32)
    lens = Lens((0.0, 0.0, 10.0), 2.0, 0.3)
    places.bend(xyz, np.array([9.9, 10, 10, 10.1], np.float32), [lens], 0.5, 1.0, 5.0, shift)
    expected = 0.15 * np.array([[np.exp(-0.25), 0], [0, 2 * np.exp(-1)], [0, 2 * np.exp(-1.25)], [0, 0]])
    assert shift == pytest.approx(expected, rel=1e-5)


def test_lenses_reach_ions_wherever_the_cap_is(measured, random_gan):
    """The search by depth misses none: compared with the formula over all ions."""
    atoms = random_gan(60_000)
    lens = Lens((5.0, -4.0, 2.0), 1.5, 0.4)
    ions = measured(atoms, only("evaporation_order", "magnification"), lenses=(lens,))
    off = atoms.xyz_nm[ions.atom_idx] - lens.center_nm
    expected = 0.4 * off[:, :2] * np.exp(-(off**2).sum(axis=1) / 1.5**2)[:, None]
    got = (ions.xyz_nm - ions.blurred_nm)[:, :2]
    assert np.abs(got - expected).max() < 0.4 * 2.5 * 1.5 * np.exp(-(2.5**2)) + 1e-5


def test_reconstruction_errors_by_hand():
    names = ("bowl_nm", "compression_error_percent", "drift_nm")
    start = np.array([[0, 0, 10], [8, 0, 12], [0, -4, 11]], np.float32)
    depth, apex = np.array([10, 25, 50], np.float32), np.full(3, 16, np.float32)
    moved = {}
    for name, value in zip(names, (0.5, 10.0, 2.0), strict=True):
        model = Measurement.at_level(0, **{name: value}, drift_period_nm=100.0)
        xyz = start.copy()
        places.reconstruct(xyz, depth, apex, 8.0, model)
        moved[name] = xyz - start
    assert moved["bowl_nm"] == pytest.approx(np.array([[0, 0, 0], [0, 0, 0.5], [0, 0, 0.125]]), abs=1e-5)
    x = 16 * np.sin(np.radians(33))  # launch angle 30 degrees taken as 33
    z = 16 * (np.cos(np.radians(30)) - np.cos(np.radians(33)))
    assert moved["compression_error_percent"][1] == pytest.approx([x - 8, 0, z], abs=1e-4)
    assert moved["drift_nm"][:, 0] == pytest.approx([2 * np.sin(0.2 * np.pi), 2, 0], abs=1e-5)
    xyz = start.copy()
    places.reconstruct(xyz, depth, apex, 8.0, LEVELS[0])
    assert xyz == pytest.approx(start, abs=1e-5)
