from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_aptdefect.apt.weights import (
    Evaluation,
    LabeledProblem,
    Ledger,
    UnlabeledParams,
    UnlabeledProblem,
    WeightsParams,
    fusion_environment,
    learn_weights,
    why,
)
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import drain

SEEDED = ("random", "tpe", "bandit", "ppo")


class Hill:
    """A problem with one known peak, and the gradient toward it."""

    names = ("a", "b", "c")
    peak = np.array([0.7, 0.2, 0.1])

    def __init__(self) -> None:
        self.n_calls = 0

    def evaluate(self, weights: np.ndarray) -> Evaluation:
        self.n_calls += 1
        off = weights - self.peak
        return Evaluation(1 - float(off @ off), weights * (2 * off - weights @ (2 * off)))


def learned(method: str, problem: object | None = None, budget: int = 40, seed: int = 0, **more: int):
    return drain(learn_weights(problem or Hill(), WeightsParams(method=method, budget=budget, **more), seed=seed))


@pytest.mark.parametrize("method", ["random", "gradient", "tpe", "bandit"])
def test_climbs_the_hill(method: str) -> None:
    found = learned(method, budget=60)
    assert found.weights.sum() == pytest.approx(1)
    assert np.abs(found.weights - Hill.peak).max() < 0.12
    assert found.score > 0.98


@pytest.mark.parametrize("method", ["gradient", *SEEDED])
def test_keeps_to_its_budget_and_counts_honestly(method: str) -> None:
    hill = Hill()
    found = learned(method, hill, budget=13)
    assert found.n_evaluations == hill.n_calls <= 13
    assert found.tried[0] == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert np.all(np.diff(found.history[:, 1]) >= 0)
    assert found.history[-1].tolist() == [found.n_evaluations, found.score]
    assert found.score == max(found.scores)


@pytest.mark.parametrize("method", SEEDED)
def test_same_seed_same_search(method: str) -> None:
    first, again, other = (learned(method, budget=20, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.tried, again.tried)
    assert not np.array_equal(first.tried, other.tried)


def test_ppo_leaves_the_global_generators_alone_and_does_not_hear_them() -> None:
    import torch

    def states() -> tuple[object, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    stage = learn_weights(Hill(), WeightsParams(method="ppo", budget=20), seed=4)
    before = states()
    tried = []
    try:
        while True:
            next(stage)
            assert states() == before
            torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002
            before = states()
    except StopIteration as stop:
        tried = stop.value.tried
    np.testing.assert_array_equal(tried, learned("ppo", budget=20, seed=4).tried)


def test_ppo_leaves_no_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    learned("ppo", budget=9)
    assert list(tmp_path.iterdir()) == []


def test_ppo_in_longer_episodes_moves_in_smaller_steps() -> None:
    found = learned("ppo", budget=9, episode_steps=8)
    assert np.abs(np.diff(np.log(found.tried[:2]), axis=0)).max() <= 2 * 3 / 8 + 1e-3


@pytest.mark.parametrize("method", ["gradient", *SEEDED])
def test_can_be_canceled(method: str) -> None:
    hill = Hill()
    stage = learn_weights(hill, WeightsParams(method=method, budget=1000))
    progress = [next(stage) for _ in range(3)]
    stage.close()
    assert [one.total for one in progress] == [1000] * 3
    assert hill.n_calls <= 2 * 8 + 1  # ppo says something after each rollout of 8


def test_uniform_is_one_evaluation() -> None:
    found = learned("uniform")
    assert (found.n_evaluations, found.weights.tolist()) == (1, pytest.approx([1 / 3] * 3))


def test_a_single_set_needs_no_search() -> None:
    class Alone(Hill):
        names = ("a",)
        peak = np.ones(1)

    assert learned("tpe", Alone()).n_evaluations == 1


def test_finds_the_informative_set_and_says_why(problem: LabeledProblem) -> None:
    found = learned("gradient", problem, budget=25)
    assert found.weights.argmax() == 1
    assert found.score > found.scores[0]
    reasons = why(problem, found)
    assert reasons[0].name == "compositional"
    assert reasons[0].alone > max(one.alone for one in reasons[1:])
    assert reasons[0].without < found.score
    assert sum(one.weight for one in reasons) == pytest.approx(1)


def test_why_of_weights_on_one_set_alone() -> None:
    only = learned("uniform", Hill())
    object.__setattr__(only, "weights", np.array([1.0, 0.0, 0.0]))
    assert np.isnan(why(Hill(), only)[0].without)


def test_without_labels() -> None:
    rng = np.random.default_rng(4)
    clear = 8.0 * np.eye(3)[rng.integers(0, 3, 200)] + rng.normal(size=(200, 3))
    params = UnlabeledParams(width=3, n_clusters=3, most_ions=150)
    problem = UnlabeledProblem(("clear", "noise"), (clear, rng.normal(size=(200, 3))), params)
    found = learned("bandit", problem, budget=12)
    assert found.weights[0] > 0.6
    with pytest.raises(ParameterError, match="needs labels"):
        learned("gradient", problem)


def test_ledger_pays_once_and_not_beyond_its_budget() -> None:
    hill = Hill()
    ledger = Ledger(hill, 2)
    ledger.evaluate([1, 1, 1])
    ledger.evaluate([2, 2, 2.00001])
    assert (ledger.n_evaluations, hill.n_calls, ledger.spent) == (1, 1, False)
    ledger.evaluate([1, 0, 0])
    assert ledger.spent
    with pytest.raises(ParameterError, match="budget of 2"):
        ledger.evaluate([0, 1, 0])
    assert ledger.evaluate([1, 0, 0]).score == ledger.scores[1]


def test_a_search_that_only_repeats_itself_ends() -> None:
    ledger = Ledger(Hill(), 3)
    for _ in range(30):
        ledger.evaluate([1, 1, 1])
    assert ledger.spent


def test_ledger_refuses_nonsense() -> None:
    with pytest.raises(ParameterError, match="1 evaluation at least"):
        Ledger(Hill(), 0)
    with pytest.raises(ParameterError, match="no weights were evaluated"):
        _ = Ledger(Hill(), 1).best


@pytest.mark.parametrize("steps", [1, 5])
def test_environment_passes_the_check_of_gymnasium(steps: int) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(fusion_environment(Ledger(Hill(), 200), steps), skip_render_check=True)


def test_environment_rewards_the_gain() -> None:
    environment = fusion_environment(Ledger(Hill(), 50), 2)
    start, _ = environment.reset(seed=1)
    assert start[:3] == pytest.approx([1 / 3] * 3)
    rewards = []
    for action in ([1, 0, -1], [0, 0, 0]):
        observation, reward, done, cut, _ = environment.step(np.float32(action))
        rewards.append((reward, done, cut))
    assert rewards[0][0] == pytest.approx(float(observation[3] - start[3]), abs=1e-6)
    assert rewards[1] == (0, True, False)
    assert observation[0] / observation[2] == pytest.approx(np.exp(3), rel=1e-5)
    with pytest.raises(ParameterError, match="1 step"):
        fusion_environment(Ledger(Hill(), 5), 0)


def test_the_package_loads_no_learning_library() -> None:
    code = "import sys, napari_aptdefect.apt.weights; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"gymnasium", "optuna", "stable_baselines3", "torch", "sklearn"}
