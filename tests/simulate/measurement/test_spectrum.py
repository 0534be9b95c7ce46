"""Masses and ranges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.io import read, write
from napari_aptdefect.simulate.measurement import LEVELS, Measurement
from napari_aptdefect.simulate.measurement.ionization import Chemistry
from napari_aptdefect.simulate.measurement.spectrum import IonKind, blur_masses, exact_masses, fitting_ranges

ALL = ("Ga", "N", "Mg", "In", "Al", "Si")


def test_gallium_has_its_isotopes():
    n = 100_000
    kind = IonKind("Ga", (("Ga", 1),), 1.0, (1.0, 0.0))
    charge = np.repeat(np.int8([1, 2]), n // 2)
    mass = exact_masses([kind], np.zeros(n, np.int8), charge, np.random.default_rng(0))
    # IUPAC: 69Ga 60.108 %; 68.9256 and 70.9247 Da less the electron's 0.00055
    assert np.unique(mass) == pytest.approx([34.4622, 35.4618, 68.9250, 70.9242], abs=1e-3)
    for n_charges in (1, 2):
        light = mass[charge == n_charges] < 70 / n_charges
        assert light.mean() == pytest.approx(0.601, abs=4 * np.sqrt(0.24 / (n / 2)))


@pytest.mark.parametrize("resolving_power", [200.0, 1000.0])
def test_peaks_have_the_resolving_power(resolving_power):
    mass = np.full(400_000, 69.0, np.float32)
    blur_masses(mass, resolving_power, 0.0, 1.5, np.random.default_rng(0))
    assert mass.std() * np.sqrt(8 * np.log(2)) == pytest.approx(69 / resolving_power, rel=0.01)
    assert mass.mean() == pytest.approx(69, abs=1e-3 * 69)


def test_tails_hold_their_share_and_fall_off():
    fwhm = 0.069
    mass = np.full(400_000, 69.0, np.float32)
    blur_masses(mass, 1000.0, 0.3, 1.5, np.random.default_rng(0))
    beyond = [(mass > 69 + n * fwhm).mean() for n in (3.0, 4.5)]
    # exp(-x / 1.5), times exp(s²/2) of the Gaussian of s = 0.4247 / 1.5 decay lengths
    assert beyond[0] == pytest.approx(0.3 * np.exp(-2 + (0.4247 / 1.5) ** 2 / 2), rel=0.02)
    assert beyond[1] / beyond[0] == pytest.approx(np.exp(-1), rel=0.03)


@pytest.mark.parametrize("resolving_power", [100.0, 300.0, 1000.0])
def test_ranges_never_overlap(random_gan, resolving_power):
    atoms = random_gan(1000, ALL, solute=0.3)
    kinds = Chemistry(atoms, Measurement.at_level(2)).kinds
    ranges = fitting_ranges(kinds, resolving_power, 0.0114).ranges
    edges = sorted((item.lo_da, item.hi_da) for item in ranges)
    assert all(low < high for low, high in edges)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))


def test_species_and_ranges_are_named_alike(random_gan, tmp_path):
    chemistry = Chemistry(random_gan(1000, ("Ga", "N", "Mg"), solute=0.02), Measurement.at_level(2))
    assert chemistry.species_names == ("Ga", "N", "N2", "Mg", "N3", "GaN3", "background")
    ranges = fitting_ranges(chemistry.kinds, 1000.0, 0.0114)
    assert ranges.names == chemistry.species_names[:-1]
    assert ranges.ions[0].color == (188, 143, 62)
    write(ranges, tmp_path / "a.rrng")
    back = read(tmp_path / "a.rrng")
    mass = np.linspace(1, 120, 500_001, dtype=np.float32)
    ours, theirs = (np.array((*table.names, ""))[table.assign(mass)] for table in (ranges, back))
    assert (ours == theirs).all()
    volumes = {item.ion_idx: item.volume_nm3 for item in ranges.ranges}
    assert volumes[5] == pytest.approx(4 * 0.0114)  # GaN3


def test_silicon_hides_behind_nitrogen_but_at_level_0(random_gan):
    atoms = random_gan(2000, ("Ga", "N", "Si"), solute=0.02)
    for level, seen in ((0, True), (3, False)):
        model = LEVELS[level]
        ranges = fitting_ranges(Chemistry(atoms, model).kinds, model.resolving_power, 0.0114)
        found = ranges.assign(np.array([13.988], np.float32))[0]  # 28Si 2+
        assert (ranges.names[found] == "Si") == seen


def test_elements_without_isotopes_are_refused():
    with pytest.raises(ParameterError, match="isotopes"):
        IonKind("Tc", (("Tc", 1),), 1.0, (1.0, 0.0)).peaks(1)
