from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csgraph
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.data.components import connected_kinds, connected_objects
from napari_aptdefect.errors import ParameterError


def by_pairs(xyz, cluster, link):
    """Components from all pairs within the link, numbered by falling size and then by the first ion."""
    pairs = cKDTree(xyz.astype(float)).query_pairs(link, output_type="ndarray")
    pairs = pairs[cluster[pairs[:, 0]] == cluster[pairs[:, 1]]]
    n = len(xyz)
    raw = csgraph.connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(n, n)), directed=False)[1]
    out = np.zeros(n, int)
    groups = [np.flatnonzero((raw == i) & (cluster >= 0)) for i in range(raw.max() + 1)]
    groups = sorted((g for g in groups if len(g)), key=lambda g: (-len(g), g[0]))
    for number, group in enumerate(groups, 1):
        out[group] = number
    return out


@pytest.mark.parametrize("link", [0.15, 0.3, 0.6, 3.0])
def test_equals_the_components_of_all_pairs(link):
    rng = np.random.default_rng(3)
    xyz = (rng.random((1500, 3)) * [4, 4, 6]).astype(np.float32)
    cluster = rng.integers(-1, 3, 1500)
    np.testing.assert_array_equal(connected_objects(xyz, cluster, link), by_pairs(xyz, cluster, link))


@given(points=st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=40))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_a_link_of_exactly_the_distance_counts(points):
    xyz = np.array(points, np.float32)
    cluster = np.zeros(len(xyz), int)
    np.testing.assert_array_equal(connected_objects(xyz, cluster, 1.0), by_pairs(xyz, cluster, 1.0))


def test_order_of_the_ions_does_not_matter():
    rng = np.random.default_rng(4)
    xyz = (rng.random((3000, 3)) * 7).astype(np.float32)
    order = rng.permutation(3000)
    one = connected_objects(xyz, np.zeros(3000, int), 0.35)
    other = connected_objects(xyz[order], np.zeros(3000, int), 0.35)
    assert len(np.unique(np.column_stack([one[order], other]), axis=0)) == one.max() == other.max()


def test_small_components_get_no_number():
    xyz = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 5]], np.float32)
    assert connected_objects(xyz, np.zeros(3, int), 1.5, 2).tolist() == [1, 1, 0]


@pytest.mark.parametrize("link", [0.0, -1.0, np.nan, 1e-9])
def test_a_link_that_makes_no_cells_is_refused(link):
    with pytest.raises(ParameterError, match="link_nm"):
        connected_objects(np.array([[0, 0, 0], [9e6, 9e6, 9e6]], np.float32), np.zeros(2, int), link)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 90),
    seed=st.integers(0, 10**6),
    link=st.floats(0.05, 4.0),
    k=st.integers(1, 3),
    flat=st.booleans(),
)
def test_same_as_brute_force(n: int, seed: int, link: float, k: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-3, 3, (n, 3)).astype(np.float32)
    if flat:
        xyz[:, 2] = 1.0
    xyz[: n // 5] = xyz[0]  # ions at one place
    cluster = rng.integers(-1, k, n)
    near = (cdist(xyz, xyz) <= link) & (cluster[:, None] == cluster[None, :]) & (cluster >= 0)[:, None]
    _, expected = csgraph.connected_components(near, directed=False)
    found = connected_objects(xyz, cluster, link)
    assert np.array_equal(found == 0, cluster < 0)
    used = cluster >= 0
    same = expected[used][:, None] == expected[used][None, :]
    assert np.array_equal(found[used][:, None] == found[used][None, :], same)
    sizes = np.bincount(found)[1:]
    assert np.all(sizes > 0)
    assert np.all(np.diff(sizes) <= 0)


def test_a_link_of_exactly_the_distance_holds() -> None:
    xyz = np.array([[0, 0, 0], [0.5, 0, 0], [1.0001, 0, 0]], np.float32)
    assert connected_objects(xyz, np.zeros(3, np.int32), 0.5).tolist() == [1, 1, 2]


def test_a_lattice_is_one_object() -> None:
    xyz = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    cluster = np.zeros(len(xyz), np.int32)
    assert connected_objects(xyz, cluster, 1.0).max() == 1
    assert connected_objects(xyz, cluster, 0.99).max() == len(xyz)
    checkered = xyz.sum(axis=1).astype(np.int32) % 2
    assert connected_objects(xyz, checkered, 1.42).max() == 2


def test_small_objects_get_no_number() -> None:
    xyz = np.array([[0, 0, 0], [0.1, 0, 0], [5, 0, 0]], np.float32)
    assert connected_objects(xyz, np.array([4, 4, 4]), 1.0, min_ions=2).tolist() == [1, 1, 0]
    assert connected_objects(xyz, np.array([-1, -1, -1]), 1.0).tolist() == [0, 0, 0]


def test_link_distances_that_make_no_sense_are_refused() -> None:
    xyz = np.array([[0, 0, 0], [1e6, 1e6, 1e6]], np.float32)
    with pytest.raises(ParameterError, match="must be positive"):
        connected_objects(xyz, np.zeros(2, np.int32), 0.0)
    with pytest.raises(ParameterError, match="too short"):
        connected_objects(xyz, np.zeros(2, np.int32), 1e-6)


def test_kinds_in_a_graph_are_connected_as_by_scipy():
    rng = np.random.default_rng(3)
    n, k = 400, 3
    graph = NeighborGraph(
        np.arange(0, n * k + 1, k, dtype=np.int64),
        rng.integers(0, n, n * k).astype(np.int32),  # directed, with loops and double edges
        np.ones(n * k, np.float32),
    )
    kind = rng.integers(-1, 4, n)
    links = graph.matrix().tocoo()
    same = (kind[links.row] == kind[links.col]) & (kind[links.row] >= 0)
    alike = coo_array((links.data[same], (links.row[same], links.col[same])), shape=links.shape)
    expected = csgraph.connected_components(alike, directed=False)[1]
    found = connected_kinds(graph, kind)
    assert np.array_equal(found == 0, kind < 0)
    pairs = set(zip(found[kind >= 0].tolist(), expected[kind >= 0].tolist(), strict=True))
    assert len(pairs) == found.max() == len(np.unique(expected[kind >= 0]))
    assert (np.diff(np.bincount(found)[1:]) <= 0).all()
    large = connected_kinds(graph, kind, min_ions=5)
    assert np.array_equal(large > 0, (found > 0) & (np.bincount(found)[found] >= 5))
