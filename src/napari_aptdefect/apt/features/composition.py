"""Compositional features: what the balls around an ion hold, molecular ions taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from napari_aptdefect.apt.features.params import FeatureSetParams
from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data.elements import isotopes
from napari_aptdefect.data.feature_table import FeatureColumn
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.errors import ParameterError

CHARGE_KNOWN: Final = 1
CHARGE_HIGH: Final = 2
MULTI_HIT: Final = 4
N_FLAGS: Final = 3
_HALF: Final = 0.5  # added to both counts of a ratio (Haldane 1956, doi 10.1111/j.1469-1809.1955.tb01285.x)
_CERTAIN: Final = 300.0  # -log10 of the smallest probability that is told apart from 0


def charge_states(ions: Sequence[Ion], species_idx: ArrayLike, mass_da: ArrayLike) -> NDArray[np.int8]:
    """Charge state of each ion: its mean natural mass over its mass-to-charge ratio, rounded.

    Parameters
    ----------
    ions
        Kinds of ions.
    species_idx
        Shape (N,), index into `ions`; -1 is unranged.
    mass_da
        Shape (N,), mass-to-charge ratios, Da.

    Returns
    -------
    Shape (N,), int8; 0 for unranged ions and for those that hold no element with a natural mass.

    Raises
    ------
    ShapeError
        If masses and species differ in number.

    Examples
    --------
    >>> ga = Ion("Ga", (("Ga", 1),))
    >>> charge_states([ga], [0, 0, -1], [68.9, 34.5, 20.0]).tolist()
    [1, 2, 0]
    """
    species = as_vector(species_idx, "species_idx", dtype=np.int64)
    mass = as_vector(mass_da, "mass_da", length=len(species), dtype=np.float32)
    weight = np.zeros(len(ions) + 1, np.float32)  # the last one is of the unranged
    for i, ion in enumerate(ions):
        parts = [count * sum(one.mass_da * one.abundance for one in isotopes(symbol)) for symbol, count in ion.elements]
        weight[i] = sum(parts) if parts and all(parts) else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        charge = np.rint(weight[species] / mass)
    charge[~(charge >= 0) | (charge > 8)] = 0
    out: NDArray[np.int8] = charge.astype(np.int8)
    return out


def multi_hits(ions_per_pulse: ArrayLike) -> NDArray[np.bool_]:
    """Which ions came with others in one pulse, from the column of .epos and .apt files.

    Parameters
    ----------
    ions_per_pulse
        Shape (N,): ions of the pulse on its first ion, 0 on the further ones.

    Examples
    --------
    >>> multi_hits([1, 2, 0, 1]).tolist()
    [False, True, True, False]
    """
    return np.asarray(as_vector(ions_per_pulse, "ions_per_pulse", dtype=np.int64) != 1, np.bool_)


@dataclass(frozen=True, eq=False)
class Chemistry:
    """What the ions are made of, as the counts need it.

    Parameters
    ----------
    kind
        Shape (N,), int32: class of ions that count alike; the last class is that of ions without a composition.
    atoms
        Shape (n_kinds, E), float64: atoms of each element in an ion of a class.
    n_atoms
        Shape (n_kinds,), float64: all its atoms.
    dopant
        Shape (n_kinds,), float64: 1 where it holds a dopant.
    elements
        Symbols of the E elements.
    dopants
        Symbols of the dopants.
    dopant_share
        Share of ions with a dopant among all ranged ions.
    main
        Shape (N,), bool: the ion is one atom of the main element.
    main_element
        The element that most ions of one atom are of; empty without any.
    """

    kind: NDArray[np.int32]
    atoms: NDArray[np.float64]
    n_atoms: NDArray[np.float64]
    dopant: NDArray[np.float64]
    elements: tuple[str, ...]
    dopants: tuple[str, ...]
    dopant_share: float
    main: NDArray[np.bool_]
    main_element: str

    @property
    def n_kinds(self) -> int:
        """Number of classes."""
        return len(self.n_atoms)


def chemistry(ions: Sequence[Ion], species: NDArray[np.int64], params: FeatureSetParams) -> Chemistry:
    """Sort the species into classes that count alike.

    Raises
    ------
    ParameterError
        If a species is none of the ions, or the ratio names an element that no ion holds.
    """
    if len(species) and (int(species.max()) >= len(ions) or int(species.min()) < -1):
        raise ParameterError(
            f"species run from {int(species.min())} to {int(species.max())}; {len(ions)} ions are given, so they must "
            f"lie between -1 (unranged) and {len(ions) - 1}"
        )
    counts = np.bincount(species + 1, minlength=len(ions) + 1)[1:]
    total: dict[str, int] = {}
    for ion, count in zip(ions, counts, strict=True):
        for symbol, number in ion.elements:
            total[symbol] = total.get(symbol, 0) + number * int(count)
    ranked = sorted((s for s in total if total[s] > 0), key=lambda s: (-total[s], s))
    n_all = sum(total.values())
    dopants = tuple(s for s in ranked if 100 * total[s] < params.dopant_percent * n_all)
    elements = tuple(ranked[: params.max_elements])
    for symbol in _pair(elements, params):
        if symbol not in elements:
            raise ParameterError(f"the ratio {params.ratio!r} needs {symbol}; the elements are {', '.join(elements)}")
    rows = np.zeros((len(ions) + 1, len(elements) + 2))  # the last row is of the unranged
    for i, ion in enumerate(ions):
        held = dict(ion.elements)
        rows[i, : len(elements)] = [held.get(symbol, 0) for symbol in elements]
        rows[i, -2] = ion.n_atoms
        rows[i, -1] = any(symbol in dopants for symbol in held)
    present = np.append(counts > 0, True)
    classes, which = np.unique(-rows[present], axis=0, return_inverse=True)  # those without atoms come last
    of_species = np.zeros(len(ions) + 1, np.int32)
    of_species[present] = which.ravel()
    ranged = np.array([ion.n_atoms > 0 for ion in ions], np.bool_)
    n_ranged = int(counts[ranged].sum()) if len(ions) else 0
    n_doped = int(counts[rows[:-1, -1] > 0].sum()) if len(ions) else 0
    alone = [ion.elements[0][0] if ion.n_atoms == 1 else "" for ion in ions] + [""]
    n_alone = {s: int(sum(c for c, one in zip(counts, alone, strict=False) if one == s)) for s in ranked}
    main = max(ranked, key=lambda s: n_alone[s], default="")  # ties go to the more abundant
    return Chemistry(
        of_species[species],
        -classes[:, :-2],
        -classes[:, -2],
        -classes[:, -1],
        elements,
        dopants,
        n_doped / n_ranged if n_ranged else 0.0,
        np.array([one == main != "" for one in alone], np.bool_)[species],
        main,
    )


def columns(chem: Chemistry, radii: tuple[float, ...], params: FeatureSetParams) -> tuple[FeatureColumn, ...]:
    """Columns that `describe_composition` fills, in its order."""
    out: list[FeatureColumn] = []

    def add(name: str, unit: str, text: str, equation: str) -> None:
        out.append(FeatureColumn(name, "compositional", unit, text, equation))

    for r in radii:
        for e in chem.elements:
            add(
                f"fraction_{e}_r{r:g}",
                "",
                f"share of {e} among the atoms within {r:g} nm; missing where there is none",
                f"n_e / n, atoms of molecular ions counted one by one, the ion itself left out, r = {r:g} nm",
            )
    for r in radii[:-1]:
        for e in chem.elements:
            add(
                f"enrichment_{e}_r{r:g}",
                "sigma",
                f"evidence that ions with {e} are more (positive) or less frequent within {r:g} nm than in the rest of "
                f"the ball of {radii[-1]:g} nm; a standard normal variable where they are not",
                "signed root of G = 2 sum O ln(O / E) of the table {with, without} x {inside, outside} (McCullagh & "
                f"Nelder 1989, section 4.4.1), r = {r:g} nm",
            )
    for r in radii:
        for a, b in [_pair(chem.elements, params)] if len(_pair(chem.elements, params)) == 2 else []:
            add(
                f"log_ratio_{a}_{b}_r{r:g}",
                "",
                f"logarithm of the ratio {a} : {b} within {r:g} nm",
                "ln((n_a + 1/2) / (n_b + 1/2)) (Haldane 1956, doi 10.1111/j.1469-1809.1955.tb01285.x)",
            )
            add(
                f"log_ratio_error_{a}_{b}_r{r:g}",
                "",
                "its counting error",
                "sqrt(1 / (n_a + 1/2) + 1 / (n_b + 1/2)) (Gart & Zweifel 1967, doi 10.1093/biomet/54.1-2.181)",
            )
    at = f"r{params.context_nm:g}"
    names = ", ".join(chem.dopants) or "none"
    add(
        f"dopant_ions_{at}",
        "ions",
        f"ions with a dopant ({names}) within {params.context_nm:g} nm; missing where there is no dopant",
        f"k; dopants are elements below {params.dopant_percent:g} % of all atoms",
    )
    add(
        f"dopant_significance_{at}",
        "",
        "how unlikely so many of them are by chance; 2 means once in a hundred places",
        "-log10 P(K >= k), K binomial among the n ranged ions with their share in the specimen",
    )
    add(
        f"charge_ratio_{at}",
        "",
        f"share of 2+ and higher among the one-atom {chem.main_element} ions of known charge within "
        f"{params.context_nm:g} nm, a measure of the field; missing without charge states",
        "n(2+, 3+, ...) / n(1+, 2+, 3+, ...) (Kingham, Surf. Sci. 116, 273 (1982))",
    )
    add(
        f"multi_hit_share_{at}",
        "",
        f"share of ions that came with others in one pulse within {params.context_nm:g} nm; missing without pulse data",
        "n_multi / n",
    )
    return tuple(out)


def flags_of(
    chem: Chemistry, charge: NDArray[np.integer] | None, multi_hit: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """Bits of each ion, shape (N,), uint8."""
    flags = np.zeros(len(chem.kind), np.uint8)
    if charge is not None:
        flags[chem.main & (charge > 0)] |= CHARGE_KNOWN
        flags[chem.main & (charge > 1)] |= CHARGE_HIGH
    if multi_hit is not None:
        flags[multi_hit] |= MULTI_HIT
    return flags


def describe_composition(
    chem: Chemistry,
    counts: Sequence[NDArray[np.float64]],
    at_context: int,
    params: FeatureSetParams,
    *,
    has_charge: bool,
    has_multi: bool,
) -> NDArray[np.float32]:
    """Compositional features of a block of ions.

    Parameters
    ----------
    chem
        What the ions are made of.
    counts
        For each radius, ascending, counts of classes and flags, shape (B, n_kinds + N_FLAGS).
    at_context
        Index of the context radius.
    params
        The parameters.
    has_charge, has_multi
        Whether the flags were filled.

    Returns
    -------
    Shape (B, number of columns), float32.
    """
    k = chem.n_kinds
    ranged, holds = (chem.n_atoms > 0).astype(np.float64), (chem.atoms > 0).astype(np.float64)
    n_ions = [c[:, :k] @ ranged for c in counts]
    held = [c[:, :k] @ holds for c in counts]
    atoms = [c[:, :k] @ chem.atoms for c in counts]
    out: list[NDArray[np.float64]] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for c, a in zip(counts, atoms, strict=True):
            out.extend((a / (c[:, :k] @ chem.n_atoms)[:, None]).T)
        for inner, n_inner in zip(held[:-1], n_ions[:-1], strict=True):
            out.extend(contrast(inner.T, n_inner, np.maximum(held[-1] - inner, 0).T, n_ions[-1] - n_inner))
        pair = [chem.elements.index(symbol) for symbol in _pair(chem.elements, params)]
        for a in atoms if len(pair) == 2 else ():
            first, second = a[:, pair[0]] + _HALF, a[:, pair[1]] + _HALF
            out += [np.log(first / second), np.sqrt(1 / first + 1 / second)]
        around = counts[at_context]
        missing = np.full(len(around), np.nan)
        doped = around[:, :k] @ chem.dopant
        out += [doped, chance(doped, n_ions[at_context], chem.dopant_share)] if chem.dopants else [missing, missing]
        out.append(around[:, k + 1] / around[:, k] if has_charge else missing)
        out.append(around[:, k + 2] / around[:, :k].sum(axis=1) if has_multi else missing)
    return np.stack(out, axis=1).astype(np.float32)


def contrast(
    k1: NDArray[np.float64], n1: NDArray[np.float64], k2: NDArray[np.float64], n2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed root deviance of two binomial counts, k1 of n1 against k2 of n2; NaN where either n is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        k1, k2 = np.minimum(k1, n1), np.minimum(k2, n2)
        p = (k1 + k2) / (n1 + n2)
        total = special.rel_entr(k1, n1 * p) + special.rel_entr(k2, n2 * p)
        total += special.rel_entr(n1 - k1, n1 * (1 - p)) + special.rel_entr(n2 - k2, n2 * (1 - p))
        out = np.sign(k1 * n2 - k2 * n1) * np.sqrt(np.maximum(2 * total, 0.0))
    return np.where((n1 > 0) & (n2 > 0), out, np.nan)


def chance(k: NDArray[np.float64], n: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """-log10 of the probability of k or more of n by chance; 0 for k = 0, at most 300."""
    p = np.where(k > 0, special.betainc(np.maximum(k, 1e-9), np.maximum(n - k + 1, 1e-9), share), 1.0)
    return np.asarray(np.clip(-np.log10(np.maximum(p, 10.0**-_CERTAIN)), 0.0, _CERTAIN), np.float64)


def _pair(elements: tuple[str, ...], params: FeatureSetParams) -> tuple[str, ...]:
    return tuple(params.ratio.split("/")) if params.ratio else elements[:2] if len(elements) > 1 else ()
