"""What the network is told: elements in a stable order, kinds of species, and one table of known columns."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.learning.inputs import (
    DEPTH_NM,
    DOPANT,
    HEAVY,
    LIGHT,
    OTHER,
    describe,
    elements_of,
    feature_sets,
)
from napari_aptdefect.stage import drain

IONS = (
    Ion("N2", (("N", 2),)),
    Ion("Ga", (("Ga", 1),)),
    Ion("Mg", (("Mg", 1),)),
    Ion("N", (("N", 1),)),
    Ion("GaN3", (("Ga", 1), ("N", 3))),
    Ion("label"),
    Ion("In", (("In", 1),)),
)


def cloud(n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = (rng.random((n, 3)) * 8).astype(np.float32)
    species = rng.choice([-1, 0, 1, 2, 3, 4, 5], n, p=[0.02, 0.1, 0.45, 0.02, 0.4, 0.005, 0.005])
    return xyz, species


def test_the_heavier_main_element_comes_first_whichever_there_is_more_of() -> None:
    for counts in ((5, 9, 1, 1), (9, 5, 1, 1)):
        species = np.repeat([1, 3, 2, 6], counts)
        assert elements_of(IONS, species) == (("Ga", "N"), ("In", "Mg"))
    assert elements_of(IONS, np.array([2, 2, -1])) == (("Mg",), ())
    with pytest.raises(ParameterError, match="ranges that name elements"):
        elements_of(IONS, np.array([-1, 5]))


def test_every_ion_has_its_kind() -> None:
    xyz, species = cloud()
    told = drain(describe(xyz, species, IONS, workers=1))
    expected = {-1: OTHER, 0: LIGHT, 1: HEAVY, 2: DOPANT, 3: LIGHT, 4: OTHER, 5: OTHER}
    assert all(told.kind[species == s].tolist() == [k] * int((species == s).sum()) for s, k in expected.items())
    assert told.main == ("Ga", "N")
    assert told.dopants == ("Mg",)
    np.testing.assert_array_equal(told.table["is_dopant"], species == 2)
    np.testing.assert_array_equal(told.table["is_lighter"], told.kind == LIGHT)


def test_depth_grows_inward_and_ends() -> None:
    xyz, species = cloud(20_000)
    depth = drain(describe(xyz, species, IONS, workers=1)).depth_nm
    from_wall = np.minimum(xyz, 8 - xyz).min(axis=1)
    assert np.corrcoef(depth, from_wall)[0, 1] > 0.95
    assert depth.max() <= DEPTH_NM
    assert np.median(np.abs(depth - from_wall)) < 0.3


def test_columns_do_not_depend_on_the_dopants() -> None:
    xyz, species = cloud()
    names = drain(describe(xyz, species, IONS, workers=1)).table.names
    without = drain(describe(xyz, np.where(species == 2, 1, species), IONS, workers=1)).table
    assert without.names == names
    assert np.isnan(without["dopant_ball0.7_evidence"]).all()
    sets = feature_sets(names)
    assert sorted(i for columns in sets.values() for i in columns) == list(range(len(names)))
    assert all(sets.values())
    with pytest.raises(ParameterError, match="none of the network's features"):
        feature_sets(("nonsense",))
