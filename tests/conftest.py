"""Data that tests share: the pages beside the project when they are there, the real Si set when it was fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SI_FILES = ("Si.pos", "Si.epos", "Si.apt", "Si.RRNG", "Si.RNG")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets; skips the test where they are absent."""
    if not _SHARED.is_dir():
        pytest.skip("the folder shared/data beside the checkout is absent")
    return _SHARED


@pytest.fixture(scope="session")
def si_dir() -> Path:
    """Folder with the real Si set (945,211 ions); skips the test where it was not fetched."""
    named = os.environ.get("APTDEFECT_SI_DIR", "")
    if not named or not all((Path(named) / name).is_file() for name in SI_FILES):
        pytest.skip("the real Si set is absent: set APTDEFECT_SI_DIR to a folder that holds " + ", ".join(SI_FILES))
    return Path(named)
