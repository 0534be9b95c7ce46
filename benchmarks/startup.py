"""Time of starting: importing the package, and the help of the command line; medians of fresh processes.

Run: python benchmarks/startup.py [REPEATS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CASES = {
    "python, nothing imported": [sys.executable, "-c", "pass"],
    "import napari_aptdefect": [sys.executable, "-c", "import napari_aptdefect"],
    "aptdefect --help": [sys.executable, "-m", "napari_aptdefect", "--help"],
    "aptdefect --version": [sys.executable, "-m", "napari_aptdefect", "--version"],
    "aptdefect analyze --help": [sys.executable, "-m", "napari_aptdefect", "analyze", "--help"],
}
TARGET_S = {"import napari_aptdefect": 0.3, "aptdefect --help": 0.6}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(repeats: int) -> None:
    print(f"{'':28}median/s  worst/s  target/s   ({repeats} fresh processes each, files cached)")
    for name, command in CASES.items():
        seconds(command)
        times = [seconds(command) for _ in range(repeats)]
        target = f"{TARGET_S[name]:8.2f}" if name in TARGET_S else " " * 8
        print(f"{name:28}{statistics.median(times):8.3f} {max(times):8.3f}  {target}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
