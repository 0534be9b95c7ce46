"""The verb ``gui``: runs and files in napari."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_aptdefect.cli import terminal
from napari_aptdefect.errors import MissingExtraError, MissingFileError


def gui(*paths: Annotated[Path, Parameter(name="RUN|FILE")]) -> int:
    """Open napari with runs or files.

    Parameters
    ----------
    paths
        Run folders, ion clouds, range files or images; none opens an empty window with the plugin ready.
    """
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder")
    launch(list(paths))
    return terminal.EXIT.DONE


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def launch(paths: list[Path]) -> None:
    """Open napari with the given runs and files, and return when its window is closed.

    Raises
    ------
    MissingExtraError
        If napari or a Qt binding is not installed.
    """
    # By name, because the command line stands beside the plugin, not above it.
    try:
        plugin = importlib.import_module("napari_aptdefect._napari.launch")
    except ImportError as error:
        raise MissingExtraError(
            f"napari can't be opened ({error}); install it with a Qt binding: pip install 'napari-aptdefect[all]'"
        ) from error
    plugin.launch(paths)
