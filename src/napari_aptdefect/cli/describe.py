"""The verb ``info``: what a file holds, and what is odd in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from napari_aptdefect.cli import terminal
from napari_aptdefect.data import HaadfImage, IonCloud, RangeTable
from napari_aptdefect.errors import DataWarning, Issue, MissingFileError
from napari_aptdefect.io import read


def info(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Say what a file holds: format, counts, columns, extent, ranges, and what is odd in it.

    Parameters
    ----------
    file
        Ion cloud, range file, image or run folder.
    as_json
        Write the result as one JSON object to standard output.
    """
    with terminal.output(as_json) as write, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # all of them are among the issues
        result, render = describe(file)
        write(result, lambda: render(result))
    return terminal.EXIT.DONE


def describe(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], str]]:
    """Look at all of a file and gather what there is to say, with the function that renders it for a person."""
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_dir():
        return _run(path)
    found = read(path)
    common = {"file": str(path), "bytes": path.stat().st_size}
    if isinstance(found, IonCloud):
        return common | _cloud(found), _cloud_text
    if isinstance(found, RangeTable):
        return common | _ranges(found), _ranges_text
    return common | _image(found), _image_text


def _run(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], str]]:
    from napari_aptdefect.cli.analysis import run_result, run_text
    from napari_aptdefect.pipeline.run_folder import RunFolder

    return {"kind": "run", **run_result(RunFolder(path))}, run_text


def _cloud(cloud: IonCloud) -> dict[str, Any]:
    issues = cloud.check()
    low, high = np.full(4, np.inf), np.full(4, -np.inf)
    for start, stop in cloud.chunks():
        block = cloud.read_columns(("xyz_nm", "mass_da"), start, stop)
        values = np.column_stack([block["xyz_nm"], block["mass_da"]]).astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        low = np.fmin(low, np.fmin.reduce(values))
        high = np.fmax(high, np.fmax.reduce(values))
    bounds = [None if not np.isfinite(a) else [float(a), float(b)] for a, b in zip(low, high, strict=True)]
    return {
        "kind": "ions",
        "format": cloud.format,
        "n_ions": cloud.n_ions,
        "columns": [
            {"name": c.name, "dtype": c.dtype.name, "width": c.width, "unit": c.unit, "description": c.description}
            for c in cloud.columns.values()
        ],
        "absent_columns": list(cloud.absent_columns),
        "extent_nm": dict(zip("xyz", bounds, strict=False)),
        "mass_da": bounds[3],
        "issues": _issues(issues),
    }


def _cloud_text(result: Mapping[str, Any]) -> str:
    lines = [f"{result['file']}: {result['n_ions']:,} ions, format {result['format']}, {result['bytes']:,} bytes"]
    for axis, span in result["extent_nm"].items():
        lines.append(f"  {axis}     {_span(span)} nm" if span else f"  {axis}     no finite value")
    lines.append(f"  mass  {_span(result['mass_da'])} Da" if result["mass_da"] else "  mass  no finite value")
    rows = [
        (c["name"], c["dtype"] + (f" x {c['width']}" if c["width"] > 1 else ""), c["unit"] or "-", c["description"])
        for c in result["columns"]
    ]
    lines += ["", terminal.table(("column", "type", "unit", "what"), rows)]
    if result["absent_columns"]:
        lines.append(f"all zero in this file, so left out: {', '.join(result['absent_columns'])}")
    return "\n".join([*lines, *_issue_lines(result["issues"])])


def _ranges(table: RangeTable) -> dict[str, Any]:
    from napari_aptdefect.apt.ranging import lint_ranges

    return {
        "kind": "ranges",
        "n_ions": len(table.ions),
        "n_ranges": len(table.ranges),
        "interval": "closed: lo_da <= mass <= hi_da",
        "ions": [{"name": ion.name, "elements": dict(ion.elements)} for ion in table.ions],
        "ranges": [
            {"ion": table.ions[r.ion_idx].name, "lo_da": r.lo_da, "hi_da": r.hi_da, "volume_nm3": r.volume_nm3}
            for r in table.ranges
        ],
        "issues": _issues(dict.fromkeys((*table.issues, *lint_ranges(table)))),
    }


def _ranges_text(result: Mapping[str, Any]) -> str:
    head = f"{result['file']}: {result['n_ranges']} ranges of {result['n_ions']} ions, {result['interval']}"
    rows = [
        (
            r["ion"],
            f"{r['lo_da']:.4f}",
            f"{r['hi_da']:.4f}",
            "-" if r["volume_nm3"] is None else f"{r['volume_nm3']:.5f}",
        )
        for r in result["ranges"]
    ]
    body = terminal.table(("ion", "lo/Da", "hi/Da", "volume/nm3"), rows, numeric=(1, 2, 3))
    return "\n".join([head, "", body, *_issue_lines(result["issues"])])


def _image(image: HaadfImage) -> dict[str, Any]:
    return {
        "kind": "image",
        "title": image.title,
        "shape": list(image.values.shape),
        "dtype": image.values.dtype.name,
        "pixel_nm": None if image.pixel_nm is None else list(image.pixel_nm),
        "issues": _issues(image.issues),
    }


def _image_text(result: Mapping[str, Any]) -> str:
    pixel = result["pixel_nm"]
    size = " x ".join(str(n) for n in result["shape"])
    scale = "the file gives no pixel size" if pixel is None else f"pixel {pixel[0]:.6g} x {pixel[1]:.6g} nm (y, x)"
    lines = [f"{result['file']}: image {size}, {result['dtype']}, {scale}"]
    if result["title"]:
        lines.append(f"  {result['title']}")
    return "\n".join([*lines, *_issue_lines(result["issues"])])


def _issues(issues: Iterable[Issue]) -> list[dict[str, Any]]:
    return [
        {"code": i.code, "severity": i.severity, "message": i.message, "line": i.line, "offset": i.offset}
        for i in issues
    ]


def _issue_lines(issues: list[dict[str, Any]]) -> list[str]:
    return ["", *(f"{i['severity']}: {_where(i)}{i['message']}" for i in issues)] if issues else []


def _where(issue: Mapping[str, Any]) -> str:
    if issue["line"] is not None:
        return f"line {issue['line']}: "
    return f"byte {issue['offset']}: " if issue["offset"] is not None else ""


def _span(bounds: list[float]) -> str:
    return f"{bounds[0]:10.3f} to {bounds[1]:10.3f}"
