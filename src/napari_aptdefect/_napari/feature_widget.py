"""The "Features" widget: all features of the ions as columns of their layer, with the regions drawn in the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_aptdefect._napari.features import (
    Mark,
    collect,
    color_by,
    compute,
    drawn_layers,
    find_marks,
    lay_on,
)
from napari_aptdefect._napari.forms import form_for
from napari_aptdefect._napari.jobs import JobPanel, Scrolled, narrow_combo, refill
from napari_aptdefect._napari.sources import Source, find_sources
from napari_aptdefect._napari.viewing import draw_in_cut
from napari_aptdefect.data.feature_table import FEATURE_SETS
from napari_aptdefect.errors import AptDefectError, ParameterError
from napari_aptdefect.pipeline.display_features import DisplayFeaturesParams, IonFeatures

if TYPE_CHECKING:
    import napari.viewer

_LIST_PX: Final = 74
_REGION_LAYER: Final = "drawn"
_AS_BEFORE: Final = "as before"
_KEY: Final = Qt.ItemDataRole.UserRole


class FeaturesOfIons(QWidget):
    """Compute the features of all ions and show them on the drawn ones.

    Parameters
    ----------
    viewer
        The viewer whose layers give ions, regions and surfaces.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.features: IonFeatures | None = None
        self._layers: list[Any] = []
        self._looks: dict[object, dict[str, Any]] = {}
        self._chosen: dict[object, bool] = {}
        self._started: Source | None = None
        self.source_box = narrow_combo("A cloud or a run; features are those of all of its ions")
        self.mark_list = QListWidget()
        self.mark_list.setFixedHeight(_LIST_PX)
        self.mark_list.setToolTip(
            "Closed shapes drawn on a slice, and labels, become regions: in or out, distance and orientation of the "
            "border. Surfaces become boundaries."
        )
        self.mark_list.itemChanged.connect(self._mark_toggled)
        self.form = form_for(DisplayFeaturesParams())
        self.job = JobPanel("Choose the ions, then press Run.")
        self.job.run_button.clicked.connect(self.start)
        self.job.done.connect(self._on_done)
        self.job.changed.connect(self._on_changed)
        self.draw_button = QPushButton("Draw a region")
        self.draw_button.setToolTip(
            "Cut through the middle and draw a polygon with the mouse; Esc or a double click ends it"
        )
        self.draw_button.clicked.connect(self.draw_region)
        self.job.buttons.addWidget(self.draw_button)
        self.color_box = narrow_combo("Column that colors the drawn ions")
        self.color_box.setMaxVisibleItems(24)
        self.color_box.currentIndexChanged.connect(self._color_chosen)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.save_button = QPushButton("Save table ...")
        self.save_button.setToolTip("Save the features of all ions as .parquet, with unit and equation of each column")
        self.save_button.clicked.connect(self._ask_where)
        self._arrange()
        self._enable()
        self.reset_choices()

    def _arrange(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 8, 2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Ions of", self.source_box)
        rows.addRow("Refer to", self.mark_list)
        column.addLayout(rows)
        column.addWidget(self.form.native)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(Scrolled(content), 1)
        outer.addWidget(self.job)
        below = QFormLayout()
        below.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        below.addRow("Color by", self.color_box)
        outer.addLayout(below)
        outer.addWidget(self.about)
        outer.addWidget(self.save_button)

    def reset_choices(self, event: Any = None) -> None:
        """Offer what is in the viewer now; napari calls this when the layers change."""
        refill(self.source_box, [(one.label, one) for one in find_sources(self._viewer.layers)], _same)
        self.mark_list.blockSignals(True)
        self.mark_list.clear()
        for mark in find_marks(self._viewer.layers):
            item = QListWidgetItem(mark.label)
            item.setData(_KEY, mark)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            on = self._chosen.get(mark.key, mark.is_drawn)
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
            self.mark_list.addItem(item)
        self.mark_list.blockSignals(False)
        present = {layer.unique_id for layer in self._viewer.layers}
        self._layers = [layer for layer in self._layers if layer.unique_id in present]
        self._enable()

    def chosen_marks(self) -> list[Mark]:
        """Layers that are checked."""
        items = [self.mark_list.item(row) for row in range(self.mark_list.count())]
        return [item.data(_KEY) for item in items if item.checkState() == Qt.CheckState.Checked]

    def start(self) -> None:
        """Check the form and start in a thread of its own."""
        if self.job.running:
            return
        self.reset_choices()  # what was drawn meanwhile
        try:
            source = self.source_box.currentData()
            if not isinstance(source, Source):
                raise ParameterError("there is no ion cloud or run; open one first")
            drawn_layers(self._viewer.layers, source)
            params = self.form.value()
            stage = compute(source.reading(), collect(self.chosen_marks(), params.thickness_nm), params)
        except AptDefectError as error:
            self.job.refuse(error)
            return
        self._started = source
        self.job.begin(stage)

    def draw_region(self) -> None:
        """Cut the specimen along z in 2D and add a Shapes layer whose tool draws polygons."""
        if self._viewer.layers.ndim != 3:
            self.job.say("Can't start: there is nothing with three axes to draw in; open a cloud first", failed=True)
            return
        layer, is_new = draw_in_cut(self._viewer, _REGION_LAYER, "add_polygon", "#ffd16640")
        if is_new:
            layer.events.data.connect(self.reset_choices)
        self.job.say("Draw a polygon with the mouse in the cut, then press Run; Region thickness says how deep it is.")

    def save_table(self, path: Path) -> None:
        """Save the features of all ions."""
        if self.features is None:
            self.job.say("there are no features to save; press Run first", failed=True)
            return
        try:
            self.features.save(path)
        except OSError as error:
            self.job.say(f"Can't write {path}: {error.strerror or error}", failed=True)
            return
        self.job.say(f"Saved {path}")

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the features", str(Path.home() / "features.parquet"), "*.parquet"
        )
        if name:
            self.save_table(Path(name))

    def _mark_toggled(self, item: QListWidgetItem) -> None:
        self._chosen[item.data(_KEY).key] = item.checkState() == Qt.CheckState.Checked

    def _on_changed(self, running: bool) -> None:
        for widget in (self.form.native, self.mark_list, self.source_box):
            widget.setEnabled(not running)
        self._enable()

    def _enable(self) -> None:
        there = self.features is not None and not self.job.running
        self.save_button.setEnabled(there)
        self.color_box.setEnabled(there and bool(self._layers))

    def _on_done(self, features: IonFeatures) -> None:
        source = self._started
        if source is None or source.layer not in self._viewer.layers:
            self.job.say("Failed: the ions were removed from the viewer meanwhile", failed=True)
            return
        self._show_as_before()
        self.features = features
        self._layers = drawn_layers(self._viewer.layers, source)
        for layer in self._layers:
            lay_on(layer, features)
        items: list[tuple[str, Any]] = [(_AS_BEFORE, None)]
        order = sorted(features.table.columns, key=lambda column: FEATURE_SETS.index(column.set))
        items += [(one.name, one.name) for one in order if features.table.missing_share[one.name] < 1]
        refill(self.color_box, items, _equal)
        self._enable()
        n_empty = len(order) + 1 - len(items)
        empty = f" ({n_empty} of them all missing)" if n_empty else ""
        self.job.say(
            f"Done in {self.job.elapsed}: {len(order)} columns{empty} of {len(features.table):,} ions, laid on the "
            "drawn ones as layer features"
        )
        self._color_chosen()

    def _color_chosen(self, index: int = 0) -> None:
        name = self.color_box.currentData()
        if self.features is None or name is None:
            self._show_as_before()
            self.about.setText("")
            return
        for layer in self._layers:
            self._looks.setdefault(
                layer.unique_id,
                {
                    "layer": layer,
                    "face_color": layer.face_color.copy(),
                    "opacity": layer.opacity,
                    "blending": layer.blending,
                },
            )
            layer.opacity, layer.blending = 1.0, "translucent"
        low, high, missing = color_by(self._layers, name)
        column = self.features.table.columns[self.features.table.index(name)]
        unit = f" {column.unit}" if column.unit else ""
        gray = f"; gray: missing ({100 * missing:.0f} %)" if missing > 0 else ""
        self.about.setText(f"{column.description}. Violet {low:.3g} to yellow {high:.3g}{unit}{gray}.")
        self.about.setToolTip(column.equation)

    def _show_as_before(self) -> None:
        for look in self._looks.values():
            layer = look["layer"]
            if len(look["face_color"]) == len(layer.data):
                layer.face_color = look["face_color"]
            layer.opacity, layer.blending = look["opacity"], look["blending"]
        self._looks.clear()


def _same(one: Source, other: Source) -> bool:
    return one.key == other.key


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other)
