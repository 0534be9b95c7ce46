"""Joint refinement: neighboring voids explain the same counts, so their posteriors are drawn together."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_aptdefect.apt.voids.likelihood import N_STATE, Window, log_ratio, multiply_ball
from napari_aptdefect.apt.voids.profile import Table
from napari_aptdefect.apt.voids.sampler import IMPOSSIBLE, log_prior, particle_root, propose


def neighbor_pairs(states: NDArray[np.float64], reach_nm: float) -> list[NDArray[np.int64]]:
    """Rows of the voids whose blurred balls touch each void's; `reach_nm` is added to both radii."""
    radius = np.exp(states[:, 3])
    out = []
    for i, state in enumerate(states):
        gap = np.linalg.norm(states[:, :3] - state[:3], axis=1) - radius - radius[i]
        near = np.flatnonzero(gap < reach_nm)
        out.append(near[near != i].astype(np.int64))
    return out


def connected(pairs: list[NDArray[np.int64]]) -> list[list[int]]:
    """Groups of voids that neighbors connect, each ascending."""
    left, groups = set(range(len(pairs))), []
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = {int(j) for i in new for j in pairs[i]} - group
        left -= group
        groups.append(sorted(group))
    return groups


@njit(cache=True, nogil=True)
def sweep(
    window: Window,
    particles: NDArray[np.float64],
    own: int,
    near: NDArray[np.int64],
    center: NDArray[np.float64],
    table: Table,
    scale_error: float,
    blur_error: float,
    dispersion: float,
    width: float,
    seed: int,
) -> float:
    """Move one void of every particle, given the other voids of the same particle.

    Parameters
    ----------
    window
        Counts around the void; the expectation without it and without its neighbors.
    particles
        Shape (K, P, 6): states of all voids in all particles; row `own` is changed.
    own, near
        Row of the void, and rows of its neighbors.
    center
        Place of the candidate, for the prior, nm.
    table, scale_error, blur_error, dispersion
        As in `sample`.
    width
        Factor on the width of the proposals.
    seed
        Seed.

    Returns
    -------
    Share of the moves that were accepted.

    Notes
    -----
    Metropolis within Gibbs: P chains that begin at the particles of the separate posteriors.
    """
    np.random.seed(seed)  # noqa: NPY002  the generator of compiled code, one per thread
    n_particles = particles.shape[1]
    root = particle_root(particles[own])
    n, alone, accepted = float(window.counts.sum()), float(window.expected.sum()), 0
    others = np.empty((len(near), 4))
    trial = np.empty(N_STATE)
    for p in range(n_particles):
        expected = window.expected.copy() if len(near) > 0 else window.expected
        for m, j in enumerate(near):
            multiply_ball(expected, window.origin_nm, window.voxel_nm, particles[j, p], table, False)
            others[m, :3] = particles[j, p, :3]
            others[m, 3] = np.exp(particles[j, p, 3])
        here = Window(window.counts, expected, window.origin_nm, window.voxel_nm)
        total = float(expected.sum()) if len(near) > 0 else alone
        state = particles[own, p]
        now = log_prior(state, center, blur_error, others)
        propose(state, root, width, trial)
        then = log_prior(trial, center, blur_error, others)
        if then <= IMPOSSIBLE:
            continue
        now += log_ratio(here, state, table, scale_error, n, total) / dispersion
        then += log_ratio(here, trial, table, scale_error, n, total) / dispersion
        if np.log(np.random.random()) < then - now:  # noqa: NPY002
            particles[own, p] = trial
            accepted += 1
    share: float = accepted / n_particles
    return share
