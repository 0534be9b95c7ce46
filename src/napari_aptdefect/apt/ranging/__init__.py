"""Ranging: from mass-to-charge ratios to ions, elements and composition; and finding the ranges themselves."""

from napari_aptdefect.apt.ranging.background import MassBackground, MassBackgroundParams, estimate_mass_background
from napari_aptdefect.apt.ranging.identify import Ranging, RangingParams, composition, identify
from napari_aptdefect.apt.ranging.lint import check_ranges, lint_ranges
from napari_aptdefect.apt.ranging.suggest import PeakParams, suggest, suggest_ranges
from napari_aptdefect.data.composition import Composition, composition_of_counts

__all__ = [
    "Composition",
    "MassBackground",
    "MassBackgroundParams",
    "PeakParams",
    "Ranging",
    "RangingParams",
    "check_ranges",
    "composition",
    "composition_of_counts",
    "estimate_mass_background",
    "identify",
    "lint_ranges",
    "suggest",
    "suggest_ranges",
]
