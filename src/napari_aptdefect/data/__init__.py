"""Frozen containers that flow through the house: read-only, with units, knowing nothing of files or windows."""

from napari_aptdefect.data.cloud import Column, IonCloud
from napari_aptdefect.data.defects import DEFECT_CLASSES, DEFECT_SCHEMA, DefectTable
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.data.grid import VoxelGrid
from napari_aptdefect.data.image import HaadfImage
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable

__all__ = [
    "DEFECT_CLASSES",
    "DEFECT_SCHEMA",
    "Column",
    "DefectTable",
    "HaadfImage",
    "Ion",
    "IonCloud",
    "MassRange",
    "NeighborGraph",
    "RangeTable",
    "VoxelGrid",
]
