"""Labeled sets of others: coordinates with a cluster label, on which the methods that need no more can run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import FormatError, MissingFileError
from napari_aptdefect.evaluate.baselines import Clustering, claimed_clusters, tune
from napari_aptdefect.evaluate.labels import Truth
from napari_aptdefect.evaluate.numbers import plain
from napari_aptdefect.evaluate.score import score_clustering
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.fields import Frame
from napari_aptdefect.pipeline.benchmark.methods import Method, TunedBaseline, choose, label_of
from napari_aptdefect.pipeline.benchmark.names import COORDINATES
from napari_aptdefect.pipeline.benchmark.tasks import Task
from napari_aptdefect.pipeline.benchmark.wires import local_composition
from napari_aptdefect.pipeline.record import sha256_of
from napari_aptdefect.stage import drain

_CLUSTER: Final = DEFECT_CLASSES.index("solute_cluster")
_NEED_COMPOSITION: Final = ("Gaussian mixture", "composition isosurface")  # these sets hold ions of one species
_SECONDS: Final = {"OPTICS": 40.0}  # of a run on the large set
_MOST_TRIALS: Final = 6


@dataclass(frozen=True)
class LabeledSet:
    """A file of others with a cluster label per ion.

    Parameters
    ----------
    name
        Title in the table.
    file
        Its place below the folder of sets.
    about
        What it holds, and on what the methods were tuned.
    halves
        Whether half of its clusters is kept for tuning; else the methods run with their documented defaults.
    """

    name: str
    file: str
    about: str
    halves: bool


SETS: Final = (
    LabeledSet(
        "100 clusters (HiPerClust)",
        "hiperclust/example_plot.txt",
        "58,800 synthetic ions in 100 clusters of 588, no matrix. Tuned on the clusters whose middle lies in the half "
        "of low x, scored on the others.",
        True,
    ),
    LabeledSet(
        "six clusters (PNNL APTVIZ)",
        "pnnl_optics/test_simple_syn.pos",
        "619 synthetic ions in six clusters that touch. Too small to be split: every method runs with its documented "
        "defaults, none is tuned.",
        False,
    ),
)


def find_sets(folder: Path) -> list[tuple[LabeledSet, Path]]:
    """Labeled sets in a folder.

    Raises
    ------
    MissingFileError
        If one of them is not there.
    """
    found = [(one, folder / one.file) for one in SETS]
    missing = [one.file for one, path in found if not path.is_file()]
    if missing:
        raise MissingFileError(
            f"{folder} holds no {' and no '.join(missing)}; give the folder that holds the labeled sets"
        )
    return found


def set_tasks(folder: Path, methods: Sequence[Method], budget: int) -> list[Task]:
    """Runs of the methods that need coordinates alone, on all sets; tuned with a budget of 6 at most.

    Raises
    ------
    MissingFileError
        If a set is not in the folder.
    """
    able = [m for m in methods if isinstance(m, TunedBaseline) and m.space == COORDINATES]
    able = [m for m in able if m.name not in _NEED_COMPOSITION]
    tasks = []
    for one, path in find_sets(folder):
        for method in able:
            recipe = {
                "set": one.name,
                "path": str(path.absolute()),
                "sha256": sha256_of(path),
                "method": label_of(method),
                "budget": min(budget, _MOST_TRIALS),
            }
            cost = (_MOST_TRIALS + 1) * _SECONDS.get(method.name, 2.0) if one.halves else 1.0
            tasks.append(Task("set", f"{path.stem}-{method.name.replace(' ', '-')}", recipe, cost=cost))
    return tasks


def score_set(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Tune a method where the set is large enough, run it, and compare its objects with the labeled clusters."""
    (one,) = (each for each in SETS if each.name == recipe["set"])
    (method,) = (m for m in choose([recipe["method"]]) if isinstance(m, TunedBaseline) and m.space == COORDINATES)
    xyz, label = read_labeled(Path(recipe["path"]))
    scored = np.ones(len(label), bool)
    params = method.baseline.params_model()
    if one.halves:
        scored = upper_half(xyz, label)
        specimen, truth = _specimen(xyz[~scored]), label[~scored]
        tuned = drain(tune(method.baseline, [specimen], lambda _, found: _ari(truth, found), recipe["budget"], 0))
        params = tuned.params
    start = time.perf_counter()
    clustering = method.baseline.run(_specimen(xyz[scored]), params, 0)
    seconds = time.perf_counter() - start
    truth = label[scored]
    codes = np.full(len(truth), _CLUSTER, np.int8)
    objects = np.where(claimed_clusters(clustering), clustering.instance, 0)
    scores = score_clustering(Truth.from_labels(codes, truth), np.where(objects > 0, 0, -1), objects)
    found = scores.majority.instances
    from sklearn.metrics import adjusted_mutual_info_score

    result: dict[str, Any] = plain(
        {
            "set": one.name,
            "about": one.about,
            "method": method.name,
            "params": params.model_dump(mode="json"),
            "ari": _ari(truth, clustering),
            "ami": float(adjusted_mutual_info_score(truth, objects)),
            "n_clusters": len(np.unique(truth)),
            "n_found": found.agnostic.n_true,
            "n_claims": found.matches.claim.n_claims,
            "seconds": seconds,
        }
    )
    return result


def read_labeled(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Read coordinates, shape (N, 3), and labels from 1, shape (N,), the last of four columns or the mass of a .pos.

    Raises
    ------
    FormatError
        If the labels are not whole numbers from 1.
    """
    if path.suffix == ".pos":
        table = np.fromfile(path, ">f4").astype(np.float64)
        if len(table) % 4:
            raise FormatError(path, expected="four numbers per ion", found=f"{len(table)} numbers")
        table = table.reshape(-1, 4)
    else:
        table = np.loadtxt(path, ndmin=2)
        if table.shape[1] != 4:
            raise FormatError(path, expected="columns x y z label", found=f"{table.shape[1]} columns")
    label = table[:, 3].astype(np.int32)
    if len(label) == 0 or np.any(label != table[:, 3]) or label.min() < 1:
        raise FormatError(path, expected="labels that are whole numbers from 1", found="others")
    return table[:, :3].astype(np.float32), label


def upper_half(xyz_nm: NDArray[np.float32], label: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which ions belong to clusters whose middle lies in the half of high x, shape (N,)."""
    counts = np.bincount(label)
    middle = np.bincount(label, xyz_nm[:, 0]) / np.maximum(counts, 1)
    border = float(np.median(middle[counts > 0]))
    return np.asarray(middle[label] > border)


def _specimen(xyz: NDArray[np.float32]) -> Specimen:
    """Ions of one species, which is the solute: the sets hold the ions of clusters alone."""
    species = np.zeros(len(xyz), np.int16)
    spacing = float((np.prod(np.ptp(xyz, axis=0).astype(np.float64)) / len(xyz)) ** (1 / 3))
    composition = local_composition(xyz, species, (), Frame.around(xyz, spacing / 2, spacing), spacing)
    return Specimen(
        xyz_nm=xyz,
        species_idx=species,
        species_names=("ion",),
        solutes=(0,),
        composition=composition,
        fused=None,
        anomaly=None,
        judged=np.ones(len(xyz), bool),
    )


def _ari(truth: NDArray[np.int32], clustering: Clustering) -> float:
    """Adjusted Rand index of the claimed objects, ions in none as one group."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(truth, np.where(claimed_clusters(clustering), clustering.instance, 0)))
