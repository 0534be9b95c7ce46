"""Where the defects of a wire go: listed places are kept, the others are drawn apart from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import (
    Dislocation,
    GrainBoundary,
    Insertion,
    Interstitial,
    InversionDomain,
    SoluteCluster,
    StackingFault,
    Vacancy,
    VacancyCluster,
    Void,
    solute_share,
)
from napari_aptdefect.simulate.regions import Region, Vector

_TRIES: Final = 2000
_MARGIN_NM: Final = 0.5
_END_BILAYERS: Final = 4
POINTS: Final = (Vacancy, Interstitial)


@dataclass(frozen=True)
class Placed:
    """A defect and its region in the wire's frame: the axis is x = y = 0, z the depth below the free end."""

    spec: Any
    region: Region
    layer: int = 0  # of a stacking fault: its first cubic bilayer


def place_defects(params: GanNanowireParams, rng: np.random.Generator) -> tuple[Placed, ...]:
    """Place all extended defects of a wire; single points come later, when there are atoms to put them on.

    Returns
    -------
    One per extended defect, in the order of `GanNanowireParams.specs`.

    Raises
    ------
    ParameterError
        If a listed defect lies outside the wire, there is no place left for another one, or it asks for more solute
        than there are sites.
    """
    specs = [spec for spec in params.specs() if not isinstance(spec, POINTS)]
    for spec in specs:
        _check_share(params, spec)
    # What is listed first, then what spans the wire, then the large balls, which are the hardest to place.
    order = sorted(range(len(specs)), key=lambda i: (not _is_listed(specs[i]), _size_rank(specs[i])))
    placed: dict[int, Placed] = {}
    for i in order:
        placed[i] = _place(specs[i], params, list(placed.values()), rng)
    return tuple(placed[i] for i in range(len(specs)))


def ball_radius_nm(spec: SoluteCluster | Void | VacancyCluster) -> float:
    """Radius of a compact defect, nm; a vacancy cluster is as large as the room of its sites."""
    if isinstance(spec, VacancyCluster):
        sites = gan.ATOMS_PER_NM3 * (0.5 if spec.sublattice == "Ga" else 1.0)
        return float((3 * spec.n_vacancies / (4 * math.pi * sites)) ** (1 / 3))
    return spec.radius_nm


def _check_share(params: GanNanowireParams, spec: Any) -> None:
    if not isinstance(spec, (Dislocation, StackingFault, InversionDomain, GrainBoundary)):
        return
    base = params.solute_percent / 100
    peak = solute_share(spec) * (_gaussian_peak() if getattr(spec, "profile", "") == "gaussian" else 1.0)
    if peak + base > 1:
        name = "excess_per_nm" if isinstance(spec, Dislocation) else "excess_per_nm2"
        raise ParameterError(
            f"{spec.kind}: {name} = {getattr(spec, name):g} asks for solute on {peak * 100:.0f} % of the Ga sites of "
            f"the defect besides {params.solute_percent:g} % everywhere; lower it or widen the defect"
        )


def _gaussian_peak() -> float:
    """Height of a Gaussian of half the radius, cut at the radius, over its mean in the tube."""
    return 2.0 / (1 - math.exp(-2.0))


def _is_listed(spec: Any) -> bool:
    return getattr(spec, "center_nm", None) is not None or getattr(spec, "depth_nm", None) is not None


def _size_rank(spec: Any) -> tuple[int, float]:
    if isinstance(spec, (InversionDomain, GrainBoundary)):
        return 0, 0.0
    if isinstance(spec, Insertion):
        return 1, -spec.thickness_nm
    if isinstance(spec, StackingFault):
        return 2, 0.0
    return (3, 0.0) if isinstance(spec, Dislocation) else (4, -ball_radius_nm(spec))


