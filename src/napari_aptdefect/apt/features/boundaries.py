"""Features of an ion against boundaries and interfaces: how far, on which side, and how they are turned."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.feature_table import FeatureColumn

_ABOUT = (
    ("distance_nm", "nm", "signed distance to the boundary {}; missing where there is none, or none in reach", "d"),
    (
        "normal_cos",
        "",
        "cosine between its normal at the nearest place, toward positive distances, and the specimen axis; 0 along it",
        "n . a",
    ),
    (
        "direction_cos",
        "",
        "cosine between that normal and the way from there to the ion: 1 above, -1 below, near 0 beside the rim of {}",
        "n . (r - p) / |r - p|, p the nearest place",
    ),
    (
        "density_gradient_cos",
        "",
        "cosine between that normal and the gradient of the density: 1 where it rises straight away from {}",
        "n . grad / |grad|",
    ),
    (
        "composition_gradient_cos",
        "",
        "cosine between that normal and the gradient of the composition",
        "n . grad / |grad|",
    ),
)


def columns(names: Iterable[str]) -> list[FeatureColumn]:
    """Columns that `describe` fills, for boundaries of these names."""
    return [
        FeatureColumn(f"boundary_{name}_{suffix}", "spatial", unit, text.format(name), equation)
        for name in names
        for suffix, unit, text, equation in _ABOUT
    ]


def describe(
    boundary: Boundary, rows: NDArray[np.int32], axis: NDArray[np.float64], gradients: tuple[NDArray[np.float64], ...]
) -> NDArray[np.float64]:
    """Columns of some ions.

    Parameters
    ----------
    boundary
        The boundary as all ions see it.
    rows
        Which of them, shape (B,).
    axis
        The specimen axis, a unit vector of shape (3,).
    gradients
        Unit vectors of the gradients of density and composition at these ions, shape (B, 3) each; NaN where there is
        none.
    """
    normal = boundary.normal[rows].astype(np.float64)
    others = [(normal * one).sum(axis=1) for one in (boundary.direction[rows].astype(np.float64), *gradients)]
    return np.stack([boundary.distance_nm[rows], normal @ axis, *others], axis=1)
