from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.data import IonCloud, VoxelGrid
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.display_volumes import count_density, label_volume


def test_density_counts_every_ion_once():
    xyz = np.random.default_rng(1).uniform(-3, 17, (20_000, 3))
    grid = count_density(IonCloud.from_arrays(xyz, np.ones(20_000)), 1.5)
    assert grid.values.sum(dtype=np.float64) * 1.5**3 == pytest.approx(20_000)
    assert grid.origin_nm == pytest.approx(xyz.min(axis=0), abs=1e-5)


def test_density_puts_an_ion_into_its_voxel():
    grid = count_density(IonCloud.from_arrays([[0, 0, 0], [3.5, 1.5, 0.5]], [1, 1]), 1.0)
    assert grid.values.shape == (4, 2, 1)
    assert np.argwhere(grid.values).tolist() == [[0, 0, 0], [3, 1, 0]]


def test_density_on_absurdly_fine_voxels_is_refused():
    with pytest.raises(ParameterError, match="larger voxels"):
        count_density(IonCloud.from_arrays([[0, 0, 0], [100, 100, 100]], [1, 1]), 0.01)


def test_labels_take_the_defect_with_most_ions_in_the_voxel():
    grid = VoxelGrid(np.zeros((2, 2, 2), np.float32), np.zeros(3), np.ones(3))
    xyz = np.array([[0.5, 0.5, 0.5]] * 5 + [[1.5, 0.5, 0.5], [0.2, 1.2, 0.3], [0.3, 1.2, 0.3], [9, 9, 9]])
    labels = label_volume(xyz, np.array([2, 2, 1, 0, 0, 0, 1, 3, 1]), grid).values
    assert labels[0, 0, 0] == 2
    assert labels[1, 0, 0] == 0
    assert labels[0, 1, 0] == 1  # a tie goes to the lower number
    assert np.count_nonzero(labels) == 2
