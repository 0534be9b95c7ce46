"""Parameters of the simulated GaN nanowire: the wire, its defects, and the measurement."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from napari_aptdefect.simulate.gan_specs import (
    DefectSpec,
    Dislocation,
    Interstitial,
    SoluteCluster,
    StackingFault,
    Vacancy,
    VacancyCluster,
    Void,
)
from napari_aptdefect.simulate.measurement import Measurement
from napari_aptdefect.stage import Params, param


class GanNanowireParams(Params):
    """A hexagonal GaN nanowire along c, its defects, and the measurement.

    Defects come from two places: those listed in `defects`, each with its own parameters, and as many random ones of
    each kind as the counts ask for, all of one kind alike.
    """

    radius_nm: float = param(
        9.0, title="Radius", description="Distance from the axis to a side facet.", unit="nm", ge=1.0, le=150.0
    )
    length_nm: float = param(
        30.0, title="Length", description="Length of the wire along c.", unit="nm", ge=3.0, le=2000.0
    )
    facets: Literal["m", "a"] = param("m", title="Side facets", description="Planes {10-10} (m) or {11-20} (a).")
    polarity: Literal["Ga", "N"] = param("Ga", title="Polarity", description="Of the free end.")
    azimuth_deg: float = param(
        0.0, title="Azimuth", description="Turns the wire about its axis.", unit="deg", ge=-180.0, le=180.0
    )
    tilt_deg: float = param(
        0.0,
        title="Tilt",
        description="Between the axes of wire and instrument.",
        unit="deg",
        ge=0.0,
        le=45.0,
    )
    solute: Literal["Mg", "In", "Al", "Si"] = param("Mg", title="Solute", description="Element that replaces Ga.")
    solute_percent: float = param(
        0.1, title="Solute background", description="Random solute, share of the Ga sites.", unit="%", ge=0.0, le=50.0
    )
    n_clusters: int = param(3, title="Solute clusters", description="Number of solute-rich spheres.", ge=0, le=10000)
    cluster_radius_nm: float = param(
        1.8, title="Cluster radius", description="Radius of the solute-rich spheres.", unit="nm", ge=0.3, le=50.0
    )
    cluster_percent: float = param(
        10.0, title="Cluster solute", description="Solute in a cluster, share of Ga sites.", unit="%", ge=0.0, le=100.0
    )
    n_dislocations: int = param(1, title="Dislocations", description="Number of threading lines along c.", ge=0, le=100)
    dislocation_core: Literal["screw", "edge", "mixed", "none"] = param(
        "screw", title="Dislocation core", description="How the lattice is displaced around a line."
    )
    dislocation_radius_nm: float = param(
        0.8, title="Dislocation atmosphere", description="Radius of the decorated tube.", unit="nm", ge=0.2, le=20.0
    )
    dislocation_excess_per_nm: float = param(
        8.0, title="Dislocation excess", description="Excess solute along a line.", unit="1/nm", ge=0.0, le=1000.0
    )
    n_stacking_faults: int = param(1, title="Stacking faults", description="Number of basal faults.", ge=0, le=100)
    stacking_fault: Literal["I1", "I2", "E"] = param(
        "I1", title="Kind of fault", description="Intrinsic with one or two cubic bilayers, or extrinsic with three."
    )
    stacking_fault_excess_per_nm2: float = param(
        2.8, title="Stacking fault excess", description="Excess solute at a fault.", unit="1/nm2", ge=0.0, le=22.0
    )
    n_voids: int = param(2, title="Voids", description="Number of empty spheres.", ge=0, le=10000)
    void_radius_nm: float = param(
        1.4, title="Void radius", description="Radius of the empty spheres.", unit="nm", ge=0.2, le=50.0
    )
    n_vacancy_clusters: int = param(0, title="Vacancy clusters", description="Number of small balls.", ge=0, le=10000)
    vacancies_per_cluster: int = param(
        12, title="Vacancies per cluster", description="Atoms missing in each.", ge=2, le=100_000
    )
    n_vacancies: int = param(20, title="Ga vacancies", description="Number of single Ga vacancies.", ge=0, le=100000)
    n_interstitials: int = param(20, title="N interstitials", description="Number of extra N atoms.", ge=0, le=100000)
    interstitial_site: Literal["split", "octahedral"] = param(
        "split", title="Interstitial site", description="Beside an N atom, or in the middle of a hexagonal channel."
    )
    defects: tuple[DefectSpec, ...] = param(
        (), title="Defects", description="Defects with parameters of their own (in a parameter file)."
    )
    level: Literal[0, 1, 2, 3] = param(
        2,
        title="Difficulty level",
        description="0 ideal, 1 best case, 2 present-day straight flight path, 3 older reflectron.",
    )
    measurement: Measurement = param(
        None, title="Measurement", description="Changes to what the level does to the atoms.", validate_default=False
    )

    @model_validator(mode="before")
    @classmethod
    def _from_level(cls, data: Any) -> Any:
        """Fill in the level's measurement, and lay the given changes over it."""
        if not isinstance(data, dict):
            return data
        changes = data.get("measurement") or {}
        if not isinstance(changes, dict):
            return data  # a whole measurement, or something that the field itself refuses
        level = data.get("level", 2)
        if isinstance(level, bool):  # equal to 0 and 1, which a literal takes for them
            raise ValueError(f"level must be 0, 1, 2 or 3, got {str(level).lower()}")
        preset = Measurement.at_level(level).model_dump() if level in (0, 1, 2, 3) else {}
        return {**data, "measurement": {**preset, **changes}}

    def specs(self) -> tuple[DefectSpec, ...]:
        """All defects, first the listed ones, then those that the counts ask for."""
        cluster = SoluteCluster(radius_nm=self.cluster_radius_nm, solute=self.solute, percent=self.cluster_percent)
        line = Dislocation(
            core=self.dislocation_core,
            radius_nm=self.dislocation_radius_nm,
            solute=self.solute,
            excess_per_nm=self.dislocation_excess_per_nm,
        )
        fault = StackingFault(
            fault=self.stacking_fault, solute=self.solute, excess_per_nm2=self.stacking_fault_excess_per_nm2
        )
        return (
            *self.defects,
            *[cluster] * self.n_clusters,
            *[line] * self.n_dislocations,
            *[fault] * self.n_stacking_faults,
            *[Void(radius_nm=self.void_radius_nm)] * self.n_voids,
            *[VacancyCluster(n_vacancies=self.vacancies_per_cluster)] * self.n_vacancy_clusters,
            *[Vacancy()] * self.n_vacancies,
            *[Interstitial(site=self.interstitial_site)] * self.n_interstitials,
        )

    def elements(self) -> tuple[str, ...]:
        """Symbols of the elements in the wire, Ga and N first."""
        solutes = {spec.solute for spec in self.specs() if hasattr(spec, "solute")} | {self.solute}
        return ("Ga", "N", *sorted(solutes, key=("Mg", "In", "Al", "Si").index))
