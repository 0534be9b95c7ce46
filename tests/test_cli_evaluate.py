"""The verb ``evaluate``: what it prints, and what it says when truth and run don't belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.cli import main
from napari_aptdefect.data import DEFECT_CLASSES, DEFECT_SCHEMA, IonCloud
from napari_aptdefect.io import write
from napari_aptdefect.pipeline.record import sha256_of
from napari_aptdefect.pipeline.run_folder import ION_SCHEMA

N = 60
TRUE = np.repeat([1, 2, 3, 0], [10, 10, 10, 30]).astype(np.int32)  # cluster, vacancy as control, structure
CLAIMED = np.repeat([1, 0, 2, 0, 3, 0], [8, 2, 10, 10, 5, 25]).astype(np.int32)
XYZ = np.random.default_rng(0).uniform(0, 9, (N, 3)).astype(np.float32)


def names(codes: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(DEFECT_CLASSES))


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    folder = tmp_path / "truth"
    folder.mkdir()
    write(IonCloud.from_arrays(XYZ, np.full(N, 69.0, np.float32)), folder / "cloud.pos")
    codes = np.array([0, 5, 1, 0])[TRUE]
    ions = {"ion_idx": np.arange(N), "defect_class": names(codes), "instance": TRUE}
    ions |= {"bound_class": names(codes), "bound_instance": TRUE}
    pq.write_table(pa.table(ions), folder / "truth.parquet")
    defects = {
        "defect": pa.array([1, 2, 3], pa.int32()),
        "defect_class": ["solute_cluster", "vacancy", "matrix"],
        "role": ["target", "control", "structure"],
        "visible": [True, False, True],
        "iou_ceiling": [1.0, 1.0, 1.0],
        "d_prime": [12.0, 0.1, 20.0],
    }
    pq.write_table(pa.table(defects), folder / "defects_truth.parquet")
    return folder


def make_run(path: Path, cloud: Path, xyz: np.ndarray = XYZ) -> Path:
    path.mkdir()
    n = len(xyz)
    codes = np.array([0, 5, 1, 5])[CLAIMED[:n]]
    ions = {
        "ion_idx": np.arange(n),
        **{f"{axis}_nm": xyz[:, i] for i, axis in enumerate("xyz")},
        "mass_da": np.full(n, 69.0),
        "species": pa.array(["Ga"] * n).dictionary_encode(),
        "cluster": np.where(codes == 5, 0, -1),
        "defect": CLAIMED[:n],
        "defect_class": names(codes),
        "defect_probability": np.ones(n),
        "anomaly_score": np.ones(n),
        "flags": np.zeros(n, np.uint8),
    }
    pq.write_table(pa.table(ions).cast(ION_SCHEMA), path / "ions.parquet")
    rows = [
        {"defect": k, "defect_class": c, "n_ions": 1, "probability": p, "touches_surface": False}
        for k, c, p in ((1, "solute_cluster", 0.99), (2, "vacancy", 0.6), (3, "solute_cluster", 0.5))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DEFECT_SCHEMA), path / "defects.parquet")
    entry = {"path": str(cloud), "sha256": sha256_of(cloud), "size": cloud.stat().st_size}
    (path / "run.json").write_text(json.dumps({"input": entry}))
    return path


@pytest.fixture
def run(truth: Path, tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", truth / "cloud.pos")


def evaluated(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["evaluate", *argv, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    result: dict[str, Any] = json.loads(out)
    return result


def test_json(truth: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(capsys, "--truth", str(truth), "--run", str(run))
    ions, instances = result["ions"], result["instances"]
    assert (ions["n_ions"], ions["n_left_out"]) == (50, 10)
    # of 10 cluster ions 8 are claimed, 5 matrix ions are claimed as cluster: IoU 8/15
    assert ions["classes"]["solute_cluster"]["iou"] == pytest.approx(8 / 15)
    assert ions["classes"]["solute_cluster"]["iou_over_bound"] == pytest.approx(8 / 15)
    assert ions["majority_class_accuracy"] == 0.8
    assert ions["controls"]["share_claimed"] == 1.0
    assert instances["class_aware"]["pq"] == pytest.approx(0.8 / 2)  # one true, two false
    assert instances["n_claims_on_controls"] == 1
    found = instances["class_aware"]["at_false_discovery_rate"]
    assert (found["threshold"], found["rate"], found["recall"]["visible"]["pooled"]["recall"]) == (0.99, 0.0, 1.0)
    assert result["bound"]["instances"]["class_aware"]["pq"] == 1.0
    assert result["clusters"]["names"]["hungarian"] == {"0": "solute_cluster"}
    assert result["params"]["iou_threshold"] == 0.5


def test_options(truth: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--truth", str(truth / "truth.parquet"), "--run", str(run), "--iou-threshold", "0.8"]
    assert evaluated(capsys, *argv)["instances"]["class_aware"]["n_true"] == 0
    assert main(["evaluate", *argv[:-1], "0.4"]) == 2
    assert "--iou-threshold 0.4" in capsys.readouterr().err


def test_text(truth: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--truth", str(truth), "--run", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [" ".join(line.split()) for line in lines]
    assert "accuracy 0.660 1.000" in said
    assert "of calling all matrix 0.800 0.800" in said
    assert "solute_cluster 10 13 0.615 0.800 0.696 0.533 1.000 0.533" in said
    assert "controls: 10 of their 10 ions are claimed (1.000)" in said
    assert "PQ 0.400 0.400 1.000" in said
    assert "solute_cluster 1 of 1 1 of 1 1 of 1" in said


def test_a_converted_cloud_is_known_by_its_positions(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pos"
    write(IonCloud.from_arrays(XYZ, np.full(N, 70.0, np.float32)), other)
    mirrored = XYZ * np.float32([1, 1, -1])
    for name, xyz in (("same", XYZ), ("mirrored", mirrored)):
        evaluated(capsys, "--truth", str(truth), "--run", str(make_run(tmp_path / name, other, xyz)))
    shifted = make_run(tmp_path / "shifted", other, XYZ + np.float32(0.01))
    assert main(["evaluate", "--truth", str(truth), "--run", str(shifted)]) == 2
    assert "analyzed another cloud" in capsys.readouterr().err


def test_a_run_of_fewer_ions(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = make_run(tmp_path / "short", truth / "cloud.pos", XYZ[:50])
    assert main(["evaluate", "--truth", str(truth), "--run", str(short)]) == 2
    assert "a run of 50 ions and" in capsys.readouterr().err


def test_without_a_cloud_it_warns(truth: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (truth / "cloud.pos").unlink()
    assert main(["evaluate", "--truth", str(truth), "--run", str(run)]) == 0
    assert "only the number of ions was compared" in capsys.readouterr().err


def test_what_is_missing(truth: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--truth", str(tmp_path / "absent"), "--run", str(run)]) == 3
    assert main(["evaluate", "--truth", str(truth), "--run", str(tmp_path / "absent")]) == 2
    (truth / "defects_truth.parquet").unlink()
    assert main(["evaluate", "--truth", str(truth), "--run", str(run)]) == 3
    assert "defects_truth.parquet: no such file" in capsys.readouterr().err
    assert main(["evaluate", "--truth", str(truth)]) == 2
