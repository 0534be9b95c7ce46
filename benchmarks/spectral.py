"""The clustering layer, measured: landmarks against all pairs, time and memory, and the set of 100 labeled clusters.

    python benchmarks/spectral.py agreement [--seeds 3]
    python benchmarks/spectral.py speed [--n 1000000] [--width 32] [--landmarks 1000]
    python benchmarks/spectral.py hundred FOLDER [--all-ions]

Each prints rows of docs/clustering.md. `hundred` needs the folder that holds hiperclust/example_plot.txt; the peers get
the best of a grid of parameters, chosen with the labels, ours are the defaults.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

from napari_aptdefect.apt.clustering import SpectralParams, agreement, density_modes, spectral_clusters
from napari_aptdefect.evaluate.baselines import COORDINATES, Dbscan, Hdbscan, MaximumSeparation, claimed_clusters
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.pipeline.benchmark.labeled_sets import read_labeled
from napari_aptdefect.stage import drain

DEFECTS = (0.5, 0.2, 0.15, 0.1, 0.05)  # shares of the types behind a gate
WITH_MATRIX = (0.9, 0.05, 0.02, 0.015, 0.01, 0.005)


def blobs(n: int, shares: tuple[float, ...], width: int, distance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal clusters whose centers lie at a distance from the middle, in random directions at right angles."""
    rng = np.random.default_rng(seed)
    centers = (distance * np.linalg.qr(rng.normal(size=(width, width)))[0][: len(shares)]).astype(np.float32)
    label = rng.choice(len(shares), n, p=shares)
    return centers[label] + rng.standard_normal((n, width), np.float32), label


def cases(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        "five types, 32 columns, 8 sigma": blobs(4000, DEFECTS, 32, 8.0, seed),
        "five types, 32 columns, 6 sigma": blobs(4000, DEFECTS, 32, 6.0, seed),
        "five types, 8 columns, 5 sigma": blobs(4000, DEFECTS, 8, 5.0, seed),
        "matrix of 90 % and five types, 32 columns, 8 sigma": blobs(4000, WITH_MATRIX, 32, 8.0, seed),
        "one type, 32 columns": blobs(4000, (1.0,), 32, 0.0, seed),
        "two moons": make_moons(4000, noise=0.06, random_state=seed),
        "two circles": make_circles(4000, noise=0.05, factor=0.4, random_state=seed),
    }


def compare(seeds: int) -> None:
    print("| Case | k taken | Eigengap | ARI, k taken | ARI, k given | Landmarks against all pairs |")
    print("|---|---|---|---|---|---|")
    for name in cases(0):
        rows = []
        for seed in range(seeds):
            vectors, truth = cases(seed)[name]
            k = int(truth.max()) + 1 if "one" not in name else 1
            found = drain(spectral_clusters(vectors, seed=seed))
            given = drain(spectral_clusters(vectors, k=k, seed=seed)) if k > 1 else found
            same = drain(agreement(vectors, k=k, seed=seed))
            aris = [adjusted_rand_score(truth, result.label) for result in (found, given)]
            rows.append((found.k, found.eigengap_k, *aris, same))
        k_s, k_e, free, fixed, same = zip(*rows, strict=True)
        print(
            f"| {name} | {', '.join(map(str, k_s))} | {', '.join(map(str, k_e))} | {np.mean(free):.3f} | "
            f"{np.mean(fixed):.3f} | {np.mean(same):.3f} |",
            flush=True,
        )


def speed(n: int, width: int, landmarks: int) -> None:
    vectors, truth = blobs(n, WITH_MATRIX, width, 8.0, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    found = drain(spectral_clusters(vectors, SpectralParams(n_landmarks=landmarks)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| Vectors | Landmarks | Wall | Processor | Peak | k | ARI | Sizes found (true) |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {n:,} x {width} | {landmarks:,} | {wall:.0f} s | {cpu:.0f} s | {peak:.2f} GiB | {found.k} | "
        f"{adjusted_rand_score(truth, found.label):.4f} | {sizes(found.label)} ({sizes(truth)}) |"
    )


def sizes(label: np.ndarray) -> str:
    return " ".join(f"{n:,}" for n in sorted(np.bincount(label), reverse=True))


GRIDS = {
    Dbscan: {"eps_nm": (1.3, 1.5, 1.7, 1.9, 2.1, 2.4), "min_samples": (10, 20, 40, 80), "envelope_nm": (0.5, 2.0)},
    Hdbscan: {"min_cluster_size": (20, 100, 300), "min_samples": (5, 20, 40), "envelope_nm": (0.5, 2.0)},
    MaximumSeparation: {"d_max_nm": (0.8, 1.1, 1.4, 1.7, 2.0), "order": (1, 4, 8), "envelope_nm": (0.5, 2.0)},
}


def hundred(folder: Path, all_ions: bool) -> None:
    xyz, label = read_labeled(folder / "hiperclust" / "example_plot.txt")
    n = len(xyz)
    kind, none = np.zeros(n, np.int16), np.zeros((n, 1), np.float32)
    specimen = Specimen(xyz, kind, ("ion",), (0,), none, None, None, np.ones(n, bool))
    print("| Method | Parameters | Clusters | ARI | Processor |")
    print("|---|---|---|---|---|")
    cpu = time.process_time()
    found = drain(density_modes(xyz))
    cpu = time.process_time() - cpu
    ari = adjusted_rand_score(label, found.label)
    print(f"| density modes | defaults, no labels | {len(found)} | {ari:.4f} | {cpu:.0f} s |", flush=True)
    for method, grid in GRIDS.items():
        best = (-1.0, {}, 0, 0.0)
        base = {"max_points": n} if all_ions and method is not MaximumSeparation else {}
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            cpu = time.process_time()
            result = method(COORDINATES).run(specimen, method.params_model(**chosen, **base), 0)
            cpu = time.process_time() - cpu
            objects = np.where(claimed_clusters(result), result.instance, 0)
            best = max(best, (adjusted_rand_score(label, objects), chosen, int(objects.max()), cpu), key=lambda b: b[0])
        ari, chosen, count, cpu = best
        text = ", ".join(f"{name} {value}" for name, value in chosen.items())
        trials = len(list(itertools.product(*grid.values())))
        print(f"| {method.name} | best of {trials} by ARI: {text} | {count} | {ari:.4f} | {cpu:.0f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("agreement")
    one.add_argument("--seeds", type=int, default=3)
    two = commands.add_parser("speed")
    two.add_argument("--n", type=int, default=1_000_000)
    two.add_argument("--width", type=int, default=32)
    two.add_argument("--landmarks", type=int, default=1_000)
    three = commands.add_parser("hundred")
    three.add_argument("folder", type=Path)
    three.add_argument("--all-ions", action="store_true", help="no sample for DBSCAN and HDBSCAN: slow")
    args = parser.parse_args()
    if args.command == "agreement":
        compare(args.seeds)
    elif args.command == "speed":
        speed(args.n, args.width, args.landmarks)
    else:
        hundred(args.folder, args.all_ions)


if __name__ == "__main__":
    main()
