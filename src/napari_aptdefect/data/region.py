"""Regions that a person drew: prisms over polygons, ellipses and rectangles, and grids of voxels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.errors import EmptySelectionError, ParameterError

AxisName = Literal["x", "y", "z"]

_ELLIPSE_CORNERS: Final = 96  # their polygon holds 0.07 % less than the ellipse
_FLAT: Final = 1e-4  # of the extent of a drawing, nm per nm
_MAX_REGIONS: Final = 32
_AROUND: Final = 4  # voxels kept around a label

CLOSED: Final = ("polygon", "rectangle", "ellipse")
"""Kinds of shapes that enclose a region."""


@dataclass(frozen=True, eq=False)
class PolygonPrism:
    """A region drawn as a polygon in the plane across one axis, between two places on that axis.

    Parameters
    ----------
    vertices_nm
        Shape (V, 2): corners in order, nm, in the two other coordinates: x and y across z, y and z across x, x and z
        across y. The last is joined to the first.
    span_nm
        Lower and upper end along the axis, nm; infinite for an open end.
    axis
        The axis.
    """

    vertices_nm: NDArray[np.floating]
    span_nm: tuple[float, float] = (-np.inf, np.inf)
    axis: AxisName = "z"

    def __post_init__(self) -> None:
        vertices = np.asarray(self.vertices_nm, np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < 3 or not np.isfinite(vertices).all():
            raise ParameterError(f"a polygon needs 3 or more finite corners (V, 2), got shape {vertices.shape}")
        if not self.span_nm[0] < self.span_nm[1]:
            raise ParameterError(f"a prism needs a lower and an upper end, got {self.span_nm} nm")
        if self.axis not in ("x", "y", "z"):
            raise ParameterError(f"a prism stands on the axis x, y or z, got {self.axis!r}")
        object.__setattr__(self, "vertices_nm", vertices)

    @property
    def along(self) -> int:
        """Number of the axis: 0 for x, 1 for y, 2 for z."""
        return "xyz".index(self.axis)

    @property
    def across(self) -> tuple[int, int]:
        """Numbers of the coordinates of the corners."""
        first, second = (i for i in range(3) if i != self.along)
        return first, second


Region = VoxelGrid | PolygonPrism
"""A grid that is above 0.5 inside, or a prism."""


@dataclass(frozen=True, eq=False)
class DrawnShape:
    """A shape as napari knows it.

    Parameters
    ----------
    kind
        ``"polygon"``, ``"rectangle"`` or ``"ellipse"``, which enclose something, or ``"line"`` or ``"path"``.
    corners_nm
        Shape (V, 3): corners x, y, z in order, nm; of an ellipse those of its box.
    """

    kind: str
    corners_nm: NDArray[np.floating]


def drawn_regions(
    name: str, shapes: Sequence[DrawnShape], thickness_nm: float | None = None
) -> dict[str, PolygonPrism]:
    """Each closed shape as a region: `name` for a single one, else name_1, name_2 ...; lines are left out.

    Parameters
    ----------
    name
        Name of what the shapes were drawn in.
    shapes
        The shapes.
    thickness_nm
        Extent across the plane they were drawn in, as for `prism_over`.

    Raises
    ------
    EmptySelectionError
        If none of them is closed.
    ParameterError
        If there are too many, or one doesn't lie in a plane across an axis.
    """
    closed = [(n, one) for n, one in enumerate(shapes, 1) if one.kind in CLOSED]
    if not closed:
        raise EmptySelectionError(f"{name} holds no {', '.join(CLOSED[:-1])} or {CLOSED[-1]}; draw one around a region")
    _check_number(name, len(closed))
    out = {}
    for n, one in closed:
        corners = ellipse_corners(one.corners_nm) if one.kind == "ellipse" else one.corners_nm
        label = column_name(name) if len(closed) == 1 else f"{column_name(name)}_{n}"
        out[label] = prism_over(corners, thickness_nm, f"{name}, shape {n}")
    return out


def label_regions(name: str, labels: VoxelGrid) -> dict[str, VoxelGrid]:
    """Each label above 0 as a region: `name` for a single one, else name_1, name_2 ... by the label.

    Parameters
    ----------
    name
        Name of what was labeled.
    labels
        Whole numbers on voxels.

    Raises
    ------
    EmptySelectionError
        If nothing is labeled.
    ParameterError
        If there are too many labels.
    """
    found = [int(value) for value in np.unique(labels.values) if value > 0]
    if not found:
        raise EmptySelectionError(f"{name} labels no voxel; paint a region first")
    _check_number(name, len(found))
    out = {}
    for value in found:
        label = column_name(name) if len(found) == 1 else f"{column_name(name)}_{value}"
        out[label] = _cropped(labels, value)
    return out


def column_name(name: str) -> str:
    """A name as a part of a column's name: letters, digits and underscores.

    Examples
    --------
    >>> column_name("grain A (2)"), column_name("Shapes [1]"), column_name("2nd")
    ('grain_A_2', 'Shapes_1', '_2nd')
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "region"
    return word if word.isidentifier() else f"_{word}"


