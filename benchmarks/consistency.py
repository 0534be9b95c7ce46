"""Poles in simulated wires, flags in wires without any, and the topology of random clouds with and without a void.

python benchmarks/consistency.py --work FOLDER [--levels 1 2 3] [--cached] [--out docs/consistency.md]
python benchmarks/consistency.py --topology [--out docs/consistency.md]

Wires of 24 nm between the side facets and 40 nm length, with five clusters, three voids, a decorated dislocation and a
decorated fault, each once with the seven poles of its level and once without; seeds that nothing was tuned on. Each is
searched in the reconstructed positions alone and with the detector hits. A pole is found if a column's mean path over
the depth passes within 1.5 nm of where the reconstruction puts the pole. `--work` keeps the result of each wire.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

RADIUS_NM, LENGTH_NM = 12.0, 40.0
WIRE = {"radius_nm": RADIUS_NM, "length_nm": LENGTH_NM, "n_clusters": 5, "n_voids": 3}
FIRST_SEED = 5200
WITHIN_NM = 1.5
IMAGES = {"positions": "positions", "hits": "detector hits"}
Row = dict[str, Any]


def true_poles(measurement: Any) -> np.ndarray:
    """Places of the poles as the reconstruction has them, in the mean over the depth, shape (7, 2), nm."""
    from napari_aptdefect.simulate.measurement.positions import pole_directions

    corner = RADIUS_NM * 2 / math.sqrt(3)
    apex = measurement.apex_ratio * corner + math.tan(math.radians(measurement.shank_deg)) * LENGTH_NM / 2
    sine = pole_directions(measurement)
    size = np.maximum(np.hypot(*sine.T), 1e-9)
    stretched = np.sin((1 + measurement.compression_error_percent / 100) * np.arcsin(size))
    phase = np.linspace(0, LENGTH_NM, 1000) * 2 * math.pi / measurement.drift_period_nm
    drift = measurement.drift_nm * np.sin(phase).mean()
    return apex * sine * (stretched / size)[:, None] + [drift, 0.0]


def matched(one: Row, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which poles are found, and which columns are a pole."""
    centers = np.array(one["center"]).reshape(-1, 2)
    near = np.linalg.norm(centers[:, None] - truth[None], axis=2) < WITHIN_NM
    return near.any(axis=0), near.any(axis=1)


def result_of(level: int, seed: int, poles: bool, work: Path) -> Path:
    return work / f"columns-{level}-{seed}-{int(poles)}.json"


def check_wire(level: int, seed: int, poles: bool, work: Path) -> Row:
    from napari_aptdefect.apt.consistency import check_consistency
    from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
    from napari_aptdefect.stage import drain

    path = result_of(level, seed, poles, work)
    if path.exists():
        return dict(json.loads(path.read_text()))
    params = GanNanowireParams(**WIRE, level=level, measurement={} if poles else {"skip": ("poles",)})
    made = drain(simulate_gan_nanowire(params, seed))
    cloud = made.cloud
    hits = np.column_stack([cloud.read(name, 0, len(cloud)) for name in ("det_x_mm", "det_y_mm")])
    row: Row = {"n_ions": len(cloud)}
    for name in IMAGES:
        wall, cpu = time.perf_counter(), time.process_time()
        found = drain(check_consistency(cloud.xyz_nm, seed=seed, detector_mm=hits if name == "hits" else None))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        centers = np.array([np.nanmean(one.path_nm[:, :2], axis=0) for one in found.columns]).reshape(-1, 2)
        row[name] = {
            "center": centers.tolist(),
            "contrast": [one.contrast for one in found.columns],
            "flagged": float((found.flags > 0).mean()),
            "pairs": [found.n_pairs, found.n_pairs_expected],
            "wall_s": wall,
            "cpu_s": cpu,
        }
    path.write_text(json.dumps(row))
    return row


