"""What an ideal observer who knows every lattice site sees of single atoms and of displaced ones."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.crystal import build_sites
from napari_aptdefect.simulate.detectability.balls import ball_measure
from napari_aptdefect.simulate.detectability.conditions import SITES_PER_NM3
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import StackingFault
from napari_aptdefect.simulate.placement import place_defects
from napari_aptdefect.stage import drain

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

SPLIT_NM: Final = 0.135
RESOLVED_NM: Final = 0.05
"""Up to this blur each ion can be told to come from one site, which are 0.32 nm apart."""

_REACH: Final = 4.0  # standard deviations
_STEP: Final = 0.65  # of the quadrature, standard deviations; sums over Gaussians converge fast
_SEEN: Final = 0.02  # a lattice whose strongest reflection is weaker than this after the blur is even
_PATCH_NM: Final = 0.8
_KRONECKER: Final = 1.22074408460575947536 ** -np.arange(1.0, 4.0)  # fills space evenly in 3 dimensions
_PRODUCTS: Final = 1.5e6
_TERMS: Final = np.arange(1, 20_001, dtype=float)
_G: Final = 2 * np.pi * np.array([[0, 0, 2 / gan.C_NM], [0, 2 / (math.sqrt(3) * gan.A_NM), 0]])


def as_matrix(values: NDArray[np.float64]) -> Matrix:
    """Return a 3 x 3 matrix as something that a cache can take."""
    a, b, c = (tuple(float(round(v, 12)) for v in row) for row in values)
    return a, b, c  # type: ignore[return-value]


def is_seen(covariance_nm2: NDArray[np.float64]) -> bool:
    """Whether any lattice plane of GaN is left after the blur (covariance in the frame of the lattice)."""
    turns = [np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]]) for t in (0, 1.0472, 2.0944)]
    waves = np.concatenate([_G[:1], *[_G[1:] @ turn.T for turn in turns]])
    return bool(np.exp(-np.einsum("ij,jk,ik->i", waves, covariance_nm2, waves) / 2).max() > _SEEN)


def even_point_term(efficiency: float, share: float, covariance_nm2: NDArray[np.float64]) -> float:
    """Squared detectability of one missing or added atom where the blur hides the lattice.

    Notes
    -----
    `site_term` for a single site: d'² = (η/p)² Σ_m p^m m^(-3/2) / (ρ sqrt(det 4πΣ)); its first term is Poisson's.
    """
    volume = math.sqrt(float(np.linalg.det(4 * np.pi * covariance_nm2)))
    ratio = efficiency / share
    return float(ratio**2 * np.sum(np.power(share, _TERMS) / _TERMS**1.5) / (SITES_PER_NM3 * volume))


@lru_cache(maxsize=64)
def point_term(kind: str, efficiency: float, share: float, background: float, covariance: Matrix) -> float:
    """Squared detectability of one missing or added atom, for the best linear observer who knows the lattice.

    Parameters
    ----------
    kind
        ``"vacancy"``, ``"split"`` or ``"octahedral"``.
    efficiency
        Probability that the added atom is detected; unused for a vacancy.
    share
        Detected ions per site of the sublattice.
    background
        Density of unrelated events, nm⁻³.
    covariance
        Covariance of the blur in the frame of the lattice, nm².

    Returns
    -------
    d'²; infinite if the defect leaves ions where none can be, or leaves none where one must be.

    Notes
    -----
    With g_i the blurred site i, λ = p Σ g_i + background and M_ij = p² ∫ g_i g_j / λ dV, the change Δ of the density
    gives d'² = Δᵀ Λ⁻¹ Δ + v (1 - M)⁻¹ vᵀ with v_i = p ∫ Δ g_i / λ dV: Woodbury's inverse of the covariance
    Λ - p² Σ g_i g_iᵀ. For a vacancy on a resolved lattice it is p/(1-p).
    """
    cov = np.array(covariance)
    if not is_seen(cov):
        return even_point_term(share if kind == "vacancy" else efficiency, share, cov)
    sigma = np.sqrt(np.diag(cov))
    if kind == "vacancy" and sigma.max() <= RESOLVED_NM:
        return share / (1 - share) if share < 1 else math.inf
    removed, added = _change(kind)
    half = _REACH * sigma + (np.abs(added).max(axis=0) if len(added) else 0.0)
    axes = [np.arange(-h + _STEP * s / 2, h, _STEP * s) for h, s in zip(half, sigma, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = float(np.prod(_STEP * sigma))
    sites = _perfect(half + _REACH * sigma)
    sources = gaussians(places, sites, cov)
    density = share * sources.sum(axis=1) + background
    change = efficiency * gaussians(places, added, cov).sum(axis=1)
    change -= share * gaussians(places, removed, cov).sum(axis=1)
    safe = np.maximum(density, 1e-290)
    if np.any((density < 1e-12 * density.max()) & (change > 1e-3 * change.max()) & (change > 0)):
        return math.inf
    own = voxel * float(np.sum(change**2 / safe))
    weighted = sources / safe[:, None]
    v = share * voxel * (change @ weighted)
    overlap = share**2 * voxel * (sources.T @ weighted)
    if np.linalg.norm(v) == 0:
        return own
    if overlap[np.diag_indices(len(overlap))].max() > 1 - 1e-6:
        return math.inf
    return own + float(v @ np.linalg.solve(np.eye(len(overlap)) - overlap, v))


def _change(kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of removed and of added atoms around a site at the origin, nm."""
    nothing, origin = np.zeros((0, 3)), np.zeros((1, 3))
    if kind == "vacancy":
        return origin, nothing
    if kind == "split":
        return nothing, np.array([[SPLIT_NM, 0.0, 0.0]])
    # Seen from an N site: back to its Ga, then into the channel
    return nothing, (gan.channel_offset_nm(0, 1) - np.array([0.0, 0.0, gan.U * gan.C_NM]))[None]


