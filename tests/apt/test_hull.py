from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from napari_aptdefect.apt.hull import HullParams, specimen_hull
from napari_aptdefect.apt.voronoi import VoronoiParams, voronoi_cells
from napari_aptdefect.data import hull as hull_module
from napari_aptdefect.data.boxes import box_tree
from napari_aptdefect.data.hull_clip import pocket_gap
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import drain

CONVEX = HullParams(kind="convex")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def ball(rng, n):
    direction = rng.standard_normal((n, 3))
    return direction / np.linalg.norm(direction, axis=1)[:, None] * rng.random((n, 1)) ** (1 / 3)


def corner(rng, n):
    """An L: three of the four unit cubes of a square."""
    xyz = rng.random((3 * n, 3)) * [2, 2, 1]
    return xyz[~np.all(xyz[:, :2] > 1, axis=1)][:n]


def tip(rng, n):
    """A cone with a convex top and a concave base, as reconstructions have."""
    xyz = (rng.random((20 * n, 3)) - [0.5, 0.5, 0]) * [2, 2, 3.2]
    r2 = (xyz[:, :2] ** 2).sum(axis=1)

    def cap(z):
        return z - 1.5 + np.sqrt(2.25 - np.minimum(r2, 2.25))

    return xyz[(r2 < (1 - 0.1 * xyz[:, 2]) ** 2) & (xyz[:, 2] < cap(3.0)) & (xyz[:, 2] > cap(0.5))][:n]


def box(rng, n):
    return rng.random((n, 3))


SHAPES = [("ball", ball, 0.6), ("corner", corner, 0.5), ("tip", tip, 0.6), ("box", box, 0.5)]


@pytest.mark.parametrize(("name", "make", "alpha"), SHAPES, ids=[name for name, _, _ in SHAPES])
@pytest.mark.parametrize("kind", ["convex", "alpha"])
def test_volumes_of_cells_sum_to_the_hull(rng, name, make, alpha, kind):
    xyz = make(rng, 1500).astype(np.float32)
    xyz = np.vstack([xyz, xyz[:5], xyz[:3], [[np.nan, 0, 0]]])
    hull = drain(specimen_hull(xyz, HullParams(kind=kind, alpha_nm=alpha)))
    cells = drain(voronoi_cells(xyz, hull=hull))
    # float32 volumes round by 6e-8 at most, each in its own direction
    assert np.nansum(cells.volume_nm3.astype(float)) == pytest.approx(hull.volume_nm3, rel=2e-8)
    assert np.all(cells.volume_nm3[:-1] > 0)
    assert hull.contains(xyz).tolist() == [True] * (len(xyz) - 1) + [False]
    np.testing.assert_array_equal(cells.bounded[:-1], ~cells.cut_by_hull[:-1])
    # cells that the hull does not touch are those of no hull
    free = drain(voronoi_cells(xyz))
    both = cells.bounded & free.bounded
    assert both.any()
    np.testing.assert_array_equal(cells.volume_nm3[both], free.volume_nm3[both])
    np.testing.assert_array_equal(cells.n_faces[both], free.n_faces[both])


def test_surfaces_are_closed_and_enclose_the_volume(rng):
    for kind in ("convex", "alpha"):
        hull = drain(specimen_hull(tip(rng, 2000), HullParams(kind=kind, alpha_nm=0.5)))
        a, b, c = hull.vertices_nm[hull.triangles].transpose(1, 0, 2)
        assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(hull.volume_nm3, rel=1e-12)
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(hull.area_nm2, rel=1e-12)
        edges = Counter((t[i], t[i - 1]) for t in hull.triangles.tolist() for i in range(3))
        assert all(edges[j, i] == n for (i, j), n in edges.items())


def test_convex_hull_is_that_of_qhull(rng):
    xyz = ball(rng, 3000).astype(np.float32)
    hull, qhull = drain(specimen_hull(xyz, CONVEX)), ConvexHull(xyz.astype(float))
    assert hull.volume_nm3 == pytest.approx(qhull.volume, rel=1e-12)
    assert hull.area_nm2 == pytest.approx(qhull.area, rel=1e-12)
    assert hull.alpha_nm is None
    assert len(hull.vertices_nm) == len(qhull.vertices)


