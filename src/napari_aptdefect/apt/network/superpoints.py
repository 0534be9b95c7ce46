"""Superpoints: ions gathered in small cells, linked over several distances across and along the specimen axis.

A graph of ions reaches 1 nm in three hops; a fault or a dislocation is known by what lies 10 nm away. Gathered in cells
of half a cubic nanometer a million ions become thirty thousand nodes, and links of 3 and 4 nm see whole objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.stage import Params, param

Offset = tuple[int, int, int]

_ACROSS: Final[tuple[Offset, ...]] = tuple((i, j, 0) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))
_FAR_ACROSS: Final[tuple[Offset, ...]] = (
    *((3, 0, 0), (-3, 0, 0), (0, 3, 0), (0, -3, 0)),
    *((2, 2, 0), (2, -2, 0), (-2, 2, 0), (-2, -2, 0)),
)
RELATIONS: Final[dict[str, tuple[Offset, ...]]] = {
    "across": _ACROSS,
    "along": ((0, 0, -2), (0, 0, -1), (0, 0, 1), (0, 0, 2)),
    "far across": _FAR_ACROSS,
    "far along": ((0, 0, -8), (0, 0, -4), (0, 0, 4), (0, 0, 8)),
}
"""Steps of the links of each relation, in cells. Links across and along the axis are kept apart, so that layers, lines
and balls look different to a filter that knows no directions."""

_PAD: Final = 8  # no step is longer


class SuperpointParams(Params):
    """Size of the cells."""

    across_nm: float = param(
        1.0,
        title="Width of the cells",
        description="Edge of the cells across the specimen axis. Links reach 1 and 3 cells.",
        unit="nm",
        ge=0.2,
        le=10.0,
    )
    along_nm: float = param(
        0.5,
        title="Height of the cells",
        description="Edge of the cells along the specimen axis. Links reach 1, 2, 4 and 8 cells.",
        unit="nm",
        ge=0.1,
        le=10.0,
    )

    @property
    def edges_nm(self) -> NDArray[np.float64]:
        """Edges of a cell, shape (3,), nm."""
        return np.array([self.across_nm, self.across_nm, self.along_nm])


@dataclass(frozen=True, eq=False)
class Superpoints:
    """Cells that hold ions.

    Parameters
    ----------
    cell
        Shape (M, 3), int32: place of each cell on its grid, in ascending order.
    n_ions
        Shape (M,), int32: ions in each cell, at least one.
    member
        Shape (N,), int32: cell of each ion.
    corner, weight
        Shape (N, 8), int32 and float32: the cells whose centers surround each ion, and their trilinear weights, which
        sum to one over those that hold ions. Where none of a weight exists, the ion's own cell has it all.
    relations
        One symmetric graph over the cells for each of `RELATIONS`, in that order.
    """

    cell: NDArray[np.int32]
    n_ions: NDArray[np.int32]
    member: NDArray[np.int32]
    corner: NDArray[np.int32]
    weight: NDArray[np.float32]
    relations: tuple[NeighborGraph, ...]

    def __len__(self) -> int:
        return len(self.cell)

    def mean(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Mean of a quantity over the ions of each cell.

        Parameters
        ----------
        values
            Shape (N, F), without missing values.

        Returns
        -------
        Shape (M, F), float32.
        """
        if len(values) != len(self.member):
            raise ShapeError(f"values of {len(values)} ions do not fit superpoints of {len(self.member)}")
        order = np.argsort(self.member, kind="stable")
        first = np.concatenate([[0], np.cumsum(self.n_ions[:-1], dtype=np.int64)])
        out = np.empty((len(self), values.shape[1]), np.float32)
        for column in range(values.shape[1]):  # a sorted copy of one column at a time bounds the memory
            sums = np.add.reduceat(values[order, column].astype(np.float64), first)
            out[:, column] = sums / self.n_ions
        return out