def _perfect(half_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sites of one sublattice in a box around one of them; shape (N, 3), nm."""
    n = int(np.ceil(half_nm[2] / gan.BILAYER_NM))
    net = gan.lateral_net(float(np.hypot(half_nm[0], half_nm[1])) + gan.A_NM)
    sites = np.concatenate([gan.layer_sites(net, k, k % 2)[0] for k in range(-n, n + 1)])
    return np.asarray(sites[(np.abs(sites) <= half_nm + 1e-9).all(axis=1)])


def gaussians(
    places: NDArray[np.float64], sources: NDArray[np.float64], covariance_nm2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Normalized Gaussians around sources (M, 3) at places (N, 3); shape (N, M), nm⁻³."""
    whiten = np.linalg.inv(np.linalg.cholesky(covariance_nm2)).T
    a, b = places @ whiten, sources @ whiten
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-squared / 2) / math.sqrt(float(np.linalg.det(2 * np.pi * covariance_nm2))))


@lru_cache(maxsize=128)
def displaced_term(spec: Any, shares: tuple[float, float], background: float, covariance: Matrix) -> float:
    """Squared detectability of displaced sites, per nm of a line or nm² of a plane.

    Parameters
    ----------
    spec
        A fault, a dislocation or a boundary; where it lies and what decorates it doesn't matter.
    shares
        Detected ions per site of the Ga and of the N sublattice.
    background
        Density of unrelated events per species, nm⁻³.
    covariance
        Covariance of the blur in the frame of the lattice, nm².

    Notes
    -----
    4 ∫ (√λ1 - √λ0)² dV over the labeled region (see `excess_term`), with λ the blurred densities of the crystal with
    and without the defect as the simulator builds it, so the observer knows where each site of the perfect crystal
    would be. The integral is a mean over evenly spread places in a patch of the region.
    """
    cov = np.array(covariance)
    sigma = np.sqrt(np.diag(cov))
    with_it, without, region = _crystals(spec, float(sigma.max()), float(sigma[2]))
    normal = np.asarray(region.direction)
    box = region.radius_nm + _PATCH_NM
    pool = box * (2 * np.modf(np.arange(1, 200_001)[:, None] * _KRONECKER)[0] - 1)
    along = pool @ normal
    across = np.sqrt(np.maximum((pool**2).sum(axis=1) - along**2, 0))
    is_slab = region.shape == "slab"
    radial, axial = (along, across) if is_slab else (across, along)
    pool = pool[(np.abs(radial) <= region.radius_nm) & (np.abs(axial) <= _PATCH_NM)]
    across_nm = ball_measure(region.radius_nm, 1 if is_slab else 2)
    center = np.asarray(region.center_nm)
    total = 0.0
    for share, (new, old) in zip(shares, zip(with_it, without, strict=True), strict=True):
        reach = _REACH * sigma + box
        new, old = ((s - center)[(np.abs(s - center) <= reach).all(axis=1)] for s in (new, old))
        n = int(min(20_000, max(64, _PRODUCTS / max(len(new) + len(old), 1))))
        places = pool[:n]
        roots = []
        for sites in (new, old):
            density = np.concatenate([gaussians(p, sites, cov).sum(axis=1) for p in np.array_split(places, 10)])
            roots.append(np.sqrt(share * density + background))
        total += 4 * across_nm * float(np.mean((roots[0] - roots[1]) ** 2))
    return total


def _crystals(spec: Any, lateral_nm: float, depth_nm: float) -> tuple[Any, Any, Any]:
    """Sites of both sublattices with and without a defect, as the simulator builds them, and the defect's region."""
    # The labeled region and what blurs into it, in a wire of its own
    wide = getattr(spec, "radius_nm", getattr(spec, "thickness_nm", 1.0)) + _PATCH_NM + _REACH * lateral_nm + 1.0
    high = 2 * (getattr(spec, "radius_nm", getattr(spec, "thickness_nm", 1.0)) + _PATCH_NM + _REACH * depth_nm + 2.0)
    where: dict[str, Any] = {"depth_nm": high / 2} if isinstance(spec, StackingFault) else {}
    where = where or {"center_nm": (0.0, 0.0, high / 2)}
    counts = {f"n_{name}": 0 for name in ("clusters", "dislocations", "stacking_faults", "voids", "vacancies")}
    params = GanNanowireParams(
        radius_nm=wide, length_nm=high, n_interstitials=0, defects=(spec.model_copy(update=where),), **counts
    )
    placed = place_defects(params, np.random.default_rng(0))
    found = [drain(build_sites(params, some)) for some in (placed, placed[:0])]
    split = [[sites.xyz_nm[sites.sublattice == i].astype(float) for i in (0, 1)] for sites in found]
    return split[0], split[1], placed[0].region
