"""Parameters of the measurement, and the fixed levels of difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, Self, get_args

from pydantic import ValidationError

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params, param

Step = Literal[
    "field",
    "charge_states",
    "loss",
    "molecules",
    "evaporation_order",
    "multiple_hits",
    "efficiency",
    "dead_zone",
    "peak_shape",
    "blur",
    "magnification",
    "poles",
    "reconstruction",
    "background",
]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
"""The steps of the measurement that can be switched off one by one, in the order in which they act."""


class Measurement(Params):
    """What an atom probe does to atoms; the defaults are those of level 2.

    `docs/measurement.md` has the equation and the source of each step.
    """

    skip: tuple[Step, ...] = param(
        (), title="Steps to skip", description=f"Steps that are switched off: {', '.join(STEPS)}."
    )

    field_v_per_nm: float = param(
        24.5, title="Field", description="Evaporation field at the apex, on the axis.", unit="V/nm", ge=5.0, le=60.0
    )
    field_lateral_v_per_nm: float = param(
        0.5,
        title="Lateral field variation",
        description="How much more field there is at the side facet that faces `field_direction_deg`.",
        unit="V/nm",
        ge=-20.0,
        le=20.0,
    )
    field_direction_deg: float = param(
        30.0,
        title="Field direction",
        description="Direction of the highest field, from x to y.",
        unit="deg",
        ge=-360.0,
        le=360.0,
    )
    field_drift_v_per_nm: float = param(
        -0.3, title="Field drift", description="Change of the field per 100 nm of depth.", unit="V/nm", ge=-20, le=20
    )
    csr_slope_nm_per_v: float = param(
        0.8, title="Charge state slope", description="b of ln CSR = b (F - F_eq).", unit="nm/V", ge=0.0, le=10.0
    )
    ga_equal_v_per_nm: float = param(
        27.0, title="Ga equal field", description="Field with as much Ga2+ as Ga+.", unit="V/nm", ge=5.0, le=80.0
    )
    mg_equal_v_per_nm: float = param(
        17.0, title="Mg equal field", description="Field with as much Mg2+ as Mg+.", unit="V/nm", ge=5.0, le=80.0
    )
    al_equal_v_per_nm: float = param(
        23.7, title="Al equal field", description="Field with as much Al2+ as Al+.", unit="V/nm", ge=5.0, le=80.0
    )
    in_equal_v_per_nm: float = param(
        23.8, title="In equal field", description="Field with as much In2+ as In+.", unit="V/nm", ge=5.0, le=80.0
    )
    si_equal_v_per_nm: float = param(
        19.2, title="Si equal field", description="Field with as much Si2+ as Si+.", unit="V/nm", ge=5.0, le=80.0
    )

    n_loss_percent: float = param(
        35.0, title="N loss", description="N lost as neutrals at the lowest field.", unit="%", ge=0.0, le=100.0
    )
    n_loss_field_v_per_nm: float = param(
        23.0, title="N loss field", description="Field at which half of that N is lost.", unit="V/nm", ge=0.0, le=80.0
    )
    ga_loss_percent: float = param(
        20.0, title="Ga loss", description="Ga lost between pulses at the highest field.", unit="%", ge=0.0, le=100.0
    )
    ga_loss_field_v_per_nm: float = param(
        27.0, title="Ga loss field", description="Field at which half of that Ga is lost.", unit="V/nm", ge=0.0, le=80
    )
    loss_width_v_per_nm: float = param(
        1.5, title="Loss width", description="Width of both transitions.", unit="V/nm", gt=0.0, le=20.0
    )

    dimer_percent: float = param(
        20.0, title="N in N2", description="N atoms that leave in pairs.", unit="%", ge=0.0, le=60.0
    )
    dimer_double_percent: float = param(
        10.0, title="N2 2+ share", description="N2 ions with two charges, at the place of N+.", unit="%", ge=0, le=100
    )
    trimer_percent: float = param(
        0.5, title="N in N3", description="N atoms that leave in threes, as N3+.", unit="%", ge=0.0, le=20.0
    )
    gan3_percent: float = param(
        0.5, title="Ga in GaN3", description="Ga atoms that leave as GaN3 2+ with three N.", unit="%", ge=0.0, le=5.0
    )

    apex_ratio: float = param(
        2.0,
        title="Apex radius",
        description="Radius of the spherical apex over the radius of the wire.",
        ge=1.2,
        le=20.0,
    )
    shank_deg: float = param(
        1.0, title="Shank angle", description="Half angle by which the apex radius grows.", unit="deg", ge=0.0, le=30.0
    )
    roughness_nm: float = param(
        0.2, title="Roughness", description="Standard deviation of the evaporating surface.", unit="nm", ge=0.0, le=5.0
    )
    correlated_percent: float = param(
        15.0,
        title="Correlated evaporation",
        description="Ions that leave in the same pulse as the ion above them.",
        unit="%",
        ge=0.0,
        le=90.0,
    )
    correlation_nm: float = param(
        0.5, title="Correlation length", description="Reach of correlated evaporation.", unit="nm", gt=0.0, le=10.0
    )

    efficiency: float = param(
        0.80, title="Detection efficiency", description="Share of the arriving ions that is seen.", gt=0.0, le=1.0
    )
    dead_time_ns: float = param(
        3.0, title="Dead time", description="Hits of a pulse closer than this can hide.", unit="ns", ge=0.0, le=100.0
    )
    dead_distance_mm: float = param(
        2.0, title="Dead distance", description="Hits of a pulse closer than this can hide.", unit="mm", ge=0, le=100.0
    )
    field_factor: float = param(3.7, title="Field factor", description="k_f of V = k_f R F.", ge=1.0, le=10.0)
    image_compression: float = param(
        1.6, title="Image compression", description="Launch angle over the angle of detection.", ge=1.0, le=3.0
    )
    projection_mm: float = param(
        100.0, title="Detector distance", description="Distance that magnifies the image.", unit="mm", ge=10, le=1000.0
    )
    flight_mm: float = param(
        100.0, title="Flight path", description="Path on the axis that times the ions.", unit="mm", ge=10, le=2000.0
    )
    t0_ns: float = param(
        50.0, title="Time offset", description="Time of flight at mass zero.", unit="ns", ge=0.0, le=1000.0
    )
    pulse_percent: float = param(
        0.0, title="Voltage pulse", description="Pulse over standing voltage; 0 with a laser.", unit="%", ge=0, le=50
    )
    detection_rate_percent: float = param(
        0.5, title="Detection rate", description="Pulses with a detected ion.", unit="%", gt=0.0, le=100.0
    )
    resolving_power: float = param(
        1000.0, title="Mass resolving power", description="m/q over the width at half maximum.", ge=100.0, le=10000.0
    )
    tail_percent: float = param(
        30.0, title="Peak tail", description="Ions in the tail of their peak.", unit="%", ge=0.0, le=100.0
    )
    tail_fwhm: float = param(
        1.5, title="Tail length", description="Decay length of a tail over the width of its peak.", ge=0.0, le=50.0
    )

    sigma_lateral_nm: float = param(
        0.60, title="Lateral blur", description="Standard deviation across the axis.", unit="nm", ge=0.0, le=20.0
    )
    sigma_depth_nm: float = param(
        0.20, title="Depth blur", description="Standard deviation along the axis.", unit="nm", ge=0.0, le=20.0
    )
    magnification: float = param(
        1.0, title="Local magnification", description="Factor on the strength of every defect's.", ge=0.0, le=10.0
    )
    pole_percent: float = param(
        15.0, title="Pole depletion", description="Ions missing at the center of a pole.", unit="%", ge=0.0, le=90.0
    )
    pole_width_deg: float = param(
        3.0, title="Pole width", description="Launch angle over which a pole fades.", unit="deg", gt=0.0, le=30.0
    )
    pole_ring_deg: float = param(
        20.6, title="Pole ring", description="Angle of six poles around 0001: {10-15}.", unit="deg", gt=0.0, le=60.0
    )
    bowl_nm: float = param(
        0.3, title="Curvature left", description="Depth error at the rim of the wire.", unit="nm", ge=-50.0, le=50.0
    )
    compression_error_percent: float = param(
        3.0, title="Launch angle error", description="Error of the launch angles.", unit="%", ge=-30.0, le=30.0
    )
    drift_nm: float = param(
        0.5, title="Lateral drift", description="Amplitude of the slow drift with depth.", unit="nm", ge=0.0, le=50.0
    )
    drift_period_nm: float = param(
        100.0, title="Drift period", description="Depth of one period of the drift.", unit="nm", gt=0.0, le=10000.0
    )
    background_percent: float = param(
        1.0, title="Background", description="Events from no atom, share of the ions.", unit="%", ge=0.0, le=100.0
    )

    @classmethod
    def at_level(cls, level: int, **changes: Any) -> Self:
        """Return the measurement of a level, with some fields changed.

        Raises
        ------
        ParameterError
            If there is no such level, or a value is out of its bounds.

        Examples
        --------
        >>> Measurement.at_level(3, skip=("poles",)).efficiency
        0.37
        """
        if level not in _LEVELS:
            raise ParameterError(f"there is no level {level!r}; the levels are {', '.join(map(str, _LEVELS))}")
        try:
            return cls.model_validate({**_LEVELS[level], **changes})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ParameterError(f"a measurement at level {level} can't be made: {wrong}") from error

    def does(self, step: Step) -> bool:
        """Whether a step is switched on."""
        return step not in self.skip


# What differs from level 2, which the defaults are.
_LEVELS: Final[Mapping[int, Mapping[str, float]]] = {
    0: {
        "field_v_per_nm": 25.0, "field_lateral_v_per_nm": 0.0, "field_drift_v_per_nm": 0.0, "n_loss_percent": 0.0,
        "ga_loss_percent": 0.0, "dimer_percent": 0.0, "trimer_percent": 0.0, "gan3_percent": 0.0, "shank_deg": 0.0,
        "correlated_percent": 0.0, "efficiency": 1.0, "dead_time_ns": 0.0, "dead_distance_mm": 0.0,
        "resolving_power": 5000.0, "tail_percent": 0.0, "sigma_lateral_nm": 0.02, "sigma_depth_nm": 0.02,
        "magnification": 0.0, "pole_percent": 0.0, "bowl_nm": 0.0, "compression_error_percent": 0.0, "drift_nm": 0.0,
        "background_percent": 0.0,
    },
    1: {
        "field_v_per_nm": 25.0, "field_lateral_v_per_nm": 0.2, "field_drift_v_per_nm": -0.1, "n_loss_percent": 15.0,
        "ga_loss_percent": 5.0, "dimer_percent": 10.0, "trimer_percent": 0.2, "gan3_percent": 0.2, "shank_deg": 0.5,
        "correlated_percent": 5.0, "resolving_power": 1500.0, "tail_percent": 10.0, "sigma_lateral_nm": 0.20,
        "sigma_depth_nm": 0.06, "magnification": 0.5, "pole_percent": 5.0, "bowl_nm": 0.1,
        "compression_error_percent": 1.0, "drift_nm": 0.1, "background_percent": 0.3,
    },
    2: {},
    3: {
        "field_v_per_nm": 23.5, "field_lateral_v_per_nm": 1.0, "field_drift_v_per_nm": -0.6, "correlated_percent": 25.0,
        "efficiency": 0.37, "flight_mm": 382.0, "t0_ns": 55.7, "resolving_power": 600.0, "tail_percent": 40.0,
        "sigma_lateral_nm": 1.00, "sigma_depth_nm": 0.30, "magnification": 1.5, "pole_percent": 30.0, "bowl_nm": 0.8,
        "compression_error_percent": 8.0, "drift_nm": 1.5, "background_percent": 2.0,
    },
}  # fmt: skip

LEVELS: Final[Mapping[int, Measurement]] = MappingProxyType({n: Measurement.at_level(n) for n in _LEVELS})
"""The fixed levels: 0 ideal, 1 best case, 2 present-day straight flight path, 3 older reflectron instrument."""
