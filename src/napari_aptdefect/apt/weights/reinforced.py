"""Reinforcement learning of the weights: a bandit of our own, and PPO from stable-baselines3."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from napari_aptdefect.apt.weights.environment import LARGEST, fusion_environment
from napari_aptdefect.apt.weights.ledger import Ledger
from napari_aptdefect.apt.weights.space import softmax

_BATCH: Final = 4  # actions per update of the bandit
_RATE: Final = 0.4
_SPREAD: Final = (0.1, 1.5)  # bounds of the standard deviation of the bandit's log-weights
_ROLLOUT: Final = 8  # steps per update of PPO


def bandit(ledger: Ledger, seed: int) -> Iterator[None]:
    """Move a Gaussian over the log-weights toward what scored above the baseline.

    Parameters
    ----------
    ledger
        What scores and counts; equal weights must have been evaluated.
    seed
        Seed of the draws.

    Notes
    -----
    a ~ N(mu, s^2), w = softmax(a), reward R = score. The baseline is the running mean of the rewards; advantages A are
    divided by their root mean square in the batch. With e = (a - mu) / s, mu rises by rate * s * mean(A e), which is
    REINFORCE preconditioned by the covariance of the policy, and log s by rate / 2 * mean(A (e^2 - 1)).
    """
    rng = np.random.default_rng([seed, 0xE1])
    mean, spread = np.zeros(ledger.n_sets), np.ones(ledger.n_sets)
    baseline = ledger.best[1]
    while not ledger.spent:
        deviations, rewards = [], []
        for _ in range(min(_BATCH, ledger.left)):
            deviation = rng.standard_normal(ledger.n_sets)
            action = np.clip(mean + spread * deviation, -LARGEST, LARGEST)
            deviations.append(deviation)
            rewards.append(ledger.evaluate(softmax(action)).score)
            yield
        e, advantage = np.array(deviations), np.array(rewards) - baseline
        advantage /= max(float(np.sqrt(np.mean(advantage**2))), 1e-9)
        mean = np.clip(mean + _RATE * spread * (advantage @ e) / len(e), -LARGEST, LARGEST)
        spread = np.clip(spread * np.exp(_RATE / 2 * (advantage @ (e**2 - 1)) / len(e)), *_SPREAD)
        baseline += 0.5 * (float(np.mean(rewards)) - baseline)


def ppo(ledger: Ledger, seed: int, episode_steps: int) -> Iterator[None]:
    """Train PPO in the environment until the budget is spent, one rollout per step of the iterator.

    Parameters
    ----------
    ledger
        What scores and counts.
    seed
        Seed of policy and draws.
    episode_steps
        Steps of an episode.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return not ledger.spent

    generators = _Generators()
    with generators.lent():
        model = PPO(
            "MlpPolicy",
            fusion_environment(ledger, episode_steps),
            n_steps=_ROLLOUT,
            batch_size=_ROLLOUT,
            learning_rate=3e-3,
            policy_kwargs={"net_arch": [16]},
            seed=seed,
            device="cpu",
        )
    model.set_logger(Logger(None, []))  # its own would leave a folder behind
    while not ledger.spent:
        with generators.lent():
            model.learn(_ROLLOUT, callback=Stop(), reset_num_timesteps=False)
        yield


class _Generators:
    """Global random generators of a library that has no other: given to it for a while, then as they were."""

    def __init__(self) -> None:
        self._own: tuple[Any, dict[str, Any], Any] | None = None

    @contextmanager
    def lent(self) -> Iterator[None]:
        before = self._state()
        if self._own is not None:
            self._set(self._own)
        try:
            yield
        finally:
            self._own = self._state()
            self._set(before)

    @staticmethod
    def _state() -> tuple[Any, dict[str, Any], Any]:
        import torch

        return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002

    @staticmethod
    def _set(state: tuple[Any, dict[str, Any], Any]) -> None:
        import torch

        random.setstate(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        torch.set_rng_state(state[2])
