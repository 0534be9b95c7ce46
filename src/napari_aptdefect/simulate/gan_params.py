"""Parameters of the simulated GaN nanowire: the wire, its defects, and the measurement."""

from __future__ import annotations

from typing import Literal

from napari_aptdefect.simulate.instrument import RESOLUTION_LEVELS, IonKind, MassSpectrometer
from napari_aptdefect.stage import Params, param


class GanNanowireParams(Params):
    """A GaN nanowire along c with m-plane facets, its defects, and the measurement."""

    radius_nm: float = param(
        9.0, title="Radius", description="Distance from the axis to a side facet.", unit="nm", ge=1.0, le=150.0
    )
    length_nm: float = param(
        30.0, title="Length", description="Length of the wire along c.", unit="nm", ge=3.0, le=2000.0
    )
    solute: Literal["Mg", "In"] = param("Mg", title="Solute", description="Element that replaces Ga.")
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
    dislocation_core: Literal["screw", "edge", "none"] = param(
        "screw", title="Dislocation core", description="How the lattice is displaced around a line."
    )
    dislocation_radius_nm: float = param(
        0.8, title="Dislocation atmosphere", description="Radius of the decorated tube.", unit="nm", ge=0.2, le=20.0
    )
    dislocation_excess_per_nm: float = param(
        8.0, title="Dislocation excess", description="Excess solute along a line.", unit="1/nm", ge=0.0, le=1000.0
    )
    n_stacking_faults: int = param(1, title="Stacking faults", description="Number of basal faults I1.", ge=0, le=100)
    stacking_fault_excess_per_nm2: float = param(
        2.8, title="Stacking fault excess", description="Excess solute at a fault.", unit="1/nm2", ge=0.0, le=22.0
    )
    n_voids: int = param(2, title="Voids", description="Number of empty spheres.", ge=0, le=10000)
    void_radius_nm: float = param(
        1.4, title="Void radius", description="Radius of the empty spheres.", unit="nm", ge=0.2, le=50.0
    )
    n_vacancies: int = param(20, title="Ga vacancies", description="Number of single Ga vacancies.", ge=0, le=100000)
    n_interstitials: int = param(20, title="N interstitials", description="Number of extra N atoms.", ge=0, le=100000)
    level: Literal[0, 1, 2, 3] = param(
        2,
        title="Instrument",
        description="0 nearly perfect, 1 best case, 2 typical laser-pulsed GaN, 3 older reflectron.",
    )
    efficiency: float | None = param(
        None, title="Detection efficiency", description="Instead of the instrument's.", gt=0.0, le=1.0
    )
    sigma_lateral_nm: float | None = param(
        None,
        title="Lateral blur",
        description="Standard deviation, instead of the instrument's.",
        unit="nm",
        ge=0.0,
        le=20.0,
    )
    sigma_depth_nm: float | None = param(
        None,
        title="Depth blur",
        description="Standard deviation, instead of the instrument's.",
        unit="nm",
        ge=0.0,
        le=20.0,
    )
    nitrogen_loss_percent: float = param(
        10.0, title="Nitrogen loss", description="N atoms lost as neutrals.", unit="%", ge=0.0, le=100.0
    )
    nitrogen_dimer_percent: float = param(
        20.0, title="Nitrogen as N2", description="N atoms that leave in pairs as N2+.", unit="%", ge=0.0, le=100.0
    )
    ga_double_percent: float = param(
        20.0, title="Ga2+ share", description="Ga ions with two charges.", unit="%", ge=0.0, le=100.0
    )
    solute_double_percent: float = param(
        80.0, title="Doubly charged solute", description="Solute ions with two charges.", unit="%", ge=0.0, le=100.0
    )
    resolving_power: float = param(
        1000.0, title="Mass resolving power", description="m/q over the width at half maximum.", ge=100.0, le=10000.0
    )
    tail_percent: float = param(
        30.0, title="Peak tail", description="Ions in the tail of their peak.", unit="%", ge=0.0, le=100.0
    )
    background_percent: float = param(
        1.0, title="Background", description="Events from no atom, share of the ions.", unit="%", ge=0.0, le=100.0
    )

    @property
    def measurement(self) -> tuple[float, float, float]:
        """Detection efficiency, lateral and depth blur in nm, that are in force."""
        own = (self.efficiency, self.sigma_lateral_nm, self.sigma_depth_nm)
        preset = RESOLUTION_LEVELS[self.level]
        efficiency, lateral, depth = (b if a is None else a for a, b in zip(own, preset, strict=True))
        return efficiency, lateral, depth

    @property
    def spectrometer(self) -> MassSpectrometer:
        """Masses of the kinds of ions in this wire; species codes are Ga, N, solute, N2."""
        ga2, solute2 = self.ga_double_percent / 100, self.solute_double_percent / 100
        kinds = (
            IonKind("Ga", (("Ga", 1),), ((1, 1 - ga2), (2, ga2))),
            IonKind("N", (("N", 1),), ((1, 1.0),)),
            IonKind(self.solute, ((self.solute, 1),), ((1, 1 - solute2), (2, solute2))),
            IonKind("N2", (("N", 2),), ((1, 1.0),)),
        )
        return MassSpectrometer(kinds, self.resolving_power, self.tail_percent / 100)
