"""Write the cards of the shipped models into docs/model-card.md.

python benchmarks/model_card.py

The models lie in pipeline/learning/models. They come from

    aptdefect train --jobs 2 --out gan.safetensors
    aptdefect train --jobs 2 --out gan-lattice.safetensors (and the line below)
    --lessons.levels 0 --lessons.lessons 160 --lessons.empty 4 --training.epochs 12
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from napari_aptdefect.pipeline.learning.card import cards_markdown
from napari_aptdefect.pipeline.learning.choice import shipped_models
from napari_aptdefect.pipeline.learning.model_file import read_card
from napari_aptdefect.plot.canvas import new_figure
from napari_aptdefect.plot.classifier import draw_reliability

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    page = ROOT / "docs" / "model-card.md"
    page.write_text(cards_markdown(shipped_models()), encoding="utf-8")
    print(page)
    pictures = ROOT / "docs" / "images" / "network"
    pictures.mkdir(parents=True, exist_ok=True)
    for path in shipped_models():
        draw(path, pictures / f"reliability-{path.stem}.png")


def draw(model: Path, picture: Path) -> None:
    """Reliability curves of all classes of a model, on its test wires."""
    curves = read_card(model)["calibration"]
    n_columns = 4
    n_rows = math.ceil(len(curves) / n_columns)
    figure = new_figure(10.0, 2.9 * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for one in axes.flat[len(curves) :]:
        one.set_visible(False)
    for place, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        values = (np.array(curve[key]) for key in ("probability", "frequency", "n"))
        draw_reliability(place, *values, title=name.replace("_", " "))
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    print(picture)


if __name__ == "__main__":
    main()
