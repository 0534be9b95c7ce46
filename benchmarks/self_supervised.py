"""Training without labels: which objective gives the embedding that a linear classifier reads best.

    python benchmarks/self_supervised.py [--seeds 5] [--train 4] [--test 2] [--level 1] [--epochs 12] [--ions 2000]

Seed s has wires of its own: lessons to train on, without their labels, and mixtures to test on, all of quick size. A
linear probe (logistic regression, classes weighted by their frequency to the power of -1/2) is then fitted to the
labels of the lessons' ions and tested on all ions of the core of the mixtures. It reads, in turn: the standardized
features themselves; the embedding of a network that was not trained; and that of the network that each objective
trained. Targets that no search can find are left out. Intervals are Student's over the seeds, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

OBJECTIVES = ("infomax", "dmon", "contrastive")
ROWS = ("features", "untrained", *OBJECTIVES)
PROBE_IONS = 4_000


class Wire:
    """What is kept of a simulated wire."""

    def __init__(self, recipe: Any) -> None:
        from napari_aptdefect.apt.network.superpoints import gather
        from napari_aptdefect.pipeline.benchmark.wires import true_arrays, truth_of
        from napari_aptdefect.pipeline.learning.inputs import describe
        from napari_aptdefect.simulate.gan_nanowire import simulate_gan_nanowire
        from napari_aptdefect.stage import drain

        params = recipe.params()
        simulated = drain(simulate_gan_nanowire(params, recipe.seed))
        arrays = true_arrays(simulated, params)
        truth = truth_of(arrays).visible_only()
        self.rows = np.flatnonzero(arrays["core"])[truth.scored]
        self.label = truth.scored_class[truth.scored]
        species = simulated.ranges.assign(simulated.cloud.mass_da)
        told = drain(describe(simulated.cloud.xyz_nm, species, simulated.ranges.ions, workers=1))
        self.table, self.kind = told.table, told.kind
        self.points = gather(simulated.cloud.xyz_nm)


def one_seed(args: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    import torch

    from napari_aptdefect.apt.network.inference import infer
    from napari_aptdefect.apt.network.model import DefectNetwork, to_tensors
    from napari_aptdefect.apt.network.self_supervised import SelfSupervisedParams, pretrain
    from napari_aptdefect.pipeline.benchmark.scenarios import WireRecipe
    from napari_aptdefect.pipeline.learning.inputs import feature_sets
    from napari_aptdefect.stage import drain

    train, test = (
        [Wire(WireRecipe(kind, split, seed * n + i, args.level, "quick")) for i in range(n)]
        for kind, split, n in (("lesson", "train", args.train), ("mixture", "test", args.test))
    )
    scaling = train[0].table.scaling()
    ready = {wire: scaling.standardize(wire.table.values) for wire in train + test}
    clouds = {wire: to_tensors(ready[wire], wire.kind, wire.points) for wire in train + test}
    sets = {name: columns for name, columns in feature_sets(train[0].table.names).items() if columns}
    out = []
    for name in ROWS:
        start = time.process_time()
        losses = (np.nan, np.nan)
        if name == "features":
            values = {wire: ready[wire][wire.rows] for wire in ready}
        else:
            if name == "untrained":
                with torch.random.fork_rng():
                    torch.manual_seed(seed)
                    network = DefectNetwork(sets, 1)
            else:
                params = SelfSupervisedParams(objective=name, epochs=args.epochs, n_ions=args.ions)
                trained = drain(pretrain([clouds[wire] for wire in train], sets, params=params, seed=seed))
                network, losses = trained.network, (-trained.history[0, 1], -trained.history[:, 1].max())
            values = {w: drain(infer(network, clouds[w], w.points)).embedding[w.rows] for w in clouds}
        seconds = time.process_time() - start
        scores = probe([(values[w], w.label) for w in train], [(values[w], w.label) for w in test], seed)
        out.append({"row": name, "seed": seed, "seconds": seconds, "losses": losses, **scores})
    return out


def probe(train: list[tuple[np.ndarray, np.ndarray]], test: list[tuple[np.ndarray, np.ndarray]], seed: int) -> dict:
    """Macro-F1 and mean average precision of a linear classifier, over the defects' classes in both, and the matrix."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score, f1_score

    x, y = drawn(train, seed)
    center, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    count = np.bincount(y)
    weight = np.array([(count.max() / count[c]) ** 0.5 for c in y])
    model = LogisticRegression(max_iter=500).fit((x - center) / scale, y, sample_weight=weight)
    x, y = (np.concatenate(parts) for parts in zip(*test, strict=True))
    chance = model.predict_proba((x - center) / scale)
    shared = [c for c in model.classes_ if c in y]
    f1 = f1_score(y, model.classes_[chance.argmax(axis=1)], labels=shared, average="macro")
    columns = [int(np.flatnonzero(model.classes_ == c)[0]) for c in shared if c]
    ap = np.mean([average_precision_score(y == model.classes_[i], chance[:, i]) for i in columns])
    return {"f1": float(f1), "precision": float(ap), "classes": len(shared)}


def drawn(wires: list[tuple[np.ndarray, np.ndarray]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ions of each wire, drawn at random, as they come."""
    rng = np.random.default_rng([seed, 3])
    rows = [rng.permutation(len(label))[:PROBE_IONS] for _, label in wires]
    x = np.concatenate([values[some] for (values, _), some in zip(wires, rows, strict=True)])
    return x, np.concatenate([label[some] for (_, label), some in zip(wires, rows, strict=True)]).astype(np.int64)


def spelled(values: Any) -> str:
    from napari_aptdefect.evaluate.intervals import student_interval

    one = student_interval(values)
    return f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"


def report(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    of = {name: [row for row in rows if row["row"] == name] for name in ROWS}
    f1, ap = ({n: np.array([row[key] for row in of[n]]) for n in ROWS} for key in ("f1", "precision"))
    print(f"Level {args.level}, {args.seeds} seeds, {args.train} lessons and {args.test} mixtures each, quick size\n")
    print(
        "| What the probe reads | Macro-F1 | above the features | above no training | Average precision of the defects "
        "| above the features | Processor s |\n|---|---|---|---|---|---|---|"
    )
    for name in ROWS:
        above = ["0" if name == base else spelled(f1[name] - f1[base]) for base in ("features", "untrained")]
        more = "0" if name == "features" else spelled(ap[name] - ap["features"])
        seconds = np.mean([row["seconds"] for row in of[name]])
        print(f"| {name} | {spelled(f1[name])} | {' | '.join(above)} | {spelled(ap[name])} | {more} | {seconds:.0f} |")
    best = max(OBJECTIVES, key=lambda name: f1[name].mean())
    print(f"\nBest objective by mean macro-F1: {best}.")
    for name in OBJECTIVES:
        loss = np.mean([row["losses"] for row in of[name]], axis=0)
        print(f"  {name}: loss {loss[0]:.3f} after the first epoch, {loss[1]:.3f} at best", end="")
        print("" if name == best else f"; {best} - {name}: {spelled(f1[best] - f1[name])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, default=4, help="lessons of each seed")
    parser.add_argument("--test", type=int, default=2, help="mixtures of each seed")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--ions", type=int, default=2_000, help="drawn at each step")
    parser.add_argument("--json", type=Path, help="keep every score here")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        rows += one_seed(args, seed)
        shown = ", ".join(f"{row['row']} {row['f1']:.3f}" for row in rows[-len(ROWS) :])
        print(f"seed {seed}: {shown}", file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    report(args, rows)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
