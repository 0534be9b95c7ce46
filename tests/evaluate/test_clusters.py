"""Names for clusters: one to one, by majority, and what gets none."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.evaluate.clusters import compact, name_clusters
from napari_aptdefect.evaluate.labels import Truth


def test_one_class_goes_to_one_cluster() -> None:
    true = np.array([0] * 6 + [5] * 5)
    cluster = np.array([2, 2, 2, 2, 2, -1, 7, 7, 7, 9, 9])
    names = name_clusters(Truth.from_labels(true, true), cluster)
    assert names.label.tolist() == [2, 7, 9]
    assert names.hungarian.tolist() == [0, 5, 0]  # cluster 9 is left over
    assert names.majority.tolist() == [0, 5, 5]
    assert names.classes(names.majority).tolist() == [0] * 6 + [5] * 5
    assert names.classes(names.hungarian).tolist() == [0] * 6 + [5, 5, 5, 0, 0]
    assert names.as_dict() == {
        "n_clusters": 3,
        "hungarian": {"7": "solute_cluster"},
        "majority": {"7": "solute_cluster", "9": "solute_cluster"},
    }


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        true, cluster = rng.choice([0, 3, 5, 6], 60), rng.integers(0, 4, 60)
        names = name_clusters(Truth.from_labels(true, true), cluster)
        agreed = np.count_nonzero(names.classes(names.hungarian) == true)
        best = max(np.count_nonzero(np.array(order)[cluster] == true) for order in permutations([0, 3, 5, 6]))
        assert agreed >= best  # unmatched clusters, which become matrix, can only add


def test_a_cluster_without_a_shared_ion_is_matrix() -> None:
    true = np.array([5, 5, 5, 5])
    names = name_clusters(Truth.from_labels(true, true), [1, 1, 1, 2])
    assert names.hungarian.tolist() == [5, 0]


def test_no_cluster_at_all() -> None:
    true = np.array([0, 5])
    names = name_clusters(Truth.from_labels(true, true), [-1, -1])
    assert len(names.label) == 0
    assert names.classes(names.hungarian).tolist() == [0, 0]


@pytest.mark.parametrize("offset", [0, 10**9])
def test_compact(offset: int) -> None:
    label, row = compact(np.array([3, -1, 8, 3]) + np.array([1, 0, 1, 1]) * offset, "cluster")
    assert label.tolist() == [3 + offset, 8 + offset]
    assert row.tolist() == [0, -1, 1, 0]


def test_compact_of_nothing() -> None:
    label, row = compact([], "cluster")
    assert (len(label), len(row)) == (0, 0)


@pytest.mark.parametrize(("labels", "says"), [([-2, 0], "-1 for none"), ([0.5, 1.0], "whole numbers")])
def test_refuses(labels: list[float], says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        name_clusters(Truth.from_labels([0, 0], [0, 0]), labels)


def test_refuses_another_number_of_ions() -> None:
    with pytest.raises(ShapeError, match="truth holds 2 ions and the claim 3"):
        name_clusters(Truth.from_labels([0, 0], [0, 0]), [0, 0, 0])
