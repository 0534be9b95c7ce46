"""Candidates and their samples: each void against the background that all others leave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.voids.background import Field
from napari_aptdefect.apt.voids.candidates import cut
from napari_aptdefect.apt.voids.joint import connected, neighbor_pairs, sweep
from napari_aptdefect.apt.voids.likelihood import N_STATE, Window, multiply_ball
from napari_aptdefect.apt.voids.model import VoidParams
from napari_aptdefect.apt.voids.profile import Table
from napari_aptdefect.apt.voids.sampler import DEPLETION_MEAN, sample
from napari_aptdefect.data.tree import run_blocks
from napari_aptdefect.stage import Stage

_SWEEPS = 10


@dataclass(frozen=True, eq=False)
class Setting:
    """What all candidates of one cloud share.

    Parameters
    ----------
    field
        Counts and background.
    table
        Profiles.
    params
        Parameters.
    seed
        Seed; each sample gets one of its own from it.
    dispersion
        Divides the log likelihood.
    workers
        Threads; all processors when None.
    """

    field: Field
    table: Table
    params: VoidParams
    seed: int
    dispersion: float = 1.0
    workers: int | None = None

    @property
    def origin_nm(self) -> NDArray[np.float64]:
        """Middle of the first voxel, nm."""
        return self.field.frame.origin_nm + self.field.frame.voxel_nm / 2

    @property
    def blur_error(self) -> float:
        """Relative standard deviation of the blur; never zero, so that it can be drawn."""
        return max(self.params.blur_error_percent / 100, 1e-3)

    @property
    def scale_error(self) -> float:
        """Relative standard deviation of the background's scale."""
        return self.params.scale_error_percent / 100

    def open(self) -> NDArray[np.float32]:
        """Transmission without voids."""
        return np.ones(self.field.frame.shape, np.float32)

    def multiply(self, transmission: NDArray[np.float32], state: NDArray[np.float64]) -> None:
        """Take a ball out of a transmission, in place."""
        multiply_ball(transmission, self.origin_nm, self.field.frame.voxel_nm, state, self.table, False)

    def transmission(self, states: NDArray[np.float64]) -> NDArray[np.float32]:
        """What balls leave of the background."""
        out = self.open()
        for state in states:
            self.multiply(out, state)
        return out

    def window(self, transmission: NDArray[np.float32], state: NDArray[np.float64]) -> Window:
        """Surroundings of a state."""
        return cut(self.field, transmission, state[:3], float(np.exp(state[3])), self.table)

    def without(self, window: Window, states: NDArray[np.float64]) -> Window:
        """Put balls back that a window's expectation is without."""
        for state in states:
            multiply_ball(window.expected, window.origin_nm, window.voxel_nm, state, self.table, True)
        return window

    @property
    def reach_nm(self) -> float:
        """How much farther than their radii the profiles of two balls meet."""
        return 4 * max(self.table.sigma_lateral_nm, self.table.sigma_depth_nm)


@dataclass(frozen=True, eq=False)
class Samples:
    """Posteriors of M candidates.

    Parameters
    ----------
    places
        Shape (M, 6): where the scan found them, which the prior is about.
    particles
        Shape (M, P, 6).
    log_bayes
        Shape (M,).
    """

    places: NDArray[np.float64]
    particles: NDArray[np.float64]
    log_bayes: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def means(self) -> NDArray[np.float64]:
        """Posterior means of the states, shape (M, 6)."""
        return np.asarray(self.particles.mean(axis=1)).reshape(-1, N_STATE)

    def take(self, rows: NDArray[Any]) -> Samples:
        """Some of them."""
        return Samples(self.places[rows], self.particles[rows], self.log_bayes[rows])

    def joined(self, other: Samples) -> Samples:
        """These and others."""
        return Samples(
            np.concatenate([self.places, other.places]),
            np.concatenate([self.particles, other.particles]),
            np.concatenate([self.log_bayes, other.log_bayes]),
        )


def sample_all(
    setting: Setting,
    places: NDArray[np.float64],
    states: NDArray[np.float64],
    rows: NDArray[np.int64],
    turn: int,
    depletion_mean: float = DEPLETION_MEAN,
) -> Stage[Samples]:
    """Sample some candidates, each given the states of all others.

    Parameters
    ----------
    setting
        The cloud.
    places, states
        Where each candidate was found, and its present state; shape (M, 6).
    rows
        The candidates to sample.
    turn
        Makes the random numbers differ from those of other calls.
    depletion_mean
        Mean of the prior of the logit of the depletion.
    """
    n = setting.params.n_particles
    particles = np.empty((len(rows), n, N_STATE))
    evidence = np.empty(len(rows))
    pairs = neighbor_pairs(states, setting.reach_nm)
    transmission = setting.transmission(states)
    seeds = _seeds(setting.seed, turn, len(rows))

    def work(start: int, stop: int) -> None:
        for k in range(start, stop):
            i = rows[k]
            others = states[pairs[i]]
            window = setting.without(setting.window(transmission, states[i]), states[i : i + 1])
            balls = np.column_stack([others[:, :3], np.exp(others[:, 3])])
            evidence[k] = sample(
                window, places[i, :3], balls, setting.table, setting.scale_error, setting.blur_error,
                setting.dispersion, n, int(seeds[k]), particles[k], depletion_mean,
            )  # fmt: skip

    yield from run_blocks(work, len(rows), block=1, message="sample candidates", workers=setting.workers)
    return Samples(places[rows], particles, evidence)


def refine_jointly(setting: Setting, samples: Samples) -> Stage[Samples]:
    """Draw the posteriors of neighboring voids together, with the measured dispersion of the counts."""
    particles = samples.particles.copy()
    means = samples.means
    pairs = neighbor_pairs(means, setting.reach_nm)
    transmission = setting.transmission(means)
    groups = connected(pairs)
    seeds = _seeds(setting.seed, -1, len(groups) * _SWEEPS).reshape(len(groups), _SWEEPS)

    def work(start: int, stop: int) -> None:
        for g in range(start, stop):
            width = dict.fromkeys(groups[g], 1.0)
            for turn in range(_SWEEPS):
                for i in groups[g]:
                    window = setting.window(transmission, means[i])
                    window = setting.without(window, means[[i, *pairs[i]]])
                    rate = sweep(
                        window, particles, i, pairs[i], samples.places[i, :3], setting.table, setting.scale_error,
                        setting.blur_error, setting.dispersion, width[i], int(seeds[g, turn]) + i,
                    )  # fmt: skip
                    width[i] = float(np.clip(width[i] * np.exp(2 * (rate - 0.25)), 0.05, 2.0))

    yield from run_blocks(work, len(groups), block=1, message="refine neighbors", workers=setting.workers)
    return replace(samples, particles=particles)


def _seeds(seed: int, turn: int, n: int) -> NDArray[np.uint32]:
    """Seeds of compiled generators; 31 bits."""
    return np.asarray(np.random.SeedSequence([seed, turn + 2]).generate_state(max(n, 1))[:n] >> 1, np.uint32)
