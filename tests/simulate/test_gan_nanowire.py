"""The simulated nanowire: its atoms, its truth, and what the instrument makes of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from scipy.spatial import cKDTree

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
from napari_aptdefect.simulate.measurement import STEPS, Measurement
from napari_aptdefect.stage import Progress, drain

NO_DEFECTS = {
    "n_clusters": 0, "n_dislocations": 0, "n_stacking_faults": 0, "n_voids": 0, "n_vacancies": 0, "n_interstitials": 0,
}  # fmt: skip
CRYSTAL = {"skip": [step for step in STEPS if step not in {"blur", "efficiency"}]}  # what is left: blur and efficiency


def simulate(seed: int = 0, **changes: object) -> SimulatedCloud:
    return drain(simulate_gan_nanowire(GanNanowireParams.model_validate(changes), seed))


@pytest.fixture(scope="module")
def default() -> SimulatedCloud:
    return simulate(seed=3)


def code(name: str) -> int:
    return DEFECT_CLASSES.index(name)


def test_ideal_wire_has_the_density_and_stoichiometry_of_gan() -> None:
    radius = 18.5 * gan.A_NM * np.sqrt(3) / 2  # facets between two rows of atoms
    wire = simulate(radius_nm=radius, length_nm=12, level=0, solute_percent=0, **NO_DEFECTS)
    z = wire.cloud.xyz_nm[:, 2] + 0.13  # between two planes, so that whole cells are counted
    cells = (z >= gan.C_NM) & (z < 21 * gan.C_NM)
    assert cells.sum() / (gan.hexagon_area_nm2(radius) * 20 * gan.C_NM) == pytest.approx(87.59, rel=0.005)
    ga, n = ((wire.sublattice[cells] == side).sum() for side in (0, 1))
    assert ga / n == pytest.approx(1, rel=1e-3)
    assert gan.in_prism(wire.xyz_true_nm.astype(float), radius + 1e-5, 12).all()
    assert (wire.instance == 0).all()
    assert wire.defects == ()
    assert wire.losses["atoms"] == wire.losses["ions"] == len(wire.cloud)


def test_measured_pair_distances_show_the_bond_at_level_0_only() -> None:
    peaks = []
    for level in (0, 1, 2):
        wire = simulate(radius_nm=4, length_nm=10, level=level, solute_percent=0, **NO_DEFECTS)
        xyz = wire.cloud.xyz_nm
        middle = (np.hypot(xyz[:, 0], xyz[:, 1]) < 2) & (abs(xyz[:, 2] - 5) < 2)
        radii = np.arange(0.10, 0.5, 0.01)
        counts = np.diff(cKDTree(xyz).count_neighbors(cKDTree(xyz[middle]), radii))
        rdf = counts / (4 * np.pi * (radii[:-1] + 0.005) ** 2)
        mids = radii[:-1] + 0.005
        # Ga-N 0.195 nm and Ga-Ga 0.319 nm against the gap between them
        gap = rdf[abs(mids - 0.255) < 0.011].mean()
        peaks.append([rdf[abs(mids - at) < 0.011].mean() / gap for at in (0.195, 0.319)])
    assert min(peaks[0]) > 4
    assert max(peaks[1][0], peaks[2][0]) < 2


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
    for name in ("instance", "bound_instance", "species", "sublattice", "xyz_true_nm"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    assert a.cloud.xyz_nm.tobytes() == b.cloud.xyz_nm.tobytes()
    assert a.cloud.mass_da.tobytes() == b.cloud.mass_da.tobytes()
    assert a.cloud.read("tof_ns").tobytes() == b.cloud.read("tof_ns").tobytes()
    assert str(a.defects) == str(b.defects)
    assert a.cloud.xyz_nm.tobytes() != c.cloud.xyz_nm.tobytes()


def test_default_is_a_quick_sample_with_every_kind_of_defect(default: SimulatedCloud) -> None:
    assert 400_000 < len(default.cloud) < 700_000
    assert {d.defect_class for d in default.defects} == {
        "solute_cluster", "dislocation", "stacking_fault", "void", "vacancy", "interstitial",
    }  # fmt: skip
    assert [d.defect for d in default.defects] == list(range(1, len(default.defects) + 1))
    for name in ("instance", "bound_instance", "species", "sublattice"):
        assert getattr(default, name).shape == (len(default.cloud),)
        assert not getattr(default, name).flags.writeable


def test_truth_of_each_defect_agrees_with_its_ions(default: SimulatedCloud) -> None:
    counts = np.bincount(default.instance, minlength=len(default.defects) + 1)
    for defect in default.defects:
        assert defect.n_ions == counts[defect.defect]
        assert (default.defect_class[default.instance == defect.defect] == defect.code).all()
        if defect.volume_nm3 and defect.defect_class != "stacking_fault":
            assert defect.n_sites == pytest.approx(defect.volume_nm3 * gan.ATOMS_PER_NM3, rel=0.05)
    noise = default.species == default.species_names.index("background")
    assert (default.instance[noise] == 0).all()
    assert (default.sublattice[noise] == SUBLATTICES.index("none")).all()


def test_roles_say_what_can_be_asked_for(default: SimulatedCloud) -> None:
    roles = {d.kind: d.role for d in default.defects}
    assert roles["void"] == roles["Mg-rich cluster"] == roles["I1 fault"] == roles["screw dislocation"] == "target"
    assert roles["Ga vacancy"] == roles["N split interstitial"] == "control"
    bare = {"dislocation_excess_per_nm": 0.0, "stacking_fault_excess_per_nm2": 0.0, "n_voids": 0, "n_clusters": 0}
    for level, role in ((0, "target"), (1, "control")):
        wire = simulate(radius_nm=4, length_nm=10, level=level, **bare)
        assert {d.role for d in wire.defects} == {role}


def test_bounds_are_there_for_every_defect_of_every_wire(default: SimulatedCloud) -> None:
    for defect in default.defects:
        assert defect.d_prime >= 0
        assert 0.5 <= defect.auc <= 1
        assert np.isnan(defect.iou_ceiling) == (defect.n_ions == 0)
    seen = {d.kind for d in default.defects if d.visible}
    assert "Mg-rich cluster" in seen
    assert not seen & {"Ga vacancy", "N split interstitial"}
    faults = [d for d in default.defects if d.kind == "I1 fault"]
    assert 0.3 < faults[0].iou_ceiling < 1


def test_wire_can_be_turned_and_tilted() -> None:
    options = {"radius_nm": 5, "length_nm": 14, "level": 0, "solute_percent": 0.0, **NO_DEFECTS}
    options["defects"] = [{"kind": "void", "center_nm": (2.0, 0.0, 4.0), "radius_nm": 1.0}]
    straight = simulate(**options)
    turned = simulate(**options, azimuth_deg=30.0, tilt_deg=20.0)
    assert len(turned.cloud) == len(straight.cloud)
    assert turned.xyz_true_nm[:, 2].min() == pytest.approx(0, abs=0.3)
    void = turned.defects[0]
    distance = np.linalg.norm(turned.xyz_true_nm - np.float32(void.center_nm), axis=1)
    assert distance.min() > 1.0
    assert ((distance < 1.5) == (turned.instance == 1)).mean() > 0.9999
    # The stacks of basal planes lean: planes are sharp along the tilted axis only.
    axis = np.array([np.sin(np.deg2rad(20)), 0, np.cos(np.deg2rad(20))])
    along, across = (
        abs(np.exp(2j * np.pi / gan.BILAYER_NM * turned.cloud.xyz_nm @ v).mean()) for v in (axis, [0, 0, 1])
    )
    assert along > 0.5
    assert across < 0.05


def test_solute_is_where_the_parameters_put_it() -> None:
    wire = simulate(radius_nm=9, length_nm=30, level=0, dislocation_core="none", solute_percent=0.5)
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
            assert defect.n_excess / 30 == pytest.approx(8, rel=0.03)
        if defect.defect_class == "stacking_fault":  # 2.8 per nm² of the hexagon
            area = gan.hexagon_area_nm2(9)
            excess = defect.n_solute - 0.005 * defect.n_sites / 2
            assert excess / area == pytest.approx(2.8, rel=0.15)


def test_detection_efficiency_and_blur_are_those_of_the_level() -> None:
    whole = len(simulate(level=0, radius_nm=5, length_nm=12, solute_percent=0, **NO_DEFECTS).cloud)
    for level, efficiency, lateral, depth in ((1, 0.80, 0.20, 0.06), (3, 0.37, 1.00, 0.30)):
        wire = simulate(level=level, radius_nm=5, length_nm=12, solute_percent=0, measurement=CRYSTAL, **NO_DEFECTS)
        assert len(wire.cloud) / whole == pytest.approx(efficiency, rel=0.02)
        shift = wire.cloud.xyz_nm - wire.xyz_true_nm
        assert shift.std(axis=0) == pytest.approx([lateral, lateral, depth], rel=0.02)
        assert abs(shift.mean(axis=0)).max() < 0.02


def test_changes_of_the_measurement_lie_over_those_of_the_level() -> None:
    params = GanNanowireParams.model_validate({"level": 3, "measurement": {"efficiency": 0.6}})
    assert params.measurement == Measurement.at_level(3, efficiency=0.6)
    assert GanNanowireParams.model_validate(params.model_dump()) == params
    assert GanNanowireParams().measurement == Measurement.at_level(2)


def test_ranges_fit_the_spectrum(default: SimulatedCloud) -> None:
    found = default.ranges.assign(default.cloud.mass_da)
    ranged = found >= 0
    assert ranged.mean() > 0.97
    # what is left are N2 2+, which no range can tell from N+
    assert (found[ranged] == default.species[ranged]).mean() > 0.985
    edges = sorted((r.lo_da, r.hi_da) for r in default.ranges.ranges)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))


def test_ions_come_from_the_free_end_down(default: SimulatedCloud) -> None:
    z = default.xyz_true_nm[:, 2] - np.hypot(*default.xyz_true_nm[:, :2].T) ** 2 / (4 * 9)  # the apex is a cap
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
        ({"dislocation_excess_per_nm": 500.0}, "excess_per_nm = 500"),
        ({"length_nm": 3.0, "n_stacking_faults": 30}, "stacking fault"),
    ],
)
def test_impossible_wires_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        simulate(**changes)


def test_parameters_have_titles_units_and_bounds() -> None:
    assert all(field.title and field.description for field in GanNanowireParams.model_fields.values())
    schema = GanNanowireParams.model_json_schema()["properties"]
    assert schema["radius_nm"]["unit"] == "nm"
    with pytest.raises(ValidationError):
        GanNanowireParams(radius_nm=-1)
    with pytest.raises(ValidationError, match="level must be 0, 1, 2 or 3, got true"):
        GanNanowireParams(level=True)


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
    assert {"Ga", "N", "N2", "Mg", "background"} <= set(truth["species"].unique().to_pylist())
    assert np.array_equal(truth["instance"].to_numpy(), default.instance)
    assert np.array_equal(truth["z_true_nm"].to_numpy(), default.xyz_true_nm[:, 2])
    names = np.array(DEFECT_CLASSES)[default.defect_class]
    assert (np.array(truth["defect_class"].to_pylist()) == names).all()
    bound = np.array(DEFECT_CLASSES)[default.class_of(default.bound_instance)]
    assert (np.array(truth["bound_class"].to_pylist()) == bound).all()
    rows = pq.read_table(tmp_path / "out" / "defects_truth.parquet").to_pylist()
    assert [(r["role"], r["visible"], r["shape"]) for r in rows] == [
        (d.role, d.visible, d.region.shape) for d in default.defects
    ]
    assert [(r["defect"], r["defect_class"], r["n_ions"]) for r in rows] == [
        (d.defect, d.defect_class, d.n_ions) for d in default.defects
    ]
    recipe = json.loads((tmp_path / "out" / "simulation.json").read_text(encoding="utf-8"))
    assert GanNanowireParams.model_validate(recipe["params"]) == default.params
