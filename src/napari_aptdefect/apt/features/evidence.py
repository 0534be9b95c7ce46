"""Features that the analysis fuses: evidence against the background, and the shape of the neighborhood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.fields import Background, Frame, binomial_evidence, poisson_evidence
from napari_aptdefect.stage import Params, Progress, Stage, param

_CHUNK = 50_000
_LEAST_EVIDENCE = 3.0  # in standard deviations


class FeaturesParams(Params):
    """Parameters of the features."""

    scale_nm: float = param(
        1.0,
        title="Scale",
        description="Width of the Gaussian neighborhood in which species and ions are counted; a second count uses "
        "twice this width. Defects of about this radius are seen best.",
        unit="nm",
        ge=0.2,
        le=20.0,
    )


@dataclass(frozen=True, eq=False)
class Features:
    """Per-ion features; the columns of each set are named.

    Parameters
    ----------
    structural, compositional, spatial
        Shape (N, number of names), float32. NaN where a feature is undefined (a Voronoi cell cut by the surface).
    structural_names, compositional_names, spatial_names
        Names of the columns.
    enrichment
        Shape (N, n_channels), float32: evidence for an excess (positive) or a deficit of each species at `scale_nm`.
    background_share
        Shape (N, n_channels), float32: share of each species in the background around the ion.
    channels
        Species index of each column of `enrichment`.
    density_evidence
        Shape (N,), float32: evidence for an excess or a deficit of ions at `scale_nm`.
    density_ratio
        Shape (N,), float32: ions found at `scale_nm` per ion expected there.
    surface_nm
        Shape (N,), float32: distance to the surface of the specimen, nm.
    judged
        Shape (N,), bool: the ion lies deep enough to be judged.
    nature
        Shape (N,), int16: the strongest evidence at either scale: i for an excess of the i-th channel, then one for a
        deficit of ions and one for an excess of ions; -1 where none of them reaches 3. A mere deficit of a species is
        no nature: beside a strong excess the background is too high, and everything looks depleted.
    strength
        Shape (N,), float32: that evidence, with the local sharpness of the smaller scale.
    """

    structural: NDArray[np.float32]
    compositional: NDArray[np.float32]
    spatial: NDArray[np.float32]
    structural_names: tuple[str, ...]
    compositional_names: tuple[str, ...]
    spatial_names: tuple[str, ...]
    enrichment: NDArray[np.float32]
    background_share: NDArray[np.float32]
    channels: tuple[int, ...]
    density_evidence: NDArray[np.float32]
    density_ratio: NDArray[np.float32]
    surface_nm: NDArray[np.float32]
    judged: NDArray[np.bool_]
    nature: NDArray[np.int16]
    strength: NDArray[np.float32]

    @property
    def sets(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The three sets, in the order structural, compositional, spatial."""
        return self.structural, self.compositional, self.spatial


