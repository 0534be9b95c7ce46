"""The verb ``evaluate``: what a run is worth, held against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_aptdefect.cli import terminal
from napari_aptdefect.cli.options import given, options_for, overridden
from napari_aptdefect.evaluate.score import EvaluateParams
from napari_aptdefect.pipeline import evaluation

_INSTANCES = (
    ("PQ", "pq", 3),
    ("  SQ, mean IoU of the true claims", "sq", 3),
    ("  RQ, F1 of the instances", "rq", 3),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("true claims", "n_true", 0),
    ("false claims", "n_false", 0),
    ("targets missed", "n_missed", 0),
    ("false claims per million ions", "false_per_million_ions", 2),
)


def evaluate(
    *,
    truth: Path,
    run: Path,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    options: options_for(EvaluateParams, "What counts as found") = None,  # type: ignore[valid-type]
) -> int:
    """Hold a run against the truth of the specimen it analyzed.

    Parameters
    ----------
    truth
        Folder that `aptdefect simulate` wrote.
    run
        Run folder that `aptdefect analyze` wrote.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write:
        params = overridden(EvaluateParams(), given(options))
        found = terminal.run_stage(evaluation.evaluate(truth, run, params))
        result = {"truth": str(truth), "run": str(run), **found.as_dict()}
        write(result, lambda: render(result))
    return terminal.EXIT.DONE


def render(result: Mapping[str, Any]) -> str:
    """Render the scores of a run for a person."""
    ions, instances, bound = result["ions"], result["instances"], result.get("bound")
    claims = f"{instances['n_claims']:,} claims, {instances['n_claims_in_structures']:,} of them in structures"
    head = [
        f"truth  {result['truth']}: {_targets(instances)}",
        f"run    {result['run']}: {claims}, {instances['n_claims_on_controls']:,} about controls",
    ]
    parts = [
        f"Per ion: {ions['n_ions']:,} ions, {ions['n_left_out']:,} in structures left out; controls count as matrix",
        _overall(ions, None if bound is None else bound["ions"]),
        _classes(ions["classes"], bound is not None),
        _controls(ions["controls"]),
        f"Instances: matched above an IoU of {result['params']['iou_threshold']:g}",
        _instances(instances, bound),
        _recall(instances["class_aware"]["at_false_discovery_rate"], "the class counts"),
        _recall(instances["class_agnostic"]["at_false_discovery_rate"], "any class"),
        _clusters(result["clusters"]),
    ]
    return "\n\n".join(["\n".join(head), *(part for part in parts if part)])


def _targets(instances: Mapping[str, Any]) -> str:
    text = f"{instances['n_targets']:,} targets, {instances['n_targets_visible']:,} of them visible"
    if instances["n_targets_without_ions"]:
        text += f", {instances['n_targets_without_ions']:,} without any ion"
    return f"{text}; {instances['n_controls']:,} controls, {instances['n_structures']:,} structures"


def _overall(ions: Mapping[str, Any], bound: Mapping[str, Any] | None) -> str:
    scores = [
        ("accuracy", "accuracy"),
        (f"  of calling all {ions['majority_class']}", "majority_class_accuracy"),
        ("balanced accuracy", "balanced_accuracy"),
        ("macro-F1", "macro_f1"),
        ("macro-F1 of the defect classes", "macro_f1_defects"),
        ("mean IoU of the defect classes", "mean_iou_defects"),
    ]
    rows = [[label, _number(ions[name]), *([_number(bound[name])] if bound else [])] for label, name in scores]
    whole = ("IoU of defect against matrix", ions["any_defect"]["iou"])
    rows.append([whole[0], _number(whole[1]), *([_number(bound["any_defect"]["iou"])] if bound else [])])
    if bound:
        rows.append(["mean of IoU / bound", _number(ions["mean_iou_defects_over_bound"]), ""])
    header = ("", "run", *(["bound"] if bound else []))
    return terminal.table(header, [tuple(row) for row in rows], numeric=(1, 2))


def _classes(classes: Mapping[str, Mapping[str, Any]], with_bound: bool) -> str:
    header = ["class", "ions", "claimed", "precision", "recall", "F1", "IoU"]
    header += ["bound IoU", "IoU / bound"] if with_bound else []
    names = ["precision", "recall", "f1", "iou", *(["iou_bound", "iou_over_bound"] if with_bound else [])]
    rows = [
        (name, f"{row['support']:,}", f"{row['n_claimed']:,}", *(_number(row[key]) for key in names))
        for name, row in classes.items()
    ]
    return terminal.table(tuple(header), rows, numeric=tuple(range(1, len(header))))


def _controls(controls: Mapping[str, Any]) -> str:
    if not controls["n_ions"]:
        return ""
    return (
        f"controls: {controls['n_claimed']:,} of their {controls['n_ions']:,} ions are claimed "
        f"({_number(controls['share_claimed'])})"
    )


def _instances(instances: Mapping[str, Any], bound: Mapping[str, Any] | None) -> str:
    columns = [instances["class_aware"], instances["class_agnostic"]]
    header = ["", "class counts", "any class"]
    if bound is not None:
        columns.append(bound["instances"]["class_aware"])
        header.append("bound")
    rows = [(label, *(_number(column[name], digits) for column in columns)) for label, name, digits in _INSTANCES]
    by_class = instances["class_aware"]["classes"]
    own = [(f"PQ of {name}", _number(row["pq"]), *[""] * (len(columns) - 1)) for name, row in by_class.items()]
    mean = [("PQ, mean over classes", _number(instances["class_aware"]["mean_pq"]), *[""] * (len(columns) - 1))]
    ari = [("ARI of the instances", "", _number(instances["ari"]), *[""] * (len(columns) - 2))]
    return terminal.table(tuple(header), [*rows, *mean, *own, *ari], numeric=tuple(range(1, len(header))))


def _recall(found: Mapping[str, Any], what: str) -> str:
    scopes = found["recall"]
    if not scopes["all"]["pooled"]["n"]:
        return ""
    head = f"Recall at a false discovery rate of {found['limit']:g}, {what}: "
    head += (
        "no threshold keeps it"
        if found["threshold"] is None
        else f"probability from {found['threshold']:.3g}, {found['n_kept']:,} claims, measured {_number(found['rate'])}"
    )
    rows = [
        (name, *(_of(scopes[scope].get(name)) for scope in ("all", "visible", "reachable"))) for name in scopes["all"]
    ]
    return head + "\n" + terminal.table(("class", "all", "visible", "reachable"), rows, numeric=(1, 2, 3))


def _of(found: Mapping[str, Any] | None) -> str:
    if found is None or not found["n"]:
        return "-"
    return f"{found['n_found']:,} of {found['n']:,}"


def _clusters(clusters: Mapping[str, Any]) -> str:
    rows = [
        (label, *(_number(clusters[key]["ions"][name]) for key in ("hungarian", "majority")))
        for label, name in (
            ("accuracy", "accuracy"),
            ("balanced accuracy", "balanced_accuracy"),
            ("macro-F1", "macro_f1"),
            ("mean IoU of the defect classes", "mean_iou_defects"),
        )
    ]
    head = (
        f"Clusters: {clusters['names']['n_clusters']:,}, named from the truth; "
        f"ARI {_number(clusters['ari'])}, AMI {_number(clusters['ami'])}"
    )
    return head + "\n" + terminal.table(("", "Hungarian", "majority"), rows, numeric=(1, 2))


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
