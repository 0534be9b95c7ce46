"""From atoms to ions: the local field, neutral losses, molecular ions and charge states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.simulate.atoms import Atoms
from napari_aptdefect.simulate.measurement.params import Measurement
from napari_aptdefect.simulate.measurement.spectrum import IonKind
from napari_aptdefect.stage import Progress, Stage

_CHUNK: Final = 1 << 18
_GA, _N = 0, 1
_LOST: Final = -1


@dataclass(frozen=True, eq=False)
class Ions:
    """Ions that leave the specimen, in the order of their atoms.

    Parameters
    ----------
    atom_idx
        Shape (N,), int32, row of the atom at whose place the ion leaves.
    species
        Shape (N,), int8, index in the kinds of ions.
    charge
        Shape (N,), int8.
    seen
        Shape (N,), bool, whether the detector answers to the ion when nothing else hits it.
    counts
        How many atoms gave no ion, by reason.
    """

    atom_idx: NDArray[np.int32]
    species: NDArray[np.int8]
    charge: NDArray[np.int8]
    seen: NDArray[np.bool_]
    counts: dict[str, int]


def local_field(xyz_nm: NDArray[np.floating], radius_nm: float, model: Measurement) -> NDArray[np.float32]:
    """Field at which atoms evaporate, V/nm.

    Parameters
    ----------
    xyz_nm
        Places of the atoms, shape (N, 3), nm, in the instrument's frame.
    radius_nm
        Radius of the wire, nm.
    model
        The measurement.

    Returns
    -------
    Shape (N,), float32.

    Notes
    -----
    F = F0 + A (x cos a + y sin a) / R + D z / 100 nm: a laser heats one side more than the other, and its effect drifts
    while the apex grows blunt. The form is the simplest smooth one, the amplitudes are parameters.
    """
    if not model.does("field"):
        return np.full(len(xyz_nm), model.field_v_per_nm, np.float32)
    angle = math.radians(model.field_direction_deg)
    slope = model.field_lateral_v_per_nm / radius_nm
    out = np.full(len(xyz_nm), model.field_v_per_nm, np.float32)
    out += np.float32(slope * math.cos(angle)) * xyz_nm[:, 0]
    out += np.float32(slope * math.sin(angle)) * xyz_nm[:, 1]
    out += np.float32(model.field_drift_v_per_nm / 100) * xyz_nm[:, 2]
    return out


def double_share(field_v_per_nm: Any, equal_v_per_nm: float, model: Measurement) -> Any:
    """Share of an element's ions with two charges, 1 / (1 + 1 / CSR) with ln CSR = b (F - F_eq)."""
    return expit(model.csr_slope_nm_per_v * (field_v_per_nm - equal_v_per_nm))


def loss_share(element: str, field_v_per_nm: Any, model: Measurement) -> Any:
    """Share of the Ga or N atoms that the detector never gets: neutral N at low, Ga between pulses at high field.

    Notes
    -----
    a_N s((F1 - F) / w) and a_Ga s((F - F2) / w), s the logistic function. That N is lost at low and Ga at high field,
    and that the field decides, is from E. Di Russo et al., Ultramicroscopy 187 (2018); the form is a convention.
    """
    if element == "N":
        return (
            model.n_loss_percent
            / 100
            * expit((model.n_loss_field_v_per_nm - field_v_per_nm) / model.loss_width_v_per_nm)
        )
    return (
        model.ga_loss_percent / 100 * expit((field_v_per_nm - model.ga_loss_field_v_per_nm) / model.loss_width_v_per_nm)
    )


