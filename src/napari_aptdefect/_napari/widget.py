"""The "Full analysis" widget: a scrollable form, Run, Cancel, a progress bar and one line of plain words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFormLayout, QPushButton, QScrollArea, QSpinBox, QVBoxLayout, QWidget

from napari_aptdefect._napari import settings
from napari_aptdefect._napari.analysis import Analyze, Outcome, free_run_folder, make_request, run_analysis
from napari_aptdefect._napari.forms import form_for
from napari_aptdefect._napari.jobs import JobPanel, Scrolled, narrow_combo
from napari_aptdefect._napari.paths import PathChooser
from napari_aptdefect._napari.viewing import add_layers, is_cloud, look_in_3d, note, short_name, source_of
from napari_aptdefect.errors import AptDefectError

if TYPE_CHECKING:
    import napari.viewer

_CLOUDS = "Ion clouds (*.pos *.epos *.apt *.ato *.parquet *.nxs *.h5 *.hdf5)"
_RANGES = "Range files (*.rrng *.RRNG *.rng *.RNG *.env)"
_FILE_ITEM = "a file ..."


class FullAnalysis(QWidget):
    """Analyze an ion cloud for defects.

    Parameters
    ----------
    viewer
        The viewer that shows the result.
    analyze
        The main job; by default that of the pipeline.
    params
        Values of the form at first and after "Reset"; by default the pipeline's.
    """

    def __init__(self, viewer: napari.viewer.Viewer, analyze: Analyze | None = None, params: Any = None) -> None:
        super().__init__()
        if params is None:
            from napari_aptdefect.pipeline.analysis import AnalysisParams

            params = AnalysisParams()
        self._viewer = viewer
        self._analyze = analyze
        self._defaults = params
        self._ranges_seen: str | None = None
        self.outcome: Outcome | None = None
        self._build()
        self.reset_choices()

    def _build(self) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(self._scrolled(), 1)
        self.job = JobPanel("Choose a cloud, then press Run.", "Canceled; nothing was written.")
        self.job.done.connect(self._on_done)
        self.job.changed.connect(self._on_changed)
        self.run_button, self.cancel_button = self.job.run_button, self.job.cancel_button
        self.bar, self.status = self.job.bar, self.job.status
        self.run_button.clicked.connect(self.start)
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("Give all parameters their default values")
        self.reset_button.clicked.connect(self.reset_params)
        self.job.buttons.addWidget(self.reset_button)
        self.report_button = QPushButton("Open report")
        self.report_button.clicked.connect(self.open_report)
        self.report_button.setVisible(False)
        outer.addWidget(self.job)
        outer.addWidget(self.report_button)

    def _scrolled(self) -> QScrollArea:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 8, 2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.cloud_box = narrow_combo("Ion cloud to analyze: a layer that was opened from a file, or a file")
        self.cloud_box.currentIndexChanged.connect(self._cloud_chosen)
        self.cloud_file = PathChooser("Ion cloud", _CLOUDS)
        self.cloud_file.changed.connect(self._suggest_out)
        self.ranges_file = PathChooser("Range file", _RANGES)
        self.ranges_file.setPlaceholder("empty: suggested from the spectrum")
        self.out_folder = PathChooser("New run folder", None)
        self.out_folder.setToolTip("Folder that is made for the results; it must not exist yet")
        self.seed_box = QSpinBox()
        self.seed_box.setRange(0, 2**31 - 1)
        self.seed_box.setValue(settings.seed())
        self.seed_box.setToolTip("The same input, parameters and seed give the same result")
        rows.addRow("Cloud", self.cloud_box)
        rows.addRow("", self.cloud_file)
        rows.addRow("Ranges", self.ranges_file)
        rows.addRow("Run folder", self.out_folder)
        rows.addRow("Seed", self.seed_box)
        self._rows = rows
        column.addLayout(rows)
        self.form = form_for(self._defaults)
        column.addWidget(self.form.native)
        column.addStretch(1)
        return Scrolled(content)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the clouds that are in the viewer now; napari calls this when the layers change."""
        before = self.cloud_box.currentData()
        clouds = [layer for layer in self._viewer.layers if is_cloud(layer)]
        self.cloud_box.blockSignals(True)
        self.cloud_box.clear()
        for layer in clouds:
            self.cloud_box.addItem(short_name(layer), layer)
        self.cloud_box.addItem(_FILE_ITEM, None)
        kept = [i for i, layer in enumerate(clouds) if layer is before]
        self.cloud_box.setCurrentIndex(kept[0] if kept else max(len(clouds) - 1, 0))
        self.cloud_box.blockSignals(False)
        if not kept or before is None or note(before).get("ranges") != self._ranges_seen:
            self._cloud_chosen()

    def cloud_path(self) -> Path | None:
        """File of the chosen cloud, None while none is chosen.

        Raises
        ------
        ParameterError
            If the file behind the chosen layer is gone.
        """
        layer = self.cloud_box.currentData()
        return source_of(layer) if layer is not None else self.cloud_file.path()

    def _cloud_chosen(self, index: int = 0) -> None:
        layer = self.cloud_box.currentData()
        self._rows.setRowVisible(self.cloud_file, layer is None)
        self._ranges_seen = None if layer is None else note(layer).get("ranges")
        if self._ranges_seen:
            self.ranges_file.set_path(Path(self._ranges_seen))
        self._suggest_out()

    def _suggest_out(self) -> None:
        try:
            cloud = self.cloud_path()
        except AptDefectError:
            return
        if cloud is not None:
            parent = settings.output_folder()
            self.out_folder.set_path(free_run_folder(cloud, Path(parent) if parent else None))

    def reset_params(self) -> None:
        """Give all parameters their default values."""
        self.form.show(self._defaults)

    @property
    def running(self) -> bool:
        """Whether an analysis is under way."""
        return self.job.running

    def start(self) -> None:
        """Check the form and start the analysis in a thread of its own."""
        if self.running:
            return
        try:
            request = make_request(
                self.cloud_path(),
                self.ranges_file.path(),
                self.out_folder.path(),
                self.form.value(),
                self.seed_box.value(),
                settings.drawn_ions(),
            )
        except AptDefectError as error:
            self.job.refuse(error)
            return
        settings.remember(seed=request.seed, output_folder=str(request.out.parent))
        self.outcome = None
        self.job.begin(run_analysis(request, self._analyze))

    def open_report(self) -> None:
        """Open the report of the finished run in the browser."""
        if self.outcome is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.outcome.run.report)))

    def _on_done(self, outcome: Outcome) -> None:
        self.outcome = outcome
        for layer in self._viewer.layers:
            if note(layer).get("kind") == "ions":
                layer.visible = False  # the run shows the same ions, with what was found in them
        added = add_layers(self._viewer, outcome.layers)
        look_in_3d(self._viewer, [layer for layer in added if note(layer).get("kind") == "box"])
        self.report_button.setVisible(outcome.run.report.is_file())
        self.job.say(f"Done in {self.job.elapsed}: {outcome.summary}. Saved in {outcome.run.path}")

    def _on_changed(self, running: bool) -> None:
        self.form.native.setEnabled(not running)
        if running:
            self.report_button.setVisible(False)
        else:
            self._suggest_out()
