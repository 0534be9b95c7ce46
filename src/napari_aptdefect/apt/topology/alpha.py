"""Persistent homology of the alpha complex of a region, beside that of random clouds."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.topology.model import (
    N_DIMENSIONS,
    PersistenceDiagrams,
    TopologicalFeatures,
    TopologyParams,
    load_gudhi,
)
from napari_aptdefect.apt.topology.region import Region
from napari_aptdefect.arrays import as_points, finite_rows
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Progress, Stage

_LEAST_IONS: Final = 5


def persistence(
    xyz_nm: ArrayLike, region: Region | None = None, params: TopologyParams | None = None
) -> PersistenceDiagrams:
    """Persistent homology of the alpha complex of the ions in a region.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; rows with a non-finite value are left out.
    region
        Region; the box around all ions when None.
    params
        Parameters; the defaults when None.

    Raises
    ------
    MissingExtraError
        If GUDHI is not installed.
    EmptySelectionError
        If the region holds fewer than five ions at different places.
    ParameterError
        If the region holds more than `max_ions`.

    Notes
    -----
    The alpha complex at radius r is the part of the Delaunay triangulation that balls of radius r around the ions cover
    each within its Voronoi cell; it has the homology of their union [1]. GUDHI [2] filters by the squared radius; here
    it is the radius. Coefficients are integers modulo 2. The Euler characteristic is the alternating sum of the
    Betti numbers.

    References
    ----------
    [1] H. Edelsbrunner, J. Harer, Computational Topology: An Introduction, AMS 2010, sections III.4 and VII.1.
    [2] GUDHI Project, GUDHI User and Reference Manual, 3.13, https://gudhi.inria.fr; V. Rouvreau, Alpha complex.
    """
    params = params or TopologyParams()
    xyz = as_points(xyz_nm)
    xyz = xyz[finite_rows(xyz)]
    if not len(xyz):
        raise EmptySelectionError("no ion has a finite position; there is no topology to compute")
    if region is None:
        low, high = xyz.min(axis=0).astype(np.float64), xyz.max(axis=0).astype(np.float64)
        region = Region(low, np.maximum(np.nextafter(high, np.inf), low + 1e-6))
    return _diagrams(xyz[region.holds(xyz)].astype(np.float64), region, params)


def topological_features(
    xyz_nm: ArrayLike, region: Region | None = None, params: TopologyParams | None = None, seed: int = 0
) -> Stage[TopologicalFeatures]:
    """Topology of a region beside that of random clouds with as many ions in the same region.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    region
        Region; the box around all ions when None. The reference is uniform, so the region should be: choose it inside
        the specimen.
    params
        Parameters; the defaults when None.
    seed
        Seed of the reference clouds.

    Yields
    ------
    Progress over the clouds.

    Raises
    ------
    MissingExtraError, EmptySelectionError, ParameterError
        As `persistence`.

    Notes
    -----
    Loops and cavities that the edge of the region cuts open or closes are there in the reference clouds as well. With
    a uniform cloud, the longest life among it and n references is as likely in any of the n + 1.
    """
    params = params or TopologyParams()
    total = params.n_references + 1
    yield Progress(0, total, "topology")
    own = persistence(xyz_nm, region, params)
    radii = np.linspace(0, params.max_radius_nm, params.n_radii)
    rng = np.random.default_rng(seed)
    references = []
    for i in range(params.n_references):
        yield Progress(1 + i, total, "topology of random clouds")
        references.append(_diagrams(own.region.random(own.n_ions, rng), own.region, params))
    longest = np.array([[one.lifetimes_nm(d).max(initial=0.0) for d in range(N_DIMENSIONS)] for one in references])
    threshold = longest.max(axis=0)
    beyond = [np.maximum(own.lifetimes_nm(d) - threshold[d], 0) for d in range(N_DIMENSIONS)]
    yield Progress(total, total, "done")
    return TopologicalFeatures(
        n_ions=own.n_ions,
        density_nm3=own.n_ions / own.region.volume_nm3(rng),
        radii_nm=radii,
        betti=own.betti(radii),
        betti_reference=np.mean([one.betti(radii) for one in references], axis=0),
        euler=own.euler_characteristic(radii),
        euler_reference=np.mean([one.euler_characteristic(radii) for one in references], axis=0),
        entropy=np.array([own.entropy(d) for d in range(N_DIMENSIONS)]),
        entropy_reference=np.mean([[one.entropy(d) for d in range(N_DIMENSIONS)] for one in references], axis=0),
        n_above=np.array([np.count_nonzero(life) for life in beyond]),
        persistence_above_nm=np.array([life.sum() for life in beyond]),
        threshold_nm=threshold,
        probability=1 / total,
    )


def _diagrams(points: NDArray[np.float64], region: Region, params: TopologyParams) -> PersistenceDiagrams:
    gudhi = load_gudhi()
    if len(points) > params.max_ions:
        raise ParameterError(
            f"the region holds {len(points)} ions, more than max_ions = {params.max_ions}; choose a smaller region or "
            "one species only, or raise max_ions: time and memory grow in proportion"
        )
    points = np.unique(points, axis=0)
    if len(points) < _LEAST_IONS:
        raise EmptySelectionError(
            f"the region holds {len(points)} ions at different places, a topology needs {_LEAST_IONS}; "
            "choose a larger one"
        )
    tree = gudhi.AlphaComplex(points=points, precision="safe").create_simplex_tree()
    tree.compute_persistence(homology_coeff_field=2, min_persistence=0.0)
    intervals = tuple(_radii(tree.persistence_intervals_in_dimension(d)) for d in range(N_DIMENSIONS))
    return PersistenceDiagrams(intervals, len(points), region)


def _radii(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.sqrt(np.maximum(np.asarray(squared, np.float64).reshape(-1, 2), 0.0))
    return np.asarray(out[np.lexsort((out[:, 1], out[:, 0]))])
