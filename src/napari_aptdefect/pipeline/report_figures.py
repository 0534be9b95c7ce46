"""The pictures of the report, each with a caption and a text for those who can't see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data import DEFECT_CLASSES, VoxelGrid
from napari_aptdefect.pipeline.report_data import ReportData
from napari_aptdefect.plot import canvas, cloud, clusters, layout, slices, spectrum
from napari_aptdefect.plot.colors import UNRANGED_COLOR, Color, class_colors, lookup, palette, species_colors
from napari_aptdefect.plot.consistency import draw_columns
from napari_aptdefect.plot.defects import draw_scores, number_defects
from napari_aptdefect.plot.drift import draw_drift, draw_peak_drift
from napari_aptdefect.plot.persistence import draw_betti, draw_persistence
from napari_aptdefect.plot.splat import Camera
from napari_aptdefect.plot.structure import draw_angles, draw_coordination, draw_pair_distribution
from napari_aptdefect.stage import Progress, Stage

MAX_DRAWN: Final = 1_500_000
"""Largest number of ions that one picture draws."""

_MAX_LEGEND: Final = 12
_MAX_NUMBERS: Final = 60
_MAX_COMPOSITION: Final = 3
_MAX_BARS: Final = 30


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the report.

    Parameters
    ----------
    name
        File name without its ending.
    section
        Section of the page it belongs to.
    png
        The picture.
    caption
        What it shows, with what it leaves out.
    alt
        The same for those who can't see it.
    width_px, height_px
        Size in pixels of the page (the picture has more).
    """

    name: str
    section: str
    png: bytes
    caption: str
    alt: str
    width_px: int
    height_px: int


def draw_pictures(data: ReportData) -> Stage[list[Picture]]:
    """Draw all pictures that the data allow, yielding between them."""
    from napari_aptdefect.pipeline.report_profiles import profile_pictures

    steps: tuple[Callable[[ReportData], Iterator[Picture]], ...] = (
        _spectra,
        _sequence,
        _species_view,
        _defect_view,
        _structure,
        _consistency,
        _densities,
        _compositions,
        profile_pictures,
        _clusters,
        _scores,
        _defect_map,
        _topology,
    )
    pictures: list[Picture] = []
    for n_done, step in enumerate(steps):
        yield Progress(n_done, len(steps), f"picture {len(pictures) + 1}")
        with canvas.house_style():  # not while another thread may draw
            pictures += step(data)
    return pictures


def finite_ions(data: ReportData) -> NDArray[np.int64]:
    """Indices of the ions whose position is three numbers."""
    return np.flatnonzero(finite_rows(data.xyz_nm))


def drawn(n: int, total: int) -> str:
    """Sentence that says how many of how many ions a picture draws."""
    return f"All {total:,} ions are drawn." if n == total else f"Drawn {n:,} of {total:,} ions."


def picture(figure: Figure, name: str, section: str, caption: str, alt: str) -> Picture:
    """Render a figure for a section of the page."""
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(name, section, canvas.png_bytes(figure), caption, alt, width, height)