def describe(
    xyz_nm: NDArray[np.float32],
    species_idx: NDArray[np.int16],
    channels: tuple[int, ...],
    frame: Frame,
    background: Background,
    graph: NeighborGraph,
    cell_volume_nm3: NDArray[np.float32],
    cell_offset_nm: NDArray[np.float32],
    params: FeaturesParams | None = None,
) -> Stage[Features]:
    """Compute all features of all ions.

    Parameters
    ----------
    xyz_nm
        Used positions, shape (N, 3), nm.
    species_idx
        Species, shape (N,); -1 is unranged: such ions count for the density, not for the composition.
    channels
        Species with compositional features.
    frame, background
        Grid of the fields and the background that everything is compared with; its shares are of the channels.
    graph
        Neighbors of each ion.
    cell_volume_nm3, cell_offset_nm
        Volume of each Voronoi cell and distance of its centroid from the ion, shape (N,); NaN where undefined.
    params
        Parameters; the defaults when None.

    Raises
    ------
    ShapeError
        If the inputs do not describe the same ions.
    """
    params = params or FeaturesParams()
    n = len(xyz_nm)
    if not (len(species_idx) == graph.n_nodes == len(cell_volume_nm3) == len(cell_offset_nm) == n):
        raise ShapeError(f"features of {n} ions asked for, with {graph.n_nodes} nodes and {len(species_idx)} species")
    n_steps = 4 + len(channels)  # the structure takes about a third of the time
    yield Progress(0, n_steps, "density")
    counts = frame.count(xyz_nm)
    scales = (params.scale_nm, 2 * params.scale_nm)
    density = background.density
    expected = np.maximum(frame.sample(density, xyz_nm), 1e-9, dtype=np.float32)
    spatial: list[NDArray[np.float32]] = []
    ratio = np.empty(0, np.float32)
    for scale in reversed(scales):
        evidence, ratio = _density_evidence(xyz_nm, frame, counts, density, scale)
        spatial.insert(0, evidence)
    structural, names = yield from _structure(
        xyz_nm, graph, expected / np.float32(frame.voxel_nm**3), cell_volume_nm3, cell_offset_nm
    )
    yield Progress(n_steps / 3, n_steps, "distance to the surface")
    surface = frame.sample(background.depth_nm, xyz_nm)
    judged = frame.sample(background.core.astype(np.float32), xyz_nm) > 0.5
    composition = _Composition(xyz_nm, species_idx, frame, scales)
    compositional = np.empty((n, 2 * len(channels)), np.float32)
    share = np.empty((n, len(channels)), np.float32)
    for i, channel in enumerate(channels):
        yield Progress(n_steps * (1 + 2 * i / len(channels)) / 3, n_steps, "local composition")
        share[:, i] = frame.sample(background.shares[i], xyz_nm)
        for j, evidence in enumerate(composition.evidence(channel, share[:, i])):
            compositional[:, j * len(channels) + i] = evidence
    spatial.append(_gradient(xyz_nm, frame, counts, density, params.scale_nm))
    return Features(
        structural,
        compositional,
        np.stack(spatial, axis=1),
        names,
        tuple(f"enrichment of species {c} at {s:g} nm" for s in scales for c in channels),
        (*(f"density evidence at {s:g} nm" for s in scales), "density gradient"),
        compositional[:, : len(channels)],
        share,
        channels,
        spatial[0],
        ratio,
        surface,
        judged,
        *_nature(compositional, len(channels), spatial[0], spatial[1]),
    )


