"""Peak drift: mass peaks that wander along the evaporation sequence are put back on one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, signal

from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.stage import Params, Progress, Stage, param

_LEAST_DA = 0.5
_BINS_PER_WIDTH = 12
_LEAST_SLICES = 2
_LEAST_VOLUME_NM3 = 2e-3  # of an atom: no solid has 500 atoms/nm3 (diamond has 176)
_MOST_VOLUME_NM3 = 5.0  # a millionth of a specimen seen, or so: no such measurement is worth anything


class PeakDriftParams(Params):
    """Parameters of the normalization of mass peaks."""

    ions_per_slice: int = param(
        5000,
        title="Ions per slice",
        description="Consecutive ions whose peaks are located at once.",
        unit="ions",
        ge=500,
        le=10_000_000,
    )
    max_slices: int = param(
        200, title="Slices at most", description="A larger cloud gets larger slices instead of more.", ge=2, le=2000
    )
    n_peaks: int = param(
        3, title="Peaks", description="The strongest peaks that are followed, far enough from one another.", ge=1, le=20
    )
    reach_percent: float = param(
        1.0,
        title="Reach",
        description="A peak is looked for this far to either side of its mean place, in percent of its mass.",
        unit="%",
        ge=0.05,
        le=10.0,
    )


@dataclass(frozen=True, eq=False)
class PeakDrift:
    """How the mass scale wanders along the sequence; 1 is its mean.

    Parameters
    ----------
    at
        Shape (m,): middle of each slice, as the index of an ion.
    peaks_da
        Shape (p,): mean place of each peak that was followed, Da.
    measured
        Shape (m, p): place of each peak in each slice over its mean place; NaN where a slice has too few ions of it.
    scale
        Shape (m,): smooth factor by which masses are too large.
    error
        Shape (m,): standard error of the weighted mean over the peaks before smoothing.
    n_ions
        Length of the sequence.
    issues
        What makes the result doubtful.
    """

    at: NDArray[np.float64]
    peaks_da: NDArray[np.float64]
    measured: NDArray[np.float64]
    scale: NDArray[np.float64]
    error: NDArray[np.float64]
    n_ions: int
    issues: tuple[Issue, ...] = ()

    def of_ions(self) -> NDArray[np.float32]:
        """Factor of each ion, shape (N,), float32; even before the first and behind the last slice's middle."""
        return np.interp(np.arange(self.n_ions), self.at, self.scale).astype(np.float32)


