from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from napari_aptdefect.apt.connectivity import (
    CoreLinkParams,
    bond_angles,
    bond_lengths,
    connected_components,
    coordination,
    coordination_sequence,
    core_link_clusters,
    dihedral_angles,
    local_density,
    percolation,
    ring_statistics,
)
from napari_aptdefect.apt.graph import GraphParams, build_graph, build_pair_graph
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.simulate import wurtzite
from napari_aptdefect.stage import drain

GA, N = 0, 1


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def crystal(cubic=()):
    """Perfect GaN of 16 bilayers, species of each atom, and the atoms at least six bonds below the surface."""
    net = wurtzite.lateral_net(2.6)
    places = wurtzite.stacking(16, 0, cubic)
    sites = np.stack([wurtzite.layer_sites(net, k, int(place)) for k, place in enumerate(places)])
    xyz = sites.reshape(-1, 3)
    species = np.tile(np.repeat([GA, N], len(net)), len(places))
    middle = np.array([0.0, 0.0, 8 * wurtzite.BILAYER_NM])
    return xyz, species, np.flatnonzero(np.linalg.norm(xyz - middle, axis=1) < 0.6)


@pytest.fixture(scope="module")
def gan():
    xyz, species, bulk = crystal()
    return xyz, species, bulk, drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=0.25)))


def cutoff_graph(xyz, cutoff):
    return drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=cutoff)))


def test_wurtzite_has_four_bonds_and_twelve_second_neighbors(gan):
    # 4 bonds of 0.195 nm; 12 like atoms at 0.318 to 0.320 nm (and one unlike at (1 - u) c = 0.323 nm)
    xyz, species, bulk, bonds = gan
    assert set(coordination(bonds)[bulk].tolist()) == {4}
    assert set(coordination(bonds, neighbors=species == GA)[bulk[species[bulk] == GA]].tolist()) == {0}
    like = drain(build_pair_graph(xyz, species, [[0.33, 0.0], [0.0, 0.33]]))
    assert set(coordination(like)[bulk].tolist()) == {12}
    assert set(coordination(cutoff_graph(xyz, 0.33))[bulk].tolist()) == {17}
    assert bond_lengths(bonds).mean == pytest.approx(0.195, abs=0.001)
    shell = bond_lengths(like)
    assert shell.mean == pytest.approx(0.319, abs=0.001)
    assert shell.std < 0.001


def test_bonds_of_wurtzite_are_tetrahedral_and_partly_eclipsed(gan):
    xyz, _, bulk, bonds = gan
    angles = bond_angles(bonds, xyz, ions=bulk)
    assert angles.n == 6 * len(bulk)
    assert angles.mean == pytest.approx(109.47, abs=0.1)
    assert angles.std < 1
    # of the 9 chains over each of 4 bonds: along c 3 at 0 and 6 at 120 degrees, else 3 at 180 and 6 at 60
    turns = dihedral_angles(bonds, xyz, ions=bulk, n_bins=18)
    share = turns.counts / turns.n
    near = [share[:1].sum(), share[5:7].sum(), share[11:13].sum(), share[17:].sum()]
    np.testing.assert_allclose(near, [3 / 36, 18 / 36, 6 / 36, 9 / 36], atol=1e-12)


def test_rings_of_wurtzite_have_six_atoms(gan):
    _, _, bulk, bonds = gan
    rings = ring_statistics(bonds, ions=bulk)
    assert rings.counts[6] == 6 * len(bulk)
    assert rings.counts.sum() == 6 * len(bulk)
    assert rings.n_open == 0
    assert rings.mean_size == 6
    short = ring_statistics(bonds, 5, ions=bulk)
    assert (short.counts.sum(), short.n_open) == (0, 6 * len(bulk))


def test_coordination_sequences_tell_wurtzite_from_zincblende(gan):
    # OEIS A008264 and A008253
    _, _, bulk, bonds = gan
    assert coordination_sequence(bonds, 5, ions=bulk).tolist() == [4, 12, 25, 44, 67]
    xyz, _, bulk = crystal(cubic=range(16))
    assert coordination_sequence(cutoff_graph(xyz, 0.25), 5, ions=bulk).tolist() == [4, 12, 24, 42, 64]


def test_simple_cubic():
    xyz = np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.3
    bulk = np.flatnonzero(np.all((xyz > 0.7) & (xyz < 1.7), axis=1))
    graph = cutoff_graph(xyz, 0.35)
    assert set(coordination(graph)[bulk].tolist()) == {6}
    angles = bond_angles(graph, xyz, ions=bulk)
    assert angles.counts[90] == 12 * len(bulk)
    assert angles.counts[179] == 3 * len(bulk)
    rings = ring_statistics(graph, ions=bulk)
    # 12 right angles close squares; a straight pair goes around the atom over six ions
    assert rings.counts[4] == 12 * len(bulk)
    assert rings.counts[6] == 3 * len(bulk)
    # A005899: 4 n^2 + 2
    assert coordination_sequence(graph, 3, ions=[4 * 81 + 4 * 9 + 4]).tolist() == [6, 18, 38]


