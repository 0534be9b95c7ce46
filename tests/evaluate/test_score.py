"""All scores of one claim together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.evaluate.labels import Claim, TrueDefects, Truth
from napari_aptdefect.evaluate.score import EvaluateParams, score_claim, score_clustering

CLUSTER, VOID = DEFECT_CLASSES.index("solute_cluster"), DEFECT_CLASSES.index("void")


def truth_with_bound() -> Truth:
    """Ions 0-9 cluster 1, 10-14 control void 2, 15-19 structure 3, 20-39 matrix; the bound misses two ions."""
    defects = TrueDefects([1, 2, 3], [CLUSTER, VOID, 0], [0, 1, 2], [True, False, False], [0.8, 0.5, 1], [9, 1, 9])
    instance = np.repeat([1, 2, 3, 0], [10, 5, 5, 20])
    codes = np.array([0, CLUSTER, VOID, 0])
    bound = instance.copy()
    bound[:2] = 0
    return Truth(codes[instance], instance, defects, codes[bound].astype(np.int8), bound.astype(np.int32))


def test_the_truth_is_perfect_and_the_bound_is_scored_alike() -> None:
    truth = truth_with_bound()
    targets = np.where(truth.scored_class != 0, truth.instance, 0)
    out = score_claim(truth, Claim.from_labels(truth.scored_class, targets)).as_dict()
    assert out["ions"]["macro_f1"] == out["ions"]["balanced_accuracy"] == out["ions"]["accuracy"] == 1
    assert out["instances"]["class_aware"]["pq"] == out["instances"]["class_aware"]["mean_pq"] == 1
    assert out["instances"]["class_aware"]["false_per_million_ions"] == 0
    assert out["instances"]["ari"] == 1
    assert out["bound"]["ions"]["classes"]["solute_cluster"]["iou"] == 0.8
    assert out["bound"]["instances"]["class_aware"]["pq"] == 0.8
    assert out["ions"]["mean_iou_defects_over_bound"] == pytest.approx(1.25)
    assert "bound" not in out["bound"]


def test_the_bound_can_be_left_out() -> None:
    truth = truth_with_bound()
    nothing = Claim.from_labels(np.zeros(40, int), np.zeros(40, int))
    assert "bound" not in score_claim(truth, nothing, bound=False).as_dict()


def test_claiming_everything_true_and_every_control() -> None:
    truth = truth_with_bound()
    out = score_claim(truth, Claim.from_labels(truth.class_idx, truth.instance)).as_dict()
    assert out["instances"]["n_claims_on_controls"] == 1
    assert out["instances"]["class_aware"]["n_false"] == 1
    assert out["instances"]["class_aware"]["false_per_million_ions"] == pytest.approx(1e6 / 40)
    assert out["ions"]["controls"] == {"n_ions": 5, "n_claimed": 5, "share_claimed": 1.0}
    assert out["ions"]["classes"]["void"]["f1"] == 0


def test_instance_ari_is_that_of_scikit_learn_over_the_scored_ions() -> None:
    truth = truth_with_bound()
    rng = np.random.default_rng(0)
    claimed = np.where(rng.random(40) < 0.5, truth.instance, rng.integers(0, 3, 40))
    found = score_claim(truth, Claim.from_labels(np.where(claimed > 0, VOID, 0), claimed)).ari
    kept = truth.instance != 3
    expected = metrics.adjusted_rand_score(np.where(truth.instance == 1, 1, 0)[kept], claimed[kept])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 6])
def test_no_defects_at_all_is_json_all_the_same(n: int) -> None:
    zeros = np.zeros(n, int)
    scores = score_claim(Truth.from_labels(zeros, zeros), Claim.from_labels(zeros, zeros))
    out = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert out["ions"]["macro_f1_defects"] is None
    assert out["instances"]["class_aware"]["pq"] is None
    assert out["instances"]["class_aware"]["at_false_discovery_rate"]["threshold"] is None
    clusters = score_clustering(Truth.from_labels(zeros, zeros), zeros - 1, zeros - 1)
    json.dumps(clusters.as_dict(), allow_nan=False)


def test_controls_only_every_claim_is_false() -> None:
    defects = TrueDefects([1], [VOID], [1], [False], [0.1], [0.5])
    truth = Truth([VOID, VOID, 0, 0], [1, 1, 0, 0], defects)
    out = score_claim(truth, Claim.from_labels([VOID, VOID, 0, 0], [1, 1, 0, 0])).as_dict()
    aware = out["instances"]["class_aware"]
    assert (aware["n_true"], aware["n_false"], aware["pq"], aware["recall"]) == (0, 1, 0.0, None)
    assert out["instances"]["n_claims_on_controls"] == 1


def test_threshold_comes_from_the_parameters() -> None:
    truth = Truth.from_labels([VOID] * 10, [1] * 10)
    claim = Claim.from_labels([VOID] * 6 + [0] * 4, [1] * 6 + [0] * 4)
    assert score_claim(truth, claim).instances.aware.n_true == 1
    assert score_claim(truth, claim, EvaluateParams(iou_threshold=0.6)).instances.aware.n_true == 0


def test_clusters_become_claims() -> None:
    truth = truth_with_bound()
    cluster = np.repeat([4, 4, 2, 2, -1], [8, 2, 5, 5, 20])
    instance = np.repeat([1, 0, 2, 3, 0], [8, 2, 5, 5, 20])
    scores = score_clustering(truth, cluster, instance)
    assert scores.names.as_dict()["hungarian"] == {"4": "solute_cluster"}
    assert scores.hungarian.instances.aware.n_true == 1
    assert scores.hungarian.instances.aware.n_false == 0  # cluster 2 is matrix, so its instances claim nothing
    kept = truth.scored
    assert scores.ari == pytest.approx(metrics.adjusted_rand_score(truth.scored_class[kept], cluster[kept]))
    assert scores.ami == pytest.approx(metrics.adjusted_mutual_info_score(truth.scored_class[kept], cluster[kept]))
    assert scores.majority.bound is None


def test_refuses_another_number_of_ions() -> None:
    truth = truth_with_bound()
    with pytest.raises(ShapeError, match="truth holds 40 ions and the claim 2"):
        score_claim(truth, Claim.from_labels([0, 0], [0, 0]))
    with pytest.raises(ShapeError, match="truth holds 40 ions and the claim 2"):
        score_clustering(truth, np.zeros(40, int), [0, 0])
