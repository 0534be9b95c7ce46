"""The ceiling that the blur sets to the overlap of a defect's ions with any labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ShapeError
from napari_aptdefect.simulate.truth import DefectTruth


def with_ceiling(
    defects: Sequence[DefectTruth], instance_true: NDArray[np.integer], instance_bound: NDArray[np.integer]
) -> tuple[DefectTruth, ...]:
    """Fill in `iou_ceiling`: the overlap of a defect's ions with those that the known-geometry labeler gives it.

    Parameters
    ----------
    defects
        Defects of the specimen.
    instance_true
        Shape (N,): instance number whose label each ion carries.
    instance_bound
        Shape (N,): what `known_geometry` says.

    Returns
    -------
    The defects; NaN for those without ions.

    Raises
    ------
    ShapeError
        If the arrays differ in length.
    """
    if instance_true.shape != instance_bound.shape:
        raise ShapeError(
            f"instances of shape {instance_true.shape} and {instance_bound.shape}; give one of each per ion"
        )
    n = max((one.defect for one in defects), default=0) + 1
    true, bound = np.bincount(instance_true, minlength=n), np.bincount(instance_bound, minlength=n)
    both = np.bincount(instance_true[instance_true == instance_bound], minlength=n)
    return tuple(
        replace(
            one,
            iou_ceiling=float(both[one.defect] / (true[one.defect] + bound[one.defect] - both[one.defect]))
            if true[one.defect]
            else float("nan"),
        )
        for one in defects
    )
