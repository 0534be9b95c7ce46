"""The status line of a job is in sight as soon as it is said."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_aptdefect._napari.jobs import JobPanel, Scrolled

LONG = "Done in 13 s: 40 x 37 x 49 voxels, 1,910 triangles, 726 nm²; level 0.0182 atomic fraction suggested: half way"


@pytest.fixture
def docked(qtbot):
    """A panel below a form, as in every widget, in a window as wide as a dock beside a window of 1280 pixels."""
    window, widget = QWidget(), QWidget()
    QVBoxLayout(window).addWidget(widget)
    column = QVBoxLayout(widget)
    panel = JobPanel("Press Run.")
    column.addWidget(Scrolled(QLabel("form")), 1)
    column.addWidget(panel)
    qtbot.addWidget(window)
    window.resize(324, 700)
    window.show()
    qtbot.waitExposed(window)
    qtbot.wait(50)
    yield panel
    window.close()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_line_is_cut_before_the_window_comes_to_its_events(docked, n):
    one_line = docked.status.height()
    docked.say(LONG * n)
    needed = docked.status.heightForWidth(docked.status.width())
    assert needed > (2 * n) * one_line - 5
    assert docked.status.height() >= needed
    assert docked.status.geometry().bottom() <= docked.height()
    assert docked.geometry().bottom() <= docked.parentWidget().height()
    docked.say("Short.")
    assert docked.status.minimumHeight() < needed
