"""How well an ideal observer who knows the place tells each defect from the matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate.detectability.balls import ball_measure, blurred_ball, excess_term, site_term
from napari_aptdefect.simulate.detectability.conditions import SITES_PER_NM3, Conditions
from napari_aptdefect.simulate.detectability.lattice import (
    RESOLVED_NM,
    as_matrix,
    displaced_term,
    point_term,
)
from napari_aptdefect.simulate.gan_specs import (
    Dislocation,
    GrainBoundary,
    Interstitial,
    InversionDomain,
    StackingFault,
    Vacancy,
    VacancyCluster,
)
from napari_aptdefect.simulate.regions import Region
from napari_aptdefect.simulate.truth import DefectTruth

_DIMENSION: Final = {"slab": 1, "tube": 2, "sphere": 3}
_ROUNDED_ABOVE_NM: Final = 0.8
_DISPLACING: Final = (StackingFault, Dislocation, GrainBoundary, InversionDomain)


def judge(defects: Sequence[DefectTruth], conditions: Conditions) -> tuple[DefectTruth, ...]:
    """Fill in how well each defect can be seen: `d_prime` and `auc`.

    Parameters
    ----------
    defects
        Defects of the specimen, in the instrument's frame, with their volumes and counts.
    conditions
        The measurement.

    Returns
    -------
    The defects; a detectability is infinite where nothing is left to chance.

    Raises
    ------
    ParameterError
        If the conditions lack what a defect was asked to be, or an efficiency.

    Notes
    -----
    d'² adds up what the observer gets from lost ions (`site_term`), from added ones (`excess_term`) and, if the planes
    are known, from displaced sites (`displaced_term`). The area under the ROC curve is Φ(d'/√2), and never more than
    1 - q/2 for defects that only remove or only add atoms, where q is the chance that none of these is detected: then
    both cases look alike. A single vacancy on a resolved lattice has exactly 0.5 + η/2. Solute counts as even over the
    region, and the matrix
    around as endless; neither poles nor drift disturb the observer, so this is an upper bound.
    """
    return tuple(_judged(one, conditions) for one in defects)


def _judged(defect: DefectTruth, conditions: Conditions) -> DefectTruth:
    spec = conditions.specs.get(defect.defect)
    if spec is None:
        raise ParameterError(
            f"no spec of defect {defect.defect} ({defect.kind}); give one per defect in Conditions.specs"
        )
    if defect.region.shape == "point":
        squared, log_unseen = _point(spec, conditions)
    else:
        squared, log_unseen = _extended(defect, spec, conditions)
    d_prime = min(math.sqrt(squared), _ceiling(log_unseen))
    return replace(defect, d_prime=d_prime, auc=float(ndtr(d_prime / math.sqrt(2))))


def _ceiling(log_unseen: float) -> float:
    """Detectability at which the area under the curve is 1 - q/2, given the logarithm of q."""
    if log_unseen < -700:
        return math.sqrt(-4 * log_unseen) if math.isfinite(log_unseen) else math.inf
    return -math.sqrt(2) * float(ndtri(math.exp(log_unseen) / 2))


def _log_unseen(n: float, efficiency: float) -> float:
    """Logarithm of the chance that none of n atoms is detected."""
    if n == 0:
        return 0.0
    return n * math.log1p(-efficiency) if efficiency < 1 else -math.inf


def _point(spec: Vacancy | Interstitial, conditions: Conditions) -> tuple[float, float]:
    symbol = spec.sublattice if isinstance(spec, Vacancy) else "N"
    kind = "vacancy" if isinstance(spec, Vacancy) else spec.site
    efficiency = conditions.efficiency_of(symbol)
    # A site is empty of whatever may sit on it, an extra atom is N
    share = min(sum(conditions.share(name) for name in conditions.elements(on_n=symbol == "N")), 1.0)
    if share == 0:
        return 0.0, 0.0
    share, covariance = round(share, 6), as_matrix(_in_lattice(conditions))
    seen = share if kind == "vacancy" else efficiency
    squared = point_term(kind, efficiency, share, conditions.background_per_nm3, covariance)
    return squared, _log_unseen(1, seen)


def _in_lattice(conditions: Conditions) -> NDArray[np.float64]:
    return np.asarray(conditions.rotation.T @ conditions.covariance_nm2 @ conditions.rotation)


def _extended(defect: DefectTruth, spec: Any, conditions: Conditions) -> tuple[float, float]:
    region = defect.region
    # Balls of nearly one size share one calculation
    radius = round(region.radius_nm, 2) if region.radius_nm > _ROUNDED_ABOVE_NM else round(region.radius_nm, 6)
    measure = ball_measure(radius, _DIMENSION[region.shape])
    volume = defect.volume_nm3 or (measure if region.shape == "sphere" else 0.0)
    extent = volume / measure
    if extent == 0:
        return 0.0, 0.0
    ball = blurred_ball(radius, blur_across(region, conditions))
    squared, log_unseen, is_open = 0.0, 0.0, False
    for on_n in (False, True):
        changes, unseen = _changes(defect, spec, conditions, volume, on_n=on_n)
        names = tuple(changes)
        if not any(changes.values()):
            continue
        shares, deltas = [conditions.share(name) for name in names], [changes[name] for name in names]
        background = conditions.background_per_nm3
        for p, delta in zip(shares, deltas, strict=True):
            if delta > 0:
                squared += extent * excess_term(ball, SITES_PER_NM3 * p + background, SITES_PER_NM3 * delta)
        if defect.n_missing and max(conditions.level_sigma_nm) <= RESOLVED_NM:
            # Each site of the lattice is resolved: it is filled or not
            p = sum(shares)
            missing = -sum(deltas) / p * SITES_PER_NM3 * volume
            squared += missing * p / (1 - p) if p < 1 else math.inf
        else:
            squared += extent * site_term(ball, SITES_PER_NM3, shares, deltas, background)
        log_unseen += unseen
    if conditions.planes_known and isinstance(spec, _DISPLACING) and getattr(spec, "core", "") != "none":
        squared += extent * displaced_term(
            _bare(spec),
            (sum(conditions.share(name) for name in conditions.elements(on_n=False)), conditions.share("N")),
            conditions.background_per_nm3,
            as_matrix(_in_lattice(conditions)),
        )
        is_open = True
    return squared, -math.inf if is_open else log_unseen


def _changes(
    defect: DefectTruth, spec: Any, conditions: Conditions, volume_nm3: float, *, on_n: bool
) -> tuple[dict[str, float], float]:
    """Change of the detected ions per site by element of a sublattice; logarithm of the chance that none is detected.

    What adds solute takes away Ga, atom by atom; what lacks atoms lacks all elements of the sublattice alike.
    """
    sites = SITES_PER_NM3 * volume_nm3
    changes = dict.fromkeys(conditions.elements(on_n=on_n), 0.0)
    if defect.n_missing:
        only_ga = isinstance(spec, VacancyCluster) and spec.sublattice == "Ga"
        missing = 0.0 if only_ga and on_n else defect.n_missing * (1.0 if only_ga else 0.5)
        for name in changes:
            changes[name] -= missing / sites * conditions.share(name)
        return changes, _log_unseen(missing, sum(conditions.share(name) for name in changes))
    if defect.solute and defect.n_excess and not on_n:
        excess = defect.n_excess / sites
        efficiency = conditions.efficiency_of(defect.solute)
        changes[defect.solute] += excess * efficiency
        changes["Ga"] -= min(excess * conditions.efficiency_of("Ga"), conditions.share("Ga"))
        return changes, -efficiency * defect.n_excess
    return changes, 0.0


def _bare(spec: Any) -> Any:
    """Spec without its place and its solute, so that defects of a kind share one calculation."""
    plain = {"center_nm": None, "depth_nm": None, "excess_per_nm": 0.0, "excess_per_nm2": 0.0, "solute": "Mg"}
    return spec.model_copy(update={key: value for key, value in plain.items() if hasattr(spec, key)})


def blur_across(region: Region, conditions: Conditions) -> tuple[float, ...]:
    """Standard deviations of the blur along the principal axes across a tube or slab, or of space for a sphere, nm."""
    lateral, depth = conditions.level_sigma_nm
    if region.shape == "sphere":
        return lateral, lateral, depth
    along_z = region.direction[2] ** 2
    if region.shape == "slab":
        return (round(math.sqrt(lateral**2 * (1 - along_z) + depth**2 * along_z), 9),)
    return lateral, round(math.sqrt(lateral**2 * along_z + depth**2 * (1 - along_z)), 9)
