"""Background of the mass spectrum: what was put in is found again, with the error that is stated."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.ranging import MassBackground, MassBackgroundParams, estimate_mass_background, gaps
from napari_aptdefect.data import Ion, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.io.rrng import read_rrng
from napari_aptdefect.stage import drain

TABLE = RangeTable(
    (Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),)), Ion("Mg", (("Mg", 1),)), Ion("GaN", (("Ga", 1), ("N", 1)))),
    (
        MassRange(68.6, 69.4, 0),
        MassRange(70.6, 71.4, 0),
        MassRange(13.8, 14.3, 1),
        MassRange(23.8, 24.3, 2),  # no such ion is there
        MassRange(82.5, 83.5, 3),
    ),
)
TOP = 200.0


def flat_in_time(n: int, rng: np.random.Generator) -> np.ndarray:
    return (np.sqrt(TOP) * rng.random(n)) ** 2


def peaks(rng: np.random.Generator) -> np.ndarray:
    parts = [(69.0, 6000), (71.0, 4000), (14.0, 8000), (83.0, 300)]
    return np.concatenate([rng.normal(mass, 0.05, n) for mass, n in parts])


def measured(mass: np.ndarray, table: RangeTable = TABLE, **params: object) -> MassBackground:
    return drain(estimate_mass_background(mass.astype(np.float32), table, MassBackgroundParams(**params)))


def inside(mass: np.ndarray, found: MassBackground) -> np.ndarray:
    return np.array([np.count_nonzero((mass >= one.lo_da) & (mass <= one.hi_da)) for one in found.ranges])


@pytest.mark.parametrize("n", [300, 5000, 200_000])
def test_random_arrivals_are_found_again(n: int) -> None:
    rng = np.random.default_rng(n)
    noise = flat_in_time(n, rng)
    found = measured(np.concatenate([peaks(rng), noise]))
    assert found.level == pytest.approx(n / np.sqrt(TOP), abs=4 * found.level_error)
    true = inside(noise, found)
    assert (np.abs(true - found.flat) < 4 * np.sqrt(found.flat + found.background_error**2) + 1).all()
    assert found.random_share == pytest.approx(
        found.level * np.ptp(np.sqrt([found.from_da, found.to_da])) / found.n_total
    )
    assert found.net[0] == pytest.approx(8000, abs=4 * np.sqrt(8000 + true[0])), "ascending: N comes first"
    names = [TABLE.names[one.ion_idx] for one in found.ranges]
    empty = names.index("Mg")
    assert abs(found.signal_to_noise[empty]) < 3.5
    assert found.signal_to_noise[names.index("GaN")] > 5 or n == 200_000
    assert found.probability[empty] > 0.8 or found.counts[empty] < 30
    assert found.probability[0] == pytest.approx(true[0] / found.counts[0], abs=0.05)
    assert found.issues == ()


def test_stated_error_is_the_error() -> None:
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = measured(np.concatenate([peaks(rng), flat_in_time(rng.poisson(20_000), rng)]))
        pulls.append((found.level - 20_000 / np.sqrt(TOP)) / found.level_error)
    assert abs(np.mean(pulls)) < 0.6  # what is clipped as a peak biases the level by a part of its error
    assert 0.7 < np.std(pulls) < 1.4


def test_peaks_without_a_range_and_their_tails_are_no_background() -> None:
    rng = np.random.default_rng(1)
    noise = flat_in_time(20_000, rng)
    strange = [m + rng.normal(0, 0.05, 3000) + rng.exponential(0.8, 3000) for m in (16, 28, 32, 35, 44, 52, 60)]
    found = measured(np.concatenate([peaks(rng), noise, *strange]))
    assert found.n_quiet < 0.95 * found.n_windows
    assert found.level == pytest.approx(20_000 / np.sqrt(TOP), rel=0.05)


def test_nothing_is_assumed_beyond_the_end_of_the_measurement() -> None:
    rng = np.random.default_rng(2)
    noise = flat_in_time(100_000, rng)
    noise = noise[noise < 90]
    found = measured(np.concatenate([peaks(rng), noise]))
    assert found.to_da < 90.1
    assert found.level == pytest.approx(100_000 / np.sqrt(TOP), abs=4 * found.level_error)


class TestTail:
    RANGES = RangeTable(
        (Ion("A", (("Al", 1),)), Ion("B", (("Si", 1),))), (MassRange(26.7, 27.6, 0), MassRange(28.0, 28.6, 1))
    )

    @staticmethod
    def spectrum(seed: int, decay_da: float = 0.4, n_own: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        late = 27 + rng.exponential(decay_da, 60_000)
        return late, flat_in_time(20_000, rng), rng.normal(28.25, 0.03, n_own)

    @pytest.mark.parametrize("decay_da", [0.25, 0.4, 1.0])
    def test_of_an_earlier_peak_is_found_again(self, decay_da: float) -> None:
        pulls, ratios = [], []
        for seed in range(20):
            late, noise, own = self.spectrum(seed, decay_da)
            found = measured(np.concatenate([late, noise, own]), self.RANGES)
            true = 60_000 * (np.exp(-1 / decay_da) - np.exp(-1.6 / decay_da))
            pulls.append((found.tail[1] - true) / found.tail_error[1])
            ratios.append(found.tail[1] / true)
            assert found.tail[0] == 0
        assert np.mean(ratios) == pytest.approx(1, abs=0.05)
        assert np.std(pulls) < 1.6
        assert found.net[1] == pytest.approx(400, abs=4 * found.net_error[1])

    def test_is_left_out_on_request(self) -> None:
        found = measured(np.concatenate(self.spectrum(0)), self.RANGES, tails=False)
        assert not found.tail.any()
        assert not found.tail_error.any()

    def test_of_the_peak_itself_does_not_hide_one_before_it(self) -> None:
        late, noise, own = self.spectrum(0)
        own = own + np.random.default_rng(5).exponential(0.4, len(own)) * 3
        found = measured(np.concatenate([late, noise, np.repeat(own, 20)]), self.RANGES)
        true = 60_000 * (np.exp(-1 / 0.4) - np.exp(-1.6 / 0.4))
        assert found.tail[1] == pytest.approx(true, abs=2 * found.tail_error[1])
        assert found.tail_error[1] < 0.5 * true

    def test_flank_of_the_peak_itself_is_none(self) -> None:
        rng = np.random.default_rng(3)
        wide = rng.normal(28.25, 0.12, 50_000)  # leaks out of its range on both sides
        found = measured(np.concatenate([flat_in_time(20_000, rng), wide]), self.RANGES)
        assert not found.tail.any()

    def test_where_ranges_touch_it_is_said_that_none_is_seen(self) -> None:
        rng = np.random.default_rng(3)
        touching = RangeTable(self.RANGES.ions, (MassRange(27, 27.9, 0), MassRange(27.9, 28.6, 1)))
        found = measured(flat_in_time(20_000, rng), touching)
        assert [issue.code for issue in found.issues] == ["tail-not-seen"]


def test_background_that_is_not_flat_is_an_issue() -> None:
    rng = np.random.default_rng(0)
    found = measured(np.concatenate([peaks(rng), 100 * np.sqrt(rng.random(300_000))]))  # rises with the mass
    assert "background-not-flat" in [issue.code for issue in found.issues]


def test_net_composition_is_that_of_the_peaks() -> None:
    rng = np.random.default_rng(7)
    signal = peaks(rng)
    raw = np.concatenate([signal, flat_in_time(300_000, rng)])
    found = measured(raw)
    net = found.composition(TABLE)
    assert net.background_subtracted
    true = {"Ga": 10_300, "N": 8300}
    for name, n in true.items():
        fraction, error = net[name]
        assert fraction == pytest.approx(n / 18_600, abs=4 * error)
        assert error > 0
    mg, mg_error = net["Mg"]
    assert mg < 4 * mg_error
    total, variance = found.of_ions(4)
    both = [i for i, one in enumerate(found.ranges) if one.ion_idx == 0]
    assert total[0] == pytest.approx(found.background[both].sum())
    # the ranges share the error of the level
    assert np.sqrt(variance[0]) == pytest.approx(found.background_error[both].sum())


def test_counts_are_those_of_the_ranging(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    mass = np.append(np.round(flat_in_time(40_000, rng), 1), [np.nan, np.inf, -3]).astype(np.float32)
    table = RangeTable(TABLE.ions, (*TABLE.ranges, MassRange(70.0, 70.7, 3), MassRange(68.6, 69.4, 2)))
    species = table.assign(mass)
    whole = measured(mass, table)
    per_ion = np.zeros(4, int)
    for one, n in zip(whole.ranges, whole.counts, strict=True):
        per_ion[one.ion_idx] += n
    assert per_ion.tolist() == np.bincount(species[species >= 0], minlength=4).tolist()
    monkeypatch.setattr(gaps, "_BLOCK", 777)
    parts = measured(mass, table)
    assert parts.level == whole.level
    assert np.array_equal(parts.counts, whole.counts)


def test_nothing_to_estimate_is_an_error() -> None:
    with pytest.raises(EmptySelectionError, match="holds no range"):
        measured(np.ones(10), RangeTable((), ()))
    with pytest.raises(EmptySelectionError, match=r"no ion is heavier than 0\.5 Da"):
        measured(np.array([0.1, np.nan]))
    everything = RangeTable((Ion("A"),), (MassRange(0, 300, 0),))
    with pytest.raises(EmptySelectionError, match="ranges cover the whole spectrum"):
        measured(np.linspace(1, 190, 500), everything)


def test_spectrum_without_background() -> None:
    found = measured(peaks(np.random.default_rng(0)))
    assert found.level == pytest.approx(0, abs=4 * found.level_error)
    none = measured(np.full(100, 69.0))  # not even the tail of a peak
    assert none.level == 0
    assert none.level_error > 0  # no count is no proof of a rate of zero
    assert np.isnan(none.probability[[one.ion_idx for one in none.ranges].index(2)])
    assert found.net.sum() == pytest.approx(18_300, rel=0.01)


def test_real_si(si_dir) -> None:
    mass = np.fromfile(si_dir / "Si.pos", ">f4").reshape(-1, 4)[:, 3].astype(np.float32)
    table = read_rrng(si_dir / "Si.RRNG")
    found = measured(mass, table)
    assert found.random_share == pytest.approx(0.027, abs=0.002)
    # where nothing stands out of the spectrum the law alone gives the counts, from 34 to 85 Da
    for lo_da in (32.9, 33.9, 41.9, 49.6, 51.7, 83.6):
        i = int(np.argmin([abs(one.lo_da - lo_da) for one in found.ranges]))
        assert abs(found.signal_to_noise[i]) < 3
        assert found.counts[i] > 70
