"""Where ions seem to come from: blur, bent trajectories, poles, and the errors of the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.simulate.atoms import Lens
from napari_aptdefect.simulate.measurement.evaporation import sagitta
from napari_aptdefect.simulate.measurement.params import Measurement

_REACH: Final = 2.5  # 0.5 % of the radius, times the strength, is the displacement left there
_CHUNK: Final = 1 << 18


def chunks(n: int) -> Iterable[slice]:
    """Slices of rows whose temporaries stay small."""
    return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


def blur(xyz_nm: NDArray[np.float32], model: Measurement, rng: np.random.Generator) -> None:
    """Add Gaussian errors to positions, shape (N, 3), in place; wider across the axis than along it.

    References
    ----------
    B. Gault et al., "Spatial resolution in atom probe tomography" (2010), arXiv:1510.02893
    """
    sigma = np.array([model.sigma_lateral_nm, model.sigma_lateral_nm, model.sigma_depth_nm], np.float32)
    for rows in chunks(len(xyz_nm)):
        xyz_nm[rows] += sigma * rng.standard_normal((rows.stop - rows.start, 3), dtype=np.float32)


def bend(
    xyz_nm: NDArray[np.float32],
    depth_nm: NDArray[np.float32],
    lenses: Sequence[Lens],
    strength: float,
    spread_nm: float,
    sag_nm: float,
    shift_nm: NDArray[np.float32],
) -> None:
    """Add what lenses do to the lateral places of ions.

    Parameters
    ----------
    xyz_nm
        True places of the ions, shape (N, 3), nm.
    depth_nm
        Depth of the apex when each ion leaves, ascending, shape (N,), nm.
    lenses
        Places that bend trajectories.
    strength
        Factor on the strength of every lens.
    spread_nm, sag_nm
        How far z may be from the depth: by roughness, and beyond it by the sagitta at the rim.
    shift_nm
        Lateral displacements, shape (N, 2), nm; changed.

    Notes
    -----
    d = k (r - rc) exp(-(|r - rc| / R)²), of which the part across the axis remains. A positive k spreads the ions: at
    the center the density across the axis falls by (1 + k)². The form is a convention; the physics is that of
    M. K. Miller and M. G. Hetherington, Surf. Sci. 246 (1991) 442.
    """
    columns = [np.ascontiguousarray(column) for column in xyz_nm.T]  # reading every third number is slow
    for lens in lenses:
        k = np.float32(lens.strength * strength)
        if k == 0:
            continue
        reach = _REACH * lens.radius_nm
        top, bottom = lens.center_nm[2] - reach - sag_nm - spread_nm, lens.center_nm[2] + reach + spread_nm
        low, high = np.searchsorted(depth_nm, [top, bottom])
        near = low + np.flatnonzero(np.abs(columns[0][low:high] - np.float32(lens.center_nm[0])) < reach)
        for column, center in zip(columns[1:], lens.center_nm[1:], strict=True):
            near = near[np.abs(column[near] - np.float32(center)) < reach]
        off = xyz_nm[near] - np.asarray(lens.center_nm, np.float32)
        squared = np.einsum("ij,ij->i", off, off)
        shift_nm[near] += off[:, :2] * (k * np.exp(-squared / np.float32(lens.radius_nm**2)))[:, None]


def deplete_poles(
    xy_nm: NDArray[np.float32],
    apex_nm: NDArray[np.float32],
    model: Measurement,
    shift_nm: NDArray[np.float32],
    rotation: NDArray[np.float64] | None = None,
) -> None:
    """Add the displacement away from crystallographic poles, which is constant on the detector.

    Parameters
    ----------
    xy_nm
        True lateral places, shape (N, 2), nm.
    apex_nm
        Radius of the apex, shape (N,), nm.
    model
        The measurement.
    shift_nm
        Lateral displacements, shape (N, 2), nm; changed.
    rotation
        As in `pole_directions`.

    Notes
    -----
    Around a pole at p, in units of the apex radius, d = k (s - p) exp(-(|s - p| / w)²) with k = 1 / sqrt(1 - A) - 1:
    the density at the pole is (1 + k)^-2 = 1 - A, and the ions that leave it pile up in a ring, so none is lost. The
    poles are 0001 along the axis of the wire and six around it, at tan(angle) = 2 c / (sqrt(3) a l) for {10-1l}.
    """
    k = np.float32(1 / math.sqrt(1 - model.pole_percent / 100) - 1)
    if k == 0:
        return
    width2 = np.float32(math.sin(math.radians(model.pole_width_deg)) ** 2)
    for px, py in pole_directions(model, rotation):
        for rows in chunks(len(xy_nm)):
            off = xy_nm[rows] / apex_nm[rows, None]
            off -= np.array([px, py], np.float32)
            squared = np.einsum("ij,ij->i", off, off)
            off *= (k * apex_nm[rows] * np.exp(-squared / width2))[:, None]
            shift_nm[rows] += off


def pole_directions(model: Measurement, rotation: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Sines of the launch angles of the poles along x and y, shape (7, 2); 0001 comes first.

    Parameters
    ----------
    model
        The measurement.
    rotation
        Turns the frame of the crystal into the instrument's, shape (3, 3); they are the same if not given.

    Notes
    -----
    In the frame of the crystal the normals of the m planes lie at 30, 90, ... degrees, and those of {10-1l} above them.
    """
    ring = math.radians(model.pole_ring_deg)
    angles = math.pi / 6 + np.arange(6) * math.pi / 3
    flat = math.sin(ring) * np.column_stack([np.cos(angles), np.sin(angles)])
    around = np.column_stack([flat, np.full(6, -math.cos(ring))])  # z is the depth
    poles = np.concatenate([[[0.0, 0.0, -1.0]], around])
    return np.asarray((poles if rotation is None else poles @ rotation.T)[:, :2])


