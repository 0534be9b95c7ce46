"""Colors of defect classes, species and instances: told apart with color-vision deficiency, defined once.

The sets are Okabe & Ito's and Tol's; each color is red, green, blue, 0 to 255, so that napari, matplotlib and the page
of the report use the same numbers.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES, Ion

Color = tuple[int, int, int]

CLASS_COLORS: Final[dict[str, Color]] = {
    "matrix": (200, 200, 200),
    "vacancy": (86, 180, 233),
    "interstitial": (230, 159, 0),
    "stacking_fault": (0, 158, 115),
    "dislocation": (213, 94, 0),
    "solute_cluster": (204, 121, 167),
    "void": (0, 114, 178),
    "grain_boundary": (240, 228, 66),
    "unknown": (100, 80, 140),
}
"""Color of each class of `DEFECT_CLASSES`: Okabe and Ito's set, a neutral grey for the matrix, violet for unknown."""

UNRANGED_COLOR: Final[Color] = (215, 215, 215)
"""Color of ions that no range holds, of no cluster and of no defect."""

_PALETTE: Final[tuple[Color, ...]] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (51, 34, 136),
    (136, 34, 85),
    (153, 153, 51),
    (68, 170, 153),
    (204, 102, 119),
    (17, 119, 51),
    (221, 204, 119),
    (136, 204, 238),
    (170, 68, 153),
)

_GOLDEN: Final = 0.61803398875


def palette(n: int) -> list[Color]:
    """Return n colors, the first 16 chosen to be told apart, the rest stepped around the hue circle.

    Examples
    --------
    >>> palette(2)
    [(0, 114, 178), (230, 159, 0)]
    """
    colors = list(_PALETTE[:n])
    for i in range(n - len(colors)):
        value = (0.85, 0.6, 0.4)[i % 3]  # neighbors in hue differ in lightness, which every eye sees
        red, green, blue = colorsys.hsv_to_rgb((i * _GOLDEN) % 1.0, 0.65, value)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def species_colors(ions: Sequence[Ion]) -> list[Color]:
    """Color of each ion: the one of the range file, else the next of `palette` that no other ion has.

    Parameters
    ----------
    ions
        Ions of a range table, in its order.

    Returns
    -------
    One color per ion.
    """
    taken = {ion.color for ion in ions if ion.color is not None}
    free = iter([color for color in palette(2 * len(ions)) if color not in taken])
    return [ion.color if ion.color is not None else next(free) for ion in ions]


def class_colors() -> list[Color]:
    """Color of each class, in the order of `DEFECT_CLASSES`, so that a class code is the index."""
    return [CLASS_COLORS[name] for name in DEFECT_CLASSES]


def hex_color(color: Color) -> str:
    """Color as ``#rrggbb``.

    Examples
    --------
    >>> hex_color((0, 114, 178))
    '#0072b2'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)


def lookup(colors: Sequence[Color], codes: NDArray[np.integer], missing: Color = UNRANGED_COLOR) -> NDArray[np.uint8]:
    """Color per ion from a code per ion; negative codes get the color `missing`.

    Parameters
    ----------
    colors
        Color of each code.
    codes
        Shape (N,), -1 for none.
    missing
        Color of ions without a code.

    Returns
    -------
    Shape (N, 3), uint8.
    """
    table = np.array([*colors, missing], np.uint8)
    index = np.where((codes >= 0) & (codes < len(colors)), codes, len(colors))
    return table[index]
