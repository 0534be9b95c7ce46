"""Defects: connected ions that stand out, judged against what chance connects in the matched reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from napari_aptdefect.data import DEFECT_CLASSES, NeighborGraph
from napari_aptdefect.stage import Params, Progress, Stage, param

_SOLUTE_SHARE = 0.25  # a species with more than this share of the background is no solute
_RIM = 0.5  # a group with less than this share of the anomaly of a group beside it is the rim of that one
_STEPS = 3
_RAG = 0.01  # a part with less than this share of the ions of the largest part of its group is a torn-off edge
_COMPACT = 2.0  # a void is no longer than this many times its width
_INTERFACE_CHANGE = 0.15  # a group within which the background share of a species changes by more is an interface


class DefectsParams(Params):
    """Parameters of the search for defects."""

    false_discovery_rate: float = param(
        0.05,
        title="False discovery rate",
        description="Expected share of chance findings among the reported defects.",
        ge=0.0001,
        le=0.5,
    )
    min_ions: int = param(
        10,
        title="Smallest defect",
        description="A defect has at least this many ions that stand out.",
        unit="ions",
        ge=2,
        le=1_000_000,
    )
    core_level: float = param(
        0.5,
        title="Core",
        description="A defect consists of the ions with at least this share of the strongest evidence of their group; "
        "neighbors that touch only by their blurred rims become separate defects.",
        ge=0.0,
        le=0.95,
    )
    elongation: float = param(
        3.0,
        title="Elongation",
        description="Ratio of principal axes above which a defect is called a line, or flatness above which a plane.",
        ge=1.2,
        le=20.0,
    )
    largest_nm: float = param(
        5.0,
        title="Largest void or cluster",
        description="A group with a larger standard deviation along its longest axis is no void and no cluster, but a "
        "region of another density or another phase.",
        unit="nm",
        ge=0.2,
        le=100.0,
    )
    void_depth: float = param(
        0.85,
        title="Void depth",
        description="The ions at the rim of a void find less than this share of the expected ions around them; they "
        "see half of it at most, and blurring fills small ones.",
        ge=0.01,
        le=0.99,
    )
    surface_nm: float = param(
        0.5,
        title="Touching the surface",
        description="A defect touches the surface when it comes this close to the zone that can't be judged.",
        unit="nm",
        ge=0.0,
        le=50.0,
    )


@dataclass(frozen=True, eq=False)
class Defect:
    """One defect.

    Parameters
    ----------
    defect_class
        Name of its class, one of `DEFECT_CLASSES`.
    rows
        Its ions, indices into the used ions, int64.
    centroid_nm
        Shape (3,), nm.
    axis_lengths_nm
        Shape (3,): standard deviations along the principal axes, longest first, nm.
    axis_directions
        Shape (3, 3): unit vectors of the axes, one per row.
    volume_nm3
        Volume: of its ions' Voronoi cells, or of the missing ions of a void.
    probability
        1 - q, where q is the share of chance findings among all findings at least as strong.
    anomaly
        Mean anomaly of its ions.
    touches_surface
        Whether it reaches the surface of the specimen.
    """

    defect_class: str
    rows: NDArray[np.int64]
    centroid_nm: NDArray[np.float64]
    axis_lengths_nm: NDArray[np.float64]
    axis_directions: NDArray[np.float64]
    volume_nm3: float
    probability: float
    anomaly: float
    touches_surface: bool


@dataclass(frozen=True, eq=False)
class Defects:
    """All defects of a specimen.

    Parameters
    ----------
    defects
        The defects, strongest first; the instance number is the position plus one.
    instance
        Shape (N,), int32: instance of each used ion, 0 matrix.
    class_idx
        Shape (N,), int8: index into `DEFECT_CLASSES`.
    probability
        Shape (N,), float32: probability that the ion belongs to a defect.
    n_rejected
        Number of connected groups that chance explains.
    """

    defects: tuple[Defect, ...]
    instance: NDArray[np.int32]
    class_idx: NDArray[np.int8]
    probability: NDArray[np.float32]
    n_rejected: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the search needs to know of the measured ions.

    Parameters
    ----------
    xyz_nm
        Shape (N, 3), nm.
    anomaly
        Shape (N,).
    nature
        Shape (N,), int16: what kind of evidence is strongest at the ion; -1 when it does not stand out.
    strength
        Shape (N,): value of that evidence; the extent of a defect follows it.
    judged
        Shape (N,), bool: the ion lies deep enough to be judged.
    enrichment
        Shape (N, n_channels): evidence for an excess of each species.
    background_share
        Shape (N, n_channels): share of each species in the background.
    density
        Shape (N,): evidence for an excess or deficit of ions.
    density_ratio
        Shape (N,): ions found per ion expected.
    cell_volume_nm3
        Shape (N,), nm3; NaN where undefined.
    surface_nm
        Shape (N,): distance to the surface, nm.
    background_nm3
        Typical number density, ions/nm3.
    """

    xyz_nm: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    nature: NDArray[np.int16]
    strength: NDArray[np.float32]
    judged: NDArray[np.bool_]
    enrichment: NDArray[np.float32]
    background_share: NDArray[np.float32]
    density: NDArray[np.float32]
    density_ratio: NDArray[np.float32]
    cell_volume_nm3: NDArray[np.float32]
    surface_nm: NDArray[np.float32]
    background_nm3: float


