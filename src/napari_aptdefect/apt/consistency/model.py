"""Parameters and results of the consistency checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import Issue, ShapeError
from napari_aptdefect.stage import Params, param

Policy = Literal["keep", "down-weight", "remove"]
"""What happens to flagged ions: nothing (weight 1), a weight between 0 and 1, or weight 0."""


class Flag(IntFlag):
    """What is odd about an ion; one bit each, 0 for nothing."""

    DUPLICATE = 1
    """Another ion has the very same position."""
    TOO_CLOSE = 2
    """Another ion is closer than two atoms can be, and more such pairs exist than blur makes by chance."""
    CUT_BY_HULL = 4
    """The Voronoi cell ends at the surface of the specimen instead of at other ions."""
    TOO_DENSE = 8
    """In a column along the depth that is denser than its surroundings (rim of a pole, zone line)."""
    DEPLETED = 16
    """In a column along the depth that is less dense than its surroundings (pole, zone line)."""


class ConsistencyParams(Params):
    """Parameters of the consistency checks.

    Every policy keeps by default: a flag is a finding, and to take ions away changes density and composition in places
    that the flags chose. What a later stage shall ignore is for the user to say.
    """

    duplicates: Policy = param(
        "keep",
        title="Duplicates",
        description="Ions at one position: keep all, give each of n the weight 1/n, or keep the first one only.",
    )
    too_close: Policy = param(
        "keep",
        title="Impossible spacings",
        description="Ions in too close pairs: keep, weigh down by the share of such pairs that chance does not "
        "explain, or remove.",
    )
    cut_by_hull: Policy = param(
        "keep",
        title="Cells cut by the hull",
        description="Ions whose cell the surface cuts: keep, count half, or remove.",
    )
    columns: Policy = param(
        "keep",
        title="Poles and zone lines",
        description="Ions in columns of wrong density: keep, weigh by the ratio of the two densities (the smaller over "
        "the larger), or remove.",
    )
    min_spacing_nm: float = param(
        0.05,
        title="Least spacing",
        description="Atoms are never closer than 0.07 nm (bonds of hydrogen) and positions are blurred by more than "
        "that, so pairs below this are as frequent as chance makes them, or an artifact.",
        unit="nm",
        ge=0.0,
        le=1.0,
    )
    excess_factor: float = param(
        2.0,
        title="Excess of close pairs",
        description="Close pairs are flagged where there are this many times more than chance makes.",
        ge=1.0,
        le=1000.0,
    )
    n_slices: int = param(
        8,
        title="Depth slices",
        description="A column has to deviate in most of so many slices along the depth; a void or a cluster does not.",
        ge=4,
        le=64,
    )
    pole_percent: float = param(
        7.0,
        title="Narrowest column",
        description="Standard deviation of the narrowest column that is looked for, in percent of the image's radius; "
        "1.5 and 2.25 times that are looked for as well.",
        unit="%",
        ge=2.0,
        le=20.0,
    )
    margin_percent: float = param(
        15.0,
        title="Margin",
        description="Distance from the edge of the image, in percent of its radius, within which no column is judged.",
        unit="%",
        ge=0.0,
        le=60.0,
    )
    min_contrast_percent: float = param(
        2.0,
        title="Least contrast",
        description="A column that deviates less than this from its surroundings is not reported however sure it is.",
        unit="%",
        ge=0.0,
        le=100.0,
    )
    false_alarms: float = param(
        0.01,
        title="False alarms",
        description="Probability that chance alone makes a column somewhere in the specimen.",
        ge=1e-6,
        le=0.5,
    )
    n_simulated: int = param(
        40,
        title="Simulated clouds",
        description="Poisson clouds that calibrate how strong a column chance makes.",
        ge=20,
        le=1000,
    )


@dataclass(frozen=True, eq=False)
class DensityColumn:
    """A column along the depth whose density deviates from its surroundings.

    Parameters
    ----------
    kind
        ``"pole"`` for a round column, ``"zone line"`` for a long one; a zone line longer than its window makes several.
    center
        Shape (2,): place across the axis in the unit of the image; in the mean depth where the image moves with the
        specimen.
    direction_deg
        Direction of a zone line in the image, from x to y, 0 to 180 degrees; NaN for a pole.
    width, length
        Standard deviations across and along, in the unit of the image; equal for a pole.
    unit
        Unit of the image: ``"mm"`` on the detector, ``"nm"`` in the reconstruction.
    contrast
        Peak density over that of the surroundings, less 1: negative for a depletion.
    contrast_error
        Its standard error from counting and from the scatter between slices, whichever is larger.
    by_slice
        Shape (n_slices,): contrast in each slice from top to bottom; NaN where the slice does not reach.
    significance
        Combined deviation of the slices other than the strongest third, in standard deviations of chance at one place.
    false_alarm
        Probability that chance makes as significant a column anywhere in the specimen.
    n_ions
        Ions that carry the flag for this column.
    path_nm
        Shape (n_slices, 3): mean position of these ions in each slice, nm; NaN in a slice without any.
    """

    kind: Literal["pole", "zone line"]
    center: NDArray[np.float64]
    direction_deg: float
    width: float
    length: float
    unit: str
    contrast: float
    contrast_error: float
    by_slice: NDArray[np.float64]
    significance: float
    false_alarm: float
    n_ions: int
    path_nm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColumnMap:
    """The image in which columns were looked for, all slices together.

    Parameters
    ----------
    name
        ``"detector"``, ``"straight"`` (positions as they are) or ``"with the specimen"`` (positions less the center of
        their depth, over its radius).
    origin, pixel, unit
        Lower corner of the first pixel, edge of a pixel, and their unit.
    contrast
        Shape (nx, ny), float32: density over the background less 1, smoothed by the narrowest column; NaN where nothing
        is judged.
    threshold
        Significance from which a column is reported.
    """

    name: str
    origin: NDArray[np.float64]
    pixel: float
    unit: str
    contrast: NDArray[np.float32]
    threshold: float


@dataclass(frozen=True, eq=False)
class Consistent:
    """What the checks found; arrays have one entry per ion.

    Parameters
    ----------
    flags
        Shape (N,), uint8: bits of `Flag`.
    weight
        Shape (N,), float32: 1 for an ion that counts in full, 0 for one that is removed; the smallest of what its flags
        give. Ions at non-finite positions have no flag and the weight 0.
    counts
        Number of ions per flag, by its name.
    n_pairs, n_pairs_expected
        Pairs closer than the least spacing (not at one place), and how many chance makes at these densities.
    columns
        Columns of wrong density, the most significant first.
    maps
        The images they were looked for in; empty where columns were not judged.
    issues
        The report: one sentence per finding.
    """

    flags: NDArray[np.uint8]
    weight: NDArray[np.float32]
    counts: Mapping[str, int]
    n_pairs: int
    n_pairs_expected: float
    columns: tuple[DensityColumn, ...]
    maps: tuple[ColumnMap, ...]
    issues: tuple[Issue, ...]

    def __post_init__(self) -> None:
        if self.flags.shape != self.weight.shape or self.flags.ndim != 1:
            raise ShapeError(f"flags and weights must be of one length, got {self.flags.shape}, {self.weight.shape}")
        object.__setattr__(self, "flags", read_only(self.flags))
        object.__setattr__(self, "weight", read_only(self.weight))

    def has(self, flag: Flag) -> NDArray[np.bool_]:
        """Ions with (any of) the given flags, shape (N,)."""
        return (self.flags & np.uint8(flag)) > 0
