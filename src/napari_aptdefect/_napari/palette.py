"""Colors of species, masses and defect classes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES, Ion

# Okabe and Ito's colors that keep apart for color-blind eyes, the black one left out; then Tol's "muted" set.
_SAFE: Final = (
    "#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2",
    "#88CCEE", "#CC6677", "#DDCC77", "#117733", "#AA4499", "#44AA99", "#999933", "#882255", "#6699CC",
)  # fmt: skip
_UNRANGED: Final = (0.55, 0.55, 0.55, 0.35)
_DEFECTS: Final = dict(
    zip(
        DEFECT_CLASSES,
        ("#999999", "#56B4E9", "#F0E442", "#CC79A7", "#D55E00", "#E69F00", "#0072B2", "#009E73", "#8C939C"),
        strict=True,
    )
)
_DARKEST: Final = 0.25
_OPAQUE_FROM: Final = 0.4
_MISSING: Final = (0.45, 0.45, 0.45, 1.0)


def species_colors(ions: tuple[Ion, ...]) -> NDArray[np.float32]:
    """One color for each ion of a range table and one for ions in no range.

    The colors of the range file are taken when it has any: an ion that it leaves white or colorless gets one of a
    palette for color-blind eyes. Colors too dark for napari's canvas are lightened.

    Returns
    -------
    Red, green, blue, alpha from 0 to 1, shape (len(ions) + 1, 4); row ``i`` is ion ``i`` and the last row, which index
    -1 picks, is for ions in no range.
    """
    table = np.empty((len(ions) + 1, 4), np.float32)
    table[-1] = _UNRANGED
    free = 0
    for row, ion in enumerate(ions):
        if ion.color is not None and ion.color not in ((0, 0, 0), (255, 255, 255)):
            rgb = np.asarray(ion.color, float) / 255
        else:
            rgb = _rgb(_SAFE[free % len(_SAFE)])
            free += 1
        table[row] = (*_readable(rgb), 1.0)
    return table


def class_colors() -> NDArray[np.float32]:
    """Color of each class in the order of `DEFECT_CLASSES`, shape (9, 4), 0 to 1."""
    return np.array([(*_rgb(_DEFECTS[name]), 1.0) for name in DEFECT_CLASSES], np.float32)


def mass_colors(mass_da: NDArray[Any]) -> NDArray[np.float32]:
    """Color of each ion by the logarithm of its mass-to-charge ratio, shape (n, 4), for a cloud without ranges."""
    from napari.utils.colormaps import ensure_colormap

    table = ensure_colormap("viridis").map(np.linspace(0.1, 1.0, 256)).astype(np.float32)
    position = np.log2(np.clip(np.nan_to_num(mass_da, nan=1.0), 1.0, 256.0)) / 8.0  # 1 Da to 256 Da
    return table[(position * 255).astype(np.uint8)]


def value_colors(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """Color of each ion by a value between two limits, shape (n, 4), violet to yellow; gray where it is missing."""
    from napari.utils.colormaps import ensure_colormap

    known = np.isfinite(values)
    span = high - low if high > low else 1.0
    position = np.clip((np.where(known, values, low if np.isfinite(low) else 0.0) - low) / span, 0.0, 1.0)
    out = ensure_colormap("viridis").map(np.nan_to_num(position)).astype(np.float32)
    out[~known] = _MISSING
    return out


def volume_colormap(name: str) -> Any:
    """One of napari's colormaps that begins transparent, so that empty space hides nothing behind it.

    Parameters
    ----------
    name
        Name of the colormap in napari.
    """
    from napari.utils.colormaps import Colormap, ensure_colormap

    position = np.linspace(0, 1, 64)
    colors = ensure_colormap(name).map(position)
    colors[:, 3] = np.clip(position / _OPAQUE_FROM, 0, 1)
    return Colormap(colors, name=f"{name}, clear below", display_name=f"{name}, clear below")


def ramp_colormap(color: Any) -> Any:
    """A colormap that rises from clear to one color and on toward white, for a composition.

    Parameters
    ----------
    color
        Red, green, blue from 0 to 1.
    """
    from napari.utils.colormaps import Colormap

    rgb = np.asarray(color, float)[:3]
    position = np.linspace(0, 1, 64)[:, None]
    shade = rgb * (0.55 + 0.45 * np.minimum(position / 0.6, 1))
    shade += (1 - shade) * 0.6 * np.clip((position - 0.6) / 0.4, 0, 1)
    colors = np.concatenate([shade, np.clip(position / _OPAQUE_FROM, 0, 1)], axis=1)
    code = "#" + "".join(f"{round(255 * c):02x}" for c in rgb)
    return Colormap(colors, name=f"{code}, clear below", display_name=f"{code}, clear below")


def _rgb(code: str) -> NDArray[np.float64]:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _readable(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    luminance = float(rgb @ (0.2126, 0.7152, 0.0722))
    if luminance >= _DARKEST:
        return rgb
    return rgb + (1 - rgb) * (_DARKEST - luminance) / (1 - luminance)
