"""Find voids: scan, sample, look again at what is left, refine neighbors together."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.voids.background import count_dithered, effective_blur, make_field, refine
from napari_aptdefect.apt.voids.calibration import calibrate
from napari_aptdefect.apt.voids.candidates import LEAST_LOG_RATIO, Roughness, peaks, prune, scan
from napari_aptdefect.apt.voids.joint import neighbor_pairs
from napari_aptdefect.apt.voids.likelihood import N_STATE
from napari_aptdefect.apt.voids.model import ROUGH, FalseAlarms, VoidParams, Voids
from napari_aptdefect.apt.voids.profile import build_table
from napari_aptdefect.apt.voids.sampler import ZONE_MEAN
from napari_aptdefect.apt.voids.search import Samples, Setting, refine_jointly, sample_all
from napari_aptdefect.arrays import as_points, finite_rows
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import Progress, Stage

_LARGEST_VOXEL_NM = 0.75
_ROUNDS = 3
_ZONE_TURN = 500
_SURELY_EMPTY = 0.9  # depletion from which a void can't be a zone of low density
_SURE = 30.0  # evidence beyond the bar that no neighbor can undo; such a void is refined with them in the end only
_ZONE_ODDS = 3.0  # log Bayes factor from which a place is a zone of low density and no void
_DISPERSION = (0.1, 10.0)
_TOTAL = 100

T = TypeVar("T")


def find_voids(
    xyz_nm: ArrayLike,
    frame: Frame,
    inside: NDArray[np.bool_],
    params: VoidParams | None = None,
    seed: int = 0,
    *,
    expected: NDArray[np.float32] | None = None,
    workers: int | None = None,
) -> Stage[Voids]:
    """Find empty balls in a cloud of ions, with credible intervals and the odds against chance.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; z is the depth. Rows with a non-finite value are left out.
    frame
        Grid; voxels of at most 0.75 nm.
    inside
        Shape `frame.shape`: voxels inside the specimen, cavities included (`fields.support`).
    params
        Parameters; the defaults when None.
    seed
        Seed; the same input, parameters and seed give the same voids, for any number of threads.
    expected
        Ions per voxel without defects, shape `frame.shape`, such as `Background.density`; a plane fitted around each
        voxel when None. Columns along the depth and layers across it are corrected in either case.
    workers
        Threads; all processors when None.

    Yields
    ------
    Progress over background, calibration, sampling and refinement.

    Raises
    ------
    ShapeError
        If a grid does not have the shape of the frame.
    ParameterError
        If the voxels are too large for voids.
    EmptySelectionError
        If no ion has a finite position, or the specimen is thinner than the surface zone.

    Notes
    -----
    Counts are Poisson with the local background times what a blurred ball leaves; see `likelihood` for the model,
    `sampler` for the tempered sequential Monte Carlo, `calibration` for the false alarms, and docs/voids.md.
    """
    params = params or VoidParams()
    xyz = _checked(xyz_nm, frame, inside, expected)
    yield Progress(0, _TOTAL, "background")
    blur, dither = effective_blur(params, frame.voxel_nm)
    table = build_table(blur)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    field = make_field(count_dithered(xyz, frame, dither, rng), frame, inside, params, expected)
    setting = Setting(field, table, params, seed, workers=workers)
    yield Progress(15, _TOTAL, "scan")
    first = _candidates(setting, setting.open())
    setting = replace(setting, field=refine(field, setting.transmission(first), params))
    places = _candidates(setting, setting.open())
    alarms: FalseAlarms = yield from _scaled(calibrate(setting), 20, 45)
    left = setting.transmission(places)
    dispersion = Roughness.of(setting.field, table, left).dispersion() / alarms.dispersion
    setting = replace(setting, dispersion=max(dispersion, 1.0))
    bar = alarms.threshold(params.false_alarms)
    samples, n_looked = yield from _scaled(_detect(setting, places, bar), 45, 90)
    measured = replace(setting, dispersion=float(np.clip(dispersion, *_DISPERSION)))
    samples = yield from _scaled(refine_jointly(measured, samples), 90, 100)
    rough = Roughness.of(setting.field, table, setting.transmission(samples.means))
    local = rough.around(samples.means[:, :3], np.exp(samples.means[:, 3])) / alarms.dispersion
    return _summarize(samples, setting, alarms, dispersion, local, n_looked)


def _checked(
    xyz_nm: ArrayLike, frame: Frame, inside: NDArray[np.bool_], expected: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    xyz = as_points(xyz_nm)
    xyz = xyz[finite_rows(xyz)]
    if len(xyz) == 0:
        raise EmptySelectionError("no ion has a finite position; there is nothing to search for voids")
    if frame.voxel_nm > _LARGEST_VOXEL_NM:
        raise ParameterError(
            f"voxels of {frame.voxel_nm} nm are too large to see voids; give a frame of {_LARGEST_VOXEL_NM} nm or less"
        )
    for name, grid in (("inside", inside), ("expected", expected)):
        if grid is not None and grid.shape != frame.shape:
            raise ShapeError(f"{name} must have the shape of the frame {frame.shape}, got {grid.shape}")
    return xyz


def _candidates(setting: Setting, transmission: NDArray[np.float32]) -> NDArray[np.float64]:
    found = scan(setting.field, setting.table, transmission)
    states = peaks(found, setting.field, LEAST_LOG_RATIO, setting.params.max_candidates)
    states, _ = prune(
        states, setting.field, transmission, setting.table, setting.scale_error, LEAST_LOG_RATIO, setting.multiply
    )
    return states


def _detect(setting: Setting, places: NDArray[np.float64], bar: float) -> Stage[tuple[Samples, int]]:
    """Sample candidates, keep those above the bar, look for more in what they leave; leave out zones of low density."""
    states = places
    samples: Samples = yield from sample_all(setting, places, states, np.arange(len(places)), 0)
    n_looked = len(places)
    for turn in range(1, _ROUNDS + 1):
        keep = _keep(samples, setting.params, bar)
        lost = samples.means[~keep]
        samples = samples.take(keep)
        new = _candidates(setting, setting.transmission(samples.means))
        new = _outside(new, np.concatenate([samples.means, lost]))
        n_looked += len(new)
        if len(new) == 0 and len(lost) == 0:
            break
        places = np.concatenate([samples.places, new])
        states = np.concatenate([samples.means, new])
        changed = np.concatenate([lost, new])
        again = _near(samples.means, changed, setting.reach_nm)
        again = again[samples.log_bayes[again] < bar + _SURE]
        rows = np.concatenate([again, np.arange(len(samples.places), len(places))])
        fresh: Samples = yield from sample_all(setting, places, states, rows, turn)
        rest = np.setdiff1d(np.arange(len(samples.places)), again)
        samples = samples.take(rest).joined(fresh)
    samples = samples.take(_keep(samples, setting.params, bar))
    doubtful = np.flatnonzero(_depletion(samples) < _SURELY_EMPTY)
    zones: Samples = yield from sample_all(setting, samples.places, samples.means, doubtful, _ZONE_TURN, ZONE_MEAN)
    is_zone = zones.log_bayes > samples.log_bayes[doubtful] + _ZONE_ODDS
    is_zone &= _depletion(zones) < setting.params.least_depletion
    return samples.take(np.setdiff1d(np.arange(len(samples.places)), doubtful[is_zone])), n_looked


def _keep(samples: Samples, params: VoidParams, bar: float) -> NDArray[np.bool_]:
    return np.asarray((samples.log_bayes >= bar) & (_depletion(samples) >= params.least_depletion), np.bool_)


def _depletion(samples: Samples) -> NDArray[np.float64]:
    return np.asarray((1 / (1 + np.exp(-samples.particles[..., 4]))).mean(axis=1))


def _outside(states: NDArray[np.float64], balls: NDArray[np.float64]) -> NDArray[np.float64]:
    """States whose centers lie in no ball; what was looked at there is not looked at again."""
    if len(balls) == 0 or len(states) == 0:
        return states
    gap = np.linalg.norm(states[:, None, :3] - balls[None, :, :3], axis=2)
    return np.asarray(states[(gap > np.exp(balls[None, :, 3])).all(axis=1)])


def _near(states: NDArray[np.float64], changed: NDArray[np.float64], reach_nm: float) -> NDArray[np.int64]:
    """Rows of the states that a change may concern."""
    both = np.concatenate([states, changed])
    pairs = neighbor_pairs(both, reach_nm)[: len(states)]
    return np.array([i for i, near in enumerate(pairs) if (near >= len(states)).any()], np.int64)


def _summarize(
    samples: Samples,
    setting: Setting,
    alarms: FalseAlarms,
    dispersion: float,
    local: NDArray[np.float64],
    n_looked: int,
) -> Voids:
    order = np.argsort(-samples.log_bayes, kind="stable")
    particles, evidence, local = samples.particles[order], samples.log_bayes[order], local[order]
    rng = np.random.default_rng(np.random.SeedSequence([setting.seed, 3]))
    model_error = setting.params.shape_error_percent / 100 * rng.standard_normal(particles.shape[:2])
    particles[..., 3] += model_error
    radius = np.exp(particles[..., 3])
    depletion = 1 / (1 + np.exp(-particles[..., 4]))
    center = particles[..., :3].mean(axis=1)
    low, high = np.quantile(particles, [0.05, 0.95], axis=1) if len(order) else np.zeros((2, 0, N_STATE))
    frame = setting.field.frame
    density = setting.field.expected.ravel()[frame.voxel_idx(center.astype(np.float32))] / frame.voxel_nm**3
    return Voids(
        center_nm=center,
        center_low_nm=low[:, :3],
        center_high_nm=high[:, :3],
        radius_nm=radius.mean(axis=1),
        radius_low_nm=np.exp(low[:, 3]),
        radius_high_nm=np.exp(high[:, 3]),
        depletion=depletion.mean(axis=1),
        n_missing=density * (depletion * 4 / 3 * np.pi * radius**3).mean(axis=1),
        log_bayes=evidence,
        local_dispersion=local,
        false_alarm=alarms.probability(evidence * _discount(local, setting.dispersion)),
        false_alarms=alarms,
        dispersion=dispersion,
        n_candidates=n_looked,
    )


def _discount(local: NDArray[np.float64], used: float) -> NDArray[np.float64]:
    """Factor on the evidence where the surroundings scatter by more than the dispersion that it was divided by.

    What scatters by up to a few standard errors more is taken for chance.
    """
    rough = np.nan_to_num(local, nan=1.0) > ROUGH * used
    return np.where(rough, used / np.where(rough, local, 1.0), 1.0)


def _scaled(stage: Generator[Progress, None, T], start: float, stop: float) -> Stage[T]:
    """Run a part with its progress mapped to start..stop; it may count up several times."""
    done = start
    while True:
        try:
            step = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        done = max(done, start + (stop - start) * step.done / max(step.total, 1))
        yield Progress(done, _TOTAL, step.message)
