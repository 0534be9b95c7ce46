"""Tempered sequential Monte Carlo for one candidate: from the prior to the posterior, with the evidence on the way."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.apt.voids.likelihood import N_STATE, Window, log_ratio
from napari_aptdefect.apt.voids.model import R_HIGH_NM, R_LOW_NM
from napari_aptdefect.apt.voids.profile import Table

CENTER_NM = 0.75
"""Standard deviation of the prior of a center about the candidate's place."""

DEPLETION_MEAN, DEPLETION_SD = 3.0, 1.0
"""Normal prior of the logit of a void's depletion: median 0.95, 90 % between 0.79 and 0.99."""

ZONE_MEAN = -1.0
"""The same mean for a zone of low density, that is no void: median 0.27, 90 % between 0.07 and 0.66."""

_LOG_LOW, _LOG_HIGH = float(np.log(R_LOW_NM)), float(np.log(R_HIGH_NM))
_MOVES, _LAST_MOVES, _MAX_STEPS = 4, 10, 200
IMPOSSIBLE = -1e300
"""Log prior of a state that can't be."""


@njit(cache=True, nogil=True)
def log_prior(
    theta: NDArray[np.float64],
    center: NDArray[np.float64],
    blur_error: float,
    others: NDArray[np.float64],
    depletion_mean: float = DEPLETION_MEAN,
) -> float:
    """Logarithm of the prior but for a constant; `others` are centers and radii, shape (M, 4), of all other voids.

    The center of one void can't lie inside another.
    """
    if theta[3] < _LOG_LOW or theta[3] > _LOG_HIGH:
        return IMPOSSIBLE
    radius = np.exp(theta[3])
    for j in range(len(others)):
        gap2 = 0.0
        for a in range(3):
            gap2 += (theta[a] - others[j, a]) ** 2
        if gap2 < max(radius, others[j, 3]) ** 2:
            return IMPOSSIBLE
    out = -0.5 * ((theta[4] - depletion_mean) / DEPLETION_SD) ** 2 - 0.5 * (theta[5] / blur_error) ** 2
    for a in range(3):
        out -= 0.5 * ((theta[a] - center[a]) / CENTER_NM) ** 2
    return float(out)


@njit(cache=True, nogil=True)
def sample(
    window: Window,
    center: NDArray[np.float64],
    others: NDArray[np.float64],
    table: Table,
    scale_error: float,
    blur_error: float,
    dispersion: float,
    n_particles: int,
    seed: int,
    out: NDArray[np.float64],
    depletion_mean: float = DEPLETION_MEAN,
) -> float:
    """Draw from the posterior of one candidate.

    Parameters
    ----------
    window
        Counts around it, and their expectation with all other voids.
    center
        Place of the candidate, shape (3,), nm.
    others
        Centers and radii of other voids nearby, shape (M, 4), nm.
    table
        Profiles.
    scale_error, blur_error
        Relative standard deviations of the background's scale and of the blur.
    dispersion
        Divides the log likelihood.
    n_particles
        Number of particles.
    seed
        Seed.
    out
        Shape (n_particles, 6): the particles, equally weighted; written.
    depletion_mean
        Mean of the prior of the logit of the depletion.

    Returns
    -------
    Log Bayes factor of a void against none.

    Notes
    -----
    Likelihood tempering from 0 to 1 (Del Moral, Doucet & Jasra 2006, doi 10.1111/j.1467-9868.2006.00553.x): each
    temperature halves the effective sample size, then systematic resampling and random-walk Metropolis moves with the
    particles' covariance. The evidence is the product of the mean incremental weights.
    """
    np.random.seed(seed)  # noqa: NPY002  the generator of compiled code, one per thread
    n, total = float(window.counts.sum()), float(window.expected.sum())
    ratio, prior = np.empty(n_particles), np.empty(n_particles)
    for p in range(n_particles):
        _draw(center, others, blur_error, depletion_mean, out[p])
        prior[p] = log_prior(out[p], center, blur_error, others, depletion_mean)
        ratio[p] = log_ratio(window, out[p], table, scale_error, n, total) / dispersion
        if prior[p] <= IMPOSSIBLE:
            ratio[p] = -1e9
    beta, log_bayes, width = 0.0, 0.0, 1.0
    weight = np.empty(n_particles)
    for _ in range(_MAX_STEPS):
        step = _next_step(ratio, 1.0 - beta)
        top = ratio.max() * step
        for p in range(n_particles):
            weight[p] = np.exp(ratio[p] * step - top)
        log_bayes += top + np.log(weight.mean())
        beta += step
        _resample(weight, out, ratio, prior)
        done = beta >= 1.0 - 1e-12
        root = particle_root(out)
        for _ in range(_LAST_MOVES if done else _MOVES):
            accepted = 0
            for p in range(n_particles):
                accepted += _move(
                    out, p, root, width, window, center, others, table, scale_error, blur_error, dispersion,
                    beta, n, total, ratio, prior, depletion_mean,
                )  # fmt: skip
            width = min(max(width * np.exp(2 * (accepted / n_particles - 0.25)), 0.05), 2.0)
        if done:
            break
    return float(log_bayes)


