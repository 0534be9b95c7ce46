"""Long work in a widget: Run, Cancel, a progress bar and one line of plain words, around a stage in a thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_aptdefect._napari.viewing import in_words
from napari_aptdefect.errors import AptDefectError
from napari_aptdefect.stage import Progress, Stage

if TYPE_CHECKING:
    from napari.qt.threading import GeneratorWorker

_LOG = logging.getLogger(__name__)
_WIDEST_PX: Final = 420
_FAILED_COLOR: Final = "color: #ff8a7a;"


class JobPanel(QWidget):
    """Buttons, bar and status line of one kind of job, of which one runs at a time.

    Parameters
    ----------
    greeting
        The status line before the first job.
    canceled
        The status line after a cancel.

    Attributes
    ----------
    done
        Signal with the result of a job that came to its end.
    changed
        Signal with whether a job is under way.
    """

    done = Signal(object)
    changed = Signal(bool)

    def __init__(self, greeting: str, canceled: str = "Canceled; nothing was changed.") -> None:
        super().__init__()
        self._canceled = canceled
        self._worker: GeneratorWorker | None = None
        self._stage: Stage[Any] | None = None
        self._began = 0.0
        self._message = ""
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._show_clock)
        self.run_button = QPushButton("Run")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.cancel_button.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.bar.setTextVisible(True)
        self.status = QLabel(greeting)
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.buttons = QHBoxLayout()
        for button in (self.run_button, self.cancel_button):
            self.buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self.buttons)
        column.addWidget(self.bar)
        column.addWidget(self.status)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    def begin(self, stage: Stage[Any]) -> None:
        """Run a stage in a thread of its own."""
        from napari.qt.threading import create_worker

        self._stage = stage
        worker = create_worker(_pump, stage, _start_thread=False)
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
        """Stop the job at its next step."""
        if self._worker is not None:
            self._worker.quit()
            self.cancel_button.setEnabled(False)
            self._clock.stop()
            self.say("Canceling ...")

    def say(self, text: str, *, failed: bool = False) -> None:
        """Show one line, in another color when something went wrong."""
        self.status.setText(text)
        self.status.setStyleSheet(_FAILED_COLOR if failed else "")
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the whole status line in sight."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        # inside of nested layouts Qt gives a wrapped label the height of a wide one, and cuts off its last lines
        self.status.setMinimumHeight(0)  # else the height that a longer line had is asked for forever
        self.status.setMinimumHeight(self.status.heightForWidth(max(self.width(), 1)))
        # each layout asks the next one out for room by an event, which a busy window, as after adding layers, comes to
        # late: until then the line is cut
        widget: QWidget | None = self
        while widget is not None and (layout := widget.layout()) is not None and not widget.isWindow():
            layout.activate()
            widget = widget.parentWidget()

    def refuse(self, error: BaseException) -> None:
        """Say why a job can't start."""
        self.say(f"Can't start: {in_words(error)}", failed=True)

    @property
    def elapsed(self) -> str:
        """Time since the job began, for a person."""
        seconds = int(time.monotonic() - self._began)
        return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"

    def _on_progress(self, step: Progress) -> None:
        self.bar.setValue(round(100 * step.done / max(step.total, 1e-9)))
        self._message = step.message
        if self.cancel_button.isEnabled():
            self._show_clock()

    def _on_done(self, result: Any) -> None:
        self._clock.stop()
        if isinstance(result, _Failure):
            if not isinstance(result.error, AptDefectError):
                _LOG.error("the job failed", exc_info=result.error)
            self.bar.setValue(0)
            self.say(f"Failed: {in_words(result.error)}", failed=True)
            return
        self.bar.setValue(100)
        self.done.emit(result)

    def _on_canceled(self) -> None:
        self.bar.setValue(0)
        self.say(self._canceled)

    def _on_finished(self) -> None:
        self._clock.stop()
        if self._stage is not None:
            self._stage.close()  # a canceled generator cleans up only when it is closed
        self._stage = self._worker = None
        self._set_running(False)

    def _set_running(self, on: bool) -> None:
        self.run_button.setEnabled(not on)
        self.cancel_button.setEnabled(on)
        if on:
            self.bar.setValue(0)
        self.changed.emit(on)

    def _show_clock(self) -> None:
        self.say(f"{self.elapsed}: {self._message}")


class Scrolled(QScrollArea):
    """Scrolls down only: it is as wide as what it holds, and never forces a dock to be taller than a small screen.

    Parameters
    ----------
    content
        What it holds.
    """

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumHeight(120)
        self.setWidget(content)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Follow the width of the content when a section is opened."""
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            wanted = self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width() + 10
            self.setMinimumWidth(min(wanted, _WIDEST_PX))
        return super().eventFilter(watched, event)


def narrow_combo(tooltip: str) -> QComboBox:
    """Make a list to choose from that long names don't make wide."""
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setToolTip(tooltip)
    return box


def refill(box: QComboBox, items: list[tuple[str, Any]], same: Any) -> bool:
    """Give a list new items, keep what was chosen when it is still there, and tell whether it is.

    Parameters
    ----------
    box
        The list; its signals are blocked meanwhile.
    items
        Texts and what they stand for.
    same
        Function of two items' data that tells whether they stand for the same.
    """
    before = box.currentData()
    box.blockSignals(True)
    box.clear()
    for text, data in items:
        box.addItem(text, data)
    kept = [i for i, (_, data) in enumerate(items) if before is not None and same(data, before)]
    box.setCurrentIndex(kept[0] if kept else (0 if items else -1))
    box.blockSignals(False)
    return bool(kept)


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def _pump(stage: Stage[Any]) -> Generator[Progress, None, Any]:
    """Run a stage in a worker, which takes generator functions only; the stage stays ours to close.

    An error is returned and not raised, because napari 0.9 opens a traceback of its own for every error in a worker.
    """
    try:
        return (yield from stage)
    except Exception as error:  # noqa: BLE001 - the widget says every error in its own line
        return _Failure(error)
