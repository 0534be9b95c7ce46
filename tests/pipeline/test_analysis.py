"""The main job on a small specimen with known defects: contract, determinism, cancelling, repeating, cluster."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.data import DEFECT_CLASSES, DEFECT_SCHEMA, Ion, IonCloud, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError, MissingFileError, ParameterError, RunFolderError
from napari_aptdefect.io import read_cloud, read_ranges, write
from napari_aptdefect.pipeline import AnalysisParams, RunFolder, analyze, load_params, rerun
from napari_aptdefect.pipeline.finding import find
from napari_aptdefect.pipeline.outputs import ion_columns
from napari_aptdefect.pipeline.run_folder import ATTENTION, ION_SCHEMA, UNRANGED
from napari_aptdefect.stage import drain

_CLUSTER = np.array([6.0, 6.0, 6.0])
_VOID = np.array([12.0, 12.0, 12.0])
_RANGES = RangeTable(
    (Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),)), Ion("MgO", (("Mg", 1), ("O", 1)))),
    (MassRange(68.5, 69.5, 0), MassRange(13.5, 14.5, 1), MassRange(39.5, 40.5, 2)),
)
_FAST = {"clustering": {"k_max": 3}}
_RUN = {**_FAST, "steps": {"features": True}}


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a random box of 18 nm that holds one MgO cluster and one void, and three odd ions."""
    rng = np.random.default_rng(0)
    xyz = rng.random((150_000, 3)) * 18
    xyz = xyz[np.sum((xyz - _VOID) ** 2, axis=1) > 1.6**2]
    mass = rng.choice([69.0, 14.0, 40.0, 100.0], len(xyz), p=[0.475, 0.475, 0.01, 0.04])
    near = np.sum((xyz - _CLUSTER) ** 2, axis=1) < 1.6**2
    mass[near & (rng.random(len(xyz)) < 0.4)] = 40.0
    odd = np.array([[300, 0, 0], [np.nan, 5, 5], [5, 5, 5]])
    folder = tmp_path_factory.mktemp("specimen")
    write(IonCloud.from_arrays(np.concatenate([xyz, odd]), np.append(mass, [69, 69, 0])), folder / "tip.pos")
    write(_RANGES, folder / "tip.rrng")
    (folder / "drawn.csv").write_text(
        "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n"  # z, y, x: a rectangle around the cluster in x and z
        "0,rectangle,0,4,9,3\n0,rectangle,1,4,9,9\n0,rectangle,2,8,9,9\n0,rectangle,3,8,9,3\n"
    )
    return folder


@pytest.fixture(scope="module")
def run(specimen: Path) -> RunFolder:
    params = AnalysisParams.model_validate(_RUN)
    files = {"ranges": specimen / "tip.rrng", "regions": [specimen / "drawn.csv"]}
    return drain(analyze(specimen / "tip.pos", specimen / "run", **files, params=params, seed=1))


def test_ion_table_follows_the_contract(run: RunFolder, specimen: Path) -> None:
    table = run.ions()
    assert table.schema.equals(ION_SCHEMA.append(ATTENTION))  # Ga and N: the shipped model has looked
    raw = np.fromfile(specimen / "tip.pos", ">f4").reshape(-1, 4)
    assert table.num_rows == len(raw)
    np.testing.assert_array_equal(table["ion_idx"], np.arange(len(raw)))
    for column, name in enumerate(("x_nm", "y_nm", "z_nm", "mass_da")):
        np.testing.assert_array_equal(table[name].to_numpy(), raw[:, column])
    species = np.array(table["species"].combine_chunks().cast(pa.string()))
    assert set(species) == {"Ga", "N", "MgO", UNRANGED}
    np.testing.assert_array_equal(species == "MgO", raw[:, 3] == 40)
    assert set(np.unique(table["defect_class"].combine_chunks().dictionary)) <= set(DEFECT_CLASSES)
    probability = table["defect_probability"].to_numpy()
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_a_cloud_in_memory_gives_what_its_file_gives(run: RunFolder, specimen: Path) -> None:
    cloud, ranges = read_cloud(specimen / "tip.pos"), read_ranges(specimen / "tip.rrng")
    cloud.check()  # as reading does; else the odd ions are warned of when they are used
    columns = ion_columns(drain(find(cloud, ranges, AnalysisParams.model_validate(_FAST), seed=1)))
    table = run.ions()
    for name in ("cluster", "defect", "defect_probability", "anomaly_score"):
        np.testing.assert_array_equal(columns[name], table[name])


