"""Features of ions on display, in and around drawn regions."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.apt.profiles import Surface
from napari_aptdefect.data import Ion, MassRange, RangeTable
from napari_aptdefect.data.region import PolygonPrism
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.display_features import DisplayFeaturesParams, Marks, features_of
from napari_aptdefect.pipeline.planes import Plane
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.stage import drain

TABLE = RangeTable((Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),))), (MassRange(68, 71, 0), MassRange(13, 15, 1)))
PARAMS = DisplayFeaturesParams(radii_nm=(1.0,), context_nm=1.0)


@pytest.fixture(scope="module")
def ions() -> RangedIons:
    rng = np.random.default_rng(2)
    xyz = (rng.random((5000, 3)) * 6).astype(np.float32)
    xyz[7] = np.nan
    species = rng.integers(-1, 2, len(xyz)).astype(np.int16)
    mass = np.where(species == 0, 34.5, 7.0).astype(np.float32)  # all are 2+
    return RangedIons(xyz, species, TABLE, mass, rng.random(len(xyz)) < 0.3)


def test_all_marks_become_columns_in_the_order_of_the_file(ions: RangedIons, tmp_path) -> None:
    square = np.array([[0, 0, 3.0], [6, 0, 3], [6, 6, 3], [0, 6, 3]])
    marks = Marks(
        {"left": PolygonPrism(np.array([[0, 0], [3, 0], [3, 6], [0, 6]]))},
        {"sheet": Surface(square.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), 0.5)},
        np.array([[3.0, 3, 3, 1]]),
        (Plane(np.full(3, 3.0), np.array([1.0, 0, 0]), square.astype(np.float32)),),
    )
    found = drain(features_of(ions, PARAMS, marks))
    assert len(found.ion_idx) == len(found.table) == 4999
    values = found.at(np.array([6, 7, 4999]))
    assert np.isnan(values[1]).all()
    place = ions.xyz_nm[found.ion_idx]
    np.testing.assert_array_equal(found.table["region_left_inside"], place[:, 0] < 3)
    np.testing.assert_allclose(np.abs(found.table["boundary_sheet_distance_nm"]), np.abs(place[:, 2] - 3), atol=1e-5)
    np.testing.assert_allclose(found.table["boundary_planar_defect_distance_nm"], place[:, 0] - 3, atol=1e-5)
    distance = np.linalg.norm(place - 3, axis=1) - 1
    np.testing.assert_allclose(found.table["void_distance_nm"], distance, atol=1e-5)
    assert np.nanmin(found.table["charge_ratio_r1"]) == 1
    assert np.nanmean(found.table["multi_hit_share_r1"]) == pytest.approx(0.3, abs=0.02)
    found.save(tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["ion_idx", *found.table.names]
    assert table.schema.field("region_left_distance_nm").metadata[b"unit"] == b"nm"
    np.testing.assert_array_equal(table["ion_idx"], found.ion_idx)


def test_without_ranges_what_needs_no_species_is_there(ions: RangedIons) -> None:
    bare = RangedIons(ions.xyz_nm, np.full(len(ions.xyz_nm), -1, np.int16), RangeTable((), ()), ions.mass_da)
    table = drain(features_of(bare, PARAMS)).table
    assert table.missing_share["q6"] < 0.01
    assert table.missing_share["density_r1_per_nm3"] < 0.01
    assert not any(name.startswith(("fraction_", "boundary_", "region_")) for name in table.names)


def test_too_few_ions_are_refused(ions: RangedIons) -> None:
    few = RangedIons(ions.xyz_nm[:50], ions.species_idx[:50], TABLE)
    with pytest.raises(EmptySelectionError, match="49 ions have a place"):
        drain(features_of(few, PARAMS))