@dataclass(frozen=True, eq=False)
class Chance:
    """What the search needs to know of the matched reference specimen.

    Parameters
    ----------
    anomaly
        Shape (M,).
    nature
        Shape (M,), int16, and
    judged
        shape (M,), bool, as in `Evidence`.
    graph
        Neighbors of the reference ions.
    share
        Part of the specimen that the reference covers, 0 to 1.
    """

    anomaly: NDArray[np.float32]
    nature: NDArray[np.int16]
    judged: NDArray[np.bool_]
    graph: NeighborGraph
    share: float = 1.0


def find_defects(
    evidence: Evidence, graph: NeighborGraph, chance: Chance, threshold: float, params: DefectsParams | None = None
) -> Stage[Defects]:
    """Join ions that stand out into defects, keep those that chance does not explain, and name them.

    Parameters
    ----------
    evidence
        The measured ions.
    graph
        Their neighbors.
    chance
        The ions of the reference specimen.
    threshold
        Anomaly above which an ion stands out.
    params
        Parameters; the defaults when None.

    Notes
    -----
    The mass of a group is the sum of its ions' excess anomaly (cluster-mass inference; Bullmore et al. 1999, doi
    10.1109/42.750253). E(m), the number of chance groups of mass m and more in a specimen of this size, is counted in
    the reference and continued beyond its largest group by an exponential tail; q(m) = E(m) / n(m) with n(m) groups
    found (Benjamini & Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x).
    """
    params = params or DefectsParams()
    yield Progress(0, 3, "connected groups")
    groups, mass = _groups(graph, evidence.nature, evidence.anomaly, threshold)
    _, chance_mass = _groups(chance.graph, chance.nature, chance.anomaly, threshold)
    yield Progress(1, 3, "comparison with chance")
    q = _false_discovery(mass, chance_mass, chance.share)
    probability = np.zeros(len(evidence.anomaly), np.float32)
    judged = evidence.judged
    probability[judged] = 1 - _local_chance(evidence.anomaly[judged], chance.anomaly[chance.judged])
    instance = np.zeros(len(evidence.anomaly), np.int32)
    class_idx = np.zeros(len(evidence.anomaly), np.int8)
    defects: list[Defect] = []
    yield Progress(2, 3, "classes")
    height = np.zeros(len(evidence.anomaly), np.float32)  # of the accepted group an ion belongs to
    links = graph.matrix()
    n_accepted = 0
    for group in np.argsort(-mass, kind="stable"):
        probability[groups[group]] *= np.float32(1 - q[group])
        if q[group] > params.false_discovery_rate:
            continue
        n_accepted += 1
        peak = np.percentile(evidence.anomaly[groups[group]], 95)
        rim = peak < _RIM * height[_around(links, groups[group])].max(initial=0)
        height[groups[group]] = peak
        if rim:  # of a stronger defect beside it, not a defect of its own
            continue
        for rows in _cores(graph, groups[group], evidence.strength, params):
            defect = _describe(evidence, rows, float(q[group]), params)
            defects.append(defect)
            instance[rows] = len(defects)
            class_idx[rows] = DEFECT_CLASSES.index(defect.defect_class)
    return Defects(tuple(defects), instance, class_idx, probability, len(groups) - n_accepted)


