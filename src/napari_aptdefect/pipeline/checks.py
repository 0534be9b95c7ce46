"""Geometric consistency within the main job: which ions are odd, and what the policies make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.consistency import Consistent, Flag, check_consistency
from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.apt.voronoi import voronoi_cells
from napari_aptdefect.data import IonCloud
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.stage import Stage

_HITS = ("det_x_mm", "det_y_mm")


def check_geometry(
    job: Job, cloud: IonCloud, normalized: Normalized, start: float, stop: float
) -> Stage[tuple[Normalized, Consistent | None]]:
    """Flag and weigh the usable ions; where a policy removes some, the normalization that comes back is without them.

    Flags and weights have one entry per ion of the file; ions that were not usable before have no flag and weight 0.
    """
    params = job.params.consistency
    if not job.params.steps.consistency:
        return normalized, None
    xyz = np.where(normalized.used[:, None], normalized.xyz_nm, np.float32(np.nan))
    cut = None
    if params.cut_by_hull != "keep":  # the cells are computed again without what is removed; flags alone can wait
        cells: VoronoiCells = yield from job.run("cells to check", voronoi_cells(xyz, job.params.voronoi), start, start)
        cut = normalized.used & ~cells.bounded
    found: Consistent = yield from job.run(
        "consistency",
        check_consistency(xyz, params, job.seed, cut_by_hull=cut, detector_mm=_hits(cloud), mass_da=cloud.mass_da),
        start,
        stop,
    )
    job.note("consistency", found.issues)
    keep = found.weight > 0
    if (normalized.used & ~keep).any():
        normalized = yield from job.run(
            "normalize", normalize(normalized.xyz_nm, _unflipped(job), keep=keep), stop, stop
        )
    return normalized, found


def flag_columns(found: Consistent | None, used: NDArray[np.bool_], cut: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Flags of all ions of the file; the cells that the surface cuts are given, one per used ion."""
    flags = np.zeros(len(used), np.uint8) if found is None else found.flags.copy()
    if found is not None:
        flags[np.flatnonzero(used)[cut]] |= np.uint8(Flag.CUT_BY_HULL)
    return flags


def consistency_summary(found: Consistent | None, flags: NDArray[np.uint8]) -> dict[str, Any] | None:
    """What was found, for ``run.json``."""
    if found is None:
        return None
    return {
        "flags": {flag.name: int(np.count_nonzero(flags & np.uint8(flag))) for flag in Flag},
        "bits": {flag.name: int(flag) for flag in Flag},
        "n_close_pairs": found.n_pairs,
        "n_close_pairs_expected": found.n_pairs_expected,
        "n_down_weighted": int(np.count_nonzero((found.weight > 0) & (found.weight < 1))),
        "columns": [
            {
                "kind": one.kind,
                "center": one.center.tolist(),
                "unit": one.unit,
                "direction_deg": None if np.isnan(one.direction_deg) else float(one.direction_deg),
                "width": one.width,
                "length": one.length,
                "contrast": one.contrast,
                "contrast_error": one.contrast_error,
                "significance": one.significance,
                "false_alarm": one.false_alarm,
                "n_ions": one.n_ions,
            }
            for one in found.columns
        ],
    }


def _hits(cloud: IonCloud) -> NDArray[Any] | None:
    """Hits on the detector, shape (N, 2), mm, where the file measured them."""
    if not all(name in cloud.columns for name in _HITS):
        return None
    return np.stack([cloud.read(name) for name in _HITS], axis=1)


def _unflipped(job: Job) -> Any:
    return job.params.normalize.model_copy(update={"flip_z": False})  # the positions are flipped already
