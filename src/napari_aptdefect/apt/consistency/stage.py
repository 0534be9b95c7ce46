"""Check a cloud for geometric inconsistencies: flag each ion, weigh it, report."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.consistency.columns import Found, find_columns, merged
from napari_aptdefect.apt.consistency.images import make_images
from napari_aptdefect.apt.consistency.model import ConsistencyParams, Consistent, DensityColumn, Flag, Policy
from napari_aptdefect.apt.consistency.spacing import (
    ClosePairs,
    Duplicates,
    find_close_pairs,
    find_duplicates,
    local_densities,
)
from napari_aptdefect.arrays import as_points, as_vector, finite_rows
from napari_aptdefect.data.tree import build_tree
from napari_aptdefect.errors import EmptySelectionError, Issue, ShapeError
from napari_aptdefect.stage import Progress, Stage, scaled

_CUT_WEIGHT: Final = 0.5  # about half of the surroundings of an ion at the surface is outside
_FRAME_TOLERANCE: Final = 0.5  # of the narrowest column, by which images may differ and still be one
_LISTED: Final = 5


def check_consistency(
    xyz_nm: ArrayLike,
    params: ConsistencyParams | None = None,
    seed: int = 0,
    *,
    cut_by_hull: ArrayLike | None = None,
    detector_mm: ArrayLike | None = None,
    mass_da: ArrayLike | None = None,
) -> Stage[Consistent]:
    """Flag ions that can't lie where they lie, and weigh them as the parameters say.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; z along the depth, either sign.
    params
        Parameters; the defaults when None.
    seed
        Seed of the Poisson clouds that calibrate the columns.
    cut_by_hull
        Shape (N,), bool: ions whose Voronoi cell the surface of the specimen cuts (``~cells.bounded`` of
        `VoronoiCells`); not checked when None.
    detector_mm
        Hits on the detector, shape (N, 2), mm. Poles stay where they are there; without hits they are looked for in
        the reconstruction.
    mass_da
        Mass-to-charge ratios, shape (N,), Da: tells ions that were recorded twice from ions that share a position.

    Yields
    ------
    Progress over spacings, columns and calibration.

    Returns
    -------
    Flags, weights and the report.

    Raises
    ------
    ShapeError
        If the arrays do not have one entry per ion.
    EmptySelectionError
        If no ion has a finite position.

    Notes
    -----
    Columns are judged on all ions, so enrichment of one species alone is none. docs/consistency.md has the equations
    and what they were measured to do.

    Examples
    --------
    >>> from napari_aptdefect.stage import drain
    >>> xyz = np.random.default_rng(0).random((2000, 3)).astype(np.float32) * 5
    >>> xyz[7] = xyz[3]
    >>> found = drain(check_consistency(xyz))
    >>> found.counts["DUPLICATE"], np.flatnonzero(found.has(Flag.DUPLICATE)).tolist()
    (2, [3, 7])
    """
    params = params or ConsistencyParams()
    xyz = as_points(xyz_nm)
    cut = None if cut_by_hull is None else as_vector(cut_by_hull, "cut_by_hull", length=len(xyz), dtype=np.bool_)
    mass = None if mass_da is None else as_vector(mass_da, "mass_da", length=len(xyz))
    hits = _hits(detector_mm, len(xyz))
    finite = finite_rows(xyz)
    if not finite.any():
        raise EmptySelectionError(f"none of the {len(xyz)} ions has a finite position; there is nothing to check")
    yield Progress(0, 100, "duplicates")
    tree = build_tree(xyz)
    twins = find_duplicates(xyz, mass, float(np.median(local_densities(tree))))
    pairs: ClosePairs = yield from scaled(
        find_close_pairs(xyz, tree, twins.multiplicity, params.min_spacing_nm, params.excess_factor), 5, 30
    )
    del tree
    usable = finite if hits is None else finite & finite_rows(hits)
    found: list[Found] = yield from scaled(_columns(xyz, hits, usable, params, seed), 30, 100)
    ratio = np.ones(len(xyz), np.float32)
    whole = merged(found) if found else None
    if whole:
        ratio[usable] = whole.ratio
    flags = _flags(finite, twins, pairs, cut, ratio)
    columns = whole.columns if whole else ()
    counts = {flag.name or "": int(np.count_nonzero(flags & np.uint8(flag))) for flag in Flag}
    yield Progress(100, 100, "done")
    return Consistent(
        flags=flags,
        weight=_weights(flags, finite, twins, pairs, ratio, params),
        counts=counts,
        n_pairs=pairs.n_pairs,
        n_pairs_expected=pairs.n_expected,
        columns=columns,
        maps=tuple(one.map for one in found),
        issues=_report(counts, twins, pairs, params, columns, found, cut is not None),
    )


def _hits(detector_mm: ArrayLike | None, n: int) -> NDArray[np.float32] | None:
    if detector_mm is None:
        return None
    hits = np.asarray(detector_mm)
    if hits.shape != (n, 2) or hits.dtype.kind not in "iuf":
        raise ShapeError(f"hits on the detector must be numbers of shape ({n}, 2), got {hits.shape}, {hits.dtype}")
    return hits.astype(np.float32)


def _columns(
    xyz: NDArray[np.float32],
    hits: NDArray[np.float32] | None,
    usable: NDArray[np.bool_],
    params: ConsistencyParams,
    seed: int,
) -> Stage[list[Found]]:
    places = xyz[usable]
    if len(places) < params.n_slices or not (np.ptp(places[:, :2], axis=0) > 0).all():
        return []
    order = np.argsort(places[:, 2], kind="stable")
    slice_idx = np.empty(len(places), np.int64)
    slice_idx[order] = np.arange(len(places)) * params.n_slices // len(places)
    tolerance = _FRAME_TOLERANCE * params.pole_percent / 100
    images = make_images(places, None if hits is None else hits[usable], tolerance)
    found = []
    for i, image in enumerate(images):
        rng = np.random.default_rng(np.random.SeedSequence([seed, i]))
        stage = find_columns(image, places, slice_idx, params, params.false_alarms / len(images), rng)
        one: Found | None = yield from scaled(stage, 100 * i / len(images), 100 * (i + 1) / len(images))
        if one is not None:
            found.append(one)
    return found


def _flags(
    finite: NDArray[np.bool_],
    twins: Duplicates,
    pairs: ClosePairs,
    cut: NDArray[np.bool_] | None,
    ratio: NDArray[np.float32],
) -> NDArray[np.uint8]:
    flags = np.zeros(len(finite), np.uint8)
    flags[twins.multiplicity > 1] |= np.uint8(Flag.DUPLICATE)
    if pairs.excess > 0:
        flags[pairs.n_close > 0] |= np.uint8(Flag.TOO_CLOSE)
    if cut is not None:
        flags[cut & finite] |= np.uint8(Flag.CUT_BY_HULL)
    flags[ratio > 1] |= np.uint8(Flag.TOO_DENSE)
    flags[ratio < 1] |= np.uint8(Flag.DEPLETED)
    return flags


def _weights(
    flags: NDArray[np.uint8],
    finite: NDArray[np.bool_],
    twins: Duplicates,
    pairs: ClosePairs,
    ratio: NDArray[np.float32],
    params: ConsistencyParams,
) -> NDArray[np.float32]:
    """Smallest weight that the flags of each ion give."""
    weight = np.where(finite, np.float32(1), np.float32(0))

    def apply(flag: Flag, policy: Policy, value: NDArray[np.floating], gone: NDArray[np.bool_]) -> None:
        has = (flags & np.uint8(flag)) > 0
        if policy == "down-weight":
            weight[has] = np.minimum(weight[has], value[has])
        elif policy == "remove":
            weight[has & gone] = 0

    everyone = np.ones(len(flags), np.bool_)
    apply(Flag.DUPLICATE, params.duplicates, 1 / np.maximum(twins.multiplicity, 1), twins.is_copy)
    share = 1 - pairs.excess * (1 - 1 / (1 + pairs.n_close))
    apply(Flag.TOO_CLOSE, params.too_close, share, everyone)
    apply(Flag.CUT_BY_HULL, params.cut_by_hull, np.full(len(flags), _CUT_WEIGHT), everyone)
    safe = np.maximum(ratio, np.float32(1e-6))
    apply(Flag.TOO_DENSE | Flag.DEPLETED, params.columns, np.minimum(safe, 1 / safe), everyone)
    return weight


def _report(
    counts: dict[str, int],
    twins: Duplicates,
    pairs: ClosePairs,
    params: ConsistencyParams,
    columns: tuple[DensityColumn, ...],
    found: list[Found],
    cut_known: bool,
) -> tuple[Issue, ...]:
    issues = []
    n_copies = int(twins.is_copy.sum())
    if n_copies:
        text = f"{n_copies} ions lie at the very position of an ion before them"
        if twins.n_same_mass >= 0:
            text += f", {twins.n_same_mass} of them with its mass-to-charge ratio: likely recorded twice"
        chance = f"the rounding of the coordinates alone makes {twins.n_by_chance:.2g}"
        issues.append(Issue("duplicate-position", f"{text}; {chance}", "warning" if _many(twins) else "info"))
    if params.min_spacing_nm > 0:
        text = f"{pairs.n_pairs} pairs are closer than {params.min_spacing_nm} nm, chance makes {pairs.n_expected:.3g}"
        if pairs.excess > 0:
            text += f"; the ions of these pairs are flagged, {100 * pairs.excess:.0f} % of the pairs are an artifact"
        issues.append(Issue("close-pairs", text, "warning" if pairs.excess > 0 else "info"))
    if cut_known:
        issues.append(Issue("cut-by-hull", f"the surface cuts the cells of {counts['CUT_BY_HULL']} ions", "info"))
    if not found:
        text = "too few ions to judge columns along the depth; ask for wider columns or fewer slices"
        issues.append(Issue("columns-not-judged", text, "info"))
    issues += [Issue("density-column", _sentence(column)) for column in columns[:_LISTED]]
    if len(columns) > _LISTED:
        issues.append(Issue("density-column", f"{len(columns) - _LISTED} more columns, see the table"))
    return tuple(issues)


def _many(twins: Duplicates) -> bool:
    return bool(twins.is_copy.sum() > 2 * twins.n_by_chance + 1e-3 * len(twins.is_copy))


def _sentence(column: DensityColumn) -> str:
    """One column in words."""
    place = f"({column.center[0]:.3g}, {column.center[1]:.3g}) {column.unit}"
    much = f"{100 * abs(column.contrast):.1f} % {'denser' if column.contrast > 0 else 'less dense'}"
    line = "" if column.kind == "pole" else f" along {column.direction_deg:.0f} degrees"
    return (
        f"a {column.kind} at {place}{line} is {much} than its surroundings through the depth "
        f"({column.significance:.1f} sigma, {column.n_ions} ions)"
    )
