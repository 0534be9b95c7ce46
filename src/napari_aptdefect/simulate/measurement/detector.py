"""Where and when ions hit the detector, and which hits hide others."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from napari_aptdefect.simulate.measurement.params import Measurement

DA_PER_V_NS2_MM2: Final = 2 * constants.e / constants.atomic_mass * 1e-12
"""m/q in Da of an ion that one volt lets fly 1 mm in 1 ns: 2 e V (t / L)²."""


def apex_radius_nm(depth_nm: NDArray[np.float32], radius_nm: float, model: Measurement) -> NDArray[np.float32]:
    """Radius of the apex at a depth, shape (N,), nm: it grows with the tangent of the shank angle."""
    return model.apex_ratio * np.float32(radius_nm) + np.float32(math.tan(math.radians(model.shank_deg))) * depth_nm


def standing_voltage(depth_nm: NDArray[np.float32], radius_nm: float, model: Measurement) -> NDArray[np.float32]:
    """Standing voltage, shape (N,), V.

    Notes
    -----
    V = k_f R F with the apex radius R and the field F on the axis at that depth; P. Bas et al., Appl. Surf. Sci. 87-88
    (1995) 298. With a voltage pulse, the field is that of both together.
    """
    drift = model.field_drift_v_per_nm / 100 if model.does("field") else 0.0
    field = model.field_v_per_nm + np.float32(drift) * depth_nm
    total = model.field_factor * apex_radius_nm(depth_nm, radius_nm, model) * field
    return (total / (1 + model.pulse_percent / 100)).astype(np.float32)


def project(xy_nm: NDArray[np.float32], apex_nm: NDArray[np.float32], model: Measurement) -> NDArray[np.float32]:
    """Hits on the detector.

    Parameters
    ----------
    xy_nm
        Lateral places from which the ions seem to start, shape (N, 2), nm.
    apex_nm
        Radius of the apex, shape (N,), nm.
    model
        The measurement.

    Returns
    -------
    Shape (N, 2), float32, mm.

    Notes
    -----
    The launch angle asin(r / R) is compressed by the image compression factor (P. Bas et al., Appl. Surf. Sci. 87-88
    (1995) 298); the detector lies flat at its distance, so r_det = L tan(angle / ICF).
    """
    r = np.hypot(xy_nm[:, 0], xy_nm[:, 1])
    angle = np.arcsin(np.minimum(r / apex_nm, np.float32(1)))
    hit = np.float32(model.projection_mm) * np.tan(angle / np.float32(model.image_compression))
    hit /= np.maximum(r, np.float32(1e-6))
    out: NDArray[np.float32] = xy_nm * hit[:, None]
    return out


def flight_path_mm(detector_mm: NDArray[np.float32], model: Measurement) -> NDArray[np.float32]:
    """Path that times the ions, sqrt(L0² + x² + y²), shape (N,), mm."""
    r2 = np.einsum("ij,ij->i", detector_mm, detector_mm)
    path: NDArray[np.float32] = np.sqrt(np.float32(model.flight_mm**2) + r2)
    return path


def time_of_flight(
    mass_da: NDArray[np.float32],
    volts: NDArray[np.float32],
    detector_mm: NDArray[np.float32],
    model: Measurement,
) -> NDArray[np.float32]:
    """Time of flight that belongs to a measured mass, shape (N,), ns; `volts` is the standing and the pulse voltage.

    Notes
    -----
    The inverse of m/q = 2 e V (t - t0)² / L². The errors of the time (jitter, late evaporation, energy deficit) are in
    the masses already, as the shape of their peaks.
    """
    time: NDArray[np.float32] = np.sqrt(mass_da / volts, dtype=np.float32)
    time *= flight_path_mm(detector_mm, model)
    time *= np.float32(1 / math.sqrt(DA_PER_V_NS2_MM2))
    time += np.float32(model.t0_ns)
    return time


def mass_from_flight(tof_ns: Any, volts: Any, detector_mm: NDArray[np.floating], model: Measurement) -> Any:
    """Mass-to-charge ratio from the columns of a file, m/q = 2 e V (t - t0)² / L², shape (N,), Da."""
    r2 = (np.asarray(detector_mm, np.float64) ** 2).sum(axis=1)
    return DA_PER_V_NS2_MM2 * volts * (tof_ns - model.t0_ns) ** 2 / (model.flight_mm**2 + r2)


def hidden_hits(
    event: NDArray[np.integer],
    tof_ns: NDArray[np.floating],
    detector_mm: NDArray[np.floating],
    dead_time_ns: float,
    dead_distance_mm: float,
) -> NDArray[np.bool_]:
    """Find the hits that the dead zone of an earlier one hides.

    Parameters
    ----------
    event
        Number of the pulse of each hit, ascending, shape (N,).
    tof_ns
        Times of flight, ascending within a pulse, shape (N,), ns.
    detector_mm
        Places of the hits, shape (N, 2), mm.
    dead_time_ns, dead_distance_mm
        A hit is lost if an earlier hit of the same pulse is closer than both. An earlier hit hides a later one also
        where it is hidden itself: its signal is there all the same.

    Returns
    -------
    Shape (N,), bool.
    """
    hidden = np.zeros(len(event), np.bool_)
    later = np.arange(1, len(event))
    back = 1
    while len(later := later[later >= back]):
        earlier = later - back
        later = later[event[later] == event[earlier]]
        earlier = later - back
        offset = detector_mm[later] - detector_mm[earlier]
        near = np.hypot(offset[:, 0], offset[:, 1]) < dead_distance_mm
        near &= tof_ns[later] - tof_ns[earlier] < dead_time_ns
        hidden[later[near]] = True
        back += 1
    return hidden


def multiplicity(event: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """Mark the first ion of each pulse, and count its ions there; 0 on the others, as .epos has it.

    Parameters
    ----------
    event
        Number of the pulse of each ion, ascending, shape (N,).

    Returns
    -------
    Shape (N,), bool, and shape (N,), uint32; the counts add up to N.
    """
    first = np.ones(len(event), np.bool_)
    first[1:] = event[1:] != event[:-1]
    heads = np.flatnonzero(first)
    count = np.zeros(len(event), np.uint32)
    count[heads] = np.diff(heads, append=len(event))
    return first, count
