"""Voronoi cells against scipy's Qhull (and freud and OVITO where installed), in one run: medians, ratios, peak memory.

    python benchmarks/voronoi_peers.py [--n 1000000] [--peer-n 100000] [--repeats 3] [--out result.json]

Peers run at `--peer-n` points, beside our own run at the same number; our own alone runs at `--n` too. Qhull gives
vertices without volumes; freud and OVITO work in a periodic box here. Peak memory: a fresh process each, above input.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def cloud(n: int) -> np.ndarray:
    return (np.random.default_rng(0).random((n, 3)) * n ** (1 / 3)).astype(np.float32)


def own(xyz: np.ndarray, workers: int) -> float:
    from napari_aptdefect.apt.voronoi import VoronoiParams, voronoi_cells
    from napari_aptdefect.stage import drain

    edge = len(xyz) ** (1 / 3) * (1 + 1e-6)
    cells = drain(voronoi_cells(xyz, VoronoiParams(box_nm=((0,) * 3, (edge,) * 3)), workers=workers))
    return cells.volume_nm3.sum(dtype=float) / edge**3 - 1


def own_unboxed(xyz: np.ndarray, workers: int) -> float:
    from napari_aptdefect.apt.voronoi import voronoi_cells
    from napari_aptdefect.stage import drain

    return float(drain(voronoi_cells(xyz, workers=workers)).bounded.mean())


def qhull(xyz: np.ndarray, workers: int) -> float:
    from scipy.spatial import Voronoi

    return float(len(Voronoi(xyz).vertices) / workers)


def freud(xyz: np.ndarray, workers: int) -> float:
    import freud

    freud.parallel.set_num_threads(workers)
    edge = len(xyz) ** (1 / 3) * (1 + 1e-6)
    volumes = freud.locality.Voronoi().compute((freud.box.Box.cube(edge), xyz - edge / 2)).volumes
    return float(volumes.sum() / edge**3 - 1)


def ovito(xyz: np.ndarray, workers: int) -> float:
    from ovito.data import DataCollection
    from ovito.modifiers import VoronoiAnalysisModifier

    edge = len(xyz) ** (1 / 3) * (1 + 1e-6)
    data = DataCollection()
    data.create_cell(np.column_stack([np.eye(3) * edge, np.zeros(3)]), pbc=(False,) * 3)
    data.create_particles(count=len(xyz)).create_property("Position", data=xyz)
    data.apply(VoronoiAnalysisModifier())
    return float(np.sum(data.particles["Atomic Volume"]) / edge**3 - 1) / max(workers, 1)


PROGRAMS = {
    "napari-aptdefect, box": (own, None),
    "napari-aptdefect, limit": (own_unboxed, None),
    "scipy Qhull": (qhull, None),
    "freud": (freud, "freud"),
    "ovito": (ovito, "ovito"),
}


def measure(name: str, n: int, workers: int, repeats: int) -> dict[str, object]:
    run = PROGRAMS[name][0]
    run(cloud(2000), workers)
    xyz = cloud(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times, check = [], 0.0
    cpu = time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        check = run(xyz, workers)
        times.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / repeats  # on a busy machine the fairer number
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    return {
        "n": n,
        "median_s": statistics.median(times),
        "times_s": times,
        "cpu_s": cpu,
        "peak_extra_gib": extra,
        "check": check,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--peer-n", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only[0], int(args.only[1]), args.workers, args.repeats)))
        return
    wanted = [(name, args.peer_n) for name, (_, module) in PROGRAMS.items() if not module or find(module)]
    wanted += [(name, args.n) for name in list(PROGRAMS)[:2]]
    results = []
    for name, n in wanted:
        command = [sys.executable, *sys.argv, "--only", name, str(n)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results.append({"program": name, **json.loads(done.stdout)})
    reference = results[0]["median_s"]
    for result in results:
        result["ratio"] = result["median_s"] / reference if result["n"] == args.peer_n else None
        ratio = f"x{result['ratio']:.2f}" if result["ratio"] else ""
        timing = f"{result['median_s']:8.2f} s {result['cpu_s']:7.1f} s CPU {ratio:6s}"
        print(
            f"{result['program']:24s} {result['n']:>9,} {timing} "
            f"{result['peak_extra_gib']:.2f} GiB extra, check {result['check']:.3g}"
        )
    if args.out:
        args.out.write_text(json.dumps({"workers": args.workers, "runs": results}, indent=2) + "\n")


def find(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    main()
