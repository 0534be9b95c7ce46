"""Times reading positions and masses: this package, a numpy memory map, ifes_apt_tc_data_modeling and APAV.

All read the same files in turn, again and again, so that what else the machine does falls on all of them alike; compare
the ratios, never the times. Peers run in their own interpreter, kept alive between the rounds, and are marked absent
where they can't be imported.

    python benchmarks/read_peers.py --peer-python /path/to/peers/bin/python --out read_peers.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# Runs in the interpreter of the peer: says which versions it has, then times one read per line on standard input.
PEER = """
import importlib.metadata, json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def ifes(path):
    if path.endswith(".epos"):
        from ifes_apt_tc_data_modeling.epos.epos_reader import ReadEposFileFormat as Reader
    else:
        from ifes_apt_tc_data_modeling.pos.pos_reader import ReadPosFileFormat as Reader
    reader = Reader(path)
    return (
        reader.get_reconstructed_positions().magnitude,
        reader.get_mass_to_charge_state_ratio().magnitude,
    )
def apav(path):
    import numpy
    from apav import Roi
    from apav.core import roi as module
    if not hasattr(numpy.ndarray, "newbyteorder"):  # APAV 1.4.0 calls what numpy 2 took away; this does the same work
        module.array2native_byteorder = lambda array: array.byteswap().view(array.dtype.newbyteorder("="))
    roi = Roi.from_epos(path) if path.endswith(".epos") else Roi.from_pos(path)
    return roi.xyz, roi.mass
peers = {"ifes": (ifes, "ifes_apt_tc_data_modeling", "ifes_apt_tc_data_modeling.epos.epos_reader"),
         "apav": (apav, "apav", "apav")}
versions = {}
for name, (_, dist, module) in peers.items():
    try:
        importlib.import_module(module)
        versions[name] = importlib.metadata.version(dist)
    except Exception:
        versions[name] = None
print(json.dumps(versions), file=answers, flush=True)
for line in sys.stdin:
    name, path = json.loads(line)
    start = time.perf_counter()
    try:
        xyz, mass = peers[name][0](path)
    except Exception as error:
        print(json.dumps({"error": repr(error)}), file=answers, flush=True)
        continue
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, float(mass[-1])]), file=answers, flush=True)
    del xyz, mass
"""

EPOS = np.dtype([("xyz", ">f4", 3), ("mass", ">f4"), ("rest", ">f4", 5), ("counts", ">u4", 2)])


def make_files(folder: Path, n_ions: int) -> dict[str, Path]:
    """Write a .pos and an .epos of the same ions, in blocks."""
    rng = np.random.default_rng(0)
    paths = {"pos": folder / "ions.pos", "epos": folder / "ions.epos"}
    with paths["pos"].open("wb") as pos, paths["epos"].open("wb") as epos:
        for start in range(0, n_ions, 1 << 20):
            n = min(1 << 20, n_ions - start)
            records = np.zeros(n, EPOS)
            records["xyz"] = rng.normal(0, 20, (n, 3))
            records["mass"] = rng.uniform(1, 100, n)
            records["rest"] = rng.uniform(1000, 5000, (n, 5))
            records["counts"] = 1
            epos.write(records.tobytes())
            pos.write(np.column_stack([records["xyz"], records["mass"]]).astype(">f4").tobytes())
    return paths


def ours(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from napari_aptdefect import io

    cloud = io.read_cloud(path)
    return cloud.xyz_nm, cloud.mass_da


def memmap(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix == ".pos":
        records = np.memmap(path, ">f4", mode="r").reshape(-1, 4)
        return records[:, :3].astype("f4"), records[:, 3].astype("f4")
    table = np.memmap(path, EPOS, mode="r")
    return table["xyz"].astype("f4"), table["mass"].astype("f4")


def open_only(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from napari_aptdefect import io

    cloud = io.read_cloud(path)
    return cloud.read("xyz_nm", 0, 0), cloud.read("mass_da", 0, 0)


class PeerError(Exception):
    """A peer that is there could not read the file."""


def timed(read: Callable[[Path], tuple[np.ndarray, np.ndarray]], path: Path) -> tuple[float, float]:
    start = time.perf_counter()
    _, mass = read(path)
    seconds = time.perf_counter() - start
    return seconds, float(mass[-1]) if len(mass) else float("nan")


@contextlib.contextmanager
def peer_process(python: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def ask(process: subprocess.Popen[str], name: str, path: Path) -> tuple[float, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([name, str(path)]) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or '{"error": "the process ended"}')
    if isinstance(answer, dict):
        raise PeerError(f"{name} can't read {path.name}: {answer['error']}")
    return float(answer[0]), float(answer[1])


def measure(paths: dict[str, Path], repeats: int, python: str) -> tuple[dict[str, dict[str, list[float]]], dict]:
    times: dict[str, dict[str, list[float]]] = {kind: {} for kind in paths}
    own = {"ours": ours, "memmap": memmap, "ours, open only": open_only}
    with peer_process(python) as process:
        assert process.stdout is not None
        versions = json.loads(process.stdout.readline() or "{}")
        peers = [name for name, version in versions.items() if version]
        for kind, path in paths.items():
            expected = timed(memmap, path)[1]
            for turn in range(repeats + 1):  # the first turn warms up imports and the page cache
                for name in (*own, *peers):
                    try:
                        seconds, last = timed(own[name], path) if name in own else ask(process, name, path)
                    except PeerError as error:
                        print(error, file=sys.stderr)
                        continue
                    if name != "ours, open only" and last != expected:
                        raise SystemExit(f"{name} read {last} as the last mass of {path.name}, expected {expected}")
                    if turn:
                        times[kind].setdefault(name, []).append(seconds)
    return times, versions


def summarize(times: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Median, spread, and how long each takes compared with ours."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for kind, by_name in times.items():
        mine = statistics.median(by_name["ours"])
        result[kind] = {
            name: {
                "median_s": statistics.median(values),
                "min_s": min(values),
                "max_s": max(values),
                "ratio_to_ours": statistics.median(values) / mine,
            }
            for name, values in by_name.items()
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-ions", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    load_before = os.getloadavg() if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        times, versions = measure(make_files(Path(folder), args.n_ions), args.repeats, args.peer_python)
    summary = summarize(times)
    for kind, by_name in summary.items():
        print(f"\n.{kind}, {args.n_ions:,} ions, median of {args.repeats}")
        for name in ("ours", "ours, open only", "memmap", *versions):
            if name not in by_name:
                print(f"  {name:16s} absent")
                continue
            row = by_name[name]
            print(f"  {name:16s} {1e3 * row['median_s']:9.2f} ms   {row['ratio_to_ours']:7.3f} x ours")
    if args.out is not None:
        record = {
            "n_ions": args.n_ions,
            "repeats": args.repeats,
            "peers": versions,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cores": os.cpu_count(),
            "load_average_before": load_before,
            "results": summary,
        }
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
