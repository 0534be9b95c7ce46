"""The whole measurement: levels, steps that can be switched off, columns, files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.io import read, write
from napari_aptdefect.simulate.atoms import Atoms, Lens
from napari_aptdefect.simulate.measurement import LEVELS, STEPS, Measured, Measurement, measure
from napari_aptdefect.simulate.measurement.detector import mass_from_flight
from napari_aptdefect.stage import Progress, drain

LENS = Lens((1.0, -2.0, 5.0), 2.0, 0.3)


@pytest.fixture(scope="module")
def atoms(random_gan) -> Atoms:
    return random_gan(60_000, ("Ga", "N", "Mg"), solute=0.02)


@pytest.fixture(scope="module")
def full(measured, atoms) -> Measured:
    """Level 3 with a voltage pulse, so that no column is zero."""
    return measured(atoms, Measurement.at_level(3, pulse_percent=20.0), lenses=(LENS,))


def without(*steps: str) -> tuple[str, ...]:
    return tuple(step for step in STEPS if step not in steps)


@pytest.mark.parametrize("level", LEVELS)
def test_efficiency_and_blur_are_those_of_the_level(measured, random_gan, level):
    # SCIENCE.md, section 1: efficiency; lateral and depth sigma in nm
    efficiency, lateral, depth = {0: (1, 0.02, 0.02), 1: (0.8, 0.2, 0.06), 2: (0.8, 0.6, 0.2), 3: (0.37, 1, 0.3)}[level]
    atoms = random_gan(40_000)
    ions = measured(atoms, Measurement.at_level(level, skip=without("efficiency", "blur")))
    sigma = np.sqrt(efficiency * (1 - efficiency) / len(atoms))
    assert len(ions) / len(atoms) == pytest.approx(efficiency, abs=4 * sigma + 1e-12)
    error = ions.xyz_nm - atoms.xyz_nm[ions.atom_idx]
    assert error.std(axis=0) == pytest.approx([lateral, lateral, depth], rel=0.03)
    assert np.abs(error.mean(axis=0)).max() < 0.03 * lateral
    assert np.array_equal(ions.xyz_nm, ions.blurred_nm)


def test_level_0_loses_nothing(measured, atoms):
    ions = measured(atoms, LEVELS[0], lenses=(LENS,))
    assert np.array_equal(np.sort(ions.atom_idx), np.arange(len(atoms)))
    assert ions.species_names == ("Ga", "N", "Mg", "background")
    assert np.array_equal(
        np.array(ions.species_names)[ions.species], np.array(atoms.elements)[atoms.element][ions.atom_idx]
    )
    assert (ions.ions_per_pulse == 1).all()
    assert not ions.is_background.any()
    assert np.abs(ions.xyz_nm - atoms.xyz_nm[ions.atom_idx]).max() < 0.02 * 6
    assert ions.counts["atoms"] == ions.counts["ions"] == len(atoms)
    assert not any(
        ions.counts[key] for key in ("lost_ga", "lost_n", "in_molecules", "undetected", "hidden", "background")
    )


@pytest.mark.parametrize("level", LEVELS)
def test_every_atom_is_accounted_for(measured, atoms, level):
    counts = measured(atoms, LEVELS[level]).counts
    gone = sum(counts[key] for key in ("lost_ga", "lost_n", "in_molecules", "undetected", "hidden"))
    assert counts["atoms"] - gone + counts["background"] == counts["ions"]


def test_same_seed_same_bits(measured, atoms, full):
    again = measured(atoms, Measurement.at_level(3, pulse_percent=20.0), lenses=(LENS,))
    other = measured(atoms, Measurement.at_level(3, pulse_percent=20.0), seed=2, lenses=(LENS,))
    arrays = [item.name for item in fields(Measured) if isinstance(getattr(full, item.name), np.ndarray)]
    assert len(arrays) == 12
    for name in arrays:
        assert getattr(full, name).tobytes() == getattr(again, name).tobytes()
        assert not getattr(full, name).flags.writeable
    assert full.xyz_nm.tobytes() != other.xyz_nm.tobytes()
    assert full.counts == again.counts


# What a step leaves as it is, atom by atom. Steps that decide which ions are there leave the others' species alone.
# The dead zone and background are off where they aren't the step in question: there every time of flight matters.
LEFT = {
    "field": ("species_of_ga", "blurred_nm", "mass_da"),  # with loss and charge states off, too
    "charge_states": ("same_atoms", "species", "blurred_nm", "xyz_nm", "detector_mm", "voltage_v"),
    "loss": ("more_atoms", "species_of_ga"),
    "molecules": ("more_atoms",),
    "evaporation_order": ("same_atoms", "species"),
    "multiple_hits": ("same_atoms", "species"),
    "efficiency": ("more_atoms", "species"),
    "dead_zone": ("more_atoms", "species", "mass_da", "tof_ns", "detector_mm", "blurred_nm", "xyz_nm", "voltage_v"),
    "peak_shape": ("same_atoms", "species", "blurred_nm", "xyz_nm", "detector_mm", "voltage_v"),
    "blur": ("same_atoms", "species", "mass_da", "voltage_v"),
    "magnification": ("same_atoms", "species", "mass_da", "blurred_nm", "voltage_v"),
    "poles": ("same_atoms", "species", "mass_da", "blurred_nm", "voltage_v"),
    "reconstruction": (
        "same_atoms", "species", "mass_da", "tof_ns", "detector_mm", "blurred_nm", "voltage_v", "ions_per_pulse",
        "pulses_since_last",
    ),
    "background": ("same_atoms", "species", "mass_da", "tof_ns", "detector_mm", "blurred_nm", "xyz_nm", "voltage_v"),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_step_off_leaves_exactly_the_others(measured, atoms, step):
    base_skip = {"dead_zone", "background"} - {step} | ({"loss", "charge_states"} if step == "field" else set())
    with_step, off = (
        measured(atoms, Measurement.at_level(3, skip=tuple(skip)), lenses=(LENS,))
        for skip in (base_skip, base_skip | {step})
    )
    rows = []
    for ions in (with_step, off):
        own = np.flatnonzero(~ions.is_background)
        rows.append(own[np.argsort(ions.atom_idx[own])])
    before, after = (ions.atom_idx[own] for ions, own in zip((with_step, off), rows, strict=True))
    if "same_atoms" in LEFT[step]:
        assert np.array_equal(before, after)
    if "more_atoms" in LEFT[step]:
        assert len(after) > len(before)
    if "more_atoms" in LEFT[step] and step != "loss":  # less N is lost, so GaN3 takes a smaller share of it
        assert np.isin(before, after).all()
    common, i, j = np.intersect1d(before, after, return_indices=True)
    assert len(common) > 10_000
    for name in LEFT[step]:
        if name in ("same_atoms", "more_atoms"):
            continue
        if name == "species_of_ga":
            ga = atoms.element[common] == 0
            names = [
                np.array(ions.species_names)[ions.species[own[k]]]
                for ions, own, k in zip((with_step, off), rows, (i, j), strict=True)
            ]
            assert np.array_equal(names[0][ga], names[1][ga])
        else:
            assert np.array_equal(getattr(with_step, name)[rows[0][i]], getattr(off, name)[rows[1][j]]), name


@pytest.mark.parametrize("step", STEPS)
def test_every_step_does_something(measured, atoms, step):
    both = [measured(atoms, Measurement.at_level(3, skip=skip), lenses=(LENS,)) for skip in ((), (step,))]
    arrays = [item.name for item in fields(Measured) if isinstance(getattr(both[0], item.name), np.ndarray)]
    assert any(getattr(both[0], name).tobytes() != getattr(both[1], name).tobytes() for name in arrays)


def test_masses_follow_from_the_columns(full):
    model = Measurement.at_level(3)
    mass = mass_from_flight(full.tof_ns, full.voltage_v.astype(float) + full.pulse_v, full.detector_mm, model)
    above = full.mass_da > 0.5  # below, the float32 of the time holds fewer digits of t - t0
    assert mass[above] == pytest.approx(full.mass_da[above], rel=2e-6)
    # The same from textbook constants: 69Ga+ of 1000 V flies 100 mm in 1.891 microseconds.
    own = mass_from_flight(
        np.array([1890.6 + model.t0_ns]), 1000.0, np.zeros((1, 2)), Measurement.at_level(3, flight_mm=100.0)
    )
    assert own == pytest.approx(68.925, rel=1e-3)


def assert_pulses_are_whole(ions_per_pulse: np.ndarray, pulse_delta: np.ndarray) -> None:
    """What holds in every real .epos that was looked at (FORMATS: Si, voldata)."""
    heads = np.flatnonzero(ions_per_pulse)
    assert heads[0] == 0
    assert ions_per_pulse.sum() == len(ions_per_pulse)
    assert np.array_equal(np.diff(heads, append=len(ions_per_pulse)), ions_per_pulse[heads])
    later = np.ones(len(ions_per_pulse), bool)
    later[heads] = False
    assert (pulse_delta[later] == 0).all()


def test_multiplicity_is_that_of_real_files(full):
    assert_pulses_are_whole(full.ions_per_pulse, full.pulses_since_last)
    assert (full.pulses_since_last[full.ions_per_pulse > 0] > 0).all()
    several = (full.ions_per_pulse > 1).sum()
    assert several > 100
    event = np.cumsum(full.ions_per_pulse > 0)
    for column in (full.voltage_v, full.pulse_v):
        assert (column[1:] == column[:-1])[event[1:] == event[:-1]].all()
    assert (np.diff(full.tof_ns)[event[1:] == event[:-1]] >= 0).all()
    assert (full.ions_per_pulse[full.is_background] == 1).all()
    gaps = full.pulses_since_last[full.ions_per_pulse > 0]
    assert gaps.mean() == pytest.approx(1 / 0.005, rel=0.05)  # detection rate of 0.5 %


def test_multiplicity_of_a_real_file(si_dir):
    cloud = read(si_dir / "Si.epos")
    counts = cloud.read("ions_per_pulse")
    assert_pulses_are_whole(counts, np.zeros(len(counts)))


def test_files_get_real_columns(full, tmp_path):
    cloud = IonCloud.from_arrays(full.xyz_nm, full.mass_da, **full.columns())
    for name in ("a.epos", "a.apt"):
        write(cloud, tmp_path / name)
        back = read(tmp_path / name)
        assert np.array_equal(back.xyz_nm, full.xyz_nm)
        assert np.array_equal(back.mass_da, full.mass_da)
        for column, values in full.columns().items():
            assert np.array_equal(back.read(column), values), column
        assert not back.issues
        assert not back.absent_columns


PEER = """
import json, sys
import numpy as np
from ifes_apt_tc_data_modeling.apt.apt6_reader import ReadAptFileFormat
from ifes_apt_tc_data_modeling.epos.epos_reader import ReadEposFileFormat
epos = ReadEposFileFormat(sys.argv[1])
position = epos.get_reconstructed_positions().magnitude
multiplicity = epos.get_number_of_ions_per_pulse().magnitude.ravel() if hasattr(epos, "get_number_of_ions_per_pulse") \
    else epos.get_ions_per_pulse().magnitude.ravel()
