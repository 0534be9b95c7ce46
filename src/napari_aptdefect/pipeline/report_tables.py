"""The words and tables of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.consistency import DensityColumn
from napari_aptdefect.apt.ranging import MassBackground
from napari_aptdefect.apt.topology import PlaceTopology
from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.data.composition import Composition, composition_of_counts
from napari_aptdefect.pipeline.report_data import ReportData
from napari_aptdefect.pipeline.structure import Structure
from napari_aptdefect.plot.colors import CLASS_COLORS, hex_color, species_colors

MAX_ROWS: Final = 200
_CERTAIN: Final = 0.99
"""Largest number of defects in the table of the page."""

NOT_VISIBLE: Final = ("vacancy", "interstitial", "stacking_fault")
"""Classes that data at realistic resolution can't show."""

_PLURALS: Final = {
    "vacancy": "vacancies",
    "stacking_fault": "stacking faults",
    "grain_boundary": "grain boundaries",
    "unknown": "of unknown class",
}


def page_context(data: ReportData) -> dict[str, Any]:
    """Return what the template shows, apart from the pictures."""
    record = data.record
    summary = record.get("summary", {})
    found = composition_of_counts(data.ranges, data.ion_counts)
    net = None if data.mass_background is None else data.mass_background.composition(data.ranges)
    return {
        "title": data.title,
        "created": record.get("created", ""),
        "verdict": verdict(data),
        "limits": limits(data),
        "notes": [str(note) for note in summary.get("notes") or ()],
        "inputs": _inputs(data),
        "parameters": _parameters(record.get("parameters") or {}),
        "versions": dict(record.get("versions") or {}),
        "stages": _stages(record.get("stages") or ()),
        "issues": sorted(map(dict, record.get("issues") or ()), key=lambda issue: issue.get("severity") == "info"),
        "ionic": _ionic_rows(data, found, net),
        "n_unranged": int((data.species_idx < 0).sum()),
        "n_ions": data.n_ions,
        "atomic": _atomic_rows(found, net),
        "background": [] if data.mass_background is None else list(_background_rows(data, data.mass_background)),
        "labels": [
            ion.name for ion, n in zip(data.ranges.ions, data.ion_counts, strict=True) if n and not ion.elements
        ],
        "classes": _class_rows(data),
        "defects": list(_defect_rows(data)),
        "n_defects": len(data.defects),
        "voids": None if data.voids is None else list(_void_rows(data.voids)),
        "n_voids": 0 if data.voids is None else data.voids.num_rows,
        "topology": [_topology_row(one) for one in data.topology or ()],
        "structure": [
            *_hull_rows(summary.get("hull")),
            *([] if data.structure is None else _structure_rows(data.structure)),
        ],
        "flags": _flag_rows(record.get("summary", {}).get("consistency"), data.n_ions),
        "columns": [] if data.consistent is None else [_column_row(one) for one in data.consistent.columns],
        "clustered": bool((data.cluster >= 0).any()),
    }


def verdict(data: ReportData) -> str:
    """How many defects of which class, at what probability, in plain words."""
    rows = _class_rows(data)
    where = f"in {data.n_ions:,} ions"
    if not rows:
        return (
            f"No defect was found {where}. That is no proof that there is none: what is too small or too weak for "
            "these data is not seen."
        )
    n = len(data.defects)
    parts = [f"{row['n']:,} {row['plural']} (probability {row['probability']})" for row in rows]
    return f"{n:,} {'defect was' if n == 1 else 'defects were'} found {where}: {'; '.join(parts)}."


