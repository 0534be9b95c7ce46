"""Defects: connected ions that stand out, judged against chance, measured and named."""

from napari_aptdefect.apt.defects.model import Chance, Defect, Defects, DefectsParams, Evidence, Named
from napari_aptdefect.apt.defects.search import find_defects

__all__ = ["Chance", "Defect", "Defects", "DefectsParams", "Evidence", "Named", "find_defects"]
