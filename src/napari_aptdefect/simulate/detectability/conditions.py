"""Under which conditions a specimen was measured, and which role that leaves to each defect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.truth import Role

SITES_PER_NM3: Final = gan.ATOMS_PER_NM3 / 2
"""Sites of one sublattice, nm⁻³."""

_HIDDEN_UNDECORATED: Final = ("stacking_fault", "dislocation")
_SYMBOL: Final = re.compile(r"[A-Z][a-z]?")


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the measurement of a GaN specimen did to its atoms.

    Parameters
    ----------
    level_sigma_nm
        Standard deviation of the measured positions: lateral, depth, nm.
    detected_per_nm3
        Density of detected ions of each species in the matrix, losses included, nm⁻³. An N2 ion is one event.
    efficiency
        Probability that an atom is detected, by element; of every element that a defect adds or removes.
    specs
        What each defect was asked to be (`gan_specs`), by instance number.
    background_per_nm3
        Density of unrelated events that fall into the ranges of one species, nm⁻³.
    species
        Names of the species by their code in the measurement, for `known_geometry`; those without a density, such as
        background, tell nothing.
    rotation
        Turns the frame of the lattice (z along c) into the instrument's (z is the depth), shape (3, 3).
    planes_known
        Whether the observer knows the place of every plane of the perfect crystal. Nobody does in a reconstruction that
        has errors of its own, which is why undecorated dislocations and faults are controls above level 0; then what
        displaced sites alone would tell does not count for decorated ones either.
    """

    level_sigma_nm: tuple[float, float]
    detected_per_nm3: Mapping[str, float]
    efficiency: Mapping[str, float]
    specs: Mapping[int, Any] = field(default_factory=dict)
    background_per_nm3: float = 0.0
    species: tuple[str, ...] = ()
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    planes_known: bool = True

    def __post_init__(self) -> None:
        if not all(np.isfinite(s) and s > 0 for s in self.level_sigma_nm):
            raise ParameterError(f"level_sigma_nm = {self.level_sigma_nm}; both blurs have to be above 0 nm")
        if bad := {name: e for name, e in self.efficiency.items() if not 0 <= e <= 1}:
            raise ParameterError(f"efficiency = {bad}; give probabilities from 0 to 1")
        if self.background_per_nm3 < 0 or any(d < 0 for d in self.detected_per_nm3.values()):
            raise ParameterError("densities of detected ions and of background have to be 0 or more")
        for on_n, name in ((False, "Ga"), (True, "N")):
            found = sum(d for species, d in self.detected_per_nm3.items() if (element_of(species) == "N") == on_n)
            if found > SITES_PER_NM3 * 1.02:  # a measured density has a counting error
                raise ParameterError(
                    f"{found:.3g} ions per nm3 detected from the {name} sublattice, which has {SITES_PER_NM3:.3g} "
                    "sites per nm3; give densities in detected_per_nm3"
                )

    @property
    def covariance_nm2(self) -> NDArray[np.float64]:
        """Covariance of the blur in the instrument's frame, shape (3, 3), nm²."""
        lateral, depth = self.level_sigma_nm
        return np.diag([lateral**2, lateral**2, depth**2])

    def share(self, element: str) -> float:
        """Detected ions of an element in the matrix per site of its sublattice."""
        found = sum(d for species, d in self.detected_per_nm3.items() if element_of(species) == element)
        return min(found / SITES_PER_NM3, 1.0)

    def elements(self, *, on_n: bool) -> tuple[str, ...]:
        """Elements of one sublattice, those of defects included."""
        names = {element_of(species) for species in self.detected_per_nm3} | set(self.efficiency)
        return tuple(sorted(name for name in names if (name == "N") == on_n))

    def efficiency_of(self, element: str) -> float:
        """Probability that an atom is detected.

        Raises
        ------
        ParameterError
            If it isn't known.
        """
        if element not in self.efficiency:
            raise ParameterError(f"no efficiency of {element}; there are {sorted(self.efficiency)}")
        return self.efficiency[element]


def element_of(species: str) -> str:
    """Element whose sublattice an ion came from: that of the metal, N of pure nitrogen."""
    symbols = _SYMBOL.findall(species)
    return next((symbol for symbol in symbols if symbol != "N"), symbols[0] if symbols else "")


def role_of(defect_class: str, level: int, *, decorated: bool, is_point: bool) -> Role:
    """Role that a defect has in scores at a difficulty level.

    Parameters
    ----------
    defect_class
        One of `DEFECT_CLASSES`; ``"matrix"`` for an intended layer.
    level
        Difficulty level, 0 to 3.
    decorated
        Whether solute marks it.
    is_point
        Whether it is a single vacancy or interstitial.

    Examples
    --------
    >>> role_of("vacancy", 2, decorated=False, is_point=True), role_of("vacancy", 2, decorated=False, is_point=False)
    ('control', 'target')
    """
    if defect_class == "matrix":
        return "structure"
    hidden = is_point or (defect_class in _HIDDEN_UNDECORATED and not decorated)
    return "control" if hidden and level > 0 else "target"