def columns_table(wires: list[tuple[int, int, bool]], work: Path, cached: bool) -> str:
    from napari_aptdefect.simulate.measurement import Measurement

    head = ["level", "searched in", "poles: found", "center found", "ring found", "other columns per wire"]
    head += [
        "mean contrast",
        "pole-free: columns per wire",
        "wires with any",
        "ions flagged",
        "close pairs over chance",
    ]
    head += ["CPU s per million"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for level in sorted({level for level, _, _ in wires}):
        rows: dict[bool, list[Row]] = {True: [], False: []}
        for _, i, poles in (one for one in wires if one[0] == level):
            if not cached or result_of(level, FIRST_SEED + i, poles, work).exists():
                rows[poles].append(check_wire(level, FIRST_SEED + i, poles, work))
        if not rows[True] or not rows[False]:
            continue
        truth = true_poles(Measurement.at_level(level))
        for name, text in IMAGES.items():
            on, off = ([row[name] for row in rows[poles]] for poles in (True, False))
            pairs = [matched(one, truth) for one in on]
            hit = np.array([found for found, _ in pairs])
            contrast = np.concatenate([np.array(one["contrast"])[ok] for one, (_, ok) in zip(on, pairs, strict=True)])
            false = [len(one["center"]) for one in off]
            million = sum(row["n_ions"] for poles in rows for row in rows[poles]) / 1e6
            ratio = np.mean([one["pairs"][0] / one["pairs"][1] for one in off])
            cells = [str(level), text, f"{hit.sum()}/{hit.size}", f"{hit[:, 0].mean():.2f}", f"{hit[:, 1:].mean():.2f}"]
            cells += [f"{np.mean([np.count_nonzero(~ok) for _, ok in pairs]):.1f}"]
            cells += [f"{100 * contrast.mean():.1f} %" if len(contrast) else "-"]
            cells += [f"{np.mean(false):.1f}", f"{np.count_nonzero(false)}/{len(false)}"]
            cells += [f"{100 * np.mean([one['flagged'] for one in off]):.2f} %", f"{ratio:.2f}"]
            cells += [f"{sum(one['cpu_s'] for one in (*on, *off)) / million:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def topology_table() -> str:
    """Share of clouds with classes beyond the reference, and what a region costs."""
    from napari_aptdefect.apt.topology import TopologyParams, persistence, topological_features
    from napari_aptdefect.stage import drain

    n, n_clouds = 600, 60
    edge = 10.0
    spacing = edge / n ** (1 / 3)
    lines = ["| 600 random ions in a box | components | loops | cavities |", "|---|---|---|---|"]
    for radius in (0.0, 1.25, 1.5, 2.0):
        share = np.zeros(3)
        for seed in range(n_clouds):
            rng = np.random.default_rng([seed, int(100 * radius)])
            points = rng.random((2 * n, 3)) * edge
            points = points[np.linalg.norm(points - edge / 2, axis=1) > radius * spacing][:n]
            found = drain(topological_features(points, params=TopologyParams(n_references=9), seed=seed))
            share += found.n_above > 0
        name = f"with an empty ball of {radius} spacings" if radius else "as they are"
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in share / n_clouds) + " |")
    lines += ["", "| ions | wall s | CPU s | intervals |", "|---|---|---|---|"]
    for size in (1_000, 10_000, 100_000):
        points = np.random.default_rng(0).random((size, 3)) * 10
        wall, cpu = time.perf_counter(), time.process_time()
        found = persistence(points)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lines.append(f"| {size:,} | {wall:.1f} | {cpu:.1f} | {sum(map(len, found.intervals_nm)):,} |")
    return "\n".join(lines)


def put(page: Path, name: str, text: str) -> None:
    """Replace the table of a name in a page."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise SystemExit(f"{page} has lost its marker {begin}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the result of each wire")
    parser.add_argument("--seeds", type=int, default=10, help="wires without poles per level")
    parser.add_argument("--pole-seeds", type=int, default=4, help="wires with poles per level")
    parser.add_argument("--levels", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument(
        "--only", type=int, nargs=2, help="make the results of one share of the wires: which, of how many"
    )
    parser.add_argument("--cached", action="store_true", help="a table of the results that are there")
    parser.add_argument("--topology", action="store_true", help="the tables of the topology instead")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    given = parser.parse_args()
    if given.topology:
        name, text = "topology", topology_table()
    else:
        if given.work is None:
            parser.error("--work is needed for the wires")
        given.work.mkdir(parents=True, exist_ok=True)
        wires = [(level, i, True) for level, i in product(given.levels, range(given.pole_seeds))]
        wires += [(level, i, False) for level, i in product(given.levels, range(given.seeds))]
        if given.only:
            for level, i, poles in wires[given.only[0] :: given.only[1]]:
                row = check_wire(level, FIRST_SEED + i, poles, given.work)
                seen = [(len(row[name]["center"]), row[name]["wall_s"]) for name in IMAGES]
                print(level, FIRST_SEED + i, poles, seen, flush=True)
            return
        name, text = "columns", columns_table(wires, given.work, given.cached)
    print(text)
    if given.out:
        put(given.out, name, text)


if __name__ == "__main__":
    main()
