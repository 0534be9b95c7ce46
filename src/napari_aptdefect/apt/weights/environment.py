"""The search for weights as a Gymnasium environment: actions move the log-weights, the reward is the gain in score."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.weights.ledger import Ledger
from napari_aptdefect.apt.weights.space import softmax
from napari_aptdefect.errors import ParameterError

LARGEST: Final = 3.0
"""Log-weights stay within plus and minus this, so a set can count e^6 = 403 times as much as another."""


def fusion_environment(ledger: Ledger, episode_steps: int = 1) -> Any:
    """Make the environment.

    Parameters
    ----------
    ledger
        What scores the weights, and counts.
    episode_steps
        Steps of an episode: 1 makes it a contextual bandit, whose single action sets the weights; with more, a step
        moves the log-weights by that part of the way.

    Returns
    -------
    A `gymnasium.Env`. Every episode starts at equal weights. Action: change of the S log-weights, shape (S,), float32,
    from -1 to 1, in units of 3 / episode_steps. Observation: the weights, the last score, and the best score of the
    episode, shape (S + 2,), float32. Reward: score after the step minus score before.

    Raises
    ------
    ParameterError
        If an episode has no step.
    """
    import gymnasium

    if episode_steps < 1:
        raise ParameterError(f"an episode must have 1 step at least, got {episode_steps}")
    n_sets = ledger.n_sets

    class FusionEnvironment(gymnasium.Env):
        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  gymnasium's own declaration
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (n_sets,), np.float32)
        observation_space = gymnasium.spaces.Box(
            np.array([0] * n_sets + [-1, -1], np.float32), np.ones(n_sets + 2, np.float32), dtype=np.float32
        )

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[NDArray[np.float32], dict[str, Any]]:
            super().reset(seed=seed)
            self._logits, self._step = np.zeros(n_sets), 0
            self._last = self._best = ledger.evaluate(softmax(self._logits)).score
            return self._observation(), {}

        def step(
            self, action: NDArray[np.floating[Any]]
        ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
            change = np.clip(np.asarray(action, np.float64), -1, 1) * LARGEST / episode_steps
            self._logits = np.clip(self._logits + change, -LARGEST, LARGEST)
            score = ledger.evaluate(softmax(self._logits)).score
            reward, self._last = score - self._last, score
            self._best = max(self._best, score)
            self._step += 1
            return self._observation(), float(reward), self._step >= episode_steps, False, {"score": score}

        def _observation(self) -> NDArray[np.float32]:
            return np.append(softmax(self._logits), [self._last, self._best]).astype(np.float32)

    return FusionEnvironment()