def _place(spec: Any, params: GanNanowireParams, found: list[Placed], rng: np.random.Generator) -> Placed:
    if isinstance(spec, StackingFault):
        return _fault(spec, params, found, rng)
    if isinstance(spec, Insertion):
        return _insertion(spec, params, found, rng)
    if isinstance(spec, (InversionDomain, GrainBoundary)):
        return _boundary(spec, params, found, rng)
    if isinstance(spec, Dislocation):
        return _line(spec, params, found, rng)
    return _ball(spec, params, found, rng)


def _fault(spec: StackingFault, params: GanNanowireParams, found: list[Placed], rng: np.random.Generator) -> Placed:
    n_cubic = gan.n_cubic_bilayers(spec.fault)
    thickness = gan.fault_thickness_nm(spec.fault)
    up = polarity_sign(params)
    middle = up * gan.U * gan.C_NM / 2
    last = int(params.length_nm / gan.BILAYER_NM)
    faults = [p for p in found if isinstance(p.spec, StackingFault)]
    taken = [(p.layer, p.layer + gan.n_cubic_bilayers(p.spec.fault)) for p in faults]
    layers = [p for p in found if isinstance(p.spec, Insertion)]

    def at(layer: int) -> Placed:
        z = (layer + n_cubic / 2) * gan.BILAYER_NM + middle
        return Placed(spec, Region("slab", (0.0, 0.0, z), (0.0, 0.0, 1.0), thickness / 2), layer)

    if spec.depth_nm is not None:
        layer = round((spec.depth_nm - middle) / gan.BILAYER_NM - n_cubic / 2)
        if not 1 <= layer <= last - 1 - n_cubic:
            raise ParameterError(f"stacking_fault: a depth of {spec.depth_nm:g} nm is not inside the wire")
        return at(layer)
    for _ in range(_TRIES):
        layer = int(rng.integers(_END_BILAYERS - 1, max(last - _END_BILAYERS, _END_BILAYERS)))
        free = layer + n_cubic <= last - _END_BILAYERS
        free &= all(layer > stop + 2 or layer + n_cubic + 2 < start for start, stop in taken)
        candidate = at(layer)
        if free and all(_gap_along_z(candidate.region, other.region) > 0 for other in layers):
            return candidate
    raise _too_crowded("stacking fault")


def _insertion(spec: Insertion, params: GanNanowireParams, found: list[Placed], rng: np.random.Generator) -> Placed:
    half = spec.thickness_nm / 2

    def at(z: float) -> Placed:
        return Placed(spec, Region("slab", (0.0, 0.0, z), (0.0, 0.0, 1.0), half))

    if spec.depth_nm is not None:
        if not 0 <= spec.depth_nm <= params.length_nm:
            raise ParameterError(f"insertion: a depth of {spec.depth_nm:g} nm is not inside the wire")
        return at(spec.depth_nm)
    others = [p.region for p in found if isinstance(p.spec, (Insertion, StackingFault))]
    if params.length_nm > 2 * (half + _MARGIN_NM):
        for _ in range(_TRIES):
            candidate = at(float(rng.uniform(half + _MARGIN_NM, params.length_nm - half - _MARGIN_NM)))
            if all(_gap_along_z(candidate.region, other) > _MARGIN_NM for other in others):
                return candidate
    raise _too_crowded("insertion")


def _gap_along_z(a: Region, b: Region) -> float:
    return abs(a.center_nm[2] - b.center_nm[2]) - a.radius_nm - b.radius_nm


def _boundary(
    spec: InversionDomain | GrainBoundary, params: GanNanowireParams, found: list[Placed], rng: np.random.Generator
) -> Placed:
    half = spec.thickness_nm / 2
    if spec.center_nm is not None:
        _check_inside(spec, spec.center_nm, params)
        return Placed(spec, Region("slab", spec.center_nm, spec.normal, half))
    others = [p.region for p in found if isinstance(p.spec, (InversionDomain, GrainBoundary))]
    middle = np.array([0.0, 0.0, params.length_nm / 2])
    for _ in range(_TRIES):
        center = _vector(middle + rng.uniform(-0.4, 0.4) * params.radius_nm * np.asarray(spec.normal))
        region = Region("slab", center, spec.normal, half)
        if all(region.distance_nm(np.array([o.center_nm]))[0] > o.radius_nm + 2 * _MARGIN_NM for o in others):
            return Placed(spec, region)
    raise _too_crowded(spec.kind)


