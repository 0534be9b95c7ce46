"""The file of a model: what is read does what was written, and what is no model is said to be none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_aptdefect.apt.classify import SigmoidClassifier
from napari_aptdefect.apt.network.model import DefectNetwork
from napari_aptdefect.apt.network.params import NetworkParams
from napari_aptdefect.data.feature_table import FeatureColumn, FeatureTable, Scaling
from napari_aptdefect.errors import FormatError, MissingFileError, ParameterError, ShapeError
from napari_aptdefect.pipeline.learning.model_file import DefectModel, read_card

SETS = {"structural": (0, 1), "compositional": (2, 3, 4), "spatial": (5,)}
SMALL = NetworkParams(width=16, n_layers=1, order=2, heads=2, embedding=8)


def table(values: np.ndarray, names: tuple[int, ...] = tuple(range(6))) -> FeatureTable:
    columns = tuple(FeatureColumn(f"f{i}", "structural", "", "", "") for i in names)
    return FeatureTable(values.astype(np.float32), columns)


@pytest.fixture
def model() -> DefectModel:
    rng = np.random.default_rng(0)
    known = table(rng.normal(2, 3, (50, 6)))
    torch.manual_seed(0)
    width = SMALL.embedding

    def sigmoids(*types: str) -> SigmoidClassifier:
        one = np.ones(len(types))
        features = tuple(f"embedding {i}" for i in range(width))
        weight = rng.normal(size=(len(types), width))
        return SigmoidClassifier(
            types, features, np.zeros(width), np.ones(width), weight, 0 * one, one, 0 * one, 0 * one
        )

    network = DefectNetwork(SETS, 8, SMALL).eval()
    tail = np.array([[0.5, 0.1], [0.1, 0.4], [0.01, 1.0]])
    classifier = sigmoids("void", "dislocation")
    return DefectModel(network, known.names, known.scaling(), SETS, classifier, 0.3, tail, ("Ga", "N"), {"seed": 7})


def test_what_is_read_is_what_was_written(model: DefectModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.write(path)
    again = DefectModel.read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]
    assert (again.columns, again.classes, again.elements) == (model.columns, model.classes, model.elements)
    assert again.card == {"seed": 7}
    assert again.n_weights == sum(one.numel() for one in model.network.parameters())
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(again.classifier.weight, model.classifier.weight)
    assert again.cut == model.cut
    np.testing.assert_array_equal(again.scaling.center, model.scaling.center)
    np.testing.assert_array_equal(again.tail, model.tail)
    assert not again.network.training
    assert sum(again.fusion_weights) == pytest.approx(1)


def test_a_card_is_read_without_the_weights(model: DefectModel, tmp_path: Path) -> None:
    model.write(tmp_path / "model.safetensors")
    assert read_card(tmp_path / "model.safetensors") == {"elements": ["Ga", "N"], "for_lattice": False, "seed": 7}


def test_a_file_that_changes_does_not_change_the_model_that_was_read(model: DefectModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.write(path)
    again = DefectModel.read(path)
    path.write_bytes(bytes(path.stat().st_size))  # in place, as cp does
    np.testing.assert_array_equal(again.classifier.weight, model.classifier.weight)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)


def test_columns_go_by_name(model: DefectModel) -> None:
    values = np.arange(7, dtype=np.float32)[None].repeat(3, axis=0)
    ready = model.prepare(table(values, (5, 4, 3, 2, 1, 0, 6)))
    assert ready.names == model.columns
    assert ready.values[0].tolist() == [5, 4, 3, 2, 1, 0]
    with pytest.raises(ParameterError, match="the table lacks f0"):
        model.prepare(table(values[:, :5], (5, 4, 3, 2, 1)))


def test_thresholds_lie_on_the_tail_and_not_beyond(model: DefectModel) -> None:
    assert model.threshold(0.1) == pytest.approx(0.4)
    assert 0.4 < model.threshold(0.05) < 1.0
    assert model.threshold(1e-6) == 1.0


def test_values_are_standardized_clipped_and_filled() -> None:
    scaling = Scaling(np.array([1.0, 0.0, np.nan]), np.array([2.0, 0.0, 0.0]))
    found = scaling.standardize(np.array([[3.0, 5.0, 1.0], [np.nan, 1.0, np.nan], [1e6, 0.0, 0.0]]))
    assert found.tolist() == [[1, 0, 0], [0, 0, 0], [10, 0, 0]]
    with pytest.raises(ShapeError, match="3 columns"):
        scaling.standardize(np.zeros((2, 2)))


def test_what_is_no_model(model: DefectModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "model.safetensors"
    for read in (DefectModel.read, read_card):
        with pytest.raises(MissingFileError, match="aptdefect train"):
            read(path)
    path.write_bytes(b"\0" * 100)
    for read in (DefectModel.read, read_card):
        with pytest.raises(FormatError, match="a model of aptdefect train"):
            read(path)
    save_file({"a": torch.zeros(2)}, path)
    for read in (DefectModel.read, read_card):
        with pytest.raises(FormatError, match="Train it again"):
            read(path)
    model.write(path)
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, "pt") as stored:
        about = stored.metadata()
    del tensors["network.head.weight"]
    save_file(tensors, path, about)
    with pytest.raises(FormatError, match="a whole model"):
        DefectModel.read(path)
