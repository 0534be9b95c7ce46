"""Build the neighbor graph: nearest neighbors, all within a radius, or the ions whose cells touch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.graph.delaunay import touching_cells
from napari_aptdefect.apt.graph.near import nearest_ions, within_reach
from napari_aptdefect.arrays import as_points, as_vector
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.tree import PointTree, build_tree, tree_spacing
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import Params, Stage, param

_LIMIT_SPACINGS = 4.0


class GraphParams(Params):
    """Parameters of `build_graph`."""

    mode: Literal["knn", "cutoff", "delaunay", "gabriel"] = param(
        "knn",
        title="Neighbors",
        description="knn: the nearest neighbors of each ion; cutoff: all ions within a radius; delaunay: ions whose "
        "Voronoi cells share a face; gabriel: those of them with no ion in the ball between them.",
    )
    k: int = param(
        24,
        title="Number of neighbors",
        description="Neighbors of each ion in the mode knn. 24 reach past the second shell of a close packing (18).",
        ge=1,
        le=256,
    )
    max_length_nm: float | None = param(
        None,
        title="Longest edge",
        description="In the modes knn, delaunay and gabriel, leave out neighbors that are farther. Empty: keep all.",
        unit="nm",
        gt=0,
        le=1000,
    )
    cutoff_nm: float = param(
        0.6,
        title="Cutoff radius",
        description="Radius of the neighborhood in the mode cutoff; ions on the sphere count.",
        unit="nm",
        gt=0,
        le=1000,
    )
    limit_nm: float | None = param(
        None,
        title="Largest empty sphere",
        description="In the modes delaunay and gabriel, leave out edges whose ends lie on no empty sphere of this "
        "radius or less: those that span the outside of the specimen. Empty: 4 mean spacings of the ions.",
        unit="nm",
        gt=0,
        le=1000,
    )
    face_threshold: float = param(
        1e-8,
        title="Face threshold",
        description="In the modes delaunay and gabriel, leave out faces smaller than this part of the surface of both "
        "cells: rounding opens such faces where more than four cells of a lattice meet.",
        ge=0,
        le=0.1,
    )
    max_edges: int = param(
        1_000_000_000,
        title="Most edges",
        description="Stop before the graph is built when it would have more edges (8 bytes each).",
        ge=1,
        le=1_000_000_000_000,
    )


def build_graph(
    xyz_nm: ArrayLike, params: GraphParams | None = None, *, workers: int | None = None
) -> Stage[NeighborGraph]:
    """Build the neighbor graph of ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions become nodes without edges.
    params
        The parameters.
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in ions.

    Returns
    -------
    The graph. In the mode knn it is directed, and an ion has fewer than k neighbors only where fewer other ions (within
    the longest edge) exist; in the other modes it is symmetric.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ParameterError
        If the graph would have more than `max_edges` edges or 2^31 nodes, or if `limit_nm` is wanted and all ions are
        at one place.

    Notes
    -----
    Distances are Euclidean, computed in float64 from float32 positions. Neighbors are sorted by distance, and where
    distances tie, at the k-th neighbor too, the lower index comes first. An ion is not its own neighbor; another ion at
    the same place is a neighbor at distance 0. Memory beyond the graph is 40 bytes per ion (knn and cutoff).

    Two ions are Delaunay neighbors where an empty sphere passes through both, that is, where their Voronoi cells share
    a face. The smallest such sphere is centered in the point of the face that is nearest to the ions; edges whose
    smallest empty sphere is larger than `limit_nm` are left out, so that the graph ends at the specimen's surface
    instead of joining its far sides. (These are the edges of the alpha complex, Edelsbrunner & Mücke 1994 [1]_.) The
    edge is a Gabriel edge [2]_ where that point is the middle between the ions: no ion lies within the ball between
    them. Ions at one place share a cell, the edges of which lead to the first of the ions at the other end; each of
    them is joined to the first other ion at its place.

    References
    ----------
    .. [1] H. Edelsbrunner and E. P. Mücke, ACM Trans. Graph. 13, 43 (1994), doi:10.1145/174462.156635
    .. [2] K. R. Gabriel and R. R. Sokal, Syst. Zool. 18, 259 (1969), doi:10.2307/2412323

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> graph = drain(build_graph([[0, 0, 0], [0, 0, 1], [0, 0, 3]], GraphParams(k=1)))
    >>> graph.indices.tolist(), graph.lengths_nm.tolist()
    ([1, 0, 1], [1.0, 1.0, 2.0])
    """
    params = params or GraphParams()
    points, tree = _tree(xyz_nm)
    if params.mode == "knn":
        return (
            yield from nearest_ions(
                tree, len(points), params.k, params.max_length_nm, params.max_edges, workers=workers
            )
        )
    if params.mode == "cutoff":
        everything, radius = np.zeros(len(points), np.int32), np.array([[params.cutoff_nm]])
        return (yield from within_reach(tree, everything, radius, params.max_edges, workers=workers))
    limit = params.limit_nm or _LIMIT_SPACINGS * tree_spacing(tree)
    if limit <= 0:
        raise ParameterError(
            f"the {len(tree.order)} ions are all at one place, so no limit follows from them; give limit_nm"
        )
    return (
        yield from touching_cells(
            points,
            tree,
            limit_nm=limit,
            max_length_nm=params.max_length_nm,
            face_threshold=params.face_threshold,
            gabriel=params.mode == "gabriel",
            max_edges=params.max_edges,
            workers=workers,
        )
    )


def build_pair_graph(
    xyz_nm: ArrayLike,
    species: ArrayLike,
    cutoff_nm: ArrayLike,
    *,
    max_edges: int = 1_000_000_000,
    workers: int | None = None,
) -> Stage[NeighborGraph]:
    """Build the graph whose cutoff radius depends on the species of both ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm, any frame. Ions at non-finite positions become nodes without edges.
    species
        Shape (N,), integers from 0 to K - 1; -1 (unranged) for ions without edges.
    cutoff_nm
        Shape (K, K), nm, symmetric: the cutoff radius of each pair of species; ions on the sphere count, 0 for none.
    max_edges
        Stop before the graph is built when it would have more edges (8 bytes each).
    workers
        Number of threads; all processors by default. The result does not depend on it.

    Yields
    ------
    `Progress` in ions.

    Returns
    -------
    The graph, symmetric, sorted as by `build_graph`.

    Raises
    ------
    EmptySelectionError
        If no position is finite.
    ShapeError
        If there is not one species per ion or the cutoffs are not a square matrix.
    ParameterError
        If a species has no cutoff, the cutoffs are negative, not finite or not symmetric, or there are too many edges.

    Examples
    --------
    Bonds of GaN without the second shell, where like atoms are as near as 0.318 nm:

    >>> from napari_aptdefect.stage import drain
    >>> xyz = [[0, 0, 0], [0, 0, 0.195], [0, 0, 0.5185]]
    >>> graph = drain(build_pair_graph(xyz, [0, 1, 0], [[0.0, 0.25], [0.25, 0.0]]))
    >>> graph.indices.tolist()
    [1, 0]
    """
    points, tree = _tree(xyz_nm)
    kind = as_vector(species, "species", length=len(points), dtype=np.int32)
    cutoff = _pair_cutoffs(cutoff_nm, kind)
    return (yield from within_reach(tree, kind, cutoff, max_edges, workers=workers))


def _pair_cutoffs(cutoff_nm: ArrayLike, kind: NDArray[np.int32]) -> NDArray[np.float64]:
    cutoff = np.asarray(cutoff_nm, np.float64)
    if cutoff.ndim != 2 or cutoff.shape[0] != cutoff.shape[1]:
        raise ShapeError(f"cutoff_nm must be a square matrix, one row per species, got shape {cutoff.shape}")
    if not (np.isfinite(cutoff).all() and (cutoff >= 0).all() and np.array_equal(cutoff, cutoff.T)):
        raise ParameterError(
            "cutoff_nm must be finite, not negative and symmetric: each pair of species has one cutoff"
        )
    if kind.max(initial=-1) >= len(cutoff) or kind.min(initial=0) < -1:
        raise ParameterError(
            f"species must be -1 (no edges) or a row of cutoff_nm, 0 to {len(cutoff) - 1}, got {kind.min()} to "
            f"{kind.max()}"
        )
    return cutoff


def _tree(xyz_nm: ArrayLike) -> tuple[NDArray[np.float32], PointTree]:
    points = as_points(xyz_nm)
    if len(points) >= 2**31:
        raise ParameterError(f"{len(points)} ions are more than one graph can number (2^31); process tiles")
    tree = build_tree(points)
    if len(tree.order) == 0:
        raise EmptySelectionError(f"none of {len(points)} ions has a finite position, so there is no neighbor graph")
    return points, tree
