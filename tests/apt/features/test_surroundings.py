"""Compositional and spatial features: counted by hand, and on specimens whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.stats import binom

from napari_aptdefect.apt.features import (
    Boundary,
    FeatureContext,
    FeatureSetParams,
    charge_states,
    describe_ions,
    multi_hits,
)
from napari_aptdefect.apt.features.composition import chance, contrast
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.data.feature_table import FeatureTable
from napari_aptdefect.data.ranges import Ion
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import drain

IONS = [
    Ion("Ga", (("Ga", 1),)),
    Ion("N", (("N", 1),)),
    Ion("N2", (("N", 2),)),
    Ion("Mg", (("Mg", 1),)),
    Ion("In", (("In", 1),)),
    Ion("label"),
]
LENGTH = 9.0


def described(xyz, species, context=None, workers=None, **params: object) -> FeatureTable:
    graph = drain(build_graph(xyz, GraphParams(k=12)))
    return drain(describe_ions(xyz, species, IONS, graph, context, FeatureSetParams(**params), workers=workers))


@pytest.fixture(scope="module")
def cloud() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = (rng.random((25_000, 3)) * LENGTH).astype(np.float32)
    species = rng.choice(6, len(xyz), p=[0.45, 0.35, 0.1, 0.01, 0, 0.09])
    species[rng.random(len(xyz)) < 0.05] = -1
    return xyz, species


@pytest.fixture(scope="module")
def extra(cloud) -> FeatureContext:
    rng = np.random.default_rng(1)
    n = len(cloud[0])
    return FeatureContext(charge=rng.integers(0, 3, n), multi_hit=rng.random(n) < 0.3)


@pytest.fixture(scope="module")
def table(cloud, extra) -> FeatureTable:
    return described(*cloud, extra)


def test_every_column_says_what_it_is(table: FeatureTable) -> None:
    for column in table.columns:
        assert column.description
        assert column.equation
    assert {column.set for column in table.columns} == {"structural", "compositional", "spatial"}
    assert len(table.columns) > 80


def test_exact_balls_are_counted_by_hand(cloud, extra, table: FeatureTable) -> None:
    xyz, species = cloud
    some = np.arange(0, len(xyz), 500)
    tree = cKDTree(xyz.astype(float))
    for i, near in zip(some, tree.query_ball_point(xyz[some].astype(float), 1.0), strict=True):
        kinds = species[[j for j in near if j != i]]
        n = np.bincount(kinds[kinds >= 0], minlength=6)
        atoms = {"Ga": n[0], "N": n[1] + 2 * n[2], "Mg": n[3]}
        for element, count in atoms.items():
            assert table[f"fraction_{element}_r1"][i] == pytest.approx(count / sum(atoms.values()), rel=1e-5)
        assert table["log_ratio_N_Ga_r1"][i] == pytest.approx(np.log((atoms["N"] + 0.5) / (n[0] + 0.5)), abs=1e-5)
        spread = np.sqrt(1 / (atoms["N"] + 0.5) + 1 / (n[0] + 0.5))
        assert table["log_ratio_error_N_Ga_r1"][i] == pytest.approx(spread, rel=1e-5)
    assert table["fraction_Ga_r4"].mean() == pytest.approx(0.45 / (0.45 + 0.35 + 0.2 + 0.01), abs=0.02)


def test_balls_on_the_grid_are_those_counted_exactly(cloud, extra, table: FeatureTable) -> None:
    exact = described(*cloud, extra, exact_nm=4.0)
    for name, tolerance in (("fraction_Mg_r2", 0.003), ("charge_ratio_r2", 0.02), ("multi_hit_share_r2", 0.02)):
        assert np.nanstd(exact[name] - table[name]) < tolerance
        assert abs(np.nanmean(exact[name] - table[name])) < 0.001
    inner = exact["surface_distance_nm"] > 2.5
    ratio = table["density_r2_per_nm3"][inner] / exact["density_r2_per_nm3"][inner]
    assert np.std(ratio) < 0.02
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_density_is_right_up_to_the_surface(table: FeatureTable) -> None:
    true = 25_000 / LENGTH**3
    at_surface = table["surface_distance_nm"] < 0.5
    assert at_surface.sum() > 2000
    for r, tolerance in ((0.5, 0.1), (1, 0.06), (2, 0.06), (4, 0.1)):
        density = table[f"density_r{r:g}_per_nm3"]
        assert np.nanmean(density) == pytest.approx(true, rel=tolerance)
        assert np.nanmedian(density[at_surface]) == pytest.approx(true, rel=0.25), r


def test_random_ions_are_evidence_for_nothing(table: FeatureTable) -> None:
    # the box holds about twenty balls of 2 nm that don't overlap
    for name, tolerance in (("enrichment_Ga_r1", 0.1), ("enrichment_N_r2", 0.3), ("enrichment_Ga_r2", 0.3)):
        assert abs(np.nanmean(table[name])) < tolerance
        assert np.nanstd(table[name]) == pytest.approx(1, abs=tolerance)


def test_contrast_and_chance_are_those_of_the_textbook() -> None:
    from scipy.stats import chi2_contingency

    expected = chi2_contingency([[30, 70], [100, 500]], correction=False, lambda_="log-likelihood").statistic
    found = contrast(*(np.array([v], float) for v in (30, 100, 100, 600)))
    assert found[0] == pytest.approx(np.sqrt(expected))
    assert contrast(*(np.array([v], float) for v in (5, 100, 100, 600)))[0] < 0
    assert np.isnan(contrast(*(np.array([v], float) for v in (0, 0, 1, 6)))[0])
    k = np.array([0.0, 1, 5, 40])
    np.testing.assert_allclose(chance(k, np.full(4, 100.0), 0.02), -np.log10(binom.sf(k - 1, 100, 0.02)), atol=1e-9)
    assert chance(np.array([1e4]), np.array([1e4]), 1e-6)[0] == 300


def test_a_doped_ball_stands_out(cloud) -> None:
    xyz, species = cloud
    doped = species.copy()
    inside = np.sum((xyz - LENGTH / 2) ** 2, axis=1) < 1.2**2
    doped[inside & (np.random.default_rng(2).random(len(xyz)) < 0.2)] = 4
    table = described(xyz, doped, ratio="In/Ga")
    core = np.sum((xyz - LENGTH / 2) ** 2, axis=1) < 0.6**2
    far = np.sum((xyz - LENGTH / 2) ** 2, axis=1) > 3.5**2
    assert np.median(table["enrichment_In_r1"][core]) > 5
    assert np.median(table["dopant_significance_r2"][core]) > 10
    assert np.median(table["dopant_significance_r2"][far]) < 1
    assert np.median(table["fraction_In_r1"][core]) == pytest.approx(0.18, abs=0.05)
    toward = np.median(table["composition_gradient_per_nm"][inside & ~core])
    assert toward > 1.5 * np.median(table["composition_gradient_per_nm"][far])


def test_what_is_not_known_is_missing(cloud, table: FeatureTable) -> None:
    bare = described(*cloud)
    for name in ("charge_ratio_r2", "multi_hit_share_r2", "void_share_r2", "void_distance_nm", "cell_volume_nm3"):
        assert bare.missing_share[name] == 1
    assert table.missing_share["charge_ratio_r2"] == 0
    assert np.nanmean(table["charge_ratio_r2"]) == pytest.approx(0.5, abs=0.02)
    assert np.nanmean(table["multi_hit_share_r2"]) == pytest.approx(0.3, abs=0.02)
    pure = described(cloud[0][:4000], np.zeros(4000, int), ratio="")
    assert pure.missing_share["dopant_ions_r2"] == 1
    assert not any(name.startswith("log_ratio") for name in pure.names)


def test_ions_at_no_place_have_no_features(cloud) -> None:
    xyz, species = cloud[0][:5000].copy(), cloud[1][:5000]
    clean = described(np.delete(xyz, [7, 8], axis=0), np.delete(species, [7, 8]))
    xyz[7], xyz[8, 1] = np.nan, np.inf
    table = described(xyz, species)
    assert np.isnan(table.values[7:9]).all()
    np.testing.assert_array_equal(np.delete(table.values, [7, 8], axis=0), clean.values)


def test_order_of_the_ions_and_threads_do_not_matter(cloud, extra, table: FeatureTable) -> None:
    xyz, species = cloud
    order = np.random.default_rng(3).permutation(len(xyz))
    shuffled = FeatureContext(charge=extra.charge[order], multi_hit=extra.multi_hit[order])
    again = described(xyz[order], species[order], shuffled, workers=1)
    np.testing.assert_allclose(again.values, table.values[order], rtol=2e-4, atol=2e-4)
    one = described(xyz, species, extra, workers=1)
    np.testing.assert_array_equal(one.values, table.values)


def test_a_rotation_changes_only_what_depends_on_the_frame(cloud, extra, table: FeatureTable) -> None:
    xyz, species = cloud
    turn = Rotation.from_rotvec([0.4, 0.9, -0.3]).as_matrix()
    turned = described((xyz @ turn.T).astype(np.float32), species, extra)
    inner = np.minimum(table["surface_distance_nm"], turned["surface_distance_nm"]) > 1
    for column in table.columns:
        a, b = table[column.name], turned[column.name]
        known = np.isfinite(a) & np.isfinite(b) & inner
        if not known.any():
            continue
        if column.name.startswith("density_r"):  # half a voxel of the surface, 0.25 nm, is a sixth of this box
            assert np.mean(a[known]) == pytest.approx(np.mean(b[known]), rel=0.1), column.name
            continue
        on_grid = column.name.endswith(("_r2", "_r4")) or "enrichment" in column.name
        if column.set == "spatial":
            continue
        if on_grid:
            assert abs(np.mean(a[known] - b[known])) <= 0.1 * np.std(a[known]) + 1e-3, column.name
            if np.ptp(a[known]) > 0 and np.ptp(b[known]) > 0:
                assert np.corrcoef(a[known], b[known])[0, 1] > 0.85, column.name
        else:
            far = np.abs(a[known] - b[known]) > 1e-3 * (np.abs(a[known]) + 1e-1)
            assert far.mean() < 1e-3, column.name  # ions on a sphere fall on either side of it


def test_place_in_a_cylinder() -> None:
    rng = np.random.default_rng(4)
    xyz = rng.uniform([-5, -5, 0], [5, 5, 14], (60_000, 3)).astype(np.float32)
    xyz = xyz[np.hypot(xyz[:, 0], xyz[:, 1]) < 5]
    species = (rng.random(len(xyz)) < 0.02 + 0.05 * xyz[:, 2]).astype(int)
    table = described(xyz, species, radii_nm=(1.0, 2.0), ratio="N/Ga")
    radius = np.hypot(xyz[:, 0], xyz[:, 1])
    true = np.minimum.reduce([5 - radius, xyz[:, 2], 14 - xyz[:, 2]])
    error = table["surface_distance_nm"] - true
    assert abs(np.median(error)) < 0.2
    assert np.std(error) < 0.25
    np.testing.assert_allclose(table["axis_distance_nm"], radius, atol=0.1)
    np.testing.assert_allclose(table["relative_height"], xyz[:, 2] / 14, atol=0.01)
    east = radius > 1
    np.testing.assert_allclose(table["axis_azimuth_cos"][east], (xyz[:, 0] / radius)[east], atol=0.05)
    side = (radius > 4) & (np.abs(xyz[:, 2] - 7) < 3)
    assert np.abs(np.median(table["surface_normal_cos"][side])) < 0.1
    cap = (xyz[:, 2] > 13.3) & (radius < 3)
    assert np.median(table["surface_normal_cos"][cap]) > 0.95
    inner = true > 2.5
    assert np.median(table["composition_gradient_per_nm"][inner]) == pytest.approx(0.05, rel=0.2)
    assert np.median(table["composition_gradient_cos"][inner]) > 0.9

    turn = Rotation.from_rotvec([0, 0.7, 0]).as_matrix()
    turned = described((xyz @ turn.T).astype(np.float32), species, axis="principal", ratio="N/Ga")
    np.testing.assert_allclose(turned["axis_distance_nm"], table["axis_distance_nm"], atol=0.15)
    np.testing.assert_allclose(turned["height_nm"], table["height_nm"], atol=0.15)
    assert abs(np.median(turned["surface_distance_nm"] - table["surface_distance_nm"])) < 0.15


def test_voids_are_felt_around_them(cloud) -> None:
    xyz, species = cloud
    kept = np.sum((xyz - LENGTH / 2) ** 2, axis=1) > 1.5**2
    void = np.array([[LENGTH / 2] * 3 + [1.5]])
    table = described(xyz[kept], species[kept], FeatureContext(voids=void))
    distance = np.linalg.norm(xyz[kept] - LENGTH / 2, axis=1) - 1.5
    np.testing.assert_allclose(table["void_distance_nm"], distance, atol=1e-4)
    near, far = distance < 0.3, distance > 2.8
    assert np.median(table["low_density_share_r2"][near]) > 0.1
    assert np.median(table["low_density_share_r2"][far]) == 0
    assert table["void_share_r4"][near].mean() == pytest.approx((1.5 / 4) ** 3, rel=0.2)
    assert not table["void_share_r2"][far].any()
    none = described(xyz[:3000], species[:3000], FeatureContext(voids=np.empty((0, 4))))
    assert not none["void_share_r2"].any()
    assert none.missing_share["void_distance_nm"] == 1


def test_charge_states_and_multiple_hits() -> None:
    species = np.array([0, 0, 2, 5, -1, 0])
    masses = np.array([68.93, 34.46, 28.0, 10.0, 20.0, np.nan])
    assert charge_states(IONS, species, masses).tolist() == [1, 2, 1, 0, 0, 0]
    assert multi_hits([3, 0, 0, 1]).tolist() == [True, True, True, False]


def test_ions_at_one_place_are_counted() -> None:
    xyz = np.repeat(np.random.default_rng(6).random((400, 3)).astype(np.float32) * 3, 2, axis=0)
    table = described(xyz, np.zeros(len(xyz)), radii_nm=(1.0,), context_nm=1.0)
    assert not table["nearest_distance_nm"].any()
    assert np.isfinite(table["density_r1_per_nm3"]).mean() > 0.8
    assert np.isnan(table["bond_angle_deg"]).all()  # there is no direction to an ion at the same place
    assert np.isfinite(table["q6"]).all()


def test_progress_runs_to_100_and_can_be_stopped(cloud) -> None:
    xyz, species = cloud[0][:5000], cloud[1][:5000]
    graph = drain(build_graph(xyz, GraphParams(k=12)))
    seen: list[float] = []
    drain(describe_ions(xyz, species, IONS, graph), lambda progress: seen.append(progress.done))
    assert seen == sorted(seen)
    assert seen[-1] == 100
    stage = describe_ions(xyz, species, IONS, graph)
    for _ in range(4):
        next(stage)
    stage.close()


def test_bad_input_is_refused(cloud) -> None:
    xyz, species = cloud[0][:1000], cloud[1][:1000]
    with pytest.raises(ShapeError, match="charge of 3"):
        described(xyz, species, FeatureContext(charge=np.ones(3, int)))
    with pytest.raises(ParameterError, match="at most 12 neighbors"):
        described(xyz, species, n_shell=14)
    with pytest.raises(ParameterError, match="between -1"):
        described(xyz, species + 9)
    with pytest.raises(ParameterError, match="needs Si"):
        described(xyz, species, ratio="Ga/Si")
    with pytest.raises(ShapeError, match=r"\(V, 4\)"):
        described(xyz, species, FeatureContext(voids=np.zeros((2, 3))))
    with pytest.raises(EmptySelectionError, match="finite"):
        described(np.full((100, 3), np.nan, np.float32), np.zeros(100))
    with pytest.raises(ParameterError, match="column's name"):
        FeatureContext(boundaries={"a b": Boundary.unknown(3)})
    with pytest.raises(ShapeError, match="boundary wall of 3"):
        described(xyz, species, FeatureContext(boundaries={"wall": Boundary.unknown(3)}))
    with pytest.raises(ParameterError, match="together"):
        FeatureContext(inside=np.ones((2, 2, 2), bool))
    with pytest.raises(ValueError, match="greater than 0"):
        FeatureSetParams(radii_nm=(0.0,))
