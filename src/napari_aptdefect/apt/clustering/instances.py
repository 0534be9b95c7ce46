"""Instances: ions of one type that hang together on the graph, and how large chance would make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.clustering.gate import Gate
from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.data.components import connected_kinds
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params, Progress, Stage, param


class InstancesParams(Params):
    """Parameters of `find_instances`."""

    false_discovery_rate: float = param(
        0.05,
        title="False discovery rate",
        description="Largest expected share of chance among the instances that are called significant.",
        ge=0.0001,
        le=0.5,
    )
    repeats: int = param(
        99,
        title="Repeats",
        description="How often the types are dealt out at random; no p-value is below 1 / (repeats + 1).",
        ge=1,
        le=99_999,
    )
    min_ions: int = param(
        2, title="Least ions", description="Ions of an instance at least.", unit="ions", ge=1, le=1_000_000
    )


@dataclass(frozen=True, eq=False)
class Instances:
    """Connected instances of each type, the largest first.

    Parameters
    ----------
    label
        Shape (N,), int32: instance of each ion, from 1; 0 for none.
    kind
        Shape (n,), int32: type of each instance.
    n_ions
        Shape (n,), int64.
    p_value
        Shape (n,), float64: chance that types dealt out at random make any instance of this type at least as large.
    q_value
        Shape (n,), float64: the same, adjusted for looking at all instances (Benjamini-Hochberg).
    significant
        Shape (n,), bool: the q-value is at most the false discovery rate.
    chance
        By type, the largest instance in each repeat, shape (repeats,), int64, ascending.
    """

    label: NDArray[np.int32]
    kind: NDArray[np.int32]
    n_ions: NDArray[np.int64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    significant: NDArray[np.bool_]
    chance: dict[int, NDArray[np.int64]]

    def __post_init__(self) -> None:
        for name in ("label", "kind", "n_ions", "p_value", "q_value", "significant"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.kind)


def find_instances(
    graph: NeighborGraph,
    kind: ArrayLike,
    params: InstancesParams | None = None,
    *,
    among: ArrayLike | None = None,
    seed: int = 0,
) -> Stage[Instances]:
    """Connect the ions of each type on the graph, and judge the size of what connects by types dealt out at random.

    Parameters
    ----------
    graph
        Neighbors of the ions.
    kind
        Shape (N,), integer: type of each ion; negative for the matrix.
    params
        Parameters; the defaults when None.
    among
        Shape (N,), bool: ions that the types are dealt out to, those that could have had one; all by default.
    seed
        Seed of the random numbers.

    Yields
    ------
    `Progress` in repeats.

    Raises
    ------
    ShapeError
        If there is not one type, or one value of `among`, per ion of the graph.
    ParameterError
        If an ion has a type and is not among those that could have one.

    Notes
    -----
    The types are permuted among the ions, so every edge and every artifact of density stays. p = (1 + number of repeats
    whose largest instance of the type is at least as large) / (repeats + 1), exact for types that are independent of
    place (Davison & Hinkley 1997, Bootstrap Methods, section 4.2); as the largest of all is counted, it bounds the
    chance of any false instance of that type. q-values: Benjamini & Hochberg 1995, doi
    10.1111/j.2517-6161.1995.tb02031.x.

    **The null holds for types that say something of each ion alone, such as its species.** Types from features of a
    neighborhood are alike among neighbors with or without a defect, and this null calls nearly every such group
    significant. These are judged by a reference specimen that went through the same chain (`apt.defects`).
    """
    from scipy.stats import false_discovery_control

    params = params or InstancesParams()
    of = as_vector(kind, "kind", length=graph.n_nodes, dtype=np.int32)
    allowed = np.ones(len(of), bool) if among is None else as_vector(among, "among", length=len(of), dtype=np.bool_)
    if np.any(of[~allowed] >= 0):
        raise ParameterError(f"{int(np.sum(of[~allowed] >= 0))} ions have a type and are not in `among`")
    label = connected_kinds(graph, of, params.min_ions)
    number, first, size = np.unique(label, return_index=True, return_counts=True)
    found = number > 0
    kinds, n_ions = of[first[found]], size[found].astype(np.int64)
    types = np.unique(of[of >= 0])
    rows = np.flatnonzero(allowed)
    rng = np.random.default_rng([seed, 0x1C])
    largest = np.zeros((len(types), params.repeats), np.int64)
    dealt = of.copy()
    for i in range(params.repeats):
        yield Progress(i, params.repeats, "Instances by chance")
        dealt[rows] = of[rng.permutation(rows)]
        largest[:, i] = _largest(connected_kinds(graph, dealt), dealt, types)
    chance = {int(t): np.sort(row) for t, row in zip(types, largest, strict=True)}
    p_value = np.ones(len(kinds))
    for t, sizes in chance.items():
        p_value[kinds == t] = Gate.fit(sizes).p_values(n_ions[kinds == t])
    q_value = false_discovery_control(p_value) if len(p_value) else p_value
    return Instances(label, kinds, n_ions, p_value, q_value, q_value <= params.false_discovery_rate, chance)


def _largest(label: NDArray[np.int32], kind: NDArray[np.int32], types: NDArray[np.int32]) -> NDArray[np.int64]:
    """Ions of the largest instance of each type."""
    number, first, size = np.unique(label, return_index=True, return_counts=True)
    inside = number > 0
    out = np.zeros(len(types), np.int64)
    np.maximum.at(out, np.searchsorted(types, kind[first[inside]]), size[inside])
    return out
