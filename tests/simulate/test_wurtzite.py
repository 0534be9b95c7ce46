"""The perfect crystal and its faults, against the literature values of wurtzite GaN."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_aptdefect.simulate import wurtzite as gan


def crystal(
    cubic: tuple[int, ...] = (), n_layers: int = 16, reach: float = 3.0, up: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    net, places = gan.lateral_net(reach), gan.stacking(n_layers, 0, cubic)
    layers = [gan.layer_sites(net, k, place, up) for k, place in enumerate(places)]
    return np.concatenate([layer[0] for layer in layers]), np.concatenate([layer[1] for layer in layers])


def test_density_is_that_of_gan() -> None:
    assert pytest.approx(87.59, abs=0.005) == gan.ATOMS_PER_NM3
    assert pytest.approx(11.35, abs=0.01) == gan.GA_PER_LAYER_NM2
    assert pytest.approx(0.2593, abs=1e-4) == gan.BILAYER_NM


@pytest.mark.parametrize("up", [1, -1])
@pytest.mark.parametrize("cubic", [(), (8,), (7, 8), (7, 8, 9)])
def test_coordination_is_four_then_twelve_also_at_a_fault(cubic: tuple[int, ...], up: int) -> None:
    ga, n = crystal(cubic, up=up)
    inner = ga[(np.hypot(ga[:, 0], ga[:, 1]) < 1.5) & (np.abs(ga[:, 2] - 2.0) < 1.2)]
    bonds = cKDTree(n).query(inner, k=5)[0]
    assert np.allclose(bonds[:, :4], 0.195, atol=0.001)  # nm, Ga-N bond
    assert (bonds[:, 4] > 0.25).all()
    second = cKDTree(ga).query(inner, k=14)[0]
    assert np.allclose(second[:, 1:13], 0.319, atol=0.0015)
    assert (second[:, 13] > 0.4).all()


def test_fault_i1_shifts_by_a_over_sqrt3_and_has_one_cubic_bilayer() -> None:
    places = gan.stacking(12, 0, (5,))
    assert "".join("ABC"[i] for i in places) == "ABABABCBCBCB"
    cubic = [k for k in range(1, 11) if places[k - 1] != places[k + 1]]
    assert cubic == [5]
    net = gan.lateral_net(2.0)
    before, after = gan.layer_sites(net, 4, places[4])[0], gan.layer_sites(net, 6, places[6])[0]
    shift = cKDTree(before[:, :2]).query(after[np.hypot(after[:, 0], after[:, 1]) < 1][:, :2])[0]
    assert np.allclose(shift, gan.A_NM / np.sqrt(3))


@pytest.mark.parametrize(("fault", "sequence"), [("I1", "ABABCBCB"), ("I2", "ABABCACA"), ("E", "ABABCABAB")])
def test_faults_have_the_stacking_of_the_literature(fault: str, sequence: str) -> None:
    # Stampfl and Van de Walle, Phys. Rev. B 57, R15052 (1998)
    cubic = range(3, 3 + gan.n_cubic_bilayers(fault))
    assert "".join("ABC"[i] for i in gan.stacking(len(sequence), 0, cubic)) == sequence


def test_stacking_does_not_depend_on_where_it_starts() -> None:
    whole = gan.stacking(60, -10, (5, 13, 14, 30, 31, 32))
    assert (whole[1:] != whole[:-1]).all()
    assert whole[10:14].tolist() == [0, 1, 0, 1]


def test_octahedral_site_has_six_equal_neighbors() -> None:
    for up in (1, -1):
        ga, n = crystal(up=up)
        places = gan.stacking(16, 0)
        start = ga[np.isclose(ga[:, 2], 8 * gan.BILAYER_NM) & (np.hypot(ga[:, 0], ga[:, 1]) < 0.1)][0]
        site = start + gan.channel_offset_nm(int(places[8]), int(places[9]), up)
        for atoms in (ga, n):
            nearest = np.sort(np.linalg.norm(atoms - site, axis=1))[:4]
            assert np.allclose(nearest[:3], 0.208, atol=0.001)
            assert nearest[3] > 0.24


def test_prism_has_the_area_of_a_hexagon_with_m_plane_facets() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-4, -4, 0], [4, 4, 1], (200_000, 3))
    inside = gan.in_prism(points, 3.0, 1.0)
    assert inside.mean() * 64 == pytest.approx(gan.hexagon_area_nm2(3.0), rel=0.01)
    turned = gan.in_prism(points, 3.0, 1.0, "a")
    assert turned.mean() == pytest.approx(inside.mean(), rel=0.02)
    quarter = points[:, [1, 0, 2]] * [1, -1, 1]
    assert (gan.in_prism(quarter, 3.0, 1.0, "m") == turned).all()
    # A corner lies along the a axis, at 2/sqrt(3) of the apothem; a facet faces [01-10], along y.
    probes = np.array([[3.46, 0, 0.5], [3.47, 0, 0.5], [0, 2.99, 0.5], [0, 3.01, 0.5], [0, 0, -0.01], [0, 0, 1.01]])
    assert gan.in_prism(probes, 3.0, 1.0).tolist() == [True, False, True, False, False, False]
    assert ((gan.depth_below_facets_nm(points, 3.0, 1.0) >= 0) == inside).all()


@pytest.mark.parametrize("line", [(0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize("burgers", [(0.0, 0.0, gan.C_NM), (gan.A_NM, 0.0, 0.0), (gan.A_NM, 0.0, gan.C_NM)])
def test_burgers_circuit_closes_with_the_burgers_vector(line: tuple[float, ...], burgers: tuple[float, ...]) -> None:
    t, b = np.array(line), np.array(burgers)
    edge = b - (b @ t) * t
    e1 = edge / np.linalg.norm(edge) if np.linalg.norm(edge) > 1e-9 else np.array([1.0, 0, 0])
    e2 = np.cross(t, e1)
    turn = np.deg2rad(np.linspace(-179.999, 179.999, 721))
    center = np.array([0.3, -0.2, 1.0])
    # the helper axis of a pure screw is free, so start just past the cut of any frame: the jump sits once on the ring
    ring = center + 2 * np.outer(np.cos(turn), e1) + 2 * np.outer(np.sin(turn), e2)
    moved = gan.dislocation_displacement(ring, tuple(center), line, burgers, 5.0)
    steps = np.diff(moved, axis=0)
    jump = np.linalg.norm(steps, axis=1) > 0.1
    closure = moved[-1] - moved[0] - steps[jump].sum(axis=0)
    assert np.allclose(closure, b, atol=2e-3 + 0.02 * np.linalg.norm(b) * jump.sum())
    assert jump.sum() <= 1


def test_screw_field_is_that_of_volterra() -> None:
    # Hirth and Lothe, equation 3-2: u_z = b theta / 2 pi
    places = np.array([[1.0, 1.0, 0.0], [-1.0, 1.0, 3.0], [0.0, -2.0, 1.0]])
    shift = gan.dislocation_displacement(places, (0, 0, 0), (0, 0, 1), (0, 0, gan.C_NM), 5.0)
    assert np.allclose(shift[:, :2], 0)
    turned = (shift[1, 2] - shift[0, 2]) / gan.C_NM
    assert abs(turned) % 1 == pytest.approx(0.25)  # a quarter turn from 45 to 135 degrees
