"""The whole benchmark on small wires: what it writes, that it goes on where it was stopped, the verb, the sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_aptdefect.cli import main
from napari_aptdefect.errors import FormatError, MissingFileError, ParameterError
from napari_aptdefect.pipeline.benchmark import wires
from napari_aptdefect.pipeline.benchmark.benchmark import Benchmark, benchmark
from napari_aptdefect.pipeline.benchmark.labeled_sets import SETS, find_sets, read_labeled, score_set, set_tasks
from napari_aptdefect.pipeline.benchmark.methods import TunedBaseline, all_methods, choose, label_of
from napari_aptdefect.pipeline.benchmark.names import ALL_MATRIX, ANALYZE, BOUND, COORDINATES, FUSED, UNLEARNED
from napari_aptdefect.pipeline.benchmark.plan import BenchmarkParams, plan, quick_params
from napari_aptdefect.pipeline.benchmark.tasks import in_order
from napari_aptdefect.stage import Progress, drain

_METHODS = (ALL_MATRIX, f"DBSCAN ({COORDINATES})", f"DBSCAN ({FUSED})", UNLEARNED, ANALYZE, BOUND)


@pytest.fixture(scope="module")
def params() -> BenchmarkParams:
    changes = {"levels": (3,), "seeds": 1, "n_controls": 0}
    return BenchmarkParams.model_validate(quick_params().model_dump() | changes)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, params: BenchmarkParams) -> Benchmark:
    return drain(benchmark(tmp_path_factory.mktemp("benchmark") / "out", params, methods=_METHODS))


def test_one_row_per_method(found: Benchmark) -> None:
    assert [(row.method, row.space) for row in found.rows] == [
        (ALL_MATRIX, ""),
        ("DBSCAN", COORDINATES),
        ("DBSCAN", FUSED),
        (UNLEARNED, ""),
        (ANALYZE, ""),
        (BOUND, ""),
    ]
    by_name = {(row.method, row.space): row for row in found.rows}
    nothing, bound = by_name[ALL_MATRIX, ""], by_name[BOUND, ""]
    assert nothing.scores["accuracy"].mean == nothing.scores["majority_accuracy"].mean
    assert nothing.scores["mean_iou"].mean == 0
    assert bound.scores["iou_over_ceiling"].mean == pytest.approx(1)
    assert bound.scores["macro_f1_majority"].mean > nothing.scores["macro_f1_majority"].mean
    for row in (nothing, bound):
        assert row.false["empty"].n == row.false["relabeled"].n == 0
    assert all(row.false["empty"].n_ions > 1000 for row in found.rows)


def test_what_is_written(found: Benchmark) -> None:
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "benchmark.json",
        "benchmark.md",
        "figures",
        "results.parquet",
        "summary.parquet",
        "targets.parquet",
        "tasks",
    ]
    results = pd.read_parquet(found.folder / "results.parquet")
    assert len(results) == 6 * 3
    assert set(results["kind"]) == {"mixture", "empty", "relabeled"}
    targets = pd.read_parquet(found.folder / "targets.parquet")
    assert len(targets) % 6 == 0
    record = json.loads((found.folder / "benchmark.json").read_text())
    assert len(record["tuned"]) == 2
    for fit in record["tuned"].values():
        assert len(fit["state"]["trials"]) == quick_params().budget
    text = (found.folder / "benchmark.md").read_text()
    assert text == found.markdown
    assert text.count("| DBSCAN |") == 8  # two spaces in four tables


def test_a_second_call_does_no_work(found: Benchmark, params: BenchmarkParams, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(wires, "make_wire", never)
    before = (found.folder / "benchmark.md").read_text()
    seen: list[Progress] = []
    drain(benchmark(found.folder, params, methods=_METHODS), seen.append)
    assert "24 of 24 tasks are done already" in seen[0].message
    assert (found.folder / "benchmark.md").read_text() == before


def test_the_verb(found: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--quick", "--levels", "3", "--seeds", "1", "--methods", f"{ALL_MATRIX},{BOUND}", "--json"]
    assert main(["benchmark", "--out", str(found.folder), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in result["summary"]] == [ALL_MATRIX, BOUND]
    assert [Path(path).name for path in result["figures"]] == ["false.png", "recall.png", "scores.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "magic"], "no method magic; there are all matrix, "),
        (["--levels", "4"], "0, 1, 2 and 3"),
        (["--levels", "two"], "give levels such as"),
        (["--sets", "nowhere"], "holds no hiperclust/example_plot.txt"),
    ],
)
def test_wrong_options(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--out", str(tmp_path / "out"), *options]) in (2, 3)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_jobs_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="at least 1, got 0"):
        drain(benchmark(tmp_path, n_jobs=0))


def test_the_plan_tunes_on_validation_wires_only() -> None:
    tasks = in_order(plan(BenchmarkParams(levels=(1, 2), seeds=3, n_validation=2), all_methods()))
    wires_of = {
        kind: [t for t in tasks if t.kind == "wire" and t.recipe["kind"] == kind] for kind in ("mixture", "empty")
    }
    assert {t.recipe["split"] for t in wires_of["mixture"]} == {"validation", "test"}  # nobody trains yet
    assert len(wires_of["mixture"]) == 2 * (3 + 2)
    fits = [t for t in tasks if t.kind == "fit"]
    assert len(fits) == 2 * sum(isinstance(m, TunedBaseline) for m in all_methods())
    for fit in fits:
        assert {need.recipe["split"] for need in fit.needs.values()} == {"validation"}
        assert {need.recipe["level"] for need in fit.needs.values()} == {int(fit.name[-1])}
    assert len({t.key for t in tasks}) == len(tasks)


def test_methods_are_chosen_by_name_or_with_their_space() -> None:
    both = choose(["DBSCAN"])
    assert [m.space for m in both] == [COORDINATES, FUSED]
    assert [label_of(m) for m in choose([f"DBSCAN ({FUSED})"])] == [f"DBSCAN ({FUSED})"]
    names = [label_of(m) for m in choose([])]
    assert len(set(names)) == len(names)


# Labeled sets of others


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Twenty tight balls for the large set and six for the small one, where the real files would be."""
    rng = np.random.default_rng(0)
    for one, n in zip(SETS, (20, 6), strict=True):
        middle = rng.permutation(np.stack(np.meshgrid(*[np.arange(3) * 20.0] * 3), axis=-1).reshape(-1, 3))[:n]
        label = np.repeat(np.arange(1, n + 1), 100)
        table = np.column_stack([middle[label - 1] + rng.normal(0, 0.5, (len(label), 3)), label])
        path = tmp_path / one.file
        path.parent.mkdir(parents=True)
        if path.suffix == ".pos":
            table.astype(">f4").tofile(path)
        else:
            np.savetxt(path, table)
    return tmp_path


def test_a_labeled_set_is_tuned_on_one_half_and_scored_on_the_other(sets: Path) -> None:
    large, small = set_tasks(sets, choose(["DBSCAN", "Gaussian mixture"]), budget=12)
    assert large.recipe["budget"] == 6
    result = score_set(large.recipe)
    assert result["n_clusters"] == 10
    assert result["ari"] == pytest.approx(1, abs=0.05)
    assert result["n_found"] == 10
    assert score_set(small.recipe)["n_clusters"] == 6


def test_a_set_that_is_not_labeled(sets: Path) -> None:
    path = sets / SETS[1].file
    np.ones((5, 4), ">f4").tofile(path)
    assert read_labeled(path)[1].tolist() == [1] * 5
    np.full((5, 4), 0.5, ">f4").tofile(path)
    with pytest.raises(FormatError, match="whole numbers from 1"):
        read_labeled(path)
    path.unlink()
    with pytest.raises(MissingFileError, match="pnnl_optics"):
        find_sets(sets)
