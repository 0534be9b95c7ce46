import io
import sys

import matplotlib as mpl
import pytest
from PIL import Image

from napari_aptdefect.plot import canvas


def test_png_holds_no_version_or_date():
    png = canvas.png_bytes(canvas.new_figure(1, 1))
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert set(picture.info) <= {"dpi"}


def test_style_does_not_leak_and_user_settings_do_not_enter():
    with mpl.rc_context({"font.size": 33, "text.usetex": True}):
        with canvas.house_style():
            assert mpl.rcParams["font.size"] == 9
            assert mpl.rcParams["text.usetex"] is False
        assert mpl.rcParams["font.size"] == 33


@pytest.mark.parametrize("name", ["$x$", r"\frac{$", "$", "鉻\n\x00", "", "a" * 500])
def test_any_name_can_be_drawn(name):
    with canvas.house_style():
        figure = canvas.new_figure(3, 1)
        canvas.figure_legend(figure, [name, "and 3 more"], [(0, 0, 0), None])
        assert len(canvas.png_bytes(figure)) > 100


def test_pyplot_is_not_used():
    import subprocess

    code = "import sys, napari_aptdefect.pipeline.report_figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("letters", [1, 8, 40])
def test_legend_stays_in_the_figure(letters):
    names = ["W" * letters] * 14
    with canvas.house_style():
        columns, height_in = canvas.legend_grid(names, 9.6)
        figure = canvas.new_figure(9.6, 4)
        canvas.figure_legend(figure, names, [(0, 0, 0)] * 14)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert box.x0 >= 0
    assert box.x1 <= 9.6
    assert box.y1 <= height_in + 0.05
    assert columns <= 14
