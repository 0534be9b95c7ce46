"""Train, validation and test share no parameter value: every range is cut into cells that belong to one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from napari_aptdefect.errors import ParameterError

Split = Literal["train", "validation", "test"]

SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")


@dataclass(frozen=True)
class Span:
    """A range of one parameter, cut into equal cells that go to train, validation and test in turn.

    Parameters
    ----------
    low, high
        Ends of the range.
    n_cells
        Number of cells, a multiple of 3.
    log
        Whether the cells are equal in the logarithm, for a parameter that spans decades.

    Notes
    -----
    Every split covers the whole range, in steps of three cells, so none is easier than another; and no value of one
    split can occur in another, however many are drawn.
    """

    low: float
    high: float
    n_cells: int = 30
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ParameterError(f"a range of {self.low:g} to {self.high:g} can't be cut into cells; low must be less")
        if self.n_cells < 3 or self.n_cells % 3:
            raise ParameterError(f"the number of cells must be a multiple of 3, got {self.n_cells}")

    def draw(self, split: Split, rng: np.random.Generator) -> float:
        """Draw a value from the cells of one split."""
        cell = 3 * int(rng.integers(self.n_cells // 3)) + SPLITS.index(split)
        # The margin keeps the rounding of exp and of the wire's frame from carrying a value over a border.
        share = (cell + float(rng.uniform(0.02, 0.98))) / self.n_cells
        start, stop = self._ends
        value = start + share * (stop - start)
        return math.exp(value) if self.log else value

    def split_of(self, value: float) -> Split:
        """Which split a value belongs to.

        Raises
        ------
        ParameterError
            If the value lies outside the range.
        """
        if not self.low <= value <= self.high:
            raise ParameterError(f"{value:g} lies outside {self.low:g} to {self.high:g}")
        start, stop = self._ends
        share = ((math.log(value) if self.log else value) - start) / (stop - start)
        return SPLITS[min(int(share * self.n_cells), self.n_cells - 1) % 3]

    @property
    def _ends(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)


@dataclass(frozen=True)
class Whole:
    """A range of whole numbers, spread evenly in the logarithm; n belongs to the split n modulo 3.

    Parameters
    ----------
    low, high
        First and last number.
    """

    low: int
    high: int

    def draw(self, split: Split, rng: np.random.Generator) -> int:
        """Draw a number of one split."""
        numbers = np.arange(self.low, self.high + 1)
        numbers = numbers[numbers % 3 == SPLITS.index(split)]
        weight = 1 / numbers
        return int(rng.choice(numbers, p=weight / weight.sum()))

    def split_of(self, value: int) -> Split:
        """Which split a number belongs to."""
        return SPLITS[value % 3]
