"""Void-free clouds of the same background, which say how much evidence chance gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.voids.background import Field, refine
from napari_aptdefect.apt.voids.candidates import LEAST_LOG_RATIO, Roughness, peaks, prune, scan
from napari_aptdefect.apt.voids.model import FalseAlarms
from napari_aptdefect.apt.voids.search import Setting, sample_all
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Stage

_MAX_VOXELS = 500_000
_PER_CLOUD = 40
_LEAST_TAIL = 5


def calibrate(setting: Setting) -> Stage[FalseAlarms]:
    """Search Poisson clouds of the same background as the cloud itself is searched.

    Parameters
    ----------
    setting
        The cloud; its background is that of the void-free clouds. Of a large specimen a slab across its longest axis
        is taken, and the rate scaled to the whole.

    Notes
    -----
    Above a level the excess of the log Bayes factors is taken as exponential. Its mean is not allowed below 1: for any
    one place the probability of a Bayes factor of k is at most 1 / k where there is no void (Markov's inequality).
    """
    slab, share = _slab(setting.field)
    rng = np.random.default_rng(np.random.SeedSequence([setting.seed, 0]))
    found: list[NDArray[np.float64]] = []
    dispersion: list[float] = []
    n_null = setting.params.n_null
    for i in range(n_null):
        counts = rng.poisson(slab.expected).astype(np.float32)
        open_ = np.ones_like(slab.expected)
        null = refine(replace(slab, counts=counts), open_, setting.params)
        cloud = replace(setting, field=null, dispersion=1.0)
        states = peaks(scan(null, setting.table), null, LEAST_LOG_RATIO, setting.params.max_candidates)
        states, _ = prune(states, null, open_, setting.table, setting.scale_error, LEAST_LOG_RATIO, cloud.multiply)
        dispersion.append(Roughness.of(null, setting.table, open_).dispersion())
        rows = np.arange(min(len(states), _PER_CLOUD))
        samples = yield from sample_all(cloud, states, states, rows, 1000 + i)
        found.append(samples.log_bayes)
    return fit_tail(np.concatenate(found), n_null, share, float(np.median(dispersion)))


def fit_tail(log_bayes: NDArray[np.float64], n_clouds: int, share: float, dispersion: float = 1.0) -> FalseAlarms:
    """Exponential tail of the evidence in void-free clouds.

    Parameters
    ----------
    log_bayes
        Evidence of all candidates, shape (M,).
    n_clouds
        Clouds they come from.
    share
        Part of the specimen's volume that a cloud had.
    dispersion
        Dispersion of the clouds, handed on.
    """
    ordered = np.sort(log_bayes)[::-1]
    n_tail = min(len(ordered), max(_LEAST_TAIL, len(ordered) // 3))
    if n_tail == 0:  # nothing came near: as if one had been seen at the least evidence that counts
        return FalseAlarms(0.0, 1 / (n_clouds * share), 1.0, n_clouds, 0, dispersion)
    at = float(ordered[n_tail - 1])
    scale = max(float(np.mean(ordered[:n_tail] - at)) * n_tail / max(n_tail - 1, 1), 1.0)
    return FalseAlarms(at, n_tail / (n_clouds * share), scale, n_clouds, len(log_bayes), dispersion)


def _slab(field: Field) -> tuple[Field, float]:
    """Middle part of the grid that is not larger than needed, and its share of the places for centers."""
    shape = field.frame.shape
    if np.prod(shape) <= _MAX_VOXELS:
        return field, 1.0
    axis = int(np.argmax(shape))
    n = max(int(shape[axis] * _MAX_VOXELS / np.prod(shape)), min(40, shape[axis]))
    start = (shape[axis] - n) // 2
    here = tuple(slice(start, start + n) if a == axis else slice(None) for a in range(3))
    origin = field.frame.origin_nm.copy()
    origin[axis] += start * field.frame.voxel_nm
    part = field.centers[here]
    frame = Frame(origin, field.frame.voxel_nm, (part.shape[0], part.shape[1], part.shape[2]))
    share = float(part.sum()) / float(field.centers.sum())
    if share == 0:
        return field, 1.0
    return Field(frame, field.counts[here], np.ascontiguousarray(field.expected[here]), part), share
