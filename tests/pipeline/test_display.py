from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_aptdefect.data import Ion, IonCloud, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.pipeline.display import draw_cloud, draw_sample

RANGES = RangeTable((Ion("N"), Ion("Ga")), (MassRange(13.5, 14.5, 0), MassRange(68.0, 71.5, 1)))


def test_a_cloud_within_the_budget_is_drawn_whole():
    sample = draw_sample(50, budget=50)
    assert sample.ion_idx.tolist() == list(range(50))
    assert sample.caption == "drawn 50 of 50"


def test_rare_species_and_defects_are_kept_whole_and_common_ones_keep_their_proportion():
    rng = np.random.default_rng(3)
    species = rng.choice(np.array([-1, 0, 1], np.int16), 300_000, p=[0.1, 0.6, 0.3])
    species[rng.choice(300_000, 40, replace=False)] = 2
    defect = np.zeros(300_000, np.int32)
    defect[1000:1500] = 1
    defect[90_000:90_003] = 2
    sample = draw_sample(300_000, species_idx=species, defect=defect, budget=10_000)
    drawn = species[sample.ion_idx]
    assert len(sample) == 10_000
    assert np.count_nonzero(drawn == 2) == np.count_nonzero(species == 2)
    assert np.array_equal(np.bincount(defect[sample.ion_idx])[1:], np.bincount(defect)[1:])
    outside = defect[sample.ion_idx] == 0
    ratio = np.count_nonzero(drawn[outside] == 0) / np.count_nonzero(drawn[outside] == 1)
    assert ratio == pytest.approx(2.0, rel=0.02)


def test_defects_larger_than_the_budget_are_cut_and_small_ones_stay_whole():
    defect = np.zeros(10_000, np.int32)
    defect[:6000] = 1
    defect[6000:6020] = 2
    sample = draw_sample(10_000, defect=defect, budget=500)
    assert np.bincount(defect[sample.ion_idx], minlength=3).tolist() == [0, 480, 20]


def test_the_seed_decides_the_choice():
    one, again, other = (draw_sample(100_000, budget=1000, seed=seed).ion_idx for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_draws_are_spread_evenly_over_the_file():
    idx = draw_sample(1_000_000, budget=10_000).ion_idx
    per_part = np.histogram(idx, bins=10, range=(0, 1_000_000))[0]
    assert np.abs(per_part - 1000).max() <= 1


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3000),
    n_species=st.integers(1, 9),
    n_defects=st.integers(0, 20),
    budget=st.integers(1, 3000),
    seed=st.integers(0, 5),
)
def test_any_sample_is_within_budget_ascending_and_without_repeats(n, n_species, n_defects, budget, seed):
    rng = np.random.default_rng(seed)
    species = (rng.integers(0, n_species, n) ** 2 // n_species - 1).astype(np.int16)
    defect = np.maximum(rng.integers(-n_defects, n_defects + 1, n), 0).astype(np.int32)
    idx = draw_sample(n, species_idx=species, defect=defect, budget=budget, seed=seed).ion_idx
    assert len(idx) == min(n, budget)
    assert np.all(np.diff(idx) > 0)
    assert idx[0] >= 0
    assert idx[-1] < n
    in_defects = np.count_nonzero(defect)
    assert np.count_nonzero(defect[idx]) >= min(in_defects, budget)


def test_chunk_borders_are_no_seams():
    n = (1 << 20) + 12_345
    species = np.zeros(n, np.int16)
    species[(1 << 20) - 3 : (1 << 20) + 3] = 1
    idx = draw_sample(n, species_idx=species, budget=5000).ion_idx
    assert set(range((1 << 20) - 3, (1 << 20) + 3)) <= set(idx.tolist())


def test_memory_stays_bounded():
    species = np.zeros(5_000_000, np.int16)
    tracemalloc.start()
    draw_sample(len(species), species_idx=species, budget=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_below_one_is_refused(budget):
    with pytest.raises(ParameterError, match="1 or more"):
        draw_sample(10, budget=budget)


def test_arrays_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="species_idx"):
        draw_sample(10, species_idx=np.zeros(9, np.int16))


def test_a_cloud_is_drawn_with_species_and_box():
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 20, (5000, 3)).astype(np.float32)
    mass = np.where(np.arange(5000) % 10 == 0, 69.0, 14.0)
    drawn = draw_cloud(IonCloud.from_arrays(xyz, mass), RANGES, budget=600, seed=1)
    assert np.array_equal(drawn.xyz_nm, xyz[drawn.sample.ion_idx])
    assert np.array_equal(drawn.species_idx, (mass[drawn.sample.ion_idx] > 50).astype(np.int16))
    assert drawn.lower_nm == pytest.approx(xyz.min(axis=0))
    assert drawn.upper_nm == pytest.approx(xyz.max(axis=0))


def test_ions_without_a_position_are_not_drawn_and_still_counted():
    xyz = np.zeros((100, 3), np.float32)
    xyz[:40] = np.nan
    drawn = draw_cloud(IonCloud.from_arrays(xyz, np.ones(100)))
    assert drawn.sample.caption == "drawn 60 of 100"
    with pytest.raises(EmptySelectionError):
        draw_cloud(IonCloud.from_arrays(np.full((3, 3), np.nan), np.ones(3)))
