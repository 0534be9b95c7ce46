"""Profiles of composition through ions that are on display: along a line, or against the distance from a surface."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.apt.profiles import Profile, Surface, line_profile, proxigram
from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.stage import Params, param

_LEAST_SHARE = 1e-3  # of atoms in some bin, below which an element is drawn only when asked for
_MAX_SHOWN = 8
_RARE = 0.2  # of the highest fraction, below which a curve lies on the axis


class BinParams(Params):
    """Parameters of every profile."""

    bin_nm: float = param(0.5, title="Bin", description="Width of the bins.", unit="nm", ge=0.02, le=100.0)
    elements: tuple[str, ...] = param(
        (),
        title="Elements",
        description="Symbols of the elements to draw; when empty, those with 0.1 % of the atoms in some bin, the 8 "
        "most abundant at most. The table always has all.",
    )
    min_ions: int = param(
        20,
        title="Fewest ions",
        description="Bins with fewer ranged ions than this leave a gap in the drawing; the table has them.",
        ge=1,
        le=10**9,
    )


class LineParams(BinParams):
    """Parameters of a profile along a line."""

    radius_nm: float = param(
        5.0, title="Radius", description="Radius of the cylinder around the line.", unit="nm", ge=0.05, le=1000.0
    )


class ProxigramParams(BinParams):
    """Parameters of a proxigram."""

    reach_nm: float = param(
        5.0, title="Reach", description="Farthest distance on either side of the surface.", unit="nm", ge=0.1, le=100.0
    )


def profile_along(ions: RangedIons, start_nm: ArrayLike, stop_nm: ArrayLike, params: LineParams) -> Profile:
    """Composition along the cylinder around a line.

    Parameters
    ----------
    ions
        The ions.
    start_nm, stop_nm
        Ends of the line, shape (3,), nm.
    params
        Parameters.

    Raises
    ------
    EmptySelectionError
        If no ion lies in the cylinder.
    ParameterError
        If no ion has a species, or the ends coincide.
    """
    _check_species(ions)
    return line_profile(
        ions.xyz_nm,
        ions.species_idx,
        ions.ranges,
        start_nm,
        stop_nm,
        radius_nm=params.radius_nm,
        bin_nm=params.bin_nm,
    )


def profile_from(ions: RangedIons, surface: Surface, params: ProxigramParams) -> Profile:
    """Composition against the distance from a surface; only ions in reach of its box are looked at.

    Raises
    ------
    EmptySelectionError
        If the surface has no triangle, or no ion is in reach.
    ParameterError
        If no ion has a species.
    """
    _check_species(ions)
    if not len(surface.triangles):
        raise EmptySelectionError("the surface has no triangle; choose another one")
    reach = params.reach_nm + params.bin_nm
    low, high = surface.vertices_nm.min(axis=0) - reach, surface.vertices_nm.max(axis=0) + reach
    near = ((ions.xyz_nm >= low) & (ions.xyz_nm <= high)).all(axis=1)
    return proxigram(
        ions.xyz_nm[near],
        ions.species_idx[near],
        ions.ranges,
        surface,
        bin_nm=params.bin_nm,
        reach_nm=params.reach_nm,
    )


def through_middle(
    xyz_nm: NDArray[np.float32], axis: Literal[0, 1, 2]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the line along x (0), y (1) or z (2) through the middle of all ions.

    Returns
    -------
    Start and stop, shape (3,) each, nm; across the line they lie at the median of the ions.
    """
    rows = xyz_nm[finite_rows(xyz_nm)]
    if len(rows) == 0:
        raise EmptySelectionError(f"none of the {len(xyz_nm)} ions has a finite position")
    start = np.median(rows, axis=0).astype(np.float64)
    stop = start.copy()
    start[axis], stop[axis] = rows[:, axis].min(), rows[:, axis].max()
    return start, stop


def shown_elements(profile: Profile, wanted: tuple[str, ...] = ()) -> list[int]:
    """Columns of the elements to draw: those that are wanted, or else the abundant ones, most abundant first.

    Raises
    ------
    ParameterError
        If a wanted element is not in the profile.
    """
    unknown = [name for name in wanted if name not in profile.elements]
    if unknown:
        raise ParameterError(
            f"there is no {', '.join(unknown)} in this profile; it has {', '.join(profile.elements) or 'no element'}"
        )
    if wanted:
        return [profile.elements.index(name) for name in dict.fromkeys(wanted)]
    share = np.nan_to_num(profile.fraction)
    order = np.argsort(-share.mean(axis=0), kind="stable")
    return [int(i) for i in order if share[:, i].max(initial=0) >= _LEAST_SHARE][:_MAX_SHOWN]


def drawn_part(profile: Profile, columns: list[int], min_ions: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractions and errors of some elements, with NaN in bins of too few ranged ions; shapes (n, len(columns))."""
    enough = profile.ion_counts.sum(axis=1) >= min_ions
    fraction, error = profile.fraction[:, columns].copy(), profile.error[:, columns].copy()
    fraction[~enough], error[~enough] = np.nan, np.nan
    return fraction, error


def apart(fraction: NDArray[np.floating]) -> list[list[int]]:
    """Columns of fractions in one or two groups that can share an axis: the abundant ones, and the far rarer ones.

    Examples
    --------
    >>> apart(np.array([[0.5, 0.5, 0.01]]))
    [[0, 1], [2]]
    """
    highest = np.nan_to_num(fraction).max(axis=0, initial=0.0)
    rare = highest < _RARE * highest.max(initial=0.0)
    return [group for group in (np.flatnonzero(~rare).tolist(), np.flatnonzero(rare).tolist()) if group]


def profile_csv(profile: Profile, notes: Mapping[str, object] | None = None) -> str:
    """A profile as a table with commas, all ions and elements in it.

    Parameters
    ----------
    profile
        The profile.
    notes
        What it was made from; written as lines that begin with ``#`` before the header.

    Returns
    -------
    Lines with limits and center of each bin (nm), counts of each ion, atomic fraction of each element and its error
    (one standard deviation of counting); an empty field where a bin has no atom.
    """
    text = io.StringIO()
    for key, value in {**(notes or {}), "coordinate": profile.coordinate}.items():
        text.write(f"# {key}: {' '.join(str(value).split())}\n")
    table = csv.writer(text, lineterminator="\n")
    header = ["from_nm", "to_nm", "center_nm", *(f"ions_{name}" for name in profile.ions), "ions_unranged"]
    header += [f"{what}_{name}" for name in profile.elements for what in ("fraction", "error")]
    table.writerow(header)
    pairs = np.stack([profile.fraction, profile.error], axis=2).reshape(len(profile.fraction), -1)
    for row, center in enumerate(profile.centers_nm):
        edges = [f"{profile.edges_nm[row + end]:.6g}" for end in (0, 1)]
        counts = [str(int(n)) for n in (*profile.ion_counts[row], profile.n_unranged[row])]
        shares = ["" if np.isnan(value) else f"{value:.6g}" for value in pairs[row]]
        table.writerow([*edges, f"{center:.6g}", *counts, *shares])
    return text.getvalue()


def _check_species(ions: RangedIons) -> None:
    if not ions.ranges.ions or not (ions.species_idx >= 0).any():
        raise ParameterError(
            "none of the ions has a species, so there is no composition; apply a range file to the cloud first"
        )