def test_a_ball_rolls_into_the_corner_of_an_l(rng):
    xyz = corner(rng, 4000)
    convex = drain(specimen_hull(xyz, CONVEX)).volume_nm3
    volume = {a: drain(specimen_hull(xyz, HullParams(alpha_nm=a))).volume_nm3 for a in (0.3, 0.6, 100.0)}
    # a random cloud ends a little inside the shape it was drawn from: 3.5 with the missing prism, 3 without
    assert convex == pytest.approx(3.5, rel=0.05)
    assert volume[0.3] == pytest.approx(3.0, rel=0.07)
    assert volume[0.3] < volume[0.6] < volume[100.0] <= convex * (1 + 1e-12)
    inside = drain(specimen_hull(xyz, HullParams(alpha_nm=0.3))).contains([[0.5, 0.5, 0.5], [1.4, 1.4, 0.5], [9, 9, 9]])
    assert inside.tolist() == [True, False, False]


def test_cavities_stay_in_the_specimen(rng):
    xyz = rng.random((6000, 3)) * 2
    hollow = xyz[np.linalg.norm(xyz - 1, axis=1) > 0.6]
    hull = drain(specimen_hull(hollow, HullParams(alpha_nm=0.4)))
    assert hull.contains([[1, 1, 1]]).all()
    cells = drain(voronoi_cells(hollow, hull=hull))
    assert cells.volume_nm3.sum(dtype=float) == pytest.approx(hull.volume_nm3, rel=2e-8)


def test_cells_agree_with_counting_random_places(rng):
    xyz = tip(rng, 60).astype(np.float32)
    hull = drain(specimen_hull(xyz, HullParams(alpha_nm=0.7)))
    assert len(hull.pockets_nm) > 20
    cells = drain(voronoi_cells(xyz, hull=hull))
    low, high = hull.vertices_nm.min(axis=0), hull.vertices_nm.max(axis=0)
    n = 200_000
    places = (low + rng.random((n, 3)) * (high - low)).astype(np.float32)
    places = places[hull.contains(places)]
    nearest = np.argmin(((places[:, None] - xyz[None]) ** 2).sum(axis=2), axis=1)
    share = np.bincount(nearest, minlength=len(xyz)) / n
    expected = cells.volume_nm3 / np.prod(high - low)
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected / n) + 1e-5)
    # the centroid of what is left, and its farthest point
    for i in np.argsort(-cells.volume_nm3)[:5]:
        mine = places[nearest == i] - xyz[i]
        spread = float(mine.std(axis=0).max()) / len(mine) ** 0.5
        assert float(np.linalg.norm(mine.mean(axis=0))) == pytest.approx(float(cells.offset_nm[i]), abs=5 * spread)
        assert np.linalg.norm(mine, axis=1).max() <= cells.reach_nm[i] * (1 + 1e-5)
        assert np.linalg.norm(mine, axis=1).max() >= 0.8 * cells.reach_nm[i]


@pytest.mark.parametrize(("name", "make", "alpha"), SHAPES, ids=[name for name, _, _ in SHAPES])
def test_looking_up_pockets_by_place_changes_no_bit(rng, monkeypatch, name, make, alpha):
    xyz = make(rng, 1000).astype(np.float32)
    xyz = np.vstack([xyz, xyz[:5], 1.2 * xyz[:20]])
    hull = drain(specimen_hull(xyz[:1000], HullParams(alpha_nm=alpha)))
    by_place, inside = drain(voronoi_cells(xyz, hull=hull)), hull.contains(xyz)

    def everywhere(low, high):
        return box_tree(np.full_like(low, -1e9), np.full_like(high, 1e9))

    monkeypatch.setattr(hull_module, "box_tree", everywhere)
    by_all = drain(voronoi_cells(xyz, hull=hull))
    for field in fields(by_all):
        np.testing.assert_array_equal(getattr(by_place, field.name), getattr(by_all, field.name))
    np.testing.assert_array_equal(inside, hull.contains(xyz))


def test_no_pocket_is_nearer_than_the_gap_that_is_said(rng):
    hull = drain(specimen_hull(tip(rng, 800), HullParams(alpha_nm=0.6)))
    arrays = hull.arrays()
    weight = rng.dirichlet(np.ones(4), 300)
    places = np.einsum("wk,pka->pwa", weight, hull.pockets_nm).reshape(-1, 3)
    said = []
    for center in tip(rng, 60):
        box = np.concatenate([center - 0.05, center + 0.05])
        away = np.maximum(np.maximum(box[:3] - places, places - box[3:]), 0)
        said.append(pocket_gap(arrays, box, 0.5))
        assert said[-1] <= min(0.5, np.linalg.norm(away, axis=1).min())
    # and it says enough to spare the cells inside
    assert np.mean(np.array(said) > 0.1) > 0.2
    assert (np.array(said) == 0).any()


