"""The card of a model, as a page to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from napari_aptdefect.data.defects import DEFECT_CLASSES
from napari_aptdefect.pipeline.benchmark.tables import markdown
from napari_aptdefect.pipeline.learning.model_file import DefectModel

_SCORES: Final = (("macro-F1", "macro_f1"), ("balanced accuracy", "balanced_accuracy"), ("mean IoU", "mean_iou"))


def cards_markdown(paths: Iterable[Path]) -> str:
    """Lay out the cards of models as a page of Markdown."""
    return "\n".join(["# Model cards\n", *(card_markdown(path) for path in paths)])


def card_markdown(path: Path) -> str:
    """Lay out a model's card as a section of Markdown.

    Parameters
    ----------
    path
        The model.

    Raises
    ------
    MissingFileError
        If there is no file.
    FormatError
        If it is no model of ours.
    """
    model = DefectModel.read(path)
    card = model.card
    lessons = card["parameters"]["lessons"]
    training = card["parameters"]["training"]
    levels = ", ".join(str(level) for level in lessons["levels"])
    weights = ", ".join(f"{name} {w:.2f}" for name, w in zip(model.sets, model.fusion_weights, strict=True))
    made_with = ", ".join(f"{name} {version}" for name, version in card["versions"].items() if version)
    limits = "\n".join(f"- {one}" for one in card["limits"])
    where = "whose lattice is resolved" if model.for_lattice else "whose lattice is not resolved"
    return f"""\
## {path.stem}

For {"-".join(model.elements)} {where}. {model.n_weights:,} weights, {path.stat().st_size / 1e6:.2f} MB.
Classes: {", ".join(model.classes)}.

### Training

- Data: {card["trained_on"]}.
- {lessons["lessons"]} wires with defects and {lessons["empty"]} without, measured at the levels {levels} in turn.
- The {card["splits"]}.
- Seed {card["seed"]}; {card["epochs"]} of at most {training["epochs"]} epochs, the best one {card["best_epoch"]}.
- Macro-F1 over the ions of the validation wires {card["validation_macro_f1"]:.3f}.
- Weights of the feature sets in F, learned with the rest: {weights}.
- Made with {made_with}.

### Test

Ion by ion on {lessons["test"]} wires of each level that took no part in training or validation, before ions are joined
to defects; targets below the search bound and intended layers are left out. Mean over the wires, ± half the 95 %
interval of Student's t.

{_scores(card["test"])}

IoU of each class:

{_classes(card["test"], model.classes)}

Whether the probabilities mean what they say, on the ions of all test wires. The Brier score of always
stating the share would be the one in brackets.

{_calibration(card["calibration"])}

### Why

What one standard deviation more of a feature, at an ion of the class and around it, adds to the log-odds of the class:
the tangent of the network at such ions, the largest five.

{_reasons(card["reasons"])}

### Limits

{limits}
"""


def _scores(tests: list[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(one["level"]),
            *(mean_text(one[key]) for _, key in _SCORES),
            "-" if one["claimed_of_empty"] is None else f"{one['claimed_of_empty']:.3%}",
        )
        for one in tests
    ]
    return markdown(("level", *(title for title, _ in _SCORES), "claimed of the ions of empty wires"), rows)


def _classes(tests: list[Mapping[str, Any]], classes: tuple[str, ...]) -> str:
    rows = [
        (name.replace("_", " "), *(mean_text(one[f"iou_{name}"]) for one in tests))
        for name in DEFECT_CLASSES
        if name in (DEFECT_CLASSES[0], *classes)
    ]
    return markdown(("class", *(f"level {one['level']}" for one in tests)), rows)


def _calibration(classes: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name.replace("_", " "),
            f"{one['base_rate']:.2%}",
            f"{one['brier']:.4f} ({one['base_rate'] * (1 - one['base_rate']):.4f})",
            f"{one['calibration_error']:.4f}",
        )
        for name, one in classes.items()
    ]
    return markdown(("class", "share of the ions", "Brier score", "calibration error"), rows)


def _reasons(classes: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    rows = [
        (name.replace("_", " "), ", ".join(f"`{feature}` {value:+.2f}" for feature, value in found[:5]))
        for name, found in classes.items()
    ]
    return markdown(("class", "features"), rows)


def mean_text(value: Mapping[str, Any]) -> str:
    """Write a mean with half its interval, as far as they are defined.

    Examples
    --------
    >>> mean_text({"mean": 0.5, "low": 0.4, "high": 0.6}), mean_text({"mean": 0.5, "low": None, "high": None})
    ('0.50 ± 0.10', '0.50')
    """
    mean, low, high = (value[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "-"
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} ± {(high - low) / 2:.2f}"
