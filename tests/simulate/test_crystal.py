"""The atoms of a wire before the measurement, against literature values of GaN and its defects."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.atoms import SUBLATTICES
from napari_aptdefect.simulate.crystal import build_sites
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import Dislocation, InversionDomain, VacancyCluster
from napari_aptdefect.simulate.occupation import Wire, occupy
from napari_aptdefect.simulate.placement import place_defects
from napari_aptdefect.simulate.truth import RIM_NM
from napari_aptdefect.stage import drain

NOTHING = {
    "n_clusters": 0, "n_dislocations": 0, "n_stacking_faults": 0, "n_voids": 0, "n_vacancies": 0, "n_interstitials": 0,
    "solute_percent": 0.0,
}  # fmt: skip


def wire(*defects: dict[str, Any], seed: int = 0, **changes: Any) -> Wire:
    params = GanNanowireParams.model_validate(
        {"radius_nm": 5, "length_nm": 12, **NOTHING, "defects": defects, **changes}
    )
    rng = np.random.default_rng(seed)
    placed = place_defects(params, rng)
    return drain(occupy(params, placed, drain(build_sites(params, placed)), rng))


def inner(xyz: NDArray[np.float32], radius: float = 3.5, low: float = 3.0, high: float = 9.0) -> NDArray[np.bool_]:
    return (np.hypot(xyz[:, 0], xyz[:, 1]) < radius) & (xyz[:, 2] > low) & (xyz[:, 2] < high)


def test_density_stoichiometry_and_shells_are_those_of_gan() -> None:
    atoms = wire(radius_nm=8, length_nm=16).atoms
    height = 22 * gan.C_NM  # whole cells, between two planes of atoms
    core = inner(atoms.xyz_nm, 7.0, 2.03, 2.03 + height)
    # 87 to 89 atoms/nm³; what is left is the counting error of a circle with a rough rim
    assert core.sum() / (np.pi * 49 * height) == pytest.approx(87.59, rel=0.005)
    ga = atoms.sublattice == 0
    assert (core & ga).sum() / (core & ~ga).sum() == pytest.approx(1, abs=0.01)
    middle = inner(atoms.xyz_nm, 1.5, 7, 9)
    n, g = cKDTree(atoms.xyz_nm[~ga]), cKDTree(atoms.xyz_nm[ga])
    places = atoms.xyz_nm[middle & ga]
    shells = np.arange(0.15, 0.6, 0.01)
    unlike = np.diff(n.count_neighbors(cKDTree(places), shells)) / len(places)
    like = np.diff(g.count_neighbors(cKDTree(places), shells)) / len(places)
    mids = shells[:-1] + 0.005
    # Ga-N bond 0.195 nm with 4 neighbors; Ga-Ga 0.318 to 0.320 nm with 12
    assert unlike[abs(mids - 0.195) < 0.011].sum() == pytest.approx(4, abs=0.01)
    assert unlike[(mids > 0.21) & (mids < 0.30)].sum() == pytest.approx(0, abs=0.01)
    assert like[abs(mids - 0.319) < 0.011].sum() == pytest.approx(12, abs=0.01)
    assert like[(mids < 0.30)].sum() == 0


def places_of_layers(xyz: NDArray[np.float32], z0: float, n: int) -> str:
    """Lateral places A, B, C of some Ga layers, read off the atoms."""
    found = ""
    spots = np.array([[0, 0], [gan.A_NM / 2, gan.A_NM / np.sqrt(12)], [0, gan.A_NM / np.sqrt(3)]])
    for k in range(n):
        layer = xyz[abs(xyz[:, 2] - z0 - k * gan.BILAYER_NM) < 0.02][:, :2]
        net = cKDTree(layer)
        found += "ABC"[int(np.argmin(net.query(spots)[0]))]
    return found


@pytest.mark.parametrize(("fault", "n_cubic"), [("I1", 1), ("I2", 2), ("E", 3)])
@pytest.mark.parametrize("polarity", ["Ga", "N"])
def test_stacking_around_a_fault(fault: str, n_cubic: int, polarity: str) -> None:
    made = wire({"kind": "stacking_fault", "fault": fault, "depth_nm": 6.0}, polarity=polarity)
    ga = made.atoms.xyz_nm[made.atoms.sublattice == 0]
    ga = ga[np.hypot(ga[:, 0], ga[:, 1]) < 2]
    sequence = places_of_layers(ga, 10 * gan.BILAYER_NM, 26)
    cubic = [k for k in range(1, 25) if sequence[k - 1] != sequence[k + 1]]
    assert len(cubic) == n_cubic
    assert cubic == list(range(cubic[0], cubic[0] + n_cubic))
    truth = made.defects[0]
    middle = (10 + np.mean(cubic) + 0.5) * gan.BILAYER_NM
    assert truth.center_nm[2] == pytest.approx(middle, abs=gan.U * gan.C_NM / 2 + 1e-6)
    labeled = made.atoms.instance == 1
    assert labeled.sum() == truth.n_sites
    assert truth.extent == pytest.approx(gan.hexagon_area_nm2(5), rel=0.03)
    assert truth.volume_nm3 == pytest.approx(truth.extent * gan.fault_thickness_nm(fault), rel=1e-6)


def test_polarity_is_the_side_on_which_the_bond_along_c_points_out() -> None:
    for polarity, sign in (("Ga", -1), ("N", 1)):
        atoms = wire(polarity=polarity).atoms
        ga = atoms.sublattice == 0
        core = inner(atoms.xyz_nm, 1.0, 5, 6) & ga
        distance, near = cKDTree(atoms.xyz_nm[~ga]).query(atoms.xyz_nm[core], k=4)
        bonds = atoms.xyz_nm[~ga][near] - atoms.xyz_nm[core][:, None]
        along = bonds[np.hypot(bonds[..., 0], bonds[..., 1]) < 0.01]
        assert np.allclose(distance, 0.195, atol=0.001)
        # z is the depth: outward is negative
        assert (np.sign(along[:, 2]) == sign).all()


def test_inversion_domain_boundary_has_only_bonds_between_ga_and_n() -> None:
    atoms = wire({"kind": "inversion_domain", "center_nm": (0.3, 0, 6)}).atoms
    core = inner(atoms.xyz_nm)
    distance, near = cKDTree(atoms.xyz_nm).query(atoms.xyz_nm[core], k=5)
    bonded = distance[:, 1:] < 0.23
    assert bonded.sum(axis=1).mean() == pytest.approx(4, abs=0.01)
    unlike = atoms.element[near[:, 1:]] != atoms.element[core][:, None]
    assert unlike[bonded].all()
    assert core.sum() / (np.pi * 3.5**2 * 6) == pytest.approx(87.59, rel=0.03)


def test_grain_beyond_a_boundary_is_turned_and_nothing_overlaps() -> None:
    # 30 degrees about c carries the m planes into a planes
    made = wire({"kind": "grain_boundary", "center_nm": (0, 0, 6), "normal": (1, 0, 0), "angle_deg": 30.0})
    xyz = made.atoms.xyz_nm
    ga = made.atoms.sublattice == 0
    for side, degrees in ((-1, 0.0), (1, 30.0)):
        core = ga & inner(xyz, 2.0, 5, 7) & (side * xyz[:, 0] > 0.8)
        layer = xyz[core & (abs(xyz[:, 2] - 24 * gan.BILAYER_NM) < 0.02)]
        row = layer[1:, :2] - layer[0, :2]
        row = row[np.hypot(*row.T) < 0.33]
        angle = np.rad2deg(np.arctan2(row[:, 1], row[:, 0])) % 60
        assert np.allclose(np.minimum(abs(angle - degrees), 60 - abs(angle - degrees)), 0, atol=0.1)
    assert cKDTree(xyz).query(xyz, k=2)[0][:, 1].min() >= 0.149
    core = inner(xyz)
    assert core.sum() / (np.pi * 3.5**2 * 6) == pytest.approx(87.59, rel=0.03)


@pytest.mark.parametrize("core", ["screw", "edge", "mixed"])
def test_crystal_around_a_dislocation_stays_whole(core: str) -> None:
    made = wire(
        {"kind": "dislocation", "core": core, "center_nm": (0.1, 0.2, 6), "excess_per_nm": 6, "profile": "gaussian"},
        length_nm=30,
    )
    xyz = made.atoms.xyz_nm
    assert cKDTree(xyz).query(xyz, k=2)[0][:, 1].min() >= 0.149
    ring = inner(xyz, 3.5, 5, 25) & (np.hypot(xyz[:, 0] - 0.1, xyz[:, 1] - 0.2) > 1.0)
    bonded = cKDTree(xyz).query(xyz[ring], k=6)[0][:, 1:] < 0.24
    assert (bonded.sum(axis=1) == 4).mean() > 0.99
    truth = made.defects[0]
    assert truth.extent == pytest.approx(30, rel=0.02)
    assert truth.n_excess / truth.extent == pytest.approx(6, rel=0.05)
    assert truth.n_solute == pytest.approx(truth.n_excess, abs=4 * np.sqrt(truth.n_excess))
    solute = made.atoms.element == made.atoms.elements.index("Mg")
    reach = np.hypot(xyz[solute, 0] - 0.1, xyz[solute, 1] - 0.2)
    assert reach.max() <= 0.8 + 1e-4
    # A two-dimensional Gaussian of width s has the mean radius s sqrt(pi/2); cutting it at 2 s takes a little off.
    assert reach.mean() == pytest.approx(0.4 * np.sqrt(np.pi / 2) * 0.9, rel=0.08)


def test_vacancy_cluster_lacks_exactly_its_atoms() -> None:
    for sublattice in ("Ga", "both"):
        spec = VacancyCluster(n_vacancies=20, sublattice=sublattice, center_nm=(0, 0, 6)).model_dump()
        made, whole = wire(spec), wire()
        assert len(whole.atoms) - len(made.atoms) == 20
        missing = {*map(tuple, whole.atoms.xyz_nm)} - {*map(tuple, made.atoms.xyz_nm)}
        radius = made.defects[0].region.radius_nm
        assert np.linalg.norm(np.array([*missing]) - (0, 0, 6), axis=1).max() < radius + 0.25
        assert made.defects[0].n_missing == 20
        labeled = made.atoms.instance == 1
        distance = np.linalg.norm(made.atoms.xyz_nm[labeled] - np.float32((0, 0, 6)), axis=1)
        assert distance.max() <= radius + RIM_NM + 1e-4


def test_void_is_empty_and_its_rim_carries_the_label() -> None:
    made = wire({"kind": "void", "center_nm": (1, 0, 6), "radius_nm": 1.2})
    distance = np.linalg.norm(made.atoms.xyz_nm - np.float32((1, 0, 6)), axis=1)
    assert distance.min() > 1.2
    assert np.array_equal(made.atoms.instance == 1, distance <= 1.2 + RIM_NM)
    assert made.defects[0].n_missing == pytest.approx(4 / 3 * np.pi * 1.2**3 * 87.59, rel=0.03)


def test_insertion_is_a_random_alloy() -> None:
    made = wire({"kind": "insertion", "depth_nm": 6, "thickness_nm": 3, "solute": "In", "percent": 20})
    ga = (made.atoms.sublattice == 0) & inner(made.atoms.xyz_nm, 9, 4.6, 7.4)
    indium = made.atoms.element[ga] == made.atoms.elements.index("In")
    n = int(ga.sum())
    assert indium.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / n))
    # Random: the number of In among the 12 nearest Ga sites is binomial.
    near = cKDTree(made.atoms.xyz_nm[ga]).query(made.atoms.xyz_nm[ga], k=13)[1][:, 1:]
    counts = indium[near].sum(axis=1)
    assert counts.var() == pytest.approx(12 * 0.16, rel=0.1)
    truth = made.defects[0]
    assert (truth.defect_class, truth.role, truth.kind) == ("matrix", "structure", "InGaN insertion")
    assert (made.atoms.instance == 1).sum() == truth.n_sites


def test_cluster_with_an_interface_falls_to_half_at_its_radius() -> None:
    made = wire(
        {"kind": "solute_cluster", "center_nm": (0, 0, 8), "radius_nm": 3, "percent": 60, "interface_nm": 1.5},
        radius_nm=7, length_nm=16,
    )  # fmt: skip
    ga = made.atoms.sublattice == 0
    distance = np.linalg.norm(made.atoms.xyz_nm[ga] - np.float32((0, 0, 8)), axis=1)
    mg = made.atoms.element[ga] == made.atoms.elements.index("Mg")
    share = [mg[(distance >= a) & (distance < b)].mean() for a, b in pairwise([0, 2.0, 2.9, 3.1, 4.0, 6])]
    assert share[0] == pytest.approx(0.6, abs=0.03)
    assert share[2] == pytest.approx(0.3, abs=0.08)
    assert share[3] < 0.2
    assert share[4] < 0.02


def test_points_are_what_they_are_called_and_label_their_neighbors() -> None:
    made = wire(
        *[{"kind": "vacancy"}] * 15,
        *[{"kind": "interstitial", "site": "split"}] * 15,
        *[{"kind": "interstitial", "site": "octahedral"}] * 15,
        {"kind": "vacancy", "center_nm": (0.1, 0.1, 6.0), "sublattice": "N"},
        seed=4,
    )
    xyz, tree = made.atoms.xyz_nm, cKDTree(made.atoms.xyz_nm)
    extra = made.atoms.sublattice == SUBLATTICES.index("interstitial")
    assert extra.sum() == 30
    assert (made.atoms.element[extra] == made.atoms.elements.index("N")).all()
    for truth in made.defects:
        distance = np.linalg.norm(xyz - np.float32(truth.center_nm), axis=1)
        near = np.flatnonzero(distance < 0.25)
        assert set(made.atoms.instance[near]) == {truth.defect}
        assert (made.atoms.instance == truth.defect).sum() == len(near)
        if truth.kind == "Ga vacancy":
            assert len(near) == 4
            assert set(made.atoms.element[near]) == {1}
        elif truth.kind == "N vacancy":
            assert len(near) == 4
            assert set(made.atoms.element[near]) == {0}
        elif truth.kind == "N split interstitial":
            two = tree.query(np.float32(truth.center_nm), k=2)
            assert two[0] == pytest.approx([0.0675, 0.0675], abs=1e-4)
            assert np.linalg.norm(np.diff(xyz[two[1]], axis=0)) == pytest.approx(0.135, abs=1e-4)
            assert made.atoms.element[two[1]].tolist() == [1, 1]
        else:
            assert np.allclose(np.sort(distance)[1:7], 0.208, atol=0.001)


def test_fault_ends_at_a_boundary_and_follows_a_screw() -> None:
    made = wire(
        {"kind": "inversion_domain", "center_nm": (0, 1.0, 6)},
        {"kind": "stacking_fault", "depth_nm": 6.0, "excess_per_nm2": 4.0},
    )
    fault = made.atoms.instance == 2
    assert fault.sum() > 1000
    assert made.atoms.xyz_nm[fault, 1].max() <= 1.0 + 1e-4
    assert made.defects[1].n_sites == pytest.approx(made.defects[1].volume_nm3 * gan.ATOMS_PER_NM3)
    screwed = wire(
        {"kind": "dislocation", "core": "screw", "center_nm": (0, 0, 6), "radius_nm": 0.3},
        {"kind": "stacking_fault", "depth_nm": 6.0},
    )
    xyz, ga = screwed.atoms.xyz_nm, screwed.atoms.sublattice == 0
    labeled = ga & (screwed.atoms.instance == 2)
    # Of the two labeled bilayers one is cubic: half of the Ga atoms see a third layer (A, B, C) within one bilayer.
    inside = labeled & (np.hypot(xyz[:, 0], xyz[:, 1]) > 1.5) & (np.hypot(xyz[:, 0], xyz[:, 1]) < 4)
    near = cKDTree(xyz[ga]).query_ball_point(xyz[inside], 0.34)
    cubic = 0
    for place, rows in zip(xyz[inside], near, strict=True):
        shift = xyz[ga][rows] - place
        above, below = shift[shift[:, 2] > 0.15], shift[shift[:, 2] < -0.15]
        cubic += bool(np.linalg.norm(above[:, None, :2] + below[None, :, :2], axis=2).min() < 0.08)
    assert cubic / inside.sum() == pytest.approx(0.5, abs=0.02)


def test_dislocation_leaves_a_turned_grain_whole() -> None:
    made = wire(
        {"kind": "grain_boundary", "center_nm": (0, 0, 6), "normal": (0, 0, 1), "axis": (1, 0, 0), "angle_deg": 20},
        {"kind": "dislocation", "core": "screw", "center_nm": (0.1, 0.1, 3.0), "excess_per_nm": 5.0},
    )
    xyz, element = made.atoms.xyz_nm, made.atoms.sublattice
    beyond = inner(xyz, 3.5, 7.0, 10.0)
    distance, near = cKDTree(xyz).query(xyz[beyond], k=5)
    unlike = element[near[:, 1:]] != element[beyond][:, None]
    assert unlike[distance[:, 1:] < 0.23].all()
    assert (distance[:, 1:] < 0.23).sum(axis=1).mean() == pytest.approx(4, abs=0.01)
    line = made.atoms.instance == 2
    assert xyz[line, 2].max() < 6.2


def test_listed_and_counted_defects_stand_side_by_side() -> None:
    made = wire(
        {"kind": "solute_cluster", "center_nm": (0, 0, 6), "solute": "In"}, n_clusters=1, cluster_radius_nm=1, n_voids=1
    )
    assert [d.kind for d in made.defects] == ["In-rich cluster", "Mg-rich cluster", "void"]
    assert made.atoms.elements == ("Ga", "N", "Mg", "In")


def test_later_boundaries_and_slabs_do_not_change_the_first_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    one = wire({"kind": "inversion_domain", "center_nm": (2, 0, 6)}).atoms
    monkeypatch.setattr("napari_aptdefect.simulate.crystal.ATOMS_PER_SLAB", 20_000)
    many = wire({"kind": "inversion_domain", "center_nm": (2, 0, 6)}).atoms
    order = [np.lexsort(atoms.xyz_nm.T) for atoms in (one, many)]
    assert np.array_equal(one.xyz_nm[order[0]], many.xyz_nm[order[1]])


@pytest.mark.parametrize(
    ("defect", "says"),
    [
        ({"kind": "void", "center_nm": (50, 0, 6)}, "not inside the wire"),
        ({"kind": "stacking_fault", "depth_nm": 90}, "not inside the wire"),
        ({"kind": "insertion", "depth_nm": 90}, "not inside the wire"),
        ({"kind": "dislocation", "excess_per_nm": 500.0}, "excess_per_nm = 500"),
        ({"kind": "dislocation", "excess_per_nm": 45.0, "profile": "gaussian"}, "excess_per_nm = 45"),
        ({"kind": "inversion_domain", "excess_per_nm2": 90.0}, "excess_per_nm2 = 90"),
        ({"kind": "vacancy", "center_nm": (0, 0, 40)}, "no Ga site"),
        ({"kind": "void", "magnification": -0.9}, "magnification"),
        ({"kind": "solute_cluster", "radius_nm": 8}, "no place left"),
        ({"kind": "insertion", "thickness_nm": 30}, "no place left"),
    ],
)
def test_impossible_defects_are_refused(defect: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):  # ParameterError is one, and so is pydantic's
        wire(defect)


def test_two_points_do_not_share_a_site() -> None:
    with pytest.raises(ParameterError, match="share the site"):
        wire(*[{"kind": "vacancy", "center_nm": (0.1, 0.1, 6.0)}] * 2)


def test_directions_are_unit_vectors_and_need_a_length() -> None:
    assert np.linalg.norm(Dislocation(direction=(1, 2, 3)).direction) == pytest.approx(1)
    with pytest.raises(ValueError, match="length above zero"):
        InversionDomain(normal=(0, 0, 0))