def _spectra(data: ReportData) -> Iterator[Picture]:
    lo, hi = spectrum.whole_range(data.mass_da, data.ranges)
    whole = spectrum.histogram(data.mass_da, lo, hi)
    dense = spectrum.histogram(data.mass_da, *spectrum.dense_range(whole))
    figure = canvas.new_figure(9.6, 6.4)
    upper = figure.add_axes((0.075, 0.58, 0.905, 0.37))
    lower = figure.add_axes((0.075, 0.085, 0.905, 0.37))
    upper.set_title("whole range", loc="left")
    lower.set_title("where most ions are", loc="left")
    left_out = [spectrum.draw_spectrum(axes, part, data.ranges) for axes, part in ((upper, whole), (lower, dense))]
    if (found := data.mass_background) is not None:
        for axes, part in ((upper, whole), (lower, dense)):
            spectrum.draw_background(axes, part, found.level, found.from_da, found.to_da)
    notes = ["Dashed: background that is even in time of flight."] if found is not None else []
    notes += [f"{whole.n_outside:,} ions lie outside the upper panel."] if whole.n_outside else []
    if whole.n_not_finite:
        notes.append(f"The mass of {whole.n_not_finite:,} ions is no number.")
    if any(left_out):
        notes.append(
            f"{left_out[0]} names found no room in the upper panel, {left_out[1]} in the lower one; "
            "the composition table has all."
        )
    shading = "Ranges are shaded in the color of their ion." if data.ranges.ranges else "There are no ranges to shade."
    caption = f"Mass spectrum, log counts. {shading} Names stand over the tallest peak of each ion. " + " ".join(notes)
    tallest = float(whole.edges_da[int(np.argmax(whole.counts))])
    alt = (
        f"Two histograms of mass-to-charge: 0 to {hi:.0f} Da and {dense.edges_da[0]:.0f} to {dense.edges_da[-1]:.0f} "
        f"Da. The tallest peak is near {tallest:.1f} Da."
    )
    yield picture(figure, "mass_spectrum", "spectrum", caption, alt)


def _sequence(data: ReportData) -> Iterator[Picture]:
    masses, places = data.evaporation.masses, data.evaporation.places
    rows = [drawer for drawer, there in ((_draw_masses, masses), (_draw_places, places)) if there is not None]
    if not rows:
        return
    height = 2.7 * len(rows)
    figure = canvas.new_figure(9.6, height)
    for i, draw in enumerate(rows):
        low = (len(rows) - 1 - i) * 2.7 + 0.5
        draw(figure.add_axes((0.085, low / height, 0.895, 2.05 / height)), data)
    parts = []
    if masses is not None:
        parts.append("the places of the strongest mass peaks, and the mass scale through them (line)")
    if places is not None:
        parts.append(
            "the shift of the specimen's outline (dots: slices; line and band: smooth curve, two standard errors)"
        )
    caption = f"Along the evaporation sequence: {'; below, '.join(parts)}."
    yield picture(figure, "sequence", "sequence", caption, "Drift of masses and of positions against the ion's index.")


def _draw_masses(axes: Axes, data: ReportData) -> None:
    if (found := data.evaporation.masses) is not None:
        draw_peak_drift(axes, found.at, found.peaks_da, found.measured, found.scale)


def _draw_places(axes: Axes, data: ReportData) -> None:
    if (found := data.evaporation.places) is not None:
        draw_drift(axes, found.at, found.measured, found.shift, found.error, unit=found.unit)


def _species_view(data: ReportData) -> Iterator[Picture]:
    rows = finite_ions(data)
    picked = rows[cloud.sample(len(rows), MAX_DRAWN, data.seed)]
    species, xyz = data.species_idx[picked], data.xyz_nm[picked]
    rgb = lookup(species_colors(data.ranges.ions), species)
    common = int(np.argmax(data.ion_counts)) if data.ion_counts.any() else -1
    rare = (species >= 0) & (species != common)
    camera, side_by_side = layout.suit_camera(xyz)
    titles = ["all ions"]
    if rare.any():
        titles.append(f"without {canvas.plain(data.ranges.ions[common].name)} and unranged ions (grey veil)")
    names, colors = _species_legend(data)
    _, foot_in = canvas.legend_grid(names, 9.6 if len(titles) > 1 else 6.0)
    figure, panels = layout.view_axes(xyz, camera, titles, side_by_side, foot_in=foot_in)
    cloud.draw_view(panels[0], xyz, rgb, camera=camera)
    if rare.any():
        cloud.draw_view(panels[1], xyz[rare], rgb[rare], veil_nm=xyz[~rare], camera=camera)
    canvas.figure_legend(figure, names, colors)
    caption = (
        "The ions in an orthographic view, colored by species; the scale bar holds everywhere in the picture. "
        + drawn(len(picked), data.n_ions)
    )
    if len(rows) < data.n_ions:
        caption += f" {data.n_ions - len(rows):,} ions have no finite position."
    alt = f"Rendered view of the ion cloud, about {_size_text(xyz)}, colored by species: {', '.join(names[:6])}."
    yield picture(figure, "cloud_species", "cloud", caption, alt)


