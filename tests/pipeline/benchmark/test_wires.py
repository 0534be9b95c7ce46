"""A wire made ready: what methods see, what is true, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_CLASSES, Ion, RangeTable
from napari_aptdefect.evaluate.score import score_claim
from napari_aptdefect.fields import Frame
from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
from napari_aptdefect.pipeline.benchmark.wires import ReadyWire, load_wire, local_composition, make_wire, solutes_of


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReadyWire]:
    folder = tmp_path_factory.mktemp("wires")
    found = {}
    for kind in ("mixture", "empty", "relabeled"):
        make_wire(WireRecipe(kind, "test", 0, 3, "quick"), folder / f"{kind}.npz")
        found[kind] = load_wire(folder / f"{kind}.npz")
    return found


def test_a_mixture_holds_its_defects(wires: dict[str, ReadyWire]) -> None:
    wire = wires["mixture"]
    kinds = [one["defect_class"] for one in wire.facts["defects"]]
    assert {"void", "solute_cluster", "stacking_fault", "vacancy", "interstitial"} == set(kinds)
    assert len(wire.truth) == wire.facts["n_core"] == np.count_nonzero(wire.core)
    assert 0 < len(wire.truth) < len(wire.specimen) == wire.facts["n_ions"]
    void = kinds.index("void") + 1
    assert np.all(wire.truth.class_idx[wire.truth.instance == void] == DEFECT_CLASSES.index("void"))
    scores = score_claim(wire.truth, wire.named_in_core)
    assert scores.bound is not None
    assert scores.bound.ions.macro_f1 > scores.ions.majority_accuracy / 5  # better than all matrix of five classes


def test_an_empty_wire_holds_none(wires: dict[str, ReadyWire]) -> None:
    for kind in ("empty", "relabeled"):
        assert wires[kind].facts["defects"] == []
        assert not wires[kind].truth.instance.any()


def test_relabeling_moves_no_ion_and_keeps_the_counts(wires: dict[str, ReadyWire]) -> None:
    empty, relabeled = wires["empty"].specimen, wires["relabeled"].specimen
    np.testing.assert_array_equal(empty.xyz_nm, relabeled.xyz_nm)
    assert np.any(empty.species_idx != relabeled.species_idx)
    counts = [np.bincount(one.species_idx + 1) for one in (empty, relabeled)]
    np.testing.assert_array_equal(*counts)


def test_features_are_those_of_all_ions(wires: dict[str, ReadyWire]) -> None:
    specimen = wires["mixture"].specimen
    assert specimen.fused is not None
    assert specimen.fused.shape == (len(specimen), 8)
    assert specimen.composition.shape == (len(specimen), len(specimen.solutes) + 1)
    assert [specimen.species_names[i] for i in specimen.solutes] == ["Mg"]
    # Nearly all of the core can be judged, and what is judged lies in it or near it.
    core = wires["mixture"].core
    assert np.mean(specimen.judged[core]) > 0.85
    assert np.mean(core[specimen.judged]) > 0.4


def test_solutes_hold_an_element_besides_ga_and_n() -> None:
    ions = (Ion("Ga", (("Ga", 1),)), Ion("GaN3", (("Ga", 1), ("N", 3))), Ion("MgN", (("Mg", 1), ("N", 1))))
    assert solutes_of(RangeTable(ions, ())) == (2,)


def test_local_composition_of_a_mixed_box() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 12, (60_000, 3)).astype(np.float32)
    species = np.where(rng.random(len(xyz)) < 0.1, 1, 0).astype(np.int16)
    species[xyz[:, 0] > 6] = 0
    frame = Frame.around(xyz, 0.5, 0.5)
    found = local_composition(xyz, species, (1,), frame, 1.0)
    inner = np.all((xyz > 3) & (xyz < 9), axis=1)
    left, right = inner & (xyz[:, 0] < 3.5), inner & (xyz[:, 0] > 8.5)
    assert found[left, 0].mean() == pytest.approx(0.1, abs=0.01)
    assert found[right, 0].max() < 0.02
    assert found[inner, 1].mean() == pytest.approx(1.1, abs=0.15)  # over the median, which the surface lowers
    # A lone solute ion does not see itself.
    alone = np.zeros(len(xyz), np.int16)
    alone[0] = 1
    assert local_composition(xyz, alone, (1,), frame, 1.0)[0, 0] == pytest.approx(0, abs=1e-5)
