"""Evidence for balls, layers and lines: matched filters and curvatures of the density and of the dopants.

A ball of the right radius is the best filter for a cluster or a void, a thin layer across the axis for a decorated
basal fault, a rod along it for a threading dislocation. Curvatures tell sheets, tubes and balls of any direction apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.data.feature_table import FeatureColumn, FeatureSet
from napari_aptdefect.data.tree import run_blocks
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.stage import Progress, Stage

VOXEL_NM: Final = np.array([0.5, 0.5, 0.25])
"""Finer along the axis, where atom probe resolves more and basal faults are thin."""

BALLS_NM: Final = (0.35, 0.7, 1.4, 2.8)
LAYERS_NM: Final = ((2.5, 0.2), (5.0, 0.25))
LINES_NM: Final = ((0.6, 3.0), (0.6, 6.0))
CURVATURES_NM: Final = (0.7, 1.4, 2.8)

_BASE_NM: Final = 4.0
_SHARE_NM: Final = 6.0
_PRIOR_IONS: Final = 20.0  # that have the specimen's share, beside those around
_OUTLIER: Final = 3.0
_TRUNCATE: Final = 3.0
_MARGIN_NM: Final = 1.0
_MAX_VOXELS: Final = 100_000_000
_BLOCK: Final = 8192


@dataclass(frozen=True)
class _Kernel:
    """A Gaussian, wide across and along the axis as given, nm."""

    name: str
    text: str
    across_nm: float
    along_nm: float

    @property
    def sigma(self) -> NDArray[np.float64]:
        """Widths in voxels."""
        return np.asarray(np.array([self.across_nm, self.across_nm, self.along_nm]) / VOXEL_NM, np.float64)

    @property
    def variance(self) -> float:
        """Sum of the squared kernel: what turns smoothed counts into the variance of the smoothed count."""
        widths = np.sqrt(self.sigma**2 + 1 / 12)  # an ion lies anywhere in its voxel
        return float(np.prod(1 / (2 * math.sqrt(math.pi) * widths)))


_KERNELS: Final = (
    *(_Kernel(f"ball{s:g}", f"a ball of {s:g} nm", s, s) for s in BALLS_NM),
    *(_Kernel(f"layer{a:g}", f"a layer {a:g} nm wide and {c:g} nm thick across the axis", a, c) for a, c in LAYERS_NM),
    *(_Kernel(f"line{c:g}", f"a line {c:g} nm long and {a:g} nm wide along the axis", a, c) for a, c in LINES_NM),
)
_CURVED: Final = tuple(_Kernel(f"{s:g}", f"over {s:g} nm", s, s) for s in CURVATURES_NM)
_CURVATURE_PARTS: Final = ("first", "second", "third", "first_cos", "third_cos")


def columns(dopants: tuple[str, ...]) -> tuple[FeatureColumn, ...]:
    """Columns that `describe_shapes` fills, in its order."""
    out: list[FeatureColumn] = []
    named = ", ".join(dopants) or "none"
    groups: tuple[tuple[str, FeatureSet, str], ...] = (
        ("density", "structural", "ions"),
        ("dopant", "compositional", f"the dopant ({named}) that stands out most"),
    )
    for what, part, text in groups:
        for one in _KERNELS:
            out.append(
                FeatureColumn(
                    f"{what}_{one.name}_evidence",
                    part,
                    "sigma",
                    f"evidence for more (positive) or fewer {text} than around, weighted with {one.text} (widths are "
                    "standard deviations); missing without dopants",
                    "(g * n - g * e) / sqrt(G (g * e) + G^2), G the sum of g^2; e: background over 4 nm, or the share "
                    "of the dopant around times the ranged ions",
                )
            )
            out.append(
                FeatureColumn(
                    f"{what}_{one.name}_log_ratio",
                    part,
                    "",
                    f"logarithm of what is found over what is expected of {text}, weighted with {one.text}",
                    "ln((g * n + G) / (g * e + G))",
                )
            )
        out.extend(_curvature_column(what, part, one, name) for one in _CURVED for name in _CURVATURE_PARTS)
    return tuple(out)


def _curvature_column(what: str, part: FeatureSet, kernel: _Kernel, name: str) -> FeatureColumn:
    order, _, kind = name.partition("_")
    matrix = "H = s^2 grad grad (g * (n - e)) / sqrt(G (g * e) + G^2) (Frangi et al. 1998, doi 10.1007/BFb0056195)"
    of = {"density": "the density", "dopant": "all dopants together"}[what]
    if kind:
        return FeatureColumn(
            f"{what}_curvature{kernel.name}_{name}",
            part,
            "",
            f"cosine between the specimen axis and the direction of the {order} curvature of {of}, {kernel.text}",
            f"|u_z|, u the eigenvector of the {order} eigenvalue, ascending, of {matrix}",
        )
    return FeatureColumn(
        f"{what}_curvature{kernel.name}_{order}",
        part,
        "sigma",
        f"{order} of the principal curvatures of {of}, ascending, {kernel.text}: one strongly negative in a sheet, two "
        "in a line, three in a ball; positive in voids",
        f"eigenvalue of {matrix}",
    )


def describe_shapes(
    local_nm: NDArray[np.floating],
    dopant: NDArray[np.integer],
    ranged: NDArray[np.bool_],
    n_dopants: int,
    out: NDArray[np.float32],
    workers: int | None = None,
) -> Stage[None]:
    """Fill in the evidence for shapes at each ion.

    Parameters
    ----------
    local_nm
        Positions, shape (N, 3), nm, finite, the third coordinate along the specimen axis.
    dopant
        Shape (N,): which dopant an ion holds, -1 for none.
    ranged
        Shape (N,): whether the ion has a species.
    n_dopants
        Number of dopants; without any, their columns stay missing.
    out
        Shape (N, number of columns), written in place.
    workers
        Number of threads.

    Raises
    ------
    EmptySelectionError
        If there is no ion.
    ParameterError
        If the grid would not fit in memory.
    """
    grid = _Grid.around(local_nm)
    counts = grid.count(local_nm)
    inside = _inside(counts)
    weight = inside.astype(np.float32)
    n_steps = 2 + n_dopants
    yield Progress(0, n_steps, "density of shapes")
    base = _ratio(_smooth(counts * weight, _wide(_BASE_NM)), _smooth(weight, _wide(_BASE_NM))) * weight
    group = 2 * len(_KERNELS) + len(_CURVATURE_PARTS) * len(_CURVED)
    fields = np.full((group * (2 if n_dopants else 1), *counts.shape), np.nan, np.float32)
    _fill_matched(fields[: 2 * len(_KERNELS)], counts, base)
    _fill_curved(fields[2 * len(_KERNELS) : group], counts - base, base, inside, workers)
    yield Progress(1, n_steps, "density of shapes")
    if n_dopants:
        yield from _fill_dopants(fields[group:], grid, local_nm, dopant, ranged, n_dopants, inside, workers)
    place = np.ascontiguousarray(((local_nm - grid.low) / VOXEL_NM - 0.5).astype(np.float32))
    stacked = np.ascontiguousarray(np.moveaxis(fields, 0, -1))
    del fields

    def sample(start: int, stop: int) -> None:
        _interpolate(stacked, place[start:stop], out[start:stop, : stacked.shape[-1]])

    yield from run_blocks(sample, len(local_nm), block=_BLOCK, message="shapes", workers=workers)


def surface_depth(local_nm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Distance of each ion to the surface of the specimen on the grid of the shapes, shape (N,), nm.

    Raises
    ------
    EmptySelectionError
        If there is no ion.
    ParameterError
        If the grid would not fit in memory.
    """
    grid = _Grid.around(local_nm)
    depth = ndimage.distance_transform_edt(_inside(grid.count(local_nm)), sampling=VOXEL_NM).astype(np.float32)
    place = ((local_nm - grid.low) / VOXEL_NM - 0.5).T
    found: NDArray[np.float32] = ndimage.map_coordinates(depth, place, order=1, output=np.float32)
    return found


