"""Gaussian mixture of voxel compositions, then DBSCAN of the voxels of each minority phase."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines.clustering import FUSED, Baseline, Clustering
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Params, param


class VoxelMixtureParams(Params):
    """Parameters of the voxel mixture; the bounds are the range of the search."""

    voxel_nm: float = param(2.0, title="Voxel", description="Edge of the cubic voxels.", unit="nm", ge=0.8, le=4.0)
    k_max: int = param(
        6,
        title="Most phases",
        description="Mixtures of 1 up to this many phases are fitted; the least BIC wins.",
        ge=2,
        le=10,
    )
    eps_voxels: float = param(
        1.8,
        title="Linking distance",
        description="Radius of the neighborhood of a voxel, in voxels; 1.8 reaches all 26 around.",
        unit="voxels",
        ge=1.0,
        le=3.0,
    )
    min_voxels: int = param(
        4,
        title="Least neighbors",
        description="Voxels of the phase in the neighborhood of a core voxel, itself included.",
        unit="voxels",
        ge=1,
        le=20,
    )
    with_density: bool = param(
        False, title="Density", description="Whether the ions per voxel are a feature beside the composition."
    )
    min_count: int = param(
        10,
        title="Least ions",
        description="Voxels with fewer ions have no composition and are left out.",
        unit="ions",
        ge=1,
        le=10_000,
    )


@dataclass(frozen=True)
class VoxelMixture(Baseline):
    """Phases from the compositions of voxels, precipitates from the voxels of a phase, as CompositionSpace does.

    On coordinates and composition a voxel's features are the shares of the species among its ranged ions, less that of
    the most frequent, which the others determine; on fused features the mean fused vector of its judged ions. The phase
    with the most ions is the matrix and no cluster. A cluster is a minority phase, an object one of its precipitates;
    voxels that DBSCAN calls noise are none. A specimen of one species has one phase.

    Notes
    -----
    Full covariances on standardized features; the number of phases minimizes the Bayesian information criterion
    (Schwarz 1978, doi 10.1214/aos/1176344136).

    References
    ----------
    Saxena et al. 2023, doi 10.1093/micmic/ozad086 (CompositionSpace).
    """

    name: ClassVar[str] = "Gaussian mixture"
    params_model: ClassVar[type[Params]] = VoxelMixtureParams
    settings: ClassVar[frozenset[str]] = frozenset({"min_count"})

    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering:
        p = cast("VoxelMixtureParams", params)
        frame = Frame.around(specimen.xyz_nm, p.voxel_nm)
        voxel, place = np.unique(frame.voxel_idx(specimen.xyz_nm), return_inverse=True)
        n_ions = np.bincount(place, minlength=len(voxel)).astype(np.float64)
        if self.space == FUSED:
            features, counts = _mean_vectors(specimen, place, len(voxel))
        else:
            features, counts = _shares(specimen, place, len(voxel))
        if p.with_density:
            features = np.column_stack([features, n_ions])
        used = np.flatnonzero(counts >= p.min_count)
        phase = np.full(len(voxel), -1, np.int32)
        phase[used] = _phases(features[used], p.k_max, seed)
        phase = _minority(phase, n_ions)
        cell = np.stack(np.unravel_index(voxel, frame.shape), axis=1)
        objects = _precipitates(cell, phase, p)
        phase = np.where(objects > 0, phase, -1).astype(np.int32)
        return Clustering(phase[place], objects[place])


def _shares(specimen: Specimen, place: NDArray[np.int64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the species per voxel, without the most frequent one, and the ranged ions."""
    n_species = len(specimen.species_names)
    ranged = specimen.ranged
    pair = place[ranged] * n_species + specimen.species_idx[ranged]
    counts = np.bincount(pair, minlength=n * n_species).reshape(n, n_species).astype(np.float64)
    total = counts.sum(axis=1)
    shares = np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
    return np.delete(shares, np.argmax(counts.sum(axis=0)), axis=1), total


def _mean_vectors(
    specimen: Specimen, place: NDArray[np.int64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean fused vector per voxel, and the judged ions."""
    if specimen.fused is None:
        raise ParameterError("fused features are wanted and this specimen holds none")
    judged = specimen.judged
    total = np.bincount(place[judged], minlength=n).astype(np.float64)
    columns = [np.bincount(place[judged], column[judged], minlength=n) for column in specimen.fused.T]
    return np.stack(columns, axis=1) / np.maximum(total, 1)[:, None], total


def _phases(features: NDArray[np.float64], k_max: int, seed: int) -> NDArray[np.int32]:
    """Phase of each voxel by the mixture of least BIC; one phase where nothing varies or voxels are too few."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    one = np.zeros(len(features), np.int32)
    if len(features) == 0:
        return one
    features = features[:, np.ptp(features, axis=0) > 1e-9]
    if features.shape[1] == 0:
        return one
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    # a full covariance with fewer voxels than features fits nothing
    most = min(k_max, len(features) // (features.shape[1] + 2), len(np.unique(scaled, axis=0)))
    best, label = np.inf, one
    for k in range(1, most + 1):
        model = GaussianMixture(k, max_iter=300, reg_covar=1e-4, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # BIC judges what it has come to
            model.fit(scaled)
            bic = float(model.bic(scaled))
        if bic < best:
            best, label = bic, model.predict(scaled).astype(np.int32)
    return label


def _minority(phase: NDArray[np.int32], n_ions: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number the phases by their ions from 0, less that with the most ions, which becomes -1."""
    used = phase >= 0
    if not used.any():
        return phase
    ions = np.bincount(phase[used], n_ions[used])
    rank = np.empty(len(ions), np.int32)
    rank[np.argsort(-ions, kind="stable")] = np.arange(-1, len(ions) - 1)
    return np.where(used, rank[np.maximum(phase, 0)], -1).astype(np.int32)


def _precipitates(cell: NDArray[np.int64], phase: NDArray[np.int32], params: VoxelMixtureParams) -> NDArray[np.int32]:
    """DBSCAN of the voxels of each minority phase; objects from 1, 0 for none."""
    from sklearn.cluster import DBSCAN

    objects = np.zeros(len(phase), np.int32)
    for one in range(int(phase.max(initial=-1)) + 1):
        rows = np.flatnonzero(phase == one)
        if len(rows):
            label = DBSCAN(eps=params.eps_voxels, min_samples=params.min_voxels).fit(cell[rows]).labels_
            objects[rows] = np.where(label >= 0, label + 1 + objects.max(), 0)
    return objects
