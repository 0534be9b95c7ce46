"""Data that tests share: the pages beside the project when they are there, the real Si set when it was fetched."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from napari_aptdefect.errors import DownloadError, MissingFileError
from napari_aptdefect.io.samples import fetch_si, si_cached

settings.register_profile("any machine", deadline=None)  # a busy processor is no failure
settings.load_profile("any machine")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets; skips the test where they are absent."""
    if not _SHARED.is_dir():
        pytest.skip("the folder shared/data beside the checkout is absent")
    return _SHARED


@pytest.fixture(scope="session")
def si_dir() -> Path:
    """Folder with the real Si set (945,211 ions); skips where it is absent, fetches it only when APTDEFECT_FETCH=1."""
    folder = si_cached()
    if folder is None and os.environ.get("APTDEFECT_FETCH") == "1":
        try:
            folder = fetch_si()
        except (DownloadError, MissingFileError) as exc:
            pytest.skip(f"the real Si set was not fetched: {exc}")
    if folder is None:
        pytest.skip("the real Si set is absent: set APTDEFECT_FETCH=1 to fetch it, or APTDEFECT_SI_DIR to its folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _qt_goes_first() -> Iterator[None]:
    """Destroy what Qt still holds while Python is whole: left to the exit of the interpreter, it once crashed there."""
    yield
    if "qtpy" not in sys.modules:
        return
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    app = QApplication.instance()
    if app is None:
        return
    for widget in app.topLevelWidgets():
        widget.close()
        widget.deleteLater()
    app.sendPostedEvents(None, QEvent.DeferredDelete)
    app.processEvents()
    gc.collect()
