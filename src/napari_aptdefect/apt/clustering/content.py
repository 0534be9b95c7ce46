"""An order of vectors by what they hold, so that seeded draws don't depend on the order in which the ions come."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_CHUNK: Final = 1 << 18
_GOLDEN: Final = 0x9E3779B97F4A7C15
_WORD: Final = (1 << 64) - 1


def content_order(vectors: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Order vectors by a seeded hash of their values; the first m are a random draw of m.

    Parameters
    ----------
    vectors
        Shape (N, d), float32, finite.
    seed
        Seed of the hash.

    Returns
    -------
    Rows in the order of their hash, shape (N,), int64. A permuted input gives the same vectors in the same order: equal
    vectors have equal hashes, and different ones share a 64-bit hash with a chance of N^2 / 2^65.

    Notes
    -----
    The bits of the columns are folded one by one into a word that the finalizer of SplitMix64 scrambles (Steele et al.
    2014, doi 10.1145/2660193.2660195).

    Examples
    --------
    >>> rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    >>> turned = rows[::-1].copy()
    >>> np.array_equal(rows[content_order(rows, 0)], turned[content_order(turned, 0)])
    True
    """
    word = np.empty(len(vectors), np.uint64)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK] + np.float32(0)  # makes -0 the 0 that it equals
        bits = np.ascontiguousarray(part, np.float32).view(np.uint32).astype(np.uint64)
        state = np.full(len(part), _scrambled(seed & _WORD), np.uint64)
        for column in bits.T:
            state = _mixed(state ^ (column * np.uint64(_GOLDEN)))
        word[start : start + _CHUNK] = state
    return np.argsort(word, kind="stable")


def _scrambled(seed: int) -> np.uint64:
    return np.uint64(_mixed(np.array([seed], np.uint64))[0])


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = word + np.uint64(_GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
