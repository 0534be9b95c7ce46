from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data.composition import composition_of_counts
from napari_aptdefect.data.ranges import Ion, RangeTable
from napari_aptdefect.errors import ParameterError, ShapeError

SI = RangeTable(
    (Ion("Si", (("Si", 1),)), Ion("Cr", (("Cr", 1),)), Ion("Cr2O", (("Cr", 2), ("O", 1))), Ion("peak 34.50")), ()
)


def test_molecules_are_taken_apart() -> None:
    found = composition_of_counts(SI, [100, 10, 20, 5])
    assert found.elements == ("Si", "Cr", "O")
    assert found.atom_counts.tolist() == [100, 50, 20]
    assert found.fraction == pytest.approx([100 / 170, 50 / 170, 20 / 170])
    assert found.ion_fraction == pytest.approx(np.array([100, 10, 20, 5]) / 135)
    assert found.n_label_ions == 5
    assert found["O"][0] == pytest.approx(20 / 170)
    with pytest.raises(ParameterError, match="no element 'Ga'"):
        found["Ga"]


def test_error_of_single_atoms_is_binomial() -> None:
    table = RangeTable((Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),))), ())
    found = composition_of_counts(table, [300, 700])
    assert found.fraction_error == pytest.approx([np.sqrt(0.3 * 0.7 / 1000)] * 2)
    assert found.ion_fraction_error == pytest.approx(found.fraction_error)


def test_error_of_molecules_agrees_with_resampling() -> None:
    counts = np.array([400, 100, 300, 50])
    found = composition_of_counts(SI, counts)
    rng = np.random.default_rng(1)
    drawn = [composition_of_counts(SI, draw).fraction for draw in rng.multinomial(850, counts / 850, 4000)]
    assert np.std(drawn, axis=0) == pytest.approx(found.fraction_error, rel=0.05)
    naive = np.sqrt(found.fraction * (1 - found.fraction) / found.atom_counts.sum())
    assert found.fraction_error[2] < naive[2]  # atoms of one ion are not independent


def test_background_is_subtracted_and_widens_the_error() -> None:
    gross = composition_of_counts(SI, [100, 50, 0, 0])
    net = composition_of_counts(SI, [100, 50, 0, 0], [0, 25, 3, 0])
    assert net.ion_counts.tolist() == [100, 25, 0, 0]
    assert net["Cr"][0] == pytest.approx(0.2)
    assert net["Cr"][1] > gross["Cr"][1]
    assert net.background_subtracted
    known = composition_of_counts(SI, [100, 50, 0, 0], [0, 25, 3, 0], [0, 0, 0, 0])
    assert known["Cr"][1] < net["Cr"][1]


def test_nothing_counted_is_no_composition() -> None:
    found = composition_of_counts(SI, [0, 0, 0, 7])
    assert np.isnan(found.fraction).all()
    assert found.ion_fraction.tolist() == [0, 0, 0, 1]


def test_one_count_per_ion() -> None:
    with pytest.raises(ShapeError, match="must have 4 values"):
        composition_of_counts(SI, [1, 2])
