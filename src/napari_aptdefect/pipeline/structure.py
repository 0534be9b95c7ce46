"""The structure of a specimen as a whole: pair distribution, cutoff, coordination, bond angles, connectivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.connectivity import Histogram, bond_angles, bond_lengths, connected_components, coordination
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.pair_distribution import (
    Cutoff,
    PairDistribution,
    PairDistributionParams,
    pair_distribution,
    suggest_cutoff,
)
from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.stage import Params, Stage, param, scaled

_ANGLE_BINS = 90


class StructureParams(Params):
    """Parameters of `measure_structure`."""

    efficiency: float = param(
        1.0,
        title="Detection efficiency",
        description="Part of the atoms that became ions; neighbors are counted as atoms with it. 1 counts ions: the "
        "instrument's own value is in its manual (0.35 to 0.8).",
        gt=0,
        le=1,
    )
    n_sample: int = param(
        20_000,
        title="Sampled ions",
        description="Ions around which neighbors and angles are counted at most.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )


@dataclass(frozen=True, eq=False)
class Structure:
    """What the neighbors of the ions deep in the specimen look like.

    Parameters
    ----------
    distribution
        The pair distribution of all ions.
    cutoff
        The radius it suggests for bonds.
    efficiency
        Detection efficiency that counts of atoms were made with.
    coordination
        Shape (n,): number of ions by their number of bonds, of the inner ions.
    lengths, angles
        Bond lengths (nm) of all ions, and angles (degrees) between the bonds of inner ions.
    n_components, largest_share
        Groups that bonds connect, and the share of the ions in the largest.
    """

    distribution: PairDistribution
    cutoff: Cutoff
    efficiency: float
    coordination: NDArray[np.int64]
    lengths: Histogram
    angles: Histogram
    n_components: int
    largest_share: float

    @property
    def mean_coordination(self) -> float:
        """Mean number of bonds of an inner ion."""
        return float(self.coordination @ np.arange(len(self.coordination)) / max(self.coordination.sum(), 1))

    def as_dict(self) -> dict[str, Any]:
        """Numbers for ``run.json``."""
        return {
            "cutoff_nm": self.cutoff.cutoff_nm,
            "rule": self.cutoff.rule,
            "efficiency": self.efficiency,
            "n_atoms_within_cutoff": self.cutoff.n_atoms,
            "mean_coordination": self.mean_coordination,
            "mean_bond_length_nm": self.lengths.mean,
            "mean_bond_angle_deg": self.angles.mean,
            "n_components": self.n_components,
            "largest_component_share": self.largest_share,
            "pair_distribution": {
                "r_nm": self.distribution.r_nm.tolist(),
                "g": np.nan_to_num(self.distribution.g).tolist(),
                "g_error": np.nan_to_num(self.distribution.g_error).tolist(),
            },
        }


def measure_structure(
    xyz_nm: NDArray[np.float32],
    inner: NDArray[np.bool_],
    density_nm3: NDArray[np.float32],
    params: StructureParams | None = None,
    seed: int = 0,
) -> Stage[Structure]:
    """Measure the structure of a specimen.

    Parameters
    ----------
    xyz_nm
        Used positions, shape (N, 3), nm.
    inner
        Ions deep enough to miss no bond at the surface, shape (N,), bool.
    density_nm3
        Smooth density at each ion, shape (N,), ions/nm3.
    params
        The parameters; the defaults when None.
    seed
        Seed of the samples.

    Raises
    ------
    EmptySelectionError
        If no ion is inner.
    ParameterError
        If g(r) holds no cutoff.
    """
    params = params or StructureParams()
    if not inner.any():
        raise EmptySelectionError("no ion lies deep enough to have all its neighbors")
    sampling = PairDistributionParams(n_sample=params.n_sample, seed=seed)
    local = np.where(inner & (density_nm3 > 0), density_nm3, np.nan)
    distribution: PairDistribution = yield from scaled(
        pair_distribution(xyz_nm, sampling, local_density_nm3=local), 0, 50
    )
    cutoff = suggest_cutoff(distribution, params.efficiency)
    bonds = GraphParams(mode="cutoff", cutoff_nm=cutoff.cutoff_nm)
    graph: NeighborGraph = yield from scaled(build_graph(xyz_nm, bonds), 50, 90)
    rows = np.flatnonzero(inner)
    if len(rows) > params.n_sample:
        rows = np.sort(np.random.default_rng(seed).choice(rows, params.n_sample, replace=False))
    n_components, label = connected_components(graph)
    return Structure(
        distribution,
        cutoff,
        params.efficiency,
        np.bincount(coordination(graph)[inner]),
        bond_lengths(graph),
        bond_angles(graph, xyz_nm, ions=rows, n_bins=_ANGLE_BINS),
        n_components,
        float(np.bincount(label).max() / len(label)),
    )
