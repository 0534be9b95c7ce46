"""The ions that a simulated measurement gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import RangeTable


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured ions in the order of detection: parallel arrays, one entry per ion, read-only.

    Parameters
    ----------
    atom_idx
        Shape (M,), int32, row in the atoms from which the ion came; for background, that of an ion near in time.
    is_background
        Shape (M,), bool, events that come from no atom.
    species
        Shape (M,), int8, index in `species_names`: what the ion is, whatever the ranges call it.
    species_names
        Names of the kinds of ions, ``"background"`` last.
    xyz_nm
        Shape (M, 3), float32, nm: positions as reconstructed; x, y across the axis, z the depth.
    blurred_nm
        Shape (M, 3), float32, nm: true places with the blur alone, before trajectories and reconstruction distort them.
    mass_da
        Shape (M,), float32, Da: mass-to-charge ratios.
    tof_ns
        Shape (M,), float32, ns: times of flight.
    voltage_v, pulse_v
        Shape (M,), float32, V: standing voltage and voltage of the pulse.
    detector_mm
        Shape (M, 2), float32, mm: hits on the detector.
    pulses_since_last
        Shape (M,), uint32: pulses since the last pulse with a hit; 0 for the further ions of a pulse.
    ions_per_pulse
        Shape (M,), uint32: ions of the pulse, on its first ion; 0 on the further ones.
    ranges
        Ranges that fit the spectrum; the index of an ion there is its species code.
    counts
        Where the atoms went: ``atoms`` less ``lost_ga``, ``lost_n``, ``in_molecules`` (atoms beside the one at whose
        place the molecule is), ``undetected`` and ``hidden`` (by the dead zone) plus ``background`` gives ``ions``.
    """

    atom_idx: NDArray[np.int32]
    is_background: NDArray[np.bool_]
    species: NDArray[np.int8]
    species_names: tuple[str, ...]
    xyz_nm: NDArray[np.float32]
    blurred_nm: NDArray[np.float32]
    mass_da: NDArray[np.float32]
    tof_ns: NDArray[np.float32]
    voltage_v: NDArray[np.float32]
    pulse_v: NDArray[np.float32]
    detector_mm: NDArray[np.float32]
    pulses_since_last: NDArray[np.uint32]
    ions_per_pulse: NDArray[np.uint32]
    ranges: RangeTable
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.atom_idx)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns of an ion cloud beside position and mass, under the names that .epos and .apt are written from.

        Examples
        --------
        ``IonCloud.from_arrays(measured.xyz_nm, measured.mass_da, **measured.columns())``
        """
        return {
            "tof_ns": self.tof_ns,
            "voltage_dc_v": self.voltage_v,
            "voltage_pulse_v": self.pulse_v,
            "det_x_mm": self.detector_mm[:, 0],
            "det_y_mm": self.detector_mm[:, 1],
            "pulse_delta": self.pulses_since_last,
            "ions_per_pulse": self.ions_per_pulse,
        }
