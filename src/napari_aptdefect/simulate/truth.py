"""What is true of a simulated defect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.simulate.regions import Region, Vector

Role = Literal["target", "control", "structure"]

NEIGHBOR_NM: Final = 0.25
"""Atoms this near to the site of a vacancy or to an interstitial carry its label: its nearest neighbors."""

RIM_NM: Final = 0.5
"""Atoms this near to the surface of a void or a vacancy cluster carry its label."""

HIDDEN_D_PRIME: Final = 1.0
"""Above level 0 a defect below this detectability is a control: its AUC is below 0.76, its place being known."""

VISIBLE_D_PRIME: Final = 6.0
"""Detectability that survives a search over a million places."""


@dataclass(frozen=True)
class DefectTruth:
    """What is true of one defect, in the frame of the measurement (z is the depth below the apex).

    Parameters
    ----------
    defect
        Instance number, from 1.
    defect_class
        One of `DEFECT_CLASSES`; ``"matrix"`` for an intended structure.
    kind
        What it is exactly, such as ``"I1 fault"`` or ``"Ga vacancy"``.
    role
        ``"target"``: to be found; ``"control"``: hidden by physics at this level, so that every claim about it is
        false; ``"structure"``: an intended layer, left out of the scores.
    region
        Where it lies. Of a void it is the empty part; its label covers the rim.
    extent
        Length of the line in the wire, nm; area of the plane in the wire, nm²; 0 for compact defects.
    volume_nm3
        Volume of the region inside the wire, nm³; 0 for a point.
    solute
        Element whose concentration differs, empty if none does.
    n_sites
        Lattice sites in the region, the emptied ones included.
    n_missing
        Atoms that are missing in the region.
    n_solute
        Atoms of its solute that carry its label, before detection.
    n_excess
        Atoms of its solute that are expected beyond the background.
    n_ions
        Detected ions that carry this instance number.
    d_prime
        Detectability of an ideal observer who knows the place, from the measured density and blur.
    auc
        Area under that observer's ROC curve.
    iou_ceiling
        Intersection over union of its ions with those that the known-geometry labeler gives it; NaN without ions.
    """

    defect: int
    defect_class: str
    kind: str
    role: Role
    region: Region
    extent: float = 0.0
    volume_nm3: float = 0.0
    solute: str = ""
    n_sites: int = 0
    n_missing: int = 0
    n_solute: int = 0
    n_excess: float = 0.0
    n_ions: int = 0
    d_prime: float = field(default=float("nan"))
    auc: float = field(default=float("nan"))
    iou_ceiling: float = field(default=float("nan"))

    @property
    def code(self) -> int:
        """Code of the class: its index in `DEFECT_CLASSES`."""
        return DEFECT_CLASSES.index(self.defect_class)

    @property
    def visible(self) -> bool:
        """Whether a search could find it: the search bound."""
        return self.d_prime >= VISIBLE_D_PRIME

    @property
    def center_nm(self) -> Vector:
        """Center of the region, nm."""
        return self.region.center_nm
