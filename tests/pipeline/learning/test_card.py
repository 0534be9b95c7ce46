"""The cards of the shipped models as a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_aptdefect.pipeline.learning.card import card_markdown, cards_markdown
from napari_aptdefect.pipeline.learning.choice import shipped_models
from napari_aptdefect.pipeline.learning.model_file import DefectModel, read_card

DOCS = Path(__file__).resolve().parents[3] / "docs"
ALL = shipped_models()


def test_there_is_a_model_for_gan_with_and_without_its_lattice() -> None:
    cards = [read_card(path) for path in ALL]
    assert [(card["elements"], card["for_lattice"]) for card in cards] == [(["Ga", "N"], True), (["Ga", "N"], False)]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_models_are_small_and_know_the_defects(path: Path) -> None:
    assert path.stat().st_size < 8 * 2**20
    model = DefectModel.read(path)
    assert {"stacking_fault", "dislocation", "solute_cluster", "void", "grain_boundary"} <= set(model.classes)
    assert ("interstitial" in model.classes) == model.for_lattice
    assert model.card["parameters"]["lessons"]["levels"] == ([0] if model.for_lattice else [1, 2, 3])


def test_the_cards_in_the_docs_are_those_of_the_models() -> None:
    assert (DOCS / "model-card.md").read_text(encoding="utf-8") == cards_markdown(ALL)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_card_says_what_it_must(path: Path) -> None:
    text, card = card_markdown(path), read_card(path)
    for level in card["test"]:
        assert f"| {level['level']} | {level['macro_f1']['mean']:.2f} ±" in text
        assert level["claimed_of_empty"] < 0.01  # the target: false discoveries on wires without defects
    assert all(limit in text for limit in card["limits"])
    assert "### Limits" in text
    assert set(card["calibration"]) == set(card["reasons"])
    better = [one["brier"] < one["base_rate"] * (1 - one["base_rate"]) for one in card["calibration"].values()]
    assert sum(better) >= len(better) - 1  # than to say the share; above level 0 vacancy clusters are the exception
    assert all(found[0][0] in text for found in card["reasons"].values())
