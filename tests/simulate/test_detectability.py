"""What an ideal observer sees, against closed forms, measured values and a simulation of the labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr

from napari_aptdefect.errors import ParameterError, ShapeError
from napari_aptdefect.simulate import gan_specs as specs
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.detectability import Conditions, judge, known_geometry, role_of, with_ceiling
from napari_aptdefect.simulate.detectability.balls import blurred_ball, excess_term, site_term
from napari_aptdefect.simulate.detectability.lattice import even_point_term
from napari_aptdefect.simulate.labels import label_places
from napari_aptdefect.simulate.regions import Region
from napari_aptdefect.simulate.truth import DefectTruth

LEVELS = {0: (1.0, 0.02, 0.02), 1: (0.8, 0.2, 0.06), 2: (0.8, 0.6, 0.2), 3: (0.37, 1.0, 0.3)}
SITES = gan.ATOMS_PER_NM3 / 2


def conditions(level: int, *some: Any, efficiency: float | None = None, mg_per_nm3: float = 0.01) -> Conditions:
    default, lateral, depth = LEVELS[level]
    e = default if efficiency is None else efficiency
    detected = {"Ga": (SITES - mg_per_nm3) * e, "N": SITES * e, "Mg": mg_per_nm3 * e}
    numbered = dict(enumerate(some, start=1))
    return Conditions(
        (lateral, depth), detected, {"Ga": e, "N": e, "Mg": e}, numbered, species=("Ga", "N", "Mg", "noise")
    )


def point(number: int = 1) -> DefectTruth:
    return DefectTruth(number, "vacancy", "Ga vacancy", "control", Region("point", (0.0, 0.0, 0.0)), n_sites=1)


def empty_ball(n: int, **more: Any) -> tuple[specs.VacancyCluster, DefectTruth]:
    radius = (3 * n / (4 * math.pi * gan.ATOMS_PER_NM3)) ** (1 / 3)
    region = Region("sphere", (0.0, 0.0, 0.0), radius_nm=radius)
    truth = DefectTruth(1, "vacancy", "cluster", "target", region, n_sites=n, n_missing=n, **more)
    return specs.VacancyCluster(n_vacancies=n), truth


def slab(spec: Any, half: float, area: float = 100.0, n_excess: float = 0.0) -> DefectTruth:
    region = Region("slab", (0.0, 0.0, 0.0), getattr(spec, "normal", (0.0, 0.0, 1.0)), half)
    n_sites = int(area * 2 * half * gan.ATOMS_PER_NM3)
    return DefectTruth(
        1, "x", spec.kind, "target", region, volume_nm3=area * 2 * half, n_sites=n_sites, n_excess=n_excess,
        solute="Mg" if n_excess else "",
    )  # fmt: skip


def tube(spec: specs.Dislocation, length: float = 20.0, n_excess: float = 0.0) -> DefectTruth:
    region = Region("tube", (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), spec.radius_nm)
    volume = length * math.pi * spec.radius_nm**2
    return DefectTruth(
        1, "dislocation", spec.kind, "target", region, volume_nm3=volume, n_excess=n_excess,
        n_sites=int(volume * gan.ATOMS_PER_NM3), solute="Mg" if n_excess else "",
    )  # fmt: skip


@pytest.mark.parametrize("efficiency", [0.1, 0.37, 0.52, 0.8, 1.0])
@pytest.mark.parametrize(
    "spec", [specs.Vacancy(), specs.Vacancy(sublattice="N"), specs.Interstitial(site="octahedral")]
)
def test_single_point_on_a_resolved_lattice_has_exactly_half_plus_half_the_efficiency(efficiency, spec) -> None:
    (seen,) = judge([point()], conditions(0, spec, efficiency=efficiency))
    assert seen.auc == pytest.approx(0.5 + efficiency / 2, abs=1e-6)
    assert math.isinf(seen.d_prime) == (efficiency == 1.0)


@pytest.mark.parametrize(("level", "measured", "error"), [(2, 0.53, 0.03), (3, 0.51, 0.02)])
def test_single_vacancy_agrees_with_measured_values_and_is_hidden(level, measured, error) -> None:
    (seen,) = judge([point()], conditions(level, specs.Vacancy()))
    assert seen.auc == pytest.approx(measured, abs=error)  # 2500 repetitions
    assert not seen.visible


def test_vacancy_at_level_1_is_that_of_an_observer_on_the_lattice() -> None:
    # Monte Carlo by benchmarks/detectability.py. An observer who is blind to the species has 0.589 +- 0.008 (measured).
    (seen,) = judge([point()], conditions(1, specs.Vacancy()))
    assert seen.auc == pytest.approx(0.64, abs=0.015)
    blind = 0.8 / (gan.ATOMS_PER_NM3 * (4 * math.pi) ** 1.5 * 0.2**2 * 0.06)
    assert ndtr(math.sqrt(blind / 2)) == pytest.approx(0.589, abs=0.02)


@pytest.mark.parametrize(("n", "level"), [(70, 1), (187, 2), (529, 3)])
def test_poisson_limit_reproduces_the_published_thresholds(n, level) -> None:
    e, lateral, depth = LEVELS[level]
    radius = empty_ball(n)[1].region.radius_nm
    ball = blurred_ball(radius, (lateral, lateral, depth))
    # Thinned to a thousandth, sites are as good as Poisson counts
    d_prime = math.sqrt(site_term(ball, 1e3 * gan.ATOMS_PER_NM3 * e, [1e-3], [-1e-3], 0.0))
    # The Gaussian form replaces the ball by its second moments; it exceeds the ball's own by up to 9 %.
    spread = (lateral**2 + radius**2 / 5) * math.sqrt(depth**2 + radius**2 / 5)
    closed = math.sqrt(e * n**2 / gan.ATOMS_PER_NM3 / ((4 * math.pi) ** 1.5 * spread))
    assert closed == pytest.approx(6.0, rel=0.01)
    assert 0.91 * closed < d_prime < closed
    spec, truth = empty_ball(n)
    (seen,) = judge([truth], conditions(level, spec))
    assert 1.05 < seen.d_prime / closed < 2.1  # what a Monte Carlo on the lattice gave


def test_blurred_ball_keeps_its_volume_and_its_power() -> None:
    for sigma in ((0.2,), (0.6, 0.2), (0.6, 0.6, 0.2)):
        ball = blurred_ball(1.3, sigma)
        assert np.sum(ball.share * ball.weight) == pytest.approx(ball.measure, rel=1e-3)
        assert np.sum(ball.energy) == pytest.approx(ball.measure, rel=0.15)  # a border of one voxel
        assert np.sum(ball.energy * ball.gain) == pytest.approx(np.sum(ball.share**2 * ball.weight), rel=0.01)


def test_slab_after_the_blur_is_a_difference_of_error_functions() -> None:
    ball, sigma = blurred_ball(0.5, (0.2,)), 0.2
    z = np.linspace(-3, 3, 60_001)
    share = ndtr((z + 0.5) / sigma) - ndtr((z - 0.5) / sigma)
    assert np.sum(ball.energy * ball.gain) == pytest.approx(np.sum(share**2) * (z[1] - z[0]), rel=0.01)


@pytest.mark.parametrize(
    ("radius", "sigma", "extent", "expected"),
    [(2.0, (0.6, 0.6, 0.2), 1.0, (6, 18)), (1.0, (0.6, 0.6), 20.0, (0.5, 1.6)), (0.125, (0.2,), 100.0, (0.07, 0.22))],
    ids=["cluster", "line", "plane"],
)
def test_solute_thresholds(radius, sigma, extent, expected) -> None:
    ball = blurred_ball(radius, sigma)
    for background, published in zip((0.01, 0.1), expected, strict=True):
        # A faint change stands for the linear form, which is what was published
        faint = excess_term(ball, 0.52 * background, 1e-6) / 1e-12 * (0.52 / ball.measure) ** 2
        assert 6 / math.sqrt(extent * faint) == pytest.approx(published, rel=0.12)
        exact = brentq(
            lambda n, b=background: extent * excess_term(ball, 0.52 * b, 0.52 * n / ball.measure) - 36, 0.01, 500
        )
        assert exact > published  # the linear form counts 3 ions as certain


def test_lone_solute_atoms_are_counted_not_trusted() -> None:
    ball = blurred_ball(2.0, (0.02, 0.02, 0.02))
    assert excess_term(ball, 0.0, 9 / ball.measure) == pytest.approx(36, rel=0.01)  # d' = 6 takes nine ions
    # Of n Poisson ions none is seen with exp(-n): the area under the ROC curve is 1 - exp(-n)/2
    truth = DefectTruth(
        1, "solute_cluster", "c", "target", Region("sphere", (0.0, 0.0, 0.0), radius_nm=1.0), n_sites=367, n_excess=1.0,
        solute="Mg",
    )  # fmt: skip
    (seen,) = judge([truth], conditions(2, specs.SoluteCluster(), mg_per_nm3=0.0))
    assert 0.5 < seen.auc <= 1 - math.exp(-0.8) / 2 + 1e-9


def test_point_where_the_blur_hides_the_lattice_is_the_limit_of_a_small_ball() -> None:
    cov = np.diag([0.36, 0.36, 0.04])
    ball = blurred_ball(0.05, (0.6, 0.6, 0.2))
    share = 1 / (SITES * ball.measure)
    assert site_term(ball, SITES, [0.8], [-0.8 * share], 0.0) == pytest.approx(even_point_term(0.8, 0.8, cov), rel=0.04)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(5, 300), level=st.integers(1, 2))
def test_voids_are_easier_when_larger_and_at_lower_levels(n: int, level: int) -> None:
    def d_prime(count: int, at: int) -> float:
        spec, truth = empty_ball(count)
        return judge([truth], conditions(at, spec))[0].d_prime

    assert d_prime(n, level) < d_prime(int(n * 1.4) + 1, level)
    assert d_prime(n, level) > d_prime(n, level + 1)


@pytest.mark.parametrize("fault", ["I1", "E"])
def test_undecorated_faults_vanish_above_level_0_by_calculation(fault) -> None:
    spec = specs.StackingFault(fault=fault)
    found = [judge([slab(spec, gan.fault_thickness_nm(fault) / 2)], conditions(level, spec))[0] for level in (0, 1, 2)]
    assert found[0].d_prime > 50
    assert all(one.d_prime < 0.1 for one in found[1:])


def test_dislocations_are_seen_by_planes_and_density() -> None:
    screw, edge = (specs.Dislocation(core=core) for core in ("screw", "edge"))
    of_screw = [judge([tube(screw)], conditions(level, screw))[0].d_prime for level in (1, 2)]
    of_edge = [judge([tube(edge)], conditions(level, edge))[0].d_prime for level in (1, 2)]
    assert of_screw[0] > 10  # a depth blur of 0.06 nm leaves 35 % of the (0002) planes
    assert of_screw[1] < 0.2
    assert of_edge[1] < 2 < of_edge[0] < 6


def test_who_does_not_know_the_planes_sees_the_solute_only() -> None:
    screw, bare = (specs.Dislocation(core=core, excess_per_nm=1.0) for core in ("screw", "none"))
    known = conditions(1, screw)
    assert judge([tube(screw, 20, 20.0)], known)[0].d_prime > 12
    seen = judge([tube(screw, 20, 20.0)], replace(known, planes_known=False))[0]
    assert seen.d_prime == judge([tube(bare, 20, 20.0)], conditions(1, bare))[0].d_prime
    undecorated = specs.Dislocation(core="screw")
    assert judge([tube(undecorated)], replace(conditions(1, undecorated), planes_known=False))[0].d_prime == 0


def test_tube_counts_with_the_root_of_its_length_and_so_does_a_plane() -> None:
    line = specs.Dislocation(core="none", excess_per_nm=1.0)
    short, long = (judge([tube(line, n, n * 1.0)], conditions(2, line))[0].d_prime for n in (10.0, 40.0))
    assert long == pytest.approx(2 * short, rel=1e-3)
    fault = specs.StackingFault(excess_per_nm2=0.5)
    small, large = (judge([slab(fault, 0.26, a, 0.5 * a)], conditions(2, fault))[0].d_prime for a in (50.0, 200.0))
    assert large == pytest.approx(2 * small, rel=1e-3)


def test_missing_spec_or_efficiency_is_said() -> None:
    with pytest.raises(ParameterError, match=r"Conditions\.specs"):
        judge([point()], conditions(2))
    line = specs.Dislocation(core="none")
    with pytest.raises(ParameterError, match="no efficiency of Mg"):
        judge([tube(line, n_excess=5.0)], replace(conditions(2, line), efficiency={"Ga": 0.8, "N": 0.8}))
    with pytest.raises(ParameterError, match="sites per nm3"):
        Conditions((0.6, 0.2), {"Ga": 60.0}, {})
    with pytest.raises(ParameterError, match="above 0 nm"):
        Conditions((0.0, 0.2), {}, {})


def labeled(radius: float, sigma: tuple[float, float], n_max: int = 200_000) -> float:
    rng = np.random.default_rng(1)
    half = radius + 4 * sigma[0]
    true = rng.uniform(-half, half, (min(int(60 * (2 * half) ** 3), n_max), 3))
    region = Region("sphere", (0.0, 0.0, 0.0), radius_nm=radius)
    ball = DefectTruth(1, "solute_cluster", "c", "target", region, n_sites=1000)
    blurred = true + rng.normal(size=true.shape) * (sigma[0], sigma[0], sigma[1])
    where = replace(conditions(2, specs.SoluteCluster()), level_sigma_nm=sigma)
    bound = known_geometry(blurred, np.zeros(len(true), np.int8), [ball], where, rng)
    return with_ceiling([ball], label_places(true, [ball]), bound)[0].iou_ceiling


@pytest.mark.parametrize(("radius", "ceiling"), [(1, 0.37), (2, 0.61), (3, 0.72), (5, 0.82), (8, 0.88)])
def test_overlap_of_a_ball_has_the_measured_ceiling(radius, ceiling) -> None:
    assert labeled(radius, (0.5, 0.2)) == pytest.approx(ceiling, abs=0.02)


def test_small_ball_keeps_ions_at_level_3() -> None:
    assert labeled(1, (1.0, 0.3)) == pytest.approx(0.17, abs=0.02)


def mixture() -> tuple[list[Any], list[DefectTruth]]:
    some = [
        specs.SoluteCluster(),
        specs.Void(),
        specs.Dislocation(excess_per_nm=8.0),
        specs.StackingFault(excess_per_nm2=2.0),
        specs.SoluteCluster(),
        specs.Vacancy(),
        specs.Vacancy(),
    ]
    regions = [
        Region("sphere", (2.0, 0.0, 3.0), radius_nm=1.5),
        Region("sphere", (-2.0, 0.5, 6.0), radius_nm=1.2),
        Region("tube", (0.5, 0.0, 0.0), (0.6, 0.0, 0.8), 0.8),
        Region("slab", (0.0, 0.0, 7.0), (0.0, 0.0, 1.0), 0.5),
        Region("sphere", (3.0, 1.0, 3.5), radius_nm=1.0),
        Region("point", (-3.0, -3.0, 2.0)),
        Region("point", (-3.0, -2.8, 2.0)),
    ]
    classes = ("solute_cluster", "void", "dislocation", "stacking_fault", "solute_cluster", "vacancy", "vacancy")
    missing = (0, 634, 0, 0, 0, 1, 1)
    return some, [
        DefectTruth(i + 1, classes[i], "", "target", regions[i], n_sites=634, n_missing=missing[i]) for i in range(7)
    ]


def test_labeler_tells_the_truth_where_nothing_blurs() -> None:
    some, truths = mixture()
    rng = np.random.default_rng(3)
    true = rng.uniform((-5, -5, 0), (5, 5, 10), (300_000, 3))
    true = true[truths[1].region.distance_nm(true) > 0]  # no atoms in a void
    expected = label_places(true, truths)
    where = replace(conditions(0, *some), level_sigma_nm=(1e-6, 1e-6))
    found = known_geometry(true, np.zeros(len(true), int), truths, where, rng)
    assert (found == expected).mean() > 0.9999
    assert set(np.unique(expected)) == set(range(8))
    blurred = true + rng.normal(0, 0.02, true.shape)
    at_level_0 = known_geometry(blurred, np.zeros(len(true), int), truths, conditions(0, *some), rng)
    assert (at_level_0 == expected).mean() > 0.98  # ions within the blur of a border


def test_labeler_is_deterministic_uses_species_and_checks_its_input() -> None:
    some, truths = mixture()
    truths[0] = replace(truths[0], solute="Mg", n_excess=60.0)
    y = np.random.default_rng(0).normal((2.0, 0.0, 3.0), 1.3, (20_000, 3))
    where = conditions(2, *some)
    first, again, solute, noise = (
        known_geometry(y, np.full(len(y), code), truths[:1], where, np.random.default_rng(5)) for code in (0, 0, 2, 3)
    )
    assert (first == again).all()
    assert (solute > 0).sum() > 1.2 * (first > 0).sum()  # Mg comes from the cluster, even beside it
    assert not noise.any()
    assert not known_geometry(y, np.zeros(len(y)), [], where, np.random.default_rng(0)).any()
    with pytest.raises(ShapeError, match="give"):
        known_geometry(y, np.zeros(3), truths, where, np.random.default_rng(0))
    with pytest.raises(ShapeError, match="one of each"):
        with_ceiling(truths, np.zeros(3, int), np.zeros(4, int))


def test_ceiling_is_intersection_over_union() -> None:
    truths = mixture()[1][:3]
    first, second, third = with_ceiling(truths, np.array([1, 1, 1, 0, 2]), np.array([1, 1, 0, 1, 0]))
    assert (first.iou_ceiling, second.iou_ceiling) == (0.5, 0.0)
    assert math.isnan(third.iou_ceiling)


def test_roles() -> None:
    for level in (1, 2, 3):
        assert role_of("vacancy", level, decorated=False, is_point=True) == "control"
        assert role_of("stacking_fault", level, decorated=False, is_point=False) == "control"
        assert role_of("dislocation", level, decorated=True, is_point=False) == "target"
    assert role_of("interstitial", 0, decorated=False, is_point=True) == "target"
    assert role_of("grain_boundary", 3, decorated=False, is_point=False) == "target"
    assert role_of("matrix", 0, decorated=True, is_point=False) == "structure"