def test_angles_of_random_directions_are_uniform_on_the_sphere(rng):
    xyz = rng.random((20_000, 3))
    bulk = np.flatnonzero(np.all((xyz > 0.15) & (xyz < 0.85), axis=1))
    angles = bond_angles(cutoff_graph(xyz, 0.04), xyz, ions=bulk, n_bins=12)
    middle = np.radians(angles.edges)
    np.testing.assert_allclose(angles.counts / angles.n, (np.cos(middle[:-1]) - np.cos(middle[1:])) / 2, atol=0.006)
    assert angles.density @ np.diff(angles.edges) == pytest.approx(1)


def test_dihedral_of_a_known_chain():
    for angle in (0.0, 37.0, 90.0, 180.0):
        turned = [np.cos(np.radians(angle)), np.sin(np.radians(angle)), 1.0]
        xyz = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], turned])
        graph = build_chain(4)
        found = dihedral_angles(graph, xyz, ions=[1])
        assert found.n == 1
        assert found.mean == pytest.approx(angle, abs=1e-4)
    assert dihedral_angles(build_chain(4), np.outer(range(4), [1, 1, 1])).n == 0


def build_chain(n):
    from napari_aptdefect.data import NeighborGraph

    rows = [[j for j in (i - 1, i + 1) if 0 <= j < n] for i in range(n)]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    return NeighborGraph(indptr, np.array([j for r in rows for j in r], np.int32), np.ones(indptr[-1], np.float32))


def test_local_density_of_two_points():
    # 3Depict's test: two points 1 apart have the density 1 / (4/3 pi)
    graph = drain(build_graph([[0, 0, 0], [0, 0, 1]], GraphParams(k=1)))
    np.testing.assert_allclose(local_density(graph), 1 / (4 / 3 * np.pi), rtol=1e-7)
    assert np.isnan(local_density(drain(build_graph([[0, 0, 0]])))).all()


def link(xyz, solute=None, **params):
    solute = np.ones(len(xyz), bool) if solute is None else solute
    return drain(core_link_clusters(np.asarray(xyz, float), solute, CoreLinkParams(**params)))


NETWORK = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2], [1, 1, 2], [2, 1, 2], [2, 1, 1], [2, 1, 0], [2, 2, 0]]
AWAY = [[2, 2, 4], [4, 0, 1], [-3, 1, 1], [-2, 1, 2], [-2, -1, 2], [-2, 1, -2]]


def test_core_link_counts_of_3depict():
    # 3Depict's unit tests link at 1.1: all 9 ions of a network are in clusters, and all 15 with six lone ones, since
    # its least size is 0; the network itself is one cluster of 9 in both
    assert link(NETWORK, link_nm=1.1, n_min=1).n_ions.tolist() == [9]
    both = link(AWAY + NETWORK, link_nm=1.1, n_min=1)
    assert (both.label >= 0).sum() == 15
    assert both.n_ions.tolist() == [9, 1, 1, 1, 1, 1, 1]
    assert link(AWAY + NETWORK, link_nm=1.1, n_min=2).n_ions.tolist() == [9]


def test_core_classification_of_3depict():
    # two groups at a distance of 4 with one ion halfway: it is no core ion, so 5 of 6 ions are in clusters, 3 and 2
    xyz = [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 2], [0, 0, 4], [0, -1, 4]]
    found = link(xyz, link_nm=2.0, core_order=1, core_distance_nm=1.1, n_min=1)
    assert found.label.tolist() == [0, 0, 0, -1, 1, 1]
    assert link(xyz, link_nm=2.0, n_min=1).n_ions.tolist() == [6]


def test_envelope_and_erosion():
    xyz = [[0, 0, 0], [0, 0, 0.3], [0, 0, 0.6], [0, 0, 0.9], [0, 0, 1.3], [0, np.nan, 0]]
    solute = [True, True, False, False, False, True]
    plain = link(xyz, solute, link_nm=0.35, n_min=2)
    assert plain.label.tolist() == [0, 0, -1, -1, -1, -1]
    wide = link(xyz, solute, link_nm=0.35, n_min=2, envelope_nm=0.65)
    assert wide.label.tolist() == [0, 0, 0, 0, -1, -1]
    assert (wide.n_core.tolist(), wide.n_ions.tolist()) == ([2], [4])
    assert wide.core.tolist() == [True, True, False, False, False, False]
    assert link(xyz, solute, link_nm=0.35, n_min=2, envelope_nm=0.65, erosion_nm=0.45).label.tolist() == [
        *[0, 0, 0],
        *[-1, -1, -1],
    ]
    assert link(xyz, solute, link_nm=0.35, n_min=3).label.tolist() == [-1] * 6
    with pytest.raises(ShapeError):
        link(xyz, [True], link_nm=0.3)


