"""A GaN nanowire with known defects, as an atom probe would see it: the built-in sample and the first ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.data import DEFECT_CLASSES, IonCloud
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_defects import DefectPlan, DefectTruth, plan_defects
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.instrument import background_masses
from napari_aptdefect.simulate.simulated import SUBLATTICES, SimulatedCloud, write_simulated
from napari_aptdefect.stage import Progress, Stage

__all__ = [
    "SUBLATTICES",
    "DefectTruth",
    "GanNanowireParams",
    "SimulatedCloud",
    "simulate_gan_nanowire",
    "write_simulated",
]

_ATOMS_PER_SLAB: Final = 400_000
_MAX_ATOMS: Final = 60_000_000
_GA, _N, _SOLUTE, _N2, _NOISE = range(5)
_SPLIT_NM: Final = 0.135  # N-N distance of the split interstitial, to be read as "beside an N atom"
_EVAPORATION_NM: Final = 0.2  # the surface that evaporates at one time is about an atomic layer thick


@dataclass(frozen=True)
class _Atoms:
    """Atoms of a slab, or ions: parallel arrays."""

    xyz: NDArray[np.float64]
    layer: NDArray[np.int32]
    sublattice: NDArray[np.int8]
    species: NDArray[np.int8]
    instance: NDArray[np.int32]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> _Atoms:
        return _Atoms(self.xyz[rows], self.layer[rows], self.sublattice[rows], self.species[rows], self.instance[rows])


def simulate_gan_nanowire(params: GanNanowireParams | None = None, seed: int = 0) -> Stage[SimulatedCloud]:
    """Simulate an atom probe measurement of a GaN nanowire with known defects.

    Parameters
    ----------
    params
        The wire, its defects and the measurement.
    seed
        Seed; the same parameters and seed give the same cloud bit for bit.

    Yields
    ------
    Progress over the slabs of the wire, from the free end down.

    Raises
    ------
    ParameterError
        If the defects don't fit into the wire, or the wire is too large.
    EmptySelectionError
        If no ion is detected.

    Notes
    -----
    Wurtzite GaN with a = 0.3189 nm, c = 0.5185 nm, u = 0.377: 87.59 atoms/nm³. An atom is detected with the efficiency
    of the instrument, independently of the others; its position is blurred by a Gaussian, wider across the axis than
    along it. The share of N that leaves in pairs gives half as many N2+ ions, each at the place of one of its atoms.
    Single vacancies and interstitials are there as negative controls: no analysis can find them at levels 1 to 3.

    Memory is bounded by one slab and the result, about 60 bytes per ion.

    References
    ----------
    B. Gault et al., "Spatial resolution in atom probe tomography" (2010), arXiv:1510.02893.
    E. Di Russo et al., composition bias of atom probe tomography of GaN, Ultramicroscopy 187 (2018).

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> wire = GanNanowireParams(radius_nm=4, length_nm=10, n_clusters=1, n_voids=0)
    >>> simulated = drain(simulate_gan_nanowire(wire, seed=1))
    >>> [defect.kind for defect in simulated.defects[:3]]
    ['Mg-rich cluster', 'screw dislocation', 'I1']
    """
    params = params or GanNanowireParams()
    volume = gan.hexagon_area_nm2(params.radius_nm) * params.length_nm
    if (n_atoms := volume * gan.ATOMS_PER_NM3) > _MAX_ATOMS:
        raise ParameterError(f"a wire of {n_atoms:.2g} atoms is larger than {_MAX_ATOMS:.0g}; make it smaller")
    _check_excess(params)
    rng = np.random.default_rng(seed)
    net = gan.lateral_net(params.radius_nm * 2 / np.sqrt(3) + 1.0)
    plan = plan_defects(params, net, rng)
    per_layer = 2 * gan.GA_PER_LAYER_NM2 * gan.hexagon_area_nm2(params.radius_nm)
    layers_per_slab = max(1, int(_ATOMS_PER_SLAB / per_layer))
    first, last = -3, int(params.length_nm / gan.BILAYER_NM) + 4  # displacements carry some layers over the ends
    starts = range(first, last, layers_per_slab)
    counts = _Counts(len(plan.defects) + 1)
    slabs: list[tuple[_Atoms, NDArray[np.float32], NDArray[np.float32]]] = []
    for done, start in enumerate(starts):
        yield Progress(done, len(starts), f"bilayers {max(start, 0)} of {last}")
        atoms = _slab(params, plan, net, range(start, min(start + layers_per_slab, last)), counts, rng)
        if len(atoms.xyz):
            slabs.append(_measure(params, atoms, rng))
    yield Progress(len(starts), len(starts), "joining the slabs")
    return _join(params, plan, slabs, counts, seed)


class _Counts:
    """Sites and solute atoms of each instance, summed over the slabs."""

    def __init__(self, n: int) -> None:
        self.sites = np.zeros(n, np.int64)
        self.solute = np.zeros(n, np.int64)

    def add(self, instance: NDArray[np.int32], solute: NDArray[np.bool_]) -> None:
        self.sites += np.bincount(instance, minlength=len(self.sites))
        self.solute += np.bincount(instance[solute], minlength=len(self.solute))


def _check_excess(params: GanNanowireParams) -> None:
    for what, percent in (
        ("dislocation_excess_per_nm", _line_share(params) * 100),
        ("stacking_fault_excess_per_nm2", _plane_share(params) * 100),
    ):
        if percent + params.solute_percent > 100:
            raise ParameterError(
                f"{what} = {getattr(params, what):g} asks for solute on {percent:.0f} % of the Ga sites of the defect "
                f"besides {params.solute_percent:g} % everywhere; lower it or widen the defect"
            )


def _line_share(params: GanNanowireParams) -> float:
    ga_per_nm = math.pi * params.dislocation_radius_nm**2 * gan.ATOMS_PER_NM3 / 2
    return params.dislocation_excess_per_nm / ga_per_nm


def _plane_share(params: GanNanowireParams) -> float:
    return params.stacking_fault_excess_per_nm2 / (2 * gan.GA_PER_LAYER_NM2)


def _slab(
    params: GanNanowireParams,
    plan: DefectPlan,
    net: NDArray[np.float64],
    layers: range,
    counts: _Counts,
    rng: np.random.Generator,
) -> _Atoms:
    """Atoms of some bilayers with their defects, before detection."""
    places = gan.stacking(len(layers), layers.start, plan.fault_layers)
    sites = np.concatenate(
        [gan.layer_sites(net, layer, place).reshape(-1, 3) for layer, place in zip(layers, places, strict=True)]
    )
    n_net = len(net)
    layer = np.repeat(np.arange(layers.start, layers.stop, dtype=np.int32), 2 * n_net)
    sublattice = np.tile(np.repeat(np.array([0, 1], np.int8), n_net), len(layers))
    xyz = plan.displaced(sites)
    instance = plan.label(xyz, layer)
    extra: list[tuple[int, int]] = []
    for number, site in plan.points.items():
        if site.layer in layers:
            row = (site.layer - layers.start) * 2 * n_net + site.sublattice * n_net + site.net_idx
            if site.sublattice == 0:
                instance[row] = number
            else:
                extra.append((number, row))
    atoms = _Atoms(xyz, layer, sublattice, sublattice.copy(), instance)
    if extra:
        atoms = _with_interstitials(atoms, extra, rng)
    atoms = atoms[gan.in_prism(atoms.xyz, params.radius_nm, params.length_nm)]
    code = _class_codes(plan)[atoms.instance]
    on_ga = atoms.sublattice == 0
    share = _solute_share(params)[code]
    solute = on_ga & (rng.random(len(code)) < share)
    empty = np.isin(code, [DEFECT_CLASSES.index("void"), DEFECT_CLASSES.index("vacancy")])
    solute &= ~empty
    counts.add(atoms.instance, solute)
    atoms.species[solute] = _SOLUTE
    return atoms[~empty]


def _class_codes(plan: DefectPlan) -> NDArray[np.int8]:
    return np.array([0, *(defect.code for defect in plan.defects)], np.int8)


def _solute_share(params: GanNanowireParams) -> NDArray[np.float64]:
    """Probability of solute on a Ga site, by defect class; shape (number of classes,)."""
    base = params.solute_percent / 100
    share = np.full(len(DEFECT_CLASSES), base)
    share[DEFECT_CLASSES.index("solute_cluster")] = max(params.cluster_percent / 100, base)
    share[DEFECT_CLASSES.index("dislocation")] = base + _line_share(params)
    share[DEFECT_CLASSES.index("stacking_fault")] = base + _plane_share(params)
    return share


def _with_interstitials(atoms: _Atoms, extra: list[tuple[int, int]], rng: np.random.Generator) -> _Atoms:
    numbers, rows = (np.array(column) for column in zip(*extra, strict=True))
    toward = rng.normal(size=(len(rows), 3))
    toward *= _SPLIT_NM / np.linalg.norm(toward, axis=1, keepdims=True)
    return _Atoms(
        np.concatenate([atoms.xyz, atoms.xyz[rows] + toward]),
        np.concatenate([atoms.layer, atoms.layer[rows]]),
        np.concatenate([atoms.sublattice, np.full(len(rows), SUBLATTICES.index("interstitial"), np.int8)]),
        np.concatenate([atoms.species, np.full(len(rows), _N, np.int8)]),
        np.concatenate([atoms.instance, numbers.astype(np.int32)]),
    )


def _measure(
    params: GanNanowireParams, atoms: _Atoms, rng: np.random.Generator
) -> tuple[_Atoms, NDArray[np.float32], NDArray[np.float32]]:
    """Detected ions of a slab in the order of evaporation, their measured positions (N, 3) and masses (N,)."""
    efficiency, lateral, depth = params.measurement
    nitrogen = atoms.species == _N
    pair = nitrogen & (rng.random(len(nitrogen)) < params.nitrogen_dimer_percent / 100)
    atoms.species[pair] = _N2
    chance = np.full(len(nitrogen), efficiency)
    chance[nitrogen] *= 1 - params.nitrogen_loss_percent / 100
    chance[pair] /= 2  # two atoms, one ion
    atoms = atoms[rng.random(len(chance)) < chance]
    atoms = atoms[np.argsort(atoms.xyz[:, 2] + rng.normal(0.0, _EVAPORATION_NM, len(atoms.xyz)), kind="stable")]
    n_noise = int(rng.binomial(len(atoms.xyz), params.background_percent / 100))
    mass = params.spectrometer.measure(atoms.species, rng)
    if n_noise:
        atoms, mass = _with_noise(atoms, mass, n_noise, rng)
    measured = atoms.xyz + rng.normal(0.0, 1.0, atoms.xyz.shape) * (lateral, lateral, depth)
    return atoms, measured.astype(np.float32), mass


def _with_noise(
    atoms: _Atoms, mass: NDArray[np.float32], n: int, rng: np.random.Generator
) -> tuple[_Atoms, NDArray[np.float32]]:
    """Mix in background events: they come at any time, so each takes the place of some ion that is kept as well."""
    near = rng.integers(len(atoms.xyz), size=n)
    order = np.argsort(np.concatenate([np.arange(len(mass)), near + 0.5]), kind="stable")
    mixed = _Atoms(
        np.concatenate([atoms.xyz, atoms.xyz[near]]),
        np.concatenate([atoms.layer, atoms.layer[near]]),
        np.concatenate([atoms.sublattice, np.full(n, SUBLATTICES.index("none"), np.int8)]),
        np.concatenate([atoms.species, np.full(n, _NOISE, np.int8)]),
        np.concatenate([atoms.instance, np.zeros(n, np.int32)]),
    )
    return mixed[order], np.concatenate([mass, background_masses(n, rng)])[order]


def _join(
    params: GanNanowireParams,
    plan: DefectPlan,
    slabs: list[tuple[_Atoms, NDArray[np.float32], NDArray[np.float32]]],
    counts: _Counts,
    seed: int,
) -> SimulatedCloud:
    if not slabs or sum(len(mass) for _, _, mass in slabs) == 0:
        raise EmptySelectionError("no ion was detected; raise the efficiency or make the wire larger")
    instance = np.concatenate([atoms.instance for atoms, _, _ in slabs])
    n_ions = np.bincount(instance, minlength=len(plan.defects) + 1)
    defects = tuple(
        replace(
            defect,
            n_ions=int(n_ions[defect.defect]),
            n_sites=int(counts.sites[defect.defect]),
            n_solute=int(counts.solute[defect.defect]),
        )
        for defect in plan.defects
    )
    spectrometer = params.spectrometer
    cloud = IonCloud.from_arrays(
        np.concatenate([measured for _, measured, _ in slabs]), np.concatenate([mass for _, _, mass in slabs])
    )
    return SimulatedCloud(
        cloud=replace(cloud, metadata={"simulation": "gan-nanowire", "seed": seed}),
        ranges=spectrometer.ranges(1 / gan.ATOMS_PER_NM3),
        defect_class=read_only(_class_codes(plan)[instance]),
        instance=read_only(instance),
        sublattice=read_only(np.concatenate([atoms.sublattice for atoms, _, _ in slabs])),
        species=read_only(np.concatenate([atoms.species for atoms, _, _ in slabs])),
        species_names=(*(kind.name for kind in spectrometer.kinds), "background"),
        xyz_true_nm=read_only(np.concatenate([atoms.xyz.astype(np.float32) for atoms, _, _ in slabs])),
        defects=defects,
        params=params,
        seed=seed,
    )
