"""Drifts along the sequence within the main job: reported, corrected, left out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import IonCloud
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.pipeline.sequence import Evaporation, align_masses, align_places, sequence_notes
from napari_aptdefect.stage import drain

_SLICES = {"peak_drift": {"ions_per_slice": 2000}, "drift": {"ions_per_slice": 2000}}


def _job(**steps: str) -> Job:
    return Job(AnalysisParams.model_validate({"steps": steps, **_SLICES}), seed=0)


@pytest.fixture(scope="module")
def cloud() -> IonCloud:
    """Wire of 60,000 ions whose mass scale grows by 1 % and whose axis moves by 2 nm while it evaporates."""
    rng = np.random.default_rng(5)
    n = 60_000
    radius, angle = 10 * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    part = np.sort(rng.random(n))
    xyz = np.stack([radius * np.cos(angle) + 2 * part, radius * np.sin(angle), 60 * part], axis=1)
    mass = rng.choice([14.0, 34.5, 69.0], n) * (1 + 0.01 * part) + rng.normal(0, 0.01, n)
    return IonCloud.from_arrays(xyz, mass, tof_ns=np.arange(n, dtype=np.float32))


def test_masses_are_reported_or_corrected(cloud: IonCloud) -> None:
    job = _job(peak_drift="report")
    same, drift = drain(align_masses(job, cloud, 0, 100))
    assert same is cloud
    assert drift is not None
    assert np.ptp(drift.scale) == pytest.approx(0.01, rel=0.1)
    (note,) = sequence_notes(Evaporation(masses=drift), job)
    assert note.startswith("The mass scale wanders by 9.")
    assert 'steps.peak_drift = "correct"' in note
    aligned, _ = drain(align_masses(_job(peak_drift="correct"), cloud, 0, 100))
    heavy = aligned.mass_da[aligned.mass_da > 60]
    assert heavy.std() < 0.2 * cloud.mass_da[cloud.mass_da > 60].std()
    np.testing.assert_array_equal(aligned.xyz_nm, cloud.xyz_nm)
    np.testing.assert_array_equal(aligned.read("tof_ns"), cloud.read("tof_ns"))


def test_positions_are_reported_or_corrected(cloud: IonCloud) -> None:
    job = _job(drift="report")
    same, drift = drain(align_places(job, cloud.xyz_nm, 0, 100))
    assert same is cloud.xyz_nm
    assert drift is not None
    assert np.ptp(drift.shift[:, 0]) == pytest.approx(2, abs=0.2)
    assert "drifts by 1.9" in sequence_notes(Evaporation(places=drift), job)[0]
    moved, _ = drain(align_places(_job(drift="correct"), cloud.xyz_nm, 0, 100))
    first, last = moved[:5000, 0].mean(), moved[-5000:, 0].mean()
    assert abs(last - first) < 0.3
    assert abs(cloud.xyz_nm[-5000:, 0].mean() - cloud.xyz_nm[:5000, 0].mean()) > 1.5
    np.testing.assert_array_equal(moved[:, 2], cloud.xyz_nm[:, 2])


def test_what_is_off_is_not_measured(cloud: IonCloud) -> None:
    job = _job(drift="off", peak_drift="off")
    assert drain(align_masses(job, cloud, 0, 100))[1] is None
    assert drain(align_places(job, cloud.xyz_nm, 0, 100))[1] is None
    assert sequence_notes(Evaporation(), job) == []
    assert job.log.entries == []


def test_an_order_that_is_none_of_evaporation_is_said(cloud: IonCloud) -> None:
    job = _job()
    shuffled = cloud.xyz_nm[np.random.default_rng(1).permutation(cloud.n_ions)]
    assert drain(align_places(job, shuffled, 0, 100))[1] is None
    assert [issue["code"] for issue in job.issues] == ["z-order"]


def test_too_few_ions_end_nothing(cloud: IonCloud) -> None:
    job = _job()
    few = IonCloud.from_arrays(cloud.xyz_nm[:1500], cloud.mass_da[:1500])
    assert drain(align_masses(job, few, 0, 100)) == (few, None)
    assert drain(align_places(job, few.xyz_nm, 0, 100))[1] is None
    assert {"no-peak-drift", "no-drift"} <= {issue["code"] for issue in job.issues}
