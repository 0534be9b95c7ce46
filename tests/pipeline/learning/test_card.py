"""The card of a model as a page."""

from __future__ import annotations

from pathlib import Path

from napari_aptdefect.pipeline.learning.card import card_markdown
from napari_aptdefect.pipeline.learning.choice import shipped_models
from napari_aptdefect.pipeline.learning.model_file import DefectModel, read_card

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_model_for_gan_ships_and_is_small() -> None:
    (path,) = shipped_models()
    assert path.stat().st_size < 8 * 2**20
    model = DefectModel.read(path)
    assert model.elements == ("Ga", "N")
    assert {"stacking_fault", "dislocation", "solute_cluster", "void", "grain_boundary"} <= set(model.classes)


def test_the_card_in_the_docs_is_that_of_the_model() -> None:
    (path,) = shipped_models()
    assert (DOCS / "model-card.md").read_text(encoding="utf-8") == card_markdown(path)


def test_the_card_says_what_it_must() -> None:
    (path,) = shipped_models()
    text, card = card_markdown(path), read_card(path)
    for level in card["test"]:
        assert f"| {level['level']} | {level['macro_f1']['mean']:.2f} ±" in text
        assert level["claimed_of_empty"] < 0.01  # the target: false discoveries on wires without defects
    assert all(limit in text for limit in card["limits"])
    assert "## Limits" in text
