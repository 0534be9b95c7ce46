"""The full feature sets of the ions of a run, for ``features.parquet``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.defects import Defects
from napari_aptdefect.apt.features import FeatureContext, charge_states, describe_ions, multi_hits
from napari_aptdefect.apt.voids import Voids
from napari_aptdefect.data import IonCloud
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.feature_table import FeatureTable
from napari_aptdefect.data.region import Region
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.pipeline.outputs import Found
from napari_aptdefect.pipeline.planes import PLANAR, Plane, nearest_plane
from napari_aptdefect.pipeline.ranged_ions import PER_PULSE
from napari_aptdefect.stage import Stage


def feature_table(job: Job, found: Found, regions: Mapping[str, Region], start: float, stop: float) -> Stage[pa.Table]:
    """Compute all features of the used ions, with the index of each ion in the file as first column."""
    used = found.normalized.used
    rows = np.flatnonzero(used)
    species = found.ranging.ion_idx[used]
    table = found.ranging.table
    context = FeatureContext(
        cells=found.measured.cells,
        frame=found.normalized.frame,
        inside=found.normalized.inside,
        charge=charge_states(table.ions, species, found.cloud.mass_da[used]),
        multi_hit=_multi_hit(found.cloud, used),
        voids=_balls(found.voids),
        boundaries=_boundaries(found.defects, found.normalized.xyz_nm[used]),
        regions=regions,
    )
    features: FeatureTable = yield from job.run(
        "feature sets",
        describe_ions(
            found.normalized.xyz_nm[used], species, table.ions, found.measured.graph, context, job.params.feature_sets
        ),
        start,
        stop,
    )
    arrow: pa.Table = features.to_arrow()
    return arrow.add_column(0, pa.field("ion_idx", pa.int64()), [pa.array(rows)])


def _multi_hit(cloud: IonCloud, used: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return multi_hits(cloud.read(PER_PULSE))[used] if PER_PULSE in cloud.columns else None


def _balls(voids: Voids | None) -> NDArray[np.float64] | None:
    return None if voids is None else np.column_stack([voids.center_nm, voids.radius_nm])


def _boundaries(defects: Defects, xyz_nm: NDArray[np.float32]) -> dict[str, Boundary]:
    """The planar defects of a run as one boundary."""
    planar = [one for one in defects.defects if one.defect_class in PLANAR]
    planes = [Plane(one.centroid_nm, one.axis_directions[2], xyz_nm[one.rows]) for one in planar]
    return {"planar_defect": nearest_plane(xyz_nm, planes)}
