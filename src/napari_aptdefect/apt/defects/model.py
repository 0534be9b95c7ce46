"""What the search for defects takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.stage import Params, param


class DefectsParams(Params):
    """Parameters of the search for defects."""

    false_discovery_rate: float = param(
        0.05,
        title="False discovery rate",
        description="Largest expected share of chance among the connected groups that defects are taken from.",
        ge=0.0001,
        le=0.5,
    )
    min_ions: int = param(
        10,
        title="Smallest defect",
        description="A defect has at least this many ions that stand out.",
        unit="ions",
        ge=2,
        le=1_000_000,
    )
    min_lattice_ions: int = param(
        3,
        title="Smallest in a lattice",
        description="The same where the lattice is resolved and a trained model sees single vacancies.",
        unit="ions",
        ge=1,
        le=1_000_000,
    )
    core_level: float = param(
        0.5,
        title="Core",
        description="A defect consists of the ions with at least this share of the strongest evidence of their group; "
        "neighbors that touch only by their blurred rims become separate defects.",
        ge=0.0,
        le=0.95,
    )
    elongation: float = param(
        3.0,
        title="Elongation",
        description="Ratio of principal axes above which a defect is called a line, or flatness above which a plane.",
        ge=1.2,
        le=20.0,
    )
    largest_nm: float = param(
        5.0,
        title="Largest void or cluster",
        description="A group with a larger standard deviation along its longest axis is no void and no cluster, but a "
        "region of another density or another phase.",
        unit="nm",
        ge=0.2,
        le=100.0,
    )
    void_depth: float = param(
        0.85,
        title="Void depth",
        description="The ions at the rim of a void find less than this share of the expected ions around them; they "
        "see half of it at most, and blurring fills small ones.",
        ge=0.01,
        le=0.99,
    )
    surface_nm: float = param(
        0.5,
        title="Touching the surface",
        description="A defect touches the surface when it comes this close to the zone that can't be judged.",
        unit="nm",
        ge=0.0,
        le=50.0,
    )


@dataclass(frozen=True, eq=False)
class Defect:
    """One defect.

    Parameters
    ----------
    defect_class
        Name of its class, one of `DEFECT_CLASSES`.
    rows
        Its ions, indices into the used ions, int64.
    centroid_nm
        Shape (3,), nm.
    axis_lengths_nm
        Shape (3,): standard deviations along the principal axes, longest first, nm.
    axis_directions
        Shape (3, 3): unit vectors of the axes, one per row.
    volume_nm3
        Volume: of its ions' Voronoi cells, or of the missing ions of a void.
    probability
        1 - q, where q is the share of chance findings among all findings at least as strong.
    anomaly
        Mean anomaly of its ions.
    touches_surface
        Whether it reaches the surface of the specimen.
    """

    defect_class: str
    rows: NDArray[np.int64]
    centroid_nm: NDArray[np.float64]
    axis_lengths_nm: NDArray[np.float64]
    axis_directions: NDArray[np.float64]
    volume_nm3: float
    probability: float
    anomaly: float
    touches_surface: bool


@dataclass(frozen=True, eq=False)
class Defects:
    """All defects of a specimen.

    Parameters
    ----------
    defects
        The defects, strongest first; the instance number is the position plus one.
    instance
        Shape (N,), int32: instance of each used ion, 0 matrix.
    class_idx
        Shape (N,), int8: index into `DEFECT_CLASSES`.
    probability
        Shape (N,), float32: probability that the ion belongs to the reported defect it lies in; 0 outside.
    n_rejected
        Number of connected groups of the least size of a defect that chance explains.
    """

    defects: tuple[Defect, ...]
    instance: NDArray[np.int32]
    class_idx: NDArray[np.int8]
    probability: NDArray[np.float32]
    n_rejected: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the search needs to know of the measured ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm.
    anomaly
        Shape (N,).
    nature
        Shape (N,), int16: what kind of evidence is strongest at the ion; -1 when it does not stand out.
    strength
        Shape (N,): value of that evidence; the extent of a defect follows it.
    judged
        Shape (N,), bool: the ion lies deep enough to be judged.
    enrichment
        Shape (N, n_channels): evidence for an excess of each species.
    background_share
        Shape (N, n_channels): share of each species in the background.
    density
        Shape (N,): evidence for an excess or deficit of ions.
    density_ratio
        Shape (N,): ions found per ion expected.
    cell_volume_nm3
        Shape (N,), nm3; NaN where undefined.
    surface_nm
        Shape (N,): distance to the surface, nm.
    background_nm3
        Typical number density, ions/nm3.
    """

    xyz_nm: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    nature: NDArray[np.int16]
    strength: NDArray[np.float32]
    judged: NDArray[np.bool_]
    enrichment: NDArray[np.float32]
    background_share: NDArray[np.float32]
    density: NDArray[np.float32]
    density_ratio: NDArray[np.float32]
    cell_volume_nm3: NDArray[np.float32]
    surface_nm: NDArray[np.float32]
    background_nm3: float


@dataclass(frozen=True, eq=False)
class Named:
    """What a trained model says of the ions, and how much of it makes a defect.

    Parameters
    ----------
    classes
        Class that each nature stands for. Groups are compared with chance groups of their own class.
    certain
        Shape (N,): calibrated probability of the class of each ion.
    least_certain
        A group whose mean probability is above this is kept whatever chance makes: the reference holds large defects,
        smoothed, and their groups there are no chance.
    scrap
        A group with less than this share of the ions of a group beside it is a misnamed scrap of it.
    unnamed_scrap
        The same for groups of the class "unknown".
    """

    classes: Sequence[str]
    certain: NDArray[np.float32]
    least_certain: float = 0.5
    scrap: float = 0.05
    unnamed_scrap: float = 0.05


@dataclass(frozen=True, eq=False)
class Chance:
    """What the search needs to know of the matched reference specimen.

    Parameters
    ----------
    anomaly
        Shape (M,).
    nature
        Shape (M,), int16, and
    judged
        shape (M,), bool, as in `Evidence`.
    graph
        Neighbors of the reference ions.
    share
        Part of the specimen that the reference covers, 0 to 1.
    """

    anomaly: NDArray[np.float32]
    nature: NDArray[np.int16]
    judged: NDArray[np.bool_]
    graph: NeighborGraph
    share: float = 1.0
