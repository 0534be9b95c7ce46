"""Ranges from the mass spectrum alone: find peaks, explain them together by isotope patterns, cut ranges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from napari_aptdefect.apt.ranging.assign import Assignment, assign_peaks
from napari_aptdefect.apt.ranging.spectrum import Peaks, Spectrum, count_masses, find_peaks
from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.elements import format_formula, isotopes, parse_formula
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.stage import Params, Progress, Stage, param

_CHUNK = 1 << 20
_MAX_IONS = 32_000  # ion indices are int16


class PeakParams(Params):
    """How ranges are suggested."""

    elements: tuple[str, ...] = param(
        (),
        title="Expected elements",
        description="Elements that the specimen holds; H, C, N and O are always considered. Empty considers every "
        "element with natural isotopes, the usual ones first.",
    )
    ions: tuple[str, ...] = param(
        (),
        title="Further ions",
        description="Formulas of molecular ions to consider besides hydrides, oxides, nitrides and dimers.",
    )
    max_charge: int = param(3, title="Highest charge", description="Highest charge state.", ge=1, le=4)
    tolerance_da: float = param(
        0.1,
        title="Mass tolerance",
        description="How far a peak may lie from the mass of its isotope; the calibration of a spectrum may be off.",
        unit="Da",
        gt=0.0,
        le=0.3,
    )
    bin_da: float = param(
        0.01, title="Bin width", description="Width of the bins of the spectrum.", unit="Da", ge=0.0005, le=0.1
    )
    max_mass_da: float = param(
        300.0, title="Highest mass", description="Masses above are left out.", unit="Da", gt=1.0, le=2000.0
    )
    min_sigma: float = param(
        5.0,
        title="Significance",
        description="How far a peak stands above its surroundings.",
        unit="sigma",
        ge=2.0,
        le=1000.0,
    )
    min_counts: int = param(
        20,
        title="Least counts",
        description="Least counts of a peak above the background.",
        unit="ions",
        ge=1,
        le=1_000_000,
    )
    limit_fraction: float = param(
        0.1,
        title="Range ends at",
        description="A range ends where the peak has fallen to this part of its height (0.1: full width at tenth "
        "maximum), or at the valley to its neighbor.",
        gt=0.0,
        lt=1.0,
    )

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in value if not isotopes(symbol)]
        if unknown:
            raise ValueError(f"no natural isotopes of {', '.join(unknown)}; give symbols such as Ga, N")
        return value

    @field_validator("ions")
    @classmethod
    def _known_ions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if not parse_formula(name)]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not formulas of elements; give formulas such as GaN, SiO2")
        return value


def suggest_ranges(mass_da: NDArray[np.floating], params: PeakParams | None = None) -> RangeTable:
    """Suggest ranges for a data set that has no range file.

    Parameters
    ----------
    mass_da
        Mass-to-charge ratios, shape (N,), Da; NaN and negative ones are left out.
    params
        Parameters, the defaults when None.

    Returns
    -------
    A table of ions and ranges, ascending in mass. Its issues tell, for each range, which isotopologue it holds, the
    confidence and the alternatives (code ``suggestion``), and which peaks no candidate explains (``unassigned``; such
    a range belongs to a label like ``peak 34.50``).

    Raises
    ------
    EmptySelectionError
        If no mass lies within the spectrum, or no peak stands out.

    Notes
    -----
    1. Histogram in fine bins, filled in chunks: the memory does not depend on the number of ions.
    2. Background: running median, then the running mean of what lies within three sigma of it.
    3. Peaks: maxima that stand above background and valleys by `min_sigma` (Poisson likelihood ratio).
    4. Assignment: all peaks at once, by the isotope patterns of candidate ions; see `assign_peaks`.
    5. Limits: where a peak has fallen to `limit_fraction` of its height, or the valley to its neighbor.
    """
    masses = as_vector(mass_da, "mass_da", dtype=np.asarray(mass_da).dtype)
    params = params or PeakParams()
    chunks = (masses[start : start + _CHUNK] for start in range(0, len(masses), _CHUNK))
    return _suggest(count_masses(chunks, params.max_mass_da, params.bin_da), params)


def suggest(cloud: IonCloud, params: PeakParams | None = None) -> Stage[RangeTable]:
    """Suggest ranges for a cloud, reading it chunk by chunk.

    Yields
    ------
    Progress, in ions.

    Returns
    -------
    The table; see `suggest_ranges`.
    """
    params = params or PeakParams()
    spectrum = Spectrum.empty(params.max_mass_da, params.bin_da)
    for start, stop in cloud.chunks(_CHUNK):
        yield Progress(start, cloud.n_ions, "Counting masses")
        spectrum.add(cloud.read("mass_da", start, stop))
    yield Progress(cloud.n_ions, cloud.n_ions, "Assigning peaks")
    return _suggest(spectrum, params)


def _suggest(spectrum: Spectrum, params: PeakParams) -> RangeTable:
    peaks = find_peaks(
        spectrum, min_sigma=params.min_sigma, min_counts=params.min_counts, limit_fraction=params.limit_fraction
    )
    if len(peaks) > _MAX_IONS:
        raise EmptySelectionError(f"{len(peaks)} peaks found, more than can be told apart; raise the significance")
    assignments = assign_peaks(
        spectrum,
        peaks,
        expected=params.elements,
        named=tuple(parse_formula(name) for name in params.ions),
        max_charge=params.max_charge,
        tolerance_da=params.tolerance_da,
    )
    return _table(spectrum, peaks, assignments)


def _table(spectrum: Spectrum, peaks: Peaks, assignments: list[Assignment]) -> RangeTable:
    ions: dict[str, Ion] = {}
    ranges: list[MassRange] = []
    issues: list[Issue] = []
    for idx, found in enumerate(assignments):
        lo, hi = (round(float(b * spectrum.bin_da), 6) for b in (peaks.lo_bin[idx], peaks.hi_bin[idx]))
        # limits are closed: a range must not share its end with the next one
        hi = float(np.nextafter(np.float32(hi), np.float32(0)))
        name = format_formula(found.elements) if found.elements else _label(peaks.mass_da[idx], ions)
        ions.setdefault(name, Ion(name, found.elements))
        ranges.append(MassRange(lo, max(lo, hi), list(ions).index(name)))
        issues.append(_report(peaks, idx, found, name, ranges[-1]))
    return RangeTable(tuple(ions.values()), tuple(ranges), None, tuple(issues))


def _label(mass_da: float, ions: dict[str, Ion]) -> str:
    names = _label_names(mass_da)
    return next(name for name in names if name not in ions)


def _label_names(mass_da: float) -> Iterator[str]:
    digits = 2
    while True:
        yield f"peak {mass_da:.{digits}f}"
        digits += 1


def _report(peaks: Peaks, idx: int, found: Assignment, name: str, item: MassRange) -> Issue:
    where = (
        f"{item.lo_da:.2f} to {item.hi_da:.2f} Da (peak at {peaks.mass_da[idx]:.3f}, {peaks.net[idx]:.0f} net counts)"
    )
    others = f"; alternatives: {', '.join(found.alternatives)}" if found.alternatives else ""
    if not found.elements:
        return Issue("unassigned", f"{where}: no candidate explains it, it is named {name!r}{others}")
    text = f"{where}: {found.label}, confidence {found.confidence:.2f}"
    alone = ", rests on this peak alone" if found.n_supporting == 1 else f", {found.n_supporting} isotope peaks agree"
    return Issue("suggestion", f"{text}{alone}{others}", "info")