def _defect_view(data: ReportData) -> Iterator[Picture]:
    inside, veil, note = _defect_ions(data)
    numbers = data.defect[inside]
    instance_colors = palette(12)
    rgb = lookup(instance_colors, (numbers.astype(np.int64) - 1) % len(instance_colors))
    xyz, behind = data.xyz_nm[inside], data.xyz_nm[veil]
    camera, side_by_side = layout.suit_camera(np.concatenate([xyz, behind]))
    turned = Camera.turned(30, 18)
    if not np.allclose(camera.rows, Camera.turned(-60, 18).rows):
        turned = turned.rolled()
    titles = ["defect instances", "the same, turned by 90° about z"]
    figure, panels = layout.view_axes(np.concatenate([xyz, behind]), camera, titles, side_by_side, foot_in=0.1)
    for axes, view in zip(panels, (camera, turned), strict=True):
        cloud.draw_view(axes, xyz, rgb, veil_nm=behind, camera=view)
    caption = (
        f"Defect instances in color ({len(instance_colors)} colors in turn, so far ones may share one), "
        f"the matrix as a faint grey veil. {note}"
    )
    if len(inside) == 0:
        caption = f"No ion belongs to a defect; the matrix is drawn as a grey veil. {note}"
    alt = f"Two rendered views of the {len(data.defects)} defect instances inside the grey ion cloud, turned by 90°."
    yield picture(figure, "cloud_defects", "cloud", caption, alt)


def _structure(data: ReportData) -> Iterator[Picture]:
    if (found := data.structure) is None:
        return
    figure = canvas.new_figure(9.6, 3.0)
    left, middle, right = (figure.add_axes((x, 0.17, 0.25, 0.78)) for x in (0.065, 0.395, 0.735))
    draw_pair_distribution(
        left, found.distribution.r_nm, found.distribution.g, found.distribution.g_error, found.cutoff.cutoff_nm
    )
    draw_coordination(middle, found.coordination)
    draw_angles(right, found.angles.edges, found.angles.density)
    caption = (
        f"Left: pair distribution around {found.distribution.n_sampled:,} inner ions; "
        "band: two counting errors. Middle: bonds of the inner ions within the cutoff. Right: angles between them."
    )
    alt = f"Pair distribution with a cutoff at {found.cutoff.cutoff_nm:.2f} nm, coordination, bond angles."
    yield picture(figure, "structure", "structure", caption, alt)


def _consistency(data: ReportData) -> Iterator[Picture]:
    found = data.consistent
    if found is None or not found.maps:
        return
    shown = found.maps[:2]
    width = 4.8 * len(shown)
    figure = canvas.new_figure(width, 3.8)
    for i, one in enumerate(shown):
        mine = [c for c in found.columns if c.unit == one.unit]
        ellipses = [
            (c.center[0], c.center[1], 2 * c.length, 2 * c.width, 0.0 if np.isnan(c.direction_deg) else c.direction_deg)
            for c in mine
        ]
        axes = figure.add_axes(((0.72 + 4.7 * i) / width, 0.14, 3.84 / width, 0.76))
        draw_columns(axes, one.contrast, one.origin, one.pixel, ellipses, unit=one.unit)
        axes.set_aspect("equal")
        axes.set_title(one.name)
    n = len(found.columns)
    marked = f"Ellipses: the {n} reported columns (two standard deviations)." if n else "No column is reported."
    caption = (
        "Density over its smooth background across the axis, all depths together, smoothed by the narrowest column "
        f"that is looked for. {marked}"
    )
    alt = f"Map of the relative density across the axis with {n} poles and zone lines."
    yield picture(figure, "consistency", "consistency", caption, alt)