def limits(data: ReportData) -> list[str]:
    """What can't be judged from these data."""
    sentences = []
    claimed = [name for name in NOT_VISIBLE if any(row["name"] == name for row in _class_rows(data))]
    if claimed:
        names = ", ".join(_plural(name, 2) for name in claimed)
        sentences.append(
            f"The table names {names}: only data of perfect resolution, such as simulated ones, can show these. "
            "In a measured data set doubt them."
        )
    else:
        sentences.append(
            "Single vacancies, single interstitials and undecorated stacking faults can't be judged: atom probe data "
            "do not show them."
        )
    if len(data.defects):
        sentences.append(
            "A probability says how surely a defect is no chance of a random cloud with this density and composition. "
            "It does not say that its name is right, nor that it is no artifact of the instrument (a pole, a zone "
            "line, local magnification)."
        )
    n_unranged = int((data.species_idx < 0).sum())
    if n_unranged == data.n_ions:
        sentences.append("No ion has a species, so that only differences in density can be judged.")
    elif n_unranged:
        sentences.append(f"{_share(n_unranged, data.n_ions)} of the ions are in no range; their species is not known.")
    touching = int(np.count_nonzero(data.defects.table.column("touches_surface").to_numpy(zero_copy_only=False)))
    if touching:
        sentences.append(
            f"{touching:,} of {len(data.defects):,} defects touch the surface of the data set: their true size can't "
            "be judged, what is given is a lower bound."
        )
    lost = data.n_ions - int(finite_rows(data.xyz_nm).sum())
    if lost:
        sentences.append(f"{lost:,} ions have no finite position and take no part.")
    return sentences


def percent(fraction: float, error: float) -> str:
    """Fraction in percent, with its error and as many digits as that has.

    Examples
    --------
    >>> percent(0.1234, 0.0012)
    '12.34 ± 0.12 %'
    """
    if not np.isfinite(fraction):
        return "not known"
    if not np.isfinite(error) or error <= 0:
        return f"{100 * fraction:.4g} %"
    digits = int(np.clip(1 - np.floor(np.log10(100 * error)), 0, 7))
    return f"{100 * fraction:.{digits}f} ± {100 * error:.{digits}f} %"


def size_text(n_bytes: float) -> str:
    """Size in bytes, for a person.

    Examples
    --------
    >>> size_text(15_123_376)
    '14.4 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"


def _share(n: int, total: int) -> str:
    share = 100 * n / total
    return f"{share:.3g} %" if share >= 0.01 else f"{n:,}"


def _plural(name: str, n: int) -> str:
    singular = name.replace("_", " ")
    if n == 1:
        return "of unknown class" if name == "unknown" else singular
    return _PLURALS.get(name, singular + "s")


def _class_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row per class of defect that is there: its number and probabilities."""
    names = data.defects.table.column("defect_class").to_pylist()
    probability = data.defects.table.column("probability").to_numpy()
    rows = []
    for name in [*DEFECT_CLASSES, *sorted(set(names) - set(DEFECT_CLASSES))]:
        values = probability[np.array([other == name for other in names], bool)]
        if len(values) == 0:
            continue
        finite = values[np.isfinite(values)]
        text = "not known"
        if len(finite):
            low, high = _probability(float(finite.min())), _probability(float(finite.max()))
            text = low if low == high else f"{low} to {high}, median {_probability(float(np.median(finite)))}"
        color = hex_color(CLASS_COLORS.get(name, CLASS_COLORS["unknown"]))
        n = len(values)
        rows.append({"name": name, "plural": _plural(name, n), "n": n, "probability": text, "color": color})
    return rows


def _defect_rows(data: ReportData) -> Iterator[dict[str, Any]]:
    for row in data.defects.table.slice(0, MAX_ROWS).to_pylist():
        parts = sorted(row["composition"] or (), key=lambda part: -part["fraction"])
        shown = [
            # non-breaking spaces keep a number and its error on one line
            f"{part['element']} {percent(part['fraction'], part['fraction_error'])}".replace(" ", "\N{NO-BREAK SPACE}")
            for part in parts[:4]
        ]
        if len(parts) > len(shown):
            shown.append(f"and {len(parts) - len(shown)} more")
        name = row["defect_class"]
        yield {
            "defect": row["defect"],
            "name": name.replace("_", " "),
            "color": hex_color(CLASS_COLORS.get(name, CLASS_COLORS["unknown"])),
            "n_ions": row["n_ions"],
            "position": ", ".join(_number(row[f"centroid_{axis}_nm"], ".1f") for axis in "xyz"),
            "volume": _number(row["volume_nm3"], ".3g"),
            "composition": shown,
            "probability": _probability(row["probability"]),
            "score": _number(row["anomaly_score"], ".3g"),
            "surface": "yes" if row["touches_surface"] else "no",
        }


