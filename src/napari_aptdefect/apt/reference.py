"""The matched reference: a specimen of the same shape, density and composition that holds no defect.

Whatever the analysis finds in it is chance. Running the identical chain on it gives every threshold and probability of
the analysis its meaning, without any assumption about the distribution of the features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.fields import Background, Frame
from napari_aptdefect.stage import Params, Progress, Stage, param

_MOST_DRAWS = 50
_MARGIN_NM = 2.0  # neighbors are missing beyond a cut, so ions this close to it are not judged


class ReferenceParams(Params):
    """Parameters of the matched reference specimen."""

    min_ions: int = param(
        200_000,
        title="Smallest reference",
        description="A smaller specimen gets several references, until they hold this many ions together, so that "
        "chance is known well enough.",
        unit="ions",
        ge=0,
        le=100_000_000,
    )
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
        Species of each ion, shape (M,), int16: one of the channels, or -1 for everything else.
    background
        The background it was drawn from, cut to the part it covers.
    share
        Part of the judged region of the measured specimen that the reference covers, 0 to 1.
    """

    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    background: Background
    share: float


def matched_reference(
    frame: Frame,
    background: Background,
    channels: tuple[int, ...],
    params: ReferenceParams | None = None,
    *,
    seed: int = 0,
    draw: int = 0,
) -> Stage[Reference]:
    """Draw a specimen without defects from the background of the measured one.

    Parameters
    ----------
    frame, background
        Grid of the fields and the background of the measured specimen.
    channels
        Species of each share of the background.
    params
        Parameters; the defaults when None.
    seed
        Seed of the random numbers.
    draw
        Number of this reference among several.

    Notes
    -----
    An inhomogeneous Poisson process: per species and voxel, a Poisson number with the background as mean, placed
    uniformly in the voxel (a parametric bootstrap; Davison & Hinkley 1997, doi 10.1017/CBO9780511802843). It knows
    nothing of what makes real counts fluctuate more (poles, zone lines, correlated evaporation, local magnification)
    or less (the order of the lattice along the depth).
    """
    params = params or ReferenceParams()
    rng = np.random.default_rng([seed, 0x5EF, draw])
    part, share = _part(background, params.max_ions, int(np.ceil(_MARGIN_NM / frame.voxel_nm)))
    ranged = part.density * part.ranged
    parts = [(channel, ranged * mine) for channel, mine in zip(channels, part.shares, strict=True)]
    rest = part.density - sum((mean for _, mean in parts), np.zeros_like(ranged))
    places: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int16]] = []
    for n_done, (label, mean) in enumerate([*parts, (-1, np.maximum(rest, 0))]):
        yield Progress(n_done, len(parts) + 1, "matched reference")
        voxel = np.repeat(np.arange(frame.n_voxels), rng.poisson(mean.ravel()))
        corner = np.stack(np.unravel_index(voxel, frame.shape), axis=1)
        place = frame.origin_nm + frame.voxel_nm * (corner + rng.random(corner.shape))
        places.append(place.astype(np.float32))
        labels.append(np.full(len(place), label, np.int16))
    xyz = np.concatenate(places)
    # the shell is taken as counted, as that of the measured specimen is
    own = replace(part, density=np.where(part.core, part.density, frame.count(xyz)))
    return Reference(xyz, np.concatenate(labels), own, share)


def n_draws(n_ions: int, params: ReferenceParams | None = None) -> int:
    """Number of references that a specimen of so many ions needs."""
    params = params or ReferenceParams()
    return max(1, min(-(-params.min_ions // max(n_ions, 1)), _MOST_DRAWS))


def _part(background: Background, max_ions: int, margin: int) -> tuple[Background, float]:
    """Background of a central stretch along z with about `max_ions` ions, and its share of what can be judged."""
    per_slice = background.density.sum(axis=(0, 1), dtype=np.float64)
    total = float(per_slice.sum())
    if total <= max_ions:
        return background, 1.0
    along = np.cumsum(per_slice) / total
    width = max_ions / total
    first, last = np.searchsorted(along, [0.5 - width / 2, 0.5 + width / 2])
    density = np.zeros_like(background.density)
    density[:, :, first : last + 1] = background.density[:, :, first : last + 1]
    core = np.zeros_like(background.core)
    core[:, :, first + margin : last + 1 - margin] = background.core[:, :, first + margin : last + 1 - margin]
    return replace(background, density=density, core=core), float(core.sum() / max(background.core.sum(), 1))