def _line(spec: Dislocation, params: GanNanowireParams, found: list[Placed], rng: np.random.Generator) -> Placed:
    if spec.center_nm is not None:
        _check_inside(spec, spec.center_nm, params)
        return Placed(spec, Region("tube", spec.center_nm, spec.direction, spec.radius_nm))
    apothem, length = params.radius_nm, params.length_nm
    others = [p.region for p in found if p.region.shape in ("tube", "sphere")]
    for _ in range(_TRIES):
        x, y = rng.uniform(-apothem, apothem, 2)
        side = gan.depth_below_facets_nm(np.array([[x, y, 5e8]]), apothem, 1e9, params.facets)[0]
        region = Region("tube", (float(x), float(y), length / 2), spec.direction, spec.radius_nm)
        if side >= spec.radius_nm + _MARGIN_NM and all(_line_gap(region, other) > _MARGIN_NM for other in others):
            return Placed(spec, region)
    raise _too_crowded("dislocation")


def _line_gap(line: Region, other: Region) -> float:
    """Distance between a tube and another tube or a ball, nm."""
    radii = line.radius_nm + other.radius_nm
    offset = np.asarray(other.center_nm) - np.asarray(line.center_nm)
    normal = np.cross(line.direction, other.direction)
    size = float(np.linalg.norm(normal))
    if other.shape == "tube" and size > 1e-9:
        return float(abs(offset @ normal) / size) - radii
    across = offset - (offset @ np.asarray(line.direction)) * np.asarray(line.direction)
    return float(np.linalg.norm(across)) - radii


def _ball(
    spec: SoluteCluster | Void | VacancyCluster,
    params: GanNanowireParams,
    found: list[Placed],
    rng: np.random.Generator,
) -> Placed:
    radius = ball_radius_nm(spec)
    if spec.center_nm is not None:
        _check_inside(spec, spec.center_nm, params)
        return Placed(spec, Region("sphere", spec.center_nm, radius_nm=radius))
    apothem, length = params.radius_nm, params.length_nm
    for _ in range(_TRIES):
        center = rng.uniform([-1.2 * apothem, -apothem, 0], [1.2 * apothem, apothem, length])
        if gan.depth_below_facets_nm(center[None], apothem, length, params.facets)[0] < radius + _MARGIN_NM:
            continue
        if all(other.region.distance_nm(center[None])[0] > radius + _MARGIN_NM for other in found):
            return Placed(spec, Region("sphere", _vector(center), radius_nm=radius))
    raise _too_crowded("cluster or void")


def _check_inside(spec: Any, center: Vector, params: GanNanowireParams) -> None:
    depth = gan.depth_below_facets_nm(np.array([center]), params.radius_nm, params.length_nm, params.facets)[0]
    if not depth >= 0:
        raise ParameterError(
            f"{spec.kind}: center_nm = {center} is not inside the wire of radius {params.radius_nm:g} nm and length "
            f"{params.length_nm:g} nm (x, y from its axis, z from the free end down)"
        )


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def polarity_sign(params: GanNanowireParams) -> int:
    """Whether N lies deeper than its Ga along c (1) or higher (-1).

    The bond along c from Ga to N points along [0001], which is outward at a Ga-polar end.
    """
    return -1 if params.polarity == "Ga" else 1


def _too_crowded(what: str) -> ParameterError:
    return ParameterError(f"no place left for another {what}; make the wire larger, or the defects fewer or smaller")
