"""Instances on a graph: what is planted is significant, what chance gives is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from napari_aptdefect.apt.clustering import InstancesParams, find_instances
from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import drain


def graph_of(xyz: np.ndarray, k: int = 8) -> NeighborGraph:
    distance, index = cKDTree(xyz).query(xyz, k=k + 1)
    indptr = np.arange(0, len(xyz) * k + 1, k, dtype=np.int64)
    return NeighborGraph(indptr, index[:, 1:].ravel().astype(np.int32), distance[:, 1:].ravel().astype(np.float32))


def planted(seed: int = 0, n: int = 2000) -> tuple[NeighborGraph, np.ndarray]:
    """A cube with 3 % of scattered ions of types 0 and 1, and balls of about 33 ions of each."""
    rng = np.random.default_rng(seed)
    xyz = rng.random((n, 3))
    kind = np.where(rng.random(n) < 0.03, rng.integers(0, 2, n), -1)
    for t, center in enumerate([(0.3, 0.3, 0.3), (0.7, 0.7, 0.7)]):
        kind[np.linalg.norm(xyz - center, axis=1) < 0.16] = t
    return graph_of(xyz), kind


def test_planted_instances_are_significant_and_scattered_ions_are_not() -> None:
    graph, kind = planted()
    found = drain(find_instances(graph, kind, seed=1))
    assert found.significant.sum() == 2
    assert sorted(found.kind[found.significant]) == [0, 1]
    assert found.n_ions[found.significant].min() > 20
    np.testing.assert_allclose(found.p_value[found.significant], 0.01)
    assert found.n_ions[~found.significant].max() < 10


def test_instances_are_the_components_of_each_type() -> None:
    graph, kind = planted()
    found = drain(find_instances(graph, kind, InstancesParams(min_ions=1, repeats=1)))
    links = graph.matrix().tocoo()
    same = (kind[links.row] == kind[links.col]) & (kind[links.row] >= 0)
    alike = type(links)((links.data[same], (links.row[same], links.col[same])), shape=links.shape)
    _, expected = csgraph.connected_components(alike, directed=False)
    pairs = set(zip(found.label[kind >= 0], expected[kind >= 0], strict=True))
    assert len(pairs) == len(found) == len(np.unique(expected[kind >= 0]))
    assert (found.label[kind < 0] == 0).all()
    np.testing.assert_array_equal(np.bincount(found.label)[1:], found.n_ions)
    assert (np.diff(found.n_ions) <= 0).all()


def test_the_p_value_is_exact() -> None:
    """Two ions of a type on a ring of six, next to each other: 6 of 15 places for a pair are."""
    ring = np.arange(6)
    graph = NeighborGraph(np.arange(0, 7, dtype=np.int64), ((ring + 1) % 6).astype(np.int32), np.ones(6, np.float32))
    adjacent = sum((b - a) in (1, 5) for a, b in itertools.combinations(range(6), 2)) / 15
    found = drain(find_instances(graph, [0, 0, -1, -1, -1, -1], InstancesParams(repeats=1999)))
    assert found.p_value.tolist() == pytest.approx([adjacent], abs=0.03)
    assert np.bincount(found.chance[0]).sum() == 1999


def test_under_the_null_the_p_value_keeps_its_level() -> None:
    graph, _ = planted(n=400)
    rng = np.random.default_rng(2)
    low = 0
    for seed in range(150):
        kind = np.where(rng.random(400) < 0.1, 0, -1)
        found = drain(find_instances(graph, kind, InstancesParams(repeats=19, min_ions=1), seed=seed))
        low += bool(found.p_value.min(initial=1) <= 0.1)
    assert low / 150 < 0.1 + 2.5 * np.sqrt(0.09 / 150)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    graph, kind = planted()
    found = drain(find_instances(graph, kind, InstancesParams(repeats=19)))
    p = np.sort(found.p_value)
    expected = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    np.testing.assert_allclose(np.sort(found.q_value), np.minimum(expected, 1))


def test_types_stay_among_the_ions_that_may_have_one() -> None:
    graph, kind = planted()
    among = kind >= 0  # nothing to permute but the two types among themselves
    found = drain(find_instances(graph, kind, InstancesParams(repeats=5), among=among))
    assert max(sizes.max() for sizes in found.chance.values()) > 10
    with pytest.raises(ParameterError, match="not in `among`"):
        drain(find_instances(graph, kind, among=~among))


def test_nothing_and_bad_input() -> None:
    graph, kind = planted(n=100)
    empty = drain(find_instances(graph, np.full(100, -1), InstancesParams(repeats=2)))
    assert len(empty) == 0
    assert not empty.label.any()
    with pytest.raises(ShapeError):
        drain(find_instances(graph, kind[:50]))
