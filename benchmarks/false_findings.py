"""Count what the main job finds in simulated wires that hold no defect at all: every finding is false.

python benchmarks/false_findings.py --seeds 5 --out false_findings.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.pipeline import analyze
from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire, write_simulated
from napari_aptdefect.stage import drain

_NOTHING = {
    "n_clusters": 0,
    "n_dislocations": 0,
    "n_stacking_faults": 0,
    "n_voids": 0,
    "n_vacancies": 0,
    "n_interstitials": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="wires per level")
    parser.add_argument("--levels", type=int, nargs="*", default=[0, 1, 2, 3], help="difficulty levels")
    parser.add_argument("--radius", type=float, default=8.0, help="nm")
    parser.add_argument("--length", type=float, default=20.0, help="nm")
    parser.add_argument("--out", type=Path, help="file for the numbers, as JSON")
    chosen = parser.parse_args()
    rows = []
    for level in chosen.levels:
        for seed in range(chosen.seeds):
            wire = GanNanowireParams(radius_nm=chosen.radius, length_nm=chosen.length, level=level, **_NOTHING)
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                write_simulated(drain(simulate_gan_nanowire(wire, seed=seed)), place)
                run = drain(analyze(place / "cloud.pos", place / "run", ranges=place / "ranges.rrng", seed=seed))
                summary = run.record["summary"]
            rows.append({"level": level, "seed": seed, "n_ions": summary["n_ions"], **summary["by_class"]})
            print(json.dumps(rows[-1]), flush=True)
    for level in chosen.levels:
        found = [sum(row[name] for name in DEFECT_CLASSES[1:]) for row in rows if row["level"] == level]
        any_ = sum(n > 0 for n in found)
        print(f"level {level}: {sum(found)} false findings in {len(found)} wires, {any_} wires with any")
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
