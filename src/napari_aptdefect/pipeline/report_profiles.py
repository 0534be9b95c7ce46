"""The report's picture of profiles: composition along z, and around the region that stands out most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from napari_aptdefect.apt.profiles import Profile, isosurface
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.display_profiles import (
    LineParams,
    ProxigramParams,
    apart,
    drawn_part,
    profile_along,
    profile_from,
    shown_elements,
    through_middle,
)
from napari_aptdefect.pipeline.display_volumes import Level, suggest_level
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.pipeline.report_data import ReportData
from napari_aptdefect.pipeline.report_figures import Picture, picture
from napari_aptdefect.plot import canvas
from napari_aptdefect.plot.colors import palette
from napari_aptdefect.plot.profiles import draw_profile

_LINE: Final = LineParams()
_SURFACE: Final = ProxigramParams(reach_nm=4.0)


def profile_pictures(data: ReportData) -> Iterator[Picture]:
    """Profile along z through the middle, and proxigram at the isosurface of the species that stands out most."""
    ions = RangedIons(data.xyz_nm, data.species_idx, data.ranges)
    try:
        start, stop = through_middle(ions.xyz_nm, 2)
        if not (data.species_idx >= 0).any() or not start[2] < stop[2]:
            return
        along = profile_along(ions, start, stop, _LINE)
    except EmptySelectionError:
        return  # no ion, or none beside the axis
    around = _around_region(data, ions)
    figure = canvas.new_figure(9.6, 3.8)
    half = (0.075, 0.395) if around else (0.075, 0.905)
    shown = _draw(figure, half, along, start[2], "z", False)
    caption = (
        f"Composition along z in a cylinder of radius {_LINE.radius_nm:g} nm through the middle, bins of "
        f"{_LINE.bin_nm:g} nm. Bands are one standard deviation of counting; bins with fewer than {_LINE.min_ions} "
        "ranged ions are left out."
    )
    alt = f"Atomic fractions of {', '.join(shown) or 'no element'} along z."
    if around:
        profile, name, level, n_triangles = around
        _draw(figure, (0.58, 0.395), profile, 0.0, f"distance from {name} = {100 * level.value:.3g} %", True)
        caption += (
            f" Right: proxigram at the isosurface of {name} at {100 * level.value:.3g} % of the ranged ions, half way "
            f"from the matrix ({100 * level.matrix:.3g} %) to the region ({100 * level.region:.3g} %), {n_triangles:,} "
            "triangles; positive distances lie on the side of higher values."
        )
        alt += f" Beside it, atomic fractions against the distance from an isosurface of {name}."
    yield picture(figure, "profiles", "composition", caption, alt)


def _around_region(data: ReportData, ions: RangedIons) -> tuple[Profile, str, Level, int] | None:
    """Proxigram of the species that stands out most, with its name, level and triangles; None if nothing does."""
    best: tuple[Level, VoxelGrid] | None = None
    for name, grid in data.grids.items():
        if not name.startswith("composition/"):
            continue
        known = np.where(grid.values > 0, grid.values, np.float32(np.nan))  # outside of the specimen it is 0
        field = VoxelGrid(known, grid.origin_nm, grid.voxel_nm, name.split("/", 1)[1], grid.unit)
        try:
            level = suggest_level(field)
        except EmptySelectionError:
            continue
        if level.is_sure and (best is None or level.contrast > best[0].contrast):
            best = level, field
    if best is None:
        return None
    level, field = best
    try:
        surface = isosurface(field, level.value)
        return profile_from(ions, surface, _SURFACE), canvas.plain(field.name), level, len(surface.triangles)
    except EmptySelectionError:
        return None  # the region is a voxel wide at the rim, or no ion is near


def _draw(
    figure: Figure, span: tuple[float, float], profile: Profile, shift_nm: float, label: str, at_surface: bool
) -> list[str]:
    """Draw one profile in a column of the figure, rare elements in a panel of their own; the names that are drawn."""
    columns = shown_elements(profile)
    names = [profile.elements[i] for i in columns]
    colors = palette(len(profile.elements))
    fraction, error = drawn_part(profile, columns, _LINE.min_ions)
    groups = apart(fraction) or [[]]
    tall = 0.8 / len(groups) - 0.03 * (len(groups) - 1)
    for n, group in enumerate(groups):
        axes = figure.add_axes((span[0], 0.14 + n * (tall + 0.06), span[1], tall))
        draw_profile(
            axes,
            profile.edges_nm + shift_nm,
            fraction[:, group],
            error[:, group],
            [names[i] for i in group],
            label=label,
            colors=[colors[columns[i]] for i in group],
            at_surface=at_surface,
        )
        if n > 0:
            axes.set_xlabel("")
            axes.set_xticklabels([])
    return names
