"""Modes of a density: crowds of points, apart where the density between them falls by more than chance explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.clustering.gate import Gate
from napari_aptdefect.arrays import finite_rows, read_only
from napari_aptdefect.data.components import root_of
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.stage import Params, Progress, Stage, param


class ModesParams(Params):
    """Parameters of `density_modes`; none is a length, and none needs labels."""

    neighbors: int = param(
        24,
        title="Neighbors",
        description="The density at a point follows from the distance to its neighbor of this number; its relative "
        "error is one over the root of it.",
        unit="ions",
        ge=4,
        le=1_000,
    )
    level: float = param(
        0.05,
        title="Level",
        description="Chance that a specimen of uniform density is split anywhere.",
        ge=0.001,
        le=0.5,
    )
    repeats: int = param(
        19,
        title="Repeats",
        description="Number of random point sets that chance is known from; at least 1 / level - 1.",
        ge=1,
        le=9_999,
    )


@dataclass(frozen=True, eq=False)
class DensityModes:
    """Parts of a point set, one around each mode of its density.

    Parameters
    ----------
    label
        Shape (N,), int32: mode whose basin each point lies in, from 0, the largest basin first.
    peak
        Shape (n,), int64: the point of highest density of each mode.
    prominence
        Shape (n,), float64: fall of the logarithm of the density from the peak to the pass to a higher one; infinite
        where no pass leads there.
    p_value
        Shape (n,), float64: chance that a uniform density has any mode that prominent.
    threshold
        Prominence that was asked for.
    """

    label: NDArray[np.int32]
    peak: NDArray[np.int64]
    prominence: NDArray[np.float64]
    p_value: NDArray[np.float64]
    threshold: float

    def __post_init__(self) -> None:
        for name in ("label", "peak", "prominence", "p_value"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.peak)


def density_modes(
    points: ArrayLike, params: ModesParams | None = None, *, seed: int = 0, workers: int = 1
) -> Stage[DensityModes]:
    """Split points into the basins of the modes of their density.

    Parameters
    ----------
    points
        Shape (N, d), any unit, finite: positions in nm, or an embedding of a few dimensions. Every point gets a mode,
        so gate out the matrix before.
    params
        Parameters; the defaults when None.
    seed
        Seed of the random point sets.
    workers
        Number of threads; the result does not depend on it.

    Yields
    ------
    `Progress` in point sets.

    Raises
    ------
    ShapeError
        If the points are not finite numbers of shape (N, d).
    ParameterError
        If there are fewer points than neighbors + 1, or too few repeats for the level.

    Notes
    -----
    Each point climbs to its densest neighbor; where two basins meet, the one of lower peak joins the other if its peak
    is less prominent than a threshold (ToMATo: Chazal et al. 2013, doi 10.1145/2535927). With the density from the k-th
    neighbor, k / (N V_d r_k^d), errors of its logarithm depend on k alone and on no scale. The prominence that chance
    gives is therefore that of as many points of uniform density, in a cube: the threshold is the largest prominence in
    such sets at the stated level, p = (1 + number of sets with one at least as large) / (repeats + 1).
    """
    params = params or ModesParams()
    values = np.asarray(points)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not finite_rows(values.astype(np.float64)).all():
        raise ShapeError(f"points must be finite numbers of shape (N, d), got {values.dtype} of shape {values.shape}")
    if len(values) <= params.neighbors:
        raise ParameterError(f"{len(values)} points have no neighbor of number {params.neighbors}; lower `neighbors`")
    if params.level * (params.repeats + 1) < 1 - 1e-9:
        raise ParameterError(
            f"{params.repeats} repeats can't show a chance of {params.level}; take {int(np.ceil(1 / params.level)) - 1}"
        )
    rng = np.random.default_rng([seed, 0x3D])
    by_chance = np.zeros(params.repeats)
    for i in range(params.repeats):
        yield Progress(i, params.repeats + 1, "Modes by chance")
        random = _Relief.of(rng.random(values.shape), params.neighbors, workers)
        falls = random.merge(np.inf)[1]
        by_chance[i] = falls[np.isfinite(falls)].max(initial=0.0)
    yield Progress(params.repeats, params.repeats + 1, "Modes")
    gate = Gate.fit(by_chance)
    threshold = gate.threshold(params.level)
    relief = _Relief.of(values.astype(np.float64), params.neighbors, workers)
    fall = relief.merge(np.inf)[1]
    root, _ = relief.merge(threshold)
    peak, inverse, size = np.unique(root, return_inverse=True, return_counts=True)
    rank = np.lexsort((relief.place[peak], -size))
    number = np.empty(len(peak), np.int32)
    number[rank] = np.arange(len(peak))
    peak = peak[rank]
    return DensityModes(number[inverse], peak, fall[peak], gate.p_values(fall[peak]), threshold)


@dataclass(frozen=True, eq=False)
class _Relief:
    """Logarithm of the density at each point, its neighbors, and its place from the highest (0) to the lowest."""

    height: NDArray[np.float64]
    neighbors: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, points: NDArray[np.float64], k: int, workers: int) -> _Relief:
        from scipy.spatial import cKDTree

        distance, index = cKDTree(points).query(points, k=k + 1, workers=workers)
        reach = distance[:, k]
        above = reach[reach > 0]
        reach = np.maximum(reach, above.min() if len(above) else 1.0)  # points at one place
        height = -points.shape[1] * np.log(reach)
        # two points that are each other's k-th neighbor are equally high: their coordinates decide, not their order
        order = np.lexsort((*points.T, -height))
        place = np.empty(len(points), np.int64)
        place[order] = np.arange(len(points))
        return cls(height, np.ascontiguousarray(index), place)

    def merge(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Peak of each point's basin, and prominence of each point that is one (infinite where it joins no other)."""
        found: tuple[NDArray[np.int64], NDArray[np.float64]] = _merge(
            self.height, self.neighbors, self.place, np.argsort(self.place), threshold
        )
        return found


@njit(cache=True, nogil=True)
def _merge(
    height: NDArray[np.float64],
    neighbors: NDArray[np.int64],
    place: NDArray[np.int64],
    order: NDArray[np.int64],
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    n = len(height)
    parent, fall = np.arange(n), np.full(n, np.inf)
    for i in order:
        best = i
        for j in neighbors[i]:
            if place[j] < place[best]:
                best = j
        if best == i:
            continue
        parent[i] = root_of(parent, best)
        for j in neighbors[i]:
            if place[j] < place[i]:
                a, b = root_of(parent, i), root_of(parent, j)
                if a == b:
                    continue
                low, high = (a, b) if place[a] > place[b] else (b, a)
                if height[low] - height[i] < threshold or height[low] - height[i] == 0.0:
                    parent[low] = high
                    fall[low] = height[low] - height[i]
    for i in range(n):
        parent[i] = root_of(parent, i)
    return parent, fall
