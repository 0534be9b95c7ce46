from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Voronoi

from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.voronoi import (
    POISSON_FACES,
    POISSON_VARIANCE,
    VoronoiParams,
    consistency,
    mean_spacing_nm,
    voronoi_cells,
    voronoi_neighbors,
)
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain

UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def lattice(basis, n, scale=0.5):
    """n x n x n cubic cells of edge `scale` (exact in binary by default), and which ions are bulk."""
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    xyz = ((cells + np.array(basis)) * scale).reshape(-1, 3).astype(np.float32)
    bulk = np.all((xyz >= 1.9 * scale) & (xyz <= xyz.max(axis=0) - 1.9 * scale), axis=1)
    return xyz, bulk


def test_bounded_cells_equal_qhull(rng):
    xyz = (rng.random((1500, 3)) * [1, 2, 3]).astype(np.float32)
    cells = drain(voronoi_cells(xyz, VoronoiParams(face_threshold=0)))
    qhull = Voronoi(xyz.astype(float))
    faces = np.bincount(qhull.ridge_points.ravel(), minlength=len(xyz))
    chosen = np.flatnonzero(cells.bounded)
    assert len(chosen) > 900
    np.testing.assert_array_equal(cells.n_faces[chosen], faces[chosen])
    for i in chosen:
        vertices = qhull.vertices[qhull.regions[qhull.point_region[i]]]
        hull = ConvexHull(vertices)
        assert float(cells.volume_nm3[i]) == pytest.approx(hull.volume, rel=1e-6)
        assert float(cells.area_nm2[i]) == pytest.approx(hull.area, rel=1e-6)
        reach = np.linalg.norm(vertices - xyz[i], axis=1).max()
        assert float(cells.reach_nm[i]) == pytest.approx(reach, rel=1e-6)


def test_face_orders_are_those_of_qhull(rng):
    xyz = rng.random((600, 3)).astype(np.float32)
    cells = drain(voronoi_cells(xyz, VoronoiParams(face_threshold=0)))
    qhull = Voronoi(xyz.astype(float))
    expected = np.zeros((len(xyz), 6), int)
    for pair, vertices in zip(qhull.ridge_points, qhull.ridge_vertices, strict=True):
        expected[pair, min(len(vertices), 8) - 3] += 1
    np.testing.assert_array_equal(cells.face_orders[cells.bounded], expected[cells.bounded])
    assert not cells.cut_by_hull.any()


def test_bounded_is_said_exactly_of_cells_within_the_limit(rng):
    xyz = rng.random((800, 3)).astype(np.float32)
    cells = drain(voronoi_cells(xyz, VoronoiParams(limit_nm=0.2)))
    qhull = Voronoi(xyz.astype(float))
    for i, region in enumerate(qhull.regions[r] for r in qhull.point_region):
        if -1 in region:
            assert not cells.bounded[i]
        else:
            reach = np.linalg.norm(qhull.vertices[region] - xyz[i], axis=1).max()
            assert cells.bounded[i] or reach > 0.2
            assert not cells.bounded[i] or reach < 0.2 * 1.2585


def test_centroid_offset_of_a_lone_pair_in_a_box():
    # each ion has half of the box, whose centroid is at x = 0.25
    cells = drain(voronoi_cells([[0.4, 0.5, 0.5], [0.6, 0.5, 0.5]], VoronoiParams(box_nm=UNIT)))
    np.testing.assert_allclose(cells.volume_nm3, 0.5, rtol=1e-6)
    np.testing.assert_allclose(cells.offset_nm, 0.15, rtol=1e-6)
    np.testing.assert_allclose(cells.area_nm2, 4.0, rtol=1e-6)
    assert cells.n_faces.tolist() == [6, 6]
    assert not cells.bounded.any()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 40, 5000])
def test_cells_fill_the_box(rng, n):
    xyz = rng.random((n, 3)).astype(np.float32)
    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=UNIT)))
    assert cells.volume_nm3.sum(dtype=float) == pytest.approx(1, rel=1e-6)
    assert cells.limit_nm == np.inf


