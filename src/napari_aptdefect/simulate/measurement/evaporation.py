"""The order in which ions leave a curved surface, and which of them leave in the same pulse."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate.measurement.params import Measurement

_CHUNK: Final = 1 << 18
_MAX_TILT: Final = 0.98  # sine of the launch angle up to which an apex is taken as a sphere


def sagitta(r2_nm2: NDArray[np.floating], apex_radius_nm: Any) -> Any:
    """How far a spherical apex lies below its highest point, R - sqrt(R² - r²), nm; r² of shape (N,)."""
    return r2_nm2 / (apex_radius_nm + np.sqrt(apex_radius_nm**2 - r2_nm2))


def evaporation_depth(
    xyz_nm: NDArray[np.float32],
    atom_idx: NDArray[np.int32],
    radius_nm: float,
    model: Measurement,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Depth of the apex at the time when each ion leaves.

    Parameters
    ----------
    xyz_nm
        Places of all atoms, shape (M, 3), nm, in the instrument's frame.
    atom_idx
        Row of each ion's atom, shape (N,), int32.
    radius_nm
        Radius of the wire, nm.
    model
        The measurement.
    rng
        Source of the roughness.

    Returns
    -------
    Shape (N,), float32, nm: z less the sagitta of the spherical apex, and a random roughness. The rim of a flat end
    leaves first, at negative depths.

    Raises
    ------
    ParameterError
        If atoms lie beside the apex.
    """
    apex = model.apex_ratio * radius_nm
    limit = (_MAX_TILT * apex) ** 2
    out = np.empty(len(atom_idx), np.float32)
    for start in range(0, len(out), _CHUNK):
        rows = slice(start, start + _CHUNK)
        xyz = xyz_nm[atom_idx[rows]]
        r2 = np.einsum("ij,ij->i", xyz[:, :2], xyz[:, :2])
        if (farthest := float(r2.max())) > limit:
            raise ParameterError(
                f"an atom is {farthest**0.5:.3g} nm from the axis, beside an apex of radius {apex:.3g} nm; give the "
                "radius of the wire around the instrument's axis, or raise apex_ratio"
            )
        out[rows] = xyz[:, 2]
        if model.does("evaporation_order"):
            out[rows] -= sagitta(r2, np.float32(apex))
            out[rows] += np.float32(model.roughness_nm) * rng.standard_normal(len(r2), dtype=np.float32)
    return out


def pulses(
    xy_nm: NDArray[np.float32], depth_nm: NDArray[np.float32], model: Measurement, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Group ions that leave in one pulse.

    Parameters
    ----------
    xy_nm
        Lateral places of the ions in the order of evaporation, shape (N, 2), float32, nm.
    depth_nm
        Depth of the apex when each ion leaves, ascending, shape (N,), nm.
    model
        The measurement.
    rng
        Source of the correlation.

    Returns
    -------
    Shape (N,), int32: row of the first ion of the pulse in which each ion leaves; ions alone have their own.

    Notes
    -----
    The evaporation of one ion bares its neighbors, which then leave with a higher probability at once (correlated
    evaporation, after D. W. Saxey, Ultramicroscopy 111 (2011) 473). Here an ion follows the one above it in the same
    lateral column, as wide as the correlation length, with a fixed probability. Chains make pulses of three and more.
    """
    first = np.arange(len(depth_nm), dtype=np.int32)
    share = model.correlated_percent / 100 if model.does("multiple_hits") else 0.0
    if share == 0 or not len(first):
        return first
    column = _columns(xy_nm, model.correlation_nm)
    order = np.argsort(column, kind="stable").astype(np.int32)
    column = column[order]
    depth = depth_nm[order]
    follows = np.zeros(len(first), np.bool_)
    follows[1:] = column[1:] == column[:-1]
    follows[1:] &= np.diff(depth) < model.correlation_nm
    follows &= rng.random(len(first), dtype=np.float32) < share
    head = np.where(follows, np.int32(0), np.arange(len(first), dtype=np.int32))
    np.maximum.accumulate(head, out=head)
    first[order] = order[head]
    return first


def _columns(xy_nm: NDArray[np.float32], width_nm: float) -> NDArray[Any]:
    """Number of the lateral cell of each ion; 16 bits where they suffice, which numpy sorts in linear time."""
    cells = [(values - values.min()) * np.float32(1 / width_nm) for values in xy_nm.T]
    n_x, n_y = (int(cell.max()) + 1 for cell in cells)
    dtype = np.uint16 if n_x * n_y < 2**16 else np.int64
    out: NDArray[Any] = cells[0].astype(dtype)
    out *= dtype(n_y)
    out += cells[1].astype(dtype)
    return out
