"""Topology of defects within the main job: its table, its picture, and what is said without GUDHI."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.apt.defects import Defect, Defects
from napari_aptdefect.errors import MissingExtraError
from napari_aptdefect.pipeline import AnalysisParams, analyze
from napari_aptdefect.pipeline.defect_topology import TOPOLOGY_SCHEMA, check_topology, defect_topology, topology_table
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.run_folder import write_topology
from napari_aptdefect.stage import drain

HOLES = ((4.0, 4.0, 4.0), (9.0, 9.0, 8.0))


def _job(topology: bool) -> Job:
    return Job(AnalysisParams.model_validate({"steps": {"topology": topology}, "topology": {"n_matrix": 4}}), seed=2)


def _defect(center: tuple[float, ...], rows: np.ndarray, probability: float) -> Defect:
    std = np.full(3, 0.9 / np.sqrt(5))
    return Defect("void", rows, np.array(center), std, np.eye(3), 3.0, probability, 1.0, False)


def _found(n_defects: int = 2) -> SimpleNamespace:
    """What of `Found` is needed: a box of 13 nm with two holes, the second defect the surer one, and one of nothing."""
    xyz = np.random.default_rng(1).uniform(0, 13, (16_000, 3)).astype(np.float32)
    off = np.stack([np.linalg.norm(xyz - hole, axis=1) for hole in HOLES])
    xyz, off = xyz[(off > 0.9).all(axis=0)], off[:, (off > 0.9).all(axis=0)]
    instance = np.zeros(len(xyz), np.int32)
    for k in range(2):
        instance[off[k] < 1.2] = k + 1
    parts = [_defect(HOLES[k], np.flatnonzero(off[k] < 1.2), 0.8 + 0.1 * k) for k in range(2)]
    parts.append(_defect((90.0, 0.0, 0.0), np.zeros(0, np.int64), 0.5))
    used = np.ones(len(xyz) + 1, bool)
    used[-1] = False
    none = np.zeros(len(xyz), np.int8)
    return SimpleNamespace(
        normalized=SimpleNamespace(xyz_nm=np.append(xyz, [[np.nan] * 3], axis=0).astype(np.float32), used=used),
        measured=SimpleNamespace(features=SimpleNamespace(surface_nm=np.minimum(xyz, 13 - xyz).min(axis=1))),
        defects=Defects(tuple(parts[:n_defects]), instance, none, none.astype(np.float32), 0),
    )


def test_off_does_nothing() -> None:
    job = _job(False)
    check_topology(job)
    assert drain(defect_topology(job, _found(), 0, 100)) is None
    assert job.log.entries == []


def test_without_the_extra_it_ends_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gudhi", None)
    stage = analyze(tmp_path / "absent.pos", tmp_path / "run", params=_job(True).params)
    with pytest.raises(MissingExtraError, match=r"pip install 'napari-aptdefect\[topology\]'"):
        next(stage)
    assert list(tmp_path.iterdir()) == []


def test_each_defect_gets_a_row_beside_the_matrix(tmp_path: Path) -> None:
    pytest.importorskip("gudhi", reason="the extra `topology` is not installed")
    job = _job(True)
    found = drain(defect_topology(job, _found(3), 0, 100))
    assert found is not None
    write_topology(tmp_path, topology_table(found))
    table = pq.read_table(tmp_path / "topology.parquet")
    assert table.schema.equals(TOPOLOGY_SCHEMA)
    assert table["defect"].to_pylist() == [1, 2]  # in order of number, though the second was taken first
    assert "topology-left-out" in [issue["code"] for issue in job.issues]
    for row in table.to_pylist():
        assert row["radius_nm"] == 1.5
        assert row["longest_cavities_nm"] > 1.5 * row["longest_cavities_matrix_nm"]
        assert row["chance_cavities"] == pytest.approx(0.2)
        assert row["n_ions"] < row["n_ions_matrix"]