@njit(cache=True, nogil=True)
def _draw(
    center: NDArray[np.float64],
    others: NDArray[np.float64],
    blur_error: float,
    depletion_mean: float,
    out: NDArray[np.float64],
) -> None:
    for _ in range(20):  # a few tries to keep out of the other voids
        for a in range(3):
            out[a] = center[a] + CENTER_NM * np.random.standard_normal()  # noqa: NPY002
        out[3] = np.random.uniform(_LOG_LOW, _LOG_HIGH)  # noqa: NPY002
        out[4] = depletion_mean + DEPLETION_SD * np.random.standard_normal()  # noqa: NPY002
        out[5] = blur_error * np.random.standard_normal()  # noqa: NPY002
        if log_prior(out, center, blur_error, others, depletion_mean) > IMPOSSIBLE:
            return


@njit(cache=True, nogil=True)
def _move(
    out: NDArray[np.float64],
    p: int,
    root: NDArray[np.float64],
    width: float,
    window: Window,
    center: NDArray[np.float64],
    others: NDArray[np.float64],
    table: Table,
    scale_error: float,
    blur_error: float,
    dispersion: float,
    beta: float,
    n: float,
    total: float,
    ratio: NDArray[np.float64],
    prior: NDArray[np.float64],
    depletion_mean: float,
) -> int:
    trial = np.empty(N_STATE)
    propose(out[p], root, width, trial)
    new_prior = log_prior(trial, center, blur_error, others, depletion_mean)
    if new_prior <= IMPOSSIBLE:
        return 0
    # The test number comes first: most proposals fail, and the likelihood is what costs.
    bar = np.log(np.random.random())  # noqa: NPY002
    new_ratio = log_ratio(window, trial, table, scale_error, n, total) / dispersion
    if bar >= beta * (new_ratio - ratio[p]) + new_prior - prior[p]:
        return 0
    out[p], ratio[p], prior[p] = trial, new_ratio, new_prior
    return 1


@njit(cache=True, nogil=True)
def propose(state: NDArray[np.float64], root: NDArray[np.float64], width: float, out: NDArray[np.float64]) -> None:
    """Random step with the covariance of the particles, times 2.38^2 / 6 (Roberts & Rosenthal 2001)."""
    out[:] = state
    for b in range(N_STATE):
        z = np.random.standard_normal() * width * 2.38 / np.sqrt(float(N_STATE))  # noqa: NPY002
        for a in range(b, N_STATE):
            out[a] += root[a, b] * z


@njit(cache=True, nogil=True)
def _next_step(ratio: NDArray[np.float64], most: float) -> float:
    """Largest step in temperature that leaves half of the effective sample size."""
    if _effective(ratio, most) >= 0.5 * len(ratio):
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = 0.5 * (low + high)
        if _effective(ratio, middle) >= 0.5 * len(ratio):
            low = middle
        else:
            high = middle
    return max(low, 1e-9)


@njit(cache=True, nogil=True)
def _effective(ratio: NDArray[np.float64], step: float) -> float:
    top, one, two = ratio.max(), 0.0, 0.0
    for value in ratio:
        w = np.exp((value - top) * step)
        one += w
        two += w * w
    return one * one / two


@njit(cache=True, nogil=True)
def _resample(
    weight: NDArray[np.float64], out: NDArray[np.float64], ratio: NDArray[np.float64], prior: NDArray[np.float64]
) -> None:
    n = len(weight)
    old, old_ratio, old_prior = out.copy(), ratio.copy(), prior.copy()
    total, j, passed = weight.sum(), 0, weight[0]
    start = np.random.random()  # noqa: NPY002
    for p in range(n):
        at = (start + p) * total / n
        while passed < at and j < n - 1:
            j += 1
            passed += weight[j]
        out[p], ratio[p], prior[p] = old[j], old_ratio[j], old_prior[j]


@njit(cache=True, nogil=True)
def particle_root(out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cholesky root of the particles' covariance, with a floor for directions in which they are all alike."""
    n = len(out)
    mean = np.zeros(N_STATE)
    for p in range(n):
        mean += out[p] / n
    cov = np.zeros((N_STATE, N_STATE))
    for p in range(n):
        d = out[p] - mean
        for a in range(N_STATE):
            for b in range(N_STATE):
                cov[a, b] += d[a] * d[b] / n
    for a in range(N_STATE):
        cov[a, a] = cov[a, a] * 1.0001 + 1e-8
    root = np.zeros((N_STATE, N_STATE))
    root[:] = np.linalg.cholesky(cov)
    return root
