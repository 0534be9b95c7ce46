"""What can in principle be seen: an ideal observer who knows the place, and a labeler who knows the geometry."""

from napari_aptdefect.simulate.detectability.bounds import with_ceiling
from napari_aptdefect.simulate.detectability.conditions import Conditions, role_of
from napari_aptdefect.simulate.detectability.judge import judge
from napari_aptdefect.simulate.detectability.labeler import known_geometry

__all__ = ["Conditions", "judge", "known_geometry", "role_of", "with_ceiling"]
