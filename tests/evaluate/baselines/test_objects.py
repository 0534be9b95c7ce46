"""Connected objects against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines import connected_objects


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 90),
    seed=st.integers(0, 10**6),
    link=st.floats(0.05, 4.0),
    k=st.integers(1, 3),
    flat=st.booleans(),
)
def test_same_as_brute_force(n: int, seed: int, link: float, k: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-3, 3, (n, 3)).astype(np.float32)
    if flat:
        xyz[:, 2] = 1.0
    xyz[: n // 5] = xyz[0]  # ions at one place
    cluster = rng.integers(-1, k, n)
    near = (cdist(xyz, xyz) <= link) & (cluster[:, None] == cluster[None, :]) & (cluster >= 0)[:, None]
    _, expected = connected_components(near, directed=False)
    found = connected_objects(xyz, cluster, link)
    assert np.array_equal(found == 0, cluster < 0)
    used = cluster >= 0
    same = expected[used][:, None] == expected[used][None, :]
    assert np.array_equal(found[used][:, None] == found[used][None, :], same)
    sizes = np.bincount(found)[1:]
    assert np.all(sizes > 0)
    assert np.all(np.diff(sizes) <= 0)


def test_a_link_of_exactly_the_distance_holds() -> None:
    xyz = np.array([[0, 0, 0], [0.5, 0, 0], [1.0001, 0, 0]], np.float32)
    assert connected_objects(xyz, np.zeros(3, np.int32), 0.5).tolist() == [1, 1, 2]


def test_a_lattice_is_one_object() -> None:
    xyz = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    cluster = np.zeros(len(xyz), np.int32)
    assert connected_objects(xyz, cluster, 1.0).max() == 1
    assert connected_objects(xyz, cluster, 0.99).max() == len(xyz)
    checkered = xyz.sum(axis=1).astype(np.int32) % 2
    assert connected_objects(xyz, checkered, 1.42).max() == 2


def test_small_objects_get_no_number() -> None:
    xyz = np.array([[0, 0, 0], [0.1, 0, 0], [5, 0, 0]], np.float32)
    assert connected_objects(xyz, np.array([4, 4, 4]), 1.0, min_ions=2).tolist() == [1, 1, 0]
    assert connected_objects(xyz, np.array([-1, -1, -1]), 1.0).tolist() == [0, 0, 0]


def test_link_distances_that_make_no_sense_are_refused() -> None:
    xyz = np.array([[0, 0, 0], [1e6, 1e6, 1e6]], np.float32)
    with pytest.raises(ParameterError, match="must be positive"):
        connected_objects(xyz, np.zeros(2, np.int32), 0.0)
    with pytest.raises(ParameterError, match="too short"):
        connected_objects(xyz, np.zeros(2, np.int32), 1e-6)