@pytest.mark.parametrize(
    ("basis", "orders", "reach", "sphericity"),
    [
        ([[0, 0, 0]], [0, 6, 0, 0, 0, 0], 3**0.5 / 2, 0.8060),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], [0, 6, 0, 8, 0, 0], 5**0.5 / 4, 0.9099),  # bcc: truncated octahedron
        # fcc: rhombic dodecahedron
        ([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [0, 12, 0, 0, 0, 0], 0.5, 0.9047),
    ],
)
def test_cubic_lattices(basis, orders, reach, sphericity):
    xyz, bulk = lattice(basis, 6)
    cells = drain(voronoi_cells(xyz))
    assert bulk.any()
    assert cells.bounded[bulk].all()
    assert set(cells.n_faces[bulk]) == {sum(orders)}
    assert set(map(tuple, cells.face_orders[bulk].tolist())) == {tuple(orders)}
    np.testing.assert_allclose(cells.sphericity[bulk], sphericity, atol=5e-5)
    np.testing.assert_allclose(cells.volume_nm3[bulk], 0.125 / len(basis), rtol=1e-6)
    np.testing.assert_allclose(cells.reach_nm[bulk], 0.5 * reach, rtol=1e-6)
    np.testing.assert_allclose(cells.offset_nm[bulk], 0, atol=1e-8)


def test_rounded_lattice_far_from_the_origin_keeps_its_faces():
    # float32 positions at 100 nm are 8e-6 nm apart: the fourfold corners of fcc open by as much
    xyz, bulk = lattice([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], 6, scale=0.405)
    cells = drain(voronoi_cells((xyz + 100).astype(np.float32)))
    assert set(cells.n_faces[bulk]) == {12}
    assert set(map(tuple, cells.face_orders[bulk].tolist())) == {(0, 12, 0, 0, 0, 0)}
    np.testing.assert_allclose(cells.volume_nm3[bulk], 0.405**3 / 4, rtol=1e-4)


def test_wurtzite_atoms_have_equal_volumes():
    # GaN: a 0.3189, c 0.5185 nm, four atoms in 0.04567 nm3; with u = 3/8 and c/a = sqrt(8/3) all are equivalent
    a = 0.3189
    c = a * (8 / 3) ** 0.5
    metal = np.array([[0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 1 / 6, 1 / 2], [0, 2 / 3, 1 / 2]])
    basis = np.vstack([metal, np.add(metal, [0, 0, 3 / 8])])
    cells_idx = np.stack(np.meshgrid(np.arange(9), np.arange(6), np.arange(6), indexing="ij"), -1).reshape(-1, 1, 3)
    xyz = ((cells_idx + basis) * [a, a * 3**0.5, c]).reshape(-1, 3)
    bulk = np.all((xyz > 0.8) & (xyz < xyz.max(axis=0) - 0.8), axis=1)
    cells = drain(voronoi_cells(xyz))
    assert bulk.any()
    np.testing.assert_allclose(cells.volume_nm3[bulk], a * a * c * 3**0.5 / 8, rtol=1e-5)


def test_random_points_have_the_moments_of_poisson_voronoi_cells(rng):
    # mean faces 2 + 48 pi^2/35 (Meijering 1953), volume variance 0.179 (Gilbert 1962; Okabe et al. 2000, table 5.5.2)
    xyz = (rng.random((40_000, 3)) * 40_000 ** (1 / 3)).astype(np.float32)
    bulk = np.all((xyz > 3) & (xyz < xyz.max() - 3), axis=1)
    cells = drain(voronoi_cells(xyz, VoronoiParams(limit_nm=6)))
    assert cells.bounded[bulk].all()
    n = bulk.sum()
    volume = cells.volume_nm3[bulk].astype(float)
    assert pytest.approx(2 + 48 * np.pi**2 / 35, abs=1e-5) == POISSON_FACES
    assert cells.n_faces[bulk].mean() == pytest.approx(POISSON_FACES, abs=5 * 3.33 / n**0.5)
    assert volume.mean() == pytest.approx(1, abs=5 * (POISSON_VARIANCE / n) ** 0.5)
    assert volume.var() / volume.mean() ** 2 == pytest.approx(POISSON_VARIANCE, rel=0.06)
    # mean surface 5.821 (Meijering 1953): (256 pi / 3)^(1/3) Gamma(5/3)
    assert cells.area_nm2[bulk].mean() == pytest.approx(5.821, rel=0.01)


def test_coincident_ions_share_their_cell(rng):
    xyz = rng.random((300, 3)).astype(np.float32)
    alone = drain(voronoi_cells(xyz, VoronoiParams(box_nm=UNIT)))
    stacked = drain(voronoi_cells(np.vstack([xyz, xyz[:1], xyz[:1]]), VoronoiParams(box_nm=UNIT)))
    assert stacked.multiplicity[[0, 1, 300, 301]].tolist() == [3, 1, 3, 3]
    np.testing.assert_allclose(stacked.volume_nm3[[0, 300, 301]], alone.volume_nm3[0] / 3, rtol=1e-6)
    np.testing.assert_array_equal(stacked.n_faces[:300], alone.n_faces)
    assert stacked.volume_nm3.sum(dtype=float) == pytest.approx(1, rel=1e-6)


