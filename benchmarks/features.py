"""All features of ions: time per part, peak memory, and how both grow with the number of ions.

    python benchmarks/features.py [--n 100000 1000000] [--large] [--stand-in-cells] [--out result.json]
    python benchmarks/features.py --surface [--n 1000000] | --columns | --lattice-columns

Each size runs in a process of its own, after a run on 5,000 ions that compiles. Ions are those of a cylinder of random
GaN with 1 % Mg and 2 % In at 44 ions/nm3, sorted by z as a file is by evaporation. The ratio is that of the processor
time per ion to the first size. "Above" is the growth of the peak of resident memory from before the stage, the
graph and the cells counted as input.
--large adds 1e7 ions. --stand-in-cells gives the features cells of other ions, for times without the cells. --surface
prints how right densities are near the surface instead, for the first size. --columns prints the table of columns of
the documentation instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np


def specimen(n: int):
    from napari_aptdefect.data import Ion

    rng = np.random.default_rng(0)
    radius = (n / 44 / (3 * np.pi)) ** (1 / 3)  # three times as long as its radius
    r, phi = radius * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    z = np.sort(rng.random(n)) * 3 * radius  # a file is in the order of evaporation
    xyz = np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1).astype(np.float32)
    species = rng.choice(7, n, p=[0.4, 0.06, 0.36, 0.1, 0.01, 0.02, 0.05]).astype(np.int16)
    species[rng.random(n) < 0.03] = -1
    parts = [(("Ga", 1),), (("Ga", 1), ("N", 1)), (("N", 1),), (("N", 2),), (("Mg", 1),), (("In", 1),), (("H", 1),)]
    names = ("Ga", "GaN", "N", "N2", "Mg", "In", "H")
    ions = [Ion(name, elements) for name, elements in zip(names, parts, strict=True)]
    return xyz, species, ions, rng.integers(1, 3, n).astype(np.int8), rng.random(n) < 0.2


def marks(xyz: np.ndarray) -> dict:
    """A boundary across the middle of the specimen and a region around its axis."""
    from napari_aptdefect.data.boundary import Boundary
    from napari_aptdefect.data.region import PolygonPrism

    up = np.tile(np.float32([0, 0, 1]), (len(xyz), 1))
    distance = xyz[:, 2] - np.float32(np.median(xyz[:, 2]))
    wall = Boundary(distance, up, up * np.sign(distance)[:, None])
    return {"boundaries": {"wall": wall}, "regions": {"drawn": PolygonPrism([[-1, -1], [1, -1], [1, 1], [-1, 1]])}}


def described(n: int, timed: bool, stand_in: bool = False, marked: bool = False):
    from napari_aptdefect.apt.features import FeatureContext, describe_ions
    from napari_aptdefect.apt.graph import GraphParams, build_graph
    from napari_aptdefect.apt.voronoi import voronoi_cells
    from napari_aptdefect.data.cells import VoronoiCells
    from napari_aptdefect.stage import drain

    xyz, species, ions, charge, multi = specimen(n)
    result: dict[str, float] = {"n": n}
    parts: dict[str, float] = {}

    def run(name, stage, on_progress=None):
        wall, cpu = time.perf_counter(), time.process_time()
        found = drain(stage, on_progress)
        result[f"{name}_s"], result[f"{name}_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu
        return found

    last = [time.process_time(), "start"]

    def on_progress(progress) -> None:
        if progress.message != last[1]:
            now = time.process_time()
            parts[last[1]] = parts.get(last[1], 0.0) + now - last[0]
            last[:] = [now, progress.message]

    graph = run("graph", build_graph(xyz, GraphParams()))
    if stand_in:
        some = drain(voronoi_cells(xyz[:20_000]))
        repeated = {
            f.name: np.resize(v, (n, *v.shape[1:]))
            for f in fields(some)
            if isinstance(v := getattr(some, f.name), np.ndarray)
        }
        cells = VoronoiCells(**repeated | {"limit_nm": some.limit_nm})
    else:
        cells = run("cells", voronoi_cells(xyz))
    voids = np.array([[0.0, 0.0, 5.0, 1.0]])
    more = marks(xyz) if marked else {}
    context = FeatureContext(cells=cells, charge=charge, multi_hit=multi, voids=voids, **more)
    before = peak_gib()
    last[0] = time.process_time()
    table = run("features", describe_ions(xyz, species, ions, graph, context), on_progress)
    parts[last[1]] = parts.get(last[1], 0.0) + time.process_time() - last[0]
    result |= {"columns": len(table.columns), "peak_gib": peak_gib(), "above_input_gib": peak_gib() - before}
    return table, result | {"parts_cpu_s": parts} if timed else {}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(n: int, stand_in: bool) -> None:
    described(5000, timed=False)
    print(json.dumps(described(n, timed=True, stand_in=stand_in)[1]))


def print_columns() -> None:
    table, _ = described(5000, timed=False, marked=True)
    print("| Column | Unit | What | Equation |\n|---|---|---|---|")
    seen = set()
    for column in table.columns:
        kind = next(
            (s for s in ("fraction_", "enrichment_", "density_r", "cell_faces_") if column.name.startswith(s)), None
        )
        kind = kind or column.name.rsplit("_r", 1)[0]
        if kind not in seen:
            seen.add(kind)
            print_column(column)


def print_lattice_columns() -> None:
    from napari_aptdefect.apt.features.lattice import columns

    print("| Column | Unit | What | Equation |\n|---|---|---|---|")
    for column in columns():
        print_column(column)


def print_column(column: Any) -> None:
    text = [part.replace("|", "\\|") for part in (column.name, column.unit, column.description, column.equation)]
    print(f"| `{text[0]}` | {text[1]} | {text[2]} | {text[3]} |")


def print_surface(n: int) -> None:
    table, _ = described(n, timed=False)
    xyz = specimen(n)[0]
    radius = (n / 44 / (3 * np.pi)) ** (1 / 3)
    depth = np.minimum.reduce([radius - np.hypot(xyz[:, 0], xyz[:, 1]), xyz[:, 2], 3 * radius - xyz[:, 2]])
    error = table["surface_distance_nm"] - depth
    print(f"{n:,} ions, radius {radius:.1f} nm; mean density over the true one, and error of the distance\n")
    print(
        "| Depth | r = 0.5 nm | 1 nm | 2 nm | 4 nm | distance: mean error | its spread |\n|---|---|---|---|---|---|---|"
    )
    for low, high in ((0, 0.5), (0.5, 1), (1, 2), (2, 4), (4, np.inf)):
        some = (depth >= low) & (depth < high)
        ratios = [np.nanmean(table[f"density_r{r}_per_nm3"][some]) / 44 for r in ("0.5", "1", "2", "4")]
        cells = " | ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"| {low} to {high} nm | {cells} | {error[some].mean():+.2f} nm | {error[some].std():.2f} nm |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--stand-in-cells", action="store_true")
    parser.add_argument("--columns", action="store_true")
    parser.add_argument("--lattice-columns", action="store_true")
    parser.add_argument("--surface", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.columns:
        print_columns()
        return
    if args.lattice_columns:
        print_lattice_columns()
        return
    if args.surface:
        print_surface(args.n[0])
        return
    if args.one:
        one(args.one, args.stand_in_cells)
        return
    results = []
    extra = ["--stand-in-cells"] if args.stand_in_cells else []
    print("| Ions | Graph | Cells | Features | All, processor | Features, processor | per ion | Ratio | Peak | Above |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n in [*args.n, *([10_000_000] if args.large else [])]:
        load = os.getloadavg()[0]
        found = subprocess.run(
            [sys.executable, __file__, "--one", str(n), *extra], check=True, capture_output=True, text=True
        )
        r = json.loads(found.stdout) | {"load_before": load, "load_after": os.getloadavg()[0]}
        results.append(r)
        per_ion = 1e6 * r["features_cpu_s"] / n
        ratio = per_ion / (1e6 * results[0]["features_cpu_s"] / results[0]["n"])
        everything = r["graph_cpu_s"] + r.get("cells_cpu_s", 0.0) + r["features_cpu_s"]
        cells = f"{r['cells_s']:.1f} s" if "cells_s" in r else "not made"
        print(
            f"| {n:,} | {r['graph_s']:.1f} s | {cells} | {r['features_s']:.1f} s | {everything:.1f} s | "
            f"{r['features_cpu_s']:.1f} s | {per_ion:.1f} us | {ratio:.2f} | {r['peak_gib']:.2f} GiB | "
            f"{r['above_input_gib']:.2f} GiB |",
            flush=True,
        )
    for r in results:
        parts = ", ".join(f"{name} {1e6 * s / r['n']:.2f}" for name, s in r["parts_cpu_s"].items())
        print(f"\n{r['n']:,} ions, load {r['load_before']:.1f} to {r['load_after']:.1f}; us per ion: {parts}")
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
