from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay, cKDTree
from scipy.spatial.transform import Rotation

from napari_aptdefect.apt.graph import GraphParams, build_graph, build_pair_graph, edge_weights
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain


@pytest.fixture
def rng():
    return np.random.default_rng(7)


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


def edges_of(graph):
    source = np.repeat(np.arange(graph.n_nodes), graph.degree)
    return set(zip(source.tolist(), graph.indices.tolist(), strict=True))


def test_pair_cutoffs_equal_brute_force(rng):
    xyz, species = (rng.random((700, 3)) * 3).astype(np.float32), rng.integers(-1, 3, 700)
    cutoff = np.array([[0.3, 0.5, 0.0], [0.5, 0.2, 0.4], [0.0, 0.4, 0.6]])
    graph = drain(build_pair_graph(xyz, species, cutoff))
    radius = np.where((species[:, None] >= 0) & (species >= 0), cutoff[species[:, None], species], -1)
    radius[radius == 0] = -1
    distance = np.linalg.norm(xyz.astype(float)[:, None] - xyz, axis=-1)
    near = (distance <= radius) & ~np.eye(700, dtype=bool)
    assert edges_of(graph) == set(zip(*map(np.ndarray.tolist, np.nonzero(near)), strict=True))


def test_one_cutoff_for_all_pairs_is_the_mode_cutoff(rng):
    xyz = (rng.random((2000, 3)) * 5).astype(np.float32)
    one = drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=0.6)))
    pairs = drain(build_pair_graph(xyz, rng.integers(0, 4, 2000), np.full((4, 4), 0.6)))
    assert rows_of(one) == rows_of(pairs)


@pytest.mark.parametrize(
    ("species", "cutoff", "error"),
    [
        ([0, 1], [[0.1]], ParameterError),
        ([0, -2], [[0.1]], ParameterError),
        ([0, 0], [[-0.1]], ParameterError),
        ([0, 0], [[0.1, 0.2], [0.3, 0.1]], ParameterError),
        ([0, 0], [0.1], ShapeError),
        ([0], [[0.1]], ShapeError),
    ],
)
def test_pair_cutoffs_that_make_no_sense(species, cutoff, error):
    with pytest.raises(error):
        drain(build_pair_graph([[0, 0, 0], [0, 0, 1]], species, cutoff))


def qhull_edges(xyz, limit):
    """Delaunay edges of Qhull that are edges of a tetrahedron, and a bound: its circumradius up to the limit."""
    tetrahedra = Delaunay(xyz.astype(float)).simplices
    corner = xyz.astype(float)[tetrahedra]
    sides = corner[:, 1:] - corner[:, :1]
    radius = np.linalg.norm(np.linalg.solve(2 * sides, (sides**2).sum(-1)[..., None])[..., 0], axis=1)
    every, small = set(), set()
    for a, b in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        for rows, out in [(tetrahedra, every), (tetrahedra[radius <= limit], small)]:
            out.update(map(tuple, rows[:, [a, b]].tolist()), map(tuple, rows[:, [b, a]].tolist()))
    return every, small


def test_delaunay_edges_are_those_of_qhull(rng):
    xyz = (rng.random((3000, 3)) * 5).astype(np.float32)
    found = edges_of(drain(build_graph(xyz, GraphParams(mode="delaunay", limit_nm=2.0, face_threshold=0))))
    every, small = qhull_edges(xyz, 2.0)
    assert small <= found <= every
    inside = np.flatnonzero(np.all((xyz > 1) & (xyz < 4), axis=1))
    assert {e for e in every if e[0] in inside} == {e for e in found if e[0] in inside}


def test_a_smaller_empty_sphere_leaves_fewer_delaunay_edges(rng):
    xyz = (rng.random((800, 3)) * 3).astype(np.float32)
    for limit in (0.15, 0.25, 0.4):
        found = edges_of(drain(build_graph(xyz, GraphParams(mode="delaunay", limit_nm=limit, face_threshold=0))))
        every, small = qhull_edges(xyz, limit)
        assert small <= found <= every
        # whoever is left out has no empty sphere: the ball of the limit around no point of the cells' face
        lengths = np.linalg.norm(xyz[[i for i, _ in found]] - xyz[[j for _, j in found]], axis=1)
        assert lengths.max() <= 2 * limit


def test_gabriel_edges_have_empty_balls(rng):
    xyz = (rng.random((1200, 3)) * 4).astype(np.float32)
    graph = drain(build_graph(xyz, GraphParams(mode="gabriel", limit_nm=3.0, face_threshold=0)))
    wide = xyz.astype(float)
    expected = set()
    for i, j in qhull_edges(xyz, np.inf)[0]:
        if not np.any(((wide - wide[i]) * (wide - wide[j])).sum(axis=1) < 0):
            expected.add((i, j))
    assert edges_of(graph) == expected


