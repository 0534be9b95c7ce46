"""What is done to a viewer: add layers, look at them in 3D, find the cloud behind a layer, give it other ranges."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_aptdefect._napari.frames import AXES_3D
from napari_aptdefect._napari.layers import KEY, LayerTuple, cloud_layers
from napari_aptdefect.errors import AptDefectError, ParameterError

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_aptdefect.data import RangeTable

# seen from the side and a little from above, in (z, y, x)
_SIDE = (0.25, -1.0, -0.35)

# a point moved by hand would lie about where an ion is
_FIXED = frozenset({"ions", "run ions", "run defect ions", "defects", "box"})


def note(layer: Any) -> dict[str, Any]:
    """What our layers carry about themselves; empty for the layers of others."""
    entry = layer.metadata.get(KEY)
    return dict(entry) if isinstance(entry, dict) else {}


def is_cloud(layer: Any) -> bool:
    """Whether a layer shows the ions of a cloud file, so that stages can read that file."""
    entry = note(layer)
    return entry.get("kind") == "ions" and bool(entry.get("source"))


def short_name(layer: Any) -> str:
    """Name of a cloud's layer without the count of its drawn ions."""
    return str(layer.name).split(" ions (")[0]


def source_of(layer: Any) -> Path:
    """File of the cloud behind a layer.

    Raises
    ------
    ParameterError
        If the layer shows no cloud, or its file is gone.
    """
    entry = note(layer)
    if not entry.get("source"):
        raise ParameterError(f"the layer {layer.name!r} shows no ion cloud; choose one that was opened from a file")
    path = Path(entry["source"])
    if not path.is_file():
        raise ParameterError(f"the file {path} behind the layer {layer.name!r} is gone; open it from where it is now")
    return path


def find_cloud(layers: Iterable[Any], selected: Iterable[Any]) -> Any:
    """Layer with the ions of the cloud that the user means: the selected one, or else the only one.

    Raises
    ------
    ParameterError
        If there is no cloud, or several and none of them is selected.
    """
    clouds = [layer for layer in layers if is_cloud(layer)]
    if not clouds:
        raise ParameterError("there is no ion cloud to apply the ranges to; open a cloud first, then the range file")
    meant = {note(layer).get("source") for layer in selected}
    chosen = [layer for layer in clouds if note(layer)["source"] in meant] or clouds
    if len(chosen) > 1:
        names = ", ".join(repr(layer.name) for layer in chosen)
        raise ParameterError(f"there are several ion clouds ({names}); select one, then open the range file again")
    return chosen[0]


def apply_ranges(layer: Any, ranges: RangeTable) -> None:
    """Give the cloud of a layer other ranges: draw it anew, so that rare species are whole, and color it."""
    from napari_aptdefect.io import read

    entry = note(layer)
    cloud = read(source_of(layer))
    data, attributes, _ = cloud_layers(
        cloud, ranges, name=short_name(layer), budget=entry["budget"], seed=entry["seed"]
    )[0]
    layer.data = data
    layer.features = attributes["features"]
    layer.face_color = attributes["face_color"]
    layer.metadata = {**layer.metadata, **attributes["metadata"]}
    layer.name = attributes["name"]
    layer.editable = False
    layer.events.name()  # the name may be the same, and still what it stands for has changed


def add_layers(viewer: Viewer, tuples: Iterable[LayerTuple]) -> list[Layer]:
    """Add layer tuples to a viewer, in their order."""
    from napari.layers import Layer

    added = []
    for item in tuples:
        layer = viewer.add_layer(Layer.create(*item))
        _protect(layer)
        added.append(layer)
    return added


def look_in_3d(viewer: Viewer, layers: Iterable[Layer] | None = None) -> None:
    """Switch to 3D, turn the specimen upright with its tip on top, and fit all or some layers into the canvas."""
    shown = list(viewer.layers) if layers is None else list(layers)
    tips = [note(layer)["tip_z"] for layer in shown if "tip_z" in note(layer)]
    up = -1 if not tips or tips[0] < 0 else 1
    viewer.dims.ndisplay = 3
    viewer.dims.order = tuple(range(viewer.dims.ndim))  # that of a cut would show the specimen mirrored
    viewer.scene.camera.set_view_direction((-up * _SIDE[0], *_SIDE[1:]), (up, 0.0, 0.0))
    viewer.fit_to_view(layers=shown)
    for layer in viewer.layers:
        _protect(layer)  # a change between 2D and 3D makes layers editable again


def draw_in_cut(viewer: Viewer, name: str, mode: str, face_color: str) -> tuple[Any, bool]:
    """Cut the specimen along z in 2D and take up a tool of a Shapes layer, which is added when there is none.

    Parameters
    ----------
    viewer
        The viewer, with layers in 3D.
    name
        Name of the Shapes layer.
    mode
        The tool, such as ``"add_line"``.
    face_color
        Color inside of shapes.

    Returns
    -------
    The layer, and whether it is new.
    """
    from napari.layers import Shapes

    layer = next((one for one in viewer.layers if isinstance(one, Shapes) and one.name == name), None)
    is_new = layer is None
    if layer is None:
        layer = Shapes(ndim=3, name=name, edge_width=0.4, edge_color="#ffd166", face_color=face_color, **AXES_3D)
        viewer.add_layer(layer)
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2)  # y into the picture: z down, x to the right
    low, high = np.array([[span.start, span.stop] for span in viewer.dims.range]).T
    viewer.dims.point = tuple((low + high) / 2)
    viewer.reset_view()
    viewer.layers.selection.active = layer
    layer.mode = mode
    return layer, is_new


def when_added(viewer: Any, n_layers: int, *, look: bool) -> None:
    """Once `n_layers` of our layers that napari is about to add are there: protect them and, if asked, look in 3D.

    napari adds what a reader or a sample returns after that has returned, and tells only through this event.
    """
    seen: list[Any] = []

    def inserted(event: Any) -> None:
        layer = event.value
        if not note(layer):
            return
        _protect(layer)
        seen.append(layer.name)
        if len(seen) == n_layers:
            viewer.layers.events.inserted.disconnect(inserted)
            if look:
                look_in_3d(viewer)

    viewer.layers.events.inserted.connect(inserted, position="last")


def current_viewer() -> Any:
    """The viewer in front, or None without a window."""
    import napari

    return napari.current_viewer()


def in_words(error: BaseException) -> str:
    """An error as a person reads it."""
    if isinstance(error, AptDefectError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; draw fewer ions or close other programs"
    return f"unexpected {type(error).__name__}: {error}; please report it with the log"


def _protect(layer: Any) -> None:
    if note(layer).get("kind") in _FIXED:
        layer.editable = False
