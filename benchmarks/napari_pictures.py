"""Take the pictures of docs/napari.md: volume, isosurface, proxigram and features of the synthetic sample.

Run it with a display, or with one that draws in software::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/napari_pictures.py [--out docs/images/napari]

It opens the sample that File > Open Sample makes, in a window of 1280 x 800 pixels, presses the buttons of the widgets,
prints their status lines, and takes the picture of the whole window.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

WINDOW = (1280, 800)


def wait(done: Any, at_least_s: float = 0.3, at_most_s: float = 1800.0) -> None:
    """Let the window live until `done()`, and for a moment after."""
    from qtpy.QtWidgets import QApplication

    app = QApplication.instance()
    began = time.monotonic()
    while not done() or time.monotonic() - began < at_least_s:
        if time.monotonic() - began > at_most_s:
            raise TimeoutError(f"nothing came within {at_most_s:.0f} s")
        app.processEvents()
        time.sleep(0.01)


def run(widget: Any) -> None:
    """Press Run and wait for the result."""
    widget.job.run_button.click()
    wait(lambda: not widget.job.running)
    wait(lambda: True)
    print(widget.job.status.text(), flush=True)


def picture(viewer: Any, path: Path) -> None:
    """Save the whole window in 256 colors."""
    from PIL import Image

    pixels = viewer.screenshot(canvas_only=False, flash=False)
    Image.fromarray(pixels).convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/napari"))
    parser.add_argument("--sample", type=Path, help="folder with the sample's files, made there when missing")
    parser.add_argument("--only", choices=["features"], help="take this picture alone")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)

    import napari

    from napari_aptdefect._napari.layers import cloud_layers
    from napari_aptdefect._napari.samples import make_gan_nanowire
    from napari_aptdefect._napari.settings import PLUGIN
    from napari_aptdefect._napari.viewing import add_layers, look_in_3d
    from napari_aptdefect.io import read

    with tempfile.TemporaryDirectory() as scratch:
        folder = wanted.sample or Path(scratch)
        cloud, ranges = folder / "gan_nanowire.pos", folder / "gan_nanowire.rrng"
        if not (cloud.is_file() and ranges.is_file()):
            make_gan_nanowire(folder)
        viewer = napari.Viewer()
        viewer.window.resize(*WINDOW)
        add_layers(viewer, cloud_layers(read(cloud), read(ranges), name="GaN nanowire", budget=40_000))
        look_in_3d(viewer)
        if wanted.only is None:
            volume_and_proxigram(viewer, wanted.out)
            for layer in list(viewer.layers)[2:]:
                viewer.layers.remove(layer)
        tab, features = viewer.window.add_plugin_dock_widget(PLUGIN, "Features", tabify=wanted.only is None)
        tab.raise_()
        draw(viewer, features)
        run(features)
        look_in_3d(viewer)
        features.color_box.setCurrentIndex(features.color_box.findText("region_drawn_distance_nm"))
        wait(lambda: True, 1.0)
        picture(viewer, wanted.out / "features.png")
        viewer.close()


def volume_and_proxigram(viewer: Any, out: Path) -> None:
    """Take the pictures of a volume with its isosurface, and of the proxigram of that."""
    from napari_aptdefect._napari.settings import PLUGIN

    _, volumes = viewer.window.add_plugin_dock_widget(PLUGIN, "Volumes and isosurfaces")
    wait(lambda: True, 1.0)
    volumes.quantity_box.setCurrentIndex(volumes.quantity_box.findText("Mg, atomic fraction"))
    run(volumes)
    picture(viewer, out / "volume.png")
    tab, profiles = viewer.window.add_plugin_dock_widget(PLUGIN, "Profiles", tabify=True)
    tab.raise_()
    surface = [i for i in range(profiles.way_box.count()) if profiles.way_box.itemData(i).kind == "surface"]
    profiles.way_box.setCurrentIndex(surface[-1])
    run(profiles)
    wait(lambda: True, 1.0)
    picture(viewer, out / "proxigram.png")


def draw(viewer: Any, features: Any) -> None:
    """Draw a polygon around a part of the specimen, as the mouse does, in the cut that the button makes."""
    import numpy as np

    features.draw_button.click()
    low, high = np.array([[span.start, span.stop] for span in viewer.dims.range]).T
    middle, size = (low + high) / 2, (high - low) / 2
    corners = np.array([[-0.45, 0, -0.75], [-0.2, 0, 0.5], [0.3, 0, 0.75], [0.4, 0, -0.3]])  # z, y, x
    viewer.layers["drawn"].add_polygons(middle + corners * size)


if __name__ == "__main__":
    main()
