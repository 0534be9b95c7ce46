"""Voronoi features: the cell of an ion, compared with those around it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.feature_table import FeatureColumn

_MISSING: Final = "missing where the cell is not bounded by neighbors alone"

COLUMNS: Final = tuple(
    FeatureColumn(name, "structural", unit, text, equation)
    for name, unit, text, equation in (
        ("cell_volume_nm3", "nm^3", f"volume of the Voronoi cell; {_MISSING}", "V"),
        (
            "cell_relative_volume",
            "",
            "logarithm of that volume over the median of the cells of the ion and its shell: local free volume",
            "ln(V / median V)",
        ),
        ("cell_faces", "", f"faces of the cell, 15.54 in the mean for random ions; {_MISSING}", "number of faces"),
        (
            "cell_sphericity",
            "",
            f"how round the cell is, 1 for a sphere, 0.806 for a cube; {_MISSING}",
            "pi^(1/3) (6 V)^(2/3) / A (Wadell 1935, doi 10.1086/624298)",
        ),
        (
            "cell_elongation",
            "",
            f"distance of the farthest corner over the radius of the sphere of its volume; {_MISSING}",
            "max |r_corner - r| / (3 V / 4 pi)^(1/3)",
        ),
        (
            "cell_offset",
            "",
            f"distance of the cell's centroid from the ion over the edge of the cube of its volume; {_MISSING}",
            "|c - r| / V^(1/3)",
        ),
        *(
            (
                f"cell_faces_{n}",
                "",
                f"faces with {n} edges, part of the cell's signature (n3 n4 n5 n6); {_MISSING}",
                f"n_{n} (Finney 1970, doi 10.1098/rspa.1970.0189)",
            )
            for n in (3, 4, 5, 6)
        ),
    )
)
"""Columns that `write_cells` fills, in its order."""


def usable_volume(cells: VoronoiCells) -> NDArray[np.float32]:
    """Volumes of the cells, NaN where they are not bounded by neighbors alone, shape (N,), nm3."""
    usable = cells.bounded & (cells.volume_nm3 > 0)
    return np.where(usable, cells.volume_nm3, np.float32(np.nan))


def write_cells(
    cells: VoronoiCells,
    volume: NDArray[np.float32],
    face_orders: NDArray[np.integer] | None,
    ions: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n_shell: int,
    out: NDArray[np.float32],
) -> None:
    """Write the columns of some ions into their rows of ``out``, shape (N, len(COLUMNS))."""
    v = volume[ions].astype(np.float64)
    known = np.isfinite(v)
    relative = np.empty(len(ions))
    _local_medians(volume, ions, indptr, indices, n_shell, relative)
    edge = np.cbrt(v)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [
            v,
            np.log(v / relative),
            np.where(known, cells.n_faces[ions], np.nan),
            np.pi ** (1 / 3) * (6 * v) ** (2 / 3) / cells.area_nm2[ions],
            cells.reach_nm[ions] / (np.cbrt(3 / (4 * np.pi)) * edge),
            cells.offset_nm[ions] / edge,
        ]
    orders = cells.face_orders if face_orders is None else face_orders
    found += [np.where(known, orders[ions, column], np.nan) for column in range(4)]
    out[ions] = np.stack(found, axis=1)


@njit(cache=True, nogil=True)
def _local_medians(
    volume: NDArray[np.float32],
    ions: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    n_shell: int,
    out: NDArray[np.float64],
) -> None:
    buffer = np.empty(n_shell + 1, np.float64)
    for row in range(len(ions)):
        i = ions[row]
        n = 0
        for e in range(indptr[i] - 1, min(indptr[i] + n_shell, indptr[i + 1])):
            v = volume[i] if e < indptr[i] else volume[indices[e]]
            if np.isnan(v):
                continue
            place = n
            while place > 0 and buffer[place - 1] > v:
                buffer[place] = buffer[place - 1]
                place -= 1
            buffer[place] = v
            n += 1
        middle = n // 2
        out[row] = np.nan if n == 0 else buffer[middle] if n % 2 else (buffer[middle - 1] + buffer[middle]) / 2
