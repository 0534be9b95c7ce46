"""How alike two partitions are, corrected for chance; from the few pairs of labels that meet, not from the ions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DENSE = 1 << 20  # pairs of labels up to which a full table is counted instead of sorting


@dataclass(frozen=True, eq=False)
class Contingency:
    """Ions of each pair of labels that occurs.

    Parameters
    ----------
    row, column
        The two labels of each pair, shape (P,), int64, -1 for none.
    count
        Ions with both, shape (P,), int64, positive.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    count: NDArray[np.int64]

    @property
    def n_ions(self) -> int:
        """All ions."""
        return int(self.count.sum())

    @property
    def by_row(self) -> NDArray[np.int64]:
        """Ions of each row label that occurs, ascending by label."""
        return _summed(self.row, self.count)

    @property
    def by_column(self) -> NDArray[np.int64]:
        """Ions of each column label that occurs, ascending by label."""
        return _summed(self.column, self.count)


def contingency(row: NDArray[np.integer], column: NDArray[np.integer]) -> Contingency:
    """Count the ions of each pair of labels.

    Parameters
    ----------
    row, column
        Labels of each ion, shape (N,), integer from -1, with few gaps.
    """
    n_rows, n_columns = int(row.max(initial=-1)) + 2, int(column.max(initial=-1)) + 2
    if n_rows * n_columns <= _DENSE:
        pair = (row.astype(np.int64) + 1) * n_columns + column + 1
        counts = np.bincount(pair, minlength=1)
        found = np.flatnonzero(counts)
        return Contingency(found // n_columns - 1, found % n_columns - 1, counts[found].astype(np.int64))
    inside = np.flatnonzero((row >= 0) | (column >= 0))  # most ions are in neither, so they are never sorted
    pair = (row[inside].astype(np.int64) + 1) * n_columns + column[inside] + 1
    found, counts = np.unique(pair, return_counts=True)
    if len(inside) < len(row):
        found, counts = np.append(0, found), np.append(len(row) - len(inside), counts)
    return Contingency(found // n_columns - 1, found % n_columns - 1, counts.astype(np.int64))


def adjusted_rand(table: Contingency) -> float:
    """Adjusted Rand index; 1 for equal partitions, 0 on average for independent ones, NaN without ions.

    Notes
    -----
    With the pairs of ions that are together in both partitions, s, in the first, a, and in the second, b, among t
    pairs: (s - ab/t) / ((a + b)/2 - ab/t). Two partitions that both put all ions together, or all apart, agree: 1.

    References
    ----------
    Hubert, Arabie 1985, doi 10.1007/BF01908075.
    """
    n = table.n_ions
    if n == 0:
        return math.nan
    together, first, second = (_pairs(c) for c in (table.count, table.by_row, table.by_column))
    expected = first * second / (n * (n - 1) / 2) if n > 1 else 0.0
    most = (first + second) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)


def adjusted_mutual_information(table: Contingency) -> float:
    """Adjusted mutual information; 1 for equal partitions, 0 on average for independent ones, NaN without ions.

    Notes
    -----
    (MI - E[MI]) / ((H1 + H2)/2 - E[MI]) with the mutual information, its expectation under random labels of the same
    sizes, and the entropies. The expectation takes a sum over all pairs of labels and sizes: cheap for a few classes,
    out of reach for thousands of instances among millions of ions.

    References
    ----------
    Vinh, Epps, Bailey 2010, JMLR 11, 2837-2854.
    """
    n = table.n_ions
    if n == 0:
        return math.nan
    first, second = table.by_row, table.by_column
    if len(table.count) == len(first) == len(second):  # equal partitions, where the formula may be 0/0
        return 1.0
    if min(len(first), len(second)) == 1:  # one label tells nothing
        return 0.0
    from scipy.sparse import coo_matrix
    from sklearn.metrics.cluster import expected_mutual_information, mutual_info_score

    rows, columns = (np.unique(labels, return_inverse=True)[1] for labels in (table.row, table.column))
    matrix = coo_matrix((table.count, (rows, columns)), shape=(len(first), len(second))).tocsr()
    mutual = float(mutual_info_score(None, None, contingency=matrix))
    expected = float(expected_mutual_information(matrix, n))
    return (mutual - expected) / ((_entropy(first) + _entropy(second)) / 2 - expected)


def _summed(label: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    _, place = np.unique(label, return_inverse=True)
    return np.bincount(place, count).astype(np.int64)


def _pairs(count: NDArray[np.int64]) -> float:
    values = count.astype(np.float64)
    return float((values * (values - 1) / 2).sum())


def _entropy(count: NDArray[np.int64]) -> float:
    share = count / count.sum()
    return float(-(share * np.log(share)).sum())