def test_ions_that_cannot_be_used_are_kept_as_matrix(run: RunFolder) -> None:
    table = run.ions()
    for row in (table.num_rows - 3, table.num_rows - 2):  # far away, not finite
        assert table["defect"][row].as_py() == 0
        assert table["cluster"][row].as_py() == -1
        assert np.isnan(table["anomaly_score"][row].as_py())
    assert {issue["code"] for issue in run.record["issues"]} >= {"non-finite-position", "isolated-ions"}


def test_known_defects_are_found_and_nothing_else(run: RunFolder) -> None:
    table = run.defects().table
    assert table.schema.equals(DEFECT_SCHEMA)
    found = {row["defect_class"]: row for row in table.to_pylist()}
    assert sorted(table["defect_class"].to_pylist()) == ["solute_cluster", "void"]
    for name, center in (("solute_cluster", _CLUSTER), ("void", _VOID)):
        row = found[name]
        position = [row[f"centroid_{axis}_nm"] for axis in "xyz"]
        np.testing.assert_allclose(position, center, atol=0.4)
        assert row["probability"] > 0.75  # of the class, not only that it is no chance
        assert not row["touches_surface"]
        assert row["nearest_signature"] is None
    parts = {part["element"]: part for part in found["solute_cluster"]["composition"]}
    assert set(parts) == {"Ga", "N", "Mg", "O"}
    assert parts["Mg"]["count"] == parts["O"]["count"]
    assert parts["Mg"]["fraction"] > 0.1
    assert 0 < parts["Mg"]["fraction_error"] < 0.03
    assert sum(part["fraction"] for part in parts.values()) == pytest.approx(1)


def test_tables_agree_with_each_other(run: RunFolder) -> None:
    ions, defects = run.ions(["defect", "defect_class"]), run.defects().table
    for row in defects.to_pylist():
        mine = ions.filter(pc.equal(ions["defect"], row["defect"]))
        assert mine.num_rows == row["n_ions"]
        assert set(mine["defect_class"].combine_chunks().cast(pa.string()).to_pylist()) == {row["defect_class"]}
    assert run.record["summary"]["n_defects"] == defects.num_rows


def test_cells_fill_the_hull(run: RunFolder) -> None:
    hull = run.record["summary"]["hull"]
    assert hull["cells_over_hull"] == pytest.approx(1, abs=1e-6)
    assert hull["volume_nm3"] == pytest.approx(18**3, rel=0.02)
    flags = run.ions(["flags"])["flags"].to_numpy()
    assert np.count_nonzero(flags & 4) == hull["n_cells_cut"]
    assert 1000 < hull["n_cells_cut"] < 20_000


def test_voids_come_with_intervals(run: RunFolder) -> None:
    voids = run.voids()
    assert voids is not None
    (row,) = voids.to_pylist()
    assert row["radius_low_nm"] < row["radius_nm"] < row["radius_high_nm"]
    assert row["radius_nm"] == pytest.approx(1.6, abs=0.15)
    for axis, true in zip("xyz", _VOID, strict=True):
        assert row[f"center_{axis}_nm"] == pytest.approx(true, abs=0.2)
    (defect,) = [d for d in run.defects().table.to_pylist() if d["defect_class"] == "void"]
    assert row["defect"] == defect["defect"]
    assert defect["volume_nm3"] == pytest.approx(4 / 3 * np.pi * row["radius_nm"] ** 3)


def test_feature_table_says_what_its_columns_hold(run: RunFolder) -> None:
    features = pq.read_table(run.path / "features.parquet")
    assert features.num_rows == run.record["summary"]["n_used"]
    place = run.ions().take(features["ion_idx"]).to_pandas()[["x_nm", "y_nm", "z_nm"]].to_numpy()
    assert np.isfinite(place).all()
    for field in list(features.schema)[1:]:
        about = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert about["description"]
        assert about["set"] in ("structural", "compositional", "spatial")
    distance = np.linalg.norm(place - _CLUSTER, axis=1)
    share = features["fraction_Mg_r1"].to_numpy()
    assert np.nanmean(share[distance < 1]) > 5 * np.nanmean(share[distance > 4])


