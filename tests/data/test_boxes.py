from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data.boxes import box_tree, distance2_to, next_body, next_node


def bodies(n, seed=1):
    rng = np.random.default_rng(seed)
    low = rng.random((n, 3)).round(2)
    return low, low + rng.random((n, 3)).round(2) * 0.3


def found(tree, box):
    rows, i = [], next_body(tree, box, 0)
    while i >= 0:
        rows.append(i)
        i = next_body(tree, box, i + 1)
    return rows


@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 200])
def test_bodies_are_those_whose_boxes_meet_in_their_order(n):
    low, high = bodies(n)
    tree = box_tree(low, high)
    for corner, far in zip(*bodies(50, seed=2), strict=True):
        meets = np.all((low <= far) & (high >= corner), axis=1)
        assert found(tree, np.concatenate([corner, far])) == np.flatnonzero(meets).tolist()


def test_boxes_that_touch_meet():
    tree = box_tree(np.zeros((3, 3)), np.ones((3, 3)))
    assert found(tree, np.array([1.0, 1, 1, 2, 2, 2])) == [0, 1, 2]
    assert found(tree, np.array([1.0 + 1e-12, 1, 1, 2, 2, 2])) == []


def test_no_bodies_are_never_found():
    tree = box_tree(np.empty((0, 3)), np.empty((0, 3)))
    assert tree.shape == (0, 6)
    assert next_body(tree, np.array([-1e9] * 3 + [1e9] * 3), 0) == -1


def test_the_walk_meets_every_node_once_from_left_to_right():
    first_leaf, node, leaves, seen = 7, 0, [], set()
    while node >= 0:
        seen.add(node)
        if node >= first_leaf:
            leaves.append(node)
            node = next_node(node)
        else:
            node = 2 * node + 1
    assert leaves == list(range(7, 15))
    assert seen == set(range(15))


def test_distance_to_a_node_is_that_of_the_boxes():
    low, high = bodies(40)
    tree = box_tree(low, high)
    corner, far = np.full(3, 1.5), np.full(3, 1.6)
    away2 = [distance2_to(tree, 63 + i, np.concatenate([corner, far])) for i in range(40)]
    np.testing.assert_allclose(away2, (np.maximum(corner - high, 0) ** 2).sum(axis=1), rtol=1e-12)
    assert distance2_to(tree, 0, np.concatenate([corner, far])) <= min(away2)
    assert distance2_to(tree, 63, tree[63]) == 0
