"""From runs to rows, tables and figures: hand-made results with known means."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_aptdefect.pipeline.benchmark.figures import write_figures
from napari_aptdefect.pipeline.benchmark.names import ANALYZE, BOUND, COORDINATES, FUSED
from napari_aptdefect.pipeline.benchmark.summary import SCORES, Rate, flat_rows, summarize, target_rows
from napari_aptdefect.pipeline.benchmark.tables import levels_markdown, sets_markdown


def mixture(method: str, space: str, level: int, number: int, value: float) -> dict[str, Any]:
    scores = dict.fromkeys((name for name in SCORES if name != "seconds"), value)
    target = {
        "class": "void",
        "kind": "void",
        "visible": True,
        "n_ions": 50,
        "iou": value,
        "iou_ceiling": 0.8,
        "named": True,
        "met": 0.9,
    }
    return run(method, space, level, "mixture", number) | {
        "scores": scores
        | {
            "n_on_controls": 1,
            "n_hidden": 2,
            "n_hidden_claimed": 1,
            "n_ions": 1000,
            "claims": {"probability": [0.9, 0.8, 0.3], "right": [True, True, False]},
            "iou": {"void": value},
            "f1": {"void": value},
        }
        | {"targets": [target | {"d_prime": d, "found": d is None or d > 5} for d in (0.5, 3.0, 8.0, None)]}
    }


def without(method: str, space: str, level: int, kind: str, n_false: int) -> dict[str, Any]:
    scores = {"n_ions": 500_000, "n_false": n_false, "n_on_controls": 0, "share_claimed": 0.0}
    return run(method, space, level, kind, 0) | {"scores": scores}


def run(method: str, space: str, level: int, kind: str, number: int) -> dict[str, Any]:
    names = {"method": method, "space": space, "level": level, "kind": kind, "number": number}
    return names | {"split": "test", "size": "full", "seconds": 2.0}


@pytest.fixture
def runs() -> list[dict[str, Any]]:
    found = []
    for level in (0, 2):
        for method, space in (("DBSCAN", COORDINATES), ("DBSCAN", FUSED), (ANALYZE, ""), (BOUND, "")):
            found += [mixture(method, space, level, n, v) for n, v in enumerate((0.3, 0.5, 0.4))]
            found += [without(method, space, level, kind, 2) for kind in ("empty", "relabeled", "controls")]
    return found


def test_means_and_intervals_are_over_the_wires(runs: list[dict[str, Any]]) -> None:
    rows = summarize(runs)
    assert [(row.method, row.level) for row in rows[:4]] == [("DBSCAN", 0), ("DBSCAN", 0), (ANALYZE, 0), (BOUND, 0)]
    score = rows[0].scores["pq"]
    assert score.mean == pytest.approx(0.4)
    # Student's t for 3 values: 4.3027 * 0.1 / sqrt(3)
    assert score.high - score.mean == pytest.approx(4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert rows[0].false["empty"].per_million == pytest.approx(4)
    assert (rows[0].n_on_controls, rows[0].n_control_wires) == (3, 4)
    assert rows[0].as_dict()["n_wires"] == 3
    assert (rows[0].n_met, rows[0].n_visible) == (12, 12)


def test_claims_that_are_less_sure_than_a_false_one_in_twenty_find_nothing(runs: list[dict[str, Any]]) -> None:
    for one in runs:
        if "claims" in one["scores"]:
            one["scores"]["claims"]["right"] = [False, True, True]
    assert (summarize(runs)[0].n_met, summarize(runs)[0].n_visible) == (0, 12)


def test_an_undefined_score_is_left_out_and_counted(runs: list[dict[str, Any]]) -> None:
    runs[0]["scores"]["recall_visible"] = None
    score = summarize(runs)[0].scores["recall_visible"]
    assert (score.n, score.n_undefined) == (2, 1)
    assert score.mean == pytest.approx(0.45)


@pytest.mark.parametrize(("n", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)])
def test_rates_have_exact_poisson_intervals(n: int, low: float, high: float) -> None:
    """Garwood's intervals as tabulated, for counts in a million ions."""
    assert Rate(n, 1_000_000, 3, 0).interval == pytest.approx((low, high), rel=1e-3)


def test_no_ions_no_rate() -> None:
    rate = Rate(0, 0, 0, 0)
    assert np.isnan([rate.per_million, *rate.interval]).all()


def test_flat_rows(runs: list[dict[str, Any]]) -> None:
    rows = flat_rows(runs)
    assert len(rows) == len(runs)
    assert rows[0]["iou_void"] == 0.3
    assert "targets" not in rows[0]
    targets = target_rows(runs)
    assert len(targets) == 2 * 4 * 3 * 4
    assert targets[3]["d_prime"] == np.inf


def test_the_table_holds_every_method_once_per_level(runs: list[dict[str, Any]]) -> None:
    text = levels_markdown(summarize(runs))
    assert text.count("| 0.40 ± 0.25 |") == 2 * 4 * 4  # every second of eight scores; neighbors share a bar
    assert text.count("### Level") == 2
    assert text.count("4 (0.48 to 14), 1 of 1 wires") == 2 * 4 * 3
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| DBSCAN")}
    headers = {line.count("|") for line in text.splitlines() if line.startswith("| method")}
    assert widths == headers


def test_the_table_of_labeled_sets() -> None:
    one = {"set": "S", "about": "About.", "method": "DBSCAN", "ari": 0.5, "ami": None, "n_found": 3, "n_clusters": 6}
    text = sets_markdown([one | {"n_claims": 9, "seconds": 0.1}])
    assert "| DBSCAN | 0.50 | - | 3 of 6 | 9 | 0.1 |" in text
    assert text.startswith("### S\n\nAbout.")


def test_figures_are_drawn(runs: list[dict[str, Any]], tmp_path: Path) -> None:
    paths = write_figures(summarize(runs), target_rows(runs), tmp_path)
    assert [path.name for path in paths] == ["scores.png", "recall.png", "false.png"]
    for path in paths:
        image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"))
        assert 0.001 < np.mean(image < 128) < 0.3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["false.png", "recall.png", "scores.png"]
