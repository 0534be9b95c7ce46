"""What a method that finds defects may see of a specimen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.evaluate.checks import freeze


@dataclass(frozen=True, eq=False)
class Specimen:
    """Ions in file order, without any truth.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), float32, nm, finite.
    species_idx
        Species of each ion, shape (N,), int16; -1 is unranged.
    species_names
        Names of the species.
    solutes
        Species that are the minority, the analyst's choice: all but the main elements.
    composition
        Local shares of the solutes and local density around each ion, shape (N, C), float32.
    fused
        Fused feature vectors, shape (N, F), float32, or None.
    anomaly
        How much each ion stands out, shape (N,), float32, or None.
    judged
        Which ions `fused` and `anomaly` speak of, shape (N,), bool.

    Raises
    ------
    ShapeError
        If the arrays are not of equal length or hold values that are not finite.
    ParameterError
        If a species has no name or a solute is no species.
    """

    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    species_names: tuple[str, ...]
    solutes: tuple[int, ...]
    composition: NDArray[np.float32]
    fused: NDArray[np.float32] | None
    anomaly: NDArray[np.float32] | None
    judged: NDArray[np.bool_]

    def __post_init__(self) -> None:
        xyz = freeze(self, "xyz_nm", as_points(self.xyz_nm))
        n = len(xyz)
        species = freeze(self, "species_idx", as_vector(self.species_idx, "species_idx", length=n, dtype=np.int16))
        freeze(self, "judged", as_vector(self.judged, "judged", length=n, dtype=bool))
        freeze(self, "composition", _table(self.composition, "composition", n))
        if self.fused is not None:
            freeze(self, "fused", _table(self.fused, "fused", n))
        if self.anomaly is not None:
            freeze(self, "anomaly", as_vector(self.anomaly, "anomaly", length=n))
        for name in ("xyz_nm", "composition", "fused", "anomaly"):
            values = getattr(self, name)
            if values is not None and not (finite := finite_rows(values)).all():
                raise ShapeError(f"{name} of ion {int(np.argmin(finite))} is not finite; leave such ions out")
        n_species = len(self.species_names)
        if n and not (int(species.min()) >= -1 and int(species.max()) < n_species):
            raise ParameterError(
                f"species_idx must be -1 or one of the {n_species} species, got {species.min()} to {species.max()}"
            )
        if any(not 0 <= solute < n_species for solute in self.solutes):
            raise ParameterError(f"solutes must be among the {n_species} species, got {self.solutes}")

    def __len__(self) -> int:
        return len(self.xyz_nm)

    @property
    def ranged(self) -> NDArray[np.bool_]:
        """Which ions have a species, shape (N,)."""
        return np.asarray(self.species_idx >= 0)

    @property
    def is_solute(self) -> NDArray[np.bool_]:
        """Which ions are solutes, shape (N,)."""
        return np.isin(self.species_idx, self.solutes)


def _table(values: ArrayLike, name: str, n: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 2 or len(array) != n or array.dtype.kind not in "biuf":
        raise ShapeError(f"{name} must hold numbers in {n} rows, one per ion, got {array.dtype} of shape {array.shape}")
    return np.ascontiguousarray(array, np.float32)
