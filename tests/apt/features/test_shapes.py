"""Evidence for balls, layers, lines and sheets."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.features import FeatureSetParams, describe_ions
from napari_aptdefect.apt.features.shapes import _curvatures, columns, describe_shapes
from napari_aptdefect.apt.graph import build_graph
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import drain

NAMES = [column.name for column in columns(("Mg",))]
SIZE = np.array([14.0, 14.0, 14.0])


def described(xyz: np.ndarray, doped: np.ndarray, workers: int | None = None) -> dict[str, np.ndarray]:
    out = np.full((len(xyz), len(NAMES)), np.nan, np.float32)
    drain(describe_shapes(xyz, np.where(doped, 0, -1), np.ones(len(xyz), bool), 1, out, workers))
    return dict(zip(NAMES, out.T, strict=True))


@pytest.fixture(scope="module")
def ions() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((60_000, 3)) * SIZE).astype(np.float32)


def doped(ions: np.ndarray, inside: np.ndarray, percent: float = 8.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(len(ions)) < np.where(inside, percent / 100, 0.002)


def test_random_ions_are_evidence_for_nothing(ions: np.ndarray) -> None:
    found = described(ions, doped(ions, np.zeros(len(ions), bool), 0.2))
    deep = (np.abs(ions - SIZE / 2) < 4).all(axis=1)
    for name in ("density_ball0.7_evidence", "density_layer2.5_evidence", "density_line3_evidence"):
        assert abs(found[name][deep].mean()) < 0.4
        assert 0.6 < found[name][deep].std() < 1.4, name
    assert found["dopant_ball1.4_evidence"][deep].std() < 1.6
    assert np.abs(found["dopant_ball1.4_evidence"][deep].mean()) < 0.5


@pytest.mark.parametrize(
    ("shape", "inside", "best", "signs"),
    [
        ("ball", lambda r: np.linalg.norm(r, axis=1) < 2.2, "ball1.4", (-1, -1, -1)),
        ("layer", lambda r: np.abs(r[:, 2]) < 0.3, "layer5", (-1, 0, 0)),
        ("line", lambda r: np.hypot(r[:, 0], r[:, 1]) < 0.8, "line6", (-1, -1, 0)),
    ],
)
def test_each_shape_is_seen_best_by_its_filter(ions, shape, inside, best, signs) -> None:
    place = inside(ions - SIZE / 2)
    found = described(ions, doped(ions, place))
    core = place & (np.linalg.norm(ions - SIZE / 2, axis=1) < 1.2)
    evidence = {name: np.median(found[f"dopant_{name}_evidence"][core]) for name in ("ball1.4", "layer5", "line6")}
    assert max(evidence, key=evidence.get) == best, (shape, evidence)
    assert evidence[best] > 6
    assert np.median(found[f"dopant_{best}_log_ratio"][core]) > 1
    strength = -min(np.median(found[f"dopant_curvature1.4_{k}"][core]) for k in ("first", "second", "third"))
    for sign, k in zip(signs, ("first", "second", "third"), strict=True):
        value = np.median(found[f"dopant_curvature1.4_{k}"][core]) / strength
        assert value < -0.35 if sign else value > -0.35, (shape, k, value)


def test_a_sheet_of_any_direction_has_one_curvature_along_its_normal(ions: np.ndarray) -> None:
    normal = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
    place = np.abs((ions - SIZE / 2) @ normal) < 0.5
    found = described(ions, doped(ions, place))
    core = place & (np.linalg.norm(ions - SIZE / 2, axis=1) < 3)
    assert np.median(found["dopant_curvature1.4_first_cos"][core]) == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert np.median(found["dopant_curvature1.4_first"][core]) < -4


def test_a_void_is_a_lack_of_ions_curved_upward(ions: np.ndarray) -> None:
    distance = np.linalg.norm(ions - SIZE / 2, axis=1)
    left = ions[distance > 1.5]
    rim = distance[distance > 1.5] < 2.0
    found = described(left, np.zeros(len(left), bool))
    assert np.median(found["density_ball1.4_evidence"][rim]) < -4
    assert np.median(found["density_curvature1.4_third"][rim]) > 3
    assert np.median(found["density_ball0.7_log_ratio"][rim]) < -0.15


def test_order_and_threads_do_not_matter(ions: np.ndarray) -> None:
    some, mine = ions[:20_000], doped(ions[:20_000], ions[:20_000, 2] < 3)
    first = described(some, mine, workers=1)
    order = np.random.default_rng(3).permutation(len(some))
    second = described(some[order], mine[order], workers=2)
    for name in NAMES:
        np.testing.assert_array_equal(second[name], first[name][order])


def test_curvatures_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    packed = rng.normal(size=(500, 6)).astype(np.float32)
    packed[0] = (2, 2, 2, 0, 0, 0)
    packed[1] = (3, 1, 2, 0, 0, 0)
    out = np.empty((500, 5), np.float32)
    _curvatures(packed, out)
    a, b, c, d, e, f = packed.T.astype(float)
    values, vectors = np.linalg.eigh(np.array([[a, d, e], [d, b, f], [e, f, c]]).transpose(2, 0, 1))
    np.testing.assert_allclose(out[:, :3], values, atol=2e-5)
    np.testing.assert_allclose(out[1:, 3], np.abs(vectors[1:, 2, 0]), atol=2e-3)
    np.testing.assert_allclose(out[1:, 4], np.abs(vectors[1:, 2, 2]), atol=2e-3)


def test_the_table_has_them_when_asked() -> None:
    rng = np.random.default_rng(0)
    xyz = (rng.random((4000, 3)) * 5).astype(np.float32)
    kinds = [Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),)), Ion("Mg", (("Mg", 1),))]
    species = rng.choice([0, 1, 2, -1], 4000, p=[0.5, 0.45, 0.01, 0.04])
    graph = drain(build_graph(xyz))
    without = drain(describe_ions(xyz, species, kinds, graph))
    table = drain(describe_ions(xyz, species, kinds, graph, params=FeatureSetParams(shapes=True)))
    assert table.names == (*without.names, *NAMES)
    np.testing.assert_array_equal(table.values[:, : without.values.shape[1]], without.values)
    alone = described(xyz, species == 2)
    # unranged ions count for the density only
    np.testing.assert_array_equal(table["density_ball0.7_evidence"], alone["density_ball0.7_evidence"])
    assert np.isfinite(table["dopant_line3_evidence"]).all()
    tilted = drain(describe_ions(xyz, species, kinds, graph, params=FeatureSetParams(shapes=True, axis="principal")))
    assert np.isfinite(tilted["dopant_line3_evidence"]).all()
    pure = drain(describe_ions(xyz, species % 2, kinds, graph, params=FeatureSetParams(shapes=True)))
    assert np.isnan(pure["dopant_ball0.7_evidence"]).all()
    assert np.isfinite(pure["density_ball0.7_evidence"]).all()


def test_what_it_refuses() -> None:
    empty = np.zeros((0, 3), np.float32)
    with pytest.raises(EmptySelectionError, match="no ion"):
        described(empty, np.zeros(0, bool))
    with pytest.raises(ParameterError, match="does not fit in memory"):
        described(np.array([[0, 0, 0], [900, 900, 900]], np.float32), np.zeros(2, bool))
