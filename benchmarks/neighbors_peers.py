"""Neighbor graphs against scipy (and pykdtree where it is installed), in one run: medians, ratios, peak memory.

    python benchmarks/neighbors_peers.py [--n 1000000] [--k 12] [--repeats 3] [--out result.json] [--delaunay]

Each timing includes building the tree. Peak memory is measured in a fresh process per program, above the input; the
whole process, input and program included, is given too. `--delaunay` compares the Delaunay edges with scipy's Qhull
instead; ours has Gabriel edges beside it.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np

DENSITY_NM3 = 45.0

Program = Callable[[np.ndarray, int, int], None]


def cloud(n: int) -> np.ndarray:
    return (np.random.default_rng(0).random((n, 3)) * (n / DENSITY_NM3) ** (1 / 3)).astype(np.float32)


def own(xyz: np.ndarray, k: int, workers: int) -> None:
    from napari_aptdefect.apt.graph import GraphParams, build_graph
    from napari_aptdefect.stage import drain

    drain(build_graph(xyz, GraphParams(k=k), workers=workers))


def scipy_tree(xyz: np.ndarray, k: int, workers: int) -> None:
    from scipy.spatial import cKDTree

    distance, index = cKDTree(xyz).query(xyz, k + 1, workers=workers)
    distance[:, 1:].astype(np.float32), index[:, 1:].astype(np.int32)


def pykdtree(xyz: np.ndarray, k: int, workers: int) -> None:
    from pykdtree.kdtree import KDTree

    KDTree(xyz).query(xyz, k + 1)


def own_cells(mode: str) -> Callable[[np.ndarray, int, int], None]:
    def run(xyz: np.ndarray, k: int, workers: int) -> None:
        from napari_aptdefect.apt.graph import GraphParams, build_graph
        from napari_aptdefect.stage import drain

        drain(build_graph(xyz, GraphParams(mode=mode), workers=workers))

    return run


def qhull(xyz: np.ndarray, k: int, workers: int) -> None:
    from scipy.spatial import Delaunay

    indptr, indices = Delaunay(xyz).vertex_neighbor_vertices
    np.linalg.norm(xyz[np.repeat(np.arange(len(xyz)), np.diff(indptr))] - xyz[indices], axis=1)


NEAREST = {"napari-aptdefect": own, "scipy cKDTree": scipy_tree, "pykdtree": pykdtree}
TOUCHING = {"napari-aptdefect": own_cells("delaunay"), "own, Gabriel": own_cells("gabriel"), "scipy Qhull": qhull}


def measure(programs: dict[str, Program], name: str, n: int, k: int, workers: int, repeats: int) -> dict[str, object]:
    run = programs[name]
    run(cloud(2000), k, workers)
    xyz = cloud(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    cpu = time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        run(xyz, k, workers)
        times.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / repeats  # on a busy machine the fairer number
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "median_s": statistics.median(times),
        "times_s": times,
        "cpu_s": cpu,
        "peak_extra_gib": (peak - before) / 2**20,
        "peak_gib": peak / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--delaunay", action="store_true")
    parser.add_argument("--peers", type=int, default=1, help="0: our own program alone")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    programs = TOUCHING if args.delaunay else NEAREST
    if args.only:
        print(json.dumps(measure(programs, args.only, args.n, args.k, args.workers, args.repeats)))
        return
    names = [name for name in programs if name != "pykdtree" or importlib.util.find_spec("pykdtree")]
    names = names if args.peers else names[:1]
    results = {}
    for name in names:
        done = subprocess.run([sys.executable, *sys.argv, "--only", name], check=True, capture_output=True, text=True)
        results[name] = json.loads(done.stdout)
    reference = results["napari-aptdefect"]["median_s"]
    graph_gib = args.n * args.k * 8 / 2**30
    for name, result in results.items():
        result["ratio"] = result["median_s"] / reference
        timing = f"{result['median_s']:8.2f} s {result['cpu_s']:7.1f} s CPU  x{result['ratio']:.2f}"
        print(f"{name:18s} {timing}  {result['peak_extra_gib']:.2f} GiB extra, {result['peak_gib']:.2f} in all")
    report = {"n": args.n, "k": args.k, "workers": args.workers, "graph_gib": graph_gib, "programs": results}
    if not args.delaunay:
        print(f"the graph itself: {graph_gib:.2f} GiB")
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