def _flag_rows(found: Mapping[str, Any] | None, n_ions: int) -> list[dict[str, str]]:
    """Ions per flag; no row where nothing was checked."""
    return [
        {"name": name.replace("_", " ").lower(), "n": f"{n:,}", "share": f"{n / max(n_ions, 1):.2%}"}
        for name, n in ((found or {}).get("flags") or {}).items()
    ]


def _column_row(column: DensityColumn) -> dict[str, str]:
    direction = "" if np.isnan(column.direction_deg) else f", along {column.direction_deg:.0f}°"
    return {
        "kind": column.kind + direction,
        "center": ", ".join(_number(float(v), ".2f") for v in column.center) + f" {column.unit}",
        "contrast": percent(column.contrast, column.contrast_error).replace("-", "−"),  # noqa: RUF001
        "significance": f"{column.significance:.1f}",
        "n": f"{column.n_ions:,}",
    }


def _hull_rows(hull: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not hull:
        return []
    shape = "convex hull" if hull["kind"] == "convex" else f"a ball of {hull['alpha_nm']:g} nm rolled over the ions"
    return [
        ("Volume of the specimen", f"{hull['volume_nm3']:,.0f} nm³ ({shape})"),
        ("Surface of the specimen", f"{hull['area_nm2']:,.0f} nm²"),
        ("Ions in that volume", f"{hull['ions_per_nm3']:.2f} per nm³"),
        ("Voronoi cells together", f"{hull['cells_over_hull']:.8f} of it, {hull['n_cells_cut']:,} cells end at it"),
    ]


def _structure_rows(found: Structure) -> list[tuple[str, str]]:
    what = "ions" if found.efficiency == 1 else f"atoms (efficiency {found.efficiency:g})"
    return [
        ("Cutoff for bonds", f"{found.cutoff.cutoff_nm:.3f} nm: {found.cutoff.rule}"),
        ("Neighbors within it, from g(r)", f"{found.cutoff.n_atoms:.2f} {what}"),
        ("Bonds of an inner ion", f"{found.mean_coordination:.2f}"),
        ("Bond length", f"{found.lengths.mean:.3f} nm, standard deviation {found.lengths.std:.3f} nm"),
        ("Bond angle", f"{found.angles.mean:.1f} degrees, standard deviation {found.angles.std:.1f} degrees"),
        (
            "Groups that bonds connect",
            f"{found.n_components:,}, the largest with {found.largest_share:.2%} of the ions",
        ),
    ]


def _void_rows(voids: pa.Table) -> Iterator[dict[str, str]]:
    for row in voids.slice(0, MAX_ROWS).to_pylist():
        yield {
            "defect": str(row["defect"]) if row["defect"] else "none",
            "position": ", ".join(_number(row[f"center_{axis}_nm"], ".1f") for axis in "xyz"),
            "radius": _number(row["radius_nm"], ".2f"),
            "interval": f"{_number(row['radius_low_nm'], '.2f')} to {_number(row['radius_high_nm'], '.2f')}",
            "depletion": f"{100 * row['depletion']:.0f} %",
            "missing": _number(row["n_missing"], ".3g"),
            "rough": _number(row["local_dispersion"], ".2f"),
            "false_alarm": "below 0.001" if row["false_alarm"] < 1e-3 else _number(row["false_alarm"], ".2g"),
        }


def _topology_row(found: PlaceTopology) -> dict[str, str]:
    def pair(values: NDArray[np.float64], matrix: NDArray[np.float64], d: int) -> str:
        return f"{values[d]:.2f} / {matrix[d]:.2f}"

    return {
        "defect": str(found.place + 1),
        "radius": f"{found.radius_nm:.1f}",
        "n": f"{found.diagrams.n_ions:,} / {found.n_ions_matrix:,.0f}",
        "loop": pair(found.longest_nm, found.longest_matrix_nm, 1),
        "loop_chance": f"{found.chance[1]:.2g}",
        "cavity": pair(found.longest_nm, found.longest_matrix_nm, 2),
        "cavity_chance": f"{found.chance[2]:.2g}",
    }


def _probability(value: float | None) -> str:
    """Two digits, and no more certainty than they hold."""
    return "above 0.99" if value is not None and value > _CERTAIN else _number(value, ".2f")


def _number(value: float | None, style: str) -> str:
    return "not known" if value is None or not np.isfinite(value) else format(value, style).replace("-", "−")  # noqa: RUF001


def _ionic_rows(data: ReportData, found: Composition, net: Composition | None) -> list[dict[str, Any]]:
    colors = species_colors(data.ranges.ions)
    return [
        {
            "name": data.ranges.ions[i].name,
            "count": int(data.ion_counts[i]),
            "percent": percent(float(found.ion_fraction[i]), float(found.ion_fraction_error[i])),
            "net": net and percent(float(net.ion_fraction[i]), float(net.ion_fraction_error[i])),
            "color": hex_color(colors[i]),
        }
        for i in np.argsort(-data.ion_counts, kind="stable").tolist()
    ]


def _atomic_rows(found: Composition, net: Composition | None) -> list[dict[str, Any]]:
    return [
        {
            "name": found.elements[i],
            "count": round(float(found.atom_counts[i])),
            "percent": percent(float(found.fraction[i]), float(found.fraction_error[i])),
            "net": net and percent(float(net.fraction[i]), float(net.fraction_error[i])),
        }
        for i in np.argsort(-found.atom_counts, kind="stable").tolist()
        if found.atom_counts[i] > 0
    ]


def _background_rows(data: ReportData, found: MassBackground) -> Iterator[dict[str, str]]:
    colors = species_colors(data.ranges.ions)
    for i, item in enumerate(found.ranges[:MAX_ROWS]):
        probability = float(found.probability[i])
        yield {
            "name": data.ranges.ions[item.ion_idx].name,
            "color": hex_color(colors[item.ion_idx]),
            "limits": f"{item.lo_da:.3f} to {item.hi_da:.3f}",
            "count": f"{int(found.counts[i]):,}",
            "background": f"{found.background[i]:,.1f} ± {found.background_error[i]:,.1f}",
            "net": f"{found.net[i]:,.0f} ± {found.net_error[i]:,.0f}".replace("-", "−"),  # noqa: RUF001
            "ratio": _number(float(found.signal_to_noise[i]), ".1f"),
            "probability": "below 0.001" if probability < 1e-3 else _number(probability, ".3f"),
        }


def _inputs(data: ReportData) -> list[tuple[str, str]]:
    record = data.record
    given = record.get("input") or {}
    rows = [("Input", str(given.get("path", "not known"))), ("Format", str(given.get("format", "not known")))]
    if "size" in given:
        rows.append(("Size", f"{int(given['size']):,} bytes"))
    rows.append(("Ions", f"{data.n_ions:,}"))
    if "sha256" in given:
        rows.append(("sha256 of the input", str(given["sha256"])))
    ranges = record.get("ranges") or {}
    if ranges.get("suggested"):
        rows.append(("Ranges", f"{len(data.ranges.ranges)}, suggested from the mass spectrum; no range file was given"))
    elif ranges:
        rows.append(("Range file", f"{ranges.get('path', 'not known')} ({len(data.ranges.ranges)} ranges)"))
        if "sha256" in ranges:
            rows.append(("sha256 of the range file", str(ranges["sha256"])))
    else:
        rows.append(("Ranges", f"{len(data.ranges.ranges)}"))
    rows.append(("Seed", str(record.get("seed", "not known"))))
    rows.append(("Scheduler", str(record.get("scheduler") or "this machine")))
    return rows


def _parameters(parameters: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Parameters by stage, deeper ones with dotted names."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            groups[name] = list(_flat(value))
        else:
            groups.setdefault("general", []).append((name, str(value)))
    return list(groups.items())


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else str(value)


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    rows = []
    for stage in stages:
        peak = stage.get("peak_rss_bytes")
        rows.append(
            {
                "name": str(stage.get("name", "")),
                "seconds": f"{float(stage.get('seconds', float('nan'))):.2f}",
                "peak": "not measured" if peak is None else size_text(float(peak)),
            }
        )
    if stages:
        total = sum(float(stage.get("seconds", 0)) for stage in stages)
        peaks = [float(stage["peak_rss_bytes"]) for stage in stages if stage.get("peak_rss_bytes") is not None]
        rows.append(
            {
                "name": "together",
                "seconds": f"{total:.2f}",
                "peak": size_text(max(peaks)) if peaks else "not measured",
            }
        )
    return rows
