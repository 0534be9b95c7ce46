from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_aptdefect.apt.graph import GraphParams, build_graph, connected_components, coordination
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def wurtzite(n):
    """Perfect GaN (a 0.3189, c 0.5185 nm, u 0.377), n x n x n orthorhombic cells of 8 atoms, and which are bulk."""
    a, c, u = 0.3189, 0.5185, 0.377
    metal = np.array([[0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 1 / 6, 1 / 2], [0, 2 / 3, 1 / 2]])
    basis = np.vstack([metal, np.add(metal, [0, 0, u])])
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    xyz = ((cells + basis) * [a, a * 3**0.5, c]).reshape(-1, 3)
    return xyz, np.all((xyz > 0.5) & (xyz < xyz.max(axis=0) - 0.5), axis=1)


def reference(xyz, *, k=None, radius=np.inf):
    """All pairs, sorted by distance and then by index."""
    xyz = np.asarray(xyz, np.float32).astype(float)
    rows = []
    for i in range(len(xyz)):
        difference = xyz - xyz[i]
        d2 = difference[:, 0] ** 2 + difference[:, 1] ** 2 + difference[:, 2] ** 2
        near = [j for j in np.lexsort([np.arange(len(xyz)), d2]) if j != i and d2[j] <= radius**2]
        rows.append([(j, np.float32(np.sqrt(d2[j]))) for j in near[:k]])
    return rows


def rows_of(graph):
    pairs = list(zip(graph.indices.tolist(), graph.lengths_nm, strict=True))
    return [pairs[a:b] for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True)]


@pytest.mark.parametrize("k", [1, 12, 24, 256])
def test_knn_equals_ckdtree(rng, k):
    xyz = (rng.random((3000, 3)) * [5, 5, 30]).astype(np.float32)
    graph = drain(build_graph(xyz, GraphParams(k=k)))
    distance, index = cKDTree(xyz.astype(float)).query(xyz.astype(float), k + 1)
    assert graph.indices.dtype == np.int32
    assert graph.lengths_nm.dtype == np.float32
    np.testing.assert_array_equal(graph.indices.reshape(-1, k), index[:, 1:])
    np.testing.assert_allclose(graph.lengths_nm.reshape(-1, k), distance[:, 1:], rtol=1e-7)


def test_cutoff_equals_ckdtree_and_is_symmetric(rng):
    xyz = (rng.random((4000, 3)) * 5).astype(np.float32)
    graph = drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=0.7)))
    pairs = cKDTree(xyz.astype(float)).query_pairs(0.7, output_type="ndarray")
    upper = graph.matrix().tocoo()
    mine = np.column_stack([upper.row, upper.col])[upper.row < upper.col]
    np.testing.assert_array_equal(mine[np.lexsort(mine.T)], pairs[np.lexsort(pairs.T)])
    assert abs(graph.matrix() - graph.matrix().T).nnz == 0
    inner = np.ones(len(graph.indices), bool)
    inner[graph.indptr[1:-1][graph.indptr[1:-1] < len(inner)]] = False
    assert np.all(np.diff(graph.lengths_nm)[inner[1:]] >= 0)


def test_knn_with_longest_edge_is_the_cut_graph(rng):
    xyz = (rng.random((2000, 3)) * 5).astype(np.float32)
    assert rows_of(drain(build_graph(xyz, GraphParams(k=10, max_length_nm=0.5)))) == reference(xyz, k=10, radius=0.5)


@given(
    points=st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=60),
    k=st.integers(1, 30),
)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_ties_go_to_the_lower_index(points, k):
    assert rows_of(drain(build_graph(points, GraphParams(k=k)))) == reference(points, k=k)
    cutoff = drain(build_graph(points, GraphParams(mode="cutoff", cutoff_nm=2.0)))
    assert rows_of(cutoff) == reference(points, radius=2.0)


def test_perfect_lattice_ties():
    xyz = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    assert rows_of(drain(build_graph(xyz, GraphParams(k=9)))) == reference(xyz, k=9)


def test_result_is_that_of_any_number_of_threads_and_any_order(rng):
    xyz = rng.integers(0, 12, (20_000, 3)).astype(np.float32)
    one = drain(build_graph(xyz, GraphParams(k=8), workers=1))
    many = drain(build_graph(xyz, GraphParams(k=8), workers=5))
    np.testing.assert_array_equal(one.indices, many.indices)
    shuffle = rng.permutation(len(xyz))
    lengths = drain(build_graph(xyz[shuffle], GraphParams(k=8))).lengths_nm.reshape(-1, 8)
    np.testing.assert_array_equal(lengths, one.lengths_nm.reshape(-1, 8)[shuffle])


