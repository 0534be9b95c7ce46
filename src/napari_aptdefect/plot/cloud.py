"""Ions in space: a rendered view with scale bar and axes, and the three projections with nm on both axes."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from napari_aptdefect.plot.layout import AXIS_NAMES, foot_nm
from napari_aptdefect.plot.spectrum import nice_step
from napari_aptdefect.plot.splat import Camera, Frame, flatten, fog, sphere_radius, splat

SUPERSAMPLE: Final = 2


def sample(n: int, limit: int, seed: int) -> NDArray[np.int64]:
    """Indices of every k-th of n ions, at most `limit` of them, from a seeded start.

    Examples
    --------
    >>> sample(9, 3, seed=0).tolist()
    [2, 5, 8]
    """
    stride = max(-(-n // max(limit, 1)), 1)
    start = int(np.random.default_rng(seed).integers(stride))
    picked = np.arange(min(start, max(n - 1, 0)), n, stride, dtype=np.int64)
    return picked[:limit]


def draw_view(
    axes: Axes,
    xyz_nm: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    *,
    veil_nm: NDArray[np.float32] | None = None,
    camera: Camera | None = None,
    pixels: int = 700,
) -> None:
    """Render ions as shaded spheres, orthographic, with a scale bar and the directions of the axes.

    Parameters
    ----------
    axes
        Axes to draw in; their ticks are removed, for the scale bar is in the plane of the picture.
    xyz_nm
        Positions of the ions in color, shape (N, 3), nm, all finite.
    rgb
        Their colors, shape (N, 3), uint8.
    veil_nm
        Ions to draw as a faint grey veil behind, shape (M, 3), nm, all finite.
    camera
        Direction to look from.
    pixels
        Pixels along the longer side of the picture.
    """
    camera = camera or Camera.turned(-60, 18)
    front = camera.project(xyz_nm)
    behind = camera.project(veil_nm) if veil_nm is not None else front[:0]
    if len(front) + len(behind) == 0:
        _say(axes, "no ions to draw")
        return
    frame = Frame.around(np.concatenate([front, behind]), pixels * SUPERSAMPLE)
    layers = [splat(front, rgb, frame, sphere_radius(len(front), frame))]
    if len(behind):
        layers.insert(0, _veil(behind, frame))
    _show(axes, layers, frame)
    axes.set_axis_off()
    height = frame.v1 - frame.v0
    width = frame.u1 - frame.u0
    foot = foot_nm(width, height)
    axes.set_xlim(frame.u0, frame.u1)
    axes.set_ylim(frame.v0 - foot, frame.v1)
    scale_bar(axes, frame.u0 + 0.03 * width, frame.v0 - 0.45 * foot, width)
    _triad(axes, camera, (frame.u1 - 0.6 * foot, frame.v0 - 0.55 * foot), 0.45 * foot)


def scale_bar(axes: Axes, x: float, y: float, width_nm: float) -> None:
    """Draw a bar of a round length, a fifth to a half of the width, with its length in nm below."""
    length = nice_step(width_nm / 5)
    axes.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt", clip_on=False)
    axes.annotate(
        f"{length:g} nm", (x + length / 2, y), (0, -3), textcoords="offset points", ha="center", va="top", fontsize=9
    )


def draw_projection(
    axes: Axes,
    xyz_nm: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    plane: tuple[int, int],
    bounds_nm: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    veil_nm: NDArray[np.float32] | None = None,
    relief: bool = True,
    pixels: int = 600,
) -> None:
    """Draw ions projected along a coordinate axis, true to scale, nm on both axes.

    Parameters
    ----------
    axes
        Axes to draw in.
    xyz_nm
        Positions of the ions in color, shape (N, 3), nm, all finite.
    rgb
        Their colors, shape (N, 3), uint8.
    plane
        Coordinate axes to the right and upward (0 x, 1 y, 2 z).
    bounds_nm
        Lower and upper corner of what is shown, each of shape (3,), nm.
    veil_nm
        Ions to draw as a faint grey veil behind, shape (M, 3), nm, all finite.
    relief
        Shade the ions so that depth shows; without it their colors stay as they are.
    pixels
        Pixels along the longer side.
    """
    camera = Camera.along(*plane)
    corners = np.array(bounds_nm, np.float32)[:, [*plane, 3 - sum(plane)]]
    frame = Frame.around(corners, pixels * SUPERSAMPLE, margin=0.0)
    front = camera.project(xyz_nm)
    layers = [splat(front, rgb, frame, sphere_radius(len(front), frame), depth_fade=0.1 * relief, relief=relief)]
    if veil_nm is not None and len(veil_nm):
        layers.insert(0, _veil(camera.project(veil_nm), frame))
    _show(axes, layers, frame)
    axes.set_xlim(corners[0, 0], corners[1, 0])
    axes.set_ylim(corners[0, 1], corners[1, 1])


def _veil(projected: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Fog, or light grey dots where the ions are too few for fog to be seen."""
    if len(projected) > 0.05 * frame.width * frame.height:
        return fog(projected, frame)
    rgb = np.full((len(projected), 3), 225, np.uint8)
    return splat(projected, rgb, frame, min(sphere_radius(len(projected), frame), 3), depth_fade=0.3, relief=False)


def _show(axes: Axes, layers: list[NDArray[np.float32]], frame: Frame) -> None:
    image = flatten(layers, SUPERSAMPLE)
    drawn = SUPERSAMPLE * frame.nm_per_px
    extent = (frame.u0, frame.u0 + image.shape[1] * drawn, frame.v0, frame.v0 + image.shape[0] * drawn)
    axes.imshow(image, origin="lower", extent=extent, interpolation="antialiased", aspect="equal")


def _triad(axes: Axes, camera: Camera, origin: tuple[float, float], length: float) -> None:
    """Arrows along x, y, z as the camera sees them; one that points at the eye shrinks to a dot."""
    for name, column in zip(AXIS_NAMES, camera.rows.T, strict=True):
        du, dv = column[0] * length, column[1] * length
        tip = (origin[0] + du, origin[1] + dv)
        arrow = {"arrowstyle": "-|>", "color": "#222222", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        if np.hypot(du, dv) > 0.1 * length:
            axes.annotate("", tip, origin, arrowprops=arrow, annotation_clip=False)
        at = (origin[0] + 1.3 * du, origin[1] + 1.3 * dv)
        axes.annotate(name, at, ha="center", va="center", fontsize=9, annotation_clip=False)


def _say(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
