"""Write the card of the shipped model for GaN into docs/model-card.md.

python benchmarks/model_card.py

The model itself comes from `aptdefect train --jobs 2 --out gan.safetensors`, and lies in pipeline/learning/models.
"""

from __future__ import annotations

from pathlib import Path

from napari_aptdefect.pipeline.learning.card import card_markdown

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "src/napari_aptdefect/pipeline/learning/models/gan.safetensors"


def main() -> None:
    page = ROOT / "docs" / "model-card.md"
    page.write_text(card_markdown(MODEL), encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
