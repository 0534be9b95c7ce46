"""What lies in balls around the ions: exact counts in small balls, counts on a grid in large ones.

The number of ions in a ball grows with the third power of its radius, a grid whose voxels grow with the radius costs
the same per volume at every radius. All counts are whole numbers, so neither the order of the ions nor threads matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.tree import STACK_SIZE, PointTree, box_distance2, run_blocks
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Stage, scaled

VOXELS_PER_RADIUS: Final = 5
_MAX_BYTES: Final = 12_000_000_000


@dataclass(frozen=True, eq=False)
class Marks:
    """What is counted, per row of a tree.

    Parameters
    ----------
    kind
        Shape (M,), int32, 0 to n_kinds - 1: the one kind of the ion.
    flags
        Shape (M,), uint8: bits of what else is counted.
    n_kinds, n_flags
        Numbers of both; a count has ``n_kinds + n_flags`` channels.
    """

    kind: NDArray[np.int32]
    flags: NDArray[np.uint8]
    n_kinds: int
    n_flags: int

    @property
    def n_channels(self) -> int:
        """Channels of a count."""
        return self.n_kinds + self.n_flags


@njit(cache=True, nogil=True)
def count_in_balls(
    tree: PointTree,
    start: int,
    stop: int,
    kind: NDArray[np.int32],
    flags: NDArray[np.uint8],
    n_kinds: int,
    n_flags: int,
    radius2: NDArray[np.float64],
    out: NDArray[np.int32],
) -> None:
    """Count the ions around the rows start..stop of a tree; an ion does not count itself, one on the sphere counts.

    ``radius2`` ascends, shape (R,), nm2; ``out`` has the shape (stop - start, R, n_kinds + n_flags).
    """
    stack = np.empty(STACK_SIZE, np.int32)
    last = len(radius2) - 1
    largest = radius2[last]
    out[:] = 0
    for row in range(start, stop):
        x, y, z = np.float64(tree.xyz[row, 0]), np.float64(tree.xyz[row, 1]), np.float64(tree.xyz[row, 2])
        mine = out[row - start]
        depth = 1
        stack[0] = 0
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if box_distance2(tree.box, node, x, y, z) > largest:
                continue
            if tree.leaf[node] == 0:
                stack[depth], stack[depth + 1] = 2 * node + 1, 2 * node + 2
                depth += 2
                continue
            for i in range(tree.start[node], tree.stop[node]):
                dx, dy, dz = tree.xyz[i, 0] - x, tree.xyz[i, 1] - y, tree.xyz[i, 2] - z
                d2 = dx * dx + dy * dy + dz * dz
                if d2 <= largest and i != row:
                    r = 0
                    while d2 > radius2[r]:
                        r += 1
                    mine[r, kind[i]] += 1
                    if flags[i]:
                        for f in range(n_flags):
                            mine[r, n_kinds + f] += (flags[i] >> f) & 1
        for r in range(last):
            for c in range(n_kinds + n_flags):
                mine[r + 1, c] += mine[r, c]


@dataclass(frozen=True, eq=False)
class BallSums:
    """Sums over the balls around the voxels of a grid.

    Parameters
    ----------
    frame
        The grid.
    sums
        Shape (nx, ny, nz, n_channels + n_masks), int32; valid at the eight voxels around each ion.
    radius_nm
        Radius of the balls, nm.
    n_voxels
        Voxels in a ball.
    """

    frame: Frame
    sums: NDArray[np.int32]
    radius_nm: float
    n_voxels: int

    @property
    def scale(self) -> float:
        """Volume of the ball over that of its voxels."""
        return 4 / 3 * np.pi * self.radius_nm**3 / (self.n_voxels * self.frame.voxel_nm**3)

    def at(self, xyz_nm: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sums at positions, interpolated, shape (len(xyz_nm), n_channels + n_masks), not yet scaled."""
        out = np.empty((len(xyz_nm), self.sums.shape[3]))
        interpolate(self.sums, self.frame.origin_nm, self.frame.voxel_nm, xyz_nm, out)
        return out


