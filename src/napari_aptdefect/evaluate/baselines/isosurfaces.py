"""Isosurfaces of density and of composition on a delocalized voxel grid."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.evaluate.baselines.clustering import COORDINATES, Baseline, Clustering
from napari_aptdefect.evaluate.baselines.features import anomalies, anomaly_threshold
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.fields import Frame, support
from napari_aptdefect.stage import Params, param

_LEAST_WEIGHT: Final = 0.1  # of the median: with fewer ions around there is no composition to speak of
_MAD_TO_SIGMA: Final = 1.4826


class IsosurfaceParams(Params):
    """What both isosurfaces share; the bounds are the range of the search."""

    sigma_nm: float = param(
        1.0, title="Delocalization", description="Width of the Gaussian.", unit="nm", ge=0.4, le=3.0
    )
    min_ions: int = param(
        10, title="Least ions", description="An object with fewer ions is none.", unit="ions", ge=1, le=1_000
    )
    voxel_nm: float = param(0.5, title="Voxel", description="Edge of the cubic voxels.", unit="nm", ge=0.1, le=5.0)


@dataclass(frozen=True)
class Isosurface(Baseline):
    """Voxels beyond a threshold, joined where they share a face; ions inside get the label.

    Surfaces around voxels, not a triangulated mesh: an ion belongs to the voxel it is in. The grid ends at the surface
    of the specimen, as far as the ions outline it.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"voxel_nm"})

    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering:
        p = cast("IsosurfaceParams", params)
        frame = Frame.around(specimen.xyz_nm, p.voxel_nm, p.voxel_nm)
        counts = frame.count(specimen.xyz_nm)
        inside = support(frame, counts)
        kind = np.where(inside, self._kinds(specimen, params, frame, inside), -1)
        label = np.zeros(frame.shape, np.int32)
        for one in range(int(kind.max(initial=-1)) + 1):
            found, _ = ndimage.label(kind == one)
            label += np.where(found > 0, found + label.max(), 0).astype(np.int32)
        voxel = frame.voxel_idx(specimen.xyz_nm)
        cluster, objects = kind.ravel()[voxel].astype(np.int32), label.ravel()[voxel]
        size = np.bincount(objects)
        size[0] = 0
        kept = size[objects] >= p.min_ions
        number = np.cumsum(size >= p.min_ions).astype(np.int32)
        return Clustering(np.where(kept, cluster, -1), np.where(kept, number[objects], 0))

    @abstractmethod
    def _kinds(self, specimen: Specimen, params: Params, frame: Frame, inside: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Kind of cluster of each voxel, -1 for none."""


class DensityIsosurfaceParams(IsosurfaceParams):
    """Parameters of the density isosurface; the bounds are the range of the search."""

    low: float = param(
        0.8,
        title="Low threshold",
        description="Voxels with less than this times the median density are inside; 0 looks for none.",
        ge=0.0,
        le=0.95,
    )
    high: float = param(
        1.25,
        title="High threshold",
        description="Voxels with more than this times the median density are inside.",
        ge=1.05,
        le=4.0,
    )
    anomalous_share: float = param(
        0.01,
        title="Anomalous share",
        description="On fused features: share of the judged ions, those of highest anomaly, whose density is taken.",
        ge=0.0005,
        le=0.1,
    )
    enrichment: float = param(
        5.0,
        title="Enrichment",
        description="On fused features: voxels with more than this times the mean density of such ions are inside.",
        ge=1.5,
        le=100.0,
    )


@dataclass(frozen=True)
class DensityIsosurface(Isosurface):
    """Isosurface of number density: cluster 0 is too dilute, cluster 1 too dense.

    The density is the delocalized count over the delocalized volume of the specimen, so that it does not drop at the
    surface. On fused features it is the density of the ions of highest anomaly, over its mean; cluster 0 is too dense.
    """

    name: ClassVar[str] = "density isosurface"
    params_model: ClassVar[type[Params]] = DensityIsosurfaceParams
    fused_only: ClassVar[frozenset[str]] = frozenset({"anomalous_share", "enrichment"})
    composition_only: ClassVar[frozenset[str]] = frozenset({"low", "high"})

    def _kinds(self, specimen: Specimen, params: Params, frame: Frame, inside: NDArray[np.bool_]) -> NDArray[np.int32]:
        p = cast("DensityIsosurfaceParams", params)
        chosen = np.ones(len(specimen), bool)
        if self.space != COORDINATES:
            chosen = specimen.judged & (anomalies(specimen) > anomaly_threshold(specimen, p.anomalous_share))
        volume = frame.smooth(inside.astype(np.float32), p.sigma_nm)
        count = frame.smooth(frame.count(specimen.xyz_nm[chosen]) * inside, p.sigma_nm)
        density = np.divide(count, volume, out=np.zeros_like(count), where=inside)
        kind = np.full(frame.shape, -1, np.int32)
        if not inside.any():
            return kind
        if self.space == COORDINATES:
            typical = float(np.median(density[inside]))
            kind[density > p.high * typical] = 1
            kind[density < p.low * typical] = 0
        else:
            kind[density > p.enrichment * float(density[inside].mean())] = 0
        return kind


class CompositionIsosurfaceParams(IsosurfaceParams):
    """Parameters of the composition isosurface; the bounds are the range of the search."""

    threshold_percent: float = param(
        5.0,
        title="Threshold",
        description="Voxels where a solute has a larger share of the ranged ions are inside.",
        unit="%",
        ge=0.2,
        le=60.0,
    )
    deviation: float = param(
        5.0,
        title="Deviation",
        description="On fused features: voxels whose mean anomaly exceeds the median by more robust deviations are "
        "inside.",
        ge=1.0,
        le=50.0,
    )


@dataclass(frozen=True)
class CompositionIsosurface(Isosurface):
    """Isosurface of composition, one per solute: the cluster is the solute, the largest share where several exceed.

    The share is the delocalized count of a solute over that of all ranged ions. On fused features the delocalized mean
    anomaly of the judged ions takes its place, and there is one cluster.

    References
    ----------
    Hellman et al. 2003, Ultramicroscopy 95, 199 (delocalized grids).
    """

    name: ClassVar[str] = "composition isosurface"
    params_model: ClassVar[type[Params]] = CompositionIsosurfaceParams
    fused_only: ClassVar[frozenset[str]] = frozenset({"deviation"})
    composition_only: ClassVar[frozenset[str]] = frozenset({"threshold_percent"})

    def _kinds(self, specimen: Specimen, params: Params, frame: Frame, inside: NDArray[np.bool_]) -> NDArray[np.int32]:
        p = cast("CompositionIsosurfaceParams", params)
        taken = specimen.ranged if self.space == COORDINATES else specimen.judged
        ions = frame.smooth(frame.count(specimen.xyz_nm[taken]), p.sigma_nm)
        known = inside & (ions > 0)
        if not known.any():
            return np.full(frame.shape, -1, np.int32)
        known &= ions > _LEAST_WEIGHT * float(np.median(ions[known]))
        if self.space != COORDINATES:
            weight = np.bincount(
                frame.voxel_idx(specimen.xyz_nm[taken]), anomalies(specimen)[taken], minlength=frame.n_voxels
            )
            mean = _ratio(frame.smooth(weight.astype(np.float32).reshape(frame.shape), p.sigma_nm), ions, known)
            middle = float(np.median(mean[known]))
            sigma = _MAD_TO_SIGMA * float(np.median(np.abs(mean[known] - middle)))
            return np.where(known & (mean > middle + p.deviation * sigma), 0, -1).astype(np.int32)
        largest = np.full(frame.shape, p.threshold_percent / 100, np.float32)
        kind = np.full(frame.shape, -1, np.int32)
        for number, solute in enumerate(specimen.solutes):
            hits = frame.smooth(frame.count(specimen.xyz_nm[specimen.species_idx == solute]), p.sigma_nm)
            share = _ratio(hits, ions, known)
            kind[share > largest] = number
            np.maximum(largest, share, out=largest)
        return kind


def _ratio(hits: NDArray[np.float32], ions: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.divide(hits, ions, out=np.zeros_like(ions), where=known)
