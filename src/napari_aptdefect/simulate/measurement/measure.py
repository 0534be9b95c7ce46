"""The measurement: atoms in, ions out, one step after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.simulate.atoms import Atoms, Lens
from napari_aptdefect.simulate.measurement import detector, positions, spectrum
from napari_aptdefect.simulate.measurement.evaporation import evaporation_depth, pulses, sagitta
from napari_aptdefect.simulate.measurement.ionization import Chemistry, Draws, Ions, ionize
from napari_aptdefect.simulate.measurement.measured import Measured
from napari_aptdefect.simulate.measurement.params import Measurement
from napari_aptdefect.stage import Progress, Stage

_STREAMS: Final = (
    "loss", "molecules", "charge", "efficiency", "order", "pulses", "isotopes", "peaks", "blur", "background", "gaps",
)  # fmt: skip
_ATOM_VOLUME_NM3: Final = 0.011416  # of GaN, a = 0.3189 nm, c = 0.5185 nm
_N_STEPS: Final = 6
_CHAIN: Final = 4  # an ion that follows others leaves up to some correlation lengths below the first

_Columns = dict[str, NDArray[Any]]
"""Columns of the ions by name; each is replaced or dropped as the steps go on, so that few exist at a time."""


def measure(
    atoms: Atoms,
    lenses: Sequence[Lens],
    radius_nm: float,
    model: Measurement,
    rng: np.random.Generator,
    rotation: NDArray[np.float64] | None = None,
) -> Stage[Measured]:
    """Measure a specimen with a simulated atom probe.

    Parameters
    ----------
    atoms
        The specimen, in the instrument's frame.
    lenses
        Defects that bend trajectories.
    radius_nm
        Radius of the wire around the axis of the instrument, nm.
    model
        The measurement.
    rng
        Source of everything random; the same state gives the same ions bit for bit. Every step draws from a stream of
        its own, so a step that is switched off leaves the random numbers of the others as they are.
    rotation
        Turns the frame of the crystal into the instrument's, shape (3, 3), for the poles; the same if not given.

    Yields
    ------
    Progress over the steps.

    Returns
    -------
    The measured ions.

    Raises
    ------
    ParameterError
        If the radius is not positive, atoms lie beside the apex, or an element is not known.
    EmptySelectionError
        If there are no atoms, or no ion is detected.

    Notes
    -----
    `docs/measurement.md` gives the equations, their sources, and what is not modeled. Memory peaks near 65 bytes per
    atom, the result included.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> xyz = np.random.default_rng(0).uniform(-5, 5, (1000, 3)).astype(np.float32)
    >>> zeros = np.zeros(1000, np.int8)
    >>> atoms = Atoms(xyz, np.repeat(np.int8([0, 1]), 500), zeros, zeros.astype(np.int32), ("Ga", "N"))
    >>> ions = drain(measure(atoms, (), 5.0, Measurement.at_level(0), np.random.default_rng(1)))
    >>> len(ions), ions.species_names
    (1000, ('Ga', 'N', 'background'))
    """
    if not radius_nm > 0:
        raise ParameterError(f"the radius of the wire must be above 0 nm, got {radius_nm}")
    seeds = rng.integers(2**63, size=len(_STREAMS))
    streams = {name: np.random.default_rng(int(seed)) for name, seed in zip(_STREAMS, seeds, strict=True)}
    chemistry = Chemistry(atoms, model)
    draws = Draws(*(streams[name] for name in _STREAMS[:4]))
    ions = yield from ionize(atoms, radius_nm, chemistry, draws, n_steps=_N_STEPS)
    yield Progress(1, _N_STEPS, "order of evaporation")
    hits = _arrivals(atoms, ions, radius_nm, model, streams)
    counts = {"atoms": len(atoms), **ions.counts, "undetected": len(ions.atom_idx) - len(hits["event"])}
    del ions
    yield Progress(2, _N_STEPS, "trajectories")
    _fly(hits, atoms, lenses, radius_nm, model, streams["blur"], rotation)
    yield Progress(3, _N_STEPS, "times of flight")
    _time(hits, chemistry, streams)
    counts["hidden"] = _hide(hits, model)
    if not len(hits["event"]):
        raise EmptySelectionError("no ion was detected; raise the efficiency or measure more atoms")
    yield Progress(4, _N_STEPS, "reconstruction")
    _place(hits, radius_nm, model)
    yield Progress(5, _N_STEPS, "background")
    counts["background"] = _add_background(hits, len(chemistry.kinds), model, streams["background"])
    counts["ions"] = len(hits["event"])
    yield Progress(_N_STEPS, _N_STEPS, "pulses")
    return _finish(hits, chemistry, counts, streams["gaps"])


def _arrivals(
    atoms: Atoms, ions: Ions, radius_nm: float, model: Measurement, streams: dict[str, np.random.Generator]
) -> _Columns:
    """Columns of the ions that the detector sees, pulse by pulse."""
    depth = evaporation_depth(atoms.xyz_nm, ions.atom_idx, radius_nm, model, streams["order"])
    order = np.argsort(depth, kind="stable").astype(np.int32)
    depth = depth[order]
    first = pulses(atoms.xyz_nm[ions.atom_idx[order], :2], depth, model, streams["pulses"])
    seen = np.flatnonzero(ions.seen[order])
    seen = seen[np.argsort(first[seen], kind="stable")]
    order, first = order[seen], first[seen]
    depth = depth[first]
    event = np.cumsum(np.diff(first, prepend=first[:1]) != 0, dtype=np.int32)
    return {
        "event": event,
        "depth": depth,
        "atom_idx": ions.atom_idx[order],
        "species": ions.species[order],
        "charge": ions.charge[order],
        "apex": detector.apex_radius_nm(depth, radius_nm, model),
        "voltage": detector.standing_voltage(depth, radius_nm, model),
    }


def _fly(
    hits: _Columns,
    atoms: Atoms,
    lenses: Sequence[Lens],
    radius_nm: float,
    model: Measurement,
    rng: np.random.Generator,
    rotation: NDArray[np.float64] | None,
) -> None:
    """Add ``blurred`` and ``shift``, where trajectories put the ions, and ``hit`` on the detector."""
    xyz = atoms.xyz_nm[hits["atom_idx"]]
    shift = np.zeros((len(xyz), 2), np.float32)
    if model.does("magnification"):
        farthest = float(np.einsum("ij,ij->i", xyz[:, :2], xyz[:, :2]).max(initial=0.0))
        sag = float(sagitta(np.array([farthest]), model.apex_ratio * radius_nm)[0])
        spread = 5 * model.roughness_nm + _CHAIN * model.correlation_nm
        positions.bend(xyz, hits["depth"], lenses, model.magnification, spread, sag, shift)
    if model.does("poles"):
        positions.deplete_poles(xyz[:, :2], hits["apex"], model, shift, rotation)
    if model.does("blur"):
        positions.blur(xyz, model, rng)
    hits["blurred"], hits["shift"] = xyz, shift
    hit = np.empty_like(shift)
    for rows in positions.chunks(len(hit)):
        hit[rows] = detector.project(xyz[rows, :2] + shift[rows], hits["apex"][rows], model)
    hits["hit"] = hit


def _time(hits: _Columns, chemistry: Chemistry, streams: dict[str, np.random.Generator]) -> None:
    """Add ``mass`` and ``tof``, and sort the ions of each pulse by their time of flight."""
    model = chemistry.model
    mass = spectrum.exact_masses(chemistry.kinds, hits["species"], hits.pop("charge"), streams["isotopes"])
    if model.does("peak_shape"):
        tail = model.tail_percent / 100
        spectrum.blur_masses(mass, model.resolving_power, tail, model.tail_fwhm, streams["peaks"])
    volts = hits["voltage"] * np.float32(1 + model.pulse_percent / 100)
    hits["mass"], hits["tof"] = mass, detector.time_of_flight(mass, volts, hits["hit"], model)
    several = _in_company(hits["event"])
    sorted_rows = several[np.lexsort((hits["tof"][several], hits["event"][several]))]
    for column in hits.values():
        column[several] = column[sorted_rows]


def _in_company(event: NDArray[np.int32]) -> NDArray[np.intp]:
    """Rows of the ions that share their pulse with others."""
    same = event[1:] == event[:-1]
    several = np.zeros(len(event), np.bool_)
    several[1:] = same
    several[:-1] |= same
    return np.flatnonzero(several)


def _hide(hits: _Columns, model: Measurement) -> int:
    """Drop the hits in the dead zone of others; return how many."""
    if not model.does("dead_zone"):
        return 0
    rows = _in_company(hits["event"])
    event, tof, hit = (hits[name][rows] for name in ("event", "tof", "hit"))
    lost = rows[detector.hidden_hits(event, tof, hit, model.dead_time_ns, model.dead_distance_mm)]
    if len(lost):
        keep = np.ones(len(hits["event"]), np.bool_)
        keep[lost] = False
        for name in tuple(hits):
            hits[name] = hits[name][keep]
    return len(lost)


def _place(hits: _Columns, radius_nm: float, model: Measurement) -> None:
    """Add ``xyz``, the reconstructed positions."""
    xyz = hits["blurred"].copy()
    xyz[:, :2] += hits.pop("shift")
    if model.does("reconstruction"):
        positions.reconstruct(xyz, hits["depth"], hits["apex"], radius_nm, model)
    hits["pulse"] = hits["voltage"] * np.float32(model.pulse_percent / 100)
    hits["xyz"] = xyz


def _add_background(hits: _Columns, code: int, model: Measurement, rng: np.random.Generator) -> int:
    """Mix in events from no atom, each a pulse of its own; add ``noise``, which marks them; return how many.

    A background event comes at any time and anywhere in the image: its place across the axis is that of a random ion,
    its depth that of the apex at its time.
    """
    n_ions = len(hits["event"])
    share = model.background_percent / 100 if model.does("background") else 0.0
    n = int(rng.binomial(n_ions, share))
    first, _ = detector.multiplicity(hits["event"])
    before = np.sort(rng.choice(np.flatnonzero(first), n))
    place = rng.integers(n_ions, size=n)
    deeper = hits["depth"][before] - hits["depth"][place]
    new = {name: hits[name][before] for name in ("atom_idx", "voltage", "pulse", "apex", "depth")}
    new |= {name: hits[name][place] for name in ("hit", "xyz", "blurred")}
    new["xyz"][:, 2] += deeper
    new["blurred"][:, 2] += deeper
    new["species"] = np.full(n, code, np.int8)
    new["mass"] = spectrum.background_masses(n, rng)
    new["first"] = np.ones(n, np.bool_)
    volts = new["voltage"] + new["pulse"]
    new["tof"] = detector.time_of_flight(new["mass"], volts, new["hit"], model)
    del hits["event"], hits["apex"], hits["depth"]
    hits["first"] = first
    noise = np.zeros(n_ions + n, np.bool_)
    noise[before + np.arange(n)] = True
    ions = np.flatnonzero(~noise)
    for name in tuple(hits):
        mixed = np.empty((n_ions + n, *hits[name].shape[1:]), hits[name].dtype)
        mixed[ions] = hits.pop(name)
        mixed[noise] = new[name]
        hits[name] = mixed
    hits["event"] = np.cumsum(hits.pop("first"), dtype=np.int32)
    hits["noise"] = noise
    return n


def _finish(hits: _Columns, chemistry: Chemistry, counts: dict[str, int], rng: np.random.Generator) -> Measured:
    model = chemistry.model
    first, ions_per_pulse = detector.multiplicity(hits["event"])
    gaps = np.zeros(len(first), np.uint32)
    gaps[first] = rng.geometric(model.detection_rate_percent / 100, int(first.sum()))
    column = {name: read_only(values) for name, values in hits.items()}
    return Measured(
        atom_idx=column["atom_idx"],
        is_background=column["noise"],
        species=column["species"],
        species_names=chemistry.species_names,
        xyz_nm=column["xyz"],
        blurred_nm=column["blurred"],
        mass_da=column["mass"],
        tof_ns=column["tof"],
        voltage_v=column["voltage"],
        pulse_v=column["pulse"],
        detector_mm=column["hit"],
        pulses_since_last=read_only(gaps),
        ions_per_pulse=read_only(ions_per_pulse),
        ranges=spectrum.fitting_ranges(chemistry.kinds, model.resolving_power, _ATOM_VOLUME_NM3),
        counts=counts,
    )