def test_a_lattice_has_a_hull(rng):
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.5
    for kind in ("convex", "alpha"):
        hull = drain(specimen_hull(grid, HullParams(kind=kind, alpha_nm=2)))
        assert hull.volume_nm3 == pytest.approx(2.5**3, rel=1e-9)
        assert len(hull.planes) == 6
        cells = drain(voronoi_cells(grid, hull=hull))
        assert cells.volume_nm3.sum(dtype=float) == pytest.approx(2.5**3, rel=1e-7)
        on_faces = ((grid == 0) | (grid == 2.5)).sum(axis=1)
        np.testing.assert_allclose(cells.volume_nm3, 0.125 / 2**on_faces, rtol=1e-6)
        np.testing.assert_array_equal(cells.cut_by_hull, on_faces > 0)
        assert set(cells.n_faces[on_faces == 3]) == {4}  # three neighbors and the hull
        np.testing.assert_allclose(cells.sphericity, (np.pi / 6) ** (1 / 3), rtol=0.16)


def test_order_threads_and_rotation_change_nothing(rng):
    xyz = tip(rng, 3000).astype(np.float32)
    params = HullParams(alpha_nm=0.6)
    hull = drain(specimen_hull(xyz, params))
    one = drain(voronoi_cells(xyz, VoronoiParams(limit_nm=0.4), hull=hull, workers=1))
    shuffle = rng.permutation(len(xyz))
    again = drain(specimen_hull(xyz[shuffle], params, workers=2))
    np.testing.assert_array_equal(again.pockets_nm, hull.pockets_nm)
    mixed = drain(voronoi_cells(xyz[shuffle], VoronoiParams(limit_nm=0.4), hull=again, workers=4))
    for name in ("volume_nm3", "n_faces", "area_nm2", "reach_nm", "sphericity", "face_orders", "cut_by_hull"):
        np.testing.assert_array_equal(getattr(one, name)[shuffle], getattr(mixed, name))
    c, s = np.cos(0.7), np.sin(0.7)
    turned = (xyz @ np.array([[c, -s, 0], [s * c, c * c, -s], [s * s, c * s, c]]).T).astype(np.float32)
    other = drain(specimen_hull(turned, params))
    assert other.volume_nm3 == pytest.approx(hull.volume_nm3, rel=1e-5)
    moved = drain(voronoi_cells(turned, hull=other))
    np.testing.assert_allclose(moved.volume_nm3, one.volume_nm3, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("xyz", "error", "match"),
    [
        (np.empty((0, 3)), EmptySelectionError, "finite position"),
        (np.full((9, 3), np.nan), EmptySelectionError, "finite position"),
        (np.eye(3), EmptySelectionError, "4 ions"),
        (np.ones((50, 3)), EmptySelectionError, "4 ions"),
        (np.column_stack([*np.indices((5, 5)).reshape(2, -1), np.zeros(25)]), ParameterError, "in a plane"),
    ],
)
def test_what_has_no_hull_is_an_error(xyz, error, match):
    with pytest.raises(error, match=match):
        drain(specimen_hull(xyz))


def test_too_small_a_ball_is_an_error(rng):
    with pytest.raises(ParameterError, match="whole specimen"):
        drain(specimen_hull(rng.random((100, 3)) * 100, HullParams(alpha_nm=0.1)))


def test_box_and_hull_exclude_each_other(rng):
    xyz = rng.random((50, 3))
    with pytest.raises(ParameterError, match="give one of them"):
        drain(voronoi_cells(xyz, VoronoiParams(box_nm=((0,) * 3, (1,) * 3)), hull=drain(specimen_hull(xyz, CONVEX))))


def test_ions_outside_of_a_given_hull_keep_the_sum(rng):
    hull = drain(specimen_hull(ball(rng, 500) * 0.5, CONVEX))
    cells = drain(voronoi_cells(ball(rng, 1000), hull=hull))
    assert cells.volume_nm3.sum(dtype=float) == pytest.approx(hull.volume_nm3, rel=2e-8)
    assert (cells.volume_nm3 == 0).any()
    assert np.isnan(cells.sphericity[cells.volume_nm3 == 0]).all()


def test_closing_the_stage_cancels_it(rng):
    stage = specimen_hull(rng.random((3000, 3)))
    assert next(stage).done == 0
    stage.close()
