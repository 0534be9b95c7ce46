"""Density-based clusterings as an atom probe analyst runs them: of the solutes in space, then of the ions around."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.envelope import enveloped
from napari_aptdefect.evaluate.baselines.clustering import Baseline, Clustering
from napari_aptdefect.evaluate.baselines.extension import nearest_label, renumbered, subsample
from napari_aptdefect.evaluate.baselines.features import embedded, selected_ions
from napari_aptdefect.evaluate.baselines.reachability import optics_labels
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params, param

_FEWEST: Final = 4


class DensityParams(Params):
    """What all density-based clusterings share; the bounds are the range of the search."""

    feature_weight_nm: float = param(
        0.0,
        title="Feature weight",
        description="Distance that counts like one robust unit of a feature; 0 clusters in space alone.",
        unit="nm",
        ge=0.0,
        le=1.0,
    )
    envelope_nm: float = param(
        0.5,
        title="Envelope",
        description="Ions of any species this close to a clustered ion join its cluster.",
        unit="nm",
        ge=0.0,
        le=2.0,
    )
    anomalous_share: float = param(
        0.01,
        title="Anomalous share",
        description="On fused features: share of the judged ions, those of highest anomaly, that are clustered.",
        ge=0.0005,
        le=0.1,
    )


@dataclass(frozen=True)
class DensityBased(Baseline):
    """Select ions, cluster them in space (and features), extend the clusters to the ions around.

    On coordinates and composition the solutes are clustered; on fused features the ions of highest anomaly. The
    coordinates count in nm; each feature in robust units times `feature_weight_nm` joins them as another axis. At most
    `max_points` of the selected ions are clustered, drawn at random; the others take the label of the nearest of those
    within a distance that each method states. Clusters are connected in space at the method's linking distance, so each
    is one object.
    """

    settings: ClassVar[frozenset[str]] = frozenset({"max_points"})
    fused_only: ClassVar[frozenset[str]] = frozenset({"anomalous_share"})

    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering:
        p = cast("DensityParams", params)
        rows = selected_ions(specimen, self.space, p.anomalous_share)
        label = np.full(len(rows), -1, np.int32)
        if len(rows):
            points = embedded(specimen, self.space, rows, 1.0, p.feature_weight_nm)
            fitted = subsample(len(rows), self._max_points(params), seed)
            label[fitted] = self._fit(points[fitted], len(fitted) / len(rows), params)
            if len(fitted) < len(rows):
                rest = np.setdiff1d(np.arange(len(rows)), fitted, assume_unique=True)
                fit, reach = self._extends(label[fitted], params)
                label[rest] = nearest_label(points[fitted[fit]], label[fitted[fit]], points[rest], reach)
        return Clustering.of_clusters(renumbered(enveloped(specimen.xyz_nm, rows, label, p.envelope_nm)))

    @abstractmethod
    def _max_points(self, params: Params) -> int: ...

    @abstractmethod
    def _fit(self, points: NDArray[np.float32], share: float, params: Params) -> NDArray[np.int32]:
        """Cluster points that are a share of all selected ones; -1 for noise."""

    @abstractmethod
    def _extends(self, label: NDArray[np.int32], params: Params) -> tuple[NDArray[np.bool_], float]:
        """Which fitted points extend to ions that were not, and how far."""


class DbscanParams(DensityParams):
    """Parameters of DBSCAN; the bounds are the range of the search."""

    eps_nm: float = param(
        1.0, title="Linking distance", description="Radius of the neighborhood.", unit="nm", ge=0.2, le=3.0
    )
    min_samples: int = param(
        10,
        title="Least neighbors",
        description="Ions in the neighborhood of a core ion, itself included.",
        unit="ions",
        ge=2,
        le=100,
    )
    max_points: int = param(
        50_000, title="Largest sample", description="Ions clustered at most.", unit="ions", ge=100, le=10_000_000
    )


@dataclass(frozen=True)
class Dbscan(DensityBased):
    """DBSCAN (Ester et al. 1996, https://cdn.aaai.org/KDD/1996/KDD96-037.pdf).

    In a sample of a share s of the ions each counts 1/s times, so that the density that makes a core ion is the same;
    ions left out join the cluster of a clustered ion within `eps_nm`.
    """

    name: ClassVar[str] = "DBSCAN"
    params_model: ClassVar[type[Params]] = DbscanParams

    def _max_points(self, params: Params) -> int:
        return cast("DbscanParams", params).max_points

    def _fit(self, points: NDArray[np.float32], share: float, params: Params) -> NDArray[np.int32]:
        from sklearn.cluster import DBSCAN

        p = cast("DbscanParams", params)
        weight = np.full(len(points), 1.0 / share)
        fitted = DBSCAN(eps=p.eps_nm, min_samples=p.min_samples).fit(points, sample_weight=weight)
        return np.asarray(fitted.labels_, np.int32)

    def _extends(self, label: NDArray[np.int32], params: Params) -> tuple[NDArray[np.bool_], float]:
        return np.asarray(label >= 0), cast("DbscanParams", params).eps_nm


def _scaled(share: float, count: int) -> int:
    """Count in a sample of a share of the ions; in a few neighbors there would be nothing but chance."""
    return min(count, max(_FEWEST, round(share * count)))


class HdbscanParams(DensityParams):
    """Parameters of HDBSCAN; the bounds are the range of the search."""

    min_cluster_size: int = param(
        20, title="Least ions", description="Selected ions in a cluster at least.", unit="ions", ge=5, le=500
    )
    min_samples: int = param(
        5, title="Neighbors", description="Neighbors that the core distance reaches to.", unit="ions", ge=1, le=50
    )
    selection: Literal["eom", "leaf"] = param(
        "eom", title="Selection", description="Clusters of greatest excess of mass, or the leaves of the tree."
    )
    reach_nm: float = param(
        2.0,
        title="Reach",
        description="An ion left out of the sample takes the label of the nearest sampled one within this distance.",
        unit="nm",
        ge=0.05,
        le=20.0,
    )
    max_points: int = param(
        20_000, title="Largest sample", description="Ions clustered at most.", unit="ions", ge=100, le=10_000_000
    )


@dataclass(frozen=True)
class Hdbscan(DensityBased):
    """HDBSCAN (Campello et al. 2013, doi 10.1007/978-3-642-37456-2_14).

    Its cost grows with the square of the ions. Clusters are not merged below a distance: that option of scikit-learn
    1.9 fails with NumPy 2.4. In a sample of a share s of the ions the least size and the neighbors are s times as many
    (at least 4, where that is fewer than stated); ions left out take the label, or the noise, of the nearest sampled
    ion within `reach_nm`.
    """

    name: ClassVar[str] = "HDBSCAN"
    params_model: ClassVar[type[Params]] = HdbscanParams
    settings: ClassVar[frozenset[str]] = frozenset({"max_points", "reach_nm"})

    def _max_points(self, params: Params) -> int:
        return cast("HdbscanParams", params).max_points

    def _fit(self, points: NDArray[np.float32], share: float, params: Params) -> NDArray[np.int32]:
        from sklearn.cluster import HDBSCAN

        p = cast("HdbscanParams", params)
        neighbors, size = _scaled(share, p.min_samples), _scaled(share, p.min_cluster_size)
        if len(points) < max(size, neighbors):  # no cluster can be that large
            return np.full(len(points), -1, np.int32)
        model = HDBSCAN(
            min_cluster_size=size,
            min_samples=neighbors,
            cluster_selection_method=p.selection,
            algorithm="kd_tree",
            copy=True,
        )
        return np.asarray(model.fit(points).labels_, np.int32)

    def _extends(self, label: NDArray[np.int32], params: Params) -> tuple[NDArray[np.bool_], float]:
        return np.ones(len(label), bool), cast("HdbscanParams", params).reach_nm


class OpticsParams(DensityParams):
    """Parameters of OPTICS; the bounds are the range of the search."""

    min_samples: int = param(
        10, title="Neighbors", description="Neighbors that the core distance reaches to.", unit="ions", ge=3, le=50
    )
    max_eps_nm: float = param(
        2.0, title="Largest distance", description="Largest reachability considered.", unit="nm", ge=0.5, le=4.0
    )
    xi: float = param(
        0.05, title="Steepness", description="Relative drop of reachability at a cluster's border.", ge=0.005, le=0.3
    )
    min_cluster_size: int = param(
        20, title="Least ions", description="Selected ions in a cluster at least.", unit="ions", ge=5, le=500
    )
    max_points: int = param(
        15_000, title="Largest sample", description="Ions clustered at most.", unit="ions", ge=100, le=1_000_000
    )


@dataclass(frozen=True)
class Optics(DensityBased):
    """OPTICS with clusters by steepness (Ankerst et al. 1999, doi 10.1145/304182.304187).

    Its cost grows with the square of the ions. In a sample of a share s of the ions the least size and the neighbors
    are s times as many (at least 4, where that is fewer than stated); ions left out take the label, or the noise, of
    the nearest sampled ion within `max_eps_nm`. Of nested clusters the innermost are given, as in scikit-learn.
    """

    name: ClassVar[str] = "OPTICS"
    params_model: ClassVar[type[Params]] = OpticsParams

    def _max_points(self, params: Params) -> int:
        return cast("OpticsParams", params).max_points

    def _fit(self, points: NDArray[np.float32], share: float, params: Params) -> NDArray[np.int32]:
        p = cast("OpticsParams", params)
        neighbors, size = _scaled(share, p.min_samples), _scaled(share, p.min_cluster_size)
        return optics_labels(points, neighbors, p.max_eps_nm, p.xi, size)

    def _extends(self, label: NDArray[np.int32], params: Params) -> tuple[NDArray[np.bool_], float]:
        return np.ones(len(label), bool), cast("OpticsParams", params).max_eps_nm