def _densities(data: ReportData) -> Iterator[Picture]:
    if (grid := data.grids.get("density")) is not None:
        unit = (grid.unit or "ions/nm3").replace("nm3", "nm³")
        yield _slices(grid, "density", "density", f"density ({unit})", "Ion density")


def _compositions(data: ReportData) -> Iterator[Picture]:
    grids = {name.split("/", 1)[1]: grid for name, grid in data.grids.items() if name.startswith("composition/")}
    counts = {ion.name: int(n) for ion, n in zip(data.ranges.ions, data.ion_counts, strict=True)}

    def weight(item: tuple[str, VoxelGrid]) -> tuple[float, float, str]:
        values = item[1].values[np.isfinite(item[1].values)]
        return -counts.get(item[0], 0), -float(values.sum()), item[0]

    for number, (name, grid) in enumerate(sorted(grids.items(), key=weight)[:_MAX_COMPOSITION], 1):
        yield _slices(
            grid,
            f"composition_{number}",
            "composition",
            f"{canvas.plain(name)}, {grid.unit or 'fraction'}",
            f"Local fraction of {name}",
        )


def _slices(grid: VoxelGrid, name: str, section: str, label: str, what: str) -> Picture:
    figure = canvas.new_figure(9.6, 4)
    slices.draw_midplanes(figure, grid, label=label)
    edge = " x ".join(f"{v:.2g}" for v in grid.voxel_nm)
    low, high, above = slices.color_limits(grid.values)
    more = "; larger values take the last color" if above else ""
    caption = f"{what} in the three mid-planes, voxels of {edge} nm, color scale {low:.3g} to {high:.3g}{more}."
    return picture(figure, name, section, caption, f"{what}: three orthogonal slices through the middle.")


def _clusters(data: ReportData) -> Iterator[Picture]:
    rows = finite_ions(data)
    n_clusters = int(data.cluster.max(initial=-1)) + 1
    if n_clusters < 1 or len(rows) == 0:
        return
    colors = palette(n_clusters)
    picked = rows[cloud.sample(len(rows), 2 * MAX_DRAWN, data.seed)]
    xyz = data.xyz_nm[picked]
    rgb = lookup(colors, data.cluster[picked])
    bounds = _bounds(data.xyz_nm[rows])
    figure = canvas.new_figure(9.6, 4)
    panels, planes = layout.plane_axes(figure, bounds[1] - bounds[0])
    thickness, n_drawn = [], []
    for axes, (right, up) in zip(panels, planes, strict=True):
        through = 3 - right - up
        middle = float(bounds[0][through] + bounds[1][through]) / 2
        half = max(float(bounds[1][through] - bounds[0][through]) / 20, 1.0)
        slab = np.abs(xyz[:, through] - middle) <= half
        thickness.append(f"{2 * half:.1f}")
        n_drawn.append(f"{np.count_nonzero(slab):,}")
        cloud.draw_projection(axes, xyz[slab], rgb[slab], (right, up), bounds, relief=False)
        axes.set_title(f"{layout.AXIS_NAMES[through]} = {middle:.1f} ± {half:.1f} nm")
    caption = (
        "Feature-space types in slabs through the middle, colored as in the bar chart; light grey: no type. Slabs are "
        f"{', '.join(thickness)} nm thick; drawn {', '.join(n_drawn)} of {data.n_ions:,} ions."
    )
    alt = f"Three slabs of the ion cloud, ions colored by one of {n_clusters} clusters."
    yield picture(figure, "clusters_map", "clusters", caption, alt)
    yield _cluster_quality(data, n_clusters, colors)