@pytest.mark.parametrize("mode", ["delaunay", "gabriel"])
def test_cells_of_simple_cubic_touch_six_others(mode):
    xyz = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.25
    graph = drain(build_graph(xyz, GraphParams(mode=mode)))
    bulk = np.all((xyz > 0) & (xyz < xyz.max()), axis=1)
    assert set(graph.degree[bulk].tolist()) == {6}
    assert set(graph.lengths_nm.tolist()) == {0.25}


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(["delaunay", "gabriel", "cutoff"]))
@settings(derandomize=True, max_examples=12, deadline=None)
def test_edges_don_t_depend_on_the_order_nor_on_a_rotation(seed, mode):
    rng = np.random.default_rng(seed)
    xyz = (rng.random((300, 3)) * 2).astype(np.float32)
    params = GraphParams(mode=mode, cutoff_nm=0.4, limit_nm=0.5)
    whole = edges_of(drain(build_graph(xyz, params)))
    order = rng.permutation(300)
    shuffled = drain(build_graph(xyz[order], params))
    assert {(order[i], order[j]) for i, j in edges_of(shuffled)} == whole
    turned = xyz.astype(float) @ Rotation.random(rng=rng).as_matrix().T
    # float32 positions differ by rounding: at most one edge in a thousand sits so near to a border
    assert len(whole ^ edges_of(drain(build_graph(turned, params)))) <= 4


@pytest.mark.parametrize("mode", ["delaunay", "gabriel"])
def test_touching_cells_are_symmetric_sorted_and_the_same_on_any_number_of_threads(rng, mode):
    xyz = rng.random((6000, 3)).astype(np.float32)
    xyz[5] = np.nan
    graph = drain(build_graph(xyz, GraphParams(mode=mode), workers=1))
    assert rows_of(graph) == rows_of(drain(build_graph(xyz, GraphParams(mode=mode), workers=4)))
    assert abs(graph.matrix() - graph.matrix().T).nnz == 0
    assert graph.degree[5] == 0
    for row in rows_of(graph)[:500]:
        assert row == sorted(row, key=lambda pair: (pair[1], pair[0]))
    difference = xyz[np.repeat(np.arange(6000), graph.degree)].astype(float) - xyz[graph.indices]
    np.testing.assert_allclose(graph.lengths_nm, np.linalg.norm(difference, axis=1), rtol=1e-6)


def test_random_ions_have_as_many_delaunay_neighbors_as_theory_says(rng):
    # 2 + 48 pi^2 / 35 (Meijering 1953) in the bulk
    xyz = rng.random((20_000, 3)) * 27
    bulk = np.all((xyz > 4) & (xyz < 23), axis=1)
    degree = drain(build_graph(xyz, GraphParams(mode="delaunay"))).degree[bulk]
    assert degree.mean() == pytest.approx(15.535, abs=4 * degree.std() / len(degree) ** 0.5)


def test_coincident_ions_are_joined_and_share_their_neighbors(rng):
    xyz = rng.random((200, 3)).astype(np.float32)
    xyz[[10, 20, 30]] = xyz[10]
    rows = rows_of(drain(build_graph(xyz, GraphParams(mode="delaunay"))))
    assert (20, 0) in rows[10]
    assert (10, 0) in rows[20]
    assert (10, 0) in rows[30]
    others = [{j for j, length in rows[i] if length > 0} for i in (10, 20, 30)]
    assert others[0] == others[1] == others[2]


def test_longest_edge_cuts_delaunay_edges(rng):
    xyz = rng.random((2000, 3))
    whole = drain(build_graph(xyz, GraphParams(mode="delaunay")))
    short = drain(build_graph(xyz, GraphParams(mode="delaunay", max_length_nm=0.08)))
    assert rows_of(short) == [[pair for pair in row if pair[1] <= 0.08] for row in rows_of(whole)]


def test_delaunay_of_ions_at_one_place_needs_a_limit():
    with pytest.raises(ParameterError, match="limit_nm"):
        drain(build_graph(np.ones((3, 3)), GraphParams(mode="delaunay")))


def test_weights_are_gaussian_times_the_factor_of_the_pair(rng):
    xyz, species = rng.random((300, 3)), rng.integers(-1, 2, 300)
    graph = drain(build_graph(xyz, GraphParams(k=6)))
    factor = np.array([[1.0, 3.0], [0.5, 2.0]])
    plain, weighted = edge_weights(graph, 0.1), edge_weights(graph, 0.1, species, factor)
    np.testing.assert_allclose(plain, np.exp(-(graph.lengths_nm.astype(float) ** 2) / 0.02), rtol=1e-5)
    a, b = np.repeat(species, 6), species[graph.indices]
    expected = np.where((a < 0) | (b < 0), 0, factor[a, b])
    np.testing.assert_allclose(weighted, plain * expected, rtol=1e-6)
    assert weighted.dtype == np.float32
    for bad in ({"scale_nm": 0.0}, {"scale_nm": 0.1, "species": species}):
        with pytest.raises(ParameterError):
            edge_weights(graph, **bad)
    with pytest.raises(ParameterError, match="0 to 0"):
        edge_weights(graph, 0.1, species, [[1.0]])
    with pytest.raises(ShapeError):
        edge_weights(graph, 0.1, species, [1.0, 2.0])
