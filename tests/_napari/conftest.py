"""A small cloud with ranges, and a main job that is quick and makes a real run folder."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest

from napari_aptdefect.apt.delocalize import voxelize
from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable, Ion, IonCloud, MassRange, RangeTable, VoxelGrid
from napari_aptdefect.io import read, write
from napari_aptdefect.pipeline.run_folder import (
    UNRANGED,
    RunFolder,
    new_run,
    write_defects,
    write_ions,
    write_record,
    write_volumes,
)
from napari_aptdefect.stage import Params, Progress, param

N_IONS = 4000
RANGES = RangeTable(
    (Ion("N", (("N", 1),), (255, 0, 0)), Ion("Ga", (("Ga", 1),), (0, 160, 255))),
    (MassRange(13.5, 14.5, 0), MassRange(68.0, 71.5, 1)),
)


class GraphLike(Params):
    n_neighbors: int = param(12, title="Neighbors", description="Neighbors of an ion.", ge=1, le=100)
    cutoff_nm: float = param(0.6, title="Cutoff", description="Longest edge.", unit="nm", gt=0)


class JobParams(Params):
    graph: GraphLike = param(GraphLike(), title="Graph", description="Who is near whom.")
    how: Literal["fast", "exact"] = param("fast", title="Way", description="How it is done.")
    delay_s: float = param(0.0, title="Delay", description="Time of a step.", unit="s", ge=0)


def grids(cloud: IonCloud) -> list[VoxelGrid]:
    """Sharp counts of all ions, and the fraction of Ga, which is 1 in two voxels and about a half elsewhere."""
    counts = voxelize(cloud.xyz_nm, 2.0)
    share = np.where(counts.values > 0, 0.55, 0).astype(np.float32)
    share += np.where(counts.values > 0, np.random.default_rng(0).normal(0, 0.01, share.shape), 0).astype(np.float32)
    share[2, 2, 3:5] = 1.0
    density = VoxelGrid(counts.values / 8, counts.origin_nm, counts.voxel_nm, "density", "ions/nm3")
    ga = VoxelGrid(share, counts.origin_nm, counts.voxel_nm, "composition/Ga", "fraction of ranged ions")
    n = VoxelGrid(
        np.where(share > 0, 0.4, 0).astype(np.float32),
        counts.origin_nm,
        counts.voxel_nm,
        "composition/N",
        "fraction of ranged ions",
    )
    return [density, ga, n]


def fake_analyze(input_path, out, *, ranges=None, params=None, seed=0):
    """Same signature and products as the pipeline's, with one defect: the ions in a ball."""
    cloud = read(input_path)
    table = read(ranges) if ranges is not None else RANGES
    with new_run(Path(out)) as work:
        for done in range(0, 100, 10):
            yield Progress(done, 100, f"voronoi: {done // 10} of 10 blocks")
            time.sleep(params.delay_s if params else 0)
        xyz = cloud.xyz_nm
        center = xyz.mean(axis=0)
        defect = (np.linalg.norm(xyz - center, axis=1) < 2.0).astype(np.int32)
        species = table.assign(cloud.mass_da)
        names = [*table.names, UNRANGED]
        n = len(cloud)
        write_ions(
            work,
            {
                "ion_idx": np.arange(n),
                "x_nm": xyz[:, 0],
                "y_nm": xyz[:, 1],
                "z_nm": xyz[:, 2],
                "mass_da": cloud.mass_da,
                "species": pa.DictionaryArray.from_arrays(
                    np.where(species < 0, len(names) - 1, species).astype(np.int32), names
                ),
                "cluster": np.zeros(n, np.int32),
                "defect": defect,
                "defect_class": pa.DictionaryArray.from_arrays(defect, ["matrix", "solute_cluster"]),
                "defect_probability": defect.astype(np.float32),
                "anomaly_score": np.zeros(n, np.float32),
                "flags": np.zeros(n, np.uint8),
            },
        )
        row = {
            "defect": 1, "defect_class": "solute_cluster", "n_ions": int(defect.sum()),
            "centroid_x_nm": float(center[0]), "centroid_y_nm": float(center[1]), "centroid_z_nm": float(center[2]),
            "volume_nm3": 33.5, "axis_lengths_nm": [1.0, 1.0, 1.0],
            "axis_directions": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            "composition": [{"element": "Ga", "count": 7, "fraction": 0.7, "fraction_error": 0.14}],
            "probability": 0.9, "anomaly_score": 1.5, "nearest_signature": None, "touches_surface": False,
        }  # fmt: skip
        write_defects(work, DefectTable(pa.Table.from_pylist([row], schema=DEFECT_SCHEMA)))
        write_volumes(work, grids(cloud))
        (work / "report.html").write_text("<p>report</p>", encoding="utf-8")
        write_record(
            work,
            {
                "format": "napari-aptdefect run 1",
                "input": {"path": str(input_path), "n_ions": n},
                "ranges": {"path": str(ranges) if ranges else None},
                "seed": seed,
                "summary": {"n_ions": n, "n_defects": 1},
            },
        )
    return RunFolder(Path(out))


@pytest.fixture(autouse=True)
def plugin(plugin_settings, npe2pm):
    """This plugin and no other is registered, and its settings are fresh."""
    with npe2pm.tmp_plugin(manifest=str(files("napari_aptdefect") / "napari.yaml")):
        yield


@pytest.fixture
def gl(qapp):
    """Skips the test where images can't be drawn."""
    if qapp.platformName() == "offscreen":
        pytest.skip("Qt's offscreen platform has no OpenGL, which napari needs for images; run under Xvfb")


@pytest.fixture
def ranges() -> RangeTable:
    return RANGES


@pytest.fixture
def job():
    """The quick main job."""
    return fake_analyze


@pytest.fixture
def job_params() -> JobParams:
    return JobParams()


@pytest.fixture
def cloud() -> IonCloud:
    rng = np.random.default_rng(7)
    xyz = rng.uniform((-6, -5, 0), (6, 5, 18), (N_IONS, 3))
    xyz = xyz[np.argsort(xyz[:, 2])]
    mass = np.where(rng.random(N_IONS) < 0.45, 14.0, 69.0)
    mass[:5] = 40.0
    return IonCloud.from_arrays(xyz, mass)


@pytest.fixture
def pos(tmp_path, cloud) -> Path:
    path = tmp_path / "data" / "wire.pos"
    path.parent.mkdir()
    write(cloud, path)
    return path


@pytest.fixture
def rrng(tmp_path) -> Path:
    path = tmp_path / "wire.rrng"
    write(RANGES, path)
    return path


@pytest.fixture
def run_folder(tmp_path, pos, rrng) -> Path:
    from napari_aptdefect.stage import drain

    return drain(fake_analyze(pos, tmp_path / "wire_run", ranges=rrng)).path


@pytest.fixture
def artifacts() -> Path:
    """Folder in which pictures are kept for a person to look at."""
    import os

    folder = Path(os.environ.get("APTDEFECT_ARTIFACTS", "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
