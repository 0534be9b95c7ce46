"""Persistent homology of the defects within the main job, beside the matrix; only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from napari_aptdefect.apt.topology import PlaceTopology, compare_places, load_gudhi
from napari_aptdefect.errors import Issue
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.outputs import Found
from napari_aptdefect.stage import Stage

DIMENSIONS: Final = ("components", "loops", "cavities")
_MARGIN: Final = 1.5  # the ball is larger than the defect: a cavity is one by the shell around it

TOPOLOGY_SCHEMA: Final = pa.schema(
    [
        ("defect", pa.int32()),
        ("radius_nm", pa.float64()),
        ("n_ions", pa.int64()),
        ("n_ions_matrix", pa.float64()),
        *(
            field
            for name in DIMENSIONS
            for field in (
                (f"n_{name}", pa.int64()),
                (f"n_{name}_matrix", pa.float64()),
                (f"longest_{name}_nm", pa.float64()),
                (f"longest_{name}_matrix_nm", pa.float64()),
                (f"total_{name}_nm", pa.float64()),
                (f"total_{name}_matrix_nm", pa.float64()),
                (f"entropy_{name}", pa.float64()),
                (f"entropy_{name}_matrix", pa.float64()),
                (f"chance_{name}", pa.float64()),
            )
        ),
    ]
)
"""Columns of ``topology.parquet``: one row per defect that could be compared with the matrix."""


def check_topology(job: Job) -> None:
    """Refuse, before any work is done, what needs GUDHI where there is none.

    Raises
    ------
    MissingExtraError
        If the topology is asked for and GUDHI is not installed.
    """
    if job.params.steps.topology:
        load_gudhi()


def defect_topology(job: Job, found: Found, start: float, stop: float) -> Stage[tuple[PlaceTopology, ...] | None]:
    """Compare each defect with the matrix; None where that was not asked for."""
    if not job.params.steps.topology:
        return None
    defects, features = found.defects, found.measured.features
    centers = np.array([one.centroid_nm for one in defects.defects], np.float32).reshape(-1, 3)
    # a full ball has a standard deviation of radius / sqrt(5) along any axis
    radii = np.array([_MARGIN * np.sqrt(5.0) * float(np.max(one.axis_lengths_nm)) for one in defects.defects], float)
    order = np.argsort([-one.probability for one in defects.defects], kind="stable")
    stage = compare_places(
        found.normalized.xyz_nm[found.normalized.used],
        centers[order],
        radii[order],
        defects.instance == 0,
        features.surface_nm,
        job.params.topology,
        job.seed,
    )
    compared: list[PlaceTopology] = yield from job.run("topology", stage, start, stop)
    n_left = len(centers) - len(compared)
    if n_left:
        text = (
            f"{n_left} of {len(centers)} defects were not compared with the matrix by their topology: beyond the limit "
            f"of {job.params.topology.max_places}, with too few or too many ions, or no matrix region of their size"
        )
        job.note("topology", (Issue("topology-left-out", text, severity="info"),))
    return tuple(sorted((replace(one, place=int(order[one.place])) for one in compared), key=lambda one: one.place))


def topology_table(found: Sequence[PlaceTopology]) -> pa.Table:
    """Make the table of topologies."""
    rows = []
    for one in found:
        row = {
            "defect": one.place + 1,
            "radius_nm": one.radius_nm,
            "n_ions": one.diagrams.n_ions,
            "n_ions_matrix": one.n_ions_matrix,
        }
        for d, name in enumerate(DIMENSIONS):
            row |= {
                f"n_{name}": int(one.n_classes[d]),
                f"n_{name}_matrix": float(one.n_classes_matrix[d]),
                f"longest_{name}_nm": float(one.longest_nm[d]),
                f"longest_{name}_matrix_nm": float(one.longest_matrix_nm[d]),
                f"total_{name}_nm": float(one.total_nm[d]),
                f"total_{name}_matrix_nm": float(one.total_matrix_nm[d]),
                f"entropy_{name}": float(one.entropy[d]),
                f"entropy_{name}_matrix": float(one.entropy_matrix[d]),
                f"chance_{name}": float(one.chance[d]),
            }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TOPOLOGY_SCHEMA)
