"""A tree of boxes for compiled kernels: which of many small bodies come near a place, in their order."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def box_tree(low_nm: NDArray[np.float64], high_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Build the tree of the boxes of some bodies.

    Parameters
    ----------
    low_nm, high_nm
        Shape (P, 3), nm: corners of the boxes. The tree is good where bodies side by side follow each other.

    Returns
    -------
    Shape (2 L - 1, 6), float64, nm, with L the power of two from P on: three minima, then three maxima. The children of
    node i are 2 i + 1 and 2 i + 2, body j is node L - 1 + j, and nodes that hold none lie apart from everything. Shape
    (0, 6) where there are no bodies.

    Examples
    --------
    >>> corner = np.arange(9.0).reshape(3, 3)
    >>> tree = box_tree(corner, corner + 1)
    >>> tree.shape, tree[0].tolist()
    ((7, 6), [0.0, 1.0, 2.0, 7.0, 8.0, 9.0])
    """
    n = len(low_nm)
    if not n:
        return np.empty((0, 6))
    n_leaves = 1 << (n - 1).bit_length()
    tree = np.empty((2 * n_leaves - 1, 6))
    tree[:, :3], tree[:, 3:] = np.inf, -np.inf
    tree[n_leaves - 1 : n_leaves - 1 + n, :3], tree[n_leaves - 1 : n_leaves - 1 + n, 3:] = low_nm, high_nm
    first = n_leaves // 2 - 1
    while first >= 0:
        children = tree[2 * first + 1 : 4 * first + 3]
        tree[first : 2 * first + 1, :3] = np.minimum(children[::2, :3], children[1::2, :3])
        tree[first : 2 * first + 1, 3:] = np.maximum(children[::2, 3:], children[1::2, 3:])
        first = (first + 1) // 2 - 1 if first else -1
    return tree


@njit(cache=True, nogil=True)
def next_body(tree: NDArray[np.float64], box: NDArray[np.float64], start: int) -> int:
    """Find the first body from `start` on whose box meets or touches a box, shape (6,); -1 for none."""
    first_leaf = len(tree) >> 1
    if len(tree) == 0 or first_leaf + start >= len(tree):
        return -1
    node = 0 if start == 0 else next_node(first_leaf + start - 1)
    while node >= 0:
        apart = False
        for a in range(3):
            apart |= tree[node, a] > box[3 + a] or tree[node, 3 + a] < box[a]
        if apart:
            node = next_node(node)
        elif node >= first_leaf:
            return node - first_leaf
        else:
            node = 2 * node + 1
    return -1


@njit(cache=True, nogil=True, inline="always")
def next_node(node: int) -> int:
    """Node that follows a node and all below it, on the way from left to right; -1 after the last."""
    # right children have even numbers
    while node > 0 and node & 1 == 0:
        node = (node - 1) >> 1
    return node + 1 if node > 0 else -1


@njit(cache=True, nogil=True, inline="always")
def distance2_to(tree: NDArray[np.float64], node: int, box: NDArray[np.float64]) -> float:
    """Squared distance between the box of a node and a box, shape (6,), nm2; 0 where they meet."""
    away2 = 0.0
    for a in range(3):
        away = max(tree[node, a] - box[3 + a], 0.0, box[a] - tree[node, 3 + a])
        away2 += away * away
    return away2
