"""The wires of the benchmark: what they hold, and that the splits share neither seeds nor parameters nor places."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.scenarios import KINDS, SPANS, WireRecipe, ranges_of_places
from napari_aptdefect.pipeline.benchmark.splits import SPLITS, Span, Whole
from napari_aptdefect.simulate.gan_specs import DefectSpec, StackingFault, Vacancy, VacancyCluster
from napari_aptdefect.simulate.placement import place_defects

_N = 12
_DRAWN = {
    "solute_cluster": {"radius_nm": "cluster_radius_nm", "percent": "cluster_percent"},
    "void": {"radius_nm": "void_radius_nm"},
    "vacancy_cluster": {"n_vacancies": "n_vacancies"},
    "stacking_fault": {"excess_per_nm2": "fault_excess_per_nm2"},
    "dislocation": {"radius_nm": "line_radius_nm", "excess_per_nm": "line_excess_per_nm"},
    "insertion": {"thickness_nm": "insertion_thickness_nm", "percent": "insertion_percent"},
    "inversion_domain": {"thickness_nm": "boundary_thickness_nm", "excess_per_nm2": "boundary_excess_per_nm2"},
    "grain_boundary": {
        "thickness_nm": "boundary_thickness_nm",
        "excess_per_nm2": "boundary_excess_per_nm2",
        "angle_deg": "misorientation_deg",
    },
}


def recipes(split: str, size: str = "full") -> list[WireRecipe]:
    kinds = ("mixture", "controls", "empty", "lesson")
    return [WireRecipe(k, split, n, 2, size) for k, n in itertools.product(kinds, range(_N))]  # type: ignore[arg-type]


def drawn(spec: DefectSpec) -> dict[str, Any]:
    """What was drawn of a defect, by the name of its range; an undecorated one has fixed numbers."""
    names = _DRAWN.get(spec.kind, {})
    undecorated = getattr(spec, "excess_per_nm2", 1) == 0 or getattr(spec, "excess_per_nm", 1) == 0
    return {} if undecorated else {name: getattr(spec, field) for field, name in names.items()}


def values(split: str) -> dict[str, set[float]]:
    out = defaultdict(set)
    for recipe in recipes(split):
        params = recipe.params()
        out["background_percent"].add(params.solute_percent)
        for spec in params.defects:
            for name, value in drawn(spec).items():
                out[name].add(value)
            if (center := getattr(spec, "center_nm", None)) is not None:
                for axis, value in zip("xyz", center, strict=True):
                    out[axis].add(value)
            elif (depth := getattr(spec, "depth_nm", None)) is not None:
                out["z"].add(depth)
    return out


@pytest.fixture(scope="module")
def by_split() -> dict[str, dict[str, set[float]]]:
    return {split: values(split) for split in SPLITS}


def test_splits_share_no_parameter_and_no_place(by_split: dict[str, dict[str, set[float]]]) -> None:
    names = {*SPANS, "x", "y", "z"}
    for split in SPLITS:
        assert set(by_split[split]) == names  # every range is used by every split
    for one, other in itertools.combinations(SPLITS, 2):
        for name in names:
            assert not by_split[one][name] & by_split[other][name], name


def test_every_value_lies_in_a_cell_of_its_split(by_split: dict[str, dict[str, set[float]]]) -> None:
    spans: dict[str, Span | Whole] = {**SPANS, **dict(zip("xyz", ranges_of_places(recipes("test")[0]), strict=True))}
    for split, found in by_split.items():
        for name, those in found.items():
            assert {spans[name].split_of(value) for value in those} == {split}, name  # type: ignore[arg-type]


def test_splits_share_no_seed() -> None:
    seeds = {split: {recipe.seed for recipe in recipes(split)} for split in SPLITS}
    for split in SPLITS:
        assert len(seeds[split]) == len(recipes(split))
    for one, other in itertools.combinations(SPLITS, 2):
        assert not seeds[one] & seeds[other]


def test_every_split_covers_the_whole_range(by_split: dict[str, dict[str, set[float]]]) -> None:
    for split in SPLITS:
        for name in ("cluster_radius_nm", "void_radius_nm", "x", "y", "z"):
            span = SPANS.get(name) or ranges_of_places(recipes(split)[0])["xyz".index(name)]
            found = (np.array(sorted(by_split[split][name])) - span.low) / (span.high - span.low)
            assert found.min() < 0.2
            assert found.max() > 0.8


@pytest.mark.parametrize("size", ["full", "quick"])
def test_defects_fit_into_every_wire(size: str) -> None:
    for split in SPLITS:
        for recipe in recipes(split, size):
            params = recipe.params()
            extended = [s for s in params.defects if s.kind not in ("vacancy", "interstitial")]
            assert len(place_defects(params, np.random.default_rng(0))) == len(extended)


def test_what_each_kind_of_wire_holds() -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for recipe in recipes("test"):
        kinds[recipe.kind] |= {spec.kind for spec in recipe.params().defects}
    assert kinds["mixture"] == {*_DRAWN, "vacancy", "interstitial"}
    assert kinds["controls"] == {"vacancy", "interstitial", "stacking_fault", "dislocation"}
    assert kinds["empty"] == set()
    assert {*_DRAWN} - kinds["lesson"] <= {"grain_boundary", "inversion_domain"}  # one of them in every third
    assert not kinds["lesson"] - {*_DRAWN}
    per_wire = [len(r.params().defects) for r in recipes("test") if r.kind == "lesson"]
    assert min(per_wire) >= 9
    assert np.mean(per_wire) > 11
    for recipe in recipes("test"):
        defects = recipe.params().defects
        if recipe.kind in ("mixture", "controls"):
            assert any(isinstance(s, StackingFault) and s.excess_per_nm2 == 0 for s in defects)
            assert {s.sublattice for s in defects if isinstance(s, Vacancy)} == {"Ga", "N"}
        if recipe.kind == "controls":
            assert not any(isinstance(s, VacancyCluster) for s in defects)


def test_the_same_wire_is_measured_at_every_level() -> None:
    at = [WireRecipe("mixture", "test", 3, level) for level in range(4)]
    assert len({recipe.seed for recipe in at}) == 1
    assert len({recipe.params().defects for recipe in at}) == 1
    assert [recipe.params().level for recipe in at] == [0, 1, 2, 3]


def test_a_relabeled_wire_is_the_empty_one() -> None:
    empty, relabeled = (WireRecipe(kind, "test", 1, 2) for kind in ("empty", "relabeled"))
    assert KINDS.index("relabeled") == 3
    assert empty.seed == relabeled.seed
    assert empty.params() == relabeled.params()


@given(st.floats(0.01, 100), st.floats(1.05, 1000), st.booleans(), st.sampled_from(SPLITS), st.integers(0, 2**32 - 1))
def test_a_value_is_of_the_split_it_was_drawn_for(low: float, ratio: float, log: bool, split: Any, seed: int) -> None:
    span = Span(low, low * ratio, 30, log=log)
    value = span.draw(split, np.random.default_rng(seed))
    assert low <= value <= low * ratio
    assert span.split_of(value) == split


@given(st.sampled_from(SPLITS), st.integers(0, 2**32 - 1))
def test_whole_numbers_too(split: Any, seed: int) -> None:
    numbers = Whole(5, 200)
    value = numbers.draw(split, np.random.default_rng(seed))
    assert 5 <= value <= 200
    assert numbers.split_of(value) == split


@pytest.mark.parametrize(
    ("low", "high", "n", "log"), [(1, 1, 30, False), (2, 1, 30, False), (0, 1, 30, True), (0, 1, 31, False)]
)
def test_ranges_that_cannot_be_cut(low: float, high: float, n: int, log: bool) -> None:
    with pytest.raises(ParameterError, match=r"must be|can't be cut"):
        Span(low, high, n, log=log)


def test_octahedral_interstitials_lie_before_a_boundary() -> None:
    """Beyond it the simulated lattice has no channels, and the wire could not be made."""
    checked = 0
    for split, number in itertools.product(SPLITS, range(2, 36, 3)):
        defects = WireRecipe("mixture", split, number, 2).params().defects
        walls = [d for d in defects if d.kind in ("grain_boundary", "inversion_domain")]
        assert walls
        for spec in defects:
            if spec.kind == "interstitial" and spec.site == "octahedral":
                for wall in walls:
                    assert np.dot(np.subtract(spec.center_nm, wall.center_nm), wall.normal) < 0
                    checked += 1
    assert checked > 50