def gather(local_nm: ArrayLike, params: SuperpointParams | None = None) -> Superpoints:
    """Gather ions in cells and link the cells.

    Parameters
    ----------
    local_nm
        Positions, shape (N, 3), nm, finite, the third coordinate along the specimen axis.
    params
        Size of the cells; the defaults when None.

    Raises
    ------
    EmptySelectionError
        If there is no ion.

    Examples
    --------
    >>> found = gather([[0.0, 0, 0], [0.1, 0, 0], [1.05, 0, 0]])
    >>> len(found), found.n_ions.tolist(), found.member.tolist()
    (2, [2, 1], [0, 0, 1])
    """
    edges = (params or SuperpointParams()).edges_nm
    xyz = as_points(local_nm)
    if len(xyz) == 0:
        raise EmptySelectionError("no ion is left to gather")
    place = (xyz - xyz.min(axis=0)) / edges
    cell = place.astype(np.int64)
    shape = cell.max(axis=0) + 1 + 2 * _PAD
    key, member, n_ions = np.unique(_key(cell, shape), return_inverse=True, return_counts=True)
    cells = np.stack(np.unravel_index(key, shape), axis=1) - _PAD
    corner, weight = _surrounding(place, key, shape, member)
    return Superpoints(
        cells.astype(np.int32), n_ions.astype(np.int32), member.astype(np.int32), corner, weight, relate(cells, params)
    )


def relate(cells: NDArray[np.integer], params: SuperpointParams | None = None) -> tuple[NeighborGraph, ...]:
    """Link cells.

    Parameters
    ----------
    cells
        Shape (M, 3): places on the grid, not negative, each once, in ascending order.
    params
        Size of the cells; the defaults when None.

    Returns
    -------
    One symmetric graph for each of `RELATIONS`.
    """
    edges = (params or SuperpointParams()).edges_nm
    place = np.asarray(cells, np.int64)
    shape = place.max(axis=0) + 1 + 2 * _PAD
    key = _key(place, shape)
    return tuple(_link(place, key, shape, steps, edges) for steps in RELATIONS.values())


def part(points: Superpoints, rows: NDArray[np.integer]) -> tuple[NeighborGraph, ...]:
    """Relations among some of the cells only.

    Parameters
    ----------
    points
        All cells.
    rows
        Which of them, ascending.

    Returns
    -------
    The relations with links between these cells, numbered by their place in `rows`.
    """
    new = np.full(len(points), -1, np.int64)
    new[rows] = np.arange(len(rows))
    out = []
    for one in points.relations:
        start, degree = one.indptr[rows], one.degree[rows]
        take = np.repeat(start - np.concatenate([[0], np.cumsum(degree)[:-1]]), degree) + np.arange(degree.sum())
        target = new[one.indices[take]]
        kept = target >= 0
        inside = np.bincount(np.repeat(np.arange(len(rows)), degree)[kept], minlength=len(rows))
        indptr = np.concatenate([[0], np.cumsum(inside)]).astype(np.int64)
        out.append(NeighborGraph(indptr, target[kept].astype(np.int32), one.lengths_nm[take][kept]))
    return tuple(out)


def _key(cell: NDArray[np.int64], shape: NDArray[np.int64]) -> NDArray[np.int64]:
    i, j, k = (cell + _PAD).T
    return np.asarray((i * shape[1] + j) * shape[2] + k, np.int64)


def _find(key: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of each key, -1 where there is none."""
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[at] == wanted, at, -1)


def _link(
    cells: NDArray[np.int64],
    key: NDArray[np.int64],
    shape: NDArray[np.int64],
    steps: Sequence[Offset],
    edges: NDArray[np.float64],
) -> NeighborGraph:
    """Links of some steps, nearest first."""
    length = [float(np.linalg.norm(np.array(step) * edges)) for step in steps]
    order = np.argsort(length, kind="stable")
    target = np.stack([_find(key, _key(cells + np.array(steps[i]), shape)) for i in order], axis=1)
    there = target >= 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
    lengths = np.broadcast_to(np.array(length, np.float32)[order], target.shape)
    return NeighborGraph(indptr, target[there].astype(np.int32), lengths[there])


def _surrounding(
    place: NDArray[np.floating], key: NDArray[np.int64], shape: NDArray[np.int64], member: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    low = np.floor(place - 0.5).astype(np.int64)
    share = place - 0.5 - low
    corner = np.empty((len(place), 8), np.int32)
    weight = np.empty((len(place), 8), np.float32)
    for k in range(8):
        step = np.array([(k >> 2) & 1, (k >> 1) & 1, k & 1])
        row = _find(key, _key(low + step, shape))
        weight[:, k] = np.where(row >= 0, np.where(step, share, 1 - share).prod(axis=1), 0.0)
        corner[:, k] = np.where(row >= 0, row, member)
    total = weight.sum(axis=1)
    weight[total <= 0] = 0.125  # all eight corners are the ion's own cell or weigh nothing
    corner[total <= 0] = member[total <= 0, None]
    weight /= weight.sum(axis=1, keepdims=True)
    return corner, weight