apt = ReadAptFileFormat(sys.argv[2])
print("ANSWER" + json.dumps({
    "n": len(position), "sum": [float(v) for v in position.astype(float).sum(axis=0)],
    "tof": float(epos.get_raw_time_of_flight().magnitude.astype(float).sum()),
    "multiplicity": int(multiplicity.sum()),
    "apt_mass": float(apt.get_mass_to_charge_state_ratio().magnitude.astype(float).sum()),
}))
"""


def test_a_peer_reads_the_files(full, tmp_path):
    cloud = IonCloud.from_arrays(full.xyz_nm, full.mass_da, **full.columns())
    paths = [tmp_path / name for name in ("a.epos", "a.apt")]
    for path in paths:
        write(cloud, path)
    # In a process of its own: the peer writes a log where it runs, and warns.
    done = subprocess.run(
        [sys.executable, "-c", PEER, *map(str, paths)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout.rpartition("ANSWER")[2].splitlines()[0])
    assert answer["n"] == answer["multiplicity"] == len(full)
    assert answer["sum"] == pytest.approx(full.xyz_nm.astype(float).sum(axis=0), rel=1e-5, abs=1)
    assert answer["tof"] == pytest.approx(full.tof_ns.astype(float).sum(), rel=1e-6)
    assert answer["apt_mass"] == pytest.approx(full.mass_da.astype(float).sum(), rel=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("solute", ["Mg", "In", "Al", "Si"])
def test_ranges_of_a_rare_solute_hold_mostly_that_solute(measured, random_gan, level, solute):
    ions = measured(random_gan(200_000, ("Ga", "N", solute), solute=0.001), LEVELS[level])
    code = ions.species_names.index(solute)
    found = (ions.ranges.assign(ions.mass_da) == code) & ~ions.is_background
    if found.any():
        assert (ions.species[found] == code).mean() > 0.5
    assert solute == "Si" or found.sum() > 20  # nothing separates Si from N above level 0


@pytest.mark.parametrize("level", LEVELS)
def test_ranges_fit_the_spectrum(measured, random_gan, level):
    atoms = random_gan(200_000, ("Ga", "N", "Mg"), solute=0.02)
    ions = measured(atoms, LEVELS[level])
    found = ions.ranges.assign(ions.mass_da)
    assert ions.ranges.names == ions.species_names[:-1]
    real = ~ions.is_background
    assert (found[real] >= 0).mean() > 0.97
    names = np.array((*ions.species_names, "none"))
    truth, said = names[ions.species], names[found]
    ambiguous = (truth == "N2") & (said == "N")  # N2 2+ lies on N+
    ranged = (found >= 0) & ~ambiguous
    assert (truth == said)[ranged].mean() > 0.999
    if level:
        assert ambiguous.sum() / (truth == "N2").sum() == pytest.approx(0.10, abs=0.02)


def test_background_is_even_in_time_of_flight_and_in_depth(measured, random_gan):
    ions = measured(random_gan(200_000), Measurement.at_level(3, background_percent=20.0))
    noise = ions.is_background
    assert (ions.species[noise] == len(ions.species_names) - 1).all()
    assert noise.sum() / (~noise).sum() == pytest.approx(0.20, rel=0.03)
    root = np.sqrt(ions.mass_da[noise])
    assert np.histogram(root, 10, (0.1, 200**0.5))[0] == pytest.approx(noise.sum() / 10, rel=0.1)
    assert ions.mass_da[noise].max() <= 200
    depth = [np.quantile(ions.xyz_nm[rows, 2], [0.1, 0.5, 0.9]) for rows in (noise, ~noise)]
    assert depth[0] == pytest.approx(depth[1], abs=0.5)
    radius = [np.hypot(*ions.xyz_nm[rows, :2].T).mean() for rows in (noise, ~noise)]
    assert radius[0] == pytest.approx(radius[1], rel=0.02)


def test_lenses_spread_or_focus_the_ions(measured, random_gan):
    atoms = random_gan(300_000)
    counts = []
    for strength in (0.0, 0.3, -0.2):
        lens = Lens((0.0, 0.0, 8.0), 3.0, strength)
        ions = measured(atoms, Measurement.at_level(2, skip=without("magnification")), lenses=(lens,))
        assert len(ions) == len(atoms)
        counts.append((np.linalg.norm(ions.xyz_nm - lens.center_nm, axis=1) < 0.8).sum())
    # (1 + k)^-2 at the center, and a little less on average over the ball
    assert counts[1] / counts[0] == pytest.approx(1.3**-2, rel=0.15)
    assert counts[2] / counts[0] == pytest.approx(0.8**-2, rel=0.15)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"elements": ("N", "Ga")}, ParameterError, "Ga and N"),
        ({"elements": ("Ga", "N", "Xx")}, ParameterError, "Xx"),
        ({"n": 0}, EmptySelectionError, "no atoms"),
        ({"far": 20.0}, ParameterError, "beside an apex"),
    ],
)
def test_what_can_not_be_measured_is_refused(measured, random_gan, change, error, says):
    atoms = random_gan(change.get("n", 100), change.get("elements", ("Ga", "N")))
    atoms.xyz_nm[:, 0] += change.get("far", 0.0)
    with pytest.raises(error, match=says):
        measured(atoms, LEVELS[1])


def test_a_measurement_without_ions_is_refused(measured, random_gan):
    with pytest.raises(EmptySelectionError, match="no ion was detected"):
        measured(random_gan(2), Measurement.at_level(1, efficiency=1e-9))


def test_progress_reaches_its_end(random_gan):
    steps: list[Progress] = []
    drain(measure(random_gan(600_000), (), 8.0, LEVELS[2], np.random.default_rng(0)), steps.append)
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert done[0] == 0
    assert 0 < done[1] < 1  # within the first step
    assert steps[-1].done == steps[-1].total
