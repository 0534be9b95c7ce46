"""Figures without pyplot: a fixed style, and PNG bytes that depend on the input alone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from napari_aptdefect.plot.colors import Color, hex_color

DPI: Final = 120
LEGEND_LETTERS: Final = 16

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with matplotlib's defaults and the style of the house, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure on the Agg canvas, with no link to pyplot or a window."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Render a figure as PNG without date or version in it, so that equal input gives equal bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script the font lacks draws as boxes; the tables of the report show it as it is.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def plain(text: str, limit: int = 18) -> str:
    r"""Text that matplotlib draws letter by letter: no mathematics, no line breaks, shortened in the middle.

    Examples
    --------
    >>> plain("a$b$")
    'a\\$b\\$'
    >>> plain("abcdefghij", limit=7)
    'abc…hij'
    """
    clean = "".join(c if c.isprintable() else " " for c in text).strip() or "(no name)"
    if len(clean) > limit:
        head = (limit - 1) // 2
        clean = f"{clean[:head]}…{clean[len(clean) - (limit - 1 - head) :]}"
    return clean.replace("$", r"\$")


def legend_grid(names: Sequence[str], width_in: float) -> tuple[int, float]:
    """Columns of a legend that fit a width, and the height that its rows take, inches."""
    longest = max((len(plain(name, LEGEND_LETTERS)) for name in names), default=1)
    columns = max(min(int(width_in / (0.45 + 0.115 * longest)), len(names)), 1)
    return columns, 0.12 + 0.19 * -(-len(names) // columns)


def figure_legend(figure: Figure, names: Sequence[str], colors: Sequence[Color | None]) -> None:
    """Write colored dots with names at the foot of a figure; a name without a color stands alone."""
    handles = [
        Line2D([], [], marker="o" if color else "", linestyle="", markersize=7, color=hex_color(color or (0, 0, 0)))
        for color in colors
    ]
    texts = [plain(name, LEGEND_LETTERS) for name in names]
    if handles:
        columns, _ = legend_grid(names, float(figure.get_figwidth()))
        figure.legend(handles, texts, loc="lower center", ncols=columns, handletextpad=0.2)


def text_size_px(axes: Axes, text: str, size_pt: float) -> tuple[float, float]:
    """Width and height of a text in pixels of the figure."""
    figure = axes.get_figure(root=True)
    if figure is None or not isinstance(figure.canvas, FigureCanvasAgg):
        raise TypeError("the axes must belong to a figure made by new_figure")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        artist = axes.text(0, 0, text, fontsize=size_pt)
        box = artist.get_window_extent()
    artist.remove()
    return float(box.width), float(box.height)
