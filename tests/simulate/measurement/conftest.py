"""Specimens without a lattice: what the instrument does must not depend on one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_aptdefect.simulate.atoms import Atoms
from napari_aptdefect.simulate.measurement import Measured, Measurement, measure
from napari_aptdefect.stage import drain

RADIUS_NM = 8.0


@pytest.fixture(scope="session")
def random_gan() -> Callable[..., Atoms]:
    """Make random atoms in a cylinder at the density of GaN, half Ga and half N."""

    def make(n: int, elements: tuple[str, ...] = ("Ga", "N"), solute: float = 0.0, seed: int = 0) -> Atoms:
        rng = np.random.default_rng(seed)
        r, angle = RADIUS_NM * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
        z = rng.uniform(0, n / 88 / np.pi / RADIUS_NM**2, n)
        xyz = np.column_stack([r * np.cos(angle), r * np.sin(angle), z]).astype(np.float32)
        element = (np.arange(n) % 2).astype(np.int8)
        element[(rng.random(n) < solute) & (element == 0)] = len(elements) - 1
        return Atoms(xyz, element, element.copy(), np.zeros(n, np.int32), elements)

    return make


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measured]:
    """Measure atoms in a wire of radius 8 nm."""

    def run(atoms: Atoms, model: Measurement, seed: int = 1, lenses: tuple = ()) -> Measured:
        return drain(measure(atoms, lenses, RADIUS_NM, model, np.random.default_rng(seed)))

    return run