def _cluster_quality(data: ReportData, n_clusters: int, colors: Sequence[Color]) -> Picture:
    summary = data.record.get("summary", {})
    nan = float("nan")
    scores = [(int(k), float(s), nan if e is None else float(e)) for k, s, e in summary.get("silhouette") or ()]
    sizes = np.bincount(data.cluster[data.cluster >= 0], minlength=n_clusters)
    shown = np.sort(np.argsort(-sizes, kind="stable")[:_MAX_BARS])
    height = max(3.0, 0.22 * (len(shown) + 1) + 0.9)
    figure = canvas.new_figure(9.6, height)
    low, tall = 0.5 / height, 1 - 0.85 / height
    if scores:
        axes = figure.add_axes((0.075, low, 0.4, tall))
        clusters.draw_silhouette(axes, scores, summary.get("k"), summary.get("eigengap_k"))
    bars = figure.add_axes((0.575, low, 0.4, tall) if scores else (0.075, low, 0.6, tall))
    clusters.draw_sizes(bars, shown, sizes[shown], data.n_ions - int(sizes.sum()), [colors[i] for i in shown])
    left = (
        "Left: mean silhouette against the number of clusters, bars are standard errors; dotted: the number that the "
        "eigenvalues suggest (1: no second type). Right: ions of each cluster."
        if scores
        else "Ions of each cluster. No silhouette was computed."
    )
    if len(shown) < n_clusters:
        left += f" The largest {len(shown)} of {n_clusters} clusters are shown."
    alt = f"Sizes of {n_clusters} clusters."
    if scores:
        alt += f" Silhouette for k = {scores[0][0]} to {scores[-1][0]}."
    return picture(figure, "clusters_quality", "clusters", left, alt)


def _scores(data: ReportData) -> Iterator[Picture]:
    figure = canvas.new_figure(9.6, 3.2)
    draw_scores(figure.add_axes((0.075, 0.16, 0.905, 0.79)), data.anomaly_score, data.defect_class)
    missing = int((~np.isfinite(data.anomaly_score)).sum())
    caption = "Anomaly score of all ions (grey) and of the ions in each class of defect (lines), log counts."
    if missing:
        caption += f" {missing:,} ions have no finite score and are left out."
    yield picture(figure, "anomaly_scores", "scores", caption, "Histogram of the anomaly score per ion.")


def _defect_map(data: ReportData) -> Iterator[Picture]:
    inside, veil, note = _defect_ions(data)
    if len(inside) == 0:
        return
    colors = class_colors()
    codes = data.defect_class[inside]
    both = np.concatenate([inside, veil])
    bounds = _bounds(data.xyz_nm[both])
    figure = canvas.new_figure(9.6, 4)
    panels, planes = layout.plane_axes(figure, bounds[1] - bounds[0])
    layout.add_foot(figure, 0.35)
    numbers, centers = _strongest(data)
    skipped = []
    for axes, plane in zip(panels, planes, strict=True):
        cloud.draw_projection(
            axes, data.xyz_nm[inside], lookup(colors, codes), plane, bounds, veil_nm=data.xyz_nm[veil]
        )
        axes.set_title(f"{layout.AXIS_NAMES[plane[0]]}{layout.AXIS_NAMES[plane[1]]} projection")
        skipped.append(number_defects(axes, centers[:, list(plane)], numbers))
    present = [i for i in range(1, len(DEFECT_CLASSES)) if (codes == i).any()]
    canvas.figure_legend(figure, [DEFECT_CLASSES[i].replace("_", " ") for i in present], [colors[i] for i in present])
    caption = f"Defects by class, projected along the three axes, with their numbers in the table. {note}"
    if len(numbers) < len(data.defects) or any(skipped):
        shown = ", ".join(str(len(numbers) - n) for n in skipped)
        caption += f" Numbers shown: {shown} of {len(data.defects)}, the most probable first."
    alt = f"Three projections of {len(data.defects)} numbered defects, colored by class."
    yield picture(figure, "defect_map", "defects", caption, alt)


