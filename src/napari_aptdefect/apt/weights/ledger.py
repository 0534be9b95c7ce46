"""The ledger of a search: counts evaluations against a budget, never pays twice, and keeps the best."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.weights.problem import Evaluation, Problem
from napari_aptdefect.apt.weights.space import on_simplex
from napari_aptdefect.errors import ParameterError

_DECIMALS: Final = 4
_REPEATS: Final = 10  # questions per evaluation of the budget, answered from memory, before a search counts as stuck


class Ledger:
    """Evaluations of one search.

    Parameters
    ----------
    problem
        What is evaluated.
    budget
        Number of evaluations that may be made. Weights that agree to four decimals are evaluated once.

    Raises
    ------
    ParameterError
        If the budget is not positive.
    """

    def __init__(self, problem: Problem, budget: int) -> None:
        if budget < 1:
            raise ParameterError(f"the budget must be 1 evaluation at least, got {budget}")
        self.problem, self.budget = problem, budget
        self._known: dict[tuple[float, ...], Evaluation] = {}
        self._tried: list[NDArray[np.float64]] = []
        self._scores: list[float] = []
        self._n_asked = 0

    @property
    def n_sets(self) -> int:
        """Number of feature sets."""
        return len(self.problem.names)

    @property
    def n_evaluations(self) -> int:
        """Evaluations made so far."""
        return len(self._scores)

    @property
    def left(self) -> int:
        """Evaluations that may still be made."""
        return self.budget - self.n_evaluations

    @property
    def spent(self) -> bool:
        """Whether the budget is used up, or the search only asks for what it knows."""
        return self.left == 0 or self._n_asked >= _REPEATS * self.budget

    @property
    def best(self) -> tuple[NDArray[np.float64], float]:
        """Weights of the highest score, the first of equals, and the score.

        Raises
        ------
        ParameterError
            If nothing was evaluated yet.
        """
        if not self._scores:
            raise ParameterError("no weights were evaluated yet")
        first = int(np.argmax(self._scores))
        return self._tried[first], self._scores[first]

    @property
    def tried(self) -> NDArray[np.float64]:
        """Weights in the order of their evaluation, shape (n, S), float64."""
        return np.array(self._tried).reshape(-1, self.n_sets)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Their scores, shape (n,), float64."""
        return np.array(self._scores, np.float64)

    def evaluate(self, weights: ArrayLike) -> Evaluation:
        """Evaluate weights, or remember what they gave.

        Parameters
        ----------
        weights
            Shape (S,), not negative; scaled to sum to one and rounded to four decimals.

        Raises
        ------
        ParameterError
            If this would be one evaluation more than the budget holds.
        """
        rounded = on_simplex(np.round(on_simplex(weights, self.n_sets), _DECIMALS), self.n_sets)
        key = tuple(np.round(rounded, _DECIMALS).tolist())
        self._n_asked += 1
        if key not in self._known:
            if self.left == 0:
                raise ParameterError(f"the budget of {self.budget} evaluations is spent; ask for a larger one")
            self._known[key] = self.problem.evaluate(rounded)
            self._tried.append(rounded)
            self._scores.append(self._known[key].score)
        return self._known[key]
