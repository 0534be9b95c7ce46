"""The random-relabeling null, and what a method claims where there is nothing to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.evaluate.baselines.clustering import Baseline, Clustering, claimed_clusters
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params, Progress, Stage


@dataclass(frozen=True, eq=False)
class LabelFeatures:
    """What depends on the species of the ions; see `Specimen`.

    Parameters
    ----------
    composition
        Shape (N, C), float32.
    fused
        Shape (N, F), float32, or None.
    anomaly
        Shape (N,), float32, or None.
    judged
        Shape (N,), bool.
    """

    composition: NDArray[np.float32]
    fused: NDArray[np.float32] | None
    anomaly: NDArray[np.float32] | None
    judged: NDArray[np.bool_]


def random_labels(
    specimen: Specimen, rng: np.random.Generator, features: Callable[[NDArray[np.int16]], LabelFeatures]
) -> Specimen:
    """Permute the species among the ranged ions and compute anew what depends on them.

    Parameters
    ----------
    specimen
        The ions.
    rng
        Source of the permutation.
    features
        Computes the features of these ions from their new species, shape (N,), int16.

    Returns
    -------
    The specimen with the same positions and the same number of ions of each species; unranged ions stay unranged.

    Notes
    -----
    All positions stay, so artifacts of density (poles, voids, the surface) are the same; only what the species say of
    the places is lost. The null holds for solutes that are distributed at random over all sites alike.
    """
    species = specimen.species_idx.copy()
    ranged = np.flatnonzero(specimen.ranged)
    species[ranged] = species[rng.permutation(ranged)]
    new = features(species)
    return replace(
        specimen,
        species_idx=species,
        composition=new.composition,
        fused=new.fused,
        anomaly=new.anomaly,
        judged=new.judged,
    )


@dataclass(frozen=True)
class FalseClaims:
    """What was claimed on one specimen that holds nothing.

    Parameters
    ----------
    n_ions
        Ions of the specimen.
    n_objects
        Objects claimed.
    n_claimed_ions
        Ions in any cluster that is claimed.
    """

    n_ions: int
    n_objects: int
    n_claimed_ions: int


@dataclass(frozen=True)
class FalsePositives:
    """What a method claims on specimens that hold nothing.

    Parameters
    ----------
    runs
        One entry per specimen.
    low, high
        Exact (Clopper-Pearson) interval of the share of specimens with at least one claim.
    level
        Its confidence level.
    """

    runs: tuple[FalseClaims, ...]
    low: float
    high: float
    level: float

    @property
    def n_objects(self) -> int:
        """Objects claimed on all specimens together."""
        return sum(run.n_objects for run in self.runs)

    @property
    def objects_per_million(self) -> float:
        """Objects claimed per million ions."""
        return 1e6 * self.n_objects / max(sum(run.n_ions for run in self.runs), 1)

    @property
    def claimed_share(self) -> float:
        """Share of all ions that is claimed."""
        return sum(run.n_claimed_ions for run in self.runs) / max(sum(run.n_ions for run in self.runs), 1)

    @property
    def n_with_claim(self) -> int:
        """Specimens with at least one claimed ion."""
        return sum(run.n_claimed_ions > 0 for run in self.runs)

    @property
    def rate(self) -> float:
        """Share of the specimens with at least one claimed ion."""
        return self.n_with_claim / len(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Gather all numbers by name."""
        return {
            "n_runs": len(self.runs),
            "n_with_claim": self.n_with_claim,
            "rate": self.rate,
            "rate_low": self.low,
            "rate_high": self.high,
            "level": self.level,
            "n_objects": self.n_objects,
            "objects_per_million_ions": self.objects_per_million,
            "claimed_share": self.claimed_share,
        }


def false_claims(clustering: Clustering) -> FalseClaims:
    """Count what a clustering of a specimen that holds nothing claims.

    A method without noise claims all clusters but the largest; see `claimed_clusters`.
    """
    claimed = claimed_clusters(clustering)
    objects = np.unique(clustering.instance[claimed])
    return FalseClaims(len(clustering), int(np.count_nonzero(objects > 0)), int(np.count_nonzero(claimed)))


def summarize_false_claims(runs: Sequence[FalseClaims], level: float = 0.95) -> FalsePositives:
    """Sum up runs on independent specimens that hold nothing.

    Parameters
    ----------
    runs
        One entry per specimen.
    level
        Confidence level of the interval.

    Raises
    ------
    EmptySelectionError
        If there is no run.

    References
    ----------
    Clopper, Pearson 1934, doi 10.1093/biomet/26.4.404.
    """
    from scipy.stats import binomtest

    if not runs:
        raise EmptySelectionError("no run to sum up; give at least one specimen that holds nothing")
    n_with_claim = sum(run.n_claimed_ions > 0 for run in runs)
    interval = binomtest(n_with_claim, len(runs)).proportion_ci(level, method="exact")
    return FalsePositives(tuple(runs), float(interval.low), float(interval.high), level)


def false_positive_rate(
    method: Baseline, params: Params, specimens: Sequence[Specimen], seed: int = 0, level: float = 0.95
) -> Stage[FalsePositives]:
    """Run a method on specimens that hold nothing and count what it claims.

    Parameters
    ----------
    method, params
        The method with the parameters that it was tuned to.
    specimens
        Independent specimens without defects, or with random labels (`random_labels`).
    seed
        Seed of the runs.
    level
        Confidence level of the interval of the rate.

    Yields
    ------
    `Progress` after each specimen.

    Raises
    ------
    EmptySelectionError
        If there is no specimen.
    """
    runs = []
    for number, specimen in enumerate(specimens):
        runs.append(false_claims(method.run(specimen, params, seed)))
        yield Progress(number + 1, len(specimens), f"null of {method.name}")
    return summarize_false_claims(runs, level)
