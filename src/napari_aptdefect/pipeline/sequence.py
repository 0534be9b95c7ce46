"""What drifts along the evaporation sequence, measured and, where asked for, taken out: masses and places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.drift import Drift, correct_drift, estimate_drift
from napari_aptdefect.apt.peak_drift import PeakDrift, check_units, estimate_peak_drift, normalize_masses
from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import EmptySelectionError, Issue, ParameterError
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.stage import Stage

_UNORDERED = "z-order"


@dataclass(frozen=True, eq=False)
class Evaporation:
    """Drifts along the evaporation sequence; None where they were not asked for or can't be measured.

    Parameters
    ----------
    masses
        Wander of the mass scale.
    places
        Lateral drift of the positions.
    """

    masses: PeakDrift | None = None
    places: Drift | None = None


def align_masses(job: Job, cloud: IonCloud, start: float, stop: float) -> Stage[tuple[IonCloud, PeakDrift | None]]:
    """Follow the mass peaks; the cloud that comes back has corrected masses where the parameters ask for it."""
    wanted = job.params.steps.peak_drift
    if wanted == "off":
        return cloud, None
    try:
        drift: PeakDrift = yield from job.run(
            "peak drift", estimate_peak_drift(cloud.mass_da, job.params.peak_drift), start, stop
        )
    except EmptySelectionError as error:
        job.note("peak drift", (Issue("no-peak-drift", f"the mass scale was not followed: {error}", severity="info"),))
        return cloud, None
    job.note("peak drift", drift.issues)
    if wanted == "correct":
        cloud = cloud.with_columns(mass_da=normalize_masses(cloud.mass_da, drift))
    return cloud, drift


def align_places(
    job: Job, xyz_nm: NDArray[np.float32], start: float, stop: float
) -> Stage[tuple[NDArray[np.float32], Drift | None]]:
    """Follow the outline of the specimen; the positions that come back are corrected where the parameters ask for it.

    Where depth does not follow the order of the ions, slices of the file are no slices of the evaporation: then nothing
    is measured, unless a correction is asked for.
    """
    flipped = np.array([1, 1, -1 if job.params.normalize.flip_z else 1], np.float32)
    issues = check_units(xyz_nm * flipped)
    job.note("normalize", issues)
    wanted = job.params.steps.drift
    if wanted == "off" or (wanted == "report" and any(issue.code == _UNORDERED for issue in issues)):
        return xyz_nm, None
    try:
        drift: Drift = yield from job.run("drift", estimate_drift(xyz_nm[:, :2], job.params.drift), start, stop)
    except (EmptySelectionError, ParameterError) as error:
        job.note("drift", (Issue("no-drift", f"the drift was not measured: {error}", severity="info"),))
        return xyz_nm, None
    job.note("drift", drift.issues)
    return (correct_drift(xyz_nm, drift) if wanted == "correct" else xyz_nm), drift


def sequence_notes(sequence: Evaporation, job: Job) -> list[str]:
    """What drifted, in sentences, with how sure that is."""
    notes = []
    if sequence.masses is not None:
        range_ = 1e3 * float(np.ptp(sequence.masses.scale))
        error = 1e3 * float(np.median(sequence.masses.error))
        notes.append(
            f"The mass scale wanders by {range_:.2f} per mille along the sequence (± {error:.2f} per slice); "
            + _done(job.params.steps.peak_drift, "steps.peak_drift")
        )
    if sequence.places is not None:
        range_ = float(np.ptp(sequence.places.shift, axis=0).max())
        error = float(sequence.places.error.max())
        notes.append(
            f"The outline of the specimen drifts by {range_:.2f} nm along the sequence (± {error:.2f} nm); "
            + _done(job.params.steps.drift, "steps.drift")
        )
    return notes


def _done(wanted: str, name: str) -> str:
    return "this was taken out." if wanted == "correct" else f'it was left in (take it out with {name} = "correct").'