@given(seed=st.integers(0, 10_000), order=st.integers(0, 3))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_clusters_don_t_depend_on_the_order_nor_on_a_rotation(seed, order):
    rng = np.random.default_rng(seed)
    xyz = rng.integers(0, 8, (150, 3)) / 4 + rng.random((150, 3)) / 64
    solute = rng.random(150) < 0.6
    params = {"link_nm": 0.31, "core_order": order, "core_distance_nm": 0.31, "n_min": 2, "envelope_nm": 0.31}
    whole = link(xyz, solute, **params)
    shuffle = rng.permutation(150)
    turned = xyz @ Rotation.random(rng=rng).as_matrix().T
    for other, rows in (
        (link(xyz[shuffle], solute[shuffle], **params), shuffle),
        (link(turned, solute, **params), ...),
    ):
        np.testing.assert_array_equal(other.core, whole.core[rows])
        pairs = np.unique(np.column_stack([whole.label[rows], other.label])[other.core], axis=0)
        assert len(pairs) == len(np.unique(whole.label[whole.core]))
        assert sorted(other.n_core) == sorted(whole.n_core)


def test_components_follow_mask_and_length():
    xyz = np.array([[0, 0, 9], [0, 0, 1], [0, 0, 2], [0, 0, 3.5], [0, 0, 9.5]])
    graph = cutoff_graph(xyz, 2.0)
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


def test_percolation_is_the_components_at_each_cutoff(rng):
    xyz, mask = rng.random((2000, 3)), rng.random(2000) < 0.7
    graph = cutoff_graph(xyz, 0.12)
    cutoffs = np.linspace(0.02, 0.12, 11)
    found = percolation(graph, cutoffs, mask)
    for i, cutoff in enumerate(cutoffs):
        pairs = cKDTree(xyz[mask].astype(np.float32)).sparse_distance_matrix(
            cKDTree(xyz[mask].astype(np.float32)), cutoff, output_type="coo_matrix"
        )
        n, label = csgraph.connected_components(pairs)
        sizes = np.sort(np.bincount(label))
        assert found.n_components[i] == n
        assert found.largest_fraction[i] == sizes[-1] / mask.sum()
        rest = sizes[:-1].astype(float)
        assert found.mean_size[i] == pytest.approx((rest**2).sum() / rest.sum() if len(rest) else 0)


def test_random_points_percolate_at_the_known_density(rng):
    # overlapping spheres: 2.7352 neighbors in the mean (Lorenz & Ziff 2001); a finite box shifts it by a few percent
    n = 60_000
    xyz = rng.random((n, 3)) * n ** (1 / 3)
    found = percolation(cutoff_graph(xyz, 1.0), np.linspace(0.5, 1.0, 101))
    assert 4 / 3 * np.pi * found.threshold_nm**3 == pytest.approx(2.735, rel=0.06)
    assert found.largest_fraction[0] < 0.01
    assert found.largest_fraction[-1] > 0.9


def test_bond_lengths_of_one_pair(gan):
    xyz, species, _, _ = gan
    graph = cutoff_graph(xyz, 0.33)
    whole = bond_lengths(graph, n_bins=33, max_nm=0.33)
    parts = [bond_lengths(graph, species, pair, n_bins=33, max_nm=0.33) for pair in ((0, 0), (0, 1), (1, 1))]
    np.testing.assert_array_equal(whole.counts, sum(p.counts for p in parts))
    assert whole.n == len(graph.indices)
    assert parts[0].counts[:31].sum() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda g, x: coordination(g, 0.0),
        lambda g, x: bond_lengths(g, species=[0] * 20),
        lambda g, x: bond_lengths(g, n_bins=0),
        lambda g, x: bond_angles(g, x, ions=[20]),
        lambda g, x: bond_angles(g, x, n_sample=0),
        lambda g, x: bond_angles(g, x, n_bins=0),
        lambda g, x: bond_angles(g, x[:5]),
        lambda g, x: coordination_sequence(g, 0),
        lambda g, x: ring_statistics(g, 2),
        lambda g, x: percolation(g, []),
        lambda g, x: percolation(g, [0.2, 0.1]),
        lambda g, x: percolation(g, [0.1], mask=np.zeros(20, bool)),
    ],
)
def test_what_makes_no_sense_is_refused(rng, call):
    xyz = rng.random((20, 3))
    with pytest.raises((ParameterError, ShapeError)):
        call(drain(build_graph(xyz, GraphParams(k=3))), xyz)


def test_a_sample_is_seeded_and_within_the_whole(rng):
    xyz = rng.random((3000, 3))
    graph = drain(build_graph(xyz, GraphParams(k=4)))
    one, two = (bond_angles(graph, xyz, n_sample=500, seed=s) for s in (1, 1))
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.n == 500 * 6
    assert not np.array_equal(one.counts, bond_angles(graph, xyz, n_sample=500, seed=2).counts)
    assert ring_statistics(graph, 4, n_sample=50).n_ions == 50
