"""Parameters of the feature sets, and what else may be known about the ions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_aptdefect.apt.features.bonds import MAX_BONDS
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.region import Region
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Params, param

Radius = Annotated[float, Field(gt=0, le=50)]


class FeatureSetParams(Params):
    """Parameters of `describe_ions`."""

    radii_nm: tuple[Radius, ...] = param(
        (0.5, 1.0, 2.0, 4.0),
        title="Radii",
        description="Balls around each ion in which density and composition are taken. Enrichment compares each of "
        "them with the rest of the largest.",
        unit="nm",
        min_length=1,
        max_length=8,
    )
    context_nm: float = param(
        2.0,
        title="Context radius",
        description="Ball for dopants, charge states and multiple hits, which are too rare for a smaller one.",
        unit="nm",
        gt=0,
        le=50,
    )
    exact_nm: float = param(
        1.0,
        title="Exact up to",
        description="Balls up to this radius are counted ion by ion, larger ones on a grid of a fifth of their radius.",
        unit="nm",
        ge=0,
        le=50,
    )
    cutoff_nm: float | None = param(
        None,
        title="Bond cutoff",
        description="Radius within which ions count for the degree. Empty: 1.3 mean spacings of the ions.",
        unit="nm",
        gt=0,
        le=50,
    )
    n_bonds: int = param(
        4,
        title="Bonds",
        description="Nearest ions that count as bonded, for angles, dihedral angles and paths: 4 in wurtzite.",
        unit="ions",
        ge=2,
        le=MAX_BONDS,
    )
    n_shell: int = param(
        12,
        title="Shell",
        description="Nearest ions of the order parameters and of the shell's angles: 12 in close packings, 14 in bcc.",
        unit="ions",
        ge=4,
        le=64,
    )
    max_elements: int = param(
        8,
        title="Elements",
        description="Elements with columns of their own, the most abundant first; all others count as others.",
        ge=1,
        le=40,
    )
    ratio: str = param(
        "",
        title="Ratio",
        description="Two elements whose ratio is taken, such as Ga/N. Empty: the two most abundant ones.",
        pattern=r"^([A-Z][a-z]?/[A-Z][a-z]?)?$",
    )
    dopant_percent: float = param(
        2.0,
        title="Dopants",
        description="Elements below this share of all atoms count as dopants.",
        unit="percent",
        ge=0,
        le=50,
    )
    gradient_nm: float = param(
        1.0,
        title="Gradient width",
        description="Width of the Gaussian over which the gradients of density and composition are taken.",
        unit="nm",
        gt=0,
        le=50,
    )
    shapes: bool = param(
        False,
        title="Shapes",
        description="Also look for balls, layers, lines and sheets: matched filters and curvatures of the density and "
        "of the dopants, about 70 columns more.",
    )
    axis: Literal["z", "principal"] = param(
        "z",
        title="Specimen axis",
        description="z: the axis of the reconstruction; principal: the longest principal axis of the ions, toward "
        "larger z. It passes through the mean of the positions.",
    )


@dataclass(frozen=True, eq=False)
class FeatureContext:
    """What else is known about the ions; what is absent leaves its columns missing, or is left out.

    Parameters
    ----------
    cells
        Voronoi cells of the ions.
    face_orders
        Shape (N, 4): faces of each cell with 3, 4, 5 and 6 edges; those of `cells` when None.
    frame, inside
        The grid of the specimen and its voxels inside it, cavities included, as normalization finds them; found from
        the ions themselves when None.
    charge
        Shape (N,), integers: charge state of each ion, 0 where unknown (`charge_states`).
    multi_hit
        Shape (N,), bool: the ion came with others in one pulse (`multi_hits`).
    voids
        Shape (V, 4): centers and radii of voids, nm, such as those of `apt.voids`; an empty array says that there are
        none, None that nobody looked.
    boundaries
        Boundaries and interfaces as the N ions see them, by name, such as `data.surface.boundary_of` of an isosurface.
    regions
        Regions by name: a grid that is above 0.5 inside, or a prism.
    """

    cells: VoronoiCells | None = None
    face_orders: NDArray[np.integer] | None = None
    frame: Frame | None = None
    inside: NDArray[np.bool_] | None = None
    charge: NDArray[np.integer] | None = None
    multi_hit: NDArray[np.bool_] | None = None
    voids: NDArray[np.floating] | None = None
    boundaries: Mapping[str, Boundary] = field(default_factory=dict)
    regions: Mapping[str, Region] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.frame is None) != (self.inside is None):
            raise ParameterError("give the grid of the specimen and its inside together, or neither")
        if self.frame is not None and self.inside is not None and self.inside.shape != self.frame.shape:
            raise ParameterError(f"inside has the shape {self.inside.shape}, its grid {self.frame.shape}")
        for name in (*self.boundaries, *self.regions):
            if not name.isidentifier():
                raise ParameterError(f"{name!r} can't be part of a column's name; use letters, digits and underscores")
