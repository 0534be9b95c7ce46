from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.delocalize import DelocalizeParams, delocalize
from napari_aptdefect.data import Ion, RangeTable, VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.pipeline.display_volumes import (
    Quantity,
    VolumeParams,
    label_volume,
    make_volume,
    quantities,
    suggest_level,
    surface_at,
)
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.stage import Progress, drain

TABLE = RangeTable(
    (Ion("Ga", (("Ga", 1),)), Ion("In", (("In", 1),)), Ion("N2", (("N", 2),)), Ion("GaN", (("Ga", 1), ("N", 1)))), ()
)
RADIUS = 4.0


@pytest.fixture(scope="module")
def ball() -> RangedIons:
    """A block of 40 ions/nm3 with a ball in its middle where half of the ions are In, elsewhere one in a hundred."""
    rng = np.random.default_rng(3)
    xyz = rng.uniform(-10, 10, (320_000, 3)).astype(np.float32)
    inside = np.linalg.norm(xyz, axis=1) < RADIUS
    is_in = rng.random(len(xyz)) < np.where(inside, 0.5, 0.01)
    species = np.where(is_in, 1, rng.choice([0, 2, 3], len(xyz))).astype(np.int16)
    species[::50] = -1
    return RangedIons(xyz, species, TABLE)


def test_the_density_holds_every_ion_and_its_surface_is_the_outline(ball):
    volume = drain(make_volume(ball))
    assert volume.grid.values.sum(dtype=float) == pytest.approx(320_000, rel=1e-5)
    assert volume.surface.level == pytest.approx(20, rel=0.05)  # half of 40 ions/nm3, a little less by the rim
    assert volume.surface.volume_nm3 == pytest.approx(20**3, rel=0.03)
    assert "suggested: half way from" in volume.note


def test_the_suggested_level_of_a_composition_finds_the_ball(ball):
    steps: list[Progress] = []
    volume = drain(make_volume(ball, Quantity("ion", "In")), steps.append)
    assert volume.grid.unit == "fraction of ranged ions"
    assert volume.surface.level == pytest.approx(0.25, abs=0.04)
    assert volume.surface.volume_nm3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.1)
    assert "nothing stands out" not in volume.note
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert np.isnan(volume.grid.values[0, 0, 0])  # too few ions to say, outside of the block


def test_joining_kinds_of_ions_changes_no_fraction(ball):
    params = VolumeParams(voxel_nm=1.0, surface=False, min_ions=5.0)
    full = drain(delocalize(ball.xyz_nm, ball.species_idx, TABLE, DelocalizeParams()))
    for element in ("Ga", "In", "N"):
        mine = drain(make_volume(ball, Quantity("element", element), params)).grid
        theirs = full.fraction(element, 5.0)[0]
        np.testing.assert_allclose(mine.values, theirs.values, atol=1e-5)
        np.testing.assert_allclose(mine.origin_nm, theirs.origin_nm)


def test_noise_is_called_noise(ball):
    even = RangedIons(ball.xyz_nm, np.where(np.arange(len(ball.xyz_nm)) % 10, 0, 1).astype(np.int16), TABLE)
    volume = drain(make_volume(even, Quantity("element", "In")))
    assert "nothing stands out from the noise" in volume.note


def test_a_poorer_region_is_found_as_well():
    values = np.full((20, 20, 20), 0.5, np.float32) + np.random.default_rng(0).normal(0, 0.01, (20, 20, 20))
    values[5:9, 5:9, 5:9] = 0.2
    values[0] = np.nan
    level = suggest_level(VoxelGrid(values.astype(np.float32), np.zeros(3), np.ones(3), "Ga", "atomic fraction"))
    assert level.value == pytest.approx(0.35, abs=0.01)
    assert level.is_sure
    with pytest.raises(EmptySelectionError, match="one value everywhere"):
        suggest_level(VoxelGrid(np.ones((3, 3, 3), np.float32), np.zeros(3), np.ones(3)))


def test_a_level_that_is_given_is_taken(ball):
    volume = drain(make_volume(ball, Quantity("element", "In"), VolumeParams(level=0.1)))
    assert volume.surface.level == pytest.approx(0.1)
    assert volume.note == ""
    with pytest.raises(EmptySelectionError, match="never through"):
        surface_at(volume.grid, 0.99)


def test_what_can_be_shown_follows_from_the_ranges():
    assert [item.label for item in quantities(None)] == ["density of all ions"]
    assert [item.label for item in quantities(TABLE)] == [
        "density of all ions",
        *(f"{name}, atomic fraction" for name in ("Ga", "In", "N")),
        *(f"{name}, share of ranged ions" for name in ("N2", "GaN")),
    ]


def test_what_can_not_be_shown_is_said(ball):
    with pytest.raises(ParameterError, match="no element 'Xe' in the ranges; there are Ga, In, N"):
        drain(make_volume(ball, Quantity("element", "Xe")))
    far = RangedIons(np.array([[0, 0, 0], [400, 400, 400]], np.float32), np.zeros(2, np.int16), TABLE)
    with pytest.raises(ParameterError, match="choose at least"):
        drain(make_volume(far))
    with pytest.raises(EmptySelectionError, match="nowhere does the Gaussian hold"):
        drain(make_volume(ball, Quantity("element", "In"), VolumeParams(min_ions=1e6)))
    nowhere = RangedIons(np.full((3, 3), np.nan, np.float32), np.zeros(3, np.int16), TABLE)
    with pytest.raises(EmptySelectionError, match="finite"):
        drain(make_volume(nowhere))


def test_labels_take_the_defect_with_most_ions_in_the_voxel():
    grid = VoxelGrid(np.zeros((2, 2, 2), np.float32), np.zeros(3), np.ones(3))
    xyz = np.array([[0.5, 0.5, 0.5]] * 5 + [[1.5, 0.5, 0.5], [0.2, 1.2, 0.3], [0.3, 1.2, 0.3], [9, 9, 9]])
    labels = label_volume(xyz, np.array([2, 2, 1, 0, 0, 0, 1, 3, 1]), grid).values
    assert labels[0, 0, 0] == 2
    assert labels[1, 0, 0] == 0
    assert labels[0, 1, 0] == 1  # a tie goes to the lower number
    assert np.count_nonzero(labels) == 2
