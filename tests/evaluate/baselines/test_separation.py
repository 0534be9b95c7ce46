"""Maximum separation: links, the random-label null, envelope and erosion; and sets that others have labeled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.metrics import adjusted_rand_score

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.baselines import COORDINATES, Baseline, Dbscan, Hdbscan, MaximumSeparation
from napari_aptdefect.evaluate.baselines.separation import MaximumSeparationParams, core_clusters, least_size
from napari_aptdefect.evaluate.specimen import Specimen

METHOD = MaximumSeparation(COORDINATES)


@pytest.mark.parametrize("order", [1, 3])
def test_links_are_those_of_a_tree_of_pairs(order: int) -> None:
    xyz = np.random.default_rng(0).uniform(0, 10, (600, 3)).astype(np.float32)
    tree = cKDTree(xyz)
    core = np.array([len(near) > order for near in tree.query_ball_point(xyz, 1.0)])
    matrix = tree.sparse_distance_matrix(tree, 1.0).tocsr()
    _, label = connected_components(matrix[core][:, core], directed=False)
    sizes = np.sort(np.bincount(label))[::-1]
    found = core_clusters(xyz, 1.0, order, 3)
    assert np.bincount(found)[1:].tolist() == sizes[sizes >= 3].tolist()


def test_random_labels_give_false_clusters_at_the_stated_rate(make: Callable[..., Any]) -> None:
    base = make(edge_nm=7.0, outer=0.01).specimen
    rng = np.random.default_rng(4)
    n_with_claim = 0
    for seed in range(60):
        random = replace(base, species_idx=rng.permutation(base.species_idx))
        n_with_claim += METHOD.run(random, MaximumSeparationParams(d_max_nm=0.8), seed).instance.max() > 0
    assert n_with_claim <= 8  # binomial: more than 8 of 60 at 5 % has a chance of 0.5 %


def test_the_least_size_follows_the_stated_number(make: Callable[..., Any]) -> None:
    xyz = make(edge_nm=8.0).specimen.xyz_nm
    sizes = [
        least_size(xyz, 400, MaximumSeparationParams(d_max_nm=0.8, false_clusters=rate), 0) for rate in (0.05, 1, 20)
    ]
    assert sizes[0] > sizes[1] > sizes[2] >= 2
    rng = np.random.default_rng(9)
    counts = []
    for _ in range(40):
        found = core_clusters(xyz[rng.choice(len(xyz), 400, replace=False)], 0.8)
        counts.append(np.sum(np.bincount(found)[1:] >= sizes[1]))
    assert np.mean(counts) < 2.0  # one is stated


def test_too_few_permutations_for_the_stated_number_are_refused(spheres: Any) -> None:
    with pytest.raises(ParameterError, match="needs 99"):
        METHOD.run(spheres.specimen, MaximumSeparationParams(false_clusters=0.01))


def test_erosion_takes_the_rim_off(spheres: Any) -> None:
    def run(**values: float) -> NDArray[np.bool_]:
        return METHOD.run(spheres.specimen, MaximumSeparationParams(d_max_nm=0.8, **values)).cluster >= 0

    enveloped, eroded, core = run(envelope_nm=0.8), run(envelope_nm=0.8, erosion_nm=0.2), run(envelope_nm=0.0)
    assert core.sum() < eroded.sum() < enveloped.sum()
    assert not (core & ~eroded).any()
    assert not (eroded & ~enveloped).any()
    xyz = spheres.specimen.xyz_nm
    distance, _ = cKDTree(xyz[~enveloped]).query(xyz)
    assert np.array_equal(eroded, enveloped & (core | (distance > 0.2)))


DATA = Path(__file__).parents[4] / "shared" / "data"


def _labeled(name: str) -> tuple[Specimen, NDArray[np.int64]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the labeled set {name} is not here")
    table = np.fromfile(path, ">f4").reshape(-1, 4) if path.suffix == ".pos" else np.loadtxt(path)
    n = len(table)
    specimen = Specimen(
        table[:, :3].astype(np.float32),
        np.zeros(n, np.int16),
        ("ion",),
        (0,),
        np.zeros((n, 1), np.float32),
        None,
        None,
        np.ones(n, bool),
    )
    return specimen, table[:, 3].astype(np.int64)


@pytest.mark.parametrize(
    ("method", "values", "least"),
    [
        (MaximumSeparation, {"d_max_nm": 0.5, "envelope_nm": 0.0}, 0.95),
        (Dbscan, {"eps_nm": 0.5, "min_samples": 10, "envelope_nm": 0.0}, 0.95),
    ],
    ids=lambda v: v.name if isinstance(v, type) else "",
)
def test_the_six_clusters_of_pnnl(method: type[Baseline], values: dict[str, Any], least: float) -> None:
    specimen, label = _labeled("pnnl_optics/test_simple_syn.pos")  # label 1 is the dilute background of five clusters
    found = method(COORDINATES).run(specimen, method.params_model(**values))
    assert adjusted_rand_score(label, found.instance) > least


@pytest.mark.parametrize(
    ("method", "values", "least"),
    [
        (MaximumSeparation, {"d_max_nm": 1.0, "order": 4}, 0.3),
        (Dbscan, {"eps_nm": 1.2, "min_samples": 10}, 0.7),
        (Hdbscan, {}, 0.95),
    ],
    ids=lambda v: v.name if isinstance(v, type) else "",
)
def test_the_hundred_clusters_of_hiperclust(method: type[Baseline], values: dict[str, Any], least: float) -> None:
    specimen, label = _labeled("hiperclust/example_plot.txt")
    found = method(COORDINATES).run(specimen, method.params_model(**values))
    assert adjusted_rand_score(label, found.instance) > least
