"""What every baseline is and gives: one protocol, so that all are tuned, run and scored alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines.draws import draw_params
from napari_aptdefect.evaluate.checks import freeze
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params

Space = Literal["coordinates + composition", "fused features"]
COORDINATES: Final[Space] = "coordinates + composition"
FUSED: Final[Space] = "fused features"


@dataclass(frozen=True, eq=False)
class Clustering:
    """What a method without names for what it finds says of each ion.

    Parameters
    ----------
    cluster
        Cluster of each ion in file order, shape (N,), int32; -1 for none.
    instance
        Connected object of each ion, shape (N,), int32, from 1; 0 for none.
    partition
        Whether the method knows no noise and puts the matrix, too, in a cluster.
    """

    cluster: NDArray[np.int32]
    instance: NDArray[np.int32]
    partition: bool = False

    def __post_init__(self) -> None:
        n = len(freeze(self, "cluster", as_vector(self.cluster, "cluster", dtype=np.int32)))
        freeze(self, "instance", as_vector(self.instance, "instance", length=n, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.cluster)

    @classmethod
    def of_clusters(cls, cluster: NDArray[np.integer]) -> Clustering:
        """Take each cluster, from 0, as one object."""
        return cls(cluster.astype(np.int32), cluster.astype(np.int32) + 1)


def claimed_clusters(clustering: Clustering) -> NDArray[np.bool_]:
    """Which ions a clustering claims to be no matrix, shape (N,), bool.

    Those in any cluster; where the method knows no noise, those in any cluster but the largest (the lowest label among
    equals).
    """
    cluster = clustering.cluster
    claimed = np.asarray(cluster >= 0)
    if clustering.partition and claimed.any():
        claimed &= cluster != np.argmax(np.bincount(cluster[claimed]))
    return claimed


@dataclass(frozen=True)
class Baseline(ABC):
    """A clustering method in one of the two spaces.

    Its parameter model's bounds are the range of the search, its defaults the first trial.

    Parameters
    ----------
    space
        What it works on.
    """

    space: Space

    name: ClassVar[str]
    params_model: ClassVar[type[Params]]
    settings: ClassVar[frozenset[str]] = frozenset()
    """Parameters that are not searched: limits of cost and stated error rates."""
    fused_only: ClassVar[frozenset[str]] = frozenset()
    """Parameters without effect on coordinates and composition."""
    composition_only: ClassVar[frozenset[str]] = frozenset()
    """Parameters without effect on fused features."""

    @property
    def searched(self) -> tuple[str, ...]:
        """Names of the parameters that the search varies."""
        idle = self.fused_only if self.space == COORDINATES else self.composition_only
        return tuple(name for name in self.params_model.model_fields if name not in self.settings | idle)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw parameters at random within their bounds; what is not searched keeps its default."""
        return draw_params(self.params_model, self.searched, rng)

    def run(self, specimen: Specimen, params: Params | None = None, seed: int = 0) -> Clustering:
        """Cluster the ions of a specimen.

        Parameters
        ----------
        specimen
            What the method may see.
        params
            Parameters of the method's own model; the defaults when None.
        seed
            Seed of the random numbers.

        Raises
        ------
        ParameterError
            If the parameters are another method's, or the specimen lacks fused features that the space needs.
        """
        params = params if params is not None else self.params_model()
        if type(params) is not self.params_model:
            raise ParameterError(f"{self.name} takes {self.params_model.__name__}, got {type(params).__name__}")
        if self.space == FUSED and (specimen.fused is None or specimen.anomaly is None):
            raise ParameterError(f"{self.name} on fused features needs a specimen with fused features and anomaly")
        if len(specimen) == 0:
            return Clustering(np.zeros(0, np.int32), np.zeros(0, np.int32))
        return self._run(specimen, params, seed)

    @abstractmethod
    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering: ...
