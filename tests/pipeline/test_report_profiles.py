from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_SCHEMA, DefectTable, Ion, RangeTable, VoxelGrid
from napari_aptdefect.pipeline.report_data import ReportData
from napari_aptdefect.pipeline.report_profiles import profile_pictures
from napari_aptdefect.plot import canvas


@pytest.fixture(scope="module")
def data() -> ReportData:
    """A block of A with a ball of B of radius 3 nm, and the fraction of B on a grid."""
    rng = np.random.default_rng(2)
    n = 30_000
    xyz = rng.uniform(-8, 8, (n, 3)).astype(np.float32)
    species = (np.linalg.norm(xyz, axis=1) < 3).astype(np.int16)
    species[:200] = -1
    origin, voxel = np.full(3, -8.0), np.ones(3)
    centers = np.indices((16, 16, 16)).transpose(1, 2, 3, 0) - 7.5
    share = (0.01 + 0.9 / (1 + np.exp(2 * (np.linalg.norm(centers, axis=3) - 3)))).astype(np.float32)
    grid = VoxelGrid(share, origin, voxel, "composition/B", "fraction of ranged ions")
    zeros = np.zeros(n, np.float32)
    return ReportData(
        title="block",
        record={},
        ranges=RangeTable((Ion("A", (("A", 1),)), Ion("B", (("B", 1),))), ()),
        ion_counts=np.bincount(species[200:], minlength=2),
        mass_da=zeros,
        xyz_nm=xyz,
        species_idx=species,
        cluster=np.full(n, -1, np.int32),
        defect=np.zeros(n, np.int32),
        defect_class=np.zeros(n, np.int8),
        probability=zeros,
        anomaly_score=zeros,
        defects=DefectTable(DEFECT_SCHEMA.empty_table()),
        grids={"composition/B": grid},
    )


def pictures(data):
    with canvas.house_style():
        return list(profile_pictures(data))


def test_a_region_that_stands_out_gets_a_proxigram(data):
    (picture,) = pictures(data)
    assert picture.section == "composition"
    assert "proxigram at the isosurface of B at 4" in picture.caption  # half of 0.91 is 46 %
    assert "triangles" in picture.caption
    assert picture.png.startswith(b"\x89PNG")
    assert pictures(data)[0].png == picture.png


def test_an_even_block_gets_the_profile_alone(data):
    grid = data.grids["composition/B"]
    noise = np.random.default_rng(0).normal(0.5, 0.01, grid.values.shape).astype(np.float32)
    even = replace(data, grids={"composition/B": replace(grid, values=noise)})
    (picture,) = pictures(even)
    assert "proxigram" not in picture.caption
    assert picture.alt == "Atomic fractions of A, B along z."


def test_without_species_there_is_no_picture(data):
    assert pictures(replace(data, species_idx=np.full(data.n_ions, -1, np.int16))) == []
    assert pictures(replace(data, xyz_nm=np.full_like(data.xyz_nm, np.nan))) == []