def _topology(data: ReportData) -> Iterator[Picture]:
    """The defect whose longest-lived cavity stands out most from the matrix."""
    if not data.topology:
        return
    one = max(data.topology, key=lambda place: place.longest_nm[2] - place.longest_matrix_nm[2])
    threshold = np.max([[part.lifetimes_nm(d).max(initial=0.0) for d in range(3)] for part in one.matrix], axis=0)
    deaths = one.diagrams.intervals_nm[2][:, 1]
    radii = np.linspace(0, 1.1 * float(deaths.max(initial=0.5)), 80)
    figure = canvas.new_figure(9.6, 4.2)
    draw_persistence(figure.add_axes((0.06, 0.12, 0.4, 0.85)), one.diagrams.intervals_nm, threshold)
    mean = np.mean([part.betti(radii) for part in one.matrix], axis=0)
    right = figure.add_axes((0.56, 0.12, 0.42, 0.85))
    draw_betti(right, radii, one.diagrams.betti(radii), mean, reference_label="matrix, mean")
    caption = (
        f"Persistent homology of the ball of {one.radius_nm:.1f} nm around defect {one.place + 1}, whose longest-lived "
        f"cavity differs most from the matrix. Left: classes by the radius at which they appear and disappear; above a "
        f"dashed line they live longer than any in {len(one.matrix)} balls of the matrix. Right: their numbers."
    )
    alt = f"Persistence diagram and Betti numbers of defect {one.place + 1} beside those of the matrix."
    yield picture(figure, "topology", "topology", caption, alt)


def _strongest(data: ReportData) -> tuple[list[int], NDArray[np.float64]]:
    """Numbers and centroids (n, 3) of the most probable defects, larger ones first among equals."""
    table = data.defects.table
    centers = np.column_stack([table.column(f"centroid_{axis}_nm").to_numpy() for axis in "xyz"]).reshape(-1, 3)
    probability = np.nan_to_num(table.column("probability").to_numpy().astype(float))
    order = np.lexsort((-table.column("n_ions").to_numpy(), -probability))
    order = order[np.isfinite(centers[order]).all(axis=1)][:_MAX_NUMBERS]
    return [int(n) for n in table.column("defect").to_numpy()[order]], centers[order]


def _defect_ions(data: ReportData) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Indices of the defect ions and of the matrix ions to draw, and the sentence on what is left out."""
    rows = finite_ions(data)
    inside, outside = rows[data.defect[rows] > 0], rows[data.defect[rows] <= 0]
    front = inside[cloud.sample(len(inside), MAX_DRAWN, data.seed)]
    veil = outside[cloud.sample(len(outside), MAX_DRAWN, data.seed)]
    note = f"Drawn {len(front):,} of {len(inside):,} ions of defects and {len(veil):,} of {len(outside):,} others."
    return front, veil, note


def _species_legend(data: ReportData) -> tuple[list[str], list[Color | None]]:
    """Names and colors of the most frequent species, and how many the legend leaves out."""
    tints = species_colors(data.ranges.ions)
    order = [i for i in np.argsort(-data.ion_counts, kind="stable").tolist() if data.ion_counts[i] > 0]
    names = [data.ranges.ions[i].name for i in order[:_MAX_LEGEND]]
    colors: list[Color | None] = [tints[i] for i in order[:_MAX_LEGEND]]
    if (data.species_idx < 0).any():
        names.append("unranged")
        colors.append(UNRANGED_COLOR)
    if len(order) > _MAX_LEGEND:
        names.append(f"and {len(order) - _MAX_LEGEND} more")
        colors.append(None)
    return names, colors


def _bounds(xyz_nm: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = xyz_nm.min(axis=0).astype(np.float64), xyz_nm.max(axis=0).astype(np.float64)
    return lower, np.maximum(upper, lower + max(0.02 * float((upper - lower).max()), 0.1))


def _size_text(xyz_nm: NDArray[np.float32]) -> str:
    if len(xyz_nm) == 0:
        return "empty"
    return " x ".join(f"{v:.3g}" for v in (xyz_nm.max(axis=0) - xyz_nm.min(axis=0)).tolist()) + " nm"
