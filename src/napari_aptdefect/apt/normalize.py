"""Normalization: which ions can be used, where the specimen is, and how dense it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.data import VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, Issue
from napari_aptdefect.fields import Frame, support
from napari_aptdefect.stage import Params, Progress, Stage, param

_FARTHEST_NM = 1e12


class NormalizeParams(Params):
    """Parameters of the normalization."""

    flip_z: bool = param(
        False,
        title="Flip z",
        description="Mirror z, for exporters that count depth with the other sign; shapes and distances stay the same.",
    )
    voxel_nm: float = param(
        0.5,
        title="Voxel",
        description="Edge of the cubic voxels of all grids; at most half the smallest scale that shall be seen.",
        unit="nm",
        ge=0.05,
        le=20.0,
    )
    density_sigma_nm: float = param(
        1.0,
        title="Delocalization",
        description="Width of the Gaussian that smooths the density grid.",
        unit="nm",
        ge=0.1,
        le=20.0,
    )
    isolation_fraction: float = param(
        0.02,
        title="Isolation",
        description="An ion counts as isolated noise when its 6 nm neighborhood holds less than this share of the "
        "typical number of ions.",
        ge=0.0,
        le=0.5,
    )


@dataclass(frozen=True, eq=False)
class Normalized:
    """What the normalization found.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), float32, nm; z mirrored when asked for. Rows with a non-finite value are kept.
    used
        Shape (N,), bool: the position is finite and the ion is not isolated noise.
    isolated
        Shape (N,), bool: isolated noise ions.
    frame
        The grid that all fields share.
    inside
        Shape `frame.shape`, bool: voxels inside the specimen, cavities included.
    density
        Smoothed number density, ions/nm3.
    issues
        What was left out and why.
    """

    xyz_nm: NDArray[np.float32]
    used: NDArray[np.bool_]
    isolated: NDArray[np.bool_]
    frame: Frame
    inside: NDArray[np.bool_]
    density: VoxelGrid
    issues: tuple[Issue, ...]


def normalize(
    xyz_nm: NDArray[np.float32], params: NormalizeParams | None = None, *, keep: NDArray[np.bool_] | None = None
) -> Stage[Normalized]:
    """Separate usable ions from noise, find the specimen's region and its density.

    Parameters
    ----------
    xyz_nm
        Positions in the frame of the file, shape (N, 3), nm.
    params
        Parameters; the defaults when None.
    keep
        Ions that may be used, shape (N,), bool; all by default.

    Raises
    ------
    EmptySelectionError
        If no ion that may be used has a finite position.
    ShapeError
        If `keep` has not one value per ion.
    """
    params = params or NormalizeParams()
    xyz = as_points(xyz_nm)
    wanted = np.ones(len(xyz), np.bool_) if keep is None else as_vector(keep, "keep", length=len(xyz), dtype=np.bool_)
    if params.flip_z:
        xyz = xyz * np.array([1, 1, -1], np.float32)
    finite = finite_rows(xyz)
    issues = []
    if not finite.any():
        raise EmptySelectionError(f"none of the {len(xyz)} ions has a finite position")
    if not (finite & wanted).any():
        raise EmptySelectionError(f"none of the {len(xyz)} ions may be used; keep more of them")
    if not finite.all():
        n_bad = int((~finite).sum())
        issues.append(Issue("non-finite-position", f"{n_bad} of {len(xyz)} ions have no finite position; left out"))
    yield Progress(1, 4, "isolated ions")
    isolated = np.zeros(len(xyz), np.bool_)
    isolated[finite & wanted] = _isolated(xyz[finite & wanted], params.isolation_fraction)
    if isolated.any():
        issues.append(Issue("isolated-ions", f"{int(isolated.sum())} isolated noise ions left out", severity="info"))
    used = finite & wanted & ~isolated
    yield Progress(2, 4, "density grid")
    kept = xyz[used]
    frame = Frame.around(kept, params.voxel_nm, margin_nm=params.voxel_nm)
    counts = frame.count(kept)
    smoothed = frame.smooth(counts, params.density_sigma_nm) / np.float32(params.voxel_nm**3)
    yield Progress(3, 4, "region of the specimen")
    inside = support(frame, counts)
    density = frame.grid(smoothed, "density", "ions/nm3")
    return Normalized(xyz, used, isolated, frame, inside, density, tuple(issues))


def _isolated(xyz: NDArray[np.float32], fraction: float, cell_nm: float = 2.0) -> NDArray[np.bool_]:
    """Ions whose 3 x 3 x 3 cells of 2 nm hold less than `fraction` of the median; sparse, so extent costs nothing."""
    extent = np.ptp(xyz.astype(np.float64), axis=0) / cell_nm + 4
    if np.prod(extent) > 2**62 or np.abs(xyz).max() > _FARTHEST_NM:
        raise EmptySelectionError(
            f"positions extend over {np.ptp(xyz, axis=0).max():.3g} nm, which no specimen does; are they in nm?"
        )
    cell = np.floor(xyz / cell_nm).astype(np.int64)
    cell -= cell.min(axis=0) - 1
    span = cell.max(axis=0) + 2
    stride = np.array([span[1] * span[2], span[2], 1])
    keys, inverse, counts = np.unique(cell @ stride, return_inverse=True, return_counts=True)
    around = np.zeros(len(keys), np.int64)
    for shift in np.ndindex(3, 3, 3):
        wanted = keys + (np.array(shift) - 1) @ stride
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        around += np.where(keys[place] == wanted, counts[place], 0)
    per_ion = around[inverse]
    return np.asarray(per_ion < fraction * np.median(per_ion), np.bool_)
