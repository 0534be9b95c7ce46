"""Reading a range file of 1,440 ranges (1,392 repeats, 1,409 overlaps) against ifes and APAV, in one run.

    python benchmarks/ranges_peers.py [--peer-python PYTHON] [--repeats 3] [--timeout 600] [--out result.json]

The file is made from a seed after the pattern of a real one (VAlN, 700 C: the ranges of each region of interest were
appended again and again). Each program runs in a process of its own; --peer-python names an interpreter that has the
peers, the running one by default. A program that is absent, fails or takes too long is listed as such.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_RANGES, N_REPEATED, N_OVERLAPS = 1440, 1392, 1409

OWN = """
import sys, time, warnings
warnings.simplefilter("ignore")
from napari_aptdefect.io.rrng import read_rrng
start = time.perf_counter()
table = read_rrng(sys.argv[1])
print("time", time.perf_counter() - start, len(table.ranges))
"""
IFES = """
import sys, time, warnings
warnings.simplefilter("ignore")
from ifes_apt_tc_data_modeling.rrng.rrng_reader import ReadRrngFileFormat
start = time.perf_counter()
reader = ReadRrngFileFormat(sys.argv[1])
if not reader.rrng["molecular_ions"]:
    reader.read_rrng()
print("time", time.perf_counter() - start, len(reader.rrng["molecular_ions"]))
"""
APAV = """
import sys, time
from apav import RangeCollection
start = time.perf_counter()
ranges = RangeCollection.from_rrng(sys.argv[1])
print("time", time.perf_counter() - start, len(ranges))
"""


def make_file(path: Path, seed: int) -> None:
    """48 different ranges, 17 of which overlap the one before; the rest repeats them."""
    rng = np.random.default_rng(seed)
    n_different = N_RANGES - N_REPEATED
    overlapping = set(rng.choice(np.arange(1, n_different), N_OVERLAPS - N_REPEATED, replace=False).tolist())
    ions = ["V:1", "Al:1", "N:1", "V:1 N:1", "Al:1 O:1", "C:1", "O:1", "Ar:1"]
    different, end = [], 6.0
    for number in range(n_different):
        lo = end - 0.1 if number in overlapping else end + rng.uniform(0.2, 1.0)
        end = lo + rng.uniform(0.2, 0.5)
        color = f"{rng.integers(0, 1 << 24):06X}"
        ion = ions[number % len(ions)]
        different.append(f"{lo:.4f} {end:.4f} Vol:{rng.uniform(0.01, 0.06):.5f} {ion} Color:{color}")
    rows = [*different, *rng.choice(different, N_REPEATED)]
    listed = sorted({part.split(":")[0] for ion in ions for part in ion.split()})
    lines = ["[Ions]", f"Number={len(listed)}", *(f"Ion{k}={name}" for k, name in enumerate(listed, start=1))]
    lines += ["[Ranges]", f"Number={N_RANGES}", *(f"Range{k}={row}" for k, row in enumerate(rows, start=1))]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())


def check_file(path: Path) -> None:
    import warnings

    from napari_aptdefect.io.rrng import read_rrng

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = [issue.code for issue in read_rrng(path).issues]
    if (codes.count("duplicate-range"), codes.count("overlap")) != (N_REPEATED, N_OVERLAPS - N_REPEATED):
        raise SystemExit("the made file does not have the repeats and overlaps it should have")


def run(python: str, code: str, path: Path, repeats: int, timeout_s: float) -> dict[str, object]:
    times: list[float] = []
    n_read = 0
    for _ in range(repeats):
        try:
            done = subprocess.run(
                [python, "-c", code, str(path)], capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {"state": f"stopped after {timeout_s:g} s"}
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("time ")]
        if done.returncode or not lines:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return {"state": "absent" if "ModuleNotFoundError" in last else f"failed: {last[:100]}"}
        times.append(float(lines[-1][1]))
        n_read = int(float(lines[-1][2]))
        if times[-1] > 30:  # one run tells enough about a program this slow
            break
    return {"state": "ok", "median_s": statistics.median(times), "runs": len(times), "ranges_read": n_read}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.rrng"
        make_file(path, options.seed)
        check_file(path)
        results = {
            name: run(python, code, path, options.repeats, options.timeout)
            for name, python, code in (
                ("napari-aptdefect", sys.executable, OWN),
                ("ifes_apt_tc_data_modeling", options.peer_python, IFES),
                ("apav", options.peer_python, APAV),
            )
        }
    own = results["napari-aptdefect"].get("median_s")
    print(f"{'program':28} {'median':>10} {'ratio':>9} {'ranges':>7}  state")
    for name, result in results.items():
        if result["state"] == "ok":
            seconds = float(str(result["median_s"]))
            ratio = f"{seconds / float(str(own)):9.1f}" if own else " " * 9
            print(f"{name:28} {seconds * 1e3:8.1f}ms {ratio} {result['ranges_read']:>7}  ok")
        else:
            print(f"{name:28} {'':>10} {'':>9} {'':>7}  {result['state']}")
    if options.out:
        report = {
            "benchmark": "ranges_peers",
            "n_ranges": N_RANGES,
            "n_repeated": N_REPEATED,
            "n_overlaps": N_OVERLAPS,
            "seed": options.seed,
            "results": results,
            "wall_s": time.perf_counter() - start,
        }
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