@dataclass(frozen=True, eq=False)
class _Grid:
    low: NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, local_nm: NDArray[np.floating]) -> _Grid:
        if len(local_nm) == 0:
            raise EmptySelectionError("no ion is left to look for shapes in")
        low = local_nm.min(axis=0).astype(np.float64) - _MARGIN_NM
        shape = np.ceil((local_nm.max(axis=0) + _MARGIN_NM - low) / VOXEL_NM).astype(np.int64)
        if float(np.prod(shape.astype(float))) > _MAX_VOXELS:
            raise ParameterError(
                f"the ions span {(shape * VOXEL_NM).round(1).tolist()} nm, a grid of {shape.tolist()} voxels, which "
                "does not fit in memory; switch the shape filters off, or describe the specimen in parts"
            )
        return cls(low, (int(shape[0]), int(shape[1]), int(shape[2])))

    def count(self, local_nm: NDArray[np.floating]) -> NDArray[np.float32]:
        cell = ((local_nm - self.low) / VOXEL_NM).astype(np.int64)
        flat = np.ravel_multi_index((cell[:, 0], cell[:, 1], cell[:, 2]), self.shape)
        return np.bincount(flat, minlength=int(np.prod(self.shape))).astype(np.float32).reshape(self.shape)


def _inside(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels of the specimen, voids of up to about 4 nm included."""
    near = _smooth(counts, np.full(3, 0.6) / VOXEL_NM)
    dense = near > 0.5 * np.median(near[counts > 0])
    pad = np.ceil(2.0 / VOXEL_NM).astype(int) + 1
    padded = np.pad(dense, [(p, p) for p in pad])
    grown = ndimage.distance_transform_edt(~padded, sampling=VOXEL_NM) <= 2.0
    closed = ndimage.distance_transform_edt(grown, sampling=VOXEL_NM) > 2.0
    filled = ndimage.binary_fill_holes(closed | padded)
    return np.asarray(filled[tuple(slice(p, -p) for p in pad)], np.bool_)


def _fill_matched(out: NDArray[np.float32], counts: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Evidence and logarithmic ratio of each kernel."""
    for i, one in enumerate(_KERNELS):
        out[2 * i], out[2 * i + 1] = _matched(one, counts, expected)


def _matched(
    kernel: _Kernel, counts: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    found, wanted = _smooth(counts, kernel.sigma), np.maximum(_smooth(expected, kernel.sigma), 0)
    unit = np.float32(kernel.variance)
    return (found - wanted) / np.sqrt(unit * wanted + unit**2), np.log((found + unit) / (wanted + unit))


def _fill_curved(
    out: NDArray[np.float32],
    excess: NDArray[np.float32],
    expected: NDArray[np.float32],
    inside: NDArray[np.bool_],
    workers: int | None,
) -> None:
    """Principal curvatures and their directions, in the specimen; 0 outside of it."""
    out[...] = 0.0
    rows = np.flatnonzero(inside)
    for i, one in enumerate(_CURVED):
        unit = one.variance
        noise = np.sqrt(unit * np.maximum(_smooth(expected, one.sigma), 0).ravel()[rows] + unit**2)
        hessian = np.empty((len(rows), 6), np.float32)
        for column, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
            order = [(a == k) + (b == k) for k in range(3)]
            scale = one.across_nm**2 / (VOXEL_NM[a] * VOXEL_NM[b])
            second = ndimage.gaussian_filter(excess, one.sigma, order=order, mode="constant", truncate=_TRUNCATE)
            hessian[:, column] = second.ravel()[rows] * np.float32(scale) / noise
        found = np.empty((len(rows), len(_CURVATURE_PARTS)), np.float32)

        def solve(start: int, stop: int, hessian: Any = hessian, found: Any = found) -> None:
            _curvatures(hessian[start:stop], found[start:stop])

        for _ in run_blocks(solve, len(rows), block=_BLOCK, message="curvatures", workers=workers):
            pass
        for part in range(len(_CURVATURE_PARTS)):
            out[len(_CURVATURE_PARTS) * i + part].ravel()[rows] = found[:, part]


def _fill_dopants(
    out: NDArray[np.float32],
    grid: _Grid,
    local_nm: NDArray[np.floating],
    dopant: NDArray[np.integer],
    ranged: NDArray[np.bool_],
    n_dopants: int,
    inside: NDArray[np.bool_],
    workers: int | None,
) -> Iterator[Progress]:
    """Of each kernel the dopant with the largest absolute evidence; curvatures of all of them together."""
    of_ranged = grid.count(local_nm[ranged])
    split = 2 * len(_KERNELS)
    out[:split] = 0.0
    total, total_expected = np.zeros_like(of_ranged), np.zeros_like(of_ranged)
    for which in range(n_dopants):
        counts = grid.count(local_nm[dopant == which])
        expected = _background(counts, of_ranged, inside)
        total += counts
        total_expected += expected
        for i, one in enumerate(_KERNELS):
            evidence, ratio = _matched(one, counts, expected)
            stronger = np.abs(evidence) > np.abs(out[2 * i])
            out[2 * i][stronger], out[2 * i + 1][stronger] = evidence[stronger], ratio[stronger]
        yield Progress(2 + which, 2 + n_dopants, "dopants of shapes")
    _fill_curved(out[split:], total - total_expected, total_expected, inside, workers)


def _background(
    counts: NDArray[np.float32], of_ranged: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Expected dopant ions per voxel: their share around, what stands out left out, times the ranged ions."""
    ranged = of_ranged * inside
    share = _share(counts * inside, ranged)
    ball = _Kernel("", "", 1.4, 1.4)
    for _pass in range(2):
        evidence, _ = _matched(ball, counts, share * of_ranged)
        usual = inside & (evidence < _OUTLIER)
        share = _share(counts * usual, of_ranged * usual)
    return share * of_ranged


def _share(counts: NDArray[np.float32], of_ranged: NDArray[np.float32]) -> NDArray[np.float32]:
    overall = np.float32(counts.sum() / max(float(of_ranged.sum()), 1.0))
    kernel = _wide(_SHARE_NM)
    prior = np.float32(_PRIOR_IONS / float(np.prod(math.sqrt(2 * math.pi) * kernel)))
    return (_smooth(counts, kernel) + prior * overall) / (_smooth(of_ranged, kernel) + prior)


def _wide(nm: float) -> NDArray[np.float64]:
    return np.asarray(np.full(3, nm) / VOXEL_NM, np.float64)


def _smooth(values: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = ndimage.gaussian_filter(
        values, sigma, mode="constant", truncate=_TRUNCATE, output=np.float32
    )
    return found


def _ratio(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 1e-3)


@njit(cache=True, nogil=True)
def _curvatures(hessian: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Eigenvalues, ascending, of symmetric matrices (xx, yy, zz, xy, xz, yz), and |z| of the first and last directions.

    The trigonometric solution of Smith 1961 (doi 10.1145/355578.366316).
    """
    for row in range(len(hessian)):
        a, b, c = float(hessian[row, 0]), float(hessian[row, 1]), float(hessian[row, 2])
        d, e, f = float(hessian[row, 3]), float(hessian[row, 4]), float(hessian[row, 5])
        mean = (a + b + c) / 3
        p = math.sqrt(((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2 + 2 * (d * d + e * e + f * f)) / 6)
        if p < 1e-12:
            out[row, 0] = out[row, 1] = out[row, 2] = mean
            out[row, 3] = out[row, 4] = 0.0
            continue
        u, v, w = (a - mean) / p, (b - mean) / p, (c - mean) / p
        x, y, z = d / p, e / p, f / p
        half = (u * (v * w - z * z) - x * (x * w - z * y) + y * (x * z - v * y)) / 2
        angle = math.acos(min(max(half, -1.0), 1.0)) / 3
        largest = mean + 2 * p * math.cos(angle)
        smallest = mean + 2 * p * math.cos(angle + 2 * math.pi / 3)
        out[row, 0], out[row, 1], out[row, 2] = smallest, 3 * mean - largest - smallest, largest
        out[row, 3] = _along(a, b, c, d, e, f, smallest)
        out[row, 4] = _along(a, b, c, d, e, f, largest)


@njit(cache=True, nogil=True)
def _along(a: float, b: float, c: float, d: float, e: float, f: float, value: float) -> float:
    """|z| of the unit eigenvector: the largest of the cross products of the rows of A - value."""
    a, b, c = a - value, b - value, c - value
    best, found = 0.0, 0.0
    for k in range(3):
        if k == 0:
            x, y, z = d * f - e * b, e * d - a * f, a * b - d * d
        elif k == 1:
            x, y, z = d * c - e * f, e * e - a * c, a * f - d * e
        else:
            x, y, z = b * c - f * f, f * e - d * c, d * f - b * e
        norm = x * x + y * y + z * z
        if norm > best:
            best, found = norm, abs(z) / math.sqrt(norm)
    return found


@njit(cache=True, nogil=True)
def _interpolate(fields: NDArray[np.float32], place: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Trilinear interpolation of all channels; beyond the centers of the outermost voxels the nearest value."""
    nx, ny, nz, n = fields.shape
    for row in range(len(place)):
        x = min(max(place[row, 0], 0.0), nx - 1.0)
        y = min(max(place[row, 1], 0.0), ny - 1.0)
        z = min(max(place[row, 2], 0.0), nz - 1.0)
        i, j, k = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
        u, v, w = x - i, y - j, z - k
        for channel in range(n):
            out[row, channel] = 0.0
        for corner in range(8):
            a, b, c = corner >> 2, (corner >> 1) & 1, corner & 1
            weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
            for channel in range(n):
                out[row, channel] += np.float32(weight) * fields[i + a, j + b, k + c, channel]
