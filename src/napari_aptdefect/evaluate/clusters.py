"""From clusters without names to classes: one to one (Hungarian method) or by majority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.evaluate.checks import check_equal_length
from napari_aptdefect.evaluate.labels import Truth

_N_CLASSES = len(DEFECT_CLASSES)


@dataclass(frozen=True, eq=False)
class ClusterNames:
    """The class that each cluster is given from the truth.

    Parameters
    ----------
    label
        Labels of the clusters, shape (K,), int64, ascending; -1, which means none, is not among them.
    row
        Row of `label` of each ion, shape (N,), int64; -1 for none.
    hungarian
        Class of each cluster when each class goes to one cluster at most, shape (K,), int8; clusters left over are
        matrix.
    majority
        Most frequent true class of each cluster, shape (K,), int8.

    Notes
    -----
    Both take the names from the truth itself, an oracle that flatters methods which don't name what they find.
    """

    label: NDArray[np.int64]
    row: NDArray[np.int64]
    hungarian: NDArray[np.int8]
    majority: NDArray[np.int8]

    def classes(self, of_cluster: NDArray[np.int8]) -> NDArray[np.int8]:
        """Class of each ion when each cluster has the class given, shape (N,); ions without cluster are matrix."""
        return np.append(of_cluster, np.int8(0))[self.row]

    def as_dict(self) -> dict[str, Any]:
        """Gather the names by cluster label."""
        return {
            "n_clusters": len(self.label),
            "hungarian": _named(self.label, self.hungarian),
            "majority": _named(self.label, self.majority),
        }


def name_clusters(truth: Truth, cluster: ArrayLike) -> ClusterNames:
    """Match clusters to classes over the ions that are scored.

    Parameters
    ----------
    truth
        The truth.
    cluster
        Cluster label of each ion in file order, shape (N,), integer; -1 for none.

    Raises
    ------
    ShapeError
        If the numbers of ions differ or the labels are not whole numbers.

    Notes
    -----
    The Hungarian method picks the assignment of clusters to classes, one to one, with the greatest number of ions on
    which both agree. A cluster that gets no class, or one with which it shares no ion, is matrix. The matrix is one of
    the classes. Ties of the majority go to the class with the lower code, so to the matrix first.

    References
    ----------
    Kuhn 1955, doi 10.1002/nav.3800020109; Crouse 2016, doi 10.1109/TAES.2016.140952 (the algorithm used).
    """
    from scipy.optimize import linear_sum_assignment

    label, row = compact(cluster, "cluster")
    check_equal_length(len(truth), len(row))
    counted = (row >= 0) & truth.scored
    pair = row[counted] * _N_CLASSES + truth.scored_class[counted]
    counts = np.bincount(pair, minlength=len(label) * _N_CLASSES).reshape(-1, _N_CLASSES)
    hungarian = np.zeros(len(label), np.int8)
    rows, codes = linear_sum_assignment(counts, maximize=True)
    shared = counts[rows, codes] > 0
    hungarian[rows[shared]] = codes[shared]
    return ClusterNames(label, row, hungarian, counts.argmax(axis=1).astype(np.int8))


def compact(labels: ArrayLike, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number labels from 0 without gaps.

    Parameters
    ----------
    labels
        Shape (N,), integer; -1 means none.
    name
        What they are, for the error.

    Returns
    -------
    The labels without -1, ascending, shape (K,), and the position of each ion's label among them, shape (N,), -1 for
    none.
    """
    array = np.asarray(labels)
    if array.size and array.dtype.kind not in "iu":
        raise ShapeError(f"{name} must hold whole numbers, got dtype {array.dtype}")
    array = as_vector(array, name, dtype=np.int64)
    if len(array) and int(array.min()) < -1:
        raise ShapeError(f"{name} must hold labels from 0 and -1 for none, got {int(array.min())}")
    highest = int(array.max(initial=-1))
    if highest > 4 * len(array) + 1024:  # too sparse for a table
        found, inverse = np.unique(array, return_inverse=True)
        n_none = int(len(found) > 0 and found[0] == -1)
        return found[n_none:], np.asarray(inverse - n_none)
    present = np.zeros(highest + 2, bool)
    present[array] = True  # -1 marks the last entry, which no label has
    present[-1] = False
    label = np.flatnonzero(present)
    place = np.full(highest + 2, -1, np.int64)
    place[label] = np.arange(len(label))
    return label, place[array]


def _named(label: NDArray[np.int64], codes: NDArray[np.int8]) -> dict[str, str]:
    named = np.flatnonzero(codes)
    return {str(int(label[k])): DEFECT_CLASSES[codes[k]] for k in named}
