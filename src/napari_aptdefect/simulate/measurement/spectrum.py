"""Mass spectra: the kinds of ions, their peaks, what a measurement makes of them, and ranges that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import Ion, MassRange, RangeTable
from napari_aptdefect.data.elements import Elements, isotope_pattern
from napari_aptdefect.errors import ParameterError

MASS_LIMIT_DA: Final = 200.0
CHARGES: Final = (1, 2)
_FWHM_PER_SIGMA: Final = 2 * math.sqrt(2 * math.log(2))
_COMMON_TAIL: Final = 0.3  # what an analyst expects of a laser-pulsed peak
_COMMON_TAIL_FWHM: Final = 1.5
_MIN_ABUNDANCE: Final = 1e-3
_COLORS: Final = {
    "Ga": (188, 143, 62), "N": (48, 80, 248), "N2": (120, 150, 250), "Mg": (38, 160, 60), "In": (166, 117, 115),
    "Al": (160, 130, 130), "Si": (200, 170, 60), "N3": (170, 185, 250), "GaN3": (120, 90, 150),
}  # fmt: skip


@dataclass(frozen=True)
class IonKind:
    """One kind of detected ion.

    Parameters
    ----------
    name
        Formula, which names the species.
    elements
        (symbol, count) pairs.
    abundance
        Expected share of the ions of this kind among all, 0 to 1; it decides which of two close peaks is ranged.
    charge_shares
        Expected shares of the charge states 1 and 2; they add up to one.
    """

    name: str
    elements: Elements
    abundance: float
    charge_shares: tuple[float, float]

    def peaks(self, charge: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mass-to-charge ratios of the isotopologues in Da, and their shares; both of shape (K,).

        Raises
        ------
        ParameterError
            If an element has no natural isotopes.
        """
        pattern = isotope_pattern(self.elements, charge, _MIN_ABUNDANCE)
        if pattern is None:
            raise ParameterError(f"{self.name} has no natural isotopes to simulate a spectrum with")
        return pattern.mass_da, pattern.abundance / pattern.abundance.sum()


def exact_masses(
    kinds: Sequence[IonKind], species: NDArray[np.int8], charge: NDArray[np.int8], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Mass-to-charge ratios of ions before the instrument measures them, with random natural isotopes.

    Parameters
    ----------
    kinds
        Kinds of ions; `species` is an index into them.
    species, charge
        Shape (N,), int8.
    rng
        Source of the isotopes.

    Returns
    -------
    Shape (N,), float32, Da.
    """
    mass = rng.random(len(species), dtype=np.float32)  # first the random numbers, which the masses replace
    for code, kind in enumerate(kinds):
        for n in CHARGES:
            rows = np.flatnonzero((species == code) & (charge == n))
            if not len(rows):
                continue
            centers, shares = kind.peaks(n)
            limits = np.cumsum(shares)[:-1].astype(np.float32)
            mass[rows] = centers.astype(np.float32)[np.searchsorted(limits, mass[rows], side="right")]
    return mass


def blur_masses(
    mass_da: NDArray[np.float32],
    resolving_power: float,
    tail_share: float,
    tail_fwhm: float,
    rng: np.random.Generator,
) -> None:
    """Give masses the shape of measured peaks, in place.

    Parameters
    ----------
    mass_da
        Shape (N,), float32, Da; changed.
    resolving_power
        m / full width at half maximum of the Gaussian part of a peak.
    tail_share
        Share of the ions, 0 to 1, that leave late, in an exponential tail at the side of high masses.
    tail_fwhm
        Decay length of the tail in units of the full width at half maximum.
    rng
        Source of the errors.
    """
    error = rng.standard_normal(len(mass_da), dtype=np.float32)
    error *= 1 / _FWHM_PER_SIGMA
    late = np.flatnonzero(rng.random(len(mass_da), dtype=np.float32) < tail_share)
    error[late] += rng.standard_exponential(len(late), dtype=np.float32) * tail_fwhm
    error *= 1 / resolving_power
    error += 1
    mass_da *= error


def background_masses(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mass-to-charge ratios of n background events, even in time of flight; shape (n,), Da.

    Notes
    -----
    Time of flight grows with the square root of m/q, so the density in m/q falls as 1/sqrt(m/q). Events above 200 Da
    are not simulated, and those below 0.01 Da, within nanoseconds of the time offset, are cut off.
    """
    low, high = 0.1, math.sqrt(MASS_LIMIT_DA)
    return ((low + (high - low) * rng.random(n)) ** 2).astype(np.float32)


def fitting_ranges(kinds: Sequence[IonKind], resolving_power: float, atom_volume_nm3: float) -> RangeTable:
    """Ranges around all peaks: from 1.5 widths below to 6 above, cut where neighbors would overlap.

    Of two peaks closer than one width only the more abundant is ranged, as an analyst would; so is a peak whose range
    would hold more ions of a greater neighbor than of its own. Charge states that less than a thousandth of their kind
    have are left out.
    """
    ions = tuple(Ion(kind.name, kind.elements, _COLORS.get(kind.name)) for kind in kinds)
    peaks = [
        (float(mass), float(share) * weight * kind.abundance, code)
        for code, kind in enumerate(kinds)
        for n, weight in zip(CHARGES, kind.charge_shares, strict=True)
        if weight >= _MIN_ABUNDANCE
        for mass, share in zip(*kind.peaks(n), strict=True)
    ]
    taken: list[tuple[float, float, int]] = []
    for mass, share, code in sorted(peaks, key=lambda peak: -peak[1]):
        if all(share > other_share * _leak(mass, other, resolving_power) for other, other_share, _ in taken):
            taken.append((mass, share, code))
    kept = sorted((mass, code) for mass, _, code in taken)
    ranges = []
    for i, (mass, code) in enumerate(kept):
        fwhm = mass / resolving_power
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


def _leak(mass: float, greater: float, resolving_power: float) -> float:
    """Share of a greater peak's ions that fall into the range of a neighbor; infinite if they are not resolved."""
    fwhm = max(mass, greater) / resolving_power
    gap = abs(mass - greater)
    if gap <= fwhm:
        return math.inf
    below = mass < greater
    reach = gap - (_border(mass, greater) - mass) if below else _border(greater, mass) - greater
    tail = 0.0 if below else _COMMON_TAIL * math.exp(-reach / (_COMMON_TAIL_FWHM * fwhm))
    return 0.5 * math.erfc(reach / fwhm * _FWHM_PER_SIGMA / math.sqrt(2)) + tail


def _border(lower: float, upper: float) -> float:
    return lower + 0.7 * (upper - lower)  # nearer to the upper peak, because tails point upward