def estimate_peak_drift(mass_da: ArrayLike, params: PeakDriftParams | None = None) -> Stage[PeakDrift]:
    """Follow the strongest mass peaks along the evaporation sequence.

    Parameters
    ----------
    mass_da
        Mass-to-charge ratios in the order of evaporation, shape (N,), Da.
    params
        Parameters; the defaults when None.

    Raises
    ------
    EmptySelectionError
        If there are too few ions for two slices, or no peak stands out.

    Notes
    -----
    m/q = 2 e V (t - t0)^2 / L^2: an error of the voltage, of the path or of a late laser pulse multiplies all masses by
    nearly the same factor, so one factor per slice is fitted to all peaks. Each peak's place in a slice is the shift
    that correlates best with the logarithm of the peak's shape in the whole sequence, the matched filter of Poisson
    counts (a parabola through the maximum); its error is the Cramer-Rao bound 1 / sqrt(n I), I = integral f'^2 / f. The
    whole is done twice, as a peak smeared by the drift is a poorer template. The factors are averaged with inverse
    variances, then with a Gaussian of one slice. Nothing is known of the true mass: the mean place of the peaks stays
    where it is, and calibrating it against isotopes is a matter of ranging.
    """
    params = params or PeakDriftParams()
    mass = as_vector(mass_da, "mass_da")
    n = len(mass)
    n_slices = min(n // params.ions_per_slice, params.max_slices)
    if n_slices < _LEAST_SLICES:
        raise EmptySelectionError(
            f"{n} ions give {n_slices} slices of {params.ions_per_slice}, a drift needs {_LEAST_SLICES}; "
            "choose smaller slices"
        )
    yield Progress(0, 3, "strongest peaks")
    cuts = np.linspace(0, n, n_slices + 1).astype(np.int64)
    logs = np.full(n, np.nan)
    usable = np.isfinite(mass) & (mass > _LEAST_DA)
    logs[usable] = np.log(mass[usable])  # a factor is a shift there
    peaks = _strongest(logs[usable], params)
    total = np.zeros(n_slices)
    for turn in range(2):
        yield Progress(1 + turn, 3, "peaks of each slice")
        shifts, errors = _follow(logs, cuts, peaks, np.log1p(params.reach_percent / 100), total)
        weights = np.where(np.isfinite(shifts), 1 / errors**2, 0.0)
        norm = weights.sum(axis=1)
        mean = np.divide((weights * np.nan_to_num(shifts)).sum(axis=1), norm, out=np.zeros(n_slices), where=norm > 0)
        known = np.interp(np.arange(n_slices), np.flatnonzero(norm > 0), mean[norm > 0]) if (norm > 0).any() else mean
        total = total + known
        total -= total.mean()
    measured = np.exp(shifts + (total - known)[:, None])
    error = np.sqrt(np.divide(1, norm, out=np.full(n_slices, np.inf), where=norm > 0))
    scale = np.exp(ndimage.gaussian_filter1d(total, 1.0, mode="nearest"))
    at = np.asarray(0.5 * (cuts[:-1] + cuts[1:] - 1), np.float64)
    issues = _peak_issues(shifts, errors, scale, np.exp(peaks), params)
    return PeakDrift(at, np.exp(peaks), measured, scale, error, n, issues)


def normalize_masses(mass_da: ArrayLike, drift: PeakDrift) -> NDArray[np.float32]:
    """Masses with the peak drift taken out, shape (N,), float32, Da.

    Raises
    ------
    ShapeError
        If the drift is that of another number of ions.
    """
    return np.asarray(as_vector(mass_da, "mass_da", length=drift.n_ions) / drift.of_ions(), np.float32)


def check_units(xyz_nm: ArrayLike, n_kept: int | None = None, efficiency: float | None = None) -> tuple[Issue, ...]:
    """Report positions whose order, sign of z or unit looks wrong; nothing is changed.

    Parameters
    ----------
    xyz_nm
        Positions in the order of evaporation, shape (N, 3), nm.
    n_kept
        Ions of the specimen, where the file holds a part of them; all by default.
    efficiency
        Detection efficiency, 0 to 1, where it is known.

    Returns
    -------
    The issues: ``"z-sign"`` where depth grows toward negative z (mirror it: `normalize` has `flip_z`), ``"z-order"``
    where z does not follow the sequence at all, so that slices of the file are no slices of the evaporation, and
    ``"unit"`` where the volume per atom is none of a solid, with the unit that would make it one.

    Notes
    -----
    The rank correlation of z with the index (Spearman 1904) tells sign and order: ions evaporate from the top down. The
    volume per atom is the volume of the occupied part of a coarse grid over the number of ions, times the efficiency;
    solids have 0.006 to 0.07 nm3 per atom, so a unit that is wrong by 10 (angstrom) is wrong by 1000 here.
    """
    xyz = as_points(xyz_nm)
    finite = finite_rows(xyz)
    good = xyz[finite]
    if len(good) < 100:
        return (
            Issue("too-few", f"{len(good)} ions with a finite position are too few to check order and unit", "info"),
        )
    sample = good[:: max(1, len(good) // 100_000)]
    ranks = np.argsort(np.argsort(sample[:, 2], kind="stable"), kind="stable").astype(float)
    rho = float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) if np.ptp(sample[:, 2]) > 0 else 0.0
    issues = []
    if abs(rho) < 0.5:
        text = f"z does not follow the order of the ions (rank correlation {rho:.2f}): the file is sorted otherwise"
        issues.append(Issue("z-order", f"{text}, and nothing along the sequence, such as drift, can be measured"))
    elif rho < 0:
        text = f"z decreases along the sequence (rank correlation {rho:.2f}): depth is counted downward"
        issues.append(Issue("z-sign", f"{text}; flip z for the convention that z grows with depth", "info"))
    volume = _occupied_volume(good.astype(np.float64))
    per_atom = volume / max(n_kept or len(good), 1) * (1.0 if efficiency is None else efficiency)
    if not _LEAST_VOLUME_NM3 < per_atom < _MOST_VOLUME_NM3:
        guess = min(
            (("angstrom", 1e3), ("pm", 1e9), ("um", 1e-9), ("m", 1e-27)),
            key=lambda u: abs(np.log(per_atom / u[1] / 0.02)),
        )
        fits = _LEAST_VOLUME_NM3 < per_atom / guess[1] < _MOST_VOLUME_NM3
        text = f"each ion takes {per_atom:.3g} nm3, as no solid does; the unit may not be nm"
        issues.append(Issue("unit", text + (f" but {guess[0]}" if fits else "")))
    return tuple(issues)


def _strongest(logs: NDArray[np.float64], params: PeakDriftParams) -> NDArray[np.float64]:
    """Logarithms of the places of the strongest peaks, strongest first, farther apart than twice the reach."""
    reach = np.log1p(params.reach_percent / 100)
    step = reach / 20
    if not len(logs):
        raise EmptySelectionError("no ion has a positive mass-to-charge ratio")
    low = float(logs.min())
    counts = np.bincount(((logs - low) / step).astype(np.int64)).astype(float)
    smooth = ndimage.gaussian_filter1d(counts, 2.0)
    at, found = signal.find_peaks(np.pad(smooth, 1), height=max(10.0, 5 * float(np.median(counts))), distance=41)
    if not len(at):
        raise EmptySelectionError("no peak stands out of the mass spectrum; peak drift can't be followed")
    best = at[np.argsort(-found["peak_heights"], kind="stable")][: params.n_peaks]
    return np.asarray(low + (best - 1 + 0.5) * step, np.float64)


def _follow(
    logs: NDArray[np.float64],
    cuts: NDArray[np.int64],
    peaks: NDArray[np.float64],
    reach: float,
    known: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift of each peak in each slice beyond what is known, and its standard error, both of shape (m, p)."""
    m = len(cuts) - 1
    shifts, errors = np.full((m, len(peaks)), np.nan), np.full((m, len(peaks)), np.inf)
    for p, place in enumerate(peaks):
        n_bins = 40 * _BINS_PER_WIDTH
        edges = place + np.linspace(-2 * reach, 2 * reach, n_bins + 1)
        step = edges[1] - edges[0]
        hist = np.array(
            [
                np.histogram(logs[start:stop] - offset, edges)[0]
                for start, stop, offset in zip(cuts[:-1], cuts[1:], known, strict=True)
            ],
            float,
        )
        template = ndimage.gaussian_filter1d(hist.sum(axis=0), 3.0, mode="nearest")
        template = np.maximum(template - np.quantile(template, 0.2), 0)
        slope = np.gradient(template / max(template.sum(), 1e-12), step)
        # information of one ion on the shift of a density f: the integral of f'^2 / f
        per_ion = float((slope**2 / np.maximum(template / max(template.sum(), 1e-12), 1e-12) * (template > 0)).sum())
        floor = max(float(np.quantile(template[template > 0], 0.05)), 1e-9) if (template > 0).any() else 1e-9
        score = np.log(template + floor)  # the matched filter of Poisson counts
        score -= score.mean()
        n_lags = int(reach / step)
        for i, counts in enumerate(hist):
            n_peak = float(counts.sum() - n_bins * np.quantile(counts, 0.2))
            if n_peak < 50 or per_ion <= 0:
                continue
            matched = np.correlate(np.pad(counts, n_lags), score, "valid")
            k = int(np.argmax(matched))
            if 0 < k < len(matched) - 1:
                a, b, c = matched[k - 1 : k + 2]
                bend = a - 2 * b + c
                shifts[i, p] = (k - n_lags + (0.5 * (a - c) / bend if bend < 0 else 0.0)) * step
                errors[i, p] = 1 / np.sqrt(n_peak * per_ion)
    return shifts, errors


def _peak_issues(
    shifts: NDArray[np.float64],
    errors: NDArray[np.float64],
    scale: NDArray[np.float64],
    peaks_da: NDArray[np.float64],
    params: PeakDriftParams,
) -> tuple[Issue, ...]:
    issues = []
    for p, place in enumerate(peaks_da):
        lost = int(np.count_nonzero(~np.isfinite(shifts[:, p])))
        if lost:
            text = f"the peak at {place:.3f} Da could not be located in {lost} of {len(shifts)} slices"
            issues.append(Issue("peak-lost", text, "info" if lost < len(shifts) / 4 else "warning"))
    if len(peaks_da) > 1 and np.isfinite(shifts).all(axis=1).any():
        apart = np.nanmax(shifts, axis=1, initial=-np.inf) - np.nanmin(shifts, axis=1, initial=np.inf)
        allowed = 6 * np.sqrt(np.nanmax(np.where(np.isfinite(errors), errors, 0), axis=1) ** 2 + 1e-10)
        odd = int(np.count_nonzero(apart > allowed))
        if odd > 0.1 * len(shifts):
            text = f"the peaks disagree on the drift in {odd} of {len(shifts)} slices: it is no common factor"
            issues.append(Issue("peaks-disagree", f"{text} (an offset in time, or a peak of two species)"))
    if np.ptp(scale) > 0.5 * params.reach_percent / 100:
        text = f"masses wander by {100 * np.ptp(scale):.3g} %, most of the reach of {params.reach_percent} %"
        issues.append(Issue("peak-reach", f"{text}; raise it and repeat"))
    return tuple(issues)


def _occupied_volume(xyz: NDArray[np.float64]) -> float:
    """Volume of the cells that hold ions, on a grid of about 30 ions per cell of an even box, nm3."""
    extent = np.maximum(np.ptp(xyz, axis=0), 1e-12)
    edge = (float(np.prod(extent)) * 30 / len(xyz)) ** (1 / 3)
    cell = np.floor((xyz - xyz.min(axis=0)) / edge).astype(np.int64)
    span = cell.max(axis=0) + 1
    n_cells = len(np.unique((cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2]))
    return float(n_cells * edge**3)