def sum_in_balls(
    tree: PointTree,
    marks: Marks,
    radius_nm: float,
    masks: tuple[NDArray[np.bool_], ...],
    masks_frame: Frame,
    *,
    workers: int | None,
) -> Stage[BallSums]:
    """Sum kinds, flags and masks over the balls around the voxels that hold ions.

    Parameters
    ----------
    tree, marks
        The ions and what is counted.
    radius_nm
        Radius of the balls, nm; the voxels are a fifth of it.
    masks, masks_frame
        Voxels of another grid that are counted as further channels, by the center of each voxel.
    workers
        Number of threads.

    Raises
    ------
    ParameterError
        If the grid would not fit in memory.
    """
    frame = Frame.around(tree.xyz, radius_nm / VOXELS_PER_RADIUS)
    n_channels = marks.n_channels + len(masks)
    if frame.n_voxels * n_channels * 8 > _MAX_BYTES:
        raise ParameterError(
            f"counts in balls of {radius_nm} nm would need {frame.n_voxels * n_channels * 8 / 1e9:.0f} GB; choose a "
            "larger radius, or count it exactly (exact_nm)"
        )
    nx, ny, nz = frame.shape
    running = np.zeros((nx, ny, nz + 1, n_channels), np.int32)
    needed = np.zeros(frame.shape, np.bool_)
    _fill(tree.xyz, frame.origin_nm, frame.voxel_nm, marks.kind, marks.flags, marks.n_kinds, running, needed)
    for c, mask in enumerate(masks):
        running[:, :, 1:, marks.n_channels + c] = _resampled(mask, masks_frame, frame)
    columns = _ball_columns(VOXELS_PER_RADIUS)
    sums = np.zeros((nx, ny, nz, n_channels), np.int32)

    def accumulate(start: int, stop: int) -> None:
        _accumulate(running[start:stop])

    def add(start: int, stop: int) -> None:
        _add_columns(running, needed, columns, start, stop, sums)

    text = f"counts within {radius_nm:g} nm"
    yield from scaled(run_blocks(accumulate, nx, block=4, message=text, workers=workers), 0, 20)
    yield from scaled(run_blocks(add, nx, block=4, message=text, workers=workers), 20, 100)
    return BallSums(frame, sums, radius_nm, int((2 * columns[:, 2] + 1).sum()))


