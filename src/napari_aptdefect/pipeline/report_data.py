"""Everything the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.consistency import Consistent
from napari_aptdefect.apt.ranging import MassBackground
from napari_aptdefect.apt.topology import PlaceTopology
from napari_aptdefect.arrays import as_points, as_vector
from napari_aptdefect.data import DefectTable, RangeTable, VoxelGrid
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.pipeline.sequence import Evaporation
from napari_aptdefect.pipeline.structure import Structure


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything the report shows.

    Parameters
    ----------
    title
        Heading of the page, such as the name of the input file.
    record
        What goes to ``run.json`` (input, ranges, parameters, seed, versions, stages, issues, summary); keys that are
        not known yet may be missing.
    ranges
        Ions and ranges that were used.
    ion_counts
        Number of ions of each entry of ``ranges.ions``, shape (n_species,).
    mass_da
        Mass-to-charge ratios, shape (N,), float32, Da.
    xyz_nm
        Positions, shape (N, 3), float32, nm; rows that are not finite are left out of pictures, and counted.
    species_idx
        Index into ``ranges.ions``, shape (N,), int16, -1 unranged.
    cluster
        Feature-space cluster, shape (N,), int32, -1 none.
    defect
        Defect instance, shape (N,), int32, 0 matrix, from 1.
    defect_class
        Index into `DEFECT_CLASSES`, shape (N,), int8.
    probability
        Probability of belonging to a defect, shape (N,), float32.
    anomaly_score
        Anomaly score, shape (N,), float32.
    defects
        One row per defect instance.
    grids
        Grids by name: ``density``, ``probability``, ``composition/<species>``; each may be missing.
    evaporation
        What drifted along the evaporation sequence.
    voids
        One row per void, as in ``voids.parquet``; None where they were not searched for.
    structure
        The structure of the specimen; None where it was not measured.
    consistent
        Geometric consistency of the ions; None where it was not checked.
    mass_background
        Background under each range; None where it was not estimated.
    topology
        Persistent homology of defects beside the matrix; None where it was not asked for.

    Raises
    ------
    ShapeError
        If the arrays are not of one length, or the counts do not fit the ions of the range table.
    """

    title: str
    record: Mapping[str, Any]
    ranges: RangeTable
    ion_counts: NDArray[np.int64]
    mass_da: NDArray[np.float32]
    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    cluster: NDArray[np.int32]
    defect: NDArray[np.int32]
    defect_class: NDArray[np.int8]
    probability: NDArray[np.float32]
    anomaly_score: NDArray[np.float32]
    defects: DefectTable
    grids: Mapping[str, VoxelGrid]
    evaporation: Evaporation = field(default_factory=Evaporation)
    voids: pa.Table | None = None
    structure: Structure | None = None
    consistent: Consistent | None = None
    mass_background: MassBackground | None = None
    topology: tuple[PlaceTopology, ...] | None = None

    def __post_init__(self) -> None:
        n = len(as_points(self.xyz_nm))
        for name in ("mass_da", "species_idx", "cluster", "defect", "defect_class", "probability", "anomaly_score"):
            values = getattr(self, name)
            as_vector(values, name, length=n, dtype=values.dtype)
        if len(self.ion_counts) != len(self.ranges.ions):
            raise ShapeError(
                f"ion_counts needs one number per ion of the range table, {len(self.ranges.ions)}, "
                f"got {len(self.ion_counts)}"
            )

    @property
    def n_ions(self) -> int:
        """Number of ions."""
        return len(self.xyz_nm)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.record.get("seed", 0))
