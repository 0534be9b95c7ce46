"""Hold a run against the truth of the specimen that it analyzed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_aptdefect.errors import DataWarning, MissingFileError, ParameterError
from napari_aptdefect.evaluate.files import TRUTH_IONS, read_claim, read_clusters, read_truth
from napari_aptdefect.evaluate.score import ClusteringScores, EvaluateParams, Scores, score_claim, score_clustering
from napari_aptdefect.io import read_cloud
from napari_aptdefect.pipeline.record import sha256_of
from napari_aptdefect.pipeline.run_folder import RunFolder
from napari_aptdefect.stage import Progress, Stage

_CLOUDS: Final = ("cloud.pos", "cloud.epos", "cloud.apt")
_SAME_NM: Final = 1e-3  # formats that keep positions as text round them
_ROWS: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a run is worth.

    Parameters
    ----------
    scores
        Scores of the defects that the run claims.
    clusters
        Scores of its clusters in feature space, named from the truth, with the run's own instances.
    params
        What counted as found.
    """

    scores: Scores
    clusters: ClusteringScores
    params: EvaluateParams

    def as_dict(self) -> dict[str, Any]:
        """Gather all scores by name, ready for JSON: what is undefined is None."""
        return {
            "params": self.params.model_dump(mode="json"),
            **self.scores.as_dict(),
            "clusters": self.clusters.as_dict(),
        }


def evaluate(truth: Path, run: Path, params: EvaluateParams | None = None) -> Stage[Evaluation]:
    """Hold a run against the truth of the specimen that it analyzed.

    Parameters
    ----------
    truth
        Folder that ``aptdefect simulate`` wrote, or its ``truth.parquet``.
    run
        Run folder that ``aptdefect analyze`` wrote.
    params
        What counts as found; the defaults when None.

    Yields
    ------
    Progress of 5 steps.

    Raises
    ------
    MissingFileError
        If a file of the truth or of the run is missing.
    RunFolderError
        If `run` is not a finished run.
    FormatError
        If a file doesn't hold what it promises.
    ParameterError
        If the run is of another specimen than the truth.

    Warns
    -----
    DataWarning
        If there is no cloud in the truth's folder by which both could be compared.
    """
    params = params or EvaluateParams()
    folder = truth.parent if truth.name == TRUTH_IONS else truth
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder; give one that `aptdefect simulate` wrote")
    finished = RunFolder(run)
    yield Progress(0, 5, "read the truth")
    labels = read_truth(folder)
    yield Progress(1, 5, "read the run")
    claim = read_claim(run)
    if len(claim) != len(labels):
        raise ParameterError(
            f"{run} is a run of {len(claim):,} ions and {folder} the truth of {len(labels):,}; give the run of a cloud "
            "in that folder"
        )
    yield Progress(2, 5, "check that both are of one specimen")
    check_same_specimen(folder, finished)
    yield Progress(3, 5, "score the claims")
    scores = score_claim(labels, claim, params)
    yield Progress(4, 5, "score the clusters")
    clusters = score_clustering(labels, read_clusters(run), claim.instance, params, bound=False)
    yield Progress(5, 5, "done")
    return Evaluation(scores, clusters, params)


def check_same_specimen(folder: Path, run: RunFolder) -> None:
    """Raise a `ParameterError` unless a run analyzed a cloud of the truth's folder.

    Notes
    -----
    They belong together when the input of the run has the hash of a cloud in the folder, or, for a cloud that was
    converted since, when all positions agree to 1e-3 nm with the first cloud there (z also mirrored, as
    ``normalize.flip_z`` writes it).
    """
    clouds = [folder / name for name in _CLOUDS if (folder / name).is_file()]
    if not clouds:
        warnings.warn(
            f"{folder} holds no cloud ({', '.join(_CLOUDS)}), so nothing tells whether {run.path} analyzed the "
            "specimen of this truth; only the number of ions was compared",
            DataWarning,
            stacklevel=2,
        )
        return
    entry = run.record["input"]
    for cloud in clouds:
        if cloud.stat().st_size == entry.get("size") and sha256_of(cloud) == entry.get("sha256"):
            return
    _check_positions(clouds[0], run)


def _check_positions(path: Path, run: RunFolder) -> None:
    cloud = read_cloud(path)
    table = run.ions(["x_nm", "y_nm", "z_nm"])
    if cloud.n_ions != table.num_rows:
        raise ParameterError(f"{run.path} is a run of {table.num_rows:,} ions and {path} holds {cloud.n_ions:,}")
    straight = mirrored = True
    mirror = np.array([1, 1, -1], np.float32)
    for start in range(0, cloud.n_ions, _ROWS):
        stop = min(start + _ROWS, cloud.n_ions)
        part = table.slice(start, stop - start)
        theirs = np.column_stack([part[name].to_numpy() for name in ("x_nm", "y_nm", "z_nm")])
        ours = cloud.read("xyz_nm", start, stop)
        straight &= np.allclose(theirs, ours, rtol=0, atol=_SAME_NM, equal_nan=True)
        mirrored &= np.allclose(theirs, ours * mirror, rtol=0, atol=_SAME_NM, equal_nan=True)
        if not (straight or mirrored):
            raise ParameterError(
                f"{run.path} analyzed another cloud than {path}: ions {start:,} to {stop - 1:,} differ in position; "
                "give the run of a cloud in the truth's folder"
            )