@njit(cache=True, nogil=True)
def interpolate(
    fields: NDArray[np.generic],
    origin: NDArray[np.float64],
    voxel_nm: float,
    xyz: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Interpolate fields, shape (nx, ny, nz, C), trilinearly at positions; beyond the grid as at its rim."""
    nx, ny, nz, n_channels = fields.shape
    for i in range(len(xyz)):
        px, py, pz = (
            (xyz[i, 0] - origin[0]) / voxel_nm - 0.5,
            (xyz[i, 1] - origin[1]) / voxel_nm - 0.5,
            (xyz[i, 2] - origin[2]) / voxel_nm - 0.5,
        )
        x0, y0, z0 = int(np.floor(px)), int(np.floor(py)), int(np.floor(pz))
        fx, fy, fz = px - x0, py - y0, pz - z0
        for c in range(n_channels):
            out[i, c] = 0.0
        for corner in range(8):
            a, b, d = corner >> 2, (corner >> 1) & 1, corner & 1
            weight = (fx if a else 1 - fx) * (fy if b else 1 - fy) * (fz if d else 1 - fz)
            x = min(max(x0 + a, 0), nx - 1)
            y = min(max(y0 + b, 0), ny - 1)
            z = min(max(z0 + d, 0), nz - 1)
            for c in range(n_channels):
                out[i, c] += weight * fields[x, y, z, c]


@njit(cache=True, nogil=True)
def _fill(
    xyz: NDArray[np.float32],
    origin: NDArray[np.float64],
    voxel_nm: float,
    kind: NDArray[np.int32],
    flags: NDArray[np.uint8],
    n_kinds: int,
    running: NDArray[np.int32],
    needed: NDArray[np.bool_],
) -> None:
    nx, ny, nz = needed.shape
    for i in range(len(xyz)):
        px, py, pz = (
            (xyz[i, 0] - origin[0]) / voxel_nm,
            (xyz[i, 1] - origin[1]) / voxel_nm,
            (xyz[i, 2] - origin[2]) / voxel_nm,
        )
        x = min(max(int(np.floor(px)), 0), nx - 1)
        y = min(max(int(np.floor(py)), 0), ny - 1)
        z = min(max(int(np.floor(pz)), 0), nz - 1)
        running[x, y, z + 1, kind[i]] += 1
        f, bits = n_kinds, flags[i]
        while bits:
            running[x, y, z + 1, f] += bits & 1
            bits >>= 1
            f += 1
        x0, y0, z0 = int(np.floor(px - 0.5)), int(np.floor(py - 0.5)), int(np.floor(pz - 0.5))
        for a in range(max(x0, 0), min(x0 + 2, nx)):
            for b in range(max(y0, 0), min(y0 + 2, ny)):
                for d in range(max(z0, 0), min(z0 + 2, nz)):
                    needed[a, b, d] = True


@njit(cache=True, nogil=True)
def _accumulate(running: NDArray[np.int32]) -> None:
    nx, ny, nz, n_channels = running.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(1, nz):
                for c in range(n_channels):
                    running[x, y, z, c] += running[x, y, z - 1, c]


@njit(cache=True, nogil=True)
def _add_columns(
    running: NDArray[np.int32],
    needed: NDArray[np.bool_],
    columns: NDArray[np.int64],
    start: int,
    stop: int,
    sums: NDArray[np.int32],
) -> None:
    nx, ny, nz, n_channels = sums.shape
    for x in range(start, stop):
        for y in range(ny):
            for z in range(nz):
                if not needed[x, y, z]:
                    continue
                total = sums[x, y, z]
                for k in range(len(columns)):
                    u, v, w = x + columns[k, 0], y + columns[k, 1], columns[k, 2]
                    if u < 0 or u >= nx or v < 0 or v >= ny:
                        continue
                    high = running[u, v, min(z + w + 1, nz)]
                    low = running[u, v, max(z - w, 0)]
                    for c in range(n_channels):
                        total[c] += high[c] - low[c]


def _ball_columns(radius: int) -> NDArray[np.int64]:
    """Columns of voxels of a ball: steps along x and y, and half length along z, shape (K, 3)."""
    found = []
    for x in range(-radius, radius + 1):
        for y in range(-radius, radius + 1):
            left = radius * radius - x * x - y * y
            if left >= 0:
                found.append((x, y, int(np.floor(np.sqrt(left)))))
    return np.array(found, np.int64)


def _resampled(mask: NDArray[np.bool_], mask_frame: Frame, frame: Frame) -> NDArray[np.bool_]:
    """Mask at the centers of the voxels of another grid; nothing lies outside its own."""
    idx, valid = [], []
    for axis in range(3):
        center = frame.origin_nm[axis] + (np.arange(frame.shape[axis]) + 0.5) * frame.voxel_nm
        at = np.floor((center - mask_frame.origin_nm[axis]) / mask_frame.voxel_nm).astype(np.int64)
        valid.append((at >= 0) & (at < mask_frame.shape[axis]))
        idx.append(np.clip(at, 0, mask_frame.shape[axis] - 1))
    inside = valid[0][:, None, None] & valid[1][None, :, None] & valid[2][None, None, :]
    return np.asarray(mask[np.ix_(*idx)] & inside, np.bool_)
