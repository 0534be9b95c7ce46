"""From the results of single runs to one row per method and level, with intervals over the wires."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from napari_aptdefect.evaluate.discovery import lowest_threshold
from napari_aptdefect.evaluate.intervals import Interval, student_interval

SCORES: Final = (
    "macro_f1_hungarian",
    "macro_f1_majority",
    "balanced_accuracy",
    "mean_iou",
    "iou_over_ceiling",
    "ari",
    "ami",
    "ari_instances",
    "pq",
    "pq_agnostic",
    "recall_visible",
    "recall_all",
    "accuracy",
    "majority_accuracy",
    "visible_macro_f1",
    "visible_balanced_accuracy",
    "visible_mean_iou",
    "clear_macro_f1",
    "clear_balanced_accuracy",
    "clear_mean_iou",
    "seconds",
)
"""Scores of a wire with targets, of which mean and interval are taken over the wires."""

FALSE_DISCOVERIES: Final = 0.05
"""Share of the claims of all wires that may be false where recall is given."""


@dataclass(frozen=True)
class Rate:
    """A number of events per million ions, with its exact Poisson interval.

    Parameters
    ----------
    n
        Events.
    n_ions
        Ions in which they were counted.
    n_wires, n_with_any
        Wires, and those with at least one event.
    """

    n: int
    n_ions: int
    n_wires: int
    n_with_any: int

    @property
    def per_million(self) -> float:
        """Events per million ions; NaN where nothing was counted."""
        return 1e6 * self.n / self.n_ions if self.n_ions else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval, per million ions.

        References
        ----------
        Garwood 1936, doi 10.1093/biomet/28.3-4.437.
        """
        from scipy.stats import chi2

        if not self.n_ions:
            return math.nan, math.nan
        low = float(chi2.ppf(0.025, 2 * self.n)) / 2 if self.n else 0.0
        high = float(chi2.ppf(0.975, 2 * self.n + 2)) / 2
        return 1e6 * low / self.n_ions, 1e6 * high / self.n_ions


@dataclass(frozen=True)
class Row:
    """One method at one level.

    Parameters
    ----------
    method, space, level
        Which.
    scores
        Mean and interval of each of `SCORES` over the test wires.
    false
        False claims on wires without targets, by kind of wire.
    n_on_controls, n_control_wires
        Claims about controls, over all wires that hold controls, and how many these are.
    n_hidden_claimed, n_hidden
        Targets below the search bound of which ions are claimed, and how many such targets there are.
    n_met, n_visible
        Visible targets that are met by the surest claims of all wires together, of which one in twenty may be false
        (`evaluate.blurred`), and how many visible targets there are.
    """

    method: str
    space: str
    level: int
    scores: Mapping[str, Interval]
    false: Mapping[str, Rate]
    n_on_controls: int
    n_control_wires: int
    n_hidden_claimed: int
    n_hidden: int
    n_met: int
    n_visible: int

    def as_dict(self) -> dict[str, Any]:
        """Gather everything in one flat mapping, for a table."""
        out: dict[str, Any] = {"method": self.method, "space": self.space, "level": self.level}
        for name, interval in self.scores.items():
            out |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        out["n_wires"] = self.scores[SCORES[0]].n + self.scores[SCORES[0]].n_undefined
        for kind, rate in self.false.items():
            low, high = rate.interval
            name = f"false_per_million_{kind}"
            out |= {name: rate.per_million, f"{name}_low": low, f"{name}_high": high}
            out[f"wires_with_false_{kind}"] = rate.n_with_any
        out["claims_on_controls"] = self.n_on_controls
        out["control_wires"] = self.n_control_wires
        out |= {"hidden_targets_claimed": self.n_hidden_claimed, "hidden_targets": self.n_hidden}
        out |= {"visible_targets_met": self.n_met, "visible_targets": self.n_visible}
        return out


def summarize(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Sum up runs by method and level, in the order in which they come.

    Parameters
    ----------
    runs
        Results of the tasks that run a method on a wire.
    """
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["method"], run["space"], run["level"]), []).append(run)
    return [_row(*key, group) for key, group in groups.items()]


def flat_rows(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One flat mapping per run: one method on one wire."""
    rows = []
    for run in runs:
        row = {name: run[name] for name in ("method", "space", "level", "kind", "split", "number", "size", "seconds")}
        for name, value in run["scores"].items():
            if isinstance(value, Mapping):
                row |= {f"{name}_{key}": part for key, part in value.items()}
            elif not isinstance(value, list):
                row[name] = value
        rows.append(row)
    return rows


def target_rows(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One flat mapping per target and method."""
    names = ("method", "space", "level", "number")
    return [
        {name: run[name] for name in names}
        | target
        | {"d_prime": _number(target["d_prime"], math.inf), "iou_ceiling": _number(target["iou_ceiling"])}
        for run in runs
        for target in run["scores"].get("targets", ())
    ]


def _row(method: str, space: str, level: int, runs: Sequence[Mapping[str, Any]]) -> Row:
    mixtures = [run for run in runs if run["kind"] == "mixture"]
    scores = {
        name: student_interval(np.array([_number(_value(run, name)) for run in mixtures], np.float64))
        for name in SCORES
    }
    false = {}
    for kind in ("empty", "relabeled", "controls"):
        mine = [run["scores"] for run in runs if run["kind"] == kind]
        counts = [one["n_false"] for one in mine]
        n_with_any = sum(n > 0 for n in counts)
        false[kind] = Rate(sum(counts), sum(one["n_ions"] for one in mine), len(mine), n_with_any)
    with_controls = [run["scores"] for run in runs if run["kind"] in ("mixture", "controls")]
    n_on_controls = sum(one["n_on_controls"] for one in with_controls)
    hidden = [sum(run["scores"][name] for run in mixtures) for name in ("n_hidden_claimed", "n_hidden")]
    counted = (*hidden, *_met(mixtures))
    return Row(method, space, level, scores, false, n_on_controls, len(with_controls), *counted)


def _met(runs: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Visible targets that are met at the false discovery rate of all claims together, and how many there are."""
    claims = [run["scores"]["claims"] for run in runs]
    probability = np.array([p for one in claims for p in one["probability"]], np.float64)
    right = np.array([r for one in claims for r in one["right"]], np.bool_)
    least = lowest_threshold(probability, right, FALSE_DISCOVERIES)
    met = [
        target["met"] is not None and target["met"] >= least
        for run in runs
        for target in run["scores"]["targets"]
        if target["visible"]
    ]
    return sum(met), len(met)


def _value(run: Mapping[str, Any], name: str) -> Any:
    return run["seconds"] if name == "seconds" else run["scores"][name]


def _number(value: float | None, undefined: float = math.nan) -> float:
    return undefined if value is None else float(value)
