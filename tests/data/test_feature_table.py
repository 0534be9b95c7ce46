"""The feature table: selection, missing values, robust scaling, and what travels with the columns."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.data.feature_table import FeatureColumn, FeatureTable
from napari_aptdefect.errors import ParameterError, ShapeError


def _column(name: str, kind: str = "structural") -> FeatureColumn:
    return FeatureColumn(name, kind, "nm", f"what {name} is", f"{name} = 1 (doi 10.1000/1)")


@pytest.fixture
def table() -> FeatureTable:
    rng = np.random.default_rng(0)
    values = np.empty((10_001, 4), np.float32)
    values[:, 0] = rng.normal(5, 2, len(values))
    values[:500, 0] = 1e6  # five percent of outliers
    values[:, 1] = 7.3
    values[:, 2] = np.where(np.arange(len(values)) < 6500, 0, rng.normal(0, 1, len(values)))
    values[:, 3] = rng.normal(0, 1, len(values))
    values[::4, 3] = np.nan
    names = (("a", "structural"), ("b", "structural"), ("c", "compositional"), ("d", "spatial"))
    return FeatureTable(values, tuple(_column(*one) for one in names))


def test_selects_by_name_in_that_order_and_by_set(table: FeatureTable) -> None:
    assert table.select(["d", "a"]).names == ("d", "a")
    np.testing.assert_array_equal(table.select(["d", "a"])["a"], table["a"])
    assert table.select(sets=["spatial", "structural"]).names == ("a", "b", "d")
    with pytest.raises(ParameterError, match="no feature 'x'"):
        table.select(["x"])
    with pytest.raises(ParameterError, match="no feature set 'other'"):
        table.select(sets=["other"])  # type: ignore[list-item]
    with pytest.raises(ParameterError, match="by names or by sets"):
        table.select()


def test_counts_what_is_missing(table: FeatureTable) -> None:
    assert table.missing_share == pytest.approx({"a": 0, "b": 0, "c": 0, "d": 0.25}, abs=1e-4)


def test_scale_is_that_of_the_bulk(table: FeatureTable) -> None:
    scaling = table.scaling()
    assert scaling.center[0] == pytest.approx(5, abs=0.2)
    assert scaling.scale[0] == pytest.approx(2, rel=0.1)
    assert scaling.scale[1] == 0
    assert scaling.scale[3] == pytest.approx(1, rel=0.05)
    assert scaling.scale[2] > 0  # more than half of the values are equal, so the median deviation says nothing


def test_scaled_is_clipped_constant_is_zero_missing_stays_missing(table: FeatureTable) -> None:
    scaled = table.robust_scaled(clip=5)
    assert scaled.values[:, 0].max() == 5
    assert not scaled["b"].any()
    np.testing.assert_array_equal(np.isnan(scaled["d"]), np.isnan(table["d"]))
    assert np.nanstd(scaled["d"]) == pytest.approx(1, rel=0.05)
    assert {column.unit for column in scaled.columns} == {""}


def test_imputed_values_are_marked(table: FeatureTable) -> None:
    scaled = table.robust_scaled(impute=True)
    assert scaled.names == ("a", "b", "c", "d", "missing_d")
    np.testing.assert_array_equal(scaled["missing_d"], np.isnan(table["d"]))
    assert not scaled["d"][::4].any()
    assert np.isfinite(scaled.values).all()


def test_scaling_of_a_reference_is_applied(table: FeatureTable) -> None:
    shifted = FeatureTable(table.values + np.float32(3), table.columns)
    scaled = shifted.robust_scaled(table.scaling())
    assert np.nanmedian(scaled["d"]) == pytest.approx(3 / table.scaling().scale[3], abs=0.05)
    with pytest.raises(ShapeError, match="4 columns"):
        table.robust_scaled(table.select(["a"]).scaling())


def test_column_without_any_value_scales_to_nothing() -> None:
    table = FeatureTable(np.full((5, 1), np.nan, np.float32), (_column("a"),))
    assert np.isnan(table.robust_scaled().values).all()
    np.testing.assert_array_equal(table.robust_scaled(impute=True).values, [[0, 1]] * 5)


def test_parquet_keeps_what_the_columns_mean(table: FeatureTable, tmp_path) -> None:
    pq.write_table(table.to_arrow(), tmp_path / "features.parquet")
    read = pq.read_table(tmp_path / "features.parquet")
    assert read.schema.field("a").metadata[b"equation"] == b"a = 1 (doi 10.1000/1)"
    assert read.schema.field("c").metadata[b"set"] == b"compositional"
    assert read["d"].null_count == 2501
    np.testing.assert_array_equal(read["a"].to_numpy(), table["a"])


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 columns"):
        FeatureTable(np.zeros((3, 1), np.float32), (_column("a"), _column("b")))
    with pytest.raises(ParameterError, match="twice: a"):
        FeatureTable(np.zeros((3, 2), np.float32), (_column("a"), _column("a")))
    with pytest.raises(ShapeError, match="float64"):
        FeatureTable(np.zeros((3, 1)), (_column("a"),))
    with pytest.raises(ParameterError, match="no feature set"):
        _column("a", "other")
    table = FeatureTable(np.zeros((3, 1), np.float32), (_column("a"),))
    with pytest.raises(ValueError, match="read-only"):
        table.values[0, 0] = 1
    with pytest.raises(ParameterError, match="clip"):
        table.robust_scaled(clip=0)
