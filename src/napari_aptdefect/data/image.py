"""A HAADF-STEM image with its physical scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import Issue, ShapeError


@dataclass(frozen=True, eq=False)
class HaadfImage:
    """One image, or a stack of frames of one scan.

    Parameters
    ----------
    values
        Shape (ny, nx), or (n_frames, ny, nx), in the dtype of the file; row 0 is the top of the picture.
    pixel_nm
        Pixel size (y, x), nm, or None when the file gives none.
    title
        Name of the signal in the file.
    source
        File the image was read from, or None.
    metadata
        Instrument and acquisition data as the file gives them.
    issues
        What was odd in the file.
    """

    values: NDArray[Any]
    pixel_nm: tuple[float, float] | None = None
    title: str = ""
    source: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim not in (2, 3) or np.iscomplexobj(self.values):
            raise ShapeError(
                f"an image needs 2 axes (y, x) or 3 (frame, y, x) of real numbers, got shape {self.values.shape}, "
                f"dtype {self.values.dtype}"
            )
