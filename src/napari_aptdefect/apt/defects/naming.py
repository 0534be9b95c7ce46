"""Place, shape, size and name of a defect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.defects.model import Defect, DefectsParams, Evidence

_SOLUTE_SHARE = 0.25  # a species with more than this share of the background is no solute
_COMPACT = 2.0  # a void is no longer than this many times its width
_INTERFACE_CHANGE = 0.15  # a group within which the background share of a species changes by more is an interface


def describe_defect(
    evidence: Evidence, rows: NDArray[np.int64], q: float, params: DefectsParams, name: str | None = None
) -> Defect:
    """Measure one defect, and name it where it has no name; `rows` are its ions, `q` its false discovery rate."""
    xyz = evidence.xyz_nm[rows].astype(np.float64)
    centroid = xyz.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((xyz - centroid).T, bias=True))
    lengths = np.sqrt(np.maximum(values[::-1], 0))
    zone = float(evidence.surface_nm[evidence.judged].min())
    touches = bool(evidence.surface_nm[rows].min() <= zone + params.surface_nm)
    if name is None:
        name = _name(evidence, rows, lengths, touches, params)
    cells = evidence.cell_volume_nm3[rows]
    typical = 1 / evidence.background_nm3
    volume = float(np.sum(np.where(np.isfinite(cells), cells, typical), dtype=np.float64))
    if name == "void":  # its rim's ions have swollen cells: the swelling is what is missing
        volume = max(volume - len(rows) * typical, 0.0)
    return Defect(
        name,
        rows,
        centroid,
        lengths,
        vectors[:, ::-1].T,
        volume,
        1 - q,
        float(evidence.anomaly[rows].mean()),
        touches,
    )


def _name(
    evidence: Evidence, rows: NDArray[np.int64], lengths: NDArray[np.float64], touches: bool, params: DefectsParams
) -> str:
    """Class of a group by its strongest evidence and its shape; rules of thumb, for want of a trained model.

    Vacancies and interstitials are never claimed: single ones can't be seen at the resolution of the instrument. What
    lies across a change of the background's composition is an interface or another phase, and is called unknown.
    """
    deficit = -float(evidence.density[rows].mean())
    share = evidence.background_share[rows]
    gain = np.where(np.median(share, axis=0) < _SOLUTE_SHARE, evidence.enrichment[rows].mean(axis=0), -np.inf)
    strongest = float(gain.max(initial=0.0))
    if deficit > max(strongest, 1.0):
        deep = float(np.percentile(evidence.density_ratio[rows], 5)) < params.void_depth
        compact = lengths[0] < min(params.largest_nm, _COMPACT * lengths[2])
        return "void" if deep and compact else "unknown"
    if strongest < 1.0:
        return "unknown"
    low, high = np.percentile(share, [5, 95], axis=0)
    if np.any(high - low > _INTERFACE_CHANGE):
        return "unknown"
    if lengths[0] > params.elongation * lengths[1]:
        return "dislocation"
    if lengths[1] > params.elongation * lengths[2]:
        return "grain_boundary" if touches else "stacking_fault"
    return "solute_cluster" if lengths[0] < params.largest_nm else "unknown"
