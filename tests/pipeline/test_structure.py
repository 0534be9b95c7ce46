"""The structure of a specimen as a whole, on a crystal and on random ions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.structure import StructureParams, measure_structure
from napari_aptdefect.stage import drain


def test_a_simple_cubic_crystal() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(16) * 0.3] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    inner = np.minimum(grid, grid.max() - grid).min(axis=1) > 1.2
    found = drain(measure_structure(grid, inner, np.full(len(grid), 1 / 0.027, np.float32)))
    assert 0.3 < found.cutoff.cutoff_nm < 0.3 * np.sqrt(2)
    assert found.cutoff.rule == "first minimum of g(r)"
    assert found.mean_coordination == 6
    assert found.lengths.mean == pytest.approx(0.3, rel=1e-5)
    assert found.angles.mean == pytest.approx((12 * 90 + 3 * 180) / 15)
    assert (found.n_components, found.largest_share) == (1, 1.0)


def test_random_ions_and_the_efficiency() -> None:
    rng = np.random.default_rng(4)
    xyz = (rng.random((60_000, 3)) * 10).astype(np.float32)
    inner = np.minimum(xyz, 10 - xyz).min(axis=1) > 1.2
    density = np.full(len(xyz), 60.0, np.float32)
    for efficiency in (1.0, 0.5):
        found = drain(measure_structure(xyz, inner, density, StructureParams(efficiency=efficiency), seed=2))
        assert found.mean_coordination == pytest.approx(12 * efficiency, rel=0.03)
        assert found.angles.mean == pytest.approx(90, abs=0.5)
        as_dict = found.as_dict()
        assert as_dict["n_atoms_within_cutoff"] == pytest.approx(12)
        assert np.mean(as_dict["pair_distribution"]["g"][40:]) == pytest.approx(1, abs=0.02)


def test_a_specimen_without_an_inside() -> None:
    with pytest.raises(EmptySelectionError, match="deep enough"):
        drain(measure_structure(np.zeros((5, 3), np.float32), np.zeros(5, bool), np.ones(5, np.float32)))
