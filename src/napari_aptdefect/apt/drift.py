"""Drift alignment: slices of the evaporation sequence are registered on where the ions hit, and put back in line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, ndimage

from napari_aptdefect.arrays import as_points, finite_rows
from napari_aptdefect.errors import EmptySelectionError, Issue, ParameterError, ShapeError
from napari_aptdefect.stage import Params, Progress, Stage, param

_PIXELS = 96  # across the field of view
_ROUNDS = 4
_PLATEAU = 0.5  # of the typical density: deeper poles are rare, the blurred edge passes through it
_EDGE_PIXELS = 2.0  # smoothing of the image before it is cut at the plateau
_LEAST_SLICES = 5
_HIGHEST_WAVE = 1.3  # per pixel; the smoothing leaves a fifth of an amplitude there, a thirtieth of a power
_NOISE_LEVELS = 30.0
_TINY = 1e-12


class DriftParams(Params):
    """Parameters of the drift alignment."""

    ions_per_slice: int = param(
        5000,
        title="Ions per slice",
        description="Consecutive ions whose image is registered at once; fewer follow a faster drift, more make each "
        "image better.",
        unit="ions",
        ge=200,
        le=10_000_000,
    )
    max_slices: int = param(
        300,
        title="Slices at most",
        description="A larger cloud gets larger slices instead of more.",
        ge=5,
        le=2000,
    )
    feature: Literal["outline", "density"] = param(
        "outline",
        title="Registered feature",
        description="outline: the edge of the image, which poles, clusters and voids do not touch; for specimens whose "
        "whole cross-section is seen. density: poles and other structure inside a fixed field of view; for specimens "
        "wider than the detector, whose poles then have to move with the specimen.",
    )
    keep_tilt: bool = param(
        True,
        title="Correct a steady drift",
        description="A specimen that leans drifts steadily as well. Switch off to leave the straight part of the drift "
        "in the positions.",
    )


@dataclass(frozen=True, eq=False)
class Drift:
    """Lateral drift along the evaporation sequence; its mean over the sequence is 0, as no image tells the origin.

    Parameters
    ----------
    at
        Shape (m,): middle of each slice, as the index of an ion.
    measured
        Shape (m, 2): shift of each slice along x and y, in the unit of the positions that were registered.
    shift
        Shape (m, 2): smooth curve through them.
    error
        Shape (m, 2): standard error of the curve.
    unit
        Unit of the shifts.
    n_ions
        Length of the sequence.
    issues
        What makes the result doubtful.
    """

    at: NDArray[np.float64]
    measured: NDArray[np.float64]
    shift: NDArray[np.float64]
    error: NDArray[np.float64]
    unit: str
    n_ions: int
    issues: tuple[Issue, ...] = ()

    def of_ions(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Shift of the ions start..stop, shape (stop - start, 2), float32; straight lines go on beyond the ends."""
        idx = np.arange(start, self.n_ions if stop is None else stop)
        out = np.empty((len(idx), 2), np.float32)
        for axis in range(2):
            out[:, axis] = np.interp(idx, self.at, self.shift[:, axis])
        for end, inner, outside in ((0, 1, idx < self.at[0]), (-1, -2, idx > self.at[-1])):
            slope = (self.shift[end] - self.shift[inner]) / (self.at[end] - self.at[inner])
            out[outside] = self.shift[end] + (idx[outside] - self.at[end])[:, None] * slope
        return out


