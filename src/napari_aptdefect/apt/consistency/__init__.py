"""Geometric inconsistencies: which ions can't lie where they lie, and what to do about them."""

from napari_aptdefect.apt.consistency.model import (
    ColumnMap,
    ConsistencyParams,
    Consistent,
    DensityColumn,
    Flag,
    Policy,
)
from napari_aptdefect.apt.consistency.stage import check_consistency

__all__ = [
    "ColumnMap",
    "ConsistencyParams",
    "Consistent",
    "DensityColumn",
    "Flag",
    "Policy",
    "check_consistency",
]
