from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data.envelope import enveloped, eroded


@pytest.fixture
def cloud():
    rng = np.random.default_rng(2)
    xyz = rng.random((800, 3)).astype(np.float32)
    rows = np.sort(rng.choice(800, 60, replace=False))
    return xyz, rows, rng.integers(-1, 3, 60).astype(np.int32)


def test_ions_join_the_nearest_clustered_ion(cloud):
    xyz, rows, label = cloud
    found = enveloped(xyz, rows, label, 0.15)
    core = rows[label >= 0]
    distance = np.linalg.norm(xyz.astype(float)[:, None] - xyz[core], axis=-1)
    expected = np.where(distance.min(axis=1) <= 0.15, label[label >= 0][distance.argmin(axis=1)], -1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, enveloped(xyz, rows, label, 0.15, workers=3))


def test_without_an_envelope_or_clusters_nobody_joins(cloud):
    xyz, rows, label = cloud
    alone = enveloped(xyz, rows, label, 0.0)
    np.testing.assert_array_equal(alone[rows], label)
    assert (alone >= 0).sum() == (label >= 0).sum()
    assert (enveloped(xyz, rows, np.full(60, -1, np.int32), 0.5) == -1).all()


def test_erosion_takes_ions_beside_the_outside_but_no_core_ions(cloud):
    xyz, rows, label = cloud
    joined = enveloped(xyz, rows, label, 0.2)
    core = np.zeros(800, bool)
    core[rows[label >= 0]] = True
    left = eroded(xyz, joined, core, 0.06)
    outside = xyz[joined < 0].astype(float)
    near = np.linalg.norm(xyz.astype(float)[:, None] - outside, axis=-1).min(axis=1) <= 0.06
    np.testing.assert_array_equal(left, np.where(near & ~core, -1, joined))
    np.testing.assert_array_equal(eroded(xyz, joined, core, 0.0), joined)
