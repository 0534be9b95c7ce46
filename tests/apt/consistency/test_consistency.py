"""Flags and weights: what was put in is flagged, what chance and real defects make is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_aptdefect.apt.consistency import ConsistencyParams, Consistent, Flag, check_consistency
from napari_aptdefect.apt.consistency.scan import persistent
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.stage import drain

RADIUS, LENGTH = 12.0, 40.0
QUICK = ConsistencyParams(n_simulated=20, min_spacing_nm=0)  # columns alone


def wire(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    r, angle = RADIUS * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), LENGTH * rng.random(n)])


def thinned(xyz: np.ndarray, share_lost: np.ndarray, seed: int = 1) -> np.ndarray:
    return xyz[np.random.default_rng(seed).random(len(xyz)) >= share_lost]


def bump(xyz: np.ndarray, x: float, y: float, width: float = 1.0) -> np.ndarray:
    return np.exp(-((xyz[:, 0] - x) ** 2 + (xyz[:, 1] - y) ** 2) / (2 * width**2))


def small(seed: int = 0, n: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 5, (n, 3)).astype(np.float32)


def codes(found: Consistent) -> list[str]:
    return [issue.code for issue in found.issues]


def text(found: Consistent, code: str) -> str:
    return next(issue.message for issue in found.issues if issue.code == code)


class TestDuplicates:
    def test_every_ion_of_a_place_is_flagged(self) -> None:
        xyz = small()
        xyz[[10, 500]], xyz[20] = xyz[3], -0.0
        xyz[21] = 0.0
        mass = np.arange(len(xyz), dtype=np.float32)
        mass[10] = mass[3]
        found = drain(check_consistency(xyz, mass_da=mass))
        assert np.flatnonzero(found.has(Flag.DUPLICATE)).tolist() == [3, 10, 20, 21, 500]
        assert found.counts["DUPLICATE"] == 5
        assert "3 ions lie at the very position" in text(found, "duplicate-position")
        assert "1 of them with its mass" in text(found, "duplicate-position")
        assert (found.weight == 1).all()

    def test_weights(self) -> None:
        xyz = small()
        xyz[[10, 500]] = xyz[3]
        light = drain(check_consistency(xyz, ConsistencyParams(duplicates="down-weight")))
        assert light.weight[[3, 10, 500]] == pytest.approx(1 / 3)
        assert light.weight.sum() == pytest.approx(len(xyz) - 2)
        one = drain(check_consistency(xyz, ConsistencyParams(duplicates="remove")))
        assert one.weight[[3, 10, 500]].tolist() == [1, 0, 0]
        assert one.weight.sum() == len(xyz) - 2

    def test_report_knows_what_rounding_makes(self) -> None:
        rounded = np.round(small(1, 30_000), 1)
        found = drain(check_consistency(rounded))
        n_copies = len(rounded) - len(np.unique(rounded, axis=0))
        expected = float(text(found, "duplicate-position").rpartition("makes ")[2])
        assert n_copies == pytest.approx(expected, rel=0.25)  # the density of the lattice of places is no constant
        assert next(i for i in found.issues if i.code == "duplicate-position").severity == "info"


class TestSpacings:
    def test_pairs_are_those_of_scipy(self) -> None:
        xyz = small(2)
        found = drain(check_consistency(xyz, ConsistencyParams(min_spacing_nm=0.1)))
        assert found.n_pairs == len(cKDTree(xyz.astype(np.float64)).query_pairs(0.1))
        assert found.n_pairs == pytest.approx(found.n_pairs_expected, rel=0.15)
        assert not found.has(Flag.TOO_CLOSE).any()

    def test_excess_is_flagged_and_weighed(self) -> None:
        xyz = small(3)
        again = xyz[:300] + np.random.default_rng(0).normal(0, 0.004, (300, 3)).astype(np.float32)
        both = np.concatenate([xyz, again])
        params = ConsistencyParams(min_spacing_nm=0.03, too_close="down-weight")
        found = drain(check_consistency(both, params))
        close = found.has(Flag.TOO_CLOSE)
        pairs = cKDTree(both.astype(np.float64)).query_pairs(0.03, output_type="ndarray")
        assert np.array_equal(np.flatnonzero(close), np.unique(pairs))
        assert close[len(xyz) :].mean() > 0.99
        share = 1 - found.n_pairs_expected / found.n_pairs
        alone = np.bincount(pairs.ravel(), minlength=len(both)) == 1
        assert found.weight[alone] == pytest.approx(1 - share / 2)
        assert found.weight.sum() == pytest.approx(len(xyz), rel=0.01)

    def test_a_lattice_has_none(self) -> None:
        places = np.stack(np.meshgrid(*[np.arange(12) * 0.2] * 3), axis=-1).reshape(-1, 3)
        found = drain(check_consistency(places))
        assert found.n_pairs == 0
        assert not found.flags.any()

    def test_zero_spacing_switches_it_off(self) -> None:
        assert "close-pairs" not in codes(drain(check_consistency(small(), ConsistencyParams(min_spacing_nm=0))))


def test_cells_cut_by_the_hull_carry_their_flag() -> None:
    xyz, cut = small(), np.zeros(3000, bool)
    cut[:40], xyz[5] = True, np.nan
    found = drain(check_consistency(xyz, ConsistencyParams(cut_by_hull="down-weight"), cut_by_hull=cut))
    assert found.counts["CUT_BY_HULL"] == 39  # an ion without a position has no cell
    assert found.weight[:5].tolist() == [0.5] * 5
    assert found.weight[5] == found.flags[5] == 0
    assert "cut-by-hull" not in codes(drain(check_consistency(xyz)))


class TestColumns:
    def test_pole_is_found_and_its_ions_flagged(self) -> None:
        xyz = wire(200_000)
        xyz = thinned(xyz, 0.4 * bump(xyz, 4, -2))
        found = drain(check_consistency(xyz, QUICK.model_copy(update={"columns": "down-weight"})))
        (pole,) = found.columns
        assert pole.kind == "pole"
        assert pole.center == pytest.approx([4, -2], abs=0.4)
        assert pole.contrast == pytest.approx(-0.4, abs=max(3 * pole.contrast_error, 0.05))
        assert pole.false_alarm < 0.01
        assert pole.path_nm[:, :2] == pytest.approx(np.tile([4, -2], (8, 1)), abs=0.4)
        assert np.ptp(pole.path_nm[:, 2]) > 0.8 * LENGTH
        off = np.hypot(xyz[:, 0] - 4, xyz[:, 1] + 2)
        low = found.has(Flag.DEPLETED)
        assert low[off < 0.5].all()
        assert not low[off > 3].any()
        assert not found.has(Flag.TOO_DENSE).any()
        assert pole.n_ions == found.counts["DEPLETED"] == low.sum()
        assert (found.weight[low] < 1).all()
        assert found.weight[off < 0.3].mean() == pytest.approx(0.65, abs=0.08)
        assert "pole at" in text(found, "density-column")

    def test_dense_zone_line_has_a_direction(self) -> None:
        xyz = wire(200_000)
        angle = np.radians(30)
        along = xyz[:, 0] * np.cos(angle) + xyz[:, 1] * np.sin(angle)
        across = xyz[:, 1] * np.cos(angle) - xyz[:, 0] * np.sin(angle)
        line = np.exp(-0.5 * (across / 0.9) ** 2) * (np.abs(along) < 6)
        xyz = thinned(xyz, 0.3 * (1 - line))
        found = drain(check_consistency(xyz, QUICK.model_copy(update={"columns": "remove"})))
        best = found.columns[0]
        assert best.kind == "zone line"
        assert abs(best.direction_deg - 30) < 23
        assert 0.2 < best.contrast < 0.55
        dense = found.has(Flag.TOO_DENSE)
        assert dense.any()
        assert (found.weight[dense] == 0).all()

    @pytest.mark.parametrize("what", ["nothing", "void", "dense ball", "boundary"])
    def test_chance_and_defects_are_no_columns(self, what: str) -> None:
        xyz = wire(120_000, 5)
        if what == "void":
            lost = np.linalg.norm(xyz - [3, 3, 15], axis=1) < 2.5
        elif what == "dense ball":
            lost = np.where(np.linalg.norm(xyz - [-3, 2, 25], axis=1) < 3, 0.0, 0.4)
        elif what == "boundary":  # an inclined sheet of low density
            lost = 0.6 * (np.abs(xyz[:, 0] * 0.7 + (xyz[:, 2] - 20) * 0.7) < 1)
        else:
            lost = np.zeros(len(xyz))
        found = drain(check_consistency(thinned(xyz, lost), QUICK))
        assert not found.columns
        assert found.maps[0].contrast.ndim == 2
        assert not found.has(Flag.DEPLETED | Flag.TOO_DENSE).any()

    def test_pole_of_a_cone_is_straight_only_with_the_specimen(self) -> None:
        xyz = wire(120_000, 7)
        xyz = thinned(xyz, 0.4 * bump(xyz, 5, 0))
        xyz[:, :2] *= 0.5 + xyz[:, 2:] / LENGTH  # and the pole spreads with it
        xyz[:, 0] += 0.1 * xyz[:, 2]
        found = drain(check_consistency(xyz, QUICK))
        assert [one.name for one in found.maps] == ["straight", "with the specimen"]
        best = found.columns[0]
        true = 5 * (0.5 + best.path_nm[:, 2] / LENGTH) + 0.1 * best.path_nm[:, 2]
        assert best.path_nm[:, 0] == pytest.approx(true, abs=0.8)

    def test_hits_hold_a_pole_that_the_positions_smear(self) -> None:
        xyz = wire(100_000, 8)
        xyz = thinned(xyz, 0.4 * bump(xyz, 4, 0))
        hits = 2 * np.tan(xyz[:, :2] / 24)  # a hump in density, as on a flat detector
        xyz[:, 0] += 3 * np.sin(2 * np.pi * xyz[:, 2] / LENGTH)
        found = drain(check_consistency(xyz, QUICK, detector_mm=hits))
        assert [one.unit for one in found.maps] == ["mm"]
        (pole,) = found.columns
        assert pole.center == pytest.approx([2 * np.tan(4 / 24), 0], abs=0.03)
        assert np.ptp(pole.path_nm[:, 0]) > 3

    def test_same_seed_same_result_and_too_few_ions_say_so(self) -> None:
        xyz = wire(20_000, 9)
        one, two = (drain(check_consistency(xyz, QUICK, seed=4)) for _ in range(2))
        assert one.maps[0].threshold == two.maps[0].threshold
        few = drain(check_consistency(xyz[:500], QUICK))
        assert "columns-not-judged" in codes(few)
        assert few.maps == ()


class TestPersistent:
    def test_is_normal_by_chance(self) -> None:
        value = persistent(np.random.default_rng(0).standard_normal((8, 40_000)))
        assert np.mean(value > 3) < 0.004  # two-sided at least
        assert np.mean(np.abs(value) > 2) == pytest.approx(2 * 0.0228, rel=0.2)

    def test_a_third_of_the_slices_count_for_nothing(self) -> None:
        quiet = np.zeros(9)
        loud = quiet.copy()
        loud[:3] = 50
        assert persistent(loud) == pytest.approx(persistent(quiet))
        loud[3] = 50
        assert persistent(loud) > 10
        assert persistent(np.array([-20.0] * 4 + [20.0] * 4)) == 0


def test_bad_input_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EmptySelectionError, match="none of the 3 ions"):
        drain(check_consistency(np.full((3, 3), np.nan)))
    with pytest.raises(ShapeError, match=r"\(N, 3\)"):
        drain(check_consistency(np.zeros((4, 2))))
    with pytest.raises(ShapeError, match="cut_by_hull must have 4 values"):
        drain(check_consistency(np.zeros((4, 3)), cut_by_hull=np.zeros(3, bool)))
    with pytest.raises(ShapeError, match=r"\(4, 2\)"):
        drain(check_consistency(np.zeros((4, 3)), detector_mm=np.zeros((4, 3))))


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_few_ions_are_no_error(n: int) -> None:
    found = drain(check_consistency(small(0, n)))
    assert len(found.flags) == n
    everywhere = drain(check_consistency(np.zeros((n, 3))))
    assert everywhere.counts["DUPLICATE"] == (n if n > 1 else 0)
    found.weight.sum()
    with pytest.raises(ValueError, match="read-only"):
        found.flags[0] = 1
