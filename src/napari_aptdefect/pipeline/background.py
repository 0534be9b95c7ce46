"""Background of the mass spectrum within the main job: how much of each range it is, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.ranging import MassBackground, Ranging, estimate_mass_background
from napari_aptdefect.data import IonCloud, RangeTable
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.pipeline.job import Job
from napari_aptdefect.stage import Stage


def measure_background(job: Job, cloud: IonCloud, table: RangeTable) -> Stage[MassBackground | None]:
    """Estimate the background under each range; None where that was not asked for, or is not possible."""
    if job.params.steps.mass_background == "off":
        return None
    stage = estimate_mass_background(cloud.mass_da, table, job.params.mass_background)
    try:
        found: MassBackground = yield from job.run("mass background", stage, 7, 7)
    except EmptySelectionError as error:
        text = f"the background of the mass spectrum was not estimated: {error}"
        job.note("mass background", (Issue("no-mass-background", text, severity="info"),))
        return None
    job.note("mass background", found.issues)
    return found


def kept_by_mass(job: Job, ranging: Ranging) -> NDArray[np.bool_] | None:
    """Which ions of the file may be used, by their masses; None for all."""
    if job.params.steps.mass_background != "remove":
        return None
    ranged = np.asarray(ranging.ion_idx >= 0)
    n_removed = int((~ranged).sum())
    text = f"{n_removed} ions outside all ranges left out of the neighborhoods; they stay in ions.parquet"
    job.note("mass background", (Issue("unranged-removed", text, severity="info"),))
    return ranged


def background_notes(found: MassBackground | None, ranging: Ranging, job: Job) -> list[str]:
    """How much background there is and what was done about it, in sentences."""
    notes = []
    if job.params.steps.mass_background == "remove":
        notes.append(f"{ranging.n_unranged} ions outside all ranges were left out of the neighborhoods, as asked for.")
    if found is not None:
        n, error = float(found.background.sum()), float(np.hypot(*_errors(found)))
        notes.append(
            f"Background of the mass spectrum: random arrivals are {found.random_share:.2%} of all ions. About "
            f"{n:,.0f} ± {error:,.0f} of the {ranging.n_ranged:,} ranged ions are background; which ones can't be "
            "told, so none of them was removed. The composition is given with and without them."
        )
    return notes


def background_summary(found: MassBackground | None, ranging: Ranging) -> dict[str, Any] | None:
    """What was found, for ``run.json``."""
    if found is None:
        return None
    net = found.composition(ranging.table)
    columns = zip(
        found.ranges,
        found.counts,
        found.flat,
        found.tail,
        found.background_error,
        found.net,
        found.net_error,
        found.signal_to_noise,
        found.probability,
        strict=True,
    )
    return {
        "level_per_sqrt_da": found.level,
        "level_error": found.level_error,
        "from_da": found.from_da,
        "to_da": found.to_da,
        "n_windows": found.n_windows,
        "n_quiet": found.n_quiet,
        "dispersion": found.dispersion,
        "random_share": found.random_share,
        "ranges": [
            {
                "ion": ranging.table.names[item.ion_idx],
                "lo_da": item.lo_da,
                "hi_da": item.hi_da,
                "count": int(count),
                "flat": float(flat),
                "tail": float(tail),
                "background_error": float(error),
                "net": float(left),
                "net_error": float(left_error),
                "signal_to_noise": _or_none(ratio),
                "background_probability": _or_none(probability),
            }
            for item, count, flat, tail, error, left, left_error, ratio, probability in columns
        ],
        "composition": [
            {"element": name, "fraction": _or_none(share), "fraction_error": _or_none(error)}
            for name, share, error in zip(net.elements, net.fraction, net.fraction_error, strict=True)
        ],
    }


def _errors(found: MassBackground) -> tuple[float, float]:
    """Errors of the sum over all ranges: of the level, which they share, and of the tails, which they don't."""
    return float(found.flat_width.sum() * found.level_error), float(np.sqrt((found.tail_error**2).sum()))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
