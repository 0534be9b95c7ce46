"""Time and memory of the simulated measurement with all its effects.

Run: python benchmarks/measurement.py
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np

from napari_aptdefect.simulate.atoms import Atoms, Lens
from napari_aptdefect.simulate.measurement import LEVELS, measure
from napari_aptdefect.stage import drain

RADIUS_NM = 20.0
CASES = ((1_350_000, 2), (2_700_000, 3), (10_000_000, 2))
N_LENSES = 50


def specimen(n: int) -> tuple[Atoms, list[Lens]]:
    rng = np.random.default_rng(0)
    length = n / 88 / np.pi / RADIUS_NM**2
    r, angle = RADIUS_NM * np.sqrt(rng.random(n, np.float32)), 2 * np.pi * rng.random(n, np.float32)
    xyz = np.column_stack([r * np.cos(angle), r * np.sin(angle), length * rng.random(n, np.float32)])
    element = rng.choice(3, n, p=[0.495, 0.5, 0.005]).astype(np.int8)
    atoms = Atoms(xyz.astype(np.float32), element, element, np.zeros(n, np.int32), ("Ga", "N", "Mg"))
    places = rng.uniform([-10, -10, 0], [10, 10, length], (N_LENSES, 3))
    return atoms, [Lens((float(x), float(y), float(z)), 1.8, 0.3) for x, y, z in places]


def main() -> None:
    print("| Atoms | Level | Ions | Time | Memory beside the atoms |\n|---|---|---|---|---|")
    for n, level in CASES:
        atoms, lenses = specimen(n)
        start = time.perf_counter()
        ions = len(drain(measure(atoms, lenses, RADIUS_NM, LEVELS[level], np.random.default_rng(1))))
        seconds = time.perf_counter() - start
        tracemalloc.start()
        drain(measure(atoms, lenses, RADIUS_NM, LEVELS[level], np.random.default_rng(1)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"| {n:,} | {level} | {ions:,} | {seconds:.1f} s | {peak / n:.0f} bytes per atom |", flush=True)


if __name__ == "__main__":
    main()