class Chemistry:
    """Which kinds of ions a specimen gives, and with which expected shares.

    Parameters
    ----------
    atoms
        The specimen.
    model
        The measurement.

    Raises
    ------
    ParameterError
        If the first two elements are not Ga and N, or the charge states of an element are not known.
    EmptySelectionError
        If there are no atoms.
    """

    def __init__(self, atoms: Atoms, model: Measurement) -> None:
        if atoms.elements[:2] != ("Ga", "N"):
            raise ParameterError(f"the first two elements must be Ga and N, got {atoms.elements[:2]}")
        if not len(atoms):
            raise EmptySelectionError("there are no atoms to measure")
        self.model = model
        self.equal_v_per_nm = [_equal_field(symbol, model) for symbol in atoms.elements]
        counts = np.bincount(atoms.element, minlength=len(atoms.elements))
        molecules = model.does("molecules")
        self.dimer = model.dimer_percent / 100 if molecules else 0.0
        self.trimer = model.trimer_percent / 100 if molecules else 0.0
        self.gan3 = model.gan3_percent / 100 if molecules else 0.0
        self.kinds = self._kinds(atoms.elements, counts / len(atoms))
        names = [kind.name for kind in self.kinds]
        self.code_of_element = np.array([names.index(symbol) for symbol in atoms.elements], np.int8)
        self.codes = {name: code for code, name in enumerate(names)}

    @property
    def species_names(self) -> tuple[str, ...]:
        """Names of the kinds of ions, and of background last."""
        return (*(kind.name for kind in self.kinds), "background")

    def _kinds(self, elements: tuple[str, ...], share: NDArray[np.float64]) -> tuple[IonKind, ...]:
        model, double = self.model, self.model.does("charge_states")
        amount = share.copy()
        if model.does("loss"):
            for code in (_GA, _N):
                amount[code] *= 1 - float(loss_share(elements[code], model.field_v_per_nm, model))
        n = amount[_N]

        def kind(name: str, parts: tuple[tuple[str, int], ...], abundance: float, two: float) -> IonKind:
            two = two if double else 0.0
            return IonKind(name, parts, abundance, (1 - two, two))

        single = [
            kind(
                symbol,
                ((symbol, 1),),
                amount[i],
                0.0 if i == _N else float(double_share(model.field_v_per_nm, self.equal_v_per_nm[i], model)),
            )
            for i, symbol in enumerate(elements)
        ]
        molecular = [
            kind("N2", (("N", 2),), n * self.dimer / 2, model.dimer_double_percent / 100),
            kind("N3", (("N", 3),), n * self.trimer / 3, 0.0),
            kind("GaN3", (("Ga", 1), ("N", 3)), amount[_GA] * self.gan3, 1.0),
        ]
        n2, *others = (item if used else None for item, used in zip(molecular, self._used(), strict=True))
        ordered = [*single[:2], n2, *single[2:], *others]
        return tuple(item for item in ordered if item is not None)

    def _used(self) -> tuple[bool, bool, bool]:
        return self.dimer > 0, self.trimer > 0, self.gan3 > 0


def _equal_field(symbol: str, model: Measurement) -> float:
    """Field with as many doubly as singly charged ions; N keeps one charge at every field that GaN stands."""
    known = {
        "Ga": model.ga_equal_v_per_nm, "N": math.inf, "Mg": model.mg_equal_v_per_nm, "Al": model.al_equal_v_per_nm,
        "In": model.in_equal_v_per_nm, "Si": model.si_equal_v_per_nm,
    }  # fmt: skip
    if symbol not in known:
        raise ParameterError(f"no charge states are known for {symbol!r}; known are {', '.join(known)}")
    return known[symbol]


@dataclass(frozen=True, eq=False)
class Draws:
    """Random streams of the steps that decide about single atoms, so that no step disturbs another."""

    loss: np.random.Generator
    molecules: np.random.Generator
    charge: np.random.Generator
    efficiency: np.random.Generator


