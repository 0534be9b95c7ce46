"""Structural features against lattices whose numbers are in the literature, and against other ways to compute them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from napari_aptdefect.apt.features import FeatureContext, FeatureSetParams, describe_ions
from napari_aptdefect.apt.features.order import triples, wigner_3j
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.voronoi import voronoi_cells
from napari_aptdefect.data.feature_table import FeatureTable
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.stage import drain

_A = 0.4
_SQRT = np.sqrt
_IONS = [Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),))]


def _lattice(cell: np.ndarray, basis: list[tuple[float, float, float]], n: int) -> np.ndarray:
    steps = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([(steps + np.array(b)) @ cell for b in basis]) * _A


_FCC = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
_HEXAGONAL = np.array([[1, 0, 0], [-0.5, _SQRT(3) / 2, 0], [0, 0, _SQRT(8 / 3)]])
LATTICES = {
    "fcc": (np.eye(3), _FCC),
    "bcc": (np.eye(3), [(0, 0, 0), (0.5, 0.5, 0.5)]),
    "sc": (np.eye(3), [(0, 0, 0)]),
    "hcp": (_HEXAGONAL, [(0, 0, 0), (1 / 3, 2 / 3, 0.5)]),
    "zincblende": (
        np.eye(3),
        [
            (a + s, b + s, c + s)
            for a, b, c in ((0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
            for s in (0, 0.25)
        ],
    ),
    "wurtzite": (_HEXAGONAL, [(0, 0, 0), (1 / 3, 2 / 3, 0.5), (0, 0, 0.375), (1 / 3, 2 / 3, 0.875)]),
}


def _described(xyz: np.ndarray, context: FeatureContext | None = None, **params: object) -> FeatureTable:
    xyz = xyz.astype(np.float32)
    graph = drain(build_graph(xyz, GraphParams(k=16)))
    return drain(describe_ions(xyz, np.zeros(len(xyz)), _IONS, graph, context, FeatureSetParams(**params)))


def _inner(name: str, n_shell: int, n: int = 4, **params: object) -> dict[str, np.ndarray]:
    """Features of the ions near the middle of a lattice, turned so that no axis is that of the frame."""
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    xyz = _lattice(*LATTICES[name], n) @ turn.T
    xyz += 7.0 - xyz.mean(axis=0)
    table = _described(xyz, radii_nm=(0.5, 1.0), context_nm=1.0, n_shell=n_shell, **params)
    middle = np.argsort(((xyz - xyz.mean(axis=0)) ** 2).sum(axis=1), kind="stable")[:12]
    return {column: table[column][middle] for column in table.names}


# Steinhardt et al. 1983, Fig. 2 and Table I; Mickel et al. 2013, doi 10.1063/1.4774084, Table I
@pytest.mark.parametrize(
    ("name", "n_shell", "expected"),
    [
        ("fcc", 12, {"q4": 0.19094, "q6": 0.57452, "w4": -0.159317, "w6": -0.013161}),
        ("hcp", 12, {"q4": 0.09722, "q6": 0.48476, "w4": 0.134097, "w6": -0.012442}),
        ("bcc", 14, {"q4": 0.03637, "q6": 0.51069, "w4": 0.159317, "w6": 0.013161}),
        ("sc", 6, {"q4": 0.76376, "q6": 0.35355, "w4": 0.159317, "w6": 0.013161}),
    ],
)
def test_order_parameters_of_lattices(name: str, n_shell: int, expected: dict[str, float]) -> None:
    found = _inner(name, n_shell)
    for column, value in expected.items():
        assert found[column] == pytest.approx(value, abs=2e-4)
    if name != "hcp":  # its two sites see mirrored shells
        for column in ("q4", "q6"):
            assert found[f"{column}_averaged"] == pytest.approx(found[column], abs=1e-4)
        assert found["w6_averaged"] == pytest.approx(found["w6"], abs=1e-4)


def test_wigner_symbols() -> None:
    assert wigner_3j(4, 0, 0) == pytest.approx(np.sqrt(18 / 1001))
    assert wigner_3j(6, 0, 0) == pytest.approx(-np.sqrt(400 / 46189))
    for degree in (4, 6):
        total = sum(
            wigner_3j(degree, a, b) ** 2 for a in range(-degree, degree + 1) for b in range(-degree, degree + 1)
        )
        assert total == pytest.approx(1)  # they are a unitary matrix
        m, weight = triples(degree)
        assert not m.sum(axis=1).any()
        assert len(weight) < (2 * degree + 1) ** 2 / 4


def test_order_parameters_of_random_ions_are_those_of_scipy() -> None:
    xyz = (np.random.default_rng(1).random((600, 3)) * 2.4).astype(np.float32)
    table = _described(xyz, radii_nm=(0.5,), context_nm=0.5)
    symbol = cache(wigner_3j)
    points = xyz.astype(float)
    _, near = cKDTree(points).query(points, 13)
    q = {}
    for degree in (4, 6):
        off = points[near[:, 1:]] - points[:, None]
        theta, phi = np.arccos(off[..., 2] / np.linalg.norm(off, axis=2)), np.arctan2(off[..., 1], off[..., 0])
        m = np.arange(-degree, degree + 1)
        q[degree] = sph_harm_y(degree, m[:, None, None], theta, phi).mean(axis=2).T
        averaged = q[degree][near].mean(axis=1)
        for name, values in ((f"q{degree}", q[degree]), (f"q{degree}_averaged", averaged)):
            expected = np.sqrt(4 * np.pi / (2 * degree + 1) * (np.abs(values) ** 2).sum(axis=1))
            np.testing.assert_allclose(table[name], expected, atol=2e-5)
        total = np.zeros(len(xyz), complex)
        for a in m:
            for b in m:
                if abs(a + b) <= degree:
                    total += symbol(degree, int(a), int(b)) * np.prod(
                        q[degree][:, [a + degree, b + degree, degree - a - b]], axis=1
                    )
        expected = total.real / (np.abs(q[degree]) ** 2).sum(axis=1) ** 1.5
        np.testing.assert_allclose(table[f"w{degree}"], expected, atol=2e-5)


@pytest.mark.parametrize(("name", "cos3"), [("zincblende", -1.0), ("wurtzite", -0.5)])
def test_bonds_of_tetrahedral_lattices(name: str, cos3: float) -> None:
    found = _inner(name, 12, n=3)
    assert found["bond_angle_deg"] == pytest.approx(109.4712, abs=1e-3)
    assert found["bond_angle_std_deg"] == pytest.approx(0, abs=0.01)
    assert found["tetrahedrality"] == pytest.approx(1, abs=1e-4)
    bond = _A * (np.sqrt(3) / 4 if name == "zincblende" else np.sqrt(3 / 8))
    assert found["nearest_distance_nm"] == pytest.approx(bond, rel=1e-4)
    assert found["bond_length_nm"] == pytest.approx(bond, rel=1e-4)
    # 4 ions one bond away and 12 two bonds away, in both
    assert found["path_length_nm"] == pytest.approx(bond * 28 / 16, rel=1e-4)
    assert found["path_detour"] == pytest.approx((4 + 12 * np.sqrt(1.5)) / 16, rel=1e-4)
    assert found["dihedral_cos3"] == pytest.approx(cos3, abs=1e-3)
    assert found["dihedral_sin3"] == pytest.approx(0, abs=1e-2)


def test_shell_of_fcc() -> None:
    found = _inner("fcc", 12)
    assert found["shell_distance_nm"] == pytest.approx(_A / np.sqrt(2), rel=1e-4)
    assert found["shell_spread"] == pytest.approx(0, abs=1e-3)
    # 60, 90, 120 and 180 degrees as 24 : 12 : 24 : 6
    angles = np.repeat([60, 90, 120, 180], [24, 12, 24, 6])
    assert found["shell_angle_deg"] == pytest.approx(angles.mean(), abs=1e-2)
    assert found["shell_angle_std_deg"] == pytest.approx(angles.std(), abs=1e-2)
    skew = ((angles - angles.mean()) ** 3).mean() / angles.std() ** 3
    assert found["shell_angle_skew"] == pytest.approx(skew, abs=1e-3)
    assert found["degree"] == pytest.approx(12)  # 1.3 spacings lie between the first and the second shell


def test_a_mirror_changes_only_the_handedness() -> None:
    xyz = (np.random.default_rng(2).random((3000, 3)) * 4).astype(np.float32)
    table, mirrored = _described(xyz, n_bonds=3), _described(xyz * [1, 1, -1], n_bonds=3)
    np.testing.assert_allclose(mirrored["dihedral_sin3"], -table["dihedral_sin3"], atol=1e-4)
    assert np.abs(table["dihedral_sin3"]).max() > 0.2
    for name in ("dihedral_cos", "dihedral_cos3", "dihedral_resultant", "q6", "w4"):
        np.testing.assert_allclose(mirrored[name], table[name], atol=1e-4)


def test_cells_are_those_given() -> None:
    xyz = (np.random.default_rng(3).random((3000, 3)) * 4).astype(np.float32)
    cells = drain(voronoi_cells(xyz))
    orders = np.tile(np.arange(4, dtype=np.int16), (3000, 1))
    table = _described(xyz, FeatureContext(cells=cells, face_orders=orders))
    np.testing.assert_array_equal(np.isnan(table["cell_volume_nm3"]), ~cells.bounded)
    usable = cells.bounded
    v = cells.volume_nm3[usable]
    np.testing.assert_array_equal(table["cell_volume_nm3"][usable], v)
    np.testing.assert_array_equal(table["cell_faces"][usable], cells.n_faces[usable])
    np.testing.assert_array_equal(table["cell_faces_5"][usable], 2)
    sphere_nm2 = (36 * np.pi * v**2) ** (1 / 3)
    np.testing.assert_allclose(table["cell_sphericity"][usable], sphere_nm2 / cells.area_nm2[usable], rtol=1e-5)
    assert table["cell_sphericity"][usable].max() < 1
    assert table["cell_elongation"][usable].min() > 1
    assert abs(np.median(table["cell_relative_volume"][usable])) < 0.1
    assert _described(xyz).missing_share["cell_volume_nm3"] == 1
    own = _described(xyz, FeatureContext(cells=cells))
    np.testing.assert_array_equal(own["cell_faces_4"][usable], cells.face_orders[usable, 1])
