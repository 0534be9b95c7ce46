"""What a reader of the results must know, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.defects import Defects
from napari_aptdefect.apt.normalize import Normalized
from napari_aptdefect.apt.voids import ROUGH, Voids
from napari_aptdefect.apt.voronoi import VoronoiParams, consistency
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.specimen import Described

_LITTLE = 0.2  # share of ions that can be judged, below which that is said first


def specimen_notes(judged: NDArray[np.bool_], defects: Defects, normalized: Normalized) -> list[str]:
    """What a reader of the results must know, in sentences."""
    share, n_rejected = float(judged.mean()), defects.n_rejected
    notes = [
        f"{share:.1%} of the usable ions lie deep enough inside the specimen to be judged.",
        f"Explained by chance and not reported: {_number(n_rejected, 'connected group')} of ions that stand out.",
    ]
    if share < _LITTLE:
        notes.insert(0, "Most of the specimen can't be judged: it is too narrow for the surface zone.")
    n_left = int((~normalized.used).sum())
    if n_left:
        notes.append(f"{n_left} ions were left out (no finite position, isolated noise, or removed as asked for).")
    return notes


def void_notes(voids: Voids | None, void_defect: NDArray[np.int32]) -> list[str]:
    """What to think of the voids of the particle filter, in sentences."""
    if voids is None or not len(voids):
        return []
    notes = []
    n_left = int((void_defect == 0).sum())
    if n_left:
        notes.append(
            f"{_number(n_left, 'place')} that could be a void by chance statistics alone became no defect: around them "
            "the density varies by more than chance (see voids.parquet)."
        )
    rough = (void_defect > 0) & (voids.local_dispersion > ROUGH)
    if rough.any():
        notes.append(
            f"{int(rough.sum())} of the {int((void_defect > 0).sum())} voids lie where the density varies all around "
            "by more than chance, as between grains or phases: there a thin place can pass for a void."
        )
    return notes


def range_notes(issues: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning about names, where the range file contradicts the spectrum."""
    doubtful = [i for i in issues if i["code"] in ("empty-range", "better-ion") and i["severity"] == "warning"]
    if not doubtful:
        return []
    advice = "check before trusting a composition or the name of a solute"
    return [
        f"{_number(len(doubtful), 'range')} of the range file at odds with the spectrum (see the issues): {advice}."
    ]


def consistency_note(xyz: NDArray[np.float32], measured: Described, params: VoronoiParams, seed: int) -> str:
    """How well graph and Voronoi cells agree; a diagnostic, which must not end a finished analysis."""
    try:
        check = consistency(xyz, measured.cells, measured.graph, params, seed=seed)
    except EmptySelectionError as error:
        return f"The Voronoi check was not possible: {error}."
    return (
        f"Voronoi check: {check.edge_fraction:.1%} of the graph's edges join Voronoi neighbors; the variance of the "
        f"cell volume is {check.volume_variance:.3f} (random cloud: 0.179), the mean number of faces "
        f"{check.mean_faces:.2f} (random cloud: 15.54)."
    )


def _number(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