def reconstruct(
    xyz_nm: NDArray[np.float32],
    depth_nm: NDArray[np.float32],
    apex_nm: NDArray[np.float32],
    radius_nm: float,
    model: Measurement,
) -> None:
    """Put the errors of a reconstruction into positions, in place.

    Parameters
    ----------
    xyz_nm
        Positions, shape (N, 3), nm; changed.
    depth_nm, apex_nm
        Depth and radius of the apex when each ion leaves, shape (N,), nm.
    radius_nm
        Radius of the wire, nm.
    model
        The measurement.

    Notes
    -----
    Launch angle: a reconstruction with launch angles (1 + e) times the true ones puts an ion at
    R sin((1 + e) asin(r / R)) and at the sagitta of that radius. Field of view: planes keep a bowl, b (r / radius)².
    Drift: x + A sin(2 pi depth / P).
    The geometry is the point projection of P. Bas et al., Appl. Surf. Sci. 87-88 (1995) 298, and the angles those of
    F. De Geuser and B. Gault (2017), arXiv:1606.08064.
    """
    stretch = np.float32(1 + model.compression_error_percent / 100)
    bowl = np.float32(model.bowl_nm / radius_nm**2)
    for rows in chunks(len(xyz_nm)):
        xyz, apex = xyz_nm[rows], apex_nm[rows]
        r = np.hypot(xyz[:, 0], xyz[:, 1])
        sine = np.minimum(r / apex, np.float32(1))
        wrong = apex * np.sin(np.minimum(stretch * np.arcsin(sine), np.float32(math.pi / 2)))
        xyz[:, 2] += sagitta(np.minimum(wrong, apex) ** 2, apex) - sagitta((sine * apex) ** 2, apex)
        xyz[:, :2] *= (wrong / np.maximum(sine * apex, np.float32(1e-6)))[:, None]
        xyz[:, 2] += bowl * r * r
        phase = depth_nm[rows] * np.float32(2 * math.pi / model.drift_period_nm)
        xyz[:, 0] += np.float32(model.drift_nm) * np.sin(phase)
