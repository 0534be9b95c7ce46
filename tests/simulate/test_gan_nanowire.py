"""The simulated nanowire: its atoms, its truth, and what the instrument makes of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.io import read
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_nanowire import (
    SUBLATTICES,
    GanNanowireParams,
    SimulatedCloud,
    simulate_gan_nanowire,
    write_simulated,
)
from napari_aptdefect.stage import Progress, drain

NO_DEFECTS = {
    "n_clusters": 0, "n_dislocations": 0, "n_stacking_faults": 0, "n_voids": 0, "n_vacancies": 0, "n_interstitials": 0,
}  # fmt: skip
PERFECT = {
    "efficiency": 1.0, "nitrogen_loss_percent": 0.0, "nitrogen_dimer_percent": 0.0, "background_percent": 0.0,
    "solute_percent": 0.0,
}  # fmt: skip


def simulate(seed: int = 0, **changes: object) -> SimulatedCloud:
    return drain(simulate_gan_nanowire(GanNanowireParams.model_validate(changes), seed))


@pytest.fixture(scope="module")
def default() -> SimulatedCloud:
    return simulate(seed=3)


def code(name: str) -> int:
    return DEFECT_CLASSES.index(name)


def test_perfect_wire_has_the_density_and_stoichiometry_of_gan() -> None:
    radius = 18.5 * gan.A_NM * np.sqrt(3) / 2  # facets between two rows of atoms
    wire = simulate(radius_nm=radius, length_nm=12, **NO_DEFECTS, **PERFECT)
    z = wire.xyz_true_nm[:, 2] + 0.01  # between two planes, so that whole cells are counted
    cells = (z >= gan.C_NM) & (z < 21 * gan.C_NM)
    assert cells.sum() / (gan.hexagon_area_nm2(radius) * 20 * gan.C_NM) == pytest.approx(87.59, rel=0.005)
    ga, n = ((wire.sublattice[cells] == side).sum() for side in (0, 1))
    assert ga / n == pytest.approx(1, rel=1e-3)
    assert gan.in_prism(wire.xyz_true_nm.astype(float), radius + 1e-5, 12).all()
    assert (wire.instance == 0).all()
    assert wire.defects == ()


def test_basal_planes_are_seen_at_level_0_and_not_at_level_2() -> None:
    power = []
    for level in (0, 2):
        z = simulate(radius_nm=4, length_nm=12, level=level, **NO_DEFECTS).cloud.xyz_nm[:, 2]
        power.append(abs(np.exp(2j * np.pi / gan.BILAYER_NM * z).mean()))
    assert power[0] > 0.3
    assert power[1] < 0.02


def test_same_seed_same_bits_and_another_seed_another_cloud() -> None:
    small = {"radius_nm": 3.5, "length_nm": 8, "n_clusters": 1, "n_voids": 0, "cluster_radius_nm": 1.0}
    a, b, c = simulate(5, **small), simulate(5, **small), simulate(6, **small)
    for name in ("instance", "species", "sublattice", "defect_class", "xyz_true_nm"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    assert a.cloud.xyz_nm.tobytes() == b.cloud.xyz_nm.tobytes()
    assert a.cloud.mass_da.tobytes() == b.cloud.mass_da.tobytes()
    assert a.defects == b.defects
    assert a.cloud.xyz_nm.tobytes() != c.cloud.xyz_nm.tobytes()


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_aptdefect.simulate.gan_nanowire._ATOMS_PER_SLAB", 20_000)
    many = simulate(radius_nm=5, length_nm=12, **NO_DEFECTS, **PERFECT)
    monkeypatch.undo()
    one = simulate(radius_nm=5, length_nm=12, **NO_DEFECTS, **PERFECT)
    order = [np.lexsort(wire.xyz_true_nm.T) for wire in (many, one)]
    assert np.array_equal(many.xyz_true_nm[order[0]], one.xyz_true_nm[order[1]])


def test_default_is_a_quick_sample_with_every_kind_of_defect(default: SimulatedCloud) -> None:
    assert 400_000 < len(default.cloud) < 700_000
    assert {d.defect_class for d in default.defects} == {
        "solute_cluster", "dislocation", "stacking_fault", "void", "vacancy", "interstitial",
    }  # fmt: skip
    assert [d.defect for d in default.defects] == list(range(1, len(default.defects) + 1))
    for name in ("instance", "species", "sublattice", "defect_class"):
        assert getattr(default, name).shape == (len(default.cloud),)
        assert not getattr(default, name).flags.writeable


def test_truth_of_each_defect_agrees_with_its_ions(default: SimulatedCloud) -> None:
    counts = np.bincount(default.instance, minlength=len(default.defects) + 1)
    for defect in default.defects:
        assert defect.n_ions == counts[defect.defect]
        assert (default.defect_class[default.instance == defect.defect] == defect.code).all()
        if defect.defect_class in {"void", "vacancy"}:
            assert defect.n_ions == 0
        if defect.volume_nm3 and defect.defect_class != "stacking_fault":
            assert defect.n_sites == pytest.approx(defect.volume_nm3 * gan.ATOMS_PER_NM3, rel=0.05)
    noise = default.species == default.species_names.index("background")
    assert (default.instance[noise] == 0).all()
    assert (default.sublattice[noise] == SUBLATTICES.index("none")).all()


def test_voids_are_empty_and_vacancies_miss_their_atom() -> None:
    wire = simulate(n_vacancies=50, level=0, **PERFECT)
    real = wire.xyz_true_nm
    for void in (d for d in wire.defects if d.defect_class == "void"):
        assert np.linalg.norm(real - void.center_nm, axis=1).min() > void.radius_nm - 1e-4
    for hole in (d for d in wire.defects if d.defect_class == "vacancy"):
        # The nearest atoms left are the four N of the tetrahedron.
        distance = np.sort(np.linalg.norm(real - hole.center_nm, axis=1))
        assert distance[0] > 0.1


def test_solute_is_where_the_parameters_put_it() -> None:
    wire = simulate(radius_nm=9, length_nm=30, level=0, dislocation_core="none", **{**PERFECT, "solute_percent": 0.5})
    mg = wire.species == wire.species_names.index("Mg")
    on_ga = wire.sublattice == 0
    assert not (mg & ~on_ga).any()
    matrix = wire.defect_class == code("matrix")
    assert mg[matrix & on_ga].mean() == pytest.approx(0.005, rel=0.1)
    cluster = wire.defect_class == code("solute_cluster")
    assert mg[cluster & on_ga].mean() == pytest.approx(0.10, rel=0.2)
    for defect in wire.defects:
        if defect.defect_class == "dislocation":  # excess over the background, 8 per nm
            excess = defect.n_solute - 0.005 * defect.n_sites / 2
            assert excess / 30 == pytest.approx(8, abs=4 * np.sqrt(8 / 30))
        if defect.defect_class == "stacking_fault":  # 2.8 per nm² of the hexagon
            area = gan.hexagon_area_nm2(9)
            excess = defect.n_solute - 0.005 * defect.n_sites / 2
            assert excess / area == pytest.approx(2.8, rel=0.15)


def test_interstitials_sit_beside_an_n_atom() -> None:
    wire = simulate(level=0, n_interstitials=30, **PERFECT)
    extra = wire.sublattice == SUBLATTICES.index("interstitial")
    assert extra.sum() >= 28  # one may stick out of the surface layer
    assert (wire.defect_class[extra] == code("interstitial")).all()
    nitrogen = wire.xyz_true_nm[wire.sublattice == 1]
    nearest = [np.linalg.norm(nitrogen - place, axis=1).min() for place in wire.xyz_true_nm[extra]]
    assert max(nearest) <= 0.136


def test_detection_efficiency_and_blur_are_those_of_the_level() -> None:
    whole = len(simulate(level=0, radius_nm=5, length_nm=12, **NO_DEFECTS, **PERFECT).cloud)
    for level, efficiency, lateral, depth in ((1, 0.80, 0.20, 0.06), (3, 0.37, 1.00, 0.30)):
        rest = {name: value for name, value in PERFECT.items() if name != "efficiency"}
        wire = simulate(level=level, radius_nm=5, length_nm=12, **NO_DEFECTS, **rest)
        assert len(wire.cloud) / whole == pytest.approx(efficiency, rel=0.02)
        shift = wire.cloud.xyz_nm - wire.xyz_true_nm
        assert shift.std(axis=0) == pytest.approx([lateral, lateral, depth], rel=0.02)
        assert abs(shift.mean(axis=0)).max() < 0.02


def test_nitrogen_is_lost_and_leaves_in_pairs() -> None:
    options = {**PERFECT, "nitrogen_loss_percent": 20.0, "nitrogen_dimer_percent": 30.0}
    wire = simulate(level=0, **NO_DEFECTS, **options)
    n, n2, ga = (int((wire.species == wire.species_names.index(name)).sum()) for name in ("N", "N2", "Ga"))
    assert (n + 2 * n2) / ga == pytest.approx(0.80, rel=0.02)
    assert 2 * n2 / (n + 2 * n2) == pytest.approx(0.30, rel=0.03)


def test_isotopes_and_charge_states_of_gallium(default: SimulatedCloud) -> None:
    mass = default.cloud.mass_da[default.species == 0]
    light, heavy = ((mass > low) & (mass < low + 1.5) for low in (68.5, 70.5))
    # 69Ga 60.1 %, IUPAC; peaks at 68.925 and 70.924 Da less the electron
    assert light.sum() / (light.sum() + heavy.sum()) == pytest.approx(0.601, abs=0.01)
    assert np.median(mass[light]) == pytest.approx(68.93, abs=0.05)
    assert (mass < 40).mean() == pytest.approx(0.20, abs=0.01)
    assert np.median(mass[mass < 35]) == pytest.approx(34.463, abs=0.03)


def test_ranges_fit_the_spectrum(default: SimulatedCloud) -> None:
    found = default.ranges.assign(default.cloud.mass_da)
    ranged = found >= 0
    assert ranged.mean() > 0.97
    assert (found[ranged] == default.species[ranged]).mean() > 0.999
    edges = sorted((r.lo_da, r.hi_da) for r in default.ranges.ranges)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))


def test_ranges_do_not_overlap_at_low_resolution() -> None:
    ranges = GanNanowireParams(resolving_power=100, solute="In").spectrometer.ranges(0.01).ranges
    edges = sorted((r.lo_da, r.hi_da) for r in ranges)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))
    assert all(low < high for low, high in edges)


def test_background_is_even_in_time_of_flight(default: SimulatedCloud) -> None:
    noise = default.cloud.mass_da[default.species == default.species_names.index("background")]
    assert np.sqrt(noise).mean() == pytest.approx(np.sqrt(200) / 2, rel=0.05)
    assert len(noise) / len(default.cloud) == pytest.approx(0.0099, rel=0.1)


def test_ions_come_from_the_free_end_down(default: SimulatedCloud) -> None:
    z = default.xyz_true_nm[:, 2]
    blocks = [z[i : i + 5000].mean() for i in range(0, len(z) - 5000, 5000)]
    assert (np.diff(blocks) > 0).all()


def test_progress_reaches_its_end() -> None:
    steps: list[Progress] = []
    drain(simulate_gan_nanowire(GanNanowireParams(radius_nm=4, length_nm=8, n_voids=0, n_clusters=0)), steps.append)
    assert steps[-1].done == steps[-1].total > 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"radius_nm": 2.0, "cluster_radius_nm": 1.9}, "no place left"),
        ({"n_voids": 400}, "no place left"),
        ({"radius_nm": 150, "length_nm": 2000}, "make it smaller"),
        ({"dislocation_excess_per_nm": 500.0}, "dislocation_excess_per_nm"),
        ({"length_nm": 3.0, "n_stacking_faults": 30}, "stacking fault"),
    ],
)
def test_impossible_wires_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        simulate(**changes)


def test_parameters_have_titles_units_and_bounds() -> None:
    schema = GanNanowireParams.model_json_schema()["properties"]
    assert all(field["title"] and field["description"] for field in schema.values())
    assert schema["radius_nm"]["unit"] == "nm"
    with pytest.raises(ValidationError):
        GanNanowireParams(radius_nm=-1)


def test_files_hold_the_cloud_and_its_truth(default: SimulatedCloud, tmp_path: Path) -> None:
    files = write_simulated(default, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in files)
    for name in ("cloud.pos", "cloud.epos", "cloud.apt"):
        cloud = read(tmp_path / "out" / name)
        assert cloud.xyz_nm.tobytes() == default.cloud.xyz_nm.tobytes()
        assert cloud.mass_da.tobytes() == default.cloud.mass_da.tobytes()
    ranges = read(tmp_path / "out" / "ranges.rrng")
    ours = np.array((*default.ranges.names, ""))[default.ranges.assign(default.cloud.mass_da)]
    theirs = np.array((*ranges.names, ""))[ranges.assign(default.cloud.mass_da)]
    assert (ours == theirs).all()
    truth = pq.read_table(tmp_path / "out" / "truth.parquet")
    assert truth["ion_idx"].to_pylist()[:3] == [0, 1, 2]
    assert set(truth["species"].unique().to_pylist()) == {"Ga", "N", "N2", "Mg", "background"}
    assert np.array_equal(truth["instance"].to_numpy(), default.instance)
    assert np.array_equal(truth["z_true_nm"].to_numpy(), default.xyz_true_nm[:, 2])
    names = np.array(DEFECT_CLASSES)[default.defect_class]
    assert (np.array(truth["defect_class"].to_pylist()) == names).all()
    rows = pq.read_table(tmp_path / "out" / "defects_truth.parquet").to_pylist()
    assert [(r["defect"], r["defect_class"], r["n_ions"]) for r in rows] == [
        (d.defect, d.defect_class, d.n_ions) for d in default.defects
    ]
    recipe = json.loads((tmp_path / "out" / "simulation.json").read_text(encoding="utf-8"))
    assert GanNanowireParams.model_validate(recipe["params"]) == default.params
