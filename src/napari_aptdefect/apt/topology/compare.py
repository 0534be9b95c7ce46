"""Topology of places of interest beside that of places of the same size in the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_aptdefect.apt.topology.alpha import persistence
from napari_aptdefect.apt.topology.model import N_DIMENSIONS, PersistenceDiagrams, TopologyParams, load_gudhi
from napari_aptdefect.apt.topology.region import Region
from napari_aptdefect.arrays import as_points, as_vector, read_only
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Params, Progress, Stage, param

_STEP_NM: Final = 0.5  # places of about the same size share the matrix places that they are compared with
_TRIES: Final = 50


class PlacesParams(Params):
    """Parameters of the topology of places of interest."""

    max_places: int = param(
        20, title="Places at most", description="The first ones are taken, which are the most probable.", ge=1, le=1000
    )
    n_matrix: int = param(
        9,
        title="Matrix places",
        description="Balls of the same size in the matrix; n of them give a place a chance of at least 1/(n + 1).",
        ge=1,
        le=1000,
    )
    least_radius_nm: float = param(
        1.5, title="Least radius", description="Smaller balls are enlarged to this.", unit="nm", ge=0.5, le=100.0
    )
    most_radius_nm: float = param(
        4.0,
        title="Largest radius",
        description="Larger balls are cut to this around their center: time grows with the ions in them.",
        unit="nm",
        ge=0.5,
        le=100.0,
    )
    max_ions: int = param(
        100_000,
        title="Ions at most",
        description="Balls with more ions are left out.",
        unit="ions",
        ge=10,
        le=2_000_000,
    )


@dataclass(frozen=True, eq=False)
class PlaceTopology:
    """A ball around one place, beside balls of its size in the matrix; per dimension: components, loops, cavities.

    Parameters
    ----------
    place
        Index of the place.
    radius_nm
        Of the ball, nm.
    diagrams
        Births and deaths in the ball.
    n_classes, longest_nm, total_nm, entropy
        Shape (3,): classes, the longest life and the sum of lives in nm, persistence entropy.
    n_ions_matrix
        Mean number of ions of the matrix balls.
    n_classes_matrix, longest_matrix_nm, total_matrix_nm, entropy_matrix
        Shape (3,): their means over the matrix balls.
    chance
        Shape (3,): share of all balls, this one among them, whose longest life is at least as long.
    matrix
        Births and deaths in the matrix balls.
    """

    place: int
    radius_nm: float
    diagrams: PersistenceDiagrams
    n_classes: NDArray[np.int64]
    longest_nm: NDArray[np.float64]
    total_nm: NDArray[np.float64]
    entropy: NDArray[np.float64]
    n_ions_matrix: float
    n_classes_matrix: NDArray[np.float64]
    longest_matrix_nm: NDArray[np.float64]
    total_matrix_nm: NDArray[np.float64]
    entropy_matrix: NDArray[np.float64]
    chance: NDArray[np.float64]
    matrix: tuple[PersistenceDiagrams, ...]


def compare_places(
    xyz_nm: ArrayLike,
    center_nm: ArrayLike,
    radius_nm: ArrayLike,
    matrix: ArrayLike,
    surface_nm: ArrayLike,
    params: PlacesParams | None = None,
    seed: int = 0,
) -> Stage[list[PlaceTopology]]:
    """Compare the persistent homology of balls around places with that of balls in the matrix.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm.
    center_nm, radius_nm
        Places, shape (K, 3) and (K,), nm; radii are rounded up to 0.5 nm within the bounds of the parameters.
    matrix
        Ions that belong to no place, shape (N,), bool: a ball in the matrix holds no other.
    surface_nm
        Distance of each ion from the surface of the specimen, shape (N,), nm: a ball in the matrix stays inside.
    params
        Parameters; the defaults when None.
    seed
        Seed of the matrix balls.

    Returns
    -------
    One entry per place that could be compared, in order; a place without enough ions, with too many, or of a size for
    which the matrix has no room is not among them.

    Raises
    ------
    MissingExtraError
        If GUDHI is not installed.
    ShapeError
        If the arrays don't belong together.

    Notes
    -----
    The matrix has the density, blur and losses of the specimen, which a uniform random cloud has not. With n matrix
    balls and a place that is one of them, each `chance` is uniform on 1/(n + 1), ..., 1: its least value is no proof.
    Balls in the matrix may overlap, which makes them alike.
    """
    params = params or PlacesParams()
    load_gudhi()
    xyz = as_points(xyz_nm)
    centers = as_points(center_nm)[: params.max_places]
    n_places = len(as_points(center_nm))
    wanted = as_vector(radius_nm, "radius_nm", length=n_places, dtype=np.float64)[: params.max_places]
    clear = as_vector(matrix, "matrix", length=len(xyz), dtype=np.bool_)
    depth = as_vector(surface_nm, "surface_nm", length=len(xyz), dtype=np.float64)
    sizes = np.clip(np.ceil(wanted / _STEP_NM) * _STEP_NM, params.least_radius_nm, params.most_radius_nm)
    balls = _Balls(xyz, clear, depth, params)
    seen: dict[float, tuple[PersistenceDiagrams, ...]] = {}
    found = []
    for k, (center, radius) in enumerate(zip(centers, sizes.tolist(), strict=True)):
        yield Progress(k, len(centers), f"topology of place {k + 1}")
        own = balls.diagrams(center, radius)
        if own is None:
            continue
        if radius not in seen:
            rng = np.random.default_rng([seed, round(1000 * radius)])
            parts: list[PersistenceDiagrams] = []
            for one in balls.in_matrix(radius, rng):
                yield Progress(k, len(centers), f"topology of the matrix, {len(parts) + 1} of {params.n_matrix}")
                parts.append(one)
            seen[radius] = tuple(parts)
        if seen[radius]:
            found.append(_compared(k, radius, own, seen[radius]))
    yield Progress(len(centers), len(centers), "done")
    return found


class _Balls:
    """Balls of a cloud, and their diagrams."""

    def __init__(
        self, xyz: NDArray[np.float32], clear: NDArray[np.bool_], depth: NDArray[np.float64], params: PlacesParams
    ) -> None:
        self.xyz, self.params = xyz, params
        self.tree = cKDTree(xyz)
        self.depth = np.where(clear, depth, -np.inf)
        occupied = xyz[~clear]
        self.others = cKDTree(occupied) if len(occupied) else None

    def diagrams(self, center: NDArray[np.float32], radius: float) -> PersistenceDiagrams | None:
        """Diagrams of one ball; None where it holds too few ions, or too many."""
        near = self.xyz[self.tree.query_ball_point(center, radius + 1e-3)]
        limits = TopologyParams(max_ions=self.params.max_ions)
        try:
            return persistence(near, Region.ball(center, radius), limits)
        except (EmptySelectionError, ParameterError):
            return None

    def in_matrix(self, radius: float, rng: np.random.Generator) -> Iterator[PersistenceDiagrams]:
        """Diagrams of balls around random ions of the matrix, far enough from places and surface."""
        deep = np.flatnonzero(self.depth >= radius)
        n_found = 0
        for row in rng.permutation(deep)[: _TRIES * self.params.n_matrix].tolist():
            center = self.xyz[row]
            if self.others is not None and self.others.query(center, distance_upper_bound=radius)[0] < radius:
                continue
            own = self.diagrams(center, radius)
            if own is not None:
                yield own
                n_found += 1
            if n_found == self.params.n_matrix:
                return


def _compared(
    k: int, radius: float, own: PersistenceDiagrams, matrix: tuple[PersistenceDiagrams, ...]
) -> PlaceTopology:
    mine, theirs = _numbers(own), np.array([_numbers(one) for one in matrix])
    longer = np.count_nonzero(theirs[:, 1] >= mine[1], axis=0)
    classes, longest, total, entropy = (read_only(row) for row in mine)
    classes_matrix, longest_matrix, total_matrix, entropy_matrix = (read_only(row) for row in theirs.mean(axis=0))
    return PlaceTopology(
        place=k,
        radius_nm=radius,
        diagrams=own,
        n_classes=read_only(classes.astype(np.int64)),
        longest_nm=longest,
        total_nm=total,
        entropy=entropy,
        n_ions_matrix=float(np.mean([one.n_ions for one in matrix])),
        n_classes_matrix=classes_matrix,
        longest_matrix_nm=longest_matrix,
        total_matrix_nm=total_matrix,
        entropy_matrix=entropy_matrix,
        chance=read_only((longer + 1) / (len(matrix) + 1)),
        matrix=matrix,
    )


def _numbers(one: PersistenceDiagrams) -> NDArray[np.float64]:
    """Number of classes, longest life, sum of lives, entropy; shape (4, 3)."""
    lives = [one.lifetimes_nm(d) for d in range(N_DIMENSIONS)]
    return np.array(
        [
            [len(life) for life in lives],
            [life.max(initial=0.0) for life in lives],
            [life.sum() for life in lives],
            [one.entropy(d) for d in range(N_DIMENSIONS)],
        ]
    )
