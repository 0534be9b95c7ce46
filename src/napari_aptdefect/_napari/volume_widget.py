"""The "Volumes and isosurfaces" widget: density or composition of all ions as an Image, and a Surface in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_aptdefect._napari.forms import form_for
from napari_aptdefect._napari.jobs import JobPanel, Scrolled, narrow_combo, refill
from napari_aptdefect._napari.palette import species_colors
from napari_aptdefect._napari.runs import HAZE, range_colors
from napari_aptdefect._napari.sources import Source, find_sources
from napari_aptdefect._napari.viewing import add_layers, in_words, note
from napari_aptdefect._napari.volumes import DELOCALIZED, Shown, show_surface, show_volume
from napari_aptdefect.data import Ion
from napari_aptdefect.errors import AptDefectError, ParameterError
from napari_aptdefect.pipeline.display_volumes import Quantity, VolumeParams

if TYPE_CHECKING:
    import napari.viewer


class VolumesAndSurfaces(QWidget):
    """Show density or composition as a volume, with an isosurface.

    Parameters
    ----------
    viewer
        The viewer whose layers are used, and that shows the result.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._listed: tuple[Any, ...] = ()
        self.source_box = narrow_combo("A cloud or a run, of which all ions are used, or a volume for a surface in it")
        self.quantity_box = narrow_combo("What the volume shows; composition needs ranges")
        self.form = form_for(VolumeParams())
        self.job = JobPanel("Choose what to show, then press Run.")
        self.job.run_button.clicked.connect(self.start)
        self.job.done.connect(self._on_done)
        self.job.changed.connect(self._on_changed)
        self.source_box.currentIndexChanged.connect(self._source_chosen)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 8, 2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("From", self.source_box)
        rows.addRow("Show", self.quantity_box)
        column.addLayout(rows)
        column.addWidget(self.form.native)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(Scrolled(content), 1)
        outer.addWidget(self.job)
        self.reset_choices()

    def reset_choices(self, event: Any = None) -> None:
        """Offer what is in the viewer now; napari calls this when the layers change."""
        items = [(source.label, source) for source in find_sources(self._viewer.layers, volumes=True)]
        refill(self.source_box, items, _same)
        self._source_chosen()

    def source(self) -> Source | None:
        """What is chosen."""
        chosen = self.source_box.currentData()
        return chosen if isinstance(chosen, Source) else None

    def start(self) -> None:
        """Check the form and start in a thread of its own."""
        if self.job.running:
            return
        try:
            source = self.source()
            if source is None:
                raise ParameterError("there is no ion cloud, run or volume; open one first")
            params = self.form.value()
            name, origin = source.label, source.origin
            if source.kind == "volume":
                stage = show_surface(source.grid(), params, name, origin, _color_of_volume(source))
            else:
                quantity = self.quantity_box.currentData()
                if quantity is None:
                    raise ParameterError("there is nothing to show; see the line above")
                stage = show_volume(source.reading(), quantity, params, name, origin, _color_of(source, quantity))
        except AptDefectError as error:
            self.job.refuse(error)
            return
        self.job.begin(stage)

    def _source_chosen(self, index: int = 0) -> None:
        source = self.source()
        # a range file that is opened changes what a cloud can show, and its layer stays the same
        state = () if source is None else (*source.key, note(source.layer).get("ranges"))
        if state == self._listed:
            return
        self._listed = state
        items: list[tuple[str, Any]] = []
        if source is not None and source.kind == "volume":
            items = [("a surface in this volume", None)]
        elif source is not None:
            try:
                items = [(quantity.label, quantity) for quantity in source.quantities()]
            except (AptDefectError, OSError) as error:
                self.job.say(in_words(error), failed=True)
                items = [(Quantity().label, Quantity())]
        refill(self.quantity_box, items, _equal)
        self._enable()

    def _enable(self) -> None:
        source = self.source()
        existing = source is not None and source.kind == "volume"
        self.quantity_box.setEnabled(not existing)
        for name in DELOCALIZED:
            self.form.fields[name].enabled = not existing

    def _on_changed(self, running: bool) -> None:
        self.form.native.setEnabled(not running)

    def _on_done(self, shown: Shown) -> None:
        for layer in self._viewer.layers:
            if note(layer).get("kind") == "ions" and layer.opacity == 1:
                # opaque ions would hide what they surround
                layer.opacity, layer.blending = HAZE["opacity"], HAZE["blending"]
        add_layers(self._viewer, shown.layers)
        self.job.say(f"Done in {self.job.elapsed}: {shown.summary}")


def _same(one: Source, other: Source) -> bool:
    return one.key == other.key


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other)


def _color_of(source: Source, quantity: Quantity) -> Any:
    """Color of an element or ion in the ranges; None for the density."""
    ranges = source.ranges()
    if quantity.kind == "density" or ranges is None:
        return None
    known = range_colors(note(source.layer).get("ranges"))
    ions = [Ion(ion.name, ion.elements, known.get(ion.name)) for ion in ranges.ions]
    meant = [n for n, ion in enumerate(ions) if ion.name == quantity.name]
    meant += [n for n, ion in enumerate(ions) if quantity.name in dict(ion.elements)]
    return species_colors(tuple(ions))[meant[0]][:3] if meant else None


def _color_of_volume(source: Source) -> Any:
    """The color a volume rises to: that of its colormap at two thirds."""
    return source.layer.colormap.map([0.6])[0][:3]
