"""The matched reference: a specimen of the same shape, density and composition that holds no defect.

Whatever the analysis finds in it is chance. Running the identical chain on it gives every threshold and probability of
the analysis its meaning, without any assumption about the distribution of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Params, Progress, Stage, param


class ReferenceParams(Params):
    """Parameters of the matched reference specimen."""

    max_ions: int = param(
        1_000_000,
        title="Largest reference",
        description="A larger specimen gets a reference of a part of it, cut along z, of about this many ions.",
        unit="ions",
        ge=1_000,
        le=100_000_000,
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """A defect-free specimen.

    Parameters
    ----------
    xyz_nm
        Positions, shape (M, 3), float32, nm, in the frame of the measured specimen.
    species_idx
        Species of each ion, shape (M,), int16; -1 is unranged.
    inside
        Voxels inside the reference specimen, shape of the frame.
    share
        Part of the measured specimen's expected ions that lies in the region the reference covers, 0 to 1.
    """

    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    inside: NDArray[np.bool_]
    share: float


def matched_reference(
    xyz_nm: NDArray[np.float32],
    species_idx: NDArray[np.int16],
    frame: Frame,
    inside: NDArray[np.bool_],
    params: ReferenceParams | None = None,
    *,
    background_sigma_nm: float = 5.0,
    seed: int = 0,
) -> Stage[Reference]:
    """Draw a specimen without defects that matches the measured one on the scale of the background.

    Parameters
    ----------
    xyz_nm
        Used positions, shape (N, 3), nm.
    species_idx
        Species of each of them, shape (N,); -1 is unranged.
    frame
        Grid of the fields.
    inside
        Voxels inside the specimen, shape `frame.shape`.
    params
        Parameters; the defaults when None.
    background_sigma_nm
        Width of the Gaussian that gives the background of density and composition, nm: the one of the features.
    seed
        Seed of the random numbers.

    Notes
    -----
    An inhomogeneous Poisson process: per species and voxel, a Poisson number with the edge-corrected smoothed count as
    mean, placed uniformly in the voxel (a parametric bootstrap; Davison & Hinkley 1997, doi 10.1017/CBO9780511802843).
    Real ions keep some order along the depth, so their counts fluctuate no more than Poisson's: the reference errs to
    the safe side.
    """
    params = params or ReferenceParams()
    rng = np.random.default_rng([seed, 0x5EF])
    part, share = _part(frame.count(xyz_nm), inside, params.max_ions)
    mask = frame.smooth(inside.astype(np.float32), background_sigma_nm)
    species = np.unique(species_idx)
    places: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int16]] = []
    for n_done, label in enumerate(species):
        yield Progress(n_done, len(species), "matched reference")
        background = frame.smooth(frame.count(xyz_nm[species_idx == label]), background_sigma_nm)
        mean = np.divide(background, mask, out=np.zeros_like(background), where=part & (mask > 0))
        numbers = rng.poisson(mean.ravel())
        voxel = np.repeat(np.arange(frame.n_voxels), numbers)
        corner = np.stack(np.unravel_index(voxel, frame.shape), axis=1)
        place = frame.origin_nm + frame.voxel_nm * (corner + rng.random(corner.shape))
        places.append(place.astype(np.float32))
        labels.append(np.full(len(place), label, np.int16))
    return Reference(np.concatenate(places), np.concatenate(labels), part, share)


def _part(counts: NDArray[np.float32], inside: NDArray[np.bool_], max_ions: int) -> tuple[NDArray[np.bool_], float]:
    """Voxels of a central stretch along z with about `max_ions` ions, and its share of all ions."""
    total = float(counts.sum())
    if total <= max_ions:
        return inside, 1.0
    along = np.cumsum(counts.sum(axis=(0, 1), dtype=np.float64)) / total
    width = max_ions / total
    first, last = np.searchsorted(along, [0.5 - width / 2, 0.5 + width / 2])
    part = inside.copy()
    part[:, :, :first] = False
    part[:, :, last + 1 :] = False
    share = float(counts[:, :, first : last + 1].sum() / total)
    return part, share
