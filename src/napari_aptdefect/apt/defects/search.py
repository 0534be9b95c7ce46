"""Defects: connected ions that stand out, judged against what chance connects in the matched reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.defects.chance import false_discovery, local_chance
from napari_aptdefect.apt.defects.groups import around, connected_groups, cores
from napari_aptdefect.apt.defects.model import Chance, Defect, Defects, DefectsParams, Evidence, Named
from napari_aptdefect.apt.defects.naming import describe_defect
from napari_aptdefect.data import DEFECT_CLASSES, NeighborGraph
from napari_aptdefect.stage import Progress, Stage

_RIM = 0.5  # a group with less than this share of the anomaly of a group beside it is the rim of that one


def find_defects(
    evidence: Evidence,
    graph: NeighborGraph,
    chance: Chance,
    threshold: float,
    params: DefectsParams | None = None,
    named: Named | None = None,
) -> Stage[Defects]:
    """Join ions that stand out into defects, keep those that chance does not explain, and name them.

    Parameters
    ----------
    evidence
        The measured ions.
    graph
        Their neighbors.
    chance
        The ions of the reference specimen.
    threshold
        Anomaly above which an ion stands out.
    params
        Parameters; the defaults when None.
    named
        What a model says of the ions; None where evidence and shape of a defect give its name.

    Notes
    -----
    The mass of a group is the sum of its ions' excess anomaly (cluster-mass inference; Bullmore et al. 1999, doi
    10.1109/42.750253). E(m), the number of chance groups of mass m and more in a specimen of this size, is counted in
    the reference and continued beyond its largest group by an exponential tail; q(m) = E(m) / n(m) with n(m) groups
    found: an empirical false discovery rate of groups (Storey & Tibshirani 2003, doi 10.1073/pnas.1530509100). One
    group can fall into several defects, which then share its q.
    """
    params = params or DefectsParams()
    yield Progress(0, 3, "connected groups")
    groups, mass = connected_groups(graph, evidence.nature, evidence.anomaly, threshold)
    by_chance, chance_mass = connected_groups(chance.graph, chance.nature, chance.anomaly, threshold)
    yield Progress(1, 3, "comparison with chance")
    if named is None:
        q = false_discovery(mass, chance_mass, chance.share)
    else:
        mine, theirs = _natures(evidence.nature, groups), _natures(chance.nature, by_chance)
        q = np.ones(len(mass))
        for nature in np.unique(mine):
            q[mine == nature] = false_discovery(mass[mine == nature], chance_mass[theirs == nature], chance.share)
    probability = np.zeros(len(evidence.anomaly), np.float32)
    matrix = np.ones(len(evidence.anomaly))
    judged = evidence.judged
    matrix[judged] = local_chance(evidence.anomaly[judged], chance.anomaly[chance.judged])
    instance = np.zeros(len(evidence.anomaly), np.int32)
    class_idx = np.zeros(len(evidence.anomaly), np.int8)
    defects: list[Defect] = []
    yield Progress(2, 3, "classes")
    height = np.zeros(len(evidence.anomaly), np.float32)  # of the accepted group an ion belongs to
    links = graph.matrix()
    n_rejected = 0
    for group in np.argsort(-mass, kind="stable"):
        sure = named is not None and float(named.certain[groups[group]].mean()) > named.least_certain
        if q[group] > params.false_discovery_rate and not sure:
            n_rejected += len(groups[group]) >= params.min_ions
            continue
        nature = evidence.nature[groups[group][0]]
        if named is None:
            size, least = float(np.percentile(evidence.anomaly[groups[group]], 95)), _RIM
        else:
            unnamed = named.classes[nature] == "unknown"
            size, least = float(len(groups[group])), named.unnamed_scrap if unnamed else named.scrap
        rim = size < least * height[around(links, groups[group])].max(initial=0)
        height[groups[group]] = size
        if rim:  # of a stronger defect beside it, not a defect of its own
            continue
        for rows in cores(graph, groups[group], evidence.strength, params):
            name = None if named is None else named.classes[nature]
            defect = describe_defect(evidence, rows, float(q[group]), params, name)
            defects.append(defect)
            instance[rows] = len(defects)
            probability[rows] = (1 - matrix[rows]) * (1 - q[group])
            class_idx[rows] = DEFECT_CLASSES.index(defect.defect_class)
    return Defects(tuple(defects), instance, class_idx, probability, n_rejected)


def _natures(nature: NDArray[np.int16], groups: Sequence[NDArray[np.int64]]) -> NDArray[np.int16]:
    """Nature of each group."""
    return np.array([nature[rows[0]] for rows in groups], np.int16)
