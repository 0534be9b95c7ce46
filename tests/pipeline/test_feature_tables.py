"""What the analysis hands to the full features: the boundaries it found."""

from __future__ import annotations

import numpy as np

from napari_aptdefect.apt.defects import Defect, Defects
from napari_aptdefect.pipeline.feature_tables import _boundaries


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
    distance = _boundaries(_all(xyz, *planes), xyz)["planar_defect"]
    z = xyz[:, 2]
    np.testing.assert_allclose(distance[z < 9], z[z < 9] - 5, atol=0.05)
    np.testing.assert_allclose(distance[z > 11], z[z > 11] - 15, atol=0.05)


def test_without_a_plane_there_is_no_column() -> None:
    xyz = np.zeros((10, 3), np.float32)
    assert _boundaries(_all(xyz), xyz) == {}