def estimate_drift(lateral: ArrayLike, params: DriftParams | None = None, *, unit: str = "nm") -> Stage[Drift]:
    """Estimate how the image of the specimen moves while it evaporates.

    Parameters
    ----------
    lateral
        Shape (N, 2): places of the ions across the axis in the order of evaporation, reconstructed positions (nm) or
        detector hits (mm). Rows with a value that is not finite do not count.
    params
        Parameters; the defaults when None.
    unit
        Unit of the places.

    Returns
    -------
    The drift.

    Raises
    ------
    ShapeError
        If the places have another shape.
    EmptySelectionError
        If there are too few ions for five slices.
    ParameterError
        If all ions lie on one line.

    Notes
    -----
    *What is registered against what.* Crystallographic poles and the detector's own blemishes stay where they are on
    the detector while the specimen drifts; a plain cross-correlation of hit maps locks on to them and finds no drift.
    The outline of a wire moves with the specimen. So each slice becomes the image of its outline: counts are smoothed
    and cut at half of the typical density, above which everything is 1, so that poles, clusters and voids shallower
    than half leave no trace. First each slice is registered against the one before it, then, as errors of that chain
    add up like a random walk, each against the mean of all others in line, four times.

    *Registration.* The phase of the cross-power spectrum of two images is -k d for a shift d (Kuglin & Hines 1975). Of
    a smooth outline only the low frequencies hold signal; full whitening would weigh noise alike. So the phases are
    fitted by weighted least squares, with weights |C|^2 / (|C|^2 + noise^2), iterated until the shift stands: the
    sub-pixel value of Foroosh et al. (2002) without their assumption on the shape of the peak.

    *Curve.* A discrete smoothing spline (Whittaker 1923: squared second differences as the penalty) through the shifts,
    its stiffness from restricted maximum likelihood (Wahba 1985; cross-validation follows the noise where slices are
    few), its standard error from the Bayesian interval of Wahba (1983). The error covers the scatter of the slices, not
    a distortion that changes along the sequence.

    References
    ----------
    C.D. Kuglin, D.C. Hines, Proc. IEEE Int. Conf. Cybernetics and Society (1975) 163-165.
    H. Foroosh, J.B. Zerubia, M. Berthod, IEEE Trans. Image Process. 11 (2002) 188, doi 10.1109/83.988953.
    E.T. Whittaker, Proc. Edinburgh Math. Soc. 41 (1923) 63, doi 10.1017/S0013091500077853.
    G. Wahba, J. R. Stat. Soc. B 45 (1983) 133, doi 10.1111/j.2517-6161.1983.tb01239.x; Ann. Stat. 13 (1985) 1378,
    doi 10.1214/aos/1176349743.
    """
    params = params or DriftParams()
    places = np.asarray(lateral)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise ShapeError(f"lateral places must be numbers of shape (N, 2), got {places.shape}, {places.dtype}")
    n = len(places)
    n_slices = min(n // params.ions_per_slice, params.max_slices)
    if n_slices < _LEAST_SLICES:
        raise EmptySelectionError(
            f"{n} ions give {n_slices} slices of {params.ions_per_slice}, a drift needs {_LEAST_SLICES}; "
            "choose smaller slices"
        )
    yield Progress(0, _ROUNDS + 2, "images of the slices")
    cuts = np.linspace(0, n, n_slices + 1).astype(np.int64)
    images, pixel = _images(places, cuts, params.feature)
    yield Progress(1, _ROUNDS + 2, "consecutive slices")
    spectra, waves = _spectra(images, pixel)
    steps = np.array([_shift(spectra[i], spectra[i + 1], waves, np.zeros(2)) for i in range(n_slices - 1)])
    measured = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    basis = _basis(n_slices)
    curve, error = _smooth(measured, basis)
    for turn in range(_ROUNDS):
        yield Progress(2 + turn, _ROUNDS + 2, "all slices in line")
        measured = _against_others(spectra, curve, waves)
        curve, error = _smooth(measured, basis)
    at = np.asarray(0.5 * (cuts[:-1] + cuts[1:] - 1), np.float64)
    offset = curve.mean(axis=0) if params.keep_tilt else _line(at, curve)
    issues = _doubts(measured, curve, pixel, unit)
    return Drift(at, measured - offset, curve - offset, error, unit, n, issues)


def image_scale(detector_mm: ArrayLike, xyz_nm: ArrayLike) -> float:
    """Nanometers on the specimen per millimeter on the detector, by least squares around the means.

    Raises
    ------
    ShapeError
        If there is not one hit per position.
    ParameterError
        If all hits lie in one place.
    """
    xyz, hits = as_points(xyz_nm), np.asarray(detector_mm, np.float64)
    if hits.shape != (len(xyz), 2):
        raise ShapeError(f"hits on the detector must have shape ({len(xyz)}, 2), got {hits.shape}")
    good = finite_rows(xyz) & np.isfinite(hits).all(axis=1)
    across, hits = xyz[good, :2].astype(np.float64), hits[good]
    if not len(hits) or not np.ptp(hits, axis=0).any():
        raise ParameterError("the hits lie in one place; the detector columns hold no measurement")
    across, hits = across - across.mean(axis=0), hits - hits.mean(axis=0)
    return float((across * hits).sum() / (hits * hits).sum())


def correct_drift(xyz_nm: ArrayLike, drift: Drift, nm_per_unit: float = 1.0) -> NDArray[np.float32]:
    """Positions with the drift taken out.

    Parameters
    ----------
    xyz_nm
        Positions in the order of evaporation, shape (N, 3), nm.
    drift
        The drift of these very ions.
    nm_per_unit
        Length on the specimen that belongs to one unit of the drift: 1 where positions were registered, `image_scale`
        where detector hits were.

    Returns
    -------
    Shape (N, 3), float32, nm; a new array, z unchanged.

    Raises
    ------
    ShapeError
        If the drift is that of another number of ions.
    """
    xyz = as_points(xyz_nm)
    if len(xyz) != drift.n_ions:
        raise ShapeError(f"the drift was measured on {drift.n_ions} ions, the positions are {len(xyz)}")
    out = xyz.copy()
    out[:, :2] -= np.float32(nm_per_unit) * drift.of_ions()
    return out


def _images(places: NDArray[np.floating], cuts: NDArray[np.int64], feature: str) -> tuple[NDArray[np.float64], float]:
    """One square image per slice, shape (m, p, p), and the edge of a pixel."""
    good = finite_rows(places)
    sample = places[good][:: max(1, int(good.sum()) // 200_000)].astype(np.float64)
    if not len(sample):
        raise EmptySelectionError("no ion has a finite place")
    low, high = np.quantile(sample, [0.001, 0.999], axis=0)
    size = float((high - low).max())
    if not (high - low).min() > 1e-6 * size:
        raise ParameterError("the ions lie on one line or in one place; there is no image to register")
    pad = 1.5  # a shift by as much as a quarter of the image does not wrap around
    pixel = pad * size / _PIXELS
    corner = 0.5 * (low + high) - 0.5 * pad * size
    counts = np.empty((len(cuts) - 1, _PIXELS, _PIXELS))
    for i, (start, stop) in enumerate(pairwise(cuts)):
        block = places[start:stop][good[start:stop]].astype(np.float64)
        cell = np.floor((block - corner) / pixel)
        cell = cell[((cell >= 0) & (cell < _PIXELS)).all(axis=1)].astype(np.int64)
        flat = np.bincount(cell[:, 0] * _PIXELS + cell[:, 1], minlength=_PIXELS**2)
        counts[i] = flat.reshape(_PIXELS, _PIXELS)
    return (_outlines(counts) if feature == "outline" else _insides(counts)), pixel


def _outlines(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = ndimage.gaussian_filter(counts, (0, _EDGE_PIXELS, _EDGE_PIXELS), mode="constant")
    out: NDArray[np.float64] = np.empty_like(smooth)
    for image, target in zip(smooth, out, strict=True):
        typical = np.median(image[image > 0.25 * image.max(initial=_TINY)])
        np.minimum(image / (_PLATEAU * max(typical, _TINY)), 1.0, out=target)
    return out


def _insides(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation from a wide average, inside a window that the mean image sets and that fades at its edge."""
    narrow = ndimage.gaussian_filter(counts, (0, 1.0, 1.0), mode="constant")
    wide = ndimage.gaussian_filter(counts, (0, 8.0, 8.0), mode="constant")
    mean = ndimage.gaussian_filter(counts.mean(axis=0), 1.0)
    seen = mean > 0.25 * np.median(mean[mean > 0.25 * mean.max()])
    depth = ndimage.distance_transform_edt(seen)
    window = np.sin(0.5 * np.pi * np.clip((depth - 4) / 12, 0, 1)) ** 2
    return np.asarray(window * (narrow / np.maximum(wide, _TINY) - 1), np.float64)


def _spectra(images: NDArray[np.float64], pixel: float) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Low frequencies of each image, shape (m, f), and their wave vectors, shape (2, f); smoothing left no others."""
    n = images.shape[-1]
    along, half = 2 * np.pi * np.fft.fftfreq(n, pixel), 2 * np.pi * np.fft.rfftfreq(n, pixel)
    waves = np.array(np.meshgrid(along, half, indexing="ij"))
    # the first column holds each frequency twice, as its complex conjugate
    kept = (np.hypot(*waves) < _HIGHEST_WAVE / pixel) & ((waves[1] > 0) | ((waves[1] == 0) & (waves[0] > 0)))
    return np.array([np.fft.rfft2(image)[kept] for image in images]), waves[:, kept]


def _shift(
    reference: NDArray[np.complex128],
    image: NDArray[np.complex128],
    waves: NDArray[np.float64],
    guess: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Shift of an image against a reference, in the unit of the waves; a fit of the phases of their cross spectrum."""
    cross = image * np.conj(reference)
    power = np.abs(cross)
    length = np.hypot(*waves)
    noise = np.median(power[length > 0.8 * length.max()])
    weight = power**3 / (power**2 + (_NOISE_LEVELS * noise) ** 2 + _TINY)
    d = guess.astype(np.float64).copy()
    kx, ky = waves
    for _ in range(30):
        rest = np.angle(cross * np.exp(1j * (kx * d[0] + ky * d[1])))
        # frequencies whose phase is beyond pi / 2 have wrapped, or an image of the other sign: left out this time
        w = weight * (np.abs(rest) < 0.5 * np.pi)
        matrix = np.array([[(w * kx * kx).sum(), (w * kx * ky).sum()], [(w * kx * ky).sum(), (w * ky * ky).sum()]])
        right = -np.array([(w * kx * rest).sum(), (w * ky * rest).sum()])
        if np.linalg.det(matrix) <= _TINY * matrix.trace() ** 2:
            return d
        step = np.linalg.solve(matrix, right)
        d += step
        if np.abs(step).max() < 1e-4 / length.max():
            break
    return d


def _against_others(
    spectra: NDArray[np.complex128], curve: NDArray[np.float64], waves: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shift of each slice against the mean of all others, each put in line by the curve so far."""
    kx, ky = waves
    total = np.zeros_like(spectra[0])
    for image, d in zip(spectra, curve, strict=True):
        total += image * np.exp(1j * (kx * d[0] + ky * d[1]))
    out = np.empty_like(curve)
    for i, (image, d) in enumerate(zip(spectra, curve, strict=True)):
        others = (total - image * np.exp(1j * (kx * d[0] + ky * d[1]))) / (len(spectra) - 1)
        out[i] = _shift(others, image, waves, d)
    return out


def _basis(m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors of the squared second differences of m values."""
    second = np.diff(np.eye(m), 2, axis=0)
    penalty = second.T @ second
    bands = np.zeros((3, m))
    for i in range(3):
        bands[i, : m - i] = np.diagonal(penalty, -i)
    eigenvalues, vectors = linalg.eig_banded(bands, lower=True)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    eigenvalues[:2] = 0.0  # straight lines
    return eigenvalues, vectors


def _smooth(
    values: NDArray[np.float64], basis: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smoothing spline through equally spaced values, shape (m, 2), and its standard error."""
    m = len(values)
    eigenvalues, vectors = basis
    curve, error = np.empty_like(values), np.empty_like(values)
    for axis in range(values.shape[1]):
        parts = vectors.T @ values[:, axis]
        bent = parts[2:] ** 2
        best, keep, variance = np.inf, np.ones(m), 0.0
        for stiffness in np.geomspace(1e-2, 1e2 * m**4, 120):
            lost = stiffness * eigenvalues[2:] / (1 + stiffness * eigenvalues[2:])
            rest = max(float(lost @ bent), _TINY**2)
            likelihood = (m - 2) * np.log(rest) - np.log(lost).sum()
            if likelihood < best:
                best, variance = likelihood, rest / (m - 2)
                keep = np.concatenate([np.ones(2), 1 - lost])
        curve[:, axis] = vectors @ (keep * parts)
        error[:, axis] = np.sqrt(variance * (vectors**2 @ keep))
    return curve, error


def _line(at: NDArray[np.float64], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    x = (at - at.mean()) / max(float(np.ptp(at)), 1.0)
    slope = x @ curve / (x @ x)
    return np.asarray(curve.mean(axis=0) + x[:, None] * slope, np.float64)


def _doubts(measured: NDArray[np.float64], curve: NDArray[np.float64], pixel: float, unit: str) -> tuple[Issue, ...]:
    issues = []
    scatter = float(np.sqrt(np.mean((measured - curve) ** 2)))
    if scatter > pixel:
        text = f"slices scatter by {scatter:.3g} {unit} around the drift curve, more than a pixel of {pixel:.3g} {unit}"
        issues.append(Issue("drift-scatter", f"{text}: the image has no clear outline; look at the plot before use"))
    steps = np.abs(np.diff(measured, axis=0)).max(axis=1)
    typical = float(np.median(steps))
    if len(steps) and steps.max() > max(20 * typical, 3 * pixel):
        at = int(np.argmax(steps))
        text = f"the image jumps by {steps[at]:.3g} {unit} between slices {at} and {at + 1}, as at a fracture"
        issues.append(Issue("drift-jump", f"{text}; a smooth curve does not follow a jump"))
    return tuple(issues)
