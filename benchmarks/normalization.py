"""Mass peaks and proxigrams of simulated wires: what is left of a known drift of the peaks, and a planted cluster.

    python benchmarks/normalization.py [--image docs/images/normalization.png] [--background]

A slow wave of +-0.2 % is put on the masses of a wire of each level; the residual is that of the correction per ion, in
units of the full width m / resolving power of a peak as well. Then one In-rich sphere (30 % of the Ga sites, radius
4 nm, in a matrix with 0.1 %) at levels 0 to 2: the proxigram at the isosurface of the delocalized In fraction half way
between both, against the share that was planted, counted from the truth.
--background prints instead how well the level of random arrivals in the mass spectrum is measured, and, where the real
Si set was fetched (aptdefect demo fetches it), its level and the ranges of its file in which no peak stands out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

PLATEAU_NM = (1.5, 3.0)


def simulate(level: int, **wanted: object):
    from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
    from napari_aptdefect.stage import drain

    return drain(simulate_gan_nanowire(GanNanowireParams(level=level, radius_nm=9, length_nm=30, **wanted), 3))


def peaks(panel) -> None:
    from napari_aptdefect.apt.peak_drift import estimate_peak_drift
    from napari_aptdefect.plot.drift import draw_peak_drift
    from napari_aptdefect.stage import drain

    print("| Level | Ions | Peaks followed (Da) | rms before | rms after | rms after / width of a peak |")
    print("|---|---|---|---|---|---|")
    for level in (1, 2, 3):
        made = simulate(level)
        mass = made.cloud.mass_da
        scale = 1 + 2e-3 * np.sin(np.linspace(0, 8, len(mass)))
        scale /= scale.mean()
        drift = drain(estimate_peak_drift(mass * scale))
        left = float(np.std(drift.of_ions() / scale))
        followed = ", ".join(f"{place:.2f}" for place in drift.peaks_da)
        share = left * made.params.measurement.resolving_power
        print(f"| {level} | {len(mass):,} | {followed} | {np.std(scale):.2e} | {left:.1e} | {share:.3f} |", flush=True)
    draw_peak_drift(panel, drift.at, drift.peaks_da, drift.measured, drift.scale)
    panel.set_title("mass peaks, level 3")


def proxigrams(panels) -> None:
    from napari_aptdefect.apt.delocalize import DelocalizeParams, delocalize
    from napari_aptdefect.apt.profiles import isosurface, proxigram
    from napari_aptdefect.plot.profiles import draw_profile
    from napari_aptdefect.simulate.gan_specs import SoluteCluster
    from napari_aptdefect.stage import drain

    print("\n| Level | Isosurface (nm3; planted 268) | In planted | In on the plateau | error | matrix |")
    print("|---|---|---|---|---|---|")
    sphere = SoluteCluster(center_nm=(0, 0, 15), radius_nm=4, solute="In", percent=30, magnification=0)
    for level in (0, 1, 2):
        nothing = dict.fromkeys(("n_clusters", "n_dislocations", "n_stacking_faults", "n_voids", "n_vacancies"), 0)
        made = simulate(level, defects=(sphere,), solute="In", solute_percent=0.1, n_interstitials=0, **nothing)
        cloud = made.cloud
        species = made.ranges.assign(cloud.mass_da)
        params = DelocalizeParams(voxel_nm=0.5, sigma_lateral_nm=0.5, sigma_depth_nm=0.5)
        fraction, _ = drain(delocalize(cloud.xyz_nm, species, made.ranges, params)).fraction("In", min_ions=10)
        inside = made.instance == 1
        atoms = np.array([dict(ion.elements) for ion in made.ranges.ions], object)
        ranged = inside & (species >= 0)
        n_in = sum(atoms[s].get("In", 0) for s in species[ranged])
        planted = n_in / sum(sum(atoms[s].values()) for s in species[ranged])
        surface = isosurface(fraction, planted / 2)
        profile = proxigram(cloud.xyz_nm, species, made.ranges, surface, reach_nm=3.0)
        value, error = profile.of("In")
        x = profile.centers_nm
        plateau, matrix = (x > PLATEAU_NM[0]) & (x < PLATEAU_NM[1]), x < -PLATEAU_NM[0]
        mean, spread = np.mean(value[plateau]), np.sqrt(np.sum(error[plateau] ** 2)) / plateau.sum()
        row = f"| {level} | {surface.volume_nm3:.0f} | {planted:.4f} | {mean:.4f} | {spread:.4f}"
        print(f"{row} | {np.mean(value[matrix]):.4f} |")
        if level in (0, 2):
            axes = panels[level // 2]
            column = profile.elements.index("In")
            some = [column]
            draw_profile(axes, profile.edges_nm, profile.fraction[:, some], profile.error[:, some], ["In"],
                         label="distance from the isosurface", at_surface=True)  # fmt: skip
            axes.axhline(100 * planted, color="#333333", linestyle=":", linewidth=1)
            axes.set_title(f"proxigram, level {level}")


def backgrounds() -> None:
    from napari_aptdefect import io
    from napari_aptdefect.apt.ranging.background import estimate_mass_background
    from napari_aptdefect.io.samples import si_cached
    from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire
    from napari_aptdefect.simulate.measurement.spectrum import MASS_LIMIT_DA
    from napari_aptdefect.stage import drain

    print("| Level | Background | Ions | True | Measured |")
    print("|---|---|---|---|---|")
    for level, percent in ((1, 0.3), (1, 5.0), (2, 1.0), (2, 5.0), (3, 2.0), (3, 5.0)):
        wanted = {"radius_nm": 8, "length_nm": 25, "level": level, "measurement": {"background_percent": percent}}
        made = drain(simulate_gan_nanowire(GanNanowireParams.model_validate(wanted), 3))
        found = drain(estimate_mass_background(made.cloud.mass_da, made.ranges))
        n_random = np.count_nonzero(made.species == made.species_names.index("background"))
        true = n_random / (np.sqrt(MASS_LIMIT_DA) - 0.1)  # even in sqrt(m) from 0.01 Da
        measured = f"{found.level:.1f} ± {found.level_error:.1f}"
        print(f"| {level} | {percent:g} % | {made.cloud.n_ions:,} | {true:.1f} | {measured} |", flush=True)
    folder = si_cached()
    if folder is None:
        return
    cloud, table = io.read_cloud(folder / "Si.epos"), io.read_ranges(folder / "Si.RRNG")
    found = drain(estimate_mass_background(cloud.mass_da, table))
    print(f"\nSi: level {found.level:.0f} ± {found.level_error:.0f}, {100 * found.random_share:.1f} % of all ions")
    expected = found.flat + found.tail
    for one, count, chance in zip(found.ranges, found.counts, expected, strict=True):
        if count < chance + 3 * np.sqrt(chance):
            name = table.ions[one.ion_idx].name
            print(f"{one.lo_da:.1f}-{one.hi_da:.1f} Da ({name}): {chance:.0f} expected, {count} counted")


def main() -> None:
    from napari_aptdefect.plot import canvas

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--background", action="store_true")
    args = parser.parse_args()
    if args.background:
        backgrounds()
        return
    with canvas.house_style():
        figure = canvas.new_figure(9.6, 3.0)
        panels = figure.subplots(1, 3)
        peaks(panels[0])
        proxigrams(panels[1:])
        figure.tight_layout()
        if args.image:
            args.image.write_bytes(canvas.png_bytes(figure))


if __name__ == "__main__":
    main()
