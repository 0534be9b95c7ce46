"""A line with a path and a button that browses for it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QToolButton, QWidget


class PathChooser(QWidget):
    """Choose a file, or name a folder that shall be made.

    Parameters
    ----------
    title
        Title of the dialog.
    pattern
        Filter of the dialog; None asks for the folder to make the new one in.
    """

    changed = Signal()

    def __init__(self, title: str, pattern: str | None) -> None:
        super().__init__()
        self._title, self._pattern = title, pattern
        self.line = QLineEdit()
        self.line.setClearButtonEnabled(True)
        self.line.setMinimumWidth(60)
        self.line.editingFinished.connect(self.changed)
        button = QToolButton()
        button.setText("...")
        button.setToolTip(f"Browse: {title}")
        button.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(button)

    def path(self) -> Path | None:
        """The path in the line, None when it is empty."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path | None) -> None:
        """Show a path; its end, which tells paths apart, stays in sight."""
        self.line.setText("" if path is None else str(path))
        self.line.setToolTip(self.line.text())
        self.line.end(False)

    def setPlaceholder(self, text: str) -> None:  # noqa: N802 - beside Qt's own names
        """Say what an empty line means."""
        self.line.setPlaceholderText(text)

    def _browse(self) -> None:
        now = self.path()
        start = str(now.parent if now is not None else Path.home())
        if self._pattern is None:
            folder = QFileDialog.getExistingDirectory(self, f"{self._title}: make it in", start)
            chosen = str(Path(folder) / (now.name if now is not None else "run")) if folder else ""
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, self._title, start, f"{self._pattern};;All files (*)")
        if chosen:
            self.set_path(Path(chosen))
            self.changed.emit()
