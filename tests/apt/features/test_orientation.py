"""Regions and boundaries: on shapes whose distances and normals are known, in the frame of the ions and turned."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_aptdefect.apt.features import Boundary, FeatureContext, FeatureSetParams, describe_ions
from napari_aptdefect.apt.features.regions import Prepared, prism_distance
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.data.feature_table import FeatureTable
from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.data.region import PolygonPrism, Region
from napari_aptdefect.data.surface import Surface, boundary_of
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.stage import drain

IONS = [Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),))]
UP = np.array([0.0, 0.0, 1.0])
SQUARE = np.array([[1, 1], [5, 1], [5, 5], [1, 5]])


def described(xyz, species, context, **params: object) -> FeatureTable:
    graph = drain(build_graph(xyz, GraphParams(k=12)))
    wanted = FeatureSetParams(radii_nm=(1.0,), context_nm=1.0, **params)
    return drain(describe_ions(xyz, species, IONS, graph, context, wanted))


def of_region(region: Region, xyz: np.ndarray, axis: np.ndarray = UP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inside, distance, cos = Prepared.of("one", region).describe(np.asarray(xyz, np.float32), axis).T
    return inside, distance, cos


def in_box(xyz: np.ndarray, half: float = 2.0) -> np.ndarray:
    """Signed distance to the cube from 1 to 5, positive inside."""
    outside = np.linalg.norm(np.maximum(np.abs(xyz - 3) - half, 0), axis=1)
    return np.where(outside > 0, -outside, half - np.abs(xyz - 3).max(axis=1))


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_prism_on_each_axis_is_the_same_cube(axis) -> None:
    xyz = np.random.default_rng(5).uniform(-1, 7, (4000, 3)).astype(np.float32)
    prism = PolygonPrism(SQUARE, (1, 5), axis)
    np.testing.assert_allclose(prism_distance(xyz, prism), in_box(xyz), atol=1e-5)
    for direction in np.eye(3):
        inside, distance, cos = of_region(prism, xyz, direction)
        np.testing.assert_array_equal(inside, in_box(xyz) > 0)
        step = 1e-3  # the normal is the way on which the distance falls fastest
        slope = (prism_distance((xyz + step * direction).astype(np.float32), prism) - distance) / step
        smooth = np.abs(slope) < 2
        assert np.median(np.abs(cos[smooth] + slope[smooth])) < 2e-3
        assert np.mean(np.abs(cos + slope) > 0.02) < 0.02  # ions near a ridge


def test_a_concave_polygon_and_open_ends() -> None:
    concave = PolygonPrism(np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]]))
    inside, distance, cos = of_region(concave, [[2, 2, 0], [2, 0.5, 9], [1, 1, 0]])
    assert inside.tolist() == [0, 1, 1]
    assert distance[1] == pytest.approx(0.5)
    assert cos == pytest.approx([0, 0, 0])


@pytest.mark.parametrize("voxel", [(0.25, 0.25, 0.25), (0.25, 0.1, 0.5)])
def test_a_grid_is_the_same_cube_even_beyond_its_rim(voxel) -> None:
    voxel_nm = np.array(voxel)
    shape = np.round(6.5 / voxel_nm).astype(int)
    at = [np.abs((np.arange(n) + 0.5) * v - 3) < 2 for n, v in zip(shape, voxel_nm, strict=True)]
    grid = VoxelGrid(np.einsum("i,j,k->ijk", *at).astype(np.float32), np.zeros(3), voxel_nm)
    xyz = np.random.default_rng(6).uniform(-4, 10, (8000, 3)).astype(np.float32)
    inside, distance, cos = of_region(grid, xyz)
    true = in_box(xyz)
    np.testing.assert_array_equal(inside, true > 0)  # its faces are those of voxels
    far = np.abs(true) > voxel_nm.max() / 2
    np.testing.assert_array_equal(distance[far] > 0, true[far] > 0)
    assert np.abs(distance - true).max() < 1.1 * voxel_nm.max()
    assert np.sqrt(np.mean((distance - true) ** 2)) < 0.5 * voxel_nm.max()
    _, _, exact = of_region(PolygonPrism(SQUARE, (1, 5)), xyz)
    plain = np.sort(np.abs(xyz - 3), axis=1)
    clear = (plain[:, 2] - plain[:, 1] > 0.8) & (np.abs(true) > 0.3)
    assert np.mean(np.abs(cos[clear] - exact[clear])) < 0.05


def test_a_region_that_reaches_the_rim_ends_there() -> None:
    grid = VoxelGrid(np.ones((4, 4, 4), np.float32), np.zeros(3), np.ones(3))
    inside, distance, cos = of_region(grid, [[2, 2, 2], [2, 2, 3.8], [2, 2, 6]])
    assert inside.tolist() == [1, 1, 0]
    assert distance == pytest.approx([1.5, 0.2, -2], abs=0.26)
    assert cos[1:] == pytest.approx([1, 1])
    with pytest.raises(EmptySelectionError, match="no voxel of the region one"):
        of_region(VoxelGrid(np.zeros((4, 4, 4), np.float32), np.zeros(3), np.ones(3)), [[0, 0, 0]])


def sheet(turn: np.ndarray | None = None) -> Surface:
    """The square from 1 to 5 at z = 3 and in triangles of 0.5 nm, higher values above."""
    ticks = np.linspace(1, 5, 9)
    corners = np.stack([*np.meshgrid(ticks, ticks, [3.0], indexing="ij")], axis=-1).reshape(-1, 3)
    first = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    triangles = np.concatenate(
        [np.stack([first, first + 1, first + 9], 1), np.stack([first + 1, first + 10, first + 9], 1)]
    )
    return Surface((corners if turn is None else corners @ turn.T).astype(np.float32), triangles.astype(np.int32), 0.5)


def test_a_sheet_has_distance_normal_and_direction() -> None:
    xyz = np.array([[3, 3, 4], [3, 3, 2.5], [6, 3, 4], [5.5, 3, 3.0], [3, 3, 30], [3, 3, 3], [np.nan, 0, 0]])
    found = boundary_of(xyz, sheet(), 5.0)
    np.testing.assert_allclose(found.distance_nm, [1, -0.5, 2**0.5, 0.5, np.nan, 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.normal[:4], np.tile(UP, (4, 1)), atol=1e-6)
    np.testing.assert_allclose(found.direction[:4, 2], [1, -1, 0.5**0.5, 0], atol=1e-6)
    assert np.isnan(found.normal[[4, 6]]).all()
    assert np.isnan(found.direction[4:]).all()
    with pytest.raises(ShapeError, match="normals"):
        Boundary(found.distance_nm, found.normal[:3], found.direction)


@pytest.fixture(scope="module")
def wire() -> tuple[np.ndarray, np.ndarray]:
    """Density and share of N rise with z; the axis of the wire is the longest one."""
    rng = np.random.default_rng(8)
    z = 12 * np.sqrt(rng.uniform(0.1, 1, 12_000))
    xyz = np.column_stack([rng.uniform(0, 6, (len(z), 2)), z]).astype(np.float32)
    return xyz, (rng.random(len(z)) < 0.05 + 0.07 * z).astype(int)


def test_orientation_of_a_boundary(wire) -> None:
    xyz, species = wire
    lying = boundary_of(xyz, sheet(), 20.0)
    standing = Surface(sheet().vertices_nm[:, [2, 0, 1]], sheet().triangles, 0.5)  # across x
    context = FeatureContext(boundaries={"lying": lying, "standing": boundary_of(xyz, standing, 20.0)})
    table = described(xyz, species, context, ratio="N/Ga")
    np.testing.assert_array_equal(table["boundary_lying_distance_nm"], lying.distance_nm)
    np.testing.assert_allclose(table["boundary_lying_normal_cos"], 1, atol=1e-6)
    np.testing.assert_allclose(table["boundary_standing_normal_cos"], 0, atol=1e-6)
    off = np.clip(xyz, [1, 1, 3], [5, 5, 3]) - xyz
    np.testing.assert_allclose(
        table["boundary_lying_direction_cos"], -off[:, 2] / np.linalg.norm(off, axis=1), atol=1e-3
    )
    inner = table["surface_distance_nm"] > 1.5
    for what in ("density", "composition"):
        np.testing.assert_allclose(  # the normal is the axis
            table[f"boundary_lying_{what}_gradient_cos"], table[f"{what}_gradient_cos"], atol=1e-6
        )
        assert np.median(table[f"boundary_lying_{what}_gradient_cos"][inner]) > 0.8
        assert abs(np.median(table[f"boundary_standing_{what}_gradient_cos"][inner])) < 0.2


def test_orientation_turns_with_the_specimen(wire) -> None:
    xyz, species = wire
    table = described(
        xyz, species, FeatureContext(boundaries={"wall": boundary_of(xyz, sheet(), 20.0)}), axis="principal"
    )
    turn = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix()
    turned_xyz = (xyz @ turn.T).astype(np.float32)
    seen = boundary_of(turned_xyz, sheet(turn), 20.0)
    turned = described(turned_xyz, species, FeatureContext(boundaries={"wall": seen}), axis="principal")
    inner = (table["surface_distance_nm"] > 1) & (turned["surface_distance_nm"] > 1)
    for name, tolerance in (("distance_nm", 1e-4), ("normal_cos", 1e-4), ("direction_cos", 1e-2)):
        column = f"boundary_wall_{name}"
        clear = np.abs(table["boundary_wall_distance_nm"]) > 0.01
        np.testing.assert_allclose(turned[column][clear], table[column][clear], atol=tolerance, err_msg=column)
    for what in ("density", "composition"):
        column = f"boundary_wall_{what}_gradient_cos"
        off = np.abs(turned[column] - table[column])[inner]
        assert np.median(off) < 0.1, column  # their gradient is that of a grid, which did not turn
    fixed = described(turned_xyz, species, FeatureContext(boundaries={"wall": seen}))
    np.testing.assert_allclose(fixed["boundary_wall_normal_cos"], (turn @ UP)[2], atol=1e-5)


def test_what_is_nowhere_is_missing(wire) -> None:
    xyz, species = wire[0][:3000], wire[1][:3000]
    table = described(xyz, species, FeatureContext(boundaries={"none": Boundary.unknown(len(xyz))}))
    assert [share for name, share in table.missing_share.items() if name.startswith("boundary_none_")] == [1] * 5
