"""The unit conventions: lengths in nm, mass-to-charge in Da, times in ns, voltages in V, detector positions in mm.

A public scalar carries its unit as a suffix (``cutoff_nm``, ``voltage_v``), an array too (``xyz_nm``, ``mass_da``),
an index ends in ``_idx``, a count starts with ``n_``. Readers convert at the boundary, so nothing else ever does.
"""

from __future__ import annotations

from typing import Final

from napari_aptdefect.errors import ParameterError

# factor to the unit of the house, keyed by the unit found in a file
_FACTORS: Final[dict[str, tuple[str, float]]] = {
    "nm": ("nm", 1.0),
    "angstrom": ("nm", 0.1),
    "Å": ("nm", 0.1),
    "A": ("nm", 0.1),
    "pm": ("nm", 1e-3),
    "um": ("nm", 1e3),
    "µm": ("nm", 1e3),
    "μm": ("nm", 1e3),
    "mm": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "m": ("m", 1.0),
    "1/m": ("1/m", 1.0),
    "Da": ("Da", 1.0),
    "da": ("Da", 1.0),
    "amu": ("Da", 1.0),
    "u": ("Da", 1.0),
    "ns": ("ns", 1.0),
    "us": ("ns", 1e3),
    "V": ("V", 1.0),
    "kV": ("V", 1e3),
}


def to_house_unit(unit: str) -> tuple[str, float]:
    """Unit of the house that a file's unit converts to, and the factor.

    Parameters
    ----------
    unit
        Unit as written in a file, such as ``"Angstrom"`` or ``"kV"``.

    Returns
    -------
    The unit of the house and the factor to multiply values with.

    Raises
    ------
    ParameterError
        If the unit is not known.

    Examples
    --------
    >>> to_house_unit("kV")
    ('V', 1000.0)
    """
    for key in (unit, unit.strip(), unit.strip().lower()):
        if key in _FACTORS:
            return _FACTORS[key]
    raise ParameterError(f"unknown unit {unit!r}; known units are {', '.join(sorted(_FACTORS))}")
