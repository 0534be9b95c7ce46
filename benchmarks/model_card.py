"""Write the cards of the shipped models into docs/model-card.md.

python benchmarks/model_card.py

The models lie in pipeline/learning/models. They come from

    aptdefect train --jobs 2 --out gan.safetensors
    aptdefect train --jobs 2 --out gan-lattice.safetensors (and the line below)
    --lessons.levels 0 --lessons.lessons 160 --lessons.empty 4 --training.epochs 12
"""

from __future__ import annotations

from pathlib import Path

from napari_aptdefect.pipeline.learning.card import cards_markdown
from napari_aptdefect.pipeline.learning.choice import shipped_models

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    page = ROOT / "docs" / "model-card.md"
    page.write_text(cards_markdown(shipped_models()), encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
