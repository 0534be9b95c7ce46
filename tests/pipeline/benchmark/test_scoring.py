"""Scores of answers about a wire built by hand: forty ions in a row, thirty of them in the core."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.evaluate.baselines import Clustering
from napari_aptdefect.evaluate.labels import Claim, TrueDefects, Truth
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.pipeline.benchmark.scoring import objective, score_false, score_mixture
from napari_aptdefect.pipeline.benchmark.wires import ReadyWire, in_core

_VOID, _CLUSTER, _FAULT = (DEFECT_CLASSES.index(name) for name in ("void", "solute_cluster", "stacking_fault"))
_N = 40


@pytest.fixture
def wire() -> ReadyWire:
    """Ions 5 to 34 are the core; a void of ions 10-14, a cluster of 15-24, a hidden fault of 25-29."""
    core = np.zeros(_N, bool)
    core[5:35] = True
    instance = np.zeros(_N, np.int32)
    instance[10:15], instance[15:25], instance[25:30] = 1, 2, 3
    defects = TrueDefects(
        np.array([1, 2, 3], np.int32),
        np.array([_VOID, _CLUSTER, _FAULT], np.int8),
        np.array([0, 0, 1], np.int8),
        np.array([True, False, False]),
        np.array([0.8, 0.6, np.nan]),
        np.array([np.inf, 3.0, 0.1]),
    )
    codes = np.append(np.int8(0), defects.class_idx)[instance]
    truth = Truth(codes[core], instance[core], defects, codes[core], instance[core])
    zeros = np.zeros((_N, 3), np.float32)
    specimen = Specimen(zeros, np.zeros(_N, np.int16), ("Ga",), (), zeros[:, :1], None, None, core)
    nothing = Claim.from_labels(np.zeros(_N, np.int8), np.zeros(_N, np.int32))
    facts = {"defects": [{"defect": i, "kind": f"kind {i}"} for i in (1, 2, 3)]}
    return ReadyWire("by hand", specimen, nothing, None, truth, core, facts)


def clustering(*groups: tuple[int, int], partition: bool = False) -> Clustering:
    cluster = np.full(_N, -1, np.int32)
    for label, (start, stop) in enumerate(groups):
        cluster[start:stop] = label
    return Clustering(cluster, cluster + 1, partition)


def test_perfect_clusters_get_their_names_from_the_truth(wire: ReadyWire) -> None:
    answer = clustering((10, 15), (15, 25))
    scores = score_mixture(wire, answer)
    assert objective(wire, answer) == 1
    assert scores["macro_f1_hungarian"] == scores["macro_f1_majority"] == scores["pq"] == scores["ari"] == 1
    assert scores["iou_over_ceiling"] == 1
    assert scores["majority_accuracy"] == pytest.approx(15 / 30)
    assert scores["n_ions"] == 30
    assert scores["recall_visible"] == 1


def test_a_cluster_split_in_two_keeps_only_one_name_by_the_hungarian_method(wire: ReadyWire) -> None:
    scores = score_mixture(wire, clustering((10, 15), (15, 20), (20, 25)))
    assert scores["macro_f1_majority"] == 1
    # Half of the cluster is left to the matrix: F1 of the void 1, of the cluster 2/3, of the matrix 30/35.
    assert scores["macro_f1_hungarian"] == pytest.approx((1 + 2 / 3 + 30 / 35) / 3)
    assert scores["pq"] == pytest.approx(1 / (1 + 2 / 2 + 1 / 2))


def test_targets_tell_what_was_found(wire: ReadyWire) -> None:
    targets = score_mixture(wire, clustering((10, 15)))["targets"]
    assert [t["class"] for t in targets] == ["void", "solute_cluster"]
    assert [t["kind"] for t in targets] == ["kind 1", "kind 2"]
    assert [t["found"] for t in targets] == [True, False]
    assert [t["iou"] for t in targets] == [1, 0]
    assert [t["d_prime"] for t in targets] == [None, 3.0]


def test_a_claim_about_a_control_is_false_and_counted(wire: ReadyWire) -> None:
    codes, instance = np.zeros(30, np.int8), np.zeros(30, np.int32)
    codes[5:10], instance[5:10] = _VOID, 1
    codes[20:25], instance[20:25] = _FAULT, 2
    scores = score_mixture(wire, Claim.from_labels(codes, instance))
    assert (scores["n_claims"], scores["n_false"], scores["n_on_controls"]) == (2, 1, 1)
    assert scores["macro_f1_hungarian"] == scores["macro_f1_majority"] < 1


def test_every_object_is_false_where_nothing_is(wire: ReadyWire) -> None:
    nothing = np.zeros(30, np.int32)
    truth = Truth.from_labels(nothing.astype(np.int8), nothing)
    empty = ReadyWire("empty", wire.specimen, wire.named, None, truth, wire.core, {})
    # One object lies outside the core and is not counted.
    scores = score_false(empty, clustering((0, 5), (10, 12), (20, 25)))
    assert (scores["n_false"], scores["n_ions"]) == (2, 30)
    assert scores["share_claimed"] == pytest.approx(7 / 30)
    # Without noise, all clusters but the largest are claimed.
    assert score_false(empty, clustering((0, 20), (20, 35), (35, 40), partition=True))["n_false"] == 1
    assert score_false(empty, in_core(wire.named, wire.core))["n_false"] == 0


def test_claims_of_the_surface_are_dropped() -> None:
    core = np.array([False, True, True])
    claim = Claim.from_labels([_VOID, _VOID, 0], [4, 7, 0], [0.5, 0.9])
    inside = in_core(claim, core)
    assert inside.number.tolist() == [7]
    assert inside.probability.tolist() == [0.9]
    assert inside.instance.tolist() == [7, 0]


def test_the_rim_of_a_claim_about_a_target_that_is_left_out_is_not_false(wire: ReadyWire) -> None:
    codes, instance = np.zeros(30, np.int8), np.zeros(30, np.int32)
    codes[5:10], instance[5:10] = _VOID, 1  # ions 10-14, the void
    codes[12:24], instance[12:24] = _CLUSTER, 2  # ions 17-28: most of the cluster of d' 3, and four of the matrix
    scores = score_mixture(wire, Claim.from_labels(codes, instance))
    assert scores["visible_macro_f1"] == scores["clear_mean_iou"] == 1
    assert scores["macro_f1_majority"] < 1
    assert (scores["n_hidden_claimed"], scores["n_hidden"]) == (1, 1)
    assert scores["claims"] == {"probability": [1.0], "right": [True]}
    assert [target["met"] for target in scores["targets"]] == [1.0, None]
