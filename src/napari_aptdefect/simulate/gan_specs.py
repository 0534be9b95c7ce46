"""What each kind of defect in a GaN nanowire is made of: its place, size, orientation and concentration."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import AfterValidator, Field

from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.regions import Vector
from napari_aptdefect.stage import Params, param

Solute = Literal["Mg", "In", "Al", "Si"]
SOLUTES: Final[tuple[Solute, ...]] = ("Mg", "In", "Al", "Si")


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    if abs(length - 1) < 1e-12:
        return vector  # dividing again would change the last digit
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError("a direction needs a length above zero")
    x, y, z = (float(v) / length for v in vector)
    return x, y, z


Direction = Annotated[Vector, AfterValidator(_unit)]


def _kind(name: str) -> Any:
    return param(name, title="Kind", description="Names this kind of defect.")


def _center() -> Any:
    return param(
        None,
        title="Center",
        description="Center x, y, z (z from the free end down); placed at random if not given.",
        unit="nm",
    )


def _depth() -> Any:
    return param(
        None,
        title="Depth",
        description="Depth below the free end; at random if not given.",
        unit="nm",
        ge=0.0,
        le=2000.0,
    )


def _solute(default: Solute = "Mg") -> Any:
    return param(default, title="Solute", description="Element that replaces Ga.")


def _lens(default: float) -> Any:
    return param(
        default,
        title="Local magnification",
        description="Spreads (positive) or focuses (negative) the ions around it; times the factor of the level.",
        ge=-0.5,
        le=0.5,
    )


def _excess_per_area() -> Any:
    return param(
        0.0,
        title="Excess",
        description="Solute beyond the background; 0 leaves it undecorated.",
        unit="1/nm2",
        ge=0.0,
        le=200.0,
    )


class SoluteCluster(Params):
    """A sphere rich in solute."""

    kind: Literal["solute_cluster"] = _kind("solute_cluster")
    center_nm: Vector | None = _center()
    radius_nm: float = param(
        1.8, title="Radius", description="Where the excess falls to half.", unit="nm", ge=0.3, le=50.0
    )
    solute: Solute = _solute()
    percent: float = param(
        10.0, title="Concentration", description="Solute inside, share of the Ga sites.", unit="%", ge=0.0, le=100.0
    )
    interface_nm: float = param(
        0.0, title="Interface width", description="10 to 90 % width of its border.", unit="nm", ge=0.0, le=5.0
    )
    magnification: float = _lens(-0.1)


class Void(Params):
    """An empty sphere."""

    kind: Literal["void"] = _kind("void")
    center_nm: Vector | None = _center()
    radius_nm: float = param(1.4, title="Radius", description="Radius of the sphere.", unit="nm", ge=0.2, le=50.0)
    magnification: float = _lens(-0.2)


class VacancyCluster(Params):
    """Neighboring Ga vacancies, or a ball of missing Ga and N atoms."""

    kind: Literal["vacancy_cluster"] = _kind("vacancy_cluster")
    center_nm: Vector | None = _center()
    n_vacancies: int = param(12, title="Vacancies", description="Atoms that are missing.", ge=2, le=100_000)
    sublattice: Literal["Ga", "both"] = param(
        "both", title="Sublattice", description="Which atoms are missing: those of Ga, or of both elements."
    )


class Vacancy(Params):
    """A single vacancy."""

    kind: Literal["vacancy"] = _kind("vacancy")
    center_nm: Vector | None = _center()
    sublattice: Literal["Ga", "N"] = param("Ga", title="Sublattice", description="Which atom is missing.")


class Interstitial(Params):
    """An extra N atom."""

    kind: Literal["interstitial"] = _kind("interstitial")
    center_nm: Vector | None = _center()
    site: Literal["split", "octahedral"] = param(
        "split", title="Site", description="Beside an N atom, or in the middle of a hexagonal channel."
    )


class StackingFault(Params):
    """A basal stacking fault across the wire."""

    kind: Literal["stacking_fault"] = _kind("stacking_fault")
    fault: Literal["I1", "I2", "E"] = param(
        "I1", title="Fault", description="Intrinsic with one or two cubic bilayers, or extrinsic with three."
    )
    depth_nm: float | None = _depth()
    solute: Solute = _solute()
    excess_per_nm2: float = _excess_per_area()


class Dislocation(Params):
    """A straight dislocation through the wire."""

    kind: Literal["dislocation"] = _kind("dislocation")
    center_nm: Vector | None = _center()
    direction: Direction = param((0.0, 0.0, 1.0), title="Line", description="Direction of the line.")
    core: Literal["screw", "edge", "mixed", "none"] = param(
        "screw", title="Core", description="Burgers vector c, a, a + c, or none: a line of solute in a perfect crystal."
    )
    radius_nm: float = param(0.8, title="Radius", description="Radius of the labeled tube.", unit="nm", ge=0.2, le=20.0)
    solute: Solute = _solute()
    excess_per_nm: float = param(
        0.0,
        title="Excess",
        description="Solute beyond the background; 0 leaves it undecorated.",
        unit="1/nm",
        ge=0.0,
        le=1000.0,
    )
    profile: Literal["uniform", "gaussian"] = param(
        "uniform", title="Radial profile", description="Even in the tube, or a Gaussian of half its radius."
    )


class Insertion(Params):
    """A layer of random alloy across the wire; an intended structure, not a defect."""

    kind: Literal["insertion"] = _kind("insertion")
    depth_nm: float | None = _depth()
    thickness_nm: float = param(
        3.0, title="Thickness", description="Thickness of the layer.", unit="nm", ge=0.5, le=500.0
    )
    solute: Literal["In", "Al"] = param("In", title="Element", description="Element that replaces Ga: In or Al.")
    percent: float = param(
        15.0, title="Concentration", description="Share of the Ga sites.", unit="%", ge=0.0, le=100.0
    )


class InversionDomain(Params):
    """A plane beyond which the polarity is inverted (IDB*)."""

    kind: Literal["inversion_domain"] = _kind("inversion_domain")
    center_nm: Vector | None = _center()
    normal: Direction = param(
        (0.0, 1.0, 0.0), title="Normal", description="Points into the inverted domain; (0, 1, 0) is that of an m plane."
    )
    thickness_nm: float = param(
        1.0, title="Thickness", description="Thickness of the labeled slab.", unit="nm", ge=0.2, le=10.0
    )
    solute: Solute = _solute()
    excess_per_nm2: float = _excess_per_area()


class GrainBoundary(Params):
    """A plane beyond which the crystal is turned."""

    kind: Literal["grain_boundary"] = _kind("grain_boundary")
    center_nm: Vector | None = _center()
    normal: Direction = param((1.0, 0.0, 0.5), title="Normal", description="Points into the turned grain.")
    axis: Direction = param((0.0, 0.0, 1.0), title="Axis", description="Axis of the misorientation.")
    angle_deg: float = param(
        20.0, title="Misorientation", description="Angle of the misorientation.", unit="deg", ge=0.0, le=180.0
    )
    thickness_nm: float = param(
        1.0, title="Thickness", description="Thickness of the labeled slab.", unit="nm", ge=0.2, le=10.0
    )
    solute: Solute = _solute()
    excess_per_nm2: float = _excess_per_area()


DefectSpec = Annotated[
    SoluteCluster
    | Void
    | VacancyCluster
    | Vacancy
    | Interstitial
    | StackingFault
    | Dislocation
    | Insertion
    | InversionDomain
    | GrainBoundary,
    Field(discriminator="kind"),
]


def solute_share(spec: Any) -> float:
    """Mean share of the Ga sites in the region of a decorated line or plane that its excess takes; 0 to 1 and above."""
    ga = gan.ATOMS_PER_NM3 / 2
    if isinstance(spec, Dislocation):
        return spec.excess_per_nm / (np.pi * spec.radius_nm**2 * ga)
    if isinstance(spec, StackingFault):
        return spec.excess_per_nm2 / (gan.fault_thickness_nm(spec.fault) * ga)
    return float(spec.excess_per_nm2 / (spec.thickness_nm * ga))
