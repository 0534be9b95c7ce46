"""Parameters and results of the persistent homology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.topology.region import Region
from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import MissingExtraError, ShapeError
from napari_aptdefect.stage import Params, param

N_DIMENSIONS: Final = 3
"""Components, loops and cavities."""


class TopologyParams(Params):
    """Parameters of the persistent homology."""

    max_ions: int = param(
        100_000,
        title="Ions at most",
        description="Larger regions are refused: time and memory grow with 29 simplices per ion.",
        unit="ions",
        ge=10,
        le=2_000_000,
    )
    n_references: int = param(
        5,
        title="Reference clouds",
        description="Random clouds of the same region and number of ions; n of them give a class beyond the largest of "
        "theirs a probability of 1/(n + 1) by chance.",
        ge=1,
        le=1000,
    )
    max_radius_nm: float = param(
        2.0,
        title="Largest radius",
        description="End of the Betti and Euler characteristic curves.",
        unit="nm",
        gt=0.0,
        le=1000.0,
    )
    n_radii: int = param(50, title="Radii", description="Points of the curves.", ge=2, le=10_000)


@dataclass(frozen=True, eq=False)
class PersistenceDiagrams:
    """When components, loops and cavities appear and disappear while balls around the ions grow.

    Parameters
    ----------
    intervals_nm
        For dimension 0 (components), 1 (loops) and 2 (cavities): shape (m, 2), float64, radii of birth and death, nm;
        the component that stays dies at inf. Classes of no duration are left out.
    n_ions
        Ions in the region; those at one place count once.
    region
        The region.
    """

    intervals_nm: tuple[NDArray[np.float64], ...]
    n_ions: int
    region: Region

    def __post_init__(self) -> None:
        if len(self.intervals_nm) != N_DIMENSIONS:
            raise ShapeError(f"diagrams have {N_DIMENSIONS} dimensions, got {len(self.intervals_nm)}")
        object.__setattr__(self, "intervals_nm", tuple(read_only(one) for one in self.intervals_nm))

    def betti(self, radii_nm: ArrayLike) -> NDArray[np.int64]:
        """Number of components, loops and cavities at given radii, shape (n_radii, 3)."""
        radii = np.asarray(radii_nm, np.float64)
        curves = []
        for one in self.intervals_nm:
            births, deaths = np.sort(one[:, 0]), np.sort(one[:, 1])
            curves.append(np.searchsorted(births, radii, "right") - np.searchsorted(deaths, radii, "right"))
        return np.stack(curves, axis=-1)

    def euler_characteristic(self, radii_nm: ArrayLike) -> NDArray[np.int64]:
        """Components less loops plus cavities at given radii, shape (n_radii,)."""
        return np.asarray(self.betti(radii_nm) @ np.array([1, -1, 1]))

    def lifetimes_nm(self, dimension: int) -> NDArray[np.float64]:
        """Death less birth of the classes that die, shape (m,), nm."""
        one = self.intervals_nm[dimension]
        return np.asarray(np.diff(one[np.isfinite(one[:, 1])], axis=1)[:, 0])

    def entropy(self, dimension: int) -> float:
        """Persistence entropy -sum p ln p, p = lifetime over the sum of lifetimes; 0 without classes."""
        life = self.lifetimes_nm(dimension)
        p = life[life > 0] / life.sum() if life.size else life
        return float(-(p * np.log(p)).sum())


@dataclass(frozen=True, eq=False)
class TopologicalFeatures:
    """A region in numbers; per dimension: components, loops, cavities.

    Parameters
    ----------
    n_ions
        Ions in the region.
    density_nm3
        Ions over the volume of the region (by 1e5 random places for a ball or marked voxels), ions/nm3.
    radii_nm
        Shape (n_radii,): radii of the curves, nm.
    betti, betti_reference
        Shape (n_radii, 3): Betti numbers of the region, and their mean over the reference clouds.
    euler, euler_reference
        Shape (n_radii,): Euler characteristic, and its mean over the reference clouds.
    entropy, entropy_reference
        Shape (3,): persistence entropy, and its mean over the reference clouds.
    n_above
        Shape (3,): classes that live longer than any of the reference clouds.
    persistence_above_nm
        Shape (3,): what they live longer than that, summed, nm.
    threshold_nm
        Shape (3,): the longest life in the reference clouds, nm.
    probability
        Chance that a random cloud has a class above the threshold, 1 / (n_references + 1), per dimension.
    """

    n_ions: int
    density_nm3: float
    radii_nm: NDArray[np.float64]
    betti: NDArray[np.int64]
    betti_reference: NDArray[np.float64]
    euler: NDArray[np.int64]
    euler_reference: NDArray[np.float64]
    entropy: NDArray[np.float64]
    entropy_reference: NDArray[np.float64]
    n_above: NDArray[np.int64]
    persistence_above_nm: NDArray[np.float64]
    threshold_nm: NDArray[np.float64]
    probability: float


def load_gudhi() -> Any:
    """Import GUDHI, or say how to install it."""
    try:
        import gudhi
    except ImportError as error:
        raise MissingExtraError(
            "persistent homology needs GUDHI (its alpha complexes are under the GPL): "
            "pip install 'napari-aptdefect[topology]'"
        ) from error
    return gudhi
