"""The perfect crystal and its faults, against the literature values of wurtzite GaN."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_aptdefect.simulate import wurtzite as gan


def crystal(faults: tuple[int, ...] = (), n_layers: int = 16, reach: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    net, places = gan.lateral_net(reach), gan.stacking(n_layers, 0, faults)
    layers = [gan.layer_sites(net, k, place) for k, place in enumerate(places)]
    return np.concatenate([layer[0] for layer in layers]), np.concatenate([layer[1] for layer in layers])


def test_density_is_that_of_gan() -> None:
    assert pytest.approx(87.59, abs=0.005) == gan.ATOMS_PER_NM3
    assert pytest.approx(11.35, abs=0.01) == gan.GA_PER_LAYER_NM2
    assert pytest.approx(0.2593, abs=1e-4) == gan.BILAYER_NM


@pytest.mark.parametrize("faults", [(), (8,)])
def test_coordination_is_four_then_twelve_also_at_a_fault(faults: tuple[int, ...]) -> None:
    ga, n = crystal(faults)
    inner = ga[(np.hypot(ga[:, 0], ga[:, 1]) < 1.5) & (np.abs(ga[:, 2] - 2.0) < 1.2)]
    bonds = cKDTree(n).query(inner, k=5)[0]
    assert np.allclose(bonds[:, :4], 0.195, atol=0.001)  # nm, Ga-N bond
    assert (bonds[:, 4] > 0.25).all()
    second = cKDTree(ga).query(inner, k=14)[0]
    assert np.allclose(second[:, 1:13], 0.319, atol=0.0015)
    assert (second[:, 13] > 0.4).all()


def test_fault_i1_shifts_by_a_over_sqrt3_and_has_one_cubic_bilayer() -> None:
    places = gan.stacking(12, 0, (6,))
    assert "".join("ABC"[i] for i in places) == "ABABABCBCBCB"
    cubic = [k for k in range(1, 11) if places[k - 1] != places[k + 1]]
    assert cubic == [5]
    net = gan.lateral_net(2.0)
    before, after = gan.layer_sites(net, 4, places[4])[0], gan.layer_sites(net, 6, places[6])[0]
    shift = cKDTree(before[:, :2]).query(after[np.hypot(after[:, 0], after[:, 1]) < 1][:, :2])[0]
    assert np.allclose(shift, gan.A_NM / np.sqrt(3))


def test_two_faults_stay_close_packed() -> None:
    places = gan.stacking(40, -5, (6, 13))
    assert (places[1:] != places[:-1]).all()


def test_prism_has_the_area_of_a_hexagon_with_m_plane_facets() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-4, -4, 0], [4, 4, 1], (200_000, 3))
    inside = gan.in_prism(points, 3.0, 1.0)
    assert inside.mean() * 64 == pytest.approx(gan.hexagon_area_nm2(3.0), rel=0.01)
    # A corner lies along the a axis, at 2/sqrt(3) of the apothem; a facet faces [01-10], along y.
    probes = np.array([[3.46, 0, 0.5], [3.47, 0, 0.5], [0, 2.99, 0.5], [0, 3.01, 0.5], [0, 0, -0.01], [0, 0, 1.01]])
    assert gan.in_prism(probes, 3.0, 1.0).tolist() == [True, False, True, False, False, False]
    assert ((gan.depth_below_facets_nm(points, 3.0, 1.0) >= 0) == inside).all()


@pytest.mark.parametrize("kind", ["screw", "edge"])
def test_burgers_circuit_closes_with_the_burgers_vector(kind: str) -> None:
    turn = np.deg2rad(np.linspace(-179.999, 179.999, 721))
    ring = np.column_stack([2 * np.cos(turn) + 0.3, 2 * np.sin(turn) - 0.2, np.zeros_like(turn)])
    moved = gan.screw_displacement(ring, 0.3, -0.2) if kind == "screw" else gan.edge_displacement(ring, 0.3, -0.2, 5.0)
    expected = [0, 0, gan.C_NM] if kind == "screw" else [gan.A_NM, 0, 0]
    assert np.allclose(moved[-1] - moved[0], expected, atol=1e-4)
    assert np.linalg.norm(np.diff(moved, axis=0), axis=1).max() < 0.01
