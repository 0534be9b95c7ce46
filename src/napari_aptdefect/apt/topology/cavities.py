"""Cavities of a density field: voids that denser places enclose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.topology.model import load_gudhi
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.fields import Frame


@dataclass(frozen=True, eq=False)
class Cavities:
    """Cavities of a density field: places that denser ones enclose, the most persistent first.

    Parameters
    ----------
    place_nm
        Shape (m, 3): center of the voxel of least density in each, nm.
    closes_at
        Shape (m,): density ratio of the weakest place of the shell around the cavity.
    least
        Shape (m,): density ratio in its emptiest voxel.
    """

    place_nm: NDArray[np.float64]
    closes_at: NDArray[np.float64]
    least: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.least)

    @property
    def persistence(self) -> NDArray[np.float64]:
        """`closes_at` less `least`, shape (m,)."""
        return self.closes_at - self.least


def enclosed_cavities(ratio: NDArray[np.floating], frame: Frame, least_persistence: float = 0.0) -> Cavities:
    """Cavities of a density field by the persistent homology of its cubical complex.

    Parameters
    ----------
    ratio
        Density over its background, shape `frame.shape`, smoothed; outside the specimen 0, so that what is open to the
        outside is no cavity.
    frame
        The grid.
    least_persistence
        Cavities whose shell is denser than their emptiest voxel by no more than this are left out.

    Raises
    ------
    MissingExtraError
        If GUDHI is not installed.
    ShapeError
        If the field does not have the shape of the frame or holds values that are not finite.

    Notes
    -----
    Voxels join from the densest on (the superlevel sets of the ratio, sublevel sets of its negative). A cavity, a class
    of dimension 2, is born when its shell closes, at the ratio of the shell's weakest voxel, and dies when its
    emptiest voxel joins. A closed surface of dense voxels may touch by edges and corners.

    References
    ----------
    H. Wagner, C. Chen, E. Vucini, "Efficient computation of persistent homology for cubical data", in Topological
    Methods in Data Analysis and Visualization II, Springer 2012, doi 10.1007/978-3-642-23175-9_7.
    """
    values = np.asarray(ratio, np.float64)
    if values.shape != frame.shape or not np.isfinite(values).all():
        raise ShapeError(f"ratio must hold finite numbers of shape {frame.shape}, got shape {values.shape}")
    gudhi = load_gudhi()
    padded = np.pad(values, 1)  # the outside, which no cavity reaches
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=-padded)
    complex_.compute_persistence(homology_coeff_field=2)
    pairs = complex_.cofaces_of_persistence_pairs()[0]
    cells = np.asarray(pairs[2] if len(pairs) > 2 else np.zeros((0, 2)), np.int64).reshape(-1, 2)
    flat = padded.ravel(order="F")  # GUDHI counts cells along the first axis first
    closes, least = flat[cells[:, 0]], flat[cells[:, 1]]
    kept = np.flatnonzero(closes - least > least_persistence)
    kept = kept[np.argsort(least[kept] - closes[kept], kind="stable")]
    at = np.column_stack(np.unravel_index(cells[kept, 1], padded.shape, order="F")) - 1
    return Cavities(frame.origin_nm + (at + 0.5) * frame.voxel_nm, closes[kept], least[kept])
