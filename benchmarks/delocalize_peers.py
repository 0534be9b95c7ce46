"""Delocalized 1 nm composition grid against APAV, in one run: medians, spread, ratios.

    python benchmarks/delocalize_peers.py [--n-ions 10000000] [--repeats 3] [--peer-python PYTHON] [--out result.json]

Both get the same ions in memory and the same ranges, and make a grid of 1 nm with standard deviations of 1 nm across
and 0.5 nm along the axis (three of them are APAV's default of 3, 3 and 1.5 nm): counts per ion and atomic fractions per
element. APAV 1.4.0 is GPL and stays outside: `--peer-python` names an interpreter that has it and numpy. Its fractions
are compared with ours in the core of the specimen. Turns alternate, so that both see the same machine; a first turn
warms up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# Runs in the interpreter of the peer: one grid per line on standard input.
PEER = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import numpy as np
try:
    import importlib.metadata
    import apav
    from apav import Ion, Range, RangeCollection, Roi
    from apav.analysis.spatial import RangedGrid
except Exception as error:
    print(json.dumps({"version": None, "error": repr(error)}), file=answers, flush=True)
    raise SystemExit
print(json.dumps({"version": importlib.metadata.version("apav")}), file=answers, flush=True)
folder = sys.argv[1]
xyz, mass = np.load(folder + "/xyz.npy"), np.load(folder + "/mass.npy")
kinds = json.load(open(folder + "/kinds.json"))
ranges = RangeCollection([Range(Ion(name), (float(i + 1) - 0.5, float(i + 1) + 0.5)) for i, name in enumerate(kinds)])
roi = Roi(xyz, mass)
for line in sys.stdin:
    start = time.perf_counter()
    grid = RangedGrid(roi, ranges, bin_width=1.0, first_pass=True, delocalization=(3.0, 3.0, 1.5))
    seconds = time.perf_counter() - start
    cpu = None
    centers = [np.asarray(axis).ravel() for axis in (grid.centers[0][:, 0, 0], grid.centers[1][0, :, 0], grid.centers[2][0, 0, :])]
    np.savez(folder + "/peer.npz", x=centers[0], y=centers[1], z=centers[2], **grid.all_elemental_frac_str)
    print(json.dumps(seconds), file=answers, flush=True)
"""  # noqa: E501

KINDS = {"Ga": 0.47, "N": 0.3, "GaN": 0.05, "Mg": 0.03, "In": 0.15}


def make(n_ions: int) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder twice as long as wide, in the order of evaporation, with an In-rich half."""
    rng = np.random.default_rng(0)
    radius = (n_ions / 45 / (4 * np.pi)) ** (1 / 3)
    r, angle = radius * np.sqrt(rng.random(n_ions)), 2 * np.pi * rng.random(n_ions)
    z = np.sort(4 * radius * rng.random(n_ions))
    kind = rng.choice(len(KINDS), n_ions, p=list(KINDS.values()))
    rich = (z > 2 * radius) & (rng.random(n_ions) < 0.2)
    kind[rich] = 4
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), z]).astype(np.float32), kind.astype(np.int16)


def table():
    from napari_aptdefect.data import Ion, MassRange, RangeTable

    made_of = {
        "Ga": (("Ga", 1),),
        "N": (("N", 1),),
        "GaN": (("Ga", 1), ("N", 1)),
        "Mg": (("Mg", 1),),
        "In": (("In", 1),),
    }
    ranges = tuple(MassRange(i + 0.5, i + 1.5, i) for i in range(len(KINDS)))
    return RangeTable(tuple(Ion(name, made_of[name]) for name in KINDS), ranges)


def ours(xyz: np.ndarray, mass: np.ndarray) -> tuple[float, object]:
    from napari_aptdefect.apt.delocalize import delocalize
    from napari_aptdefect.stage import drain

    ranges = table()
    start = time.perf_counter()
    grid = drain(delocalize(xyz, ranges.assign(mass), ranges))
    for element in grid.elements:
        grid.fraction(element)
    grid.density()
    return time.perf_counter() - start, grid


def agreement(grid, folder: Path) -> float:
    """Root mean square difference of the In fraction at the voxel centers of APAV, in the core."""
    peer = np.load(folder / "peer.npz")
    x, y, z = np.meshgrid(peer["x"], peer["y"], peer["z"], indexing="ij")
    radius, length = peer["x"].max(), peer["z"].max()
    core = (np.hypot(x, y) < 0.7 * radius) & (z > 0.1 * length) & (z < 0.9 * length)
    places = np.column_stack([x[core], y[core], z[core]]).astype(np.float32)
    fraction, _ = grid.fraction("In")
    mine = grid.frame.sample(np.nan_to_num(fraction.values), places)
    return float(np.sqrt(np.mean((mine - peer["In"][: x.shape[0], : x.shape[1], : x.shape[2]][core]) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-ions", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    xyz, kind = make(args.n_ions)
    mass = (kind + 1).astype(np.float32)
    times: dict[str, list[float]] = {"napari-aptdefect": [], "APAV": []}
    difference = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "xyz.npy", xyz)
        np.save(folder / "mass.npy", mass)
        (folder / "kinds.json").write_text(json.dumps(list(KINDS)))
        command = [args.peer_python, "-c", PEER, name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None
            version = json.loads(peer.stdout.readline() or "{}").get("version")
            for turn in range(args.repeats + 1):
                seconds, grid = ours(xyz, mass)
                print(f"turn {turn}: ours {seconds:.2f} s", file=sys.stderr, flush=True)
                if turn:
                    times["napari-aptdefect"].append(seconds)
                if version and (turn or args.n_ions <= 1_000_000):
                    peer.stdin.write("go\n")
                    peer.stdin.flush()
                    seconds = float(json.loads(peer.stdout.readline()))
                    print(f"turn {turn}: APAV {seconds:.2f} s", file=sys.stderr, flush=True)
                    if turn:
                        times["APAV"].append(seconds)
            peer.stdin.close()
        if version:
            difference = agreement(grid, folder)
    mine = statistics.median(times["napari-aptdefect"])
    print(f"{args.n_ions:,} ions, 1 nm voxels, median of {args.repeats}\n")
    print("| Program | Time | Range | Ratio to ours |\n|---|---|---|---|")
    for program, values in times.items():
        if values:
            median = statistics.median(values)
            print(f"| {program} | {median:.2f} s | {min(values):.2f}-{max(values):.2f} s | {median / mine:.1f} |")
        else:
            print(f"| {program} | absent | | |")
    if difference is not None:
        print(f"\nroot mean square difference of the In fraction in the core: {difference:.4f}")
    if args.out:
        load = os.getloadavg() if hasattr(os, "getloadavg") else None
        record = {"n_ions": args.n_ions, "times_s": times, "apav": version, "rms": difference, "load_after": load}
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
