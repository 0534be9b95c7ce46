"""The benchmark's table, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from napari_aptdefect.evaluate.intervals import Interval
from napari_aptdefect.pipeline.benchmark.names import BOUND
from napari_aptdefect.pipeline.benchmark.summary import Rate, Row

_SCORES: Final = (
    ("macro-F1, Hungarian", "macro_f1_hungarian"),
    ("macro-F1, majority", "macro_f1_majority"),
    ("balanced accuracy", "balanced_accuracy"),
    ("mean IoU", "mean_iou"),
    ("IoU / ceiling", "iou_over_ceiling"),
    ("ARI", "ari"),
    ("PQ", "pq"),
    ("recall of visible at FDR 10 %", "recall_visible"),
)
_PARTS: Final = (("balanced accuracy", "balanced_accuracy"), ("mean IoU", "mean_iou"), ("macro-F1", "macro_f1"))
_FALSE: Final = (("empty", "empty"), ("relabeled", "relabeled"), ("controls", "controls only"))


def levels_markdown(rows: Sequence[Row]) -> str:
    """Tables per level: the scores, those against what can be found and what is clear, and claims where nothing is."""
    parts = []
    for level in dict.fromkeys(row.level for row in rows):
        mine = [row for row in rows if row.level == level]
        n = mine[0].scores["macro_f1_majority"].n
        majority = _plain(mine[0].scores["majority_accuracy"].mean)
        parts += [
            f"### Level {level}",
            f"Scores over {n} test wires; the majority class alone has an accuracy of {majority}.",
            _scores(mine),
            "The same ions without the targets that no search can find, each score with its share of the bound's:",
            _part(mine, "visible"),
            *(
                ("And with the clear ones only, at three times the search bound or more:", _part(mine, "clear"))
                if level
                else ()
            ),
            "False claims per million ions of the core, with the exact 95 % interval:",
            _false(mine),
        ]
    return "\n\n".join(parts)


def sets_markdown(sets: Sequence[Mapping[str, Any]]) -> str:
    """One table per labeled set of others."""
    parts = []
    for name in dict.fromkeys(one["set"] for one in sets):
        mine = [one for one in sets if one["set"] == name]
        header = ("method", "ARI", "AMI", "recall of clusters at IoU 0.5", "claimed objects", "seconds")
        rows = [
            (
                one["method"],
                _plain(one["ari"]),
                _plain(one["ami"]),
                f"{one['n_found']} of {one['n_clusters']}",
                str(one["n_claims"]),
                f"{one['seconds']:.1f}",
            )
            for one in mine
        ]
        parts += [f"### {name}", mine[0]["about"], markdown(header, rows)]
    return "\n\n".join(parts)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table as Markdown.

    Examples
    --------
    >>> print(markdown(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _scores(rows: Sequence[Row]) -> str:
    header = ("method", "space", *(title for title, _ in _SCORES), "accuracy (majority class)", "seconds")
    body = [
        (
            row.method,
            row.space or "-",
            *(_with_interval(row.scores[name]) for _, name in _SCORES),
            f"{_plain(row.scores['accuracy'].mean)} ({_plain(row.scores['majority_accuracy'].mean)})",
            f"{row.scores['seconds'].mean:.1f}",
        )
        for row in rows
    ]
    return markdown(header, body)


def _part(rows: Sequence[Row], part: str) -> str:
    header = ["method", "space", *(title for title, _ in _PARTS)]
    if part == "visible":
        header += ["found at 5 % false claims", "claims on targets that can't be found"]
    bound = next((row for row in rows if row.method == BOUND), None)
    body = []
    for row in rows:
        names = [f"{part}_{name}" for _, name in _PARTS]
        line = [row.method, row.space or "-"]
        line += [_of_bound(row.scores[name], None if bound is None else bound.scores[name]) for name in names]
        if part == "visible":
            line += [f"{row.n_met} of {row.n_visible}", f"{row.n_hidden_claimed} of {row.n_hidden}"]
        body.append(line)
    return markdown(header, body)


def _of_bound(interval: Interval, bound: Interval | None) -> str:
    text = _with_interval(interval)
    return text if bound is None or not bound.mean > 0 else f"{text} ({interval.mean / bound.mean:.0%})"


def _false(rows: Sequence[Row]) -> str:
    header = ("method", "space", *(f"{title} wires" for _, title in _FALSE), "claims on controls, per wire")
    body = [
        (
            row.method,
            row.space or "-",
            *(_rate(row.false[kind]) for kind, _ in _FALSE),
            _plain(row.n_on_controls / row.n_control_wires if row.n_control_wires else math.nan),
        )
        for row in rows
    ]
    return markdown(header, body)


def _with_interval(interval: Interval) -> str:
    half = (interval.high - interval.low) / 2
    return _plain(interval.mean) + ("" if math.isnan(half) else f" ± {half:.2f}")


def _plain(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _rate(rate: Rate) -> str:
    if not rate.n_ions:
        return "-"
    low, high = rate.interval
    return f"{rate.per_million:.3g} ({low:.2g} to {high:.2g}), {rate.n_with_any} of {rate.n_wires} wires"