def _nature(
    compositional: NDArray[np.float32], n_channels: int, near: NDArray[np.float32], far: NDArray[np.float32]
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Strongest evidence of each ion: its index, and its value as the smaller scale sees it.

    The larger scale counts eight times as many ions; divided by sqrt(8) its evidence stands for that of the smaller
    scale inside a large defect, and is far below it in the blurred surroundings of a small one.
    """
    best = np.full(len(near), -np.inf, np.float32)
    nature, strength = np.zeros(len(near), np.int16), np.zeros(len(near), np.float32)
    pairs = [(compositional[:, i], compositional[:, n_channels + i]) for i in range(n_channels)]
    for i, (sharp, wide) in enumerate((*pairs, (-near, -far), (near, far))):
        evidence = np.maximum(sharp, wide)
        better = evidence > best
        nature[better], best[better] = i, evidence[better]
        strength[better] = np.maximum(sharp[better], wide[better] / np.float32(np.sqrt(8)))
    nature[best < _LEAST_EVIDENCE] = -1
    return nature, strength


def _density_evidence(
    xyz: NDArray[np.float32], frame: Frame, counts: NDArray[np.float32], density: NDArray[np.float32], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Evidence for more or fewer ions around an ion than expected, itself left out; and the ratio of the two."""
    around = frame.sample(frame.smooth(counts, scale), xyz) - frame.self_weight(xyz, scale)
    expected = frame.sample(frame.smooth(density, scale), xyz)
    variance = frame.sample(frame.smooth(density, scale, squared=True), xyz)
    ratio = np.divide(around, expected, out=np.ones_like(around), where=expected > 0)
    return poisson_evidence(around, expected, variance), ratio


class _Composition:
    """Counts of all ranged ions, shared by the evidence of every species."""

    def __init__(
        self, xyz: NDArray[np.float32], species: NDArray[np.int16], frame: Frame, scales: tuple[float, float]
    ) -> None:
        self.xyz, self.species, self.frame, self.scales = xyz, species, frame, scales
        ranged = species >= 0
        counts = frame.count(xyz[ranged])
        self.own = [np.where(ranged, frame.self_weight(xyz, s), 0).astype(np.float32) for s in scales]
        own_squared = [np.where(ranged, frame.self_weight(xyz, s, squared=True), 0) for s in scales]
        self.weight = [frame.sample(frame.smooth(counts, s), xyz) - w for s, w in zip(scales, self.own, strict=True)]
        self.variance = [
            (frame.sample(frame.smooth(counts, s, squared=True), xyz) - w).astype(np.float32)
            for s, w in zip(scales, own_squared, strict=True)
        ]

    def evidence(self, channel: int, share: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Evidence for an excess of one species over its background share, shape (N,), float32, at each scale."""
        mine = self.species == channel
        counts = self.frame.count(self.xyz[mine])
        for scale, own, weight, variance in zip(self.scales, self.own, self.weight, self.variance, strict=True):
            near = self.frame.sample(self.frame.smooth(counts, scale), self.xyz)
            hits = (near - np.where(mine, own, 0)).astype(np.float32)
            yield binomial_evidence(weight, variance, hits, share)


def _gradient(
    xyz: NDArray[np.float32], frame: Frame, counts: NDArray[np.float32], density: NDArray[np.float32], scale: float
) -> NDArray[np.float32]:
    """Change over one scale of the number of ions per expected ion: large at the rims of voids and at interfaces."""
    expected = frame.smooth(density, scale)
    ratio = np.divide(frame.smooth(counts, scale), expected, out=np.ones_like(expected), where=expected > 1e-3)
    total = np.zeros(len(xyz), np.float32)
    for axis in range(3):
        if ratio.shape[axis] > 1:
            total += frame.sample(np.gradient(ratio, axis=axis), xyz) ** 2
    return np.asarray(np.sqrt(total) * (scale / frame.voxel_nm), np.float32)


def _structure(
    xyz: NDArray[np.float32],
    graph: NeighborGraph,
    background_nm3: NDArray[np.floating],
    volume: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> Stage[tuple[NDArray[np.float32], tuple[str, ...]]]:
    """Structural features from the neighbor graph and the Voronoi cells.

    Notes
    -----
    The distance r_k to the k-th neighbor gives the unbiased density (k - 1) / (4/3 pi r_k^3); linearity (l1 - l2) / l1
    and planarity (l2 - l3) / l1 come from the eigenvalues l1 >= l2 >= l3 of the neighbors' covariance (Weinmann et al.
    2015, doi 10.1016/j.isprsjprs.2015.01.016, Eqs. 1 and 2).
    """
    n = len(xyz)
    out = np.full((n, 6), np.nan, np.float32)
    spacing = background_nm3 ** (-1 / 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[:, 0] = np.log(volume * background_nm3)
        out[:, 1] = offset / spacing
    for start in range(0, n, _CHUNK):
        yield Progress(start, 3 * n, "neighborhood shape")
        stop = min(start + _CHUNK, n)
        first, last = graph.indptr[start], graph.indptr[stop]
        degree = graph.degree[start:stop]
        owner = np.repeat(np.arange(start, stop), degree)
        step = xyz[graph.indices[first:last]] - xyz[owner]
        rows = np.flatnonzero(degree >= 4)  # fewer neighbors span no covariance
        if len(rows) == 0:
            continue
        bounds = (graph.indptr[start:stop] - first)[rows]
        k = degree[rows].astype(np.float32)
        mean = _sums(step, bounds, degree[rows]) / k[:, None]
        pairs = np.stack([step[:, a] * step[:, b] for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], axis=1)
        second = _sums(pairs, bounds, degree[rows]) / k[:, None]
        values = _eigenvalues(second, mean)
        reach = graph.lengths_nm[first:last][bounds + degree[rows] - 1]
        target = rows + start
        with np.errstate(divide="ignore", invalid="ignore"):
            local = (k - 1) / (4 / 3 * np.pi * reach**3)
            out[target, 2] = np.log(local / background_nm3[target])
            out[target, 3] = np.linalg.norm(mean, axis=1) / reach
            out[target, 4] = (values[:, 2] - values[:, 1]) / values[:, 2]
            out[target, 5] = (values[:, 1] - values[:, 0]) / values[:, 2]
    out[~np.isfinite(out)] = np.nan
    names = ("log cell volume", "cell offset", "log neighbor density", "neighbor offset", "linearity", "planarity")
    return out, names


def _sums(values: NDArray[np.float32], first: NDArray[np.int64], degree: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sums over the rows first .. first + degree of each node."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    return np.asarray(total[first + degree] - total[first], np.float32)


def _eigenvalues(second: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float64]:
    """Eigenvalues, ascending, of covariances given as xx, yy, zz, xy, xz, yz second moments and means."""
    matrix = np.empty((len(second), 3, 3))
    for column, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        matrix[:, a, b] = matrix[:, b, a] = second[:, column] - mean[:, a] * mean[:, b]
    return np.asarray(np.linalg.eigvalsh(matrix), np.float64)
