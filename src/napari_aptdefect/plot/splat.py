"""A small point renderer in numpy: orthographic, with depth, shaded spheres, and no need for a graphics card.

Equal input gives equal pixels: where two ions fall on one pixel the nearer one wins, then the later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError

_DEPTH_BITS: Final = 24
_EMPTY: Final = np.uint64(0)


@dataclass(frozen=True, eq=False)
class Camera:
    """An orthographic view: rows are the unit vectors to the right, upward and toward the eye, shape (3, 3)."""

    rows: NDArray[np.float64]

    @classmethod
    def turned(cls, azimuth_deg: float, elevation_deg: float) -> Camera:
        """View from a direction given by its angle around z and above the xy plane; z points up in the picture.

        Examples
        --------
        >>> Camera.turned(0, 0).rows.round(6).tolist()
        [[-0.0, 1.0, 0.0], [0.0, -0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        az, el = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
        toward = np.array([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)])
        right = np.array([-np.sin(az), np.cos(az), 0.0])
        return cls(np.array([right, np.cross(toward, right), toward]))

    @classmethod
    def along(cls, right_axis: int, up_axis: int) -> Camera:
        """View along a coordinate axis, with two axes (0 x, 1 y, 2 z) to the right and upward."""
        eye = np.eye(3)
        return cls(np.array([eye[right_axis], eye[up_axis], np.cross(eye[right_axis], eye[up_axis])]))

    def rolled(self) -> Camera:
        """Return the same view with the picture turned clockwise by 90 degrees: what was up is to the right."""
        right, up, toward = self.rows
        return Camera(np.array([up, -right, toward]))

    def project(self, xyz_nm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Positions as (right, up, toward the eye), shape (N, 3), nm."""
        return np.asarray(xyz_nm @ self.rows.T.astype(np.float32), np.float32)


@dataclass(frozen=True, slots=True)
class Frame:
    """What part of the picture plane is drawn, nm, and in how many pixels."""

    u0: float
    u1: float
    v0: float
    v1: float
    width: int
    height: int

    @property
    def nm_per_px(self) -> float:
        """Edge of a pixel, nm."""
        return (self.u1 - self.u0) / self.width

    @classmethod
    def around(cls, projected: NDArray[np.floating], pixels: int, margin: float = 0.02) -> Frame:
        """Frame around projected positions, with `pixels` along its longer side."""
        lo, hi = projected[:, :2].min(axis=0).astype(float), projected[:, :2].max(axis=0).astype(float)
        size = np.maximum(hi - lo, max(float((hi - lo).max()) * 0.02, 0.1))  # a line or a point still gets an area
        center, half = (lo + hi) / 2, size * (0.5 + margin)
        nm_per_px = float(2 * half.max()) / pixels
        n = np.maximum(np.ceil(2 * half / nm_per_px), 1).astype(int)
        half = n * nm_per_px / 2
        u, v = center
        return cls(u - half[0], u + half[0], v - half[1], v + half[1], int(n[0]), int(n[1]))


def splat(
    projected: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    frame: Frame,
    radius_px: int = 2,
    *,
    depth_fade: float = 0.35,
    relief: bool = True,
) -> NDArray[np.float32]:
    """Draw ions as small shaded spheres.

    Parameters
    ----------
    projected
        Shape (N, 3), from `Camera.project`, nm, all finite.
    rgb
        Shape (N, 3), uint8.
    frame
        Part of the picture plane to draw.
    radius_px
        Radius of a sphere, pixels; 0 draws single pixels.
    depth_fade
        How much the farthest ions fade to white, 0 to 1.
    relief
        Shade the spheres and darken what lies behind an edge; without it the colors stay as they are.

    Returns
    -------
    Shape (height, width, 4), float32, 0 to 1: color and alpha, row 0 at the bottom.

    Raises
    ------
    ParameterError
        If there are more ions than 32 bits can number, or the spheres are too large.
    """
    if len(projected) >= 1 << 32 or not 0 <= radius_px <= 8:
        raise ParameterError(
            f"splat draws fewer than 2**32 ions of 0 to 8 pixels, got {len(projected)} of {radius_px}; draw a sample"
        )
    out = np.zeros((frame.height, frame.width, 4), np.float32)
    if len(projected) == 0:
        return out
    offsets, bulge = _sphere(radius_px)
    reach = radius_px * frame.nm_per_px
    near, far = float(projected[:, 2].max()) + reach, float(projected[:, 2].min())
    scale = ((1 << _DEPTH_BITS) - 2) / max(near - far, 1e-6)
    keys = _nearest(projected, frame, offsets, bulge * frame.nm_per_px, far, scale)
    hit = keys != _EMPTY
    found = keys[hit]
    depth = np.full(keys.shape, -np.inf, np.float32)
    depth[hit] = ((found >> np.uint64(40)).astype(np.float32) - 1) / np.float32(scale)
    tilt = bulge[((found >> np.uint64(32)) & np.uint64(0xFF)).astype(np.intp)] / max(radius_px, 1)
    color = rgb[(found & np.uint64(0xFFFFFFFF)).astype(np.intp)].astype(np.float32) / 255
    if relief:
        contrast = 0.08 * min(radius_px, 5)  # on tiny spheres shading is but noise
        color *= (1 - contrast + contrast * tilt)[:, None].astype(np.float32)
        color *= _eye_dome(depth, max(near - far, 40 * reach))[hit][:, None]
    fade = depth_fade * (1 - depth[hit] / np.float32(max(near - far, 1e-6)))
    out[hit, :3] = color + (1 - color) * np.clip(fade, 0, 1)[:, None]
    out[hit, 3] = 1
    return out


def fog(
    projected: NDArray[np.float32], frame: Frame, gray: float = 0.62, strength: float = 0.55
) -> NDArray[np.float32]:
    """Draw ions as a faint grey veil, denser where more of them lie behind one another.

    Parameters
    ----------
    projected
        Shape (N, 3), from `Camera.project`, nm, all finite.
    frame
        Part of the picture plane to draw.
    gray
        Its grey, 0 to 1.
    strength
        Largest alpha.

    Returns
    -------
    Shape (height, width, 4), float32, row 0 at the bottom.
    """
    col, row, inside = _pixels(projected, frame)
    flat = row[inside] * frame.width + col[inside]
    counts = np.bincount(flat, minlength=frame.width * frame.height).reshape(frame.height, frame.width)
    out = np.full((frame.height, frame.width, 4), gray, np.float32)
    typical = float(np.quantile(counts[counts > 0], 0.9)) if counts.any() else 1.0
    out[..., 3] = strength * (1 - np.exp(-1.5 * counts / typical))
    return out


def flatten(layers: list[NDArray[np.float32]], shrink: int = 2) -> NDArray[np.uint8]:
    """Lay RGBA layers over white, the first one lowest, and average blocks of `shrink` pixels.

    Returns
    -------
    Shape (height / shrink, width / shrink, 3), uint8, row 0 at the bottom.
    """
    height, width = (n - n % shrink for n in layers[0].shape[:2])
    canvas = np.ones((height, width, 3), np.float32)
    for layer in layers:
        part = layer[:height, :width]
        canvas += (part[..., :3] - canvas) * part[..., 3:]
    blocks = np.zeros((height // shrink, width // shrink, 3), np.float32)
    for i in range(shrink):
        for j in range(shrink):
            blocks += canvas[i::shrink, j::shrink]
    return np.asarray(np.rint(np.clip(blocks / shrink**2, 0, 1) * 255), np.uint8)


def sphere_radius(n_ions: int, frame: Frame, *, largest: int = 5) -> int:
    """Radius in pixels that lets n ions cover the frame about three times, within bounds of looks and of work."""
    wanted = np.sqrt(3 * frame.width * frame.height / (np.pi * max(n_ions, 1)))
    affordable = np.sqrt(3e7 / (np.pi * max(n_ions, 1)))
    return int(np.clip(round(min(wanted, affordable)), 2 if n_ions < 2_500_000 else 1, largest))


def _pixels(
    projected: NDArray[np.float32], frame: Frame
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    col = np.floor((projected[:, 0] - frame.u0) / frame.nm_per_px).astype(np.int64)
    row = np.floor((projected[:, 1] - frame.v0) / frame.nm_per_px).astype(np.int64)
    return col, row, (col >= 0) & (col < frame.width) & (row >= 0) & (row < frame.height)


def _sphere(radius_px: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixel offsets (column, row) of a disk and how far the sphere bulges toward the eye there, pixels."""
    span = np.arange(-radius_px, radius_px + 1)
    dx, dy = (a.ravel() for a in np.meshgrid(span, span))
    squared = (radius_px + 0.5) ** 2 - dx**2 - dy**2
    keep = squared > 0
    bulge = np.minimum(np.sqrt(squared[keep]), radius_px)
    return np.column_stack([dx[keep], dy[keep]]), bulge


def _nearest(
    projected: NDArray[np.float32],
    frame: Frame,
    offsets: NDArray[np.int64],
    bulge_nm: NDArray[np.float64],
    far: float,
    scale: float,
) -> NDArray[np.uint64]:
    """Per pixel the key depth | offset | ion of the nearest ion, 0 where there is none; shape (height, width)."""
    buffer = np.zeros(frame.height * frame.width, np.uint64)
    col, row, _ = _pixels(projected, frame)
    ion = np.arange(len(projected), dtype=np.uint64)
    for number, ((dx, dy), lift) in enumerate(zip(offsets.tolist(), bulge_nm.tolist(), strict=True)):
        c, r = col + dx, row + dy
        inside = (c >= 0) & (c < frame.width) & (r >= 0) & (r < frame.height)
        level = (1 + (projected[inside, 2].astype(np.float64) - far + lift) * scale).astype(np.uint64)
        key = (level << np.uint64(40)) | np.uint64(number << 32) | ion[inside]
        np.maximum.at(buffer, r[inside] * frame.width + c[inside], key)
    return buffer.reshape(frame.height, frame.width)


def _eye_dome(depth: NDArray[np.float32], span_nm: float) -> NDArray[np.float32]:
    """Darken pixels whose neighbors lie nearer to the eye, which lets the eye see relief.

    References
    ----------
    Boucheny, C. (2009). Interactive scientific visualization of large datasets: towards a perceptive-based approach.
    PhD thesis, Université Joseph Fourier, Grenoble (eye-dome lighting).
    """
    shade = np.zeros_like(depth)
    reach = 3
    height, width = depth.shape
    padded = np.pad(np.where(np.isfinite(depth), depth, np.nan), reach, constant_values=np.nan)
    here = padded[reach:-reach, reach:-reach]
    for dy, dx in ((0, reach), (reach, 0), (2 * reach, reach), (reach, 2 * reach)):
        nearer = padded[dy : dy + height, dx : dx + width] - here
        # fmax takes NaN, where there is no ion on one side, for no difference
        shade += np.minimum(np.fmax(nearer * np.float32(1 / max(0.05 * span_nm, 1e-6)), 0), 1)
    return np.asarray(np.exp(-0.28 * shade), np.float32)
