"""`aptdefect gui`: napari with the plugin's widget and what the command line named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_aptdefect._napari.settings import PLUGIN

if TYPE_CHECKING:
    from napari import Viewer

WIDGET = "Full analysis"


def launch(paths: Sequence[Path]) -> None:
    """Open napari with "Full analysis" docked, load run folders and files, and stay until the window is closed.

    Parameters
    ----------
    paths
        Run folders, clouds, range files and images; range files are applied after the clouds are there.

    Raises
    ------
    MissingFileError
        If a path does not exist, before a window opens.
    AptDefectError
        If a file can't be read.
    """
    import napari

    check_paths(paths)
    viewer = napari.Viewer(title="napari-aptdefect")
    try:
        open_in(viewer, paths)
    except BaseException:
        viewer.close()
        raise
    napari.run()


def check_paths(paths: Sequence[Path]) -> None:
    """Refuse paths that do not exist."""
    from napari_aptdefect.errors import MissingFileError

    for path in paths:
        if not path.exists():
            raise MissingFileError(f"there is no file or run folder {path}")


def open_in(viewer: Viewer, paths: Sequence[Path]) -> None:
    """Dock the widget in a viewer and load what `paths` name."""
    from napari_aptdefect._napari.reader import read_one
    from napari_aptdefect._napari.viewing import add_layers, look_in_3d

    viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    flat = True
    for path in sorted(paths, key=lambda item: item.suffix.lower() in (".rrng", ".rng", ".env")):
        tuples = read_one(path, viewer)
        add_layers(viewer, tuples)
        flat = flat and all(len(item[1].get("axis_labels", ())) == 2 for item in tuples)
    if not flat:
        look_in_3d(viewer)
