"""Time and memory of `simulate gan-nanowire` with all effects; each case in a process of its own.

Run: python benchmarks/simulate_wire.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

# Radius and length of wires that give about a million ions, and one of ten million atoms
CASES = {
    "level 0": (9.5, 37.0, 0),
    "level 1": (10.0, 40.0, 1),
    "level 2": (10.5, 41.5, 2),
    "level 3": (14.0, 52.5, 3),
    "level 2, large": (20.0, 82.0, 2),
}


def measure(radius: float, length: float, level: int) -> dict[str, float]:
    import psutil

    from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
    from napari_aptdefect.stage import drain

    # Compiled kernels and imports are not what is measured.
    drain(simulate_gan_nanowire(GanNanowireParams(radius_nm=4, length_nm=9, n_clusters=1, n_voids=0), 0))
    process, before, peak = psutil.Process(), psutil.Process().memory_info().rss, [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    wire = GanNanowireParams(
        radius_nm=radius, length_nm=length, level=level, n_clusters=10, n_voids=5, n_vacancies=100, n_interstitials=100
    )
    made = drain(simulate_gan_nanowire(wire, 1))
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return {
        "ions": len(made.cloud),
        "atoms": made.losses["atoms"],
        "seconds": seconds,
        "bytes_per_ion": (peak[0] - before) / len(made.cloud),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=CASES)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(measure(*CASES[chosen.case])))
        return
    print("| Wire | Ions | Atoms | Time | Time per million ions | Memory per ion |\n|---|---|---|---|---|---|")
    for case in CASES:
        runs = [
            json.loads(
                subprocess.run([sys.executable, __file__, "--case", case], check=True, capture_output=True).stdout
            )
            for _ in range(chosen.repeats)
        ]
        seconds = statistics.median(run["seconds"] for run in runs)
        memory = max(run["bytes_per_ion"] for run in runs)
        ions, atoms = runs[0]["ions"], runs[0]["atoms"]
        per_million = seconds / ions * 1e6
        print(f"| {case} | {ions:,} | {atoms:,} | {seconds:.1f} s | {per_million:.1f} s | {memory:.0f} B |", flush=True)


if __name__ == "__main__":
    main()
