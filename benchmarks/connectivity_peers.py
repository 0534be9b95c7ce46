"""Maximum separation and percolation against peers, in one run: medians, ratios, and whether the clusters are the same.

    python benchmarks/connectivity_peers.py [--pos Si.pos] [--d-max 0.25] [--n-min 10] [--repeats 3] [--out result.json]

Peers of maximum separation: PyCCAPT (where `pyccapt` can be imported) and scipy (pairs and connected components).
Peer of percolation: scipy's connected components once per cutoff, on the same graph. Without a .pos file: random ions.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, csgraph
from scipy.spatial import cKDTree

from napari_aptdefect.apt.connectivity import CoreLinkParams, core_link_clusters, percolation
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.stage import drain


def own(xyz: np.ndarray, d_max: float, n_min: int) -> np.ndarray:
    params = CoreLinkParams(link_nm=d_max, n_min=n_min)
    return drain(core_link_clusters(xyz, np.ones(len(xyz), bool), params, workers=2)).label


def scipy_pairs(xyz: np.ndarray, d_max: float, n_min: int) -> np.ndarray:
    pairs = cKDTree(xyz).query_pairs(d_max, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(len(xyz), len(xyz)))
    label = csgraph.connected_components(links, directed=False)[1]
    small = np.bincount(label) < n_min
    return np.where(small[label], -1, label)


def pyccapt(xyz: np.ndarray, d_max: float, n_min: int) -> np.ndarray:
    return PYCCAPT.maximum_separation_clustering(xyz, d_max=d_max, n_min=n_min)[0]


def load_pyccapt() -> types.ModuleType | None:
    """Load PyCCAPT's clustering alone (it needs plotly): its package asks for a Python and a Qt of its own."""
    found = importlib.util.find_spec("pyccapt")
    if found is None or found.submodule_search_locations is None or importlib.util.find_spec("plotly") is None:
        return None
    path = Path(found.submodule_search_locations[0]) / "calibration" / "clustering" / "clustering.py"
    spec = importlib.util.spec_from_file_location("pyccapt_clustering", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PYCCAPT = load_pyccapt()


def same_clusters(a: np.ndarray, b: np.ndarray) -> bool:
    if not np.array_equal(a < 0, b < 0):
        return False
    pairs = np.unique(np.column_stack([a[a >= 0], b[a >= 0]]), axis=0)
    return len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))


def timed(run, repeats: int):
    times, cpu = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times), (time.process_time() - cpu) / repeats


def separation(xyz: np.ndarray, d_max: float, n_min: int, repeats: int) -> dict[str, object]:
    own(xyz[:2000], d_max, n_min)
    programs = {"napari-aptdefect": (own, repeats), "scipy pairs": (scipy_pairs, repeats)}
    if PYCCAPT is not None:
        programs["PyCCAPT"] = (pyccapt, 1)
    results, first = {}, None
    for name, (run, n) in programs.items():
        label, wall, cpu = timed(lambda run=run: run(xyz, d_max, n_min), n)
        first = label if first is None else first
        results[name] = {
            "median_s": wall,
            "cpu_s": cpu,
            "n_clusters": len(np.unique(label[label >= 0])),
            "same_clusters": same_clusters(first, label),
        }
    report(results, "maximum separation")
    return results


def growth(xyz: np.ndarray, longest: float, repeats: int) -> dict[str, object]:
    graph = drain(build_graph(xyz, GraphParams(mode="cutoff", cutoff_nm=longest), workers=2))
    cutoffs = np.linspace(longest / 20, longest, 20)
    percolation(graph, cutoffs)
    found, wall, cpu = timed(lambda: percolation(graph, cutoffs), repeats)

    def peer() -> np.ndarray:
        largest = []
        for cutoff in cutoffs:
            links = graph.matrix((graph.lengths_nm <= np.float32(cutoff)).astype(np.float32)).copy()
            links.eliminate_zeros()
            largest.append(np.bincount(csgraph.connected_components(links, directed=False)[1]).max() / len(xyz))
        return np.array(largest)

    largest, peer_wall, peer_cpu = timed(peer, 1)
    results = {
        "napari-aptdefect": {"median_s": wall, "cpu_s": cpu, "threshold_nm": found.threshold_nm},
        "scipy, per cutoff": {
            "median_s": peer_wall,
            "cpu_s": peer_cpu,
            "same_largest": bool(np.array_equal(largest, found.largest_fraction)),
        },
    }
    report(results, f"percolation, 20 cutoffs to {longest} nm, {len(graph.indices):,} edges")
    return results


def report(results: dict[str, dict[str, object]], title: str) -> None:
    print(title)
    reference = results["napari-aptdefect"]
    for name, result in results.items():
        result["ratio"] = result["median_s"] / reference["median_s"]
        result["cpu_ratio"] = result["cpu_s"] / reference["cpu_s"]
        rest = {k: v for k, v in result.items() if k not in ("median_s", "cpu_s", "ratio", "cpu_ratio")}
        print(
            f"  {name:18s} {result['median_s']:8.2f} s x{result['ratio']:.1f}  {result['cpu_s']:7.2f} s CPU "
            f"x{result['cpu_ratio']:.1f}  {rest}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pos", type=Path)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d-max", type=float, default=0.25)
    parser.add_argument("--n-min", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.pos:
        xyz = np.fromfile(args.pos, ">f4").reshape(-1, 4)[:, :3].astype(np.float32)
    else:
        xyz = (np.random.default_rng(0).random((args.n, 3)) * (args.n / 45.0) ** (1 / 3)).astype(np.float32)
    print(f"{len(xyz):,} ions")
    results = {
        "n": len(xyz),
        "separation": separation(xyz, args.d_max, args.n_min, args.repeats),
        "percolation": growth(xyz, 0.35, args.repeats),
    }
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
