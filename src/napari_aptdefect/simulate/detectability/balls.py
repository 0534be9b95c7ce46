"""Balls after the blur, and how well an ideal observer tells that their content differs from the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MAX_POINTS: Final = {1: 512, 2: 128, 3: 40}  # along each axis, by dimension
_BINS: Final = 512


@dataclass(frozen=True, eq=False)
class BlurredBall:
    """A ball in one, two or three dimensions after the blur: a slab, a tube or a sphere.

    Parameters
    ----------
    measure
        Its volume (sphere, nm³), cross section (tube, nm²) or thickness (slab, nm).
    share
        Shape (K,): what share of an ion measured somewhere comes from the ball.
    weight
        Shape (K,): in how much room each share occurs, nm to the power of the dimension.
    gain
        Shape (J,): squared transfer function of the blur, exp(-k sigma² k), at the wave vectors k.
    energy
        Shape (J,): squared Fourier transform of the ball there; its sum is the measure.
    """

    measure: float
    share: NDArray[np.float64]
    weight: NDArray[np.float64]
    gain: NDArray[np.float64]
    energy: NDArray[np.float64]


def ball_measure(radius_nm: float, dimension: int) -> float:
    """Length, area or volume of a ball of a radius in 1, 2 or 3 dimensions."""
    return float((2 * radius_nm, np.pi * radius_nm**2, 4 / 3 * np.pi * radius_nm**3)[dimension - 1])


@lru_cache(maxsize=2048)
def blurred_ball(radius_nm: float, sigma_nm: tuple[float, ...]) -> BlurredBall:
    """Blur a ball by a Gaussian with a standard deviation along each axis, nm.

    Notes
    -----
    The ball is even along each axis, so one octant and the cosine transform do. Shares and transfer functions are
    gathered into 512 bins, which keeps many sizes in the cache.
    """
    from scipy.fft import dctn, idctn

    axes, steps = [], []
    for sigma in sigma_nm:
        reach = radius_nm + 6 * sigma
        step = max(min(sigma / 2, radius_nm / 6), reach / _MAX_POINTS[len(sigma_nm)])
        n = int(np.ceil(reach / step))
        axes.append((np.arange(n) + 0.5) * step)
        steps.append(step)
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.sqrt((places**2).sum(axis=0))
    # Width of a voxel across the ball's surface: the indicator falls from 1 to 0 over it.
    width = np.tensordot(np.array(steps), places, 1) / np.maximum(distance, 1e-12)
    ball = np.clip(0.5 - (distance - radius_nm) / np.maximum(width, 1e-12), 0.0, 1.0)
    voxel = float(np.prod(steps)) * 2 ** len(steps)
    measure = ball_measure(radius_nm, len(sigma_nm))
    ball *= measure / (ball.sum() * voxel)
    waves = [np.pi * np.arange(len(axis)) / (len(axis) * step) for axis, step in zip(axes, steps, strict=True)]
    exponent = np.zeros(ball.shape)
    for i, (k, sigma) in enumerate(zip(waves, sigma_nm, strict=True)):
        exponent += np.expand_dims((k * sigma) ** 2, tuple(j for j in range(len(steps)) if j != i))
    spectrum = dctn(ball, norm="ortho")
    blurred = idctn(spectrum * np.exp(-exponent / 2), norm="ortho")
    # The gain falls within the cell around k = 0, where it may be all but 1: take the cell's mean.
    exponent.flat[0] = sum((k[1] * s) ** 2 for k, s in zip(waves, sigma_nm, strict=True)) / 12
    gain, energy = _binned(np.exp(-exponent), voxel * spectrum**2)
    share, weight = _binned(np.clip(blurred, 0, 1), np.full(blurred.shape, voxel))
    return BlurredBall(measure, share, weight, gain, energy)


def _binned(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and sum of the weights of values from 0 to 1 in bins, which are narrow near 0 and near 1."""
    values, weights = values.ravel(), weights.ravel()
    # sin² spaces the bins evenly in the middle and closely at both ends
    position = np.arcsin(np.sqrt(np.clip(values, 0, 1))) / (np.pi / 2)
    row = np.minimum((position * _BINS).astype(np.intp), _BINS - 1)
    total = np.bincount(row, weights, _BINS)
    mean = np.bincount(row, weights * values, _BINS)
    used = total > 0
    return np.asarray(mean[used] / total[used]), np.asarray(total[used], np.float64)


def excess_term(ball: BlurredBall, before: float, change: float) -> float:
    """Squared detectability of added ions, per unit of the extent along the line or plane.

    Parameters
    ----------
    ball
        Where they are.
    before, change
        Density of ions of that kind before, and what is added inside the ball, nm⁻³.

    Notes
    -----
    4 ∫ (√λ1 - √λ0)² dV, which is (λ1 - λ0)²/λ0 for weak contrasts. Where hardly any ions of the kind are expected the
    linear form grows without limit, though a few ions are no certain sign; this one gives 4 n for n ions.

    References
    ----------
    H. H. Barrett, C. K. Abbey and E. Clarkson, "Objective assessment of image quality. III", J. Opt. Soc. Am. A 15,
    1520 (1998), doi 10.1364/JOSAA.15.001520: the area under the ROC curve from the overlap of the two distributions.
    """
    root = np.sqrt(before)
    return float(4 * np.sum(ball.weight * (np.sqrt(before + change * ball.share) - root) ** 2))


def site_term(
    ball: BlurredBall,
    sites_per_nm3: float,
    shares: Sequence[float],
    changes: Sequence[float],
    background_per_nm3: float,
) -> float:
    """Squared detectability of changed occupation of sites, per unit of the extent along the line or plane.

    Parameters
    ----------
    ball
        Where the sites are.
    sites_per_nm3
        Density of the sites.
    shares
        Detected ions per site and species.
    changes
        What is added to these shares inside the ball.
    background_per_nm3
        Density of unrelated events per species.

    Notes
    -----
    A site gives at most one ion, so counts vary less than Poisson's law says: by η(1-η) per site where nothing blurs
    them. With ρ sites per volume, p ions per site, the Fourier transform D of the ball and the transfer function G of
    the blur, the best linear observer reaches

        d'² = ρ ∫ |D|² G² δᵀ [diag(q) - G² p pᵀ]⁻¹ δ dk/(2π)³,  q = p + background/ρ,

    solved by the formula of Sherman and Morrison. For p → 0 this is Poisson's ∫ (λ1 - λ0)²/λ0 dV. Added species are in
    `excess_term`; here they only count in the coupling between species.
    """
    p, delta = np.asarray(shares, float), np.asarray(changes, float)
    q = p + background_per_nm3 / sites_per_nm3
    ratio = np.divide(p, q, out=np.ones_like(p), where=q > 0)
    lost = (delta < 0) & (q > 0)
    own = float(np.sum(delta[lost] ** 2 / q[lost]))
    coupling, filled = float(np.sum(delta * ratio)) ** 2, float(np.sum(p * ratio))
    response = ball.gain * (own + coupling * ball.gain / np.maximum(1 - filled * ball.gain, 1e-12))
    return float(sites_per_nm3 * np.sum(ball.energy * response))
