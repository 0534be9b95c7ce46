"""A GaN nanowire with known defects, as an atom probe would see it: the built-in sample and the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.data import IonCloud
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.atoms import SUBLATTICES, Atoms, Lens
from napari_aptdefect.simulate.crystal import Sites, build_sites
from napari_aptdefect.simulate.detectability import Conditions, judge, known_geometry, with_ceiling
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.measurement import Measured, measure
from napari_aptdefect.simulate.occupation import Wire, occupy
from napari_aptdefect.simulate.placement import POINTS, Placed, place_defects
from napari_aptdefect.simulate.simulated import SimulatedCloud, write_simulated
from napari_aptdefect.simulate.truth import HIDDEN_D_PRIME, DefectTruth
from napari_aptdefect.stage import Progress, Stage, scaled

__all__ = [
    "SUBLATTICES",
    "DefectTruth",
    "GanNanowireParams",
    "SimulatedCloud",
    "simulate_gan_nanowire",
    "write_simulated",
]

_MAX_ATOMS: Final = 60_000_000
_LEAST_BLUR_NM: Final = 1e-3
_ENOUGH_ATOMS: Final = 100


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
    Progress over building, measuring and judging.

    Raises
    ------
    ParameterError
        If the defects don't fit into the wire, or the wire is too large.
    EmptySelectionError
        If no ion is detected.

    Notes
    -----
    Wurtzite GaN with a = 0.3189 nm, c = 0.5185 nm, u = 0.377: 87.59 atoms/nm³. What the instrument does to the atoms is
    in `simulate.measurement`, what of it can be seen in `simulate.detectability`, and which label an ion carries in
    `simulate.labels`. Single vacancies and interstitials, undecorated faults and dislocations are negative controls
    above level 0: no analysis can find them there.

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
    ['Mg-rich cluster', 'screw dislocation', 'I1 fault']
    """
    params = params or GanNanowireParams()
    volume = gan.hexagon_area_nm2(params.radius_nm) * params.length_nm
    if (n_atoms := volume * gan.ATOMS_PER_NM3) > _MAX_ATOMS:
        raise ParameterError(f"a wire of {n_atoms:.2g} atoms is larger than {_MAX_ATOMS:.0g}; make it smaller")
    rng, measuring, judging = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    placed = place_defects(params, rng)
    sites: Sites = yield from scaled(build_sites(params, placed), 0, 30)
    wire: Wire = yield from scaled(occupy(params, placed, sites, rng), 30, 50)
    del sites
    rotation, shift, radius = _orientation(params)
    atoms = _turned(wire.atoms, rotation, shift)
    defects = tuple(replace(one, region=one.region.moved(rotation, shift)) for one in wire.defects)
    lenses = _lenses(placed, defects)
    measured: Measured = yield from scaled(
        measure(atoms, lenses, radius, params.measurement, measuring, rotation), 50, 85
    )
    if len(measured.xyz_nm) == 0:
        raise EmptySelectionError("no ion was detected; raise the efficiency or make the wire larger")
    yield Progress(85, 100, "judge what can be seen")
    truth = _truth(params, placed, atoms, measured, defects, rotation, judging)
    yield Progress(100, 100, "done")
    return _joined(params, seed, atoms, measured, *truth)


