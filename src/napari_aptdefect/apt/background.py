"""The slowly varying background of density and composition that everything is compared with, defects smoothed out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.fields import Background, Frame, LinearFit
from napari_aptdefect.stage import Params, Progress, Stage, param


class BackgroundParams(Params):
    """Parameters of the background."""

    sigma_nm: float = param(
        5.0,
        title="Background width",
        description="Width of the Gaussian that gives the slowly varying background of density and composition; "
        "defects are what deviates from it, so it must be wider than they are.",
        unit="nm",
        ge=0.5,
        le=100.0,
    )
    surface_zone_nm: float = param(
        2.0,
        title="Surface zone",
        description="Ions closer to the surface of the specimen than this are not judged: half of their surroundings "
        "is outside, and a rough surface looks like a defect.",
        unit="nm",
        ge=0.0,
        le=50.0,
    )
    max_species: int = param(
        12,
        title="Species",
        description="Largest number of species, the most frequent first, that get compositional features of their own.",
        ge=1,
        le=60,
    )
    min_ions: int = param(
        50,
        title="Rarest species",
        description="A species with fewer ions gets no compositional features.",
        unit="ions",
        ge=1,
        le=1_000_000,
    )


@dataclass(frozen=True, eq=False)
class BackgroundStage:
    """Result of the stage: the background, and which species its shares are of.

    Parameters
    ----------
    background
        Grids of depth, density and shares.
    channels
        Species index of each share, most frequent first.
    """

    background: Background
    channels: tuple[int, ...]


def estimate_background(
    xyz_nm: NDArray[np.float32],
    species_idx: NDArray[np.int16],
    frame: Frame,
    inside: NDArray[np.bool_],
    params: BackgroundParams | None = None,
) -> Stage[BackgroundStage]:
    """Estimate the background of density and composition.

    Parameters
    ----------
    xyz_nm
        Used positions, shape (N, 3), nm.
    species_idx
        Species of each of them, shape (N,); -1 is unranged.
    frame, inside
        Grid of the fields and its voxels inside the specimen.
    params
        Parameters; the defaults when None.

    Raises
    ------
    EmptySelectionError
        If no ion lies deep enough inside the specimen to be judged.
    """
    params = params or BackgroundParams()
    channels = choose_channels(species_idx, params)
    yield Progress(0, len(channels) + 1, "density")
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1].astype(np.float32) * frame.voxel_nm
    core = depth > params.surface_zone_nm
    if not core.any():
        raise EmptySelectionError(
            f"no place lies deeper than {params.surface_zone_nm} nm inside the specimen; it is at most "
            f"{float(depth.max()):.2g} nm deep: choose a thinner surface zone"
        )
    counts = frame.count(xyz_nm)
    inner = core.astype(np.float32)
    density = np.where(core, LinearFit(frame, inner, params.sigma_nm).of(counts * inner), counts)
    ranged = frame.count(xyz_nm[species_idx >= 0])
    fit = LinearFit(frame, ranged, params.sigma_nm)
    shares = []
    for n_done, channel in enumerate(channels):
        yield Progress(1 + n_done, len(channels) + 1, "composition")
        shares.append(fit.of(frame.count(xyz_nm[species_idx == channel])))
    rest = np.clip(fit.of(frame.count(xyz_nm[~np.isin(species_idx, [*channels, -1])])), 0, 1)
    total = np.sum(shares, axis=0) if shares else np.ones_like(rest)
    for share in shares:  # clipping at zero may have raised the sum
        share *= np.divide(1 - rest, total, out=np.zeros_like(total), where=total > 0)
    ranged_share = LinearFit(frame, counts, params.sigma_nm).of(ranged)
    return BackgroundStage(
        Background(depth, core, density.astype(np.float32), np.clip(ranged_share, 0, 1), tuple(shares)), channels
    )


def choose_channels(species_idx: NDArray[np.int16], params: BackgroundParams | None = None) -> tuple[int, ...]:
    """Species that get compositional features: frequent enough, most frequent first, at most `max_species`."""
    params = params or BackgroundParams()
    counts = np.bincount(species_idx[species_idx >= 0].astype(np.int64))
    order = np.argsort(-counts, kind="stable")
    return tuple(int(s) for s in order[: params.max_species] if counts[s] >= params.min_ions)
