"""k-means over all ions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from napari_aptdefect.data.components import connected_objects
from napari_aptdefect.evaluate.baselines.clustering import FUSED, Baseline, Clustering
from napari_aptdefect.evaluate.baselines.extension import renumbered, subsample
from napari_aptdefect.evaluate.baselines.features import embedded
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params, param


class KMeansParams(Params):
    """Parameters of k-means; the bounds are the range of the search."""

    k: int = param(8, title="Clusters", description="Number of clusters, the matrix included.", ge=2, le=64)
    coordinate_weight: float = param(
        0.1,
        title="Coordinate weight",
        description="Weight of the coordinates per nm, beside features in robust units; 0 leaves them out.",
        unit="1/nm",
        ge=0.0,
        le=1.0,
    )
    min_ions: int = param(
        10,
        title="Least ions",
        description="A connected part of a cluster with fewer ions is none.",
        unit="ions",
        ge=1,
        le=1_000,
    )
    link_nm: float = param(
        1.0,
        title="Link distance",
        description="Ions of one cluster no farther apart than this belong to one object.",
        unit="nm",
        ge=0.05,
        le=10.0,
    )
    max_points: int = param(
        20_000,
        title="Largest sample",
        description="The centers are fitted to at most this many ions, drawn at random; all ions go to the nearest.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )


@dataclass(frozen=True)
class KMeans(Baseline):
    """k-means on coordinates and features (MacQueen 1967; seeding by Arthur & Vassilvitskii 2007).

    It has no noise: the matrix is a cluster, too. Objects are the connected parts of a cluster; parts with too few ions
    are in none, as an analyst would discard them. The centers are fitted to a random sample of at most `max_points`
    ions, then every ion goes to the nearest center, however far. On fused features, ions that are not judged take no
    part.
    """

    name: ClassVar[str] = "k-means"
    params_model: ClassVar[type[Params]] = KMeansParams
    settings: ClassVar[frozenset[str]] = frozenset({"link_nm", "max_points"})

    def _run(self, specimen: Specimen, params: Params, seed: int) -> Clustering:
        from sklearn import cluster
        from sklearn.exceptions import ConvergenceWarning

        p = cast("KMeansParams", params)
        rows = np.flatnonzero(specimen.judged) if self.space == FUSED else np.arange(len(specimen))
        label = np.full(len(specimen), -1, np.int32)
        if len(rows):
            points = embedded(specimen, self.space, rows, p.coordinate_weight, 1.0)
            if points.shape[1] == 0:  # all features are constant: one cluster
                points = np.zeros((len(rows), 1), np.float32)
            sample = points[subsample(len(rows), p.max_points, seed)]
            model = cluster.KMeans(min(p.k, len(sample)), n_init=3, max_iter=100, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
                model.fit(sample)
                label[rows] = model.predict(points)
        objects = connected_objects(specimen.xyz_nm, label, p.link_nm, p.min_ions)
        return Clustering(renumbered(np.where(objects > 0, label, -1)), objects, partition=True)
