"""What an atom probe does to atoms, as separate steps: which ions it sees, where it puts them, and at which mass."""

from napari_aptdefect.simulate.measurement.measure import measure
from napari_aptdefect.simulate.measurement.measured import Measured
from napari_aptdefect.simulate.measurement.params import LEVELS, STEPS, Measurement, Step

__all__ = ["LEVELS", "STEPS", "Measured", "Measurement", "Step", "measure"]