def test_many_ions_at_two_places():
    xyz = np.repeat([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]], 30_000, axis=0)
    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=UNIT)))
    np.testing.assert_allclose(cells.volume_nm3, 0.5 / 30_000, rtol=1e-6)


@given(points=st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=80), scale=st.sampled_from([1.0, 0.1]))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_degenerate_points_fill_the_box(points, scale):
    # grid points: coplanar, collinear, cospherical and coincident sets of all kinds
    xyz = np.array(points) * scale
    low, high = -0.5 * scale, 4.5 * scale
    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=((low,) * 3, (high,) * 3)), workers=1))
    assert cells.volume_nm3.sum(dtype=float) == pytest.approx((high - low) ** 3, rel=1e-5)
    assert np.all(cells.n_faces >= 4)


def test_strong_density_contrast(rng):
    grain = 0.5 + 1e-3 * rng.standard_normal((3000, 3))
    xyz = np.vstack([rng.random((300, 3)), grain.clip(0, 1)]).astype(np.float32)
    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=UNIT)))
    assert cells.volume_nm3.sum(dtype=float) == pytest.approx(1, rel=1e-5)


def test_an_ion_in_a_void_with_thousands_of_faces(rng):
    shell = rng.standard_normal((3000, 3))
    shell /= np.linalg.norm(shell, axis=1)[:, None]
    cells = drain(voronoi_cells(np.vstack([np.zeros((1, 3)), shell]), VoronoiParams(limit_nm=3, face_threshold=0)))
    assert cells.bounded[0]
    assert cells.n_faces[0] == 3000
    assert float(cells.volume_nm3[0]) == pytest.approx(4 / 3 * np.pi / 8, rel=0.01)


@pytest.mark.parametrize("directions", [[[1, 2, 3]], [[1, 0, 0], [0, 1, 1]]])
def test_ions_on_a_line_or_a_plane_are_limited(rng, directions):
    xyz = rng.random((200, len(directions))) @ np.array(directions, float)
    cells = drain(voronoi_cells(xyz))
    assert not cells.bounded.any()
    assert np.all(cells.volume_nm3 > 0)
    assert np.all(cells.reach_nm <= 1.2585 * cells.limit_nm)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_ions_are_limited(rng, n):
    cells = drain(voronoi_cells(rng.random((n, 3)), VoronoiParams(limit_nm=0.1)))
    assert not cells.bounded.any()
    assert np.all(cells.volume_nm3 <= 5.5503 * 0.001)  # dodecahedron around a sphere of radius 0.1 nm
    if n == 1:
        np.testing.assert_allclose(cells.volume_nm3, 5.55029e-3, rtol=1e-5)
        assert cells.n_faces.tolist() == [12]


@pytest.mark.parametrize("xyz", [np.empty((0, 3)), np.full((3, 3), np.nan)])
def test_no_finite_ion_is_an_error(xyz):
    with pytest.raises(EmptySelectionError, match="finite position"):
        drain(voronoi_cells(xyz))


@pytest.mark.parametrize("xyz", [np.zeros((1, 3)), np.ones((9, 3))])
def test_one_place_needs_a_limit(xyz):
    with pytest.raises(ParameterError, match="give limit_nm or box_nm"):
        drain(voronoi_cells(xyz))


def test_a_wrong_box_is_an_error(rng):
    xyz = rng.random((10, 3))
    with pytest.raises(ParameterError, match="outside box_nm"):
        drain(voronoi_cells(xyz + 1, VoronoiParams(box_nm=UNIT)))
    with pytest.raises(ParameterError, match="lower and a higher corner"):
        drain(voronoi_cells(xyz, VoronoiParams(box_nm=UNIT[::-1])))


def test_non_finite_positions_get_nan(rng):
    xyz = rng.random((300, 3)).astype(np.float32)
    kept = drain(voronoi_cells(xyz[1:], VoronoiParams(limit_nm=0.5)))
    xyz[0, 1] = np.nan
    cells = drain(voronoi_cells(xyz, VoronoiParams(limit_nm=0.5)))
    assert np.isnan(cells.volume_nm3[0])
    assert (cells.n_faces[0], cells.multiplicity[0], cells.bounded[0]) == (0, 0, False)
    np.testing.assert_array_equal(cells.volume_nm3[1:], kept.volume_nm3)


