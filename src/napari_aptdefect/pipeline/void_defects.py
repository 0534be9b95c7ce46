"""Voids that the particle filter found become defects, in place of the groups of thin surroundings they explain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.defects import Defect, Defects, DefectsParams, Evidence
from napari_aptdefect.apt.voids import Voids, label_rims
from napari_aptdefect.data import DEFECT_CLASSES

_RIM_NM = 0.5  # the convention of the truth: ions up to here from the surface of a void belong to it
_SEEN_NM = 2.0  # how far beyond a void's surface the kernels of the features still miss its ions
_LEAST_ALARM = 1e-3  # what the calibration can be trusted for, as of the groups' false discovery rate
_EXPLAINED = 0.5  # share of a group's ions near a void from which the void is its reason
_VOID = DEFECT_CLASSES.index("void")


@dataclass(frozen=True)
class Joint:
    """Defects together with voids.

    Parameters
    ----------
    defects
        All defects, the most probable first.
    void_defect
        Number of the defect that each void became, shape (K,); 0 for one that is not sure enough, or without ions at
        its rim.
    """

    defects: Defects
    void_defect: NDArray[np.int32]


def join_voids(
    defects: Defects, voids: Voids | None, evidence: Evidence, params: DefectsParams, false_alarms: float = np.inf
) -> Joint:
    """Put voids among the defects.

    Parameters
    ----------
    defects
        What the search in the graph found.
    voids
        What the particle filter found; None where it did not run.
    evidence
        The ions.
    params
        The parameters of that search: a defect that loses ions to voids and keeps fewer than the least is dropped.
    false_alarms
        Voids that chance may be expected to make in a specimen of this size; what is less sure, because its
        surroundings are rough, becomes no defect.

    Notes
    -----
    The ions up to 0.5 nm from the surface of a void carry its number, whatever group they were in. A group of ions that
    miss neighbors (a void or an unknown thinning) is dropped where half of it lies within 2 nm of a void's surface: it
    is the same finding, seen less sharply.
    """
    if voids is None or not len(voids):
        return Joint(defects, np.zeros(0, np.int32))
    sure = np.append(False, voids.false_alarm <= -np.expm1(-false_alarms))
    rim = label_rims(evidence.xyz_nm, voids, _RIM_NM)
    rim[~sure[rim]] = 0
    seen = label_rims(evidence.xyz_nm, voids, _SEEN_NM)
    seen[~sure[seen]] = 0
    kept = []
    for one in defects.defects:
        explained = _thinned(one, evidence) and float((seen[one.rows] > 0).mean()) >= _EXPLAINED
        rows = one.rows[rim[one.rows] == 0]
        if not explained and len(rows) >= params.min_ions:
            kept.append(replace(one, rows=rows))
    found = {k: _void(k, voids, np.flatnonzero(rim == k + 1), evidence, params.surface_nm) for k in range(len(voids))}
    found = {k: one for k, one in found.items() if len(one.rows)}
    every = [*((one, -1) for one in kept), *((one, k) for k, one in found.items())]
    every.sort(key=lambda pair: -pair[0].probability)  # stable: among equals the search's own order, then voids
    instance, class_idx = np.zeros_like(defects.instance), np.zeros_like(defects.class_idx)
    probability = np.zeros_like(defects.probability)
    void_defect = np.zeros(len(voids), np.int32)
    for number, (one, k) in enumerate(every, 1):
        instance[one.rows] = number
        class_idx[one.rows] = DEFECT_CLASSES.index(one.defect_class)
        probability[one.rows] = defects.probability[one.rows] if k < 0 else one.probability
        if k >= 0:
            void_defect[k] = number
    joined = Defects(tuple(one for one, _ in every), instance, class_idx, probability, defects.n_rejected)
    return Joint(joined, void_defect)


def _thinned(defect: Defect, evidence: Evidence) -> bool:
    """Whether the ions of a defect stand out because neighbors are missing."""
    if defect.defect_class == "void":
        return True
    return defect.defect_class == "unknown" and float(evidence.density[defect.rows].mean()) < 0


def _void(k: int, voids: Voids, rows: NDArray[np.int64], evidence: Evidence, surface_nm: float) -> Defect:
    radius = float(voids.radius_nm[k])
    zone = float(evidence.surface_nm[evidence.judged].min()) if evidence.judged.any() else 0.0
    nearest = float(evidence.surface_nm[rows].min()) if len(rows) else np.inf
    judged = rows[evidence.judged[rows]]
    return Defect(
        DEFECT_CLASSES[_VOID],
        rows,
        voids.center_nm[k].copy(),
        np.full(3, radius / np.sqrt(5.0)),  # standard deviation of a full ball along any axis
        np.eye(3),
        4.0 / 3.0 * np.pi * radius**3,
        1.0 - max(float(voids.false_alarm[k]), _LEAST_ALARM),
        float(evidence.anomaly[judged].mean()) if len(judged) else float("nan"),
        nearest <= zone + surface_nm,
    )
