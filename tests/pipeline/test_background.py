"""Background of the mass spectrum within the main job: reported, removed, left out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_aptdefect.apt.ranging import Ranging, identify
from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable, Ion, IonCloud, MassRange, RangeTable
from napari_aptdefect.pipeline.background import background_notes, background_summary, kept_by_mass, measure_background
from napari_aptdefect.pipeline.finding import find
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.outputs import ion_columns, summarize
from napari_aptdefect.pipeline.params import AnalysisParams
from napari_aptdefect.stage import drain

TABLE = RangeTable(
    (Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),)), Ion("Mg", (("Mg", 1),))),
    (MassRange(68.6, 69.4, 0), MassRange(13.8, 14.3, 1), MassRange(23.8, 24.3, 2)),
)
N_NOISE = 2000


@pytest.fixture(scope="module")
def cloud() -> IonCloud:
    """Box of 10 nm with 10,000 ions of Ga and N and 2000 random arrivals at random places."""
    rng = np.random.default_rng(3)
    mass = np.where(rng.random(12_000) < 0.5, 69.0, 14.0) + rng.normal(0, 0.03, 12_000)
    noise = rng.permutation(12_000) < N_NOISE
    mass[noise] = (np.sqrt(100) * rng.random(N_NOISE)) ** 2
    return IonCloud.from_arrays(rng.random((12_000, 3)) * 10, mass)


@pytest.fixture(scope="module")
def ranging(cloud: IonCloud) -> Ranging:
    return drain(identify(cloud, TABLE))


def _job(how: str) -> Job:
    return Job(AnalysisParams.model_validate({"steps": {"mass_background": how}}), seed=0)


def test_off_measures_nothing(cloud: IonCloud, ranging: Ranging) -> None:
    job = _job("off")
    assert drain(measure_background(job, cloud, TABLE)) is None
    assert kept_by_mass(job, ranging) is None
    assert background_notes(None, ranging, job) == []
    assert background_summary(None, ranging) is None
    assert job.log.entries == []
    assert job.issues == []


def test_report_says_how_much_and_removes_nothing(cloud: IonCloud, ranging: Ranging) -> None:
    job = _job("report")
    found = drain(measure_background(job, cloud, TABLE))
    assert found is not None
    assert kept_by_mass(job, ranging) is None
    (note,) = background_notes(found, ranging, job)
    assert "which ones can't be told" in note
    assert found.random_share == pytest.approx(N_NOISE / 12_000, rel=0.1)
    summary = background_summary(found, ranging)
    assert summary is not None
    json.dumps(summary, allow_nan=False)
    magnesium = next(row for row in summary["ranges"] if row["ion"] == "Mg")
    assert magnesium["count"] > 3
    assert abs(magnesium["signal_to_noise"]) < 3
    assert magnesium["background_probability"] > 0.5
    shares = {row["element"]: row["fraction"] for row in summary["composition"]}
    assert shares["Mg"] < ranging.counts[2] / ranging.n_ranged
    assert shares["Ga"] == pytest.approx(0.5, abs=0.02)


def test_a_spectrum_that_ranges_cover_ends_nothing(cloud: IonCloud, ranging: Ranging) -> None:
    job = _job("report")
    everything = RangeTable(TABLE.ions, (MassRange(0, 300, 0),))
    assert drain(measure_background(job, cloud, everything)) is None
    assert [issue["code"] for issue in job.issues] == ["no-mass-background"]


def test_removed_ions_have_no_part_but_keep_their_rows(cloud: IonCloud, ranging: Ranging) -> None:
    steps = {"mass_background": "remove", "voids": False, "structure": False, "hull": False}
    found = drain(find(cloud, TABLE, AnalysisParams.model_validate({"steps": steps})))
    unranged = ranging.ion_idx < 0
    assert unranged.sum() == ranging.n_unranged > 1500
    np.testing.assert_array_equal(found.normalized.used, ~unranged)
    assert len(found.measured.features.judged) == ranging.n_ranged
    columns = ion_columns(found)
    np.testing.assert_array_equal(columns["mass_da"], cloud.mass_da)
    np.testing.assert_array_equal(columns["x_nm"], cloud.xyz_nm[:, 0])
    assert np.isnan(columns["anomaly_score"][unranged]).all()
    assert not columns["defect"][unranged].any()
    assert f"{ranging.n_unranged} ions outside all ranges were left out" in " ".join(found.notes)
    table = DefectTable(DEFECT_SCHEMA.empty_table())
    summary = summarize(found, table, columns["flags"])
    assert summary["n_used"] == ranging.n_ranged
    assert summary["mass_background"]["random_share"] == pytest.approx(N_NOISE / 12_000, rel=0.1)
