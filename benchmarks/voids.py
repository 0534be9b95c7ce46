"""Voids in simulated wires: the sampler beside density thresholding; recall, false discoveries, bias, coverage, time.

python benchmarks/voids.py --out docs/voids.md --work scratch/voids

Thresholds of the peer are tuned on the validation seeds, everything is reported on the test seeds; the wires of one
seed differ between the settings in what the measurement does to them only. `--work` keeps the wires and the results of
each; what is there is not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_aptdefect.apt.normalize import Normalized, normalize
from napari_aptdefect.apt.voids import VoidParams, find_voids
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
from napari_aptdefect.simulate.gan_specs import Void
from napari_aptdefect.simulate.measurement import Measurement
from napari_aptdefect.stage import drain

RADII = (0.6, 0.8, 0.8, 1.0, 1.0, 1.0, 1.2, 1.2, 1.2, 1.5, 1.5, 2.0, 3.0)
STEPS = ("loss", "poles", "magnification", "reconstruction")
SETTINGS = {
    "all": (),
    "no loss, poles, magnification, reconstruction errors": STEPS,
}
CASES = [(0, "all"), *product((1, 2), SETTINGS)]  # level 0 has none of these steps
VALIDATION, TEST, EMPTY = range(7000, 7002), range(8100, 8103), range(9000, 9002)
WIRE = {"radius_nm": 11.0, "length_nm": 30.0, "n_voids": 0}
Row = dict[str, Any]


def wire(level: int, setting: str, seed: int, n_voids: bool, work: Path) -> Row:
    path = work / f"wire-{level}-{list(SETTINGS).index(setting)}-{seed}.npz"
    if not path.exists():
        params = GanNanowireParams(
            **WIRE,
            level=level,
            measurement={"skip": SETTINGS[setting]},
            defects=tuple(Void(radius_nm=r) for r in RADII) if n_voids else (),
        )
        made = drain(simulate_gan_nanowire(params, seed))
        voids = [one for one in made.defects if one.defect_class == "void"]
        moved = made.cloud.xyz_nm - made.xyz_true_nm
        centers = np.zeros((len(voids), 3))
        for i, one in enumerate(voids):  # where the measurement put it: what its surroundings moved by
            near = np.linalg.norm(made.xyz_true_nm - one.center_nm, axis=1) < one.region.radius_nm + 1.5
            centers[i] = np.asarray(one.center_nm) + np.median(moved[near], axis=0)
        np.savez(path, xyz=made.cloud.xyz_nm, center=centers, radius=[one.region.radius_nm for one in voids])
    return dict(np.load(path))


def match(found: np.ndarray, truth: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of found and true voids, nearest first; a center counts within the true radius, at least 0.75 nm."""
    if len(found) == 0 or len(truth) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    gap = np.linalg.norm(found[:, None] - truth[None], axis=2)
    gap[gap > np.maximum(radius, 0.75)] = np.inf
    pairs = []
    while np.isfinite(gap).any():
        i, j = np.unravel_index(np.argmin(gap), gap.shape)
        pairs.append((i, j))
        gap[i], gap[:, j] = np.inf, np.inf
    i, j = np.array(pairs, int).reshape(-1, 2).T
    return i, j


def by_sampler(given: Row, normalized: Normalized, level: int, seed: int) -> Row:
    blur = Measurement.at_level(level)
    params = VoidParams(sigma_lateral_nm=blur.sigma_lateral_nm, sigma_depth_nm=blur.sigma_depth_nm)
    xyz = given["xyz"][normalized.used]
    wall, cpu = time.perf_counter(), time.process_time()
    found = drain(find_voids(xyz, normalized.frame, normalized.inside, params, seed))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    i, j = match(found.center_nm, given["center"], given["radius"])
    inside = (found.center_low_nm[i] <= given["center"][j]) & (given["center"][j] <= found.center_high_nm[i])
    radius = given["radius"][j]
    return {
        "truth": given["radius"].tolist(),
        "hit": j.tolist(),
        "n_found": len(found),
        "bias": (found.radius_nm[i] - radius).tolist(),
        "width": (found.radius_high_nm[i] - found.radius_low_nm[i]).tolist(),
        "covered": ((found.radius_low_nm[i] <= radius) & (radius <= found.radius_high_nm[i])).tolist(),
        "covered_center": inside.mean(axis=1).tolist(),
        "dispersion": found.dispersion,
        "threshold": found.false_alarms.threshold(params.false_alarms),
        "n_ions": len(xyz),
        "wall_s": wall,
        "cpu_s": cpu,
    }