def _around(links: sparse.csr_array, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ions within a few steps along the graph, about as far as the kernels of the features reach."""
    reached = rows
    for _ in range(_STEPS):
        reached = np.union1d(reached, links[reached].indices)
    return reached


def _cores(
    graph: NeighborGraph, rows: NDArray[np.int64], strength: NDArray[np.float32], params: DefectsParams
) -> list[NDArray[np.int64]]:
    """Parts of a group above a share of their height, largest first: what touches only by blurred rims separates.

    Each part is measured by its own height again, until it stays as it is.
    """
    links = graph.matrix()
    waiting, done = [rows], []
    while waiting:
        part = waiting.pop()
        if len(part) < params.min_ions:
            continue
        core = part[strength[part] >= params.core_level * np.percentile(strength[part], 95)]
        pieces = _connected(links, core)
        if len(core) == len(part) and len(pieces) == 1:
            done.append(part)
        else:
            waiting += pieces
    done.sort(key=lambda part: (-len(part), int(part[0])))
    return [part for part in done if len(part) >= _RAG * len(done[0])]


def _connected(links: sparse.csr_array, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Connected parts of some ions."""
    if len(rows) == 0:
        return []
    n, label = csgraph.connected_components(links[rows][:, rows], directed=False)
    return np.split(rows[np.argsort(label, kind="stable")], np.cumsum(np.bincount(label, minlength=n))[:-1])


def _groups(
    graph: NeighborGraph, nature: NDArray[np.int16], anomaly: NDArray[np.float32], threshold: float
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    """Connected groups of at least two ions of one nature that stand out: their rows and masses."""
    rows = np.flatnonzero(nature >= 0)
    if len(rows) == 0:
        return [], np.zeros(0)
    part = graph.matrix()[rows][:, rows].tocoo()
    same = nature[rows[part.row]] == nature[rows[part.col]]
    alike = sparse.coo_array((part.data[same], (part.row[same], part.col[same])), shape=part.shape)
    n, label = csgraph.connected_components(alike, directed=False)
    size = np.bincount(label, minlength=n)
    mass = np.bincount(label, (anomaly[rows] - threshold).astype(np.float64), minlength=n).astype(np.float64)
    members = np.split(rows[np.argsort(label, kind="stable")], np.cumsum(size)[:-1])
    kept = np.flatnonzero(size > 1)
    return [members[i] for i in kept], mass[kept]


def _false_discovery(mass: NDArray[np.float64], chance: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Share of chance findings among the groups of at least each mass."""
    if len(mass) == 0:
        return np.zeros(0)
    expected = _expected_by_chance(mass, chance) / max(share, 1e-6)
    order = np.argsort(-mass, kind="stable")
    found = np.searchsorted(-mass[order], -mass, side="right")
    q = np.minimum(expected / found, 1.0)
    ordered = np.minimum.accumulate(q[order][::-1])[::-1]  # a stronger group is never less certain
    out = np.empty_like(q)
    out[order] = ordered
    return out


def _expected_by_chance(mass: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected number of chance groups of at least each mass in one reference.

    One group more than was seen is assumed at the top (as in permutation tests), so certainty is never claimed from a
    count of zero within the range of the reference; beyond it the tail falls off exponentially with the mean excess of
    the upper tenth, at least ten, of the chance groups.
    """
    if len(chance) == 0:
        return np.ones_like(mass)
    ordered = np.sort(chance)
    counted = len(ordered) - np.searchsorted(ordered, mass, side="left") + 1.0
    upper = ordered[-max(10, len(ordered) // 10) :]
    slope = max(float(np.mean(upper - upper[0])), 0.1 * float(ordered[-1]), 1e-9)
    tail = 2.0 * np.exp(-(mass - ordered[-1]) / slope)
    return np.asarray(np.where(mass > ordered[-1], np.minimum(tail, 1.0), counted))


def _local_chance(anomaly: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability that an ion of this anomaly is one of the matrix (local false discovery rate), falling with anomaly.

    Efron 2004, doi 10.1198/016214504000000089: ratio of the reference's density to the measured one, here over bins of
    equal measured counts, made monotone by isotonic regression.
    """
    from sklearn.isotonic import IsotonicRegression

    if len(anomaly) == 0 or len(reference) == 0:
        return np.ones(len(anomaly))
    n_bins = int(np.clip(len(anomaly) // 50, 1, 400))
    edges = np.unique(np.quantile(anomaly, np.linspace(0, 1, n_bins + 1)))
    if len(edges) < 3:
        return np.ones(len(anomaly))
    mine = np.histogram(anomaly, edges)[0] / len(anomaly)
    edges_all = edges.copy()
    edges_all[0], edges_all[-1] = -np.inf, np.inf
    theirs = np.histogram(reference, edges_all)[0] / len(reference)
    ratio = np.minimum(theirs / np.maximum(mine, 1e-12), 1.0)
    centers = (edges[1:] + edges[:-1]) / 2
    model = IsotonicRegression(y_min=0, y_max=1, increasing=False, out_of_bounds="clip")
    fitted: NDArray[np.float64] = model.fit(centers, ratio, sample_weight=mine).predict(anomaly)
    return fitted


def _describe(evidence: Evidence, rows: NDArray[np.int64], q: float, params: DefectsParams) -> Defect:
    xyz = evidence.xyz_nm[rows].astype(np.float64)
    centroid = xyz.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((xyz - centroid).T, bias=True))
    lengths = np.sqrt(np.maximum(values[::-1], 0))
    zone = float(evidence.surface_nm[evidence.judged].min())
    touches = bool(evidence.surface_nm[rows].min() <= zone + params.surface_nm)
    name = _name(evidence, rows, lengths, touches, params)
    cells = evidence.cell_volume_nm3[rows]
    typical = 1 / evidence.background_nm3
    volume = float(np.sum(np.where(np.isfinite(cells), cells, typical), dtype=np.float64))
    if name == "void":  # its rim's ions have swollen cells: the swelling is what is missing
        volume = max(volume - len(rows) * typical, 0.0)
    return Defect(
        name,
        rows,
        centroid,
        lengths,
        vectors[:, ::-1].T,
        volume,
        1 - q,
        float(evidence.anomaly[rows].mean()),
        touches,
    )


def _name(
    evidence: Evidence, rows: NDArray[np.int64], lengths: NDArray[np.float64], touches: bool, params: DefectsParams
) -> str:
    """Class of a group by its strongest evidence and its shape; rules of thumb that a trained classifier will replace.

    Vacancies and interstitials are never claimed: single ones can't be seen at the resolution of the instrument. What
    lies across a change of the background's composition is an interface or another phase, and is called unknown.
    """
    deficit = -float(evidence.density[rows].mean())
    share = evidence.background_share[rows]
    gain = np.where(np.median(share, axis=0) < _SOLUTE_SHARE, evidence.enrichment[rows].mean(axis=0), -np.inf)
    strongest = float(gain.max(initial=0.0))
    if deficit > max(strongest, 1.0):
        deep = float(np.percentile(evidence.density_ratio[rows], 5)) < params.void_depth
        compact = lengths[0] < min(params.largest_nm, _COMPACT * lengths[2])
        return "void" if deep and compact else "unknown"
    if strongest < 1.0:
        return "unknown"
    low, high = np.percentile(share, [5, 95], axis=0)
    if np.any(high - low > _INTERFACE_CHANGE):
        return "unknown"
    if lengths[0] > params.elongation * lengths[1]:
        return "dislocation"
    if lengths[1] > params.elongation * lengths[2]:
        return "grain_boundary" if touches else "stacking_fault"
    return "solute_cluster" if lengths[0] < params.largest_nm else "unknown"