def test_feature_table_knows_the_drawn_regions(run: RunFolder) -> None:
    features = pq.read_table(run.path / "features.parquet")
    x, _, z = run.ions().take(features["ion_idx"]).to_pandas()[["x_nm", "y_nm", "z_nm"]].to_numpy().T
    inside = (np.abs(x - 6) < 3) & (np.abs(z - 6) < 2)  # through the whole specimen along y
    np.testing.assert_array_equal(features["region_drawn_inside"].to_numpy() == 1, inside)
    assert features["region_drawn_distance_nm"].to_numpy()[inside].max() == pytest.approx(2, abs=0.1)
    assert features["boundary_planar_defect_normal_cos"].null_count == features.num_rows  # there is no planar defect
    (entry,) = run.record["regions"]
    assert Path(entry["path"]).name == "drawn.csv"


def test_regions_without_a_feature_table_are_refused(specimen: Path, tmp_path: Path) -> None:
    stage = analyze(specimen / "tip.pos", tmp_path / "run", regions=[specimen / "drawn.csv"])
    with pytest.raises(ParameterError, match=r"--steps\.features"):
        drain(stage)
    twice = analyze(
        specimen / "tip.pos",
        tmp_path / "run",
        regions=[specimen / "drawn.csv"] * 2,
        params=AnalysisParams.model_validate(_RUN),
    )
    with pytest.raises(ParameterError, match="already is a region 'drawn'"):
        drain(twice)
    assert not (tmp_path / "run").exists()


def test_grids_lie_on_the_ions(run: RunFolder) -> None:
    grids = run.volumes()
    assert set(grids) == {"density", "probability", "composition/Ga", "composition/N", "composition/MgO"}
    share = grids["composition/MgO"]
    peak = np.unravel_index(np.argmax(share.values), share.values.shape)
    np.testing.assert_allclose([share.centers_nm(a)[peak[a]] for a in range(3)], _CLUSTER, atol=1.5)
    middle = tuple(slice(8, -8) for _ in range(3))
    assert grids["density"].values[middle].mean() == pytest.approx(150_000 / 18**3, rel=0.05)
    assert grids["probability"].values.max() <= 1


def test_record_holds_what_a_repetition_needs(run: RunFolder, specimen: Path) -> None:
    record = run.record
    assert record["seed"] == 1
    assert record["input"]["path"] == str(specimen / "tip.pos")
    assert len(record["input"]["sha256"]) == len(record["ranges"]["sha256"]) == 64
    assert AnalysisParams.model_validate(record["parameters"]) == AnalysisParams.model_validate(_RUN)
    assert {"python", "numpy", "napari-aptdefect"} <= set(record["versions"])
    for stage in record["stages"]:
        assert stage["seconds"] >= 0
        assert stage["peak_rss_bytes"] > 1e7
    names = [stage["name"] for stage in record["stages"]]
    # the order of these ions is none of evaporation, so no drift was followed
    first = ["read", "peak drift", "read ranges", "ranging", "mass background", "normalize", "consistency"]
    assert names[: len(first)] == first
    assert len(read_ranges(run.path / "ranges.rrng").ranges) == 3
    assert run.report.stat().st_size > 100_000


def test_rerun_gives_the_same_tables(run: RunFolder, tmp_path: Path) -> None:
    again = drain(rerun(run.path, tmp_path / "again"))
    for name in ("ions.parquet", "defects.parquet", "features.parquet"):
        assert (again.path / name).read_bytes() == (run.path / name).read_bytes()


def test_rerun_refuses_changed_input(run: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    record = run.record
    record["input"]["sha256"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="has changed"):
        drain(rerun(copy, tmp_path / "again"))
    record["input"]["path"] = str(tmp_path / "gone.pos")
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="is gone"):
        drain(rerun(copy, tmp_path / "again"))


def test_a_run_whose_model_has_changed_is_not_repeated(run: RunFolder, tmp_path: Path) -> None:
    record = run.record
    assert len(record["summary"]["model"]["sha256"]) == 64
    record["summary"]["model"]["sha256"] = "0" * 64
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match=r"gan\.safetensors .* has changed"):
        drain(rerun(copy, tmp_path / "again"))


