"""What the atom probe does to atoms: which are detected, where they seem to be, and at which mass-to-charge ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import Ion, MassRange, RangeTable
from napari_aptdefect.data.elements import Elements, isotope_pattern
from napari_aptdefect.errors import ParameterError

RESOLUTION_LEVELS: Final[Mapping[int, tuple[float, float, float]]] = {
    0: (1.00, 0.02, 0.02),
    1: (0.80, 0.20, 0.06),
    2: (0.80, 0.60, 0.20),
    3: (0.37, 1.00, 0.30),
}
"""Detection efficiency, lateral and depth standard deviation in nm, by level.

0: nearly perfect. 1: straight flight path, best case. 2: typical laser-pulsed GaN on a straight flight path. 3: an
older reflectron instrument with aberrations.
"""

MASS_LIMIT_DA: Final = 200.0
_FWHM_PER_SIGMA: Final = 2 * np.sqrt(2 * np.log(2))
_MIN_ABUNDANCE: Final = 1e-3
_COLORS: Final = {"Ga": (188, 143, 62), "N": (48, 80, 248), "N2": (120, 150, 250), "Mg": (38, 160, 60)}


@dataclass(frozen=True)
class IonKind:
    """One kind of detected ion: its name, elements, and the share of each charge state."""

    name: str
    elements: Elements
    charges: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class MassSpectrometer:
    """Mass-to-charge ratios of ions, with isotopes, charge states, peak shape and ranges.

    Parameters
    ----------
    kinds
        Kinds of ions; their order gives the species codes.
    resolving_power
        m / full width at half maximum of the Gaussian part of a peak.
    tail_fraction
        Share of ions in the exponential tail at the side of high masses (late evaporation after the pulse).
    tail_fwhm
        Decay length of the tail in units of the full width at half maximum.
    """

    kinds: tuple[IonKind, ...]
    resolving_power: float
    tail_fraction: float
    tail_fwhm: float = 1.5

    def peaks(self, kind: IonKind) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mass-to-charge ratios in Da and shares of all peaks of one kind of ion; both of shape (K,)."""
        masses, shares = [], []
        for charge, share in kind.charges:
            pattern = isotope_pattern(kind.elements, charge, _MIN_ABUNDANCE)
            if pattern is None:
                raise ParameterError(f"{kind.name} has no natural isotopes to simulate a spectrum with")
            masses.append(pattern.mass_da)
            shares.append(pattern.abundance * share)
        weights = np.concatenate(shares)
        return np.concatenate(masses), weights / weights.sum()

    def measure(self, species: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float32]:
        """Mass-to-charge ratios of ions given their species codes, shape (N,), Da."""
        mass = np.empty(len(species))
        for code, kind in enumerate(self.kinds):
            rows = np.flatnonzero(species == code)
            centers, shares = self.peaks(kind)
            mass[rows] = centers[rng.choice(len(centers), len(rows), p=shares)]
        fwhm = mass / self.resolving_power
        mass += rng.normal(0.0, 1.0, len(mass)) * fwhm / _FWHM_PER_SIGMA
        late = rng.random(len(mass)) < self.tail_fraction
        mass[late] += rng.exponential(1.0, int(late.sum())) * fwhm[late] * self.tail_fwhm
        return mass.astype(np.float32)

    def ranges(self, atom_volume_nm3: float) -> RangeTable:
        """Ranges around all peaks: from 1.5 widths below to 6 above, cut in the middle where neighbors would overlap.

        Of two peaks closer than one width only the more abundant is ranged, as an analyst would.
        """
        ions = tuple(Ion(kind.name, kind.elements, _COLORS.get(kind.name)) for kind in self.kinds)
        peaks = [
            (mass, share, code)
            for code, kind in enumerate(self.kinds)
            for mass, share in zip(*self.peaks(kind), strict=True)
        ]
        kept: list[tuple[float, int]] = []
        for mass, _, code in sorted(peaks, key=lambda peak: -peak[1]):
            if all(abs(mass - other) > max(mass, other) / self.resolving_power for other, _ in kept):
                kept.append((float(mass), code))
        kept.sort()
        ranges = []
        for i, (mass, code) in enumerate(kept):
            fwhm = mass / self.resolving_power
            low, high = mass - 1.5 * fwhm, mass + 6 * fwhm
            if i > 0:
                low = max(low, _border(kept[i - 1][0], mass))
            if i + 1 < len(kept):
                high = min(high, _border(mass, kept[i + 1][0]))
            n_atoms = sum(n for _, n in ions[code].elements)
            # Limits on the grid that range files write, and a step apart: a closed interval holds both its ends.
            high = math.floor(high * 1e4 - 1) / 1e4
            ranges.append(MassRange(round(low, 4), high, code, atom_volume_nm3 * n_atoms))
        return RangeTable(ions, tuple(ranges))


def _border(lower: float, upper: float) -> float:
    return lower + 0.7 * (upper - lower)  # nearer to the upper peak, because tails point upward


def background_masses(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mass-to-charge ratios of n background events, even in time of flight; shape (n,), Da.

    Notes
    -----
    Time of flight grows with the square root of m/q, so the density in m/q falls as 1/sqrt(m/q).
    """
    return (rng.random(n) ** 2 * MASS_LIMIT_DA).astype(np.float32)
