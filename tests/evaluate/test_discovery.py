"""Recall at a false discovery rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.discovery import discover, lowest_threshold
from napari_aptdefect.evaluate.instances import match_instances
from napari_aptdefect.evaluate.labels import Claim, TrueDefects, Truth

CLUSTER, VOID = DEFECT_CLASSES.index("solute_cluster"), DEFECT_CLASSES.index("void")


@pytest.mark.parametrize(
    ("probability", "right", "limit", "expected"),
    [
        ([0.9, 0.8, 0.7], [1, 1, 1], 0.0, 0.7),
        ([0.9, 0.8, 0.7], [1, 1, 0], 0.0, 0.8),
        ([0.9, 0.8, 0.7], [1, 1, 0], 1 / 3, 0.7),  # the limit itself is allowed
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1], 0.25, 0.6),  # beyond a worse threshold
        ([0.9, 0.9, 0.8], [0, 1, 1], 0.1, math.nan),
        ([0.5, 0.5, 0.5], [1, 1, 0], 0.1, math.nan),  # tied claims are kept together or not at all
        ([0.9, 0.5, 0.5], [1, 1, 0], 0.1, 0.9),
        ([0.2], [0], 1.0, 0.2),
        ([], [], 0.1, math.nan),
    ],
)
def test_threshold(probability: list[float], right: list[int], limit: float, expected: float) -> None:
    found = lowest_threshold(np.array(probability), np.array(right, bool), limit)
    assert found == pytest.approx(expected, nan_ok=True)


claims = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), max_size=12)


@settings(derandomize=True, deadline=None)
@given(claims, st.floats(0, 1))
def test_threshold_is_the_lowest_that_keeps_the_limit(pairs: list[tuple[float, bool]], limit: float) -> None:
    probability, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs], bool)
    good = [t for t in set(probability) if np.mean(~right[probability >= t]) <= limit]
    assert lowest_threshold(probability, right, limit) == pytest.approx(min(good, default=math.nan), nan_ok=True)


def specimen() -> tuple[Truth, Claim]:
    """Four targets of five ions, of which two clusters and a void are seen perfectly, one void under a wrong name.

    Targets: 1 cluster (visible), 2 cluster (hidden), 3 void (visible, ceiling 0.4), 4 void (visible), 5 void, no ion.
    Claims: 1 (p 0.9) = target 1; 2 (0.8) = 2; 3 (0.7) = 3; 4 (0.6) = target 4 as cluster; 6 (0.95) in a structure.
    """
    defects = TrueDefects(
        [1, 2, 3, 4, 5, 6],
        [CLUSTER, CLUSTER, VOID, VOID, VOID, 0],
        [0, 0, 0, 0, 0, 2],
        [True, False, True, True, False, False],
        [0.9, 0.9, 0.4, 0.8, np.nan, np.nan],
        [9, 1, 9, 9, 1, np.nan],
    )
    instance = np.repeat([1, 2, 3, 4, 6, 0], 5)
    truth = Truth(np.array([0, CLUSTER, CLUSTER, VOID, VOID, VOID, 0])[instance], instance, defects)
    claimed = np.array([0, CLUSTER, CLUSTER, VOID, CLUSTER, 0, CLUSTER])[instance]
    return truth, Claim.from_labels(claimed, instance, [0.9, 0.8, 0.7, 0.6, 0.95])


def test_the_class_counts() -> None:
    found = discover(match_instances(*specimen()), class_aware=True, limit=0.1)
    assert (found.threshold, found.rate, found.n_kept, found.n_false) == (0.7, 0.0, 3, 0)
    counts = {scope: {name: (f.n, f.n_found) for name, f in rows.items()} for scope, rows in found.recall.items()}
    assert counts == {
        "all": {"pooled": (5, 3), "solute_cluster": (2, 2), "void": (3, 1)},
        "visible": {"pooled": (3, 2), "solute_cluster": (1, 1), "void": (2, 1)},
        "reachable": {"pooled": (2, 1), "solute_cluster": (1, 1), "void": (1, 0)},
    }


def test_a_higher_limit_keeps_the_claim_under_a_wrong_name() -> None:
    found = discover(match_instances(*specimen()), class_aware=True, limit=0.25)
    assert (found.threshold, found.rate, found.n_kept, found.n_false) == (0.6, 0.25, 4, 1)


def test_any_class() -> None:
    found = discover(match_instances(*specimen()), class_aware=False, limit=0.0)
    assert (found.threshold, found.n_kept) == (0.6, 4)
    assert found.recall["visible"]["pooled"].recall == 1.0


def test_no_claims_and_no_targets() -> None:
    zeros = np.zeros(3, int)
    found = discover(match_instances(Truth.from_labels(zeros, zeros), Claim.from_labels(zeros, zeros)), True, 0.1)
    assert math.isnan(found.threshold)
    assert math.isnan(found.rate)
    assert math.isnan(found.recall["all"]["pooled"].recall)


def test_no_threshold_keeps_nothing() -> None:
    truth = Truth.from_labels([VOID, VOID, 0, 0], [1, 1, 0, 0])
    claim = Claim.from_labels([VOID, VOID, VOID, VOID], [1, 1, 2, 2])
    found = discover(match_instances(truth, claim), True, 0.1)
    assert (found.n_kept, found.recall["all"]["pooled"].recall) == (0, 0.0)
