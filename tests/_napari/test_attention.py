"""Attention of the model that named the defects, as a layer of a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from napari_aptdefect._napari.runs import _attention_layer
from napari_aptdefect.pipeline.display import DrawnIons, DrawnSample

N = 400


@pytest.fixture
def drawn() -> DrawnIons:
    rng = np.random.default_rng(0)
    xyz = (rng.random((N, 3)) * 10).astype(np.float32)
    idx = np.sort(rng.choice(2 * N, N, replace=False))
    return DrawnIons(DrawnSample(idx, 2 * N), xyz, np.ones(N, np.float32), None, xyz.min(axis=0), xyz.max(axis=0))


def test_every_drawn_ion_has_the_color_of_its_attention(drawn: DrawnIons) -> None:
    attention = np.linspace(0, 4, 2 * N).astype(np.float32)
    attention[drawn.sample.ion_idx[0]] = np.nan  # an ion that was left out
    run = SimpleNamespace(has_attention=True, ions=lambda columns: pa.table({columns[0]: attention}))
    ((data, attributes, kind),) = _attention_layer(run, drawn, "run", {})
    assert kind == "points"
    assert len(data) == N
    assert attributes["visible"] is False
    assert "attention (yellow: 4.0 times even)" in attributes["name"]
    np.testing.assert_array_equal(attributes["features"]["attention"], attention[drawn.sample.ion_idx])
    colors = attributes["face_color"]
    assert colors.shape == (N, 4)
    np.testing.assert_array_equal(colors[0], colors[1:][np.argmin(attention[drawn.sample.ion_idx][1:])])
    assert colors[-1, 0] > 0.9 > 0.5 > colors[1, 0]  # viridis ends in yellow and begins in violet


def test_a_run_without_a_model_has_no_such_layer(drawn: DrawnIons) -> None:
    assert _attention_layer(SimpleNamespace(has_attention=False), drawn, "run", {}) == []