def prism_over(corners_nm: ArrayLike, thickness_nm: float | None = None, name: str = "region") -> PolygonPrism:
    """Prism over a polygon that lies in a plane across x, y or z, as the drawings in a slice view do.

    Parameters
    ----------
    corners_nm
        Shape (V, 3): corners in order, x, y, z in nm.
    thickness_nm
        Extent along the axis, one half on either side of the plane; without end when None.
    name
        What an error calls the region.

    Raises
    ------
    ParameterError
        If the corners don't lie in such a plane, or enclose no area.
    """
    corners = np.asarray(corners_nm, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ParameterError(f"{name}: a polygon needs 3 or more corners x, y, z, got shape {corners.shape}")
    extent = np.ptp(corners, axis=0)
    flat = np.flatnonzero(extent <= _FLAT * max(float(extent.max()), _FLAT))
    if len(flat) == 0:
        raise ParameterError(
            f"{name}: its corners don't lie in one plane across x, y or z; draw it in 2D, on a slice of the ions"
        )
    along = int(flat[0])
    if len(flat) > 1 or _area(np.delete(corners, along, axis=1)) <= (_FLAT * float(extent.max())) ** 2:
        raise ParameterError(f"{name}: its corners enclose no area; draw it anew")
    place = float(corners[:, along].mean())
    half = np.inf if thickness_nm is None else thickness_nm / 2
    axis: AxisName = ("x", "y", "z")[along]
    return PolygonPrism(np.delete(corners, along, axis=1), (place - half, place + half), axis)


def ellipse_corners(box_nm: ArrayLike) -> NDArray[np.float64]:
    """Polygon of the ellipse that fills a box.

    Parameters
    ----------
    box_nm
        Shape (4, 3): corners of the box in order, which may be turned.

    Returns
    -------
    Shape (96, 3), nm.
    """
    box = np.asarray(box_nm, np.float64)
    if box.shape != (4, 3):
        raise ParameterError(f"an ellipse is given by the 4 corners of its box, got shape {box.shape}")
    t = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    first, second = (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    return np.asarray(box.mean(axis=0) + np.cos(t) * first + np.sin(t) * second, np.float64)


def _area(corners: NDArray[np.float64]) -> float:
    x, y = (corners - corners.mean(axis=0)).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _cropped(labels: VoxelGrid, value: int) -> VoxelGrid:
    """One label as 0 and 1, on the voxels around it."""
    inside = labels.values == value
    part = []
    for axis, n in enumerate(inside.shape):
        held = np.flatnonzero(inside.any(axis=tuple(i for i in range(3) if i != axis)))
        part.append(slice(max(int(held[0]) - _AROUND, 0), min(int(held[-1]) + 1 + _AROUND, n)))
    voxel = np.asarray(labels.voxel_nm, np.float64)
    origin = np.asarray(labels.origin_nm, np.float64) + [p.start for p in part] * voxel
    return VoxelGrid(inside[tuple(part)].astype(np.float32), origin, voxel, labels.name)


def _check_number(name: str, n: int) -> None:
    if n > _MAX_REGIONS:
        raise ParameterError(f"{name} holds {n} regions; {_MAX_REGIONS} at most have columns of their own")
