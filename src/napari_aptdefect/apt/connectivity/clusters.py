"""Clusters of solute ions by links: the core-link method, and maximum separation as its plain case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, as_vector, finite_rows, read_only
from napari_aptdefect.data.components import connected_objects
from napari_aptdefect.data.envelope import enveloped, eroded
from napari_aptdefect.data.tree import (
    STACK_SIZE,
    PointTree,
    available_processors,
    build_tree,
    count_within,
    run_blocks,
)
from napari_aptdefect.stage import Params, Progress, Stage, param

_BLOCK = 8192


class CoreLinkParams(Params):
    """Parameters of `core_link_clusters`; with the core order 0 it is the maximum separation method."""

    link_nm: float = param(
        0.5,
        title="Link distance",
        description="Core ions up to this distance from each other are in one cluster (maximum separation d_max).",
        unit="nm",
        gt=0,
        le=100,
    )
    core_order: int = param(
        0,
        title="Core order",
        description="A solute ion is a core ion when its solute neighbor of this order is within the core distance. "
        "0: all solute ions are core ions (maximum separation).",
        ge=0,
        le=100,
    )
    core_distance_nm: float = param(
        0.5,
        title="Core distance",
        description="Farthest solute neighbor of the core order of a core ion.",
        unit="nm",
        gt=0,
        le=100,
    )
    n_min: int = param(
        10, title="Least core ions", description="Core ions in a cluster at least.", unit="ions", ge=1, le=10**9
    )
    envelope_nm: float = param(
        0.0,
        title="Envelope",
        description="Ions of any species this close to a core ion of a cluster join it; 0 for none.",
        unit="nm",
        ge=0,
        le=100,
    )
    erosion_nm: float = param(
        0.0,
        title="Erosion",
        description="Enveloped ions this close to an ion outside leave the cluster again; 0 for none.",
        unit="nm",
        ge=0,
        le=100,
    )


@dataclass(frozen=True, eq=False)
class IonClusters:
    """Clusters of ions.

    Parameters
    ----------
    label
        Shape (N,), int32: cluster of each ion from 0, that of the most core ions first (of equals that with the
        earliest ion); -1 for none.
    core
        Shape (N,), bool: the core ions of the clusters.
    n_core, n_ions
        Shape (n,), int64: core ions and all ions of each cluster.
    """

    label: NDArray[np.int32]
    core: NDArray[np.bool_]
    n_core: NDArray[np.int64]
    n_ions: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("label", "core", "n_core", "n_ions"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.n_core)


def core_link_clusters(
    xyz_nm: ArrayLike, solute: ArrayLike, params: CoreLinkParams | None = None, *, workers: int | None = None
) -> Stage[IonClusters]:
    """Find clusters of solute ions by links between core ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm: all ions. Those at non-finite positions are in no cluster.
    solute
        Shape (N,), bool: the ions that may be core ions.
    params
        The parameters.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in ions and steps.

    Returns
    -------
    The clusters.

    Raises
    ------
    ShapeError
        If `solute` has not one value per ion.
    ParameterError
        If the link distance is too short for the extent of the specimen.

    Notes
    -----
    Four steps [1]_: solute ions whose neighbor of the core order is near are core ions; core ions within the link
    distance are in one cluster, if they are at least `n_min`; ions around a core ion join the cluster of the nearest
    one (envelope); those near an ion outside leave again (erosion). Without the first step this is the maximum
    separation method (d_max, N_min, envelope L, erosion d_e) [2]_. Distances count up to and including the given ones.

    Links and sizes depend on the density of the solute: random solute ions at the density rho percolate where
    ``4/3 pi rho d^3 = 2.74`` (see `percolation`), and far below it chance alone links some. Choose `n_min` from
    relabeled ions.

    References
    ----------
    .. [1] L. T. Stephenson, M. P. Moody, P. V. Liddicoat, S. P. Ringer, Microsc. Microanal. 13, 448 (2007),
       doi:10.1017/S1431927607070900
    .. [2] D. Vaumousse, A. Cerezo, P. J. Warren, Ultramicroscopy 95, 215 (2003), doi:10.1016/S0304-3991(02)00319-4

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> xyz = [[0, 0, 0], [0, 0, 0.4], [0, 0, 3], [0, 0, 0.7]]
    >>> params = CoreLinkParams(n_min=2, envelope_nm=0.4)
    >>> drain(core_link_clusters(xyz, [True, True, True, False], params)).label.tolist()
    [0, 0, -1, 0]
    """
    params = params or CoreLinkParams()
    points = as_points(xyz_nm)
    chosen = as_vector(solute, "solute", length=len(points), dtype=np.bool_)
    finite = np.flatnonzero(finite_rows(points))
    xyz = points[finite]
    rows = np.flatnonzero(chosen[finite])
    cores = xyz[rows]
    alone = np.zeros(len(rows), np.int32)
    if params.core_order:
        tree = build_tree(cores)

        def classify(start: int, stop: int) -> None:
            _few_near(tree, start, stop, params.core_distance_nm**2, params.core_order, alone)

        yield from run_blocks(classify, len(rows), block=_BLOCK, message="Finding core ions", workers=workers)
    yield Progress(1, 3, "Linking core ions")
    linked = connected_objects(cores, -alone, params.link_nm, params.n_min)
    yield Progress(2, 3, "Adding the envelope")
    n_workers = workers or available_processors()
    label = enveloped(xyz, rows, linked - 1, params.envelope_nm, workers=n_workers)
    core = np.zeros(len(xyz), bool)
    core[rows[linked > 0]] = True
    label = eroded(xyz, label, core, params.erosion_nm, workers=n_workers)
    yield Progress(3, 3, "Clusters")
    n = int(linked.max(initial=0))
    every_label, every_core = np.full(len(points), -1, np.int32), np.zeros(len(points), bool)
    every_label[finite], every_core[finite] = label, core
    return IonClusters(
        every_label,
        every_core,
        np.bincount(linked, minlength=n + 1)[1:].astype(np.int64),
        np.bincount(label[label >= 0], minlength=n).astype(np.int64),
    )


@njit(cache=True, nogil=True)
def _few_near(tree: PointTree, start: int, stop: int, radius2: float, order: int, few: NDArray[np.int32]) -> None:
    stack = np.empty(STACK_SIZE, np.int32)
    for row in range(start, stop):
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        few[tree.order[row]] = count_within(tree, x, y, z, radius2, order + 1, stack) <= order
