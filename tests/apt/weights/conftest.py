from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_aptdefect.apt.weights import LabeledIons, LabeledParams, LabeledProblem

SIGNAL = (0.4, 2.0, 0.0)  # distance of the classes in each set, in standard deviations


def draw(seed: int, n: int = 600) -> LabeledIons:
    """Three sets that tell three classes apart: hardly, well, and not at all."""
    rng = np.random.default_rng(seed)
    label = np.sort(rng.choice(3, n, p=[0.6, 0.25, 0.15]))
    blocks = []
    for width, signal in zip((6, 4, 5), SIGNAL, strict=True):
        x = rng.normal(size=(n, width)).astype(np.float32)
        x[:, :2] += np.float32(signal) * np.array([[0, 0], [1, 1], [-1, 1]], np.float32)[label]
        blocks.append(x)
    return LabeledIons(tuple(blocks), label)


@pytest.fixture(scope="session", name="draw")
def _draw() -> Callable[[int], LabeledIons]:
    return draw


@pytest.fixture(scope="session")
def problem() -> LabeledProblem:
    return LabeledProblem(("structural", "compositional", "spatial"), draw(1), draw(2), LabeledParams(width=4))
