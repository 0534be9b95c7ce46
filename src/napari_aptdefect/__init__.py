"""Defects in atom probe tomography and HAADF-STEM data, from the instrument's file to a table.

Names are loaded when they are first used, so importing the package is fast and pulls in neither torch nor napari.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_aptdefect.data import DefectTable, HaadfImage, IonCloud, RangeTable
    from napari_aptdefect.io import read, write
    from napari_aptdefect.pipeline import analyze

_HOMES = {
    "DefectTable": "napari_aptdefect.data",
    "HaadfImage": "napari_aptdefect.data",
    "IonCloud": "napari_aptdefect.data",
    "RangeTable": "napari_aptdefect.data",
    "analyze": "napari_aptdefect.pipeline",
    "read": "napari_aptdefect.io",
    "write": "napari_aptdefect.io",
}

__all__ = ["DefectTable", "HaadfImage", "IonCloud", "RangeTable", "__version__", "analyze", "read", "write"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-aptdefect")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
