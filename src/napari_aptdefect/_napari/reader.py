"""The reader command: files and run folders, by drag and drop or File > Open, made into layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_aptdefect._napari.peek import is_ours, is_run_folder

# napari's word for "opened, and there is no layer to show"
_NO_LAYERS: list[tuple[None]] = [(None,)]

ReaderFunction = Callable[[Any], list[Any]]


def get_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """Return the function that reads a path, or None when the path is not ours; never raises.

    Parameters
    ----------
    path
        File or folder, or several of them when the user asks for a stack.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(is_ours(Path(item)) for item in paths) else None


def read(path: str | Sequence[str]) -> list[Any]:
    """Read files and run folders into layer tuples; a range file changes the cloud that is there instead.

    Raises
    ------
    AptDefectError
        If a file is damaged; the message says where and what to do.
    """
    from napari_aptdefect._napari.viewing import current_viewer, when_added

    paths = [path] if isinstance(path, str) else list(path)
    viewer = current_viewer()
    tuples: list[Any] = []
    for item in paths:
        tuples += read_one(Path(item), viewer)
    if not tuples:
        return list(_NO_LAYERS)
    if viewer is not None:
        when_added(viewer, len(tuples), look=False)
    return tuples


def read_one(path: Path, viewer: Any = None) -> list[Any]:
    """Layer tuples of one path; empty after a range file, which is applied to a cloud in `viewer`.

    Parameters
    ----------
    path
        File or run folder.
    viewer
        The viewer whose clouds a range file may be applied to, or None.
    """
    from napari_aptdefect._napari import layers, settings
    from napari_aptdefect.data import HaadfImage, RangeTable

    if is_run_folder(path):
        from napari_aptdefect._napari.runs import run_layers
        from napari_aptdefect.pipeline.run_folder import RunFolder

        return run_layers(RunFolder(path), budget=settings.drawn_ions())
    from napari_aptdefect.io import read as read_file

    found = read_file(path)
    if isinstance(found, RangeTable):
        range_viewer(found, viewer)
        return []
    if isinstance(found, HaadfImage):
        return [layers.image_layer(found, path.stem)]
    return layers.cloud_layers(found, name=path.name, budget=settings.drawn_ions())


def range_viewer(ranges: Any, viewer: Any) -> None:
    """Apply a range table to the cloud that the user means, or say what is missing."""
    from napari.utils.notifications import show_info, show_warning

    from napari_aptdefect._napari.viewing import apply_ranges, find_cloud
    from napari_aptdefect.errors import ParameterError

    name = ranges.source.name if ranges.source else "the range file"
    try:
        layer = find_cloud(*((viewer.layers, viewer.layers.selection) if viewer is not None else ((), ())))
        apply_ranges(layer, ranges)
    except ParameterError as error:
        show_warning(f"{name} holds {len(ranges.ranges)} ranges of {len(ranges.ions)} ions, but {error}")
        return
    show_info(f"{name}: {len(ranges.ranges)} ranges of {len(ranges.ions)} ions applied to {layer.name}")