def _orientation(params: GanNanowireParams) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Rotation and shift from the wire's frame to the instrument's, and the radius of the wire there.

    In the instrument's frame the highest corner lies at z = 0; the radius is that of the corner farthest off the axis.
    """
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("zy", [params.azimuth_deg, params.tilt_deg], degrees=True).as_matrix()
    middle = np.array([0.0, 0.0, params.length_nm / 2])
    shift = middle - rotation @ middle
    angles = np.arange(6) * np.pi / 3 + (np.pi / 6 if params.facets == "a" else 0.0)
    corner = params.radius_nm * 2 / np.sqrt(3)
    ends = [
        np.column_stack([corner * np.cos(angles), corner * np.sin(angles), np.full(6, z)]) @ rotation.T + shift
        for z in (0.0, params.length_nm)
    ]
    shift[2] -= ends[0][:, 2].min()
    return rotation, shift, float(np.hypot(*np.concatenate(ends)[:, :2].T).max())


def _turned(atoms: Atoms, rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> Atoms:
    if np.allclose(rotation, np.eye(3)) and np.allclose(shift, 0):
        return atoms
    return replace(atoms, xyz_nm=atoms.xyz_nm @ rotation.T.astype(np.float32) + shift.astype(np.float32))


def _lenses(placed: Sequence[Placed], defects: Sequence[DefectTruth]) -> list[Lens]:
    return [
        Lens(truth.center_nm, truth.region.radius_nm, p.spec.magnification)
        for p, truth in zip(placed, defects, strict=False)  # points come after the placed ones
        if getattr(p.spec, "magnification", 0.0)
    ]


def _truth(
    params: GanNanowireParams,
    placed: Sequence[Placed],
    atoms: Atoms,
    measured: Measured,
    defects: tuple[DefectTruth, ...],
    rotation: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[tuple[DefectTruth, ...], NDArray[np.int32], NDArray[np.int32]]:
    """Truth about each defect with the bounds, instance of each ion, and the instance the labeler gives it."""
    instance = np.where(measured.is_background, np.int32(0), atoms.instance[measured.atom_idx])
    counts = np.bincount(instance, minlength=len(defects) + 1)
    defects = tuple(replace(one, n_ions=int(counts[one.defect])) for one in defects)
    specs = [*(p.spec for p in placed), *(spec for spec in params.specs() if isinstance(spec, POINTS))]
    by_number = {one.defect: spec for one, spec in zip(defects, specs, strict=True)}
    conditions = _conditions(params, by_number, atoms, measured, rotation)
    defects = _hidden_as_controls(params, judge(defects, conditions))
    bound = known_geometry(measured.blurred_nm, measured.species, defects, conditions, rng)
    return with_ceiling(defects, instance, bound), instance, bound


def _hidden_as_controls(params: GanNanowireParams, defects: tuple[DefectTruth, ...]) -> tuple[DefectTruth, ...]:
    """Make a control of every target that not even an ideal observer sees, above level 0."""
    return tuple(
        replace(one, role="control") if params.level and one.role == "target" and one.d_prime < HIDDEN_D_PRIME else one
        for one in defects
    )


def _conditions(
    params: GanNanowireParams, specs: Mapping[int, Any], atoms: Atoms, measured: Measured, rotation: NDArray[np.float64]
) -> Conditions:
    """Read off the wire itself what the measurement left of its matrix."""
    real = ~measured.is_background
    rows = measured.atom_idx[real]
    n_matrix = int(np.count_nonzero(atoms.instance == 0))
    volume = max(n_matrix, 1) / gan.ATOMS_PER_NM3
    names = measured.species_names
    matrix = measured.species[real][atoms.instance[rows] == 0]
    density = np.bincount(matrix, minlength=len(names)) / volume
    before = np.bincount(atoms.element, minlength=len(atoms.elements))
    after = np.bincount(atoms.element[rows], minlength=len(atoms.elements))
    mean = len(rows) / max(len(atoms), 1)
    ranged = measured.ranges.assign(measured.mass_da[measured.is_background]) >= 0
    blur = params.measurement.does("blur")
    return Conditions(
        level_sigma_nm=(
            max(params.measurement.sigma_lateral_nm * blur, _LEAST_BLUR_NM),
            max(params.measurement.sigma_depth_nm * blur, _LEAST_BLUR_NM),
        ),
        detected_per_nm3={name: float(density[code]) for code, name in enumerate(names[:-1]) if density[code]},
        # A rare element's own share would be a matter of chance.
        efficiency={
            name: float(after[code] / before[code]) if before[code] >= _ENOUGH_ATOMS else mean
            for code, name in enumerate(atoms.elements)
        },
        specs=specs,
        background_per_nm3=float(np.count_nonzero(ranged) / (len(atoms) / gan.ATOMS_PER_NM3) / (len(names) - 1)),
        species=names,
        rotation=rotation,
        planes_known=params.level == 0,
    )


def _joined(
    params: GanNanowireParams,
    seed: int,
    atoms: Atoms,
    measured: Measured,
    defects: tuple[DefectTruth, ...],
    instance: NDArray[np.int32],
    bound: NDArray[np.int32],
) -> SimulatedCloud:
    cloud = IonCloud.from_arrays(measured.xyz_nm, measured.mass_da, **measured.columns())
    sublattice = atoms.sublattice[measured.atom_idx]
    sublattice[measured.is_background] = SUBLATTICES.index("none")
    return SimulatedCloud(
        cloud=replace(cloud, metadata={"simulation": "gan-nanowire", "seed": seed}),
        ranges=measured.ranges,
        instance=read_only(instance),
        bound_instance=read_only(bound),
        sublattice=read_only(sublattice),
        species=read_only(measured.species),
        species_names=measured.species_names,
        xyz_true_nm=read_only(atoms.xyz_nm[measured.atom_idx]),
        defects=defects,
        params=params,
        seed=seed,
        losses=measured.counts,
    )
