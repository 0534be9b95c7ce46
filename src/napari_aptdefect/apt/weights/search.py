"""Learning the weights of the feature sets: several ways, one budget, one ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.weights.environment import LARGEST
from napari_aptdefect.apt.weights.ledger import Ledger
from napari_aptdefect.apt.weights.problem import Problem
from napari_aptdefect.apt.weights.reinforced import bandit, ppo
from napari_aptdefect.apt.weights.space import softmax
from napari_aptdefect.arrays import read_only
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params, Progress, Stage, param

Method = Literal["uniform", "random", "gradient", "tpe", "bandit", "ppo"]

_RATE: Final = 0.2  # of the steps of the log-weights
_MOMENTS: Final = (0.9, 0.99)


class WeightsParams(Params):
    """How the weights are learned."""

    method: Method = param(
        "uniform",  # on unseen wires no search was above it (docs/fusion.md)
        title="Method",
        description="Equal weights; random ones; descent of a surrogate (labels needed); Bayesian optimization by "
        "Parzen estimators; reinforcement learning by a bandit or by proximal policies.",
    )
    budget: int = param(
        60,
        title="Budget",
        description="Evaluations of weights, the first of them at equal weights.",
        unit="evaluations",
        ge=1,
        le=100_000,
    )
    episode_steps: int = param(
        1,
        title="Episode steps",
        description="Steps of an episode of ppo; 1 makes every episode one choice of the weights.",
        unit="steps",
        ge=1,
        le=100,
    )


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """The best weights of a search, and how it came to them.

    Parameters
    ----------
    names
        Names of the S feature sets.
    weights
        Shape (S,), float64, summing to one.
    score
        Their score.
    method
        How they were found.
    tried
        Shape (n, S), float64: weights in the order of their evaluation; the first are equal.
    scores
        Shape (n,), float64: their scores.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    score: float
    method: str
    tried: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def n_evaluations(self) -> int:
        """How many evaluations were made."""
        return len(self.scores)

    @property
    def history(self) -> NDArray[np.float64]:
        """Number of evaluations and the best score so far, shape (n, 2), float64."""
        return np.column_stack([np.arange(1, len(self.scores) + 1), np.maximum.accumulate(self.scores)])


@dataclass(frozen=True)
class SetReason:
    """Why a set has its weight.

    Parameters
    ----------
    name
        Name of the set.
    weight
        Its weight.
    alone
        Score of this set without the others.
    without
        Score of the others at their weights without this set; NaN where nothing would be left.
    """

    name: str
    weight: float
    alone: float
    without: float


def learn_weights(problem: Problem, params: WeightsParams | None = None, *, seed: int = 0) -> Stage[LearnedWeights]:
    """Search the weights with the highest score.

    Parameters
    ----------
    problem
        What scores weights: `LabeledProblem`, `UnlabeledProblem`, or anything of that form.
    params
        Parameters; the defaults when None.
    seed
        Seed of all random numbers.

    Yields
    ------
    `Progress` in evaluations; closing the generator cancels the search.

    Raises
    ------
    ParameterError
        If `gradient` is asked for a problem that has no surrogate.

    Notes
    -----
    Every method starts at equal weights, which count as one evaluation, and returns the best of all weights it has
    evaluated. `random` draws uniformly from the simplex. `gradient` descends the surrogate in the log-weights by Adam
    (Kingma & Ba 2014, arXiv 1412.6980); each step is an evaluation. `tpe` is Optuna's tree-structured Parzen estimator
    (Bergstra et al. 2011) over log-weights from -3 to 3. `bandit` is a Gaussian policy over log-weights that learns by
    REINFORCE with a baseline (Williams 1992, doi 10.1007/BF00992696). `ppo` is that of stable-baselines3 (Schulman et
    al. 2017, arXiv 1707.06347) in `fusion_environment`, on the CPU.
    """
    params = params or WeightsParams()
    ledger = Ledger(problem, params.budget)
    start = ledger.evaluate(np.full(ledger.n_sets, 1 / ledger.n_sets))
    if params.method == "gradient" and start.gradient is None:
        raise ParameterError("the method gradient needs labels; without them use tpe, random, bandit or ppo")
    ways: dict[str, Callable[[], Iterator[None]]] = {
        "uniform": lambda: iter(()),
        "random": lambda: _random(ledger, seed),
        "gradient": lambda: _gradient(ledger),
        "tpe": lambda: _tpe(ledger, seed),
        "bandit": lambda: bandit(ledger, seed),
        "ppo": lambda: ppo(ledger, seed, params.episode_steps),
    }
    yield Progress(1, params.budget, params.method)
    if ledger.n_sets > 1:  # else there is nothing to choose
        for _ in ways[params.method]():
            yield Progress(ledger.n_evaluations, params.budget, params.method)
    weights, score = ledger.best
    tried, scores = read_only(ledger.tried), read_only(ledger.scores)
    return LearnedWeights(problem.names, read_only(weights), score, params.method, tried, scores)


def why(problem: Problem, learned: LearnedWeights) -> tuple[SetReason, ...]:
    """Tell why each set has its weight: the score of it alone, and of the others without it.

    Parameters
    ----------
    problem
        The problem the weights were learned on.
    learned
        What was learned.

    Returns
    -------
    One entry per set, the largest weight first. Takes up to two evaluations per set, beside those of the search.
    """
    n = len(learned.names)
    ledger, out = Ledger(problem, 2 * n), []
    for i, name in enumerate(learned.names):
        others = np.where(np.arange(n) == i, 0.0, learned.weights)
        without = ledger.evaluate(others).score if others.sum() > 0 else float("nan")
        out.append(SetReason(name, float(learned.weights[i]), ledger.evaluate(np.eye(n)[i]).score, without))
    return tuple(sorted(out, key=lambda one: -one.weight))


def _random(ledger: Ledger, seed: int) -> Iterator[None]:
    rng = np.random.default_rng([seed, 0xE0])
    while not ledger.spent:
        ledger.evaluate(rng.dirichlet(np.ones(ledger.n_sets)))
        yield


def _gradient(ledger: Ledger) -> Iterator[None]:
    """Adam on the log-weights."""
    logits = np.zeros(ledger.n_sets)
    first, second = np.zeros(ledger.n_sets), np.zeros(ledger.n_sets)
    slow, slower = _MOMENTS
    step = 0
    while not ledger.spent:
        gradient: Any = ledger.evaluate(softmax(logits)).gradient
        step += 1
        first = slow * first + (1 - slow) * gradient
        second = slower * second + (1 - slower) * gradient**2
        change = first / (1 - slow**step) / (np.sqrt(second / (1 - slower**step)) + 1e-9)
        logits = np.clip(logits - _RATE * change, -LARGEST, LARGEST)
        yield


def _tpe(ledger: Ledger, seed: int) -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a stage does not talk
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    finally:
        optuna.logging.set_verbosity(before)
    names = [f"log_weight_{i}" for i in range(ledger.n_sets)]
    start = {name: optuna.distributions.FloatDistribution(-LARGEST, LARGEST) for name in names}
    study.add_trial(
        optuna.trial.create_trial(params=dict.fromkeys(names, 0.0), distributions=start, value=ledger.best[1])
    )
    while not ledger.spent:
        trial = study.ask()
        logits = [trial.suggest_float(name, -LARGEST, LARGEST) for name in names]
        study.tell(trial, ledger.evaluate(softmax(logits)).score)
        yield
