"""Weights of the feature sets: how well each way to learn them does at the same number of evaluations.

    python benchmarks/fusion_weights.py wires --folder F [--numbers 10] [--levels 1 2]
    python benchmarks/fusion_weights.py weights --folder F [--numbers 10] [--levels 1 2] [--seeds 10] [--budget 60]

`wires` simulates the benchmark's mixtures (quick size) and describes their ions; what is in the folder already is kept.
Of a wire only the ions of the core are used: all of the defects, and matrix ions up to --ions in all. So the scores
are those of this mixture, not of the wire. Seed s learns from the training wires s and s + 1, is validated on
validation wire s and tested on test wire s (modulo --numbers), and seeds the draw of ions and the search. With fewer
wires than seeds the seeds share wires, and the intervals are too narrow. Intervals are Student's, 95 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

SPLITS = ("train", "validation", "test")


def wire_file(folder: Path, split: str, number: int, level: int) -> Path:
    return folder / f"{split}-{number}-level{level}.npz"


def make_wire(split: str, number: int, level: int, most_ions: int, path: Path) -> None:
    from napari_aptdefect.apt.features import FeatureContext, FeatureSetParams, charge_states, describe_ions
    from napari_aptdefect.apt.graph import GraphParams, build_graph
    from napari_aptdefect.apt.ranging import identify
    from napari_aptdefect.pipeline.benchmark.scenarios import CORE_NM, WireRecipe
    from napari_aptdefect.simulate import wurtzite as gan
    from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
    from napari_aptdefect.stage import drain

    recipe = WireRecipe("mixture", split, number, level, "quick")
    params = recipe.params()
    wire = drain(simulate_gan_nanowire(params, recipe.seed))
    species = drain(identify(wire.cloud, wire.ranges)).ion_idx
    xyz, ions = wire.cloud.xyz_nm, wire.ranges.ions
    context = FeatureContext(charge=charge_states(ions, species, wire.cloud.mass_da))
    graph = drain(build_graph(xyz, GraphParams()))
    table = drain(describe_ions(xyz, species, ions, graph, context, FeatureSetParams(shapes=True), workers=1))

    code = np.zeros(len(wire.defects) + 1, np.int8)
    scored = np.ones(len(wire.defects) + 1, bool)
    for one in wire.defects:
        code[one.defect] = one.code if one.role == "target" else 0
        scored[one.defect] = one.role != "structure"
    label, scored = code[wire.instance], scored[wire.instance]
    scored &= gan.depth_below_facets_nm(wire.xyz_true_nm, params.radius_nm, params.length_nm, params.facets) >= CORE_NM
    rng = np.random.default_rng([recipe.seed, 5])
    matrix, defect = np.flatnonzero(scored & (label == 0)), np.flatnonzero(scored & (label > 0))
    matrix = rng.choice(matrix, min(len(matrix), max(most_ions - len(defect), 0)), replace=False)
    rows = np.sort(np.concatenate([matrix, defect]))
    np.savez(
        path,
        values=table.values[rows],
        label=label[rows],
        names=np.array(table.names),
        sets=np.array([column.set for column in table.columns]),
        n_ions=len(xyz),
    )


def wires(args: argparse.Namespace) -> None:
    args.folder.mkdir(parents=True, exist_ok=True)
    for number in range(args.numbers):
        for level in args.levels:
            for split in SPLITS:
                path = wire_file(args.folder, split, number, level)
                if path.exists():
                    continue
                start = time.perf_counter()
                make_wire(split, number, level, args.ions, path)
                with np.load(path) as got:
                    counts = dict(zip(*(a.tolist() for a in np.unique(got["label"], return_counts=True)), strict=True))
                    n = int(got["n_ions"])
                print(f"{path.name}: {n} ions, kept by class {counts}, {time.perf_counter() - start:.1f} s", flush=True)


METHODS = ("uniform", "random", "gradient", "tpe", "bandit", "ppo")


def ions_of(folder: Path, split: str, numbers: list[int], level: int, most: int, seed: int):
    """Labeled ions of some wires in three sets, drawn by seed."""
    from napari_aptdefect.data.feature_table import FEATURE_SETS

    parts, labels = [], []
    for number in numbers:
        with np.load(wire_file(folder, split, number, level)) as got:
            sets, names = got["sets"].tolist(), got["names"].tolist()
            parts.append((got["values"], names))
            labels.append(got["label"])
    shared = [name for name in parts[0][1] if all(name in names for _, names in parts)]
    values = np.concatenate([v[:, [names.index(n) for n in shared]] for v, names in parts])
    set_of = dict(zip(names, sets, strict=True))
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    rows = np.sort(rng.permutation(len(values))[:most])
    columns = [[i for i, name in enumerate(shared) if set_of[name] == one] for one in FEATURE_SETS]
    return [values[rows][:, some] for some in columns], np.concatenate(labels)[rows], shared


def one_seed(args: argparse.Namespace, level: int, seed: int) -> list[dict]:
    from napari_aptdefect.apt.weights import LabeledIons, LabeledProblem, WeightsParams, learn_weights
    from napari_aptdefect.data.feature_table import FEATURE_SETS
    from napari_aptdefect.stage import drain

    number = seed % args.numbers
    training = [(number + i) % args.numbers for i in range(2)]
    drawn = {
        split: ions_of(args.folder, split, training if split == "train" else [number], level, args.ions, seed)
        for split in SPLITS
    }
    if len({tuple(names) for _, _, names in drawn.values()}) != 1:
        raise SystemExit(f"seed {seed}: the wires have different features")
    train, validation, test = (LabeledIons(tuple(blocks), label) for blocks, label, _ in drawn.values())
    problem = LabeledProblem(FEATURE_SETS, train, validation)
    rows = []
    start = time.process_time()
    side_by_side = problem.concatenated(validation, test)
    rows.append({"method": "concatenation", "validation": side_by_side[0], "test": side_by_side[1], "n": 1})
    rows[-1] |= {"seconds": time.process_time() - start, "weights": None}
    for method in METHODS:
        start = time.process_time()
        found = drain(learn_weights(problem, WeightsParams(method=method, budget=args.budget), seed=seed))
        seconds = time.process_time() - start
        row = {"method": method, "validation": found.score, "test": problem.score_on(found.weights, test)}
        rows.append(row | {"n": found.n_evaluations, "seconds": seconds, "weights": found.weights})
    return [row | {"level": level, "seed": seed} for row in rows]


def spelled(values) -> str:
    from napari_aptdefect.evaluate.intervals import student_interval

    interval = student_interval(values)
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def weights(args: argparse.Namespace) -> None:
    names = ("concatenation", *METHODS)
    for level in args.levels:
        rows = []
        for seed in range(args.seeds):
            rows += one_seed(args, level, seed)
            print(f"level {level}, seed {seed} done", file=sys.stderr, flush=True)
        of = {name: [row for row in rows if row["method"] == name] for name in names}
        base = np.array([row["test"] for row in of["uniform"]])
        print(f"\nLevel {level}, {args.seeds} seeds, {args.numbers} wires per split, budget {args.budget}\n")
        print(
            "| Method | Validation macro-F1 | Test macro-F1 | Test, above uniform | Evaluations | Processor s "
            "| Weights (structural, compositional, spatial) |\n|---|---|---|---|---|---|---|"
        )
        for name in names:
            test = np.array([row["test"] for row in of[name]])
            chosen = [row["weights"] for row in of[name] if row["weights"] is not None]
            shown = " ".join(f"{w:.2f}" for w in np.mean(chosen, axis=0)) if chosen else "none"
            n, seconds = (np.mean([row[key] for row in of[name]]) for key in ("n", "seconds"))
            paired = "0" if name == "uniform" else spelled(test - base)
            validation = spelled([row["validation"] for row in of[name]])
            print(f"| {name} | {validation} | {spelled(test)} | {paired} | {n:.0f} | {seconds:.1f} | {shown} |")
        mean = {name: np.mean([row["test"] for row in of[name]]) for name in METHODS}
        best = max(mean, key=lambda name: mean[name])
        print(f"\nHighest test mean among the weighted: {best}.")
        lead = np.array([row["test"] for row in of[best]])
        for name in names:
            if name != best:
                print(f"  {best} - {name}: {spelled(lead - np.array([row['test'] for row in of[name]]))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["wires", "weights"])
    parser.add_argument("--folder", type=Path, required=True, help="where the described wires are kept")
    parser.add_argument("--numbers", type=int, default=10, help="wires per split and level")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ions", type=int, default=10_000, help="most ions kept of a wire, and learned from")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    args = parser.parse_args()
    {"wires": wires, "weights": weights}[args.what](args)