def test_a_tile_with_halo_gives_the_rows_of_the_whole(rng):
    xyz = (rng.random((6000, 3)) * 6).astype(np.float32)
    params = GraphParams(mode="cutoff", cutoff_nm=0.6)
    whole = drain(build_graph(xyz, params))
    tile = np.flatnonzero((xyz[:, 0] > 1.3) & (xyz[:, 0] < 4.7))
    part = drain(build_graph(xyz[tile], params))
    for local, ion in enumerate(tile):
        if 2 < xyz[ion, 0] < 4:
            mine = part.indices[part.indptr[local] : part.indptr[local + 1]]
            np.testing.assert_array_equal(tile[mine], whole.indices[whole.indptr[ion] : whole.indptr[ion + 1]])


@pytest.mark.parametrize("mode", ["knn", "cutoff"])
def test_non_finite_positions_are_isolated_nodes(rng, mode):
    xyz = rng.random((200, 3)).astype(np.float32)
    lost = [0, 7, 199]
    xyz[lost, [0, 1, 2]] = [np.nan, np.inf, -np.inf]
    graph = drain(build_graph(xyz, GraphParams(mode=mode, k=5)))
    assert graph.n_nodes == 200
    assert graph.degree[lost].tolist() == [0, 0, 0]
    assert not np.isin(graph.indices, lost).any()
    kept = np.setdiff1d(np.arange(200), lost)
    alone = drain(build_graph(xyz[kept], GraphParams(mode=mode, k=5)))
    np.testing.assert_array_equal(kept[alone.indices], graph.indices)


def test_coincident_ions_cost_no_more_than_others():
    graph = drain(build_graph(np.ones((200_000, 3)), GraphParams(k=3)))
    np.testing.assert_array_equal(graph.indices[:12].reshape(4, 3), [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    np.testing.assert_array_equal(graph.indices[-3:], [0, 1, 2])
    assert not graph.lengths_nm.any()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_ions_have_all_others_as_neighbors(rng, n):
    xyz = rng.random((n, 3)).astype(np.float32)
    assert rows_of(drain(build_graph(xyz))) == reference(xyz)


def test_ions_on_a_line(rng):
    xyz = np.outer(rng.permutation(300), [0.1, 0.2, 0.3])
    assert rows_of(drain(build_graph(xyz, GraphParams(k=4)))) == reference(xyz, k=4)


@pytest.mark.parametrize("xyz", [np.empty((0, 3)), np.full((4, 3), np.nan)])
def test_no_finite_ion_is_an_error(xyz):
    with pytest.raises(EmptySelectionError, match="finite position"):
        drain(build_graph(xyz))


def test_a_graph_too_large_is_refused_before_it_is_built(rng):
    with pytest.raises(ParameterError, match="lower the radius"):
        drain(build_graph(rng.random((1000, 3)), GraphParams(mode="cutoff", cutoff_nm=5.0, max_edges=1000)))


def test_closing_the_stage_cancels_it(rng):
    stage = build_graph(rng.random((50_000, 3)))
    progress = [next(stage) for _ in range(3)]
    assert [p.total for p in progress] == [50_000] * 3
    assert progress[0].done < progress[1].done < progress[2].done
    stage.close()
    with pytest.raises(StopIteration):
        next(stage)


def test_every_parameter_is_described():
    for field in GraphParams.model_fields.values():
        assert field.title
        assert field.description
        assert "unit" in field.json_schema_extra


def test_components_follow_mask_and_length():
    xyz = np.array([[0, 0, 9], [0, 0, 1], [0, 0, 2], [0, 0, 3.5], [0, 0, 9.5]])
    graph = drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=2.0)))
    assert connected_components(graph)[1].tolist() == [0, 1, 1, 1, 0]
    assert connected_components(graph, max_length_nm=1.0)[1].tolist() == [0, 1, 1, 2, 0]
    n, labels = connected_components(graph, mask=[True, True, False, True, False])
    assert (n, labels.tolist()) == (3, [0, 1, -1, 2, -1])
    assert connected_components(graph, mask=np.zeros(5, bool))[0] == 0
    with pytest.raises(ShapeError):
        connected_components(graph, mask=[True])


def test_a_one_way_edge_joins_too():
    graph = drain(build_graph([[0, 0, 0], [0, 0, 1], [0, 0, 3]], GraphParams(k=1)))
    assert connected_components(graph)[0] == 1


def test_coordination_of_wurtzite_shells():
    # 4 bonds of 0.195 nm, then 12 like atoms at 0.318 to 0.320 nm and one unlike at (1 - u) c = 0.323 nm
    xyz, bulk = wurtzite(6)
    graph = drain(build_graph(xyz))
    assert set(coordination(graph, 0.23)[bulk]) == {4}
    assert set(coordination(graph, 0.33)[bulk]) == {17}
    with pytest.raises(ParameterError):
        coordination(graph, 0.0)