def test_closing_cancels_and_leaves_nothing(specimen: Path, tmp_path: Path) -> None:
    job = analyze(specimen / "tip.pos", tmp_path / "run", ranges=specimen / "tip.rrng")
    seen = []
    for progress in job:
        seen.append(progress.done)
        if progress.done > 14:
            break
    assert len(list(tmp_path.iterdir())) == 1
    job.close()
    assert list(tmp_path.iterdir()) == []
    assert seen == sorted(seen)


def test_dask_cluster_gives_the_same_tables(run: RunFolder, specimen: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        remote = drain(
            analyze(
                specimen / "tip.pos",
                tmp_path / "run",
                ranges=specimen / "tip.rrng",
                params=AnalysisParams.model_validate(_FAST),
                seed=1,
                scheduler=cluster.scheduler_address,
            )
        )
    for name in ("ions.parquet", "defects.parquet"):
        assert (remote.path / name).read_bytes() == (run.path / name).read_bytes()


def test_too_few_ions_are_an_error(tmp_path: Path) -> None:
    write(IonCloud.from_arrays(np.random.default_rng(0).random((50, 3)), np.full(50, 69.0)), tmp_path / "few.pos")
    write(_RANGES, tmp_path / "r.rrng")
    with pytest.raises(EmptySelectionError, match="50 ions; at least 200"):
        drain(analyze(tmp_path / "few.pos", tmp_path / "run", ranges=tmp_path / "r.rrng"))
    assert not (tmp_path / "run").exists()


def test_parameter_file(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("[graph]\nk = 12\n[features]\nscale_nm = 0.8\n")
    params = load_params(path)
    assert (params.graph.k, params.features.scale_nm) == (12, 0.8)
    assert load_params(None) == AnalysisParams()
    for text, message in (
        ("[graph]\nkk = 12\n", "graph.kk"),
        ("[features]\nscale_nm = -1\n", "features.scale_nm"),
        ("[graph\n", "no TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ParameterError, match=message):
            load_params(path)
    with pytest.raises(MissingFileError):
        load_params(tmp_path / "none.toml")


def _small(folder: Path, xyz: np.ndarray, mass: np.ndarray) -> tuple[Path, Path]:
    write(IonCloud.from_arrays(xyz, mass), folder / "small.pos")
    write(_RANGES, folder / "r.rrng")
    return folder / "small.pos", folder / "r.rrng"


def test_small_specimen_gets_several_references_and_shows_a_strong_cluster(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    xyz = rng.random((14_000, 3)) * [11, 11, 12]
    mass = rng.choice([69.0, 40.0], len(xyz), p=[0.95, 0.05])
    mass[(np.sum((xyz - [5.5, 5.5, 6]) ** 2, axis=1) < 1.5**2) & (rng.random(len(xyz)) < 0.7)] = 40.0
    cloud, ranges = _small(tmp_path, xyz, mass)
    run = drain(analyze(cloud, tmp_path / "run", ranges=ranges))
    assert run.defects().table["defect_class"].to_pylist() == ["solute_cluster"]
    assert [s["name"] for s in run.record["stages"]].count("reference specimen") == 1


def test_masses_without_a_peak_are_an_issue_and_not_the_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    cloud, ranges = _small(tmp_path, rng.random((5000, 3)) * 10, np.where(rng.random(5000) < 0.5, 69.0, 0.0))
    run = drain(analyze(cloud, tmp_path / "run", ranges=ranges))
    assert run.record["summary"]["n_defects"] == 0


def test_repeated_positions_do_not_end_the_analysis(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    xyz = np.repeat(rng.random((3000, 3)) * 10, 4, axis=0)
    cloud, ranges = _small(tmp_path, xyz, np.full(len(xyz), 69.0))
    drain(analyze(cloud, tmp_path / "run", ranges=ranges))


@pytest.mark.parametrize(
    ("address", "error"),
    [("foo", ParameterError), ("http://1.2.3.4:99999", ParameterError), ("tcp://127.0.0.1:1", RunFolderError)],
)
def test_wrong_scheduler_is_refused_at_once(
    specimen: Path, tmp_path: Path, address: str, error: type[Exception]
) -> None:
    job = analyze(specimen / "tip.pos", tmp_path / "a" / "b", ranges=specimen / "tip.rrng", scheduler=address)
    with pytest.raises(error):
        next(job)
    assert list(tmp_path.iterdir()) == []
