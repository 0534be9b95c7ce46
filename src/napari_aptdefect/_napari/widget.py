"""The "Full analysis" widget: a scrollable form, Run, Cancel, a progress bar and one line of plain words."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_aptdefect._napari import settings
from napari_aptdefect._napari.analysis import Analyze, Outcome, free_run_folder, make_request, run_analysis
from napari_aptdefect._napari.forms import form_for
from napari_aptdefect._napari.paths import PathChooser
from napari_aptdefect._napari.viewing import add_layers, in_words, is_cloud, look_in_3d, note, short_name, source_of
from napari_aptdefect.errors import AptDefectError
from napari_aptdefect.stage import Progress, Stage

if TYPE_CHECKING:
    import napari.viewer
    from napari.qt.threading import GeneratorWorker

_LOG = logging.getLogger(__name__)

_CLOUDS = "Ion clouds (*.pos *.epos *.apt *.ato *.parquet *.nxs *.h5 *.hdf5)"
_RANGES = "Range files (*.rrng *.RRNG *.rng *.RNG *.env)"
_FILE_ITEM = "a file ..."
_WIDEST_PX = 420


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
        self._worker: GeneratorWorker | None = None
        self._stage: Stage[Outcome] | None = None
        self._began = 0.0
        self._message = ""
        self._ranges_seen: str | None = None
        self.outcome: Outcome | None = None
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._show_clock)
        self._build()
        self.reset_choices()

    def _build(self) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(self._scrolled(), 1)
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.start)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.cancel_button.setEnabled(False)
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("Give all parameters their default values")
        self.reset_button.clicked.connect(self.reset_params)
        self.report_button = QPushButton("Open report")
        self.report_button.clicked.connect(self.open_report)
        self.report_button.setVisible(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.bar.setTextVisible(True)
        self.status = QLabel("Choose a cloud, then press Run.")
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        buttons = QHBoxLayout()
        for button in (self.run_button, self.cancel_button, self.reset_button):
            buttons.addWidget(button)
        outer.addLayout(buttons)
        outer.addWidget(self.bar)
        outer.addWidget(self.status)
        outer.addWidget(self.report_button)

    def _scrolled(self) -> QScrollArea:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 8, 2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.cloud_box = QComboBox()
        self.cloud_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.cloud_box.setMinimumContentsLength(8)
        self.cloud_box.setToolTip("Ion cloud to analyze: a layer that was opened from a file, or a file")
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
        area = _Scrolled()
        area.setWidget(content)
        return area

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
        return self._worker is not None

    def start(self) -> None:
        """Check the form and start the analysis in a thread of its own."""
        from napari.qt.threading import create_worker

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
            self._say(f"Can't start: {error}", failed=True)
            return
        settings.remember(seed=request.seed, output_folder=str(request.out.parent))
        self.outcome = None
        self._stage = run_analysis(request, self._analyze)
        worker = create_worker(_pump, self._stage, _start_thread=False)
        worker.yielded.connect(self._on_progress)
        worker.returned.connect(self._on_done)
        worker.aborted.connect(self._on_canceled)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._set_running(True)
        self._message = "starting"
        self._began = time.monotonic()
        self._show_clock()
        self._clock.start()
        worker.start()

    def cancel(self) -> None:
        """Stop the analysis at its next step; it leaves nothing behind."""
        if self._worker is not None:
            self._worker.quit()
            self.cancel_button.setEnabled(False)
            self._clock.stop()
            self._say("Canceling ...")

    def open_report(self) -> None:
        """Open the report of the finished run in the browser."""
        if self.outcome is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.outcome.run.report)))

    def _on_progress(self, step: Progress) -> None:
        self.bar.setValue(round(100 * step.done / max(step.total, 1e-9)))
        self._message = step.message
        if self.cancel_button.isEnabled():
            self._show_clock()

    def _on_done(self, outcome: Outcome | _Failure) -> None:
        self._clock.stop()
        if isinstance(outcome, _Failure):
            self._on_error(outcome.error)
            return
        self.outcome = outcome
        for layer in self._viewer.layers:
            if note(layer).get("kind") == "ions":
                layer.visible = False  # the run shows the same ions, with what was found in them
        added = add_layers(self._viewer, outcome.layers)
        look_in_3d(self._viewer, [layer for layer in added if note(layer).get("kind") == "box"])
        self.bar.setValue(100)
        self.report_button.setVisible(outcome.run.report.is_file())
        self._say(f"Done in {self._elapsed()}: {outcome.summary}. Saved in {outcome.run.path}")

    def _on_error(self, error: BaseException) -> None:
        self._clock.stop()
        if not isinstance(error, AptDefectError):
            _LOG.error("the analysis failed", exc_info=error)
        self.bar.setValue(0)
        self._say(f"Failed: {in_words(error)}", failed=True)

    def _on_canceled(self) -> None:
        self.bar.setValue(0)
        self._say("Canceled; nothing was written.")

    def _on_finished(self) -> None:
        self._clock.stop()
        if self._stage is not None:
            self._stage.close()  # a canceled generator cleans up only when it is closed
        self._stage = self._worker = None
        self._set_running(False)
        self._suggest_out()

    def _set_running(self, on: bool) -> None:
        self.run_button.setEnabled(not on)
        self.cancel_button.setEnabled(on)
        self.form.native.setEnabled(not on)
        if on:
            self.bar.setValue(0)
            self.report_button.setVisible(False)

    def _show_clock(self) -> None:
        self._say(f"{self._elapsed()}: {self._message}")

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.status.setText(text)
        self.status.setStyleSheet("color: #ff8a7a;" if failed else "")


class _Scrolled(QScrollArea):
    """Scrolls down only: it is as wide as what it holds, and never forces a dock to be taller than a small screen."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumHeight(120)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Follow the width of the content when a section is opened."""
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            wanted = self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width() + 10
            self.setMinimumWidth(min(wanted, _WIDEST_PX))
        return super().eventFilter(watched, event)


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def _pump(stage: Stage[Outcome]) -> Generator[Progress, None, Outcome | _Failure]:
    """Run a stage in a worker, which takes generator functions only; the stage stays ours to close.

    An error is returned and not raised, because napari 0.9 opens a traceback of its own for every error in a worker.
    """
    try:
        return (yield from stage)
    except Exception as error:  # noqa: BLE001 - the widget says every error in its own line
        return _Failure(error)
