"""Composition: from counts of ions to atomic fractions with their counting error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector, read_only
from napari_aptdefect.data.ranges import RangeTable
from napari_aptdefect.errors import ParameterError


@dataclass(frozen=True, eq=False)
class Composition:
    """Ionic and atomic composition of a set of ranged ions.

    Parameters
    ----------
    ions
        Names of the ions of the range table.
    ion_counts
        Shape (n_ions,), float64: counts, less the background when one was subtracted.
    ion_fraction, ion_fraction_error
        Shape (n_ions,), float64: share of each ion among all ranged ones, and its standard error.
    elements
        Symbols of the elements in those ions, in the order of the table.
    atom_counts
        Shape (n_elements,), float64: atoms of each element, molecular ions taken apart.
    fraction, fraction_error
        Shape (n_elements,), float64: atomic fractions and their standard errors; NaN when no atom was counted.
    n_label_ions
        Ions of labels that are no formula; they are part of the ionic composition only.
    background_subtracted
        Whether counts are net of a background.
    """

    ions: tuple[str, ...]
    ion_counts: NDArray[np.float64]
    ion_fraction: NDArray[np.float64]
    ion_fraction_error: NDArray[np.float64]
    elements: tuple[str, ...]
    atom_counts: NDArray[np.float64]
    fraction: NDArray[np.float64]
    fraction_error: NDArray[np.float64]
    n_label_ions: float
    background_subtracted: bool = False

    def __getitem__(self, element: str) -> tuple[float, float]:
        """Atomic fraction of an element and its standard error."""
        if element not in self.elements:
            raise ParameterError(f"no element {element!r} in this composition; it has {', '.join(self.elements)}")
        idx = self.elements.index(element)
        return float(self.fraction[idx]), float(self.fraction_error[idx])


def composition_of_counts(
    table: RangeTable,
    counts: ArrayLike,
    background: ArrayLike | None = None,
    background_variance: ArrayLike | None = None,
) -> Composition:
    """Composition of counted ions.

    Parameters
    ----------
    table
        Ions and what they are made of.
    counts
        Shape (n_ions,): how many of each ion of the table.
    background
        Shape (n_ions,): expected background among them, or None to subtract nothing.
    background_variance
        Shape (n_ions,): variance of that estimate; the estimate itself by default.

    Returns
    -------
    The composition.

    Raises
    ------
    ShapeError
        If there is not one count per ion of the table.

    Notes
    -----
    With n_ie atoms of element e in ion i, s_i = sum_e n_ie and N_i ions counted, the atomic fraction is a ratio of two
    correlated sums, c_e = sum_i n_ie N_i / sum_i s_i N_i, as one ion brings several atoms at once. Its standard error
    is that of the ratio estimator (Cochran 1977, ch. 6), with Poisson or multinomial counts alike:

        var(c_e) = sum_i V_i (n_ie - c_e s_i)^2 / (sum_i s_i N_i)^2,    V_i = N_i (+ variance of the background)

    For ions of one atom each this is the binomial c (1 - c) / N (Gault et al. 2012). The error covers counting only,
    not ranging, detector losses or preferential evaporation. Net counts are never below zero.

    References
    ----------
    W.G. Cochran, *Sampling Techniques*, 3rd ed., Wiley 1977.
    B. Gault et al., *Atom Probe Microscopy*, Springer 2012, doi 10.1007/978-1-4614-3436-8.

    Examples
    --------
    >>> from napari_aptdefect.data.ranges import Ion, MassRange
    >>> ions = (Ion("Ga", (("Ga", 1),)), Ion("GaN", (("Ga", 1), ("N", 1))))
    >>> composition_of_counts(RangeTable(ions, ()), [50, 50])["N"][0]
    0.3333333333333333
    """
    gross = as_vector(counts, "counts", length=len(table.ions), dtype=np.float64)
    net, variance = gross, gross
    if background is not None:
        expected = as_vector(background, "background", length=len(gross), dtype=np.float64)
        net = np.maximum(gross - expected, 0.0)
        spread = expected if background_variance is None else background_variance
        variance = gross + as_vector(spread, "background_variance", length=len(gross), dtype=np.float64)
    elements = tuple(dict.fromkeys(symbol for ion in table.ions for symbol, _ in ion.elements))
    atoms = np.zeros((len(table.ions), len(elements)))
    for row, ion in enumerate(table.ions):
        for symbol, count in ion.elements:
            atoms[row, elements.index(symbol)] += count
    labels = atoms.sum(axis=1) == 0
    ion_fraction, ion_error = _ratio(net, variance, np.eye(len(gross)))
    fraction, error = _ratio(net, variance, atoms)
    return Composition(
        table.names,
        read_only(net),
        read_only(ion_fraction),
        read_only(ion_error),
        elements,
        read_only(net @ atoms),
        read_only(fraction),
        read_only(error),
        float(net[labels].sum()),
        background is not None,
    )


def _ratio(
    net: NDArray[np.float64], variance: NDArray[np.float64], atoms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    per_ion = atoms.sum(axis=1)
    total = float(net @ per_ion)
    if total <= 0:
        nothing = np.full(atoms.shape[1], np.nan)
        return nothing, nothing.copy()
    fraction = (net @ atoms) / total
    deviation = atoms - per_ion[:, None] * fraction[None, :]
    return fraction, np.sqrt(variance @ deviation**2) / total
