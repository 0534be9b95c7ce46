"""Measure on an explicit lattice what an ideal observer sees of each defect at each level, beside what is computed.

python benchmarks/detectability.py --out docs
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_aptdefect.simulate import gan_specs as specs
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.crystal import build_sites
from napari_aptdefect.simulate.detectability import Conditions, judge
from napari_aptdefect.simulate.detectability.balls import ball_measure
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.measurement import Measurement
from napari_aptdefect.simulate.placement import place_defects
from napari_aptdefect.simulate.regions import Region
from napari_aptdefect.simulate.truth import DefectTruth
from napari_aptdefect.stage import drain

MG_SHARE = 0.001  # of the Ga sites
LINE_NM, WIDE_NM = 4.0, 4.0  # length of the piece of a line, width of the piece of a plane
CASES: list[tuple[str, Any]] = [
    ("Ga vacancy", specs.Vacancy()),
    ("N vacancy", specs.Vacancy(sublattice="N")),
    ("N interstitial, split", specs.Interstitial()),
    ("N interstitial, octahedral", specs.Interstitial(site="octahedral")),
    ("10 vacancies", specs.VacancyCluster(n_vacancies=10)),
    ("10 Ga vacancies", specs.VacancyCluster(n_vacancies=10, sublattice="Ga")),
    ("50 vacancies", specs.VacancyCluster(n_vacancies=50)),
    ("void, radius 0.8 nm", specs.Void(radius_nm=0.8)),
    ("Mg cluster, radius 1 nm, 4 %", specs.SoluteCluster(radius_nm=1.0, percent=4.0)),
    ("Mg cluster, radius 1 nm, 10 %", specs.SoluteCluster(radius_nm=1.0, percent=10.0)),
    ("I1 fault", specs.StackingFault()),
    ("I2 fault", specs.StackingFault(fault="I2")),
    ("E fault", specs.StackingFault(fault="E")),
    ("I1 fault, 0.3 Mg/nm²", specs.StackingFault(excess_per_nm2=0.3)),
    ("screw dislocation", specs.Dislocation(core="screw")),
    ("edge dislocation", specs.Dislocation(core="edge")),
    ("solute line, 1 Mg/nm", specs.Dislocation(core="none", excess_per_nm=1.0)),
    ("inversion boundary", specs.InversionDomain()),
    ("grain boundary, 20°", specs.GrainBoundary()),
    ("layer, 3 nm, 2 % solute", specs.Insertion(percent=2.0)),
]


def sites_of(found: Any, center: Any, box: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    xyz = found.xyz_nm.astype(float) - center
    near = (np.abs(xyz) <= box).all(axis=1)
    return [xyz[near & (found.sublattice == i)] for i in (0, 1)]


class Trial:
    """One defect on a lattice at one level: the atoms without and with it, by species, and its truth."""

    def __init__(self, spec: Any, level: int, rng: np.random.Generator) -> None:
        measurement = Measurement.at_level(level)
        self.efficiency = measurement.efficiency
        lateral, depth = measurement.sigma_lateral_nm, measurement.sigma_depth_nm
        self.sigma = np.array([lateral, lateral, depth])
        self.spec, self.rng = spec, rng
        is_point = isinstance(spec, (specs.Vacancy, specs.Interstitial))
        self.box = 3.5 * self.sigma + (0.6 if is_point else self._size())
        wire, self.region = self._wire()
        center = np.asarray(self.region.center_nm)
        self.old = sites_of(wire[0], center, self.box)
        self.new = sites_of(wire[1], center, self.box)
        self.region = Region(self.region.shape, (0.0, 0.0, 0.0), self.region.direction, self.region.radius_nm)
        self._change()
        self.displaced = self.region.shape in ("tube", "slab") and self.truth.n_excess == 0

    def _size(self) -> float:
        half = getattr(self.spec, "radius_nm", getattr(self.spec, "thickness_nm", 1.0) / 2)
        return max(float(half), LINE_NM / 2) if not isinstance(self.spec, (specs.Void, specs.SoluteCluster)) else half

    def _wire(self) -> tuple[list[Any], Region]:
        high = 2 * (float(self.box[2]) + 2.0)
        where: dict[str, Any] = {"center_nm": (0.0, 0.0, high / 2)}
        if isinstance(self.spec, (specs.StackingFault, specs.Insertion)):
            where = {"depth_nm": high / 2}
        counts = {f"n_{n}": 0 for n in ("clusters", "dislocations", "stacking_faults", "voids", "vacancies")}
        params = GanNanowireParams(
            radius_nm=float(self.box[0]) + 1.5,
            length_nm=high,
            n_interstitials=0,
            defects=(self.spec.model_copy(update=where),),
            **counts,
        )
        placed = place_defects(params, self.rng)
        plain = drain(build_sites(params, ()))
        if placed:
            return [plain, drain(build_sites(params, placed))], placed[0].region
        on_ga = isinstance(self.spec, specs.Vacancy) and self.spec.sublattice == "Ga"
        rows = np.flatnonzero(plain.sublattice == (0 if on_ga else 1))
        middle = plain.xyz_nm[rows] - np.array([0, 0, high / 2])
        x, y, z = (float(v) for v in plain.xyz_nm[rows[np.argmin((middle**2).sum(axis=1))]])
        return [plain, plain], Region("point", (x, y, z))

    def _change(self) -> None:
        spec, region = self.spec, self.region
        self.p_mg = [MG_SHARE, np.full(len(self.new[0]), MG_SHARE)]
        n_missing, n_excess = 0, 0.0
        inside = [region.distance_nm(sites) <= 1e-6 for sites in self.new]
        n_sites = int(sum(part.sum() for part in inside))
        if isinstance(spec, specs.Vacancy):
            which = 0 if spec.sublattice == "Ga" else 1
            n_missing = 1
            self._empty(which, np.linalg.norm(self.new[which], axis=1) > 1e-6)
        elif isinstance(spec, specs.Interstitial):
            way = np.array([0.135, 0, 0])
            if spec.site == "octahedral":  # the roomiest place nearby
                trial = self.rng.uniform(-0.4, 0.4, (20_000, 3))
                way = trial[np.argmax(cKDTree(np.concatenate(self.new)).query(trial)[0])]
            self.new[1] = np.vstack([self.new[1], way])
        elif isinstance(spec, specs.VacancyCluster):
            n_missing = spec.n_vacancies
            everything = np.concatenate(self.new if spec.sublattice == "both" else self.new[:1])
            limit = np.sort((everything**2).sum(axis=1))[n_missing - 1] + 1e-9
            for i in (0, 1) if spec.sublattice == "both" else (0,):
                self._empty(i, (self.new[i] ** 2).sum(axis=1) > limit)
        elif isinstance(spec, specs.Void):
            n_missing = n_sites
            for i in (0, 1):
                self._empty(i, ~inside[i])
        else:
            share = self._share()
            self.p_mg[1] = self.p_mg[1] + share * inside[0]
            n_excess = float(share * inside[0].sum())
        volume, self.measured = self._extent(n_sites)
        n_excess *= volume * gan.ATOMS_PER_NM3 / max(n_sites, 1)
        self.truth = DefectTruth(
            1, "vacancy", spec.kind, "target", region, volume_nm3=volume, n_sites=n_sites,
            n_missing=n_missing, n_excess=n_excess, solute="Mg" if n_excess else "",
        )  # fmt: skip

    def _share(self) -> float:
        if isinstance(self.spec, (specs.SoluteCluster, specs.Insertion)):
            return float(self.spec.percent) / 100 - MG_SHARE
        return float(specs.solute_share(self.spec))

    def _empty(self, i: int, keep: NDArray[np.bool_]) -> None:
        self.new[i] = self.new[i][keep]
        if i == 0:
            self.p_mg[1] = self.p_mg[1][keep]

    def _extent(self, n_sites: int) -> tuple[float, Any]:
        """Volume of the piece that is watched, and which measured places count (None: all)."""
        shape, radius = self.region.shape, self.region.radius_nm
        if shape in ("point", "sphere"):
            return (n_sites / gan.ATOMS_PER_NM3 if shape == "sphere" else 0.0), None
        normal = np.asarray(self.region.direction)
        if shape == "tube":
            return ball_measure(radius, 2) * LINE_NM, lambda y: np.abs(y @ normal) <= LINE_NM / 2
        in_plane = np.linalg.svd(normal[None])[2][1:]
        return 2 * radius * WIDE_NM**2, lambda y: (np.abs(y @ in_plane.T) <= WIDE_NM / 2).all(axis=1)

    def conditions(self) -> Conditions:
        """Return what `judge` needs to know."""
        e, sites = self.efficiency, gan.ATOMS_PER_NM3 / 2
        shares = {"Ga": e * (1 - MG_SHARE) * sites, "N": e * sites, "Mg": e * MG_SHARE * sites}
        lateral, _, depth = (float(s) for s in self.sigma)
        return Conditions((lateral, depth), shares, {"Ga": e, "N": e, "Mg": e}, {1: self.spec})

    def scores(self) -> tuple[list[NDArray[np.float32]], NDArray[np.float64], NDArray[np.int64]]:
        """Score of an ion by species and voxel: the logarithm of the ratio of densities with and without the defect.

        Where atoms are missing or added and the blur is wide, the filter that knows that a site gives one ion at most.
        """
        from scipy.ndimage import gaussian_filter

        n = np.minimum(np.ceil(2 * self.box / np.maximum(self.sigma / 3, 0.007)).astype(int), 150)
        step = 2 * self.box / n
        bins = [np.linspace(-b, b, m + 1) for b, m in zip(self.box, n, strict=True)]
        aware = self.sigma.max() > 0.05 and (self.truth.n_missing or isinstance(self.spec, specs.Interstitial))
        found = []
        for name in ("Ga", "N", "Mg"):
            pair = []
            for state, sites in enumerate((self.old, self.new)):
                i = 1 if name == "N" else 0
                mg = self.p_mg[state] * np.ones(len(sites[0]))
                weights = {"Ga": 1 - mg, "N": np.ones(len(sites[1])), "Mg": mg}[name] * self.efficiency
                grid = np.histogramdd(sites[i], bins, weights=weights)[0] / np.prod(step)
                pair.append(gaussian_filter(grid, self.sigma / step, truncate=4.5) + 1e-4)
            if aware:
                found.append(self._site_filter((pair[1] - pair[0]) / pair[0], step).astype(np.float32))
            else:
                found.append(np.log(pair[1] / pair[0]).astype(np.float32))
        return found, step, n

    def _site_filter(self, contrast: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        waves = [2 * np.pi * np.fft.fftfreq(m, d) for m, d in zip(contrast.shape, step, strict=True)]
        k = np.meshgrid(*waves, indexing="ij")
        gain = np.exp(-sum((part * s) ** 2 for part, s in zip(k, self.sigma, strict=True)))
        filtered: NDArray[np.float64] = np.fft.ifftn(np.fft.fftn(contrast) / (1 - self.efficiency * gain)).real
        return filtered

    def draw(self, state: int) -> list[NDArray[np.float64]]:
        """Measured places of one measurement, by species Ga, N, Mg."""
        rng, out = self.rng, []
        ga, nitrogen = (self.old, self.new)[state]
        is_mg = rng.random(len(ga)) < self.p_mg[state]
        for sites in (ga[~is_mg], nitrogen, ga[is_mg]):
            seen = sites[rng.random(len(sites)) < self.efficiency]
            y = seen + rng.normal(size=seen.shape) * self.sigma
            y = y if self.measured is None else y[self.measured(y)]
            # Only the labeled part of displaced sites counts: farther out the piece of crystal has borders of its own.
            out.append(y[self.region.distance_nm(y) <= 0] if self.displaced else y)
        return out


def run(spec: Any, level: int, n: int, seed: int) -> dict[str, Any]:
    """Scores of the observer over n measurements without the defect and n with it, beside the computed numbers."""
    trial = Trial(spec, level, np.random.default_rng([seed, level]))
    maps, step, shape = trial.scores()
    scores = np.zeros((2, n))
    for state in (0, 1):
        for i in range(n):
            for score, y in zip(maps, trial.draw(state), strict=True):
                cell = ((y + trial.box) / step).astype(int)
                cell = cell[((y >= -trial.box) & (cell < shape)).all(axis=1)]
                scores[state, i] += score[cell[:, 0], cell[:, 1], cell[:, 2]].sum()
    (computed,) = judge([trial.truth], trial.conditions())
    area, error, curve = roc(scores[0], scores[1])
    spread = math.sqrt((scores[0].var() + scores[1].var()) / 2)
    d_prime = float(scores[1].mean() - scores[0].mean()) / spread if spread > 0 else math.inf
    return {"auc": area, "error": error, "curve": curve, "d_prime": d_prime, "judged": computed}


def roc(absent: NDArray[np.float64], present: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Area under the ROC curve with its standard error (Hanley and McNeil 1982), and the curve; ties count half."""
    values = np.unique(np.concatenate([absent, present]))[::-1]
    false = np.append(0, len(absent) - np.searchsorted(np.sort(absent), values)) / len(absent)
    true = np.append(0, len(present) - np.searchsorted(np.sort(present), values)) / len(present)
    area = float(np.trapezoid(true, false))
    q1, q2, n = area / (2 - area), 2 * area**2 / (1 + area), len(absent)
    error = math.sqrt(max(area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2), 0) / n**2)
    return area, error, np.array([false, true])


