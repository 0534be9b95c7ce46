"""The "Density volume" widget: all ions of a cloud counted on a grid, where the points are only a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container as MagicContainer
from magicgui.widgets import FloatSpinBox, Label, PushButton

from napari_aptdefect._napari.layers import density_layer
from napari_aptdefect._napari.viewing import add_layers, find_cloud, in_words, note, short_name, source_of
from napari_aptdefect.errors import AptDefectError

if TYPE_CHECKING:
    import napari.viewer


class DensityVolume(MagicContainer):
    """Show the density of the selected cloud, all of its ions counted, as an Image that lies on the points."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self.voxel = FloatSpinBox(value=1.0, min=0.05, max=100.0, step=0.1, label="Voxel edge (nm)")
        self.button = PushButton(text="Show density")
        self.status = Label(value="Counts all ions of the selected cloud.")
        super().__init__(widgets=[self.voxel, self.button, self.status])
        self.button.changed.connect(self.show_density)

    def show_density(self, _: Any = None) -> None:
        """Count the ions and add the layer."""
        from napari_aptdefect.io import read
        from napari_aptdefect.pipeline.display_volumes import count_density

        try:
            layer = find_cloud(self._viewer.layers, self._viewer.layers.selection)
            grid = count_density(read(source_of(layer)), float(self.voxel.value))
        except AptDefectError as error:
            self.status.value = in_words(error)
            return
        entry = {key: note(layer).get(key) for key in ("source", "ranges")}
        add_layers(self._viewer, [density_layer(grid, f"{short_name(layer)} density", entry)])
        self.status.value = f"{' x '.join(map(str, grid.values.shape))} voxels"
