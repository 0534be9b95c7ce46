"""The "Profiles" widget: composition along a line, or against the distance from a surface, with counting errors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_aptdefect._napari.forms import form_for
from napari_aptdefect._napari.jobs import JobPanel, Scrolled, narrow_combo, refill
from napari_aptdefect._napari.profiles import Drawn, Way, draw_along, draw_from, find_ways
from napari_aptdefect._napari.sources import Source, find_sources
from napari_aptdefect._napari.viewing import draw_in_cut, in_words
from napari_aptdefect.errors import AptDefectError, ParameterError
from napari_aptdefect.pipeline.display_profiles import LineParams, ProxigramParams, apart, drawn_part, shown_elements
from napari_aptdefect.plot.colors import palette
from napari_aptdefect.plot.profiles import draw_profile

if TYPE_CHECKING:
    import napari.viewer

_TALL_PX: Final = 230
_LINE_LAYER: Final = "profile line"


class Profiles(QWidget):
    """Draw profiles of composition and proxigrams.

    Parameters
    ----------
    viewer
        The viewer whose layers give ions, lines and surfaces.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self._viewer = viewer
        self.drawn: Drawn | None = None
        self.source_box = narrow_combo("A cloud with ranges or a run; all of its ions are used")
        self.way_box = narrow_combo(
            "An axis through the middle of the ions, a line of a Shapes layer, two points of a Points layer, or the "
            "distance from a Surface"
        )
        self.way_box.currentIndexChanged.connect(self._way_chosen)
        self.line_form, self.surface_form = form_for(LineParams()), form_for(ProxigramParams())
        self.forms = QStackedWidget()
        for form in (self.line_form, self.surface_form):
            self.forms.addWidget(form.native)
        self.job = JobPanel("Choose what to profile, then press Run.")
        self.job.run_button.clicked.connect(self.start)
        self.job.done.connect(self._on_done)
        self.line_button = QPushButton("Draw a line")
        self.line_button.setToolTip("Cut through the middle and draw the line with the mouse")
        self.line_button.clicked.connect(self.draw_line)
        self.save_button = QPushButton("Save CSV ...")
        self.save_button.setToolTip("Save the counts of all ions and the fractions of all elements")
        self.save_button.clicked.connect(self._ask_where)
        self.save_button.setEnabled(False)
        self.figure = Figure(layout="constrained")
        self.canvas = FigureCanvasQTAgg(self.figure)
        self.canvas.setMinimumSize(200, _TALL_PX)
        self.canvas.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self._arrange()
        self.reset_choices()

    def _arrange(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 8, 2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Ions of", self.source_box)
        rows.addRow("Along", self.way_box)
        column.addLayout(rows)
        column.addWidget(self.forms)
        column.addStretch(1)
        lower = QWidget()
        below = QVBoxLayout(lower)
        below.setContentsMargins(0, 0, 0, 0)
        self.job.buttons.addWidget(self.line_button)
        below.addWidget(self.job)
        below.addWidget(self.canvas, 1)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.save_button)
        below.addLayout(buttons)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(Scrolled(content))
        split.addWidget(lower)
        split.setStretchFactor(1, 1)
        split.setChildrenCollapsible(False)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(split)

    def reset_choices(self, event: Any = None) -> None:
        """Offer what is in the viewer now; napari calls this when the layers change."""
        refill(self.source_box, [(one.label, one) for one in find_sources(self._viewer.layers)], _same)
        refill(self.way_box, [(one.label, one) for one in find_ways(self._viewer.layers)], _same)
        self._way_chosen()

    def way(self) -> Way:
        """What is chosen to profile along; lines that were drawn meanwhile are looked up again."""
        chosen: Way = self.way_box.currentData()
        return chosen

    def start(self) -> None:
        """Check the form and start in a thread of its own."""
        if self.job.running:
            return
        try:
            source = self.source_box.currentData()
            if not isinstance(source, Source):
                raise ParameterError("there is no ion cloud or run; open one first")
            way, reading = self.way(), source.reading()
            if way.kind == "surface":
                stage = draw_from(reading, way.surface(), self.surface_form.value())
            elif way.kind == "axis":
                stage = draw_along(reading, way.number, None, self.line_form.value())
            else:
                stage = draw_along(reading, None, way.ends(), self.line_form.value())
        except AptDefectError as error:
            self.job.refuse(error)
            return
        self.job.begin(stage)

    def draw_line(self) -> None:
        """Cut the specimen along z in 2D and add a Shapes layer whose tool draws lines."""
        if self._viewer.layers.ndim != 3:
            self.job.say("Can't start: there is nothing with three axes to draw in; open a cloud first", failed=True)
            return
        layer, is_new = draw_in_cut(self._viewer, _LINE_LAYER, "add_line", "#ffd166")
        if is_new:
            layer.events.data.connect(self._line_drawn)
        self.job.say("Draw a line with the mouse in the cut, then press Run; a volume shows where to.")

    def save_csv(self, path: Path) -> None:
        """Save the profile that is drawn."""
        if self.drawn is None:
            self.job.say("there is no profile to save; press Run first", failed=True)
            return
        try:
            self.drawn.save(path)
        except OSError as error:
            self.job.say(f"Can't write {path}: {error.strerror or error}", failed=True)
            return
        self.job.say(f"Saved {path}")

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the profile", str(Path.home() / "profile.csv"), "*.csv")
        if name:
            self.save_csv(Path(name))

    def _line_drawn(self, event: Any = None) -> None:
        self.reset_choices()
        lines = [i for i in range(self.way_box.count()) if self.way_box.itemData(i).kind == "line"]
        if lines:
            self.way_box.setCurrentIndex(lines[-1])

    def _way_chosen(self, index: int = 0) -> None:
        way = self.way_box.currentData()
        self.forms.setCurrentIndex(1 if isinstance(way, Way) and way.kind == "surface" else 0)

    def _on_done(self, drawn: Drawn) -> None:
        try:
            columns = shown_elements(drawn.profile, drawn.params.elements)
        except AptDefectError as error:
            self.job.say(f"Failed: {in_words(error)}", failed=True)
            return
        self.drawn = drawn
        self.save_button.setEnabled(True)
        self._draw(drawn, columns)
        n_ions = int(drawn.profile.ion_counts.sum())
        self.job.say(
            f"Done in {self.job.elapsed}: {n_ions:,} ranged ions in {len(drawn.profile.centers_nm)} bins; bands are "
            "one standard deviation of counting"
        )

    def _draw(self, drawn: Drawn, columns: list[int]) -> None:
        profile = drawn.profile
        fraction, error = drawn_part(profile, columns, drawn.params.min_ions)
        names = [profile.elements[i] for i in columns]
        colors = palette(len(columns))
        groups = apart(fraction) or [[]]
        self.figure.clear()
        panels = self.figure.subplots(len(groups), 1, sharex=True, squeeze=False)[::-1, 0]
        for panel, group in zip(panels, groups, strict=True):  # rare elements above, abundant ones below
            draw_profile(
                panel,
                profile.edges_nm,
                fraction[:, group],
                error[:, group],
                [names[i] for i in group],
                label=drawn.label,
                colors=[colors[i] for i in group],
                at_surface=drawn.at_surface,
            )
            _small(panel)
        for panel in panels[1:]:
            panel.set_xlabel("")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
            self.canvas.draw()


def _small(axes: Any) -> None:
    """Letters that fit into a narrow dock."""
    axes.tick_params(labelsize=8)
    for label in (axes.xaxis.label, axes.yaxis.label, *(axes.get_legend().get_texts() if axes.get_legend() else ())):
        label.set_fontsize(8)


def _same(one: Any, other: Any) -> bool:
    return bool(one.key == other.key)