def ionize(atoms: Atoms, radius_nm: float, chemistry: Chemistry, draws: Draws, n_steps: int = 1) -> Stage[Ions]:
    """Decide for every atom whether it leaves as an ion, as which one, and whether the detector would see it.

    Parameters
    ----------
    atoms
        The specimen.
    radius_nm
        Radius of the wire, nm.
    chemistry
        Kinds of ions and their shares.
    draws
        Random streams.
    n_steps
        Steps of the measurement, of which this one is the first.

    Yields
    ------
    Progress over the atoms.

    Returns
    -------
    The ions.

    Notes
    -----
    A molecular ion leaves at the place of one of its atoms, chosen at random; its other atoms leave no ion. Atoms are
    paired in number only: that the N of a molecule were neighbors does not matter at the resolution of an atom probe.
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    counts = dict.fromkeys(("lost_ga", "lost_n", "in_molecules"), 0)
    for rows in _chunks(len(atoms)):
        yield Progress(rows.start / len(atoms), n_steps, "field evaporation")
        field = local_field(atoms.xyz_nm[rows], radius_nm, chemistry.model)
        element = atoms.element[rows]
        species = chemistry.code_of_element[element]
        _lose(species, element, field, chemistry, draws.loss, counts)
        _bind(species, element, chemistry, draws.molecules, counts)
        charge = _charges(species, element, field, chemistry, draws.charge)
        seen = draws.efficiency.random(len(species), dtype=np.float32) < _efficiency(chemistry.model)
        kept = np.flatnonzero(species != _LOST)
        parts.append(((kept + rows.start).astype(np.int32), species[kept], charge[kept], seen[kept]))
    columns = [_joined(parts, i) for i in range(4)]
    return Ions(columns[0], columns[1], columns[2], columns[3], counts)


def _joined(parts: list[tuple[NDArray[Any], ...]], i: int) -> NDArray[Any]:
    return np.concatenate([part[i] for part in parts])


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def _efficiency(model: Measurement) -> float:
    return model.efficiency if model.does("efficiency") else 1.0


def _lose(
    species: NDArray[np.int8],
    element: NDArray[np.int8],
    field: NDArray[np.float32],
    chemistry: Chemistry,
    rng: np.random.Generator,
    counts: dict[str, int],
) -> None:
    if not chemistry.model.does("loss"):
        return
    draw = rng.random(len(species), dtype=np.float32)
    for code, symbol, key in ((_GA, "Ga", "lost_ga"), (_N, "N", "lost_n")):
        rows = np.flatnonzero(element == code)
        lost = rows[draw[rows] < loss_share(symbol, field[rows], chemistry.model)]
        species[lost] = _LOST
        counts[key] += len(lost)


def _bind(
    species: NDArray[np.int8],
    element: NDArray[np.int8],
    chemistry: Chemistry,
    rng: np.random.Generator,
    counts: dict[str, int],
) -> None:
    """Turn atoms into molecular ions and take the other atoms of the molecules away."""
    if not chemistry.model.does("molecules"):
        return
    draw = rng.random(len(species), dtype=np.float32)
    ga, n = (np.flatnonzero((element == code) & (species != _LOST)) for code in (_GA, _N))
    if not len(n):
        return
    pairs, threes = chemistry.dimer, chemistry.trimer
    share = min(chemistry.gan3, (1 - pairs - threes) * len(n) / (3 * max(len(ga), 1)))  # as far as the N goes
    bound = ga[draw[ga] < share]
    taken = 3 * len(bound) / len(n)
    # thresholds on one draw: in GaN3, N2 or its other atom, N3 or its other two atoms, N
    limits = np.cumsum([taken, pairs / 2, pairs / 2, threes / 3, 2 * threes / 3])
    role = np.searchsorted(limits.astype(np.float32), draw[n], side="right")
    codes = chemistry.codes
    outcome = np.array([_LOST, codes.get("N2", _LOST), _LOST, codes.get("N3", _LOST), _LOST, codes["N"]], species.dtype)
    if len(bound):
        species[bound] = codes["GaN3"]
    species[n] = outcome[role]
    counts["in_molecules"] += int(np.count_nonzero(species[n] == _LOST))


def _charges(
    species: NDArray[np.int8],
    element: NDArray[np.int8],
    field: NDArray[np.float32],
    chemistry: Chemistry,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    charge = np.ones(len(species), np.int8)
    model = chemistry.model
    if not model.does("charge_states"):
        return charge
    draw = rng.random(len(species), dtype=np.float32)
    molecular = {"N2": model.dimer_double_percent / 100, "GaN3": 1.0}
    for name, share in molecular.items():
        if name in chemistry.codes:
            rows = np.flatnonzero(species == chemistry.codes[name])
            charge[rows[draw[rows] < share]] = 2
    for code, equal in enumerate(chemistry.equal_v_per_nm):
        if code == _N:
            continue
        rows = np.flatnonzero((element == code) & (species == chemistry.code_of_element[code]))
        charge[rows[draw[rows] < double_share(field[rows], equal, model)]] = 2
    return charge
