"""Maximum separation: solute ions linked by short steps, more of them than chance would link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_aptdefect.data.components import connected_objects
from napari_aptdefect.data.envelope import enveloped, eroded
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines.clustering import COORDINATES, Baseline, Clustering
from napari_aptdefect.evaluate.baselines.extension import renumbered
from napari_aptdefect.evaluate.baselines.features import selected_ions
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params, param

_FEWEST: Final = 2  # solute ions in a cluster, whatever the null says


class MaximumSeparationParams(Params):
    """Parameters of maximum separation; the bounds are the range of the search."""

    d_max_nm: float = param(
        0.6, title="Maximum separation", description="Longest link between solute ions.", unit="nm", ge=0.2, le=2.0
    )
    order: int = param(
        1,
        title="Order",
        description="A solute ion is a core ion when its neighbor of this order, a solute too, is within the maximum "
        "separation; 1 is the plain method.",
        ge=1,
        le=8,
    )
    envelope_nm: float = param(
        0.5,
        title="Envelope",
        description="Ions of any species this close to a core ion of a cluster join it.",
        unit="nm",
        ge=0.0,
        le=2.0,
    )
    erosion_nm: float = param(
        0.0,
        title="Erosion",
        description="Enveloped ions this close to an ion outside leave the cluster again.",
        unit="nm",
        ge=0.0,
        le=1.0,
    )
    anomalous_share: float = param(
        0.01,
        title="Anomalous share",
        description="On fused features: share of the judged ions, those of highest anomaly, that are linked.",
        ge=0.0005,
        le=0.1,
    )
    n_min: int = param(
        0,
        title="Least core ions",
        description="Core ions in a cluster at least; 0 takes the number from random labels.",
        unit="ions",
        ge=0,
        le=100_000,
    )
    n_relabelings: int = param(
        19, title="Relabelings", description="How often the labels are permuted.", ge=1, le=1_000
    )
    false_clusters: float = param(
        0.05,
        title="False clusters",
        description="Expected number of clusters that random labels may give in the whole specimen.",
        ge=0.001,
        le=100.0,
    )


@dataclass(frozen=True)
class MaximumSeparation(Baseline):
    """Maximum separation with envelope and erosion, the least size from random labels.

    On coordinates and composition it links the solutes; on fused features the ions of highest anomaly. Anomaly varies
    smoothly in space and random labels don't, so there the least size is too small and says nothing of false claims.

    Notes
    -----
    Core ions (those whose solute neighbor of the given order is within d_max) are linked where they are within d_max of
    each other; components of at least N_min core ions are clusters. All ions within the envelope join the nearest core
    ion's cluster; then those of them within the erosion distance of an ion outside leave.

    N_min: the labels are permuted R times among the ranged ions (fused features: the judged ions), which keeps the
    positions and with them every artifact of density. N_min is the least size s with

        (1 + sum over the permutations of the clusters of size >= s) / (R + 1) <= the stated number of false clusters.

    Where the labels carry no information, the measured specimen is one more permutation, so this bounds the chance of
    any false cluster (a Monte Carlo test, Davison & Hinkley 1997, section 4.2); R + 1 must reach 1 / the stated number.
    A specimen of solutes alone has no labels to permute: there uniformly random positions in its bounding box take
    their place.

    References
    ----------
    Vaumousse et al. 2003, Ultramicroscopy 95, 215 (envelope, erosion); Stephenson et al. 2007,
    doi 10.1017/S1431927607070900 (order, random labels); Hyde et al. 2011, Ultramicroscopy 111, 440 (choice of
    parameters).
    """

    name: ClassVar[str] = "maximum separation"
    params_model: ClassVar[type[Params]] = MaximumSeparationParams
    settings: ClassVar[frozenset[str]] = frozenset({"n_min", "n_relabelings", "false_clusters"})
    fused_only: ClassVar[frozenset[str]] = frozenset({"anomalous_share"})

    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering:
        p = cast("MaximumSeparationParams", params)
        rows = selected_ions(specimen, self.space, p.anomalous_share)
        among = np.flatnonzero(specimen.ranged if self.space == COORDINATES else specimen.judged)
        n_min = p.n_min or least_size(specimen.xyz_nm[among], len(rows), p, seed)
        linked = core_clusters(specimen.xyz_nm[rows], p.d_max_nm, p.order, max(n_min, _FEWEST))
        label = enveloped(specimen.xyz_nm, rows, linked - 1, p.envelope_nm)
        core = np.zeros(len(specimen), bool)
        core[rows[linked > 0]] = True
        return Clustering.of_clusters(renumbered(eroded(specimen.xyz_nm, label, core, p.erosion_nm)))


def core_clusters(xyz_nm: NDArray[np.float32], d_max_nm: float, order: int = 1, n_min: int = 2) -> NDArray[np.int32]:
    """Link core ions.

    Parameters
    ----------
    xyz_nm
        Positions of the solute ions, shape (M, 3), nm.
    d_max_nm
        Longest link, nm.
    order
        An ion is a core ion when its neighbor of this order is no farther than the longest link.
    n_min
        Core ions in a cluster at least.

    Returns
    -------
    Cluster of each core ion, shape (M,), int32, from 1, the largest first; 0 for none.
    """
    core = np.zeros(len(xyz_nm), np.int32)
    if order > 1 and len(xyz_nm):  # an ion without a first neighbor is a component of one, too small anyway
        limit = np.nextafter(d_max_nm, np.inf)
        distance, _ = cKDTree(xyz_nm).query(xyz_nm, k=[order + 1], distance_upper_bound=limit)
        core[~np.isfinite(distance[:, 0])] = -1
    return connected_objects(xyz_nm, core, d_max_nm, n_min)


def least_size(xyz_nm: NDArray[np.float32], n_solutes: int, params: MaximumSeparationParams, seed: int) -> int:
    """Size of a cluster that random labels don't reach; see `MaximumSeparation`.

    Parameters
    ----------
    xyz_nm
        Positions among which the labels are permuted, shape (M, 3), nm.
    n_solutes
        How many of them are solutes.
    params
        Links, number of permutations and the stated number of false clusters.
    seed
        Seed of the permutations.

    Raises
    ------
    ParameterError
        If the number of permutations is too small for the stated number of false clusters.
    """
    allowed = params.false_clusters * (params.n_relabelings + 1) - 1
    if allowed < -1e-9:
        raise ParameterError(
            f"{params.n_relabelings} relabelings can't show fewer than {1 / (params.n_relabelings + 1):.3g} false "
            f"clusters; false_clusters = {params.false_clusters} needs {int(np.ceil(1 / params.false_clusters)) - 1}"
        )
    if n_solutes < _FEWEST:
        return _FEWEST
    rng = np.random.default_rng([seed, 0x25])
    found: list[NDArray[np.int64]] = []
    for _ in range(params.n_relabelings):
        if n_solutes < len(xyz_nm):
            random = xyz_nm[rng.choice(len(xyz_nm), n_solutes, replace=False)]
        else:
            random = rng.uniform(xyz_nm.min(axis=0), xyz_nm.max(axis=0), xyz_nm.shape).astype(np.float32)
        found.append(np.bincount(core_clusters(random, params.d_max_nm, params.order))[1:])
    sizes = np.sort(np.concatenate(found))[::-1]
    n_allowed = int(allowed + 1e-9)
    return max(_FEWEST, int(sizes[n_allowed]) + 1) if len(sizes) > n_allowed else _FEWEST
