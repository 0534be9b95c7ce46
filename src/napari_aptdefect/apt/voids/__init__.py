"""Voids by a sequential Monte Carlo sampler: where, how large, and the odds against chance."""

from napari_aptdefect.apt.voids.model import ROUGH, FalseAlarms, VoidParams, Voids, label_rims
from napari_aptdefect.apt.voids.stage import find_voids

__all__ = ["ROUGH", "FalseAlarms", "VoidParams", "Voids", "find_voids", "label_rims"]
