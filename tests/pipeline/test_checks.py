"""Geometric consistency within the main job: flags, weights and what is removed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.consistency import Flag
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.data import IonCloud
from napari_aptdefect.pipeline.checks import check_geometry, consistency_summary, flag_columns
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.stage import drain


@pytest.fixture(scope="module")
def cloud() -> IonCloud:
    """Random box with ten ions recorded twice, at the end, and one without a position."""
    rng = np.random.default_rng(2)
    xyz = (rng.random((20_000, 3)) * 10).astype(np.float32)
    xyz = np.concatenate([xyz, xyz[:10], [[np.nan, 0, 0]]])
    mass = rng.choice([14.0, 69.0], len(xyz))
    mass[20_000:20_010] = mass[:10]
    return IonCloud.from_arrays(xyz, mass)


def _run(cloud: IonCloud, **changes: object) -> tuple[Job, Normalized, object]:
    job = Job(AnalysisParams.model_validate(changes), seed=0)
    normalized = drain(normalize(cloud.xyz_nm, job.params.normalize))
    return job, *drain(check_geometry(job, cloud, normalized, 0, 100))


def test_flags_change_nothing_by_default(cloud: IonCloud) -> None:
    job, normalized, found = _run(cloud)
    assert found.counts["DUPLICATE"] == 20
    assert normalized.used.sum() == 20_010
    assert (found.weight[:20_010] == 1).all()
    assert found.weight[-1] == 0
    assert "duplicate-position" in {issue["code"] for issue in job.issues}
    flags = flag_columns(found, normalized.used, np.arange(20_010) < 7)
    assert flags[0] == Flag.DUPLICATE | Flag.CUT_BY_HULL
    assert flags[-1] == 0
    summary = consistency_summary(found, flags)
    assert summary["flags"] == {"DUPLICATE": 20, "TOO_CLOSE": 0, "CUT_BY_HULL": 7, "TOO_DENSE": 0, "DEPLETED": 0}
    assert summary["bits"]["CUT_BY_HULL"] == 4


def test_removed_ions_are_not_used(cloud: IonCloud) -> None:
    _, normalized, found = _run(cloud, consistency={"duplicates": "remove"})
    assert normalized.used.sum() == 20_000
    assert not normalized.used[20_000:].any()  # the first of two is kept
    assert found.counts["DUPLICATE"] == 20


def test_ions_at_the_surface_can_be_weighed_down(cloud: IonCloud) -> None:
    _, normalized, found = _run(cloud, consistency={"cut_by_hull": "down-weight"})
    cut = found.has(Flag.CUT_BY_HULL)
    depth = np.minimum(normalized.xyz_nm, 10 - normalized.xyz_nm).min(axis=1)
    assert (found.weight[cut] == 0.5).all()
    assert np.median(depth[cut]) < 0.3 < 0.9 < np.median(depth[normalized.used & ~cut])
    assert normalized.used.sum() == 20_010


def test_what_is_off_is_not_checked(cloud: IonCloud) -> None:
    job, normalized, found = _run(cloud, steps={"consistency": False})
    assert found is None
    assert not flag_columns(None, normalized.used, np.ones(20_010, bool)).any()
    assert consistency_summary(None, np.zeros(3, np.uint8)) is None
    assert job.log.entries == []
