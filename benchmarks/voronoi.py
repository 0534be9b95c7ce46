"""Voronoi volumes against scipy's Qhull, OVITO, freud and multivoro, and what a specimen hull costs, in one run.

    python benchmarks/voronoi.py [--n 1000000] [--peer-n 200000] [--repeats 3] [--python /other/venv/bin/python]
                                 [--hull-n 1000000] [--out result.json]

Random ions in a box. Each run is a fresh process of two threads; runs of the programs alternate (paired), and medians
are compared. Volumes from Qhull's Voronoi diagram need a convex hull per cell; they are timed on 2,000 cells
and scaled, the diagram itself in full. `--python` is the interpreter that runs OVITO, freud and multivoro, if they live
elsewhere. The hull table cuts a tip with a concave base.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

WORKERS = 2
_PATIENCE_S = 300


def cloud(n: int) -> np.ndarray:
    return (np.random.default_rng(0).random((n, 3)) * n ** (1 / 3)).astype(np.float32)


def tip(n: int) -> np.ndarray:
    """Cone of 10 to 14 nm radius, 37 ions per nm3, between two spheres: a convex top and a concave base."""
    rng = np.random.default_rng(0)
    length = n / 37 / (np.pi * 12.1**2)
    parts, found = [], 0
    while found < n:
        xyz = (rng.random((2 * n, 3)) - [0.5, 0.5, 0]) * [30, 30, length + 8]
        r2, z = (xyz[:, :2] ** 2).sum(axis=1), xyz[:, 2]
        cap = np.sqrt(np.maximum(400 - r2, 0)) - 20
        part = xyz[(r2 < (14 - 4 * z / length) ** 2) & (z < length + 5 + cap) & (z > 5 + cap)]
        parts.append(part)
        found += len(part)
    return np.vstack(parts)[:n].astype(np.float32)


def own(xyz: np.ndarray, edge: float) -> float:
    from napari_aptdefect.apt.voronoi import VoronoiParams, voronoi_cells
    from napari_aptdefect.stage import drain

    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=((0,) * 3, (edge,) * 3)), workers=WORKERS))
    return float(cells.volume_nm3.sum(dtype=float))


def qhull(xyz: np.ndarray, edge: float, n_cells: int = 2000) -> float:
    from scipy.spatial import ConvexHull, Voronoi

    found = Voronoi(xyz)
    start, total = time.perf_counter(), 0.0
    chosen = np.random.default_rng(1).choice(len(xyz), n_cells, replace=False)
    for i in chosen:
        region = found.regions[found.point_region[i]]
        if -1 not in region:
            total += ConvexHull(found.vertices[region]).volume
    qhull.extra = (time.perf_counter() - start) * (len(xyz) / n_cells - 1)  # type: ignore[attr-defined]
    return total * len(xyz) / n_cells + 0 * edge


def ovito(xyz: np.ndarray, edge: float) -> float:
    from ovito.data import DataCollection
    from ovito.modifiers import VoronoiAnalysisModifier

    data = DataCollection()
    data.create_cell(np.column_stack([np.eye(3) * edge, np.zeros(3)]), pbc=(False,) * 3)
    data.create_particles(count=len(xyz)).create_property("Position", data=xyz)
    data.apply(VoronoiAnalysisModifier())
    return float(np.sum(data.particles["Atomic Volume"]))


def freud(xyz: np.ndarray, edge: float) -> float:
    import freud

    freud.parallel.set_num_threads(WORKERS)
    return float(freud.locality.Voronoi().compute((freud.box.Box.cube(edge), xyz - edge / 2)).volumes.sum())


def multivoro(xyz: np.ndarray, edge: float) -> float:
    import multivoro

    # plain Voronoi is "not yet supported": equal radii give the same cells; one block per particle is its default
    blocks = np.full(3, max(1, round((len(xyz) / 5) ** (1 / 3))), np.uint32)
    limits = np.array([[0.0] * 3, [edge] * 3])
    cells = multivoro.compute_voronoi(xyz, limits=limits, radii=np.ones(len(xyz)), blocks=blocks, n_threads=WORKERS)
    volume = getattr(cells[0], "get_volume", None) or getattr(cells[0], "volume", None)
    return float("nan") if volume is None else float(len(cells))


PROGRAMS = {"napari-aptdefect": own, "OVITO": ovito, "freud": freud, "multivoro": multivoro, "scipy Qhull": qhull}


def measure(name: str, n: int) -> dict[str, float]:
    run = PROGRAMS[name]
    run(cloud(3000), 3000 ** (1 / 3) * (1 + 1e-6))
    xyz = cloud(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    check = run(xyz, n ** (1 / 3) * (1 + 1e-6)) / n - 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    extra = getattr(run, "extra", 0.0)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    return {"wall_s": wall + extra, "cpu_s": cpu + extra, "extra_gib": memory, "check": check}


def measure_hull(kind: str, n: int) -> dict[str, float]:
    from napari_aptdefect.apt.hull import HullParams, specimen_hull
    from napari_aptdefect.apt.voronoi import voronoi_cells
    from napari_aptdefect.stage import drain

    for size in (5000, n):
        xyz, hull = tip(size), None
        start = time.process_time()
        if kind != "none":
            hull = drain(specimen_hull(xyz, HullParams(kind=kind), workers=WORKERS))  # type: ignore[arg-type]
        hull_s, start, wall = time.process_time() - start, time.process_time(), time.perf_counter()
        cells = drain(voronoi_cells(xyz, hull=hull, workers=WORKERS))
        cells_s, wall = time.process_time() - start, time.perf_counter() - wall
    found = {"hull_cpu_s": hull_s, "cells_cpu_s": cells_s, "cells_wall_s": wall}
    if hull is not None:
        found["sum_error"] = cells.volume_nm3.sum(dtype=float) / hull.volume_nm3 - 1
        found |= {"planes": len(hull.planes), "pockets": len(hull.pockets_nm), "cut": cells.cut_by_hull.mean()}
    return found


def repeated(jobs: list[tuple[str, ...]], python: dict[str, str], repeats: int) -> dict[tuple[str, ...], dict]:
    runs: dict[tuple[str, ...], list[dict]] = {}
    failed: set[tuple[str, ...]] = set()
    for _ in range(repeats):
        for job in [job for job in jobs if job not in failed]:
            command = [python.get(job[1], sys.executable), __file__, "--only", *job]
            environment = {**os.environ, "OVITO_THREAD_COUNT": str(WORKERS)}
            try:
                done = subprocess.run(
                    command, check=False, capture_output=True, text=True, env=environment, timeout=_PATIENCE_S
                )
            except subprocess.TimeoutExpired:
                print(f"{job[1]}, {job[2]} ions: not done after {_PATIENCE_S} s", flush=True)
                failed.add(job)
                continue
            if done.returncode:
                print(f"{job[1]}: {done.stderr.strip().splitlines()[-1]}", flush=True)
                failed.add(job)
                continue
            runs.setdefault(job, []).append({**json.loads(done.stdout), "load": os.getloadavg()[0]})
    return {job: {key: statistics.median(run[key] for run in many) for key in many[0]} for job, many in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="ions for all but Qhull; 0 for none")
    parser.add_argument("--peer-n", type=int, default=200_000, help="ions for Qhull, and ours beside it; 0 for none")
    parser.add_argument("--hull-n", type=int, default=1_000_000, help="ions of the tip; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        table, name, n = args.only
        print(json.dumps((measure if table == "peers" else measure_hull)(name, int(n))))
        return
    jobs = [("peers", name, str(args.n)) for name in list(PROGRAMS)[:4] if args.n]
    jobs += [("peers", name, str(args.peer_n)) for name in ("napari-aptdefect", "scipy Qhull") if args.peer_n]
    jobs += [("hull", kind, str(args.hull_n)) for kind in ("none", "convex", "alpha") if args.hull_n]
    found = repeated(jobs, dict.fromkeys(list(PROGRAMS)[1:4], args.python), args.repeats)
    for (table, name, n), result in found.items():
        base = found.get((table, "napari-aptdefect" if table == "peers" else "none", n), {})
        ratios = [f"{k} x{v / base[k]:.2f}" for k, v in result.items() if k in base and k.endswith("_s") and base[k]]
        print(f"{table} {name:18s} {int(n):>9,}", {k: float(f"{v:.4g}") for k, v in result.items()}, *ratios)
    if args.out:
        text = json.dumps([{"table": t, "name": k, "n": int(n), **v} for (t, k, n), v in found.items()], indent=2)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
