"""Names of the spaces and of the methods that stand for something in tables and figures."""

from __future__ import annotations

from typing import Final

COORDINATES: Final = "coordinates + composition"
FUSED: Final = "fused features"
ANALYZE: Final = "aptdefect analyze"
UNLEARNED: Final = "aptdefect analyze without model"
BOUND: Final = "known-geometry bound"
ALL_MATRIX: Final = "all matrix"
