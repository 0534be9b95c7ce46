"""What the analysis hands to the full features: the boundaries it found."""

from __future__ import annotations

import numpy as np

from napari_aptdefect.apt.defects import Defect, Defects
from napari_aptdefect.pipeline.feature_tables import _boundaries
from napari_aptdefect.pipeline.planes import Plane, nearest_plane


def _plane(z: float, xyz: np.ndarray, name: str = "stacking_fault") -> Defect:
    rows = np.flatnonzero(np.abs(xyz[:, 2] - z) < 0.3)
    axes = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]])  # the sign of an axis is arbitrary
    return Defect(name, rows, xyz[rows].mean(axis=0), np.array([3.0, 3, 0.2]), axes, 1.0, 0.99, 3.0, False)


def _all(xyz: np.ndarray, *found: Defect) -> Defects:
    n = len(xyz)
    return Defects(found, np.zeros(n, np.int32), np.zeros(n, np.int8), np.zeros(n, np.float32), 0)


def test_distance_from_the_nearest_plane() -> None:
    xyz = (np.random.default_rng(0).random((20_000, 3)) * [10, 10, 20]).astype(np.float32)
    planes = [_plane(5, xyz), _plane(15, xyz, "grain_boundary"), _plane(10, xyz, "solute_cluster")]
    found = _boundaries(_all(xyz, *planes), xyz)["planar_defect"]
    distance = found.distance_nm
    z = xyz[:, 2]
    np.testing.assert_allclose(distance[z < 9], z[z < 9] - 5, atol=0.05)
    np.testing.assert_allclose(distance[z > 11], z[z > 11] - 15, atol=0.05)

    np.testing.assert_allclose(found.normal, np.tile([0, 0, 1.0], (len(xyz), 1)))
    clear = np.abs(distance) > 2
    above = found.direction[clear, 2] * np.sign(distance[clear])
    assert above.min() > 0.7  # the nearest ion of the plane lies a little beside
    assert np.median(above) > 0.97
    own = np.concatenate([one.rows for one in planes[:2]])
    np.testing.assert_allclose(np.abs(found.direction[own][:, 2]), 1, atol=1e-4)


def test_beside_the_rim_of_a_plane() -> None:
    rng = np.random.default_rng(1)
    disk = np.column_stack([rng.uniform(-2, 2, (4000, 2)), rng.normal(0, 0.1, 4000)]).astype(np.float32)
    tilt = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    plane = Plane(np.zeros(3), -tilt[:, 2], (disk @ tilt.T).astype(np.float32))
    seen = nearest_plane((np.array([[0, 0, 3.0], [5, 0, 0], [4, 0, 2]]) @ tilt.T).astype(np.float32), [plane])
    np.testing.assert_allclose(seen.distance_nm, [3, 0, 2], atol=1e-5)
    np.testing.assert_allclose(seen.normal, np.tile(tilt[:, 2], (3, 1)), atol=1e-6)  # toward larger z
    np.testing.assert_allclose(seen.direction @ tilt[:, 2], [1, 0, 0.5**0.5], atol=0.05)


def test_without_a_plane_all_is_missing() -> None:
    xyz = np.zeros((10, 3), np.float32)
    found = _boundaries(_all(xyz), xyz)["planar_defect"]
    assert np.isnan(found.distance_nm).all()
    assert np.isnan(found.normal).all()
