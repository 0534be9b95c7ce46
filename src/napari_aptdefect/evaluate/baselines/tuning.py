"""Search of parameters: the same number of trials for every method, the first with its defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_aptdefect.errors import AptDefectError, ParameterError
from napari_aptdefect.evaluate.baselines.clustering import Baseline, Clustering
from napari_aptdefect.evaluate.specimen import Specimen
from napari_aptdefect.stage import Params, Progress, Stage

_FAILURES = (AptDefectError, ValueError, ArithmeticError, MemoryError)
"""What unsuited parameters raise, here and in the libraries; anything else is a mistake in the program."""


@dataclass(frozen=True)
class Trial:
    """One set of parameters.

    Parameters
    ----------
    params
        The parameters.
    score
        Mean of the objective over the specimens; minus infinity where a run failed or its score is not a number.
    error
        Why it failed; empty where it didn't.
    """

    params: Params
    score: float
    error: str = ""


@dataclass(frozen=True)
class Tuned:
    """Result of a search.

    Parameters
    ----------
    params
        Parameters of the best trial, the first of equals; the defaults where all failed.
    trials
        All trials in order, the defaults first.
    """

    params: Params
    trials: tuple[Trial, ...]

    @property
    def score(self) -> float:
        """Score of the best trial."""
        return max(trial.score for trial in self.trials)


def tune(
    method: Baseline,
    specimens: Sequence[Specimen],
    objective: Callable[[int, Clustering], float],
    budget: int,
    seed: int,
) -> Stage[Tuned]:
    """Search the parameters of a method at random.

    Parameters
    ----------
    method
        What to tune.
    specimens
        Validation specimens; every trial runs on all of them.
    objective
        Score of a clustering of the specimen with this index, to be made large.
    budget
        Number of trials, the same for each method that is to be compared.
    seed
        Seed of the draws and of the runs.

    Yields
    ------
    `Progress` after each trial.

    Raises
    ------
    ParameterError
        If there is no specimen or no trial.
    """
    if budget < 1 or not specimens:
        raise ParameterError(f"tuning needs at least one trial and one specimen, got {budget} and {len(specimens)}")
    rng = np.random.default_rng([seed, 0x7A])
    trials: list[Trial] = []
    for number in range(budget):
        params = method.params_model() if number == 0 else method.draw(rng)
        trials.append(_try(method, specimens, objective, params, seed))
        yield Progress(number + 1, budget, f"tuning {method.name}")
    best = max(trials, key=lambda trial: trial.score)
    return Tuned(best.params, tuple(trials))


def _try(
    method: Baseline,
    specimens: Sequence[Specimen],
    objective: Callable[[int, Clustering], float],
    params: Params,
    seed: int,
) -> Trial:
    scores = []
    for index, specimen in enumerate(specimens):
        try:
            score = float(objective(index, method.run(specimen, params, seed)))
        except _FAILURES as error:
            return Trial(params, -math.inf, f"specimen {index}: {type(error).__name__}: {error}")
        if math.isnan(score):
            return Trial(params, -math.inf, f"specimen {index}: the score is not a number")
        scores.append(score)
    return Trial(params, float(np.mean(scores)))
