from __future__ import annotations

import pytest

from napari_aptdefect._napari.analysis import free_run_folder, make_request, run_analysis
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Progress, drain


def test_a_run_folder_that_is_taken_is_not_proposed(pos):
    first = free_run_folder(pos)
    assert first == pos.parent / "wire_run1"
    first.mkdir()
    assert free_run_folder(pos) == pos.parent / "wire_run2"


def test_what_is_missing_is_said_before_anything_starts(pos, tmp_path, job_params):
    with pytest.raises(ParameterError, match="choose an ion cloud"):
        make_request(None, None, None, job_params, 0)
    with pytest.raises(ParameterError, match=r"no file .*absent\.pos"):
        make_request(tmp_path / "absent.pos", None, None, job_params, 0)
    with pytest.raises(ParameterError, match="no range file"):
        make_request(pos, tmp_path / "absent.rrng", None, job_params, 0)
    with pytest.raises(ParameterError, match="exists"):
        make_request(pos, None, pos, job_params, 0)


def test_the_analysis_runs_without_a_window(pos, rrng, tmp_path, job, job_params):
    steps: list[Progress] = []
    request = make_request(pos, rrng, tmp_path / "out", job_params, 5, drawn_ions=300)
    outcome = drain(run_analysis(request, job), steps.append)
    assert outcome.run.path == tmp_path / "out"
    assert outcome.run.record["seed"] == 5
    assert outcome.summary == "1 defect in 4,000 ions"
    assert steps[-1].message == "drawing the result"
    assert any("defect ions" in attributes["name"] for _, attributes, _ in outcome.layers)


def test_a_closed_analysis_leaves_nothing_behind(pos, job, job_params):
    stage = run_analysis(make_request(pos, None, pos.parent / "out", job_params, 0), job)
    next(stage)
    assert len(list(pos.parent.iterdir())) == 2
    stage.close()
    assert list(pos.parent.iterdir()) == [pos]