def test_result_is_that_of_any_threads_tile_or_order(rng):
    xyz = (rng.random((12_000, 3)) * [2, 1, 1]).astype(np.float32)
    params = VoronoiParams(limit_nm=0.2)
    one = drain(voronoi_cells(xyz, params, workers=1))
    many = drain(voronoi_cells(xyz, params, workers=4))
    shuffle = rng.permutation(len(xyz))
    mixed = drain(voronoi_cells(xyz[shuffle], params))
    tile = np.flatnonzero(xyz[:, 0] < 1.5)
    part = drain(voronoi_cells(xyz[tile], params))
    inner = xyz[tile, 0] < 1
    for name in ("volume_nm3", "n_faces", "area_nm2", "reach_nm", "offset_nm", "bounded"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
        np.testing.assert_array_equal(getattr(one, name)[shuffle], getattr(mixed, name))
        np.testing.assert_array_equal(getattr(one, name)[tile][inner], getattr(part, name)[inner])


def test_closing_the_stage_cancels_it(rng):
    stage = voronoi_cells(rng.random((30_000, 3)))
    assert next(stage).done == 0
    assert 0 < next(stage).done < 30_000
    stage.close()


def test_cells_are_read_only(rng):
    cells = drain(voronoi_cells(rng.random((20, 3))))
    with pytest.raises(ValueError, match="read-only"):
        cells.volume_nm3[0] = 1


def test_mean_spacing_is_that_of_the_bulk(rng):
    xyz = rng.random((20_000, 3)) * 20_000 ** (1 / 3)
    assert mean_spacing_nm(xyz) == pytest.approx(1, rel=0.05)
    assert mean_spacing_nm(np.vstack([xyz, [[1e4, 0, 0]]])) == pytest.approx(1, rel=0.05)


def test_neighbors_are_those_of_qhull_and_mutual(rng):
    xyz = rng.random((600, 3)).astype(np.float32)
    params = VoronoiParams(limit_nm=2, face_threshold=0)
    cells = drain(voronoi_cells(xyz, params))
    ions = np.flatnonzero(cells.bounded)[::-1]
    found = voronoi_neighbors(xyz, ions, params)
    pairs = Voronoi(xyz.astype(float)).ridge_points
    area = {}
    for i, ion in enumerate(ions):
        part = slice(found.indptr[i], found.indptr[i + 1])
        expected = np.concatenate([pairs[pairs[:, 0] == ion, 1], pairs[pairs[:, 1] == ion, 0]])
        assert sorted(found.indices[part]) == sorted(expected)
        assert found.area_nm2[part].sum() == pytest.approx(float(cells.area_nm2[ion]), rel=1e-5)
        area.update({(ion, int(j)): a for j, a in zip(found.indices[part], found.area_nm2[part], strict=True)})
    both = [(a, area[j, i]) for (i, j), a in area.items() if (j, i) in area]
    np.testing.assert_allclose(*np.array(both).T, rtol=1e-4, atol=1e-9)
    with pytest.raises(ParameterError, match="finite positions"):
        voronoi_neighbors(xyz, [600], params)


def test_random_points_are_consistent(rng):
    xyz = (rng.random((20_000, 3)) * 20_000 ** (1 / 3)).astype(np.float32)
    cells = drain(voronoi_cells(xyz))
    told = consistency(xyz, cells, drain(build_graph(xyz, GraphParams(k=16))), n_sample=4000)
    assert told.n_sampled == 4000
    assert told.nearest_fraction == 1.0
    assert 0.5 < told.edge_fraction < 0.8
    assert told.density_ratio == pytest.approx(1, abs=0.1)
    assert told.density_correlation > 0.5
    assert told.mean_faces == pytest.approx(POISSON_FACES, rel=0.03)
    assert told.volume_variance == pytest.approx(POISSON_VARIANCE, rel=0.2)


def test_consistency_notices_another_cloud(rng):
    xyz = rng.random((2000, 3)).astype(np.float32)
    cells = drain(voronoi_cells(xyz))
    graph = drain(build_graph(xyz, GraphParams(k=8)))
    wrong = drain(build_graph(rng.permutation(xyz), GraphParams(k=8)))
    assert consistency(xyz, cells, graph).nearest_fraction == 1.0
    assert consistency(xyz, cells, wrong).nearest_fraction < 0.1
    with pytest.raises(ShapeError, match="as many"):
        consistency(xyz[:-1], cells, graph)


def test_every_edge_of_fcc_is_a_face():
    xyz, bulk = lattice([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], 8)
    found = voronoi_neighbors(xyz, np.flatnonzero(bulk))
    graph = drain(build_graph(xyz, GraphParams(k=12)))
    for i, ion in enumerate(np.flatnonzero(bulk)):
        mine = graph.indices[graph.indptr[ion] : graph.indptr[ion + 1]]
        assert sorted(found.indices[found.indptr[i] : found.indptr[i + 1]]) == sorted(mine)


def test_every_parameter_is_described():
    for field in VoronoiParams.model_fields.values():
        assert field.title
        assert field.description
        assert "unit" in field.json_schema_extra