def by_threshold(given: Row, normalized: Normalized) -> dict[str, Row]:
    """Delocalized density over its average below a threshold, connected: all combinations of three settings."""
    frame, inside = normalized.frame, normalized.inside
    counts = frame.count(given["xyz"][normalized.used])
    core = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * frame.voxel_nm > 1.5
    average = frame.smooth(counts * inside, 5.0) / np.maximum(frame.smooth(inside.astype(np.float32), 5.0), 1e-3)
    out = {}
    for sigma in (0.5, 0.7, 1.0):
        ratio = frame.smooth(counts, sigma) / np.maximum(average, 1e-6)
        for below, least in product((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (1, 4, 16, 40)):
            label, n = ndimage.label((ratio < below) & core)
            size = np.bincount(label.ravel(), minlength=n + 1)[1:]
            rows = np.flatnonzero(size >= least)
            place = np.array(ndimage.center_of_mass(label > 0, label, rows + 1)).reshape(-1, 3)
            center = frame.origin_nm + (place + 0.5) * frame.voxel_nm
            i, j = match(center, given["center"], given["radius"])
            radius = np.cbrt(size[rows] * frame.voxel_nm**3 * 3 / (4 * np.pi))
            out[f"{sigma}/{below}/{least}"] = {
                "truth": given["radius"].tolist(),
                "hit": j.tolist(),
                "n_found": len(rows),
                "bias": (radius[i] - given["radius"][j]).tolist(),
            }
    return out


def run(level: int, setting: str, seed: int, n_voids: bool, work: Path) -> Row:
    path = work / f"result-{level}-{list(SETTINGS).index(setting)}-{seed}.json"
    if not path.exists():
        given = wire(level, setting, seed, n_voids, work)
        normalized = drain(normalize(given["xyz"]))
        result = {
            "sampler": by_sampler(given, normalized, level, seed),
            "threshold": by_threshold(given, normalized),
        }
        path.write_text(json.dumps(result))
    return dict(json.loads(path.read_text()))


def f1(rows: list[Row]) -> float:
    hits = sum(len(row["hit"]) for row in rows)
    return 2 * hits / max(sum(len(row["truth"]) + row["n_found"] for row in rows), 1)


def recall(rows: list[Row], low: float, high: float) -> str:
    of = [i in row["hit"] for row in rows for i, r in enumerate(row["truth"]) if low <= r < high]
    return f"{np.mean(of):.2f}" if of else "-"


def falsely(rows: list[Row]) -> str:
    found = sum(row["n_found"] for row in rows)
    return f"{found - sum(len(row['hit']) for row in rows)}/{found}"


def of_large(rows: list[Row], name: str) -> np.ndarray:
    """Values of the found voids of 1 nm and more."""
    return np.array([v for row in rows for v, i in zip(row[name], row["hit"], strict=True) if row["truth"][i] >= 1])


def line(name: str, rows: list[Row], empty: list[Row]) -> str:
    bands = [(0.5, 0.7), (0.7, 0.9), (0.9, 1.1), (1.1, 1.3), (1.3, 9.0), (0.9, 9.0)]
    cells = [recall(rows, *band) for band in bands]
    bias = of_large(rows, "bias")
    cells += [falsely(rows), str(sum(row["n_found"] for row in empty)) if empty else "-"]
    cells.append(f"{bias.mean():+.3f}" if len(bias) else "-")
    if "covered" in rows[0]:
        million = sum(row["n_ions"] for row in rows) / 1e6
        cells += [f"{of_large(rows, 'covered').mean():.2f}", f"{of_large(rows, 'covered_center').mean():.2f}"]
        cells += [f"{sum(r['wall_s'] for r in rows) / million:.1f}", f"{sum(r['cpu_s'] for r in rows) / million:.1f}"]
    else:
        cells += ["-"] * 4
    return f"| {name} | " + " | ".join(cells) + " |"


def table(results: dict[tuple[int, str, int], Row]) -> str:
    head = "level, method, measurement|R 0.6|0.8|1.0|1.2|1.5 to 3|1 and more|false/found|in void-free wires|bias (nm)|"
    head += "90 % of radius|90 % of center|wall s/million|CPU s/million"
    lines = ["| " + head.replace("|", " | ") + " |", "|" + "---|" * (head.count("|") + 1)]
    for level, setting in CASES:
        rows = {
            name: [results[k] for k in results if k[:2] == (level, setting) and k[2] in seeds]
            for name, seeds in (("tune", VALIDATION), ("test", TEST), ("empty", EMPTY))
        }
        if not rows["test"] or not rows["tune"]:
            continue
        best = max(rows["tune"][0]["threshold"], key=lambda k: f1([r["threshold"][k] for r in rows["tune"]]))
        one = [[r["sampler"] for r in rows[name]] for name in ("test", "empty")]
        two = [[r["threshold"][best] for r in rows[name]] for name in ("test", "empty")]
        lines.append(line(f"{level}, **sampler**, {setting}", *one))
        lines.append(line(f"{level}, threshold, {setting}", *two))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--seeds", choices=["validation", "test", "empty"], nargs="*")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    groups = {"validation": VALIDATION, "test": TEST, "empty": EMPTY}
    chosen = given.seeds or list(groups)
    warm = np.random.default_rng(0).random((40_000, 3)).astype(np.float32) * 9
    box = drain(normalize(warm))
    drain(find_voids(warm, box.frame, box.inside))  # compile
    results = {}
    for name, (level, setting) in product(chosen, CASES):
        if name == "empty" and setting != "all":
            continue
        for seed in groups[name]:
            results[level, setting, seed] = run(level, setting, seed, name != "empty", given.work)
            row = results[level, setting, seed]["sampler"]
            print(level, setting, seed, falsely([row]), recall([row], 0.9, 9), row["wall_s"], row["cpu_s"], flush=True)
    text = table(results)
    print(text)
    if given.out:
        before, _, rest = given.out.read_text(encoding="utf-8").partition("<!-- table -->")
        after = rest.partition("<!-- end of table -->")[2]
        given.out.write_text(f"{before}<!-- table -->\n{text}\n<!-- end of table -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
