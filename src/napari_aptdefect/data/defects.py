"""The table of defects: one row per defect instance, the contract of ``defects.parquet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from napari_aptdefect.errors import ShapeError

DEFECT_CLASSES: Final = (
    "matrix",
    "vacancy",
    "interstitial",
    "stacking_fault",
    "dislocation",
    "solute_cluster",
    "void",
    "grain_boundary",
    "unknown",
)
"""Names of the classes a defect or an ion can have, in the order of their codes."""

_COMPOSITION = pa.list_(
    pa.struct(
        [
            ("element", pa.string()),
            ("count", pa.int64()),
            ("fraction", pa.float64()),
            ("fraction_error", pa.float64()),
        ]
    )
)

DEFECT_SCHEMA: Final = pa.schema(
    [
        ("defect", pa.int32()),
        ("defect_class", pa.string()),
        ("n_ions", pa.int64()),
        ("centroid_x_nm", pa.float64()),
        ("centroid_y_nm", pa.float64()),
        ("centroid_z_nm", pa.float64()),
        ("volume_nm3", pa.float64()),
        ("axis_lengths_nm", pa.list_(pa.float64(), 3)),  # standard deviations along the principal axes, longest first
        ("axis_directions", pa.list_(pa.float64(), 9)),  # unit vectors x, y, z of the three axes, in the same order
        ("composition", _COMPOSITION),
        ("probability", pa.float64()),
        ("anomaly_score", pa.float64()),
        ("nearest_signature", pa.string()),  # null until the signature store knows one
        ("touches_surface", pa.bool_()),
    ]
)


@dataclass(frozen=True, eq=False)
class DefectTable:
    """Defects as an Arrow table of `DEFECT_SCHEMA`, one row per instance, `defect` counting from 1."""

    table: pa.Table

    def __post_init__(self) -> None:
        if not self.table.schema.equals(DEFECT_SCHEMA):
            raise ShapeError(f"a defect table needs the columns\n{DEFECT_SCHEMA}\ngot\n{self.table.schema}")

    def __len__(self) -> int:
        return int(self.table.num_rows)