def table(results: dict[tuple[str, int], dict[str, Any]]) -> str:
    lines = [
        "| defect | level | AUC measured | AUC computed | d' measured | d' computed | a search finds it |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, level), one in results.items():
        judged = one["judged"]
        lines.append(
            f"| {name} | {level} | {one['auc']:.3f} ± {one['error']:.3f} | {judged.auc:.3f} "
            f"| {number(one['d_prime']) if level else '-'} "
            f"| {number(judged.d_prime)} | {'yes' if judged.visible else 'no'} |"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.0f}" if value >= 20 else f"{value:.2f}"


def figure(results: dict[tuple[str, int], dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name, _ in CASES]
    columns = 5
    fig, axes = plt.subplots(-(-len(names) // columns), columns, figsize=(11, 9.4), sharex=True, sharey=True)
    colors = ("#4d4d4d", "#0072b2", "#e69f00", "#cc3311")
    for ax, name in zip(axes.flat, names, strict=True):
        ax.plot([0, 1], [0, 1], color="0.85", lw=1)
        for level, color in enumerate(colors):
            if (name, level) in results:
                # dashes differ, so that curves on top of each other stay visible
                dashes = ("-", (0, (5, 2)), (0, (3, 3)), (0, (1, 1.5)))[level]
                ax.plot(*results[name, level]["curve"], color=color, lw=1.6, ls=dashes, label=f"level {level}")
        ax.set_title(name, fontsize=8.5)
        ax.set_aspect("equal")
        ax.tick_params(labelsize=7)
    fig.supxlabel("false alarms", fontsize=10)
    fig.supylabel("detected", fontsize=10)
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="upper center", ncols=4, frameon=False, fontsize=9)
    fig.tight_layout(rect=(0.01, 0.01, 1, 0.965))
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder with detectability.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=150, help="per defect; points get 10 times as many")
    parser.add_argument("--levels", type=int, nargs="*", default=[0, 1, 2, 3])
    chosen = parser.parse_args()
    results = {}
    for name, spec in CASES:
        for level in chosen.levels:
            is_point = isinstance(spec, (specs.Vacancy, specs.Interstitial))
            n = chosen.repetitions * ((1, 10, 10, 5)[level] if is_point else 1)
            results[name, level] = run(spec, level, n, chosen.seed)
            print(name, level, table({(name, level): results[name, level]}).splitlines()[-1], flush=True)
    page = chosen.out / "detectability.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- table -->")
    after = rest.partition("<!-- end of table -->")[2]
    page.write_text(f"{before}<!-- table -->\n{table(results)}\n<!-- end of table -->{after}", encoding="utf-8")
    figure(results, chosen.out / "images" / "detectability.png")


if __name__ == "__main__":
    main()
