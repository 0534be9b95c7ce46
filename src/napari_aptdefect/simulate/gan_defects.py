"""Defects put into a GaN nanowire: where they go, which atoms they change, and the truth about each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_params import GanNanowireParams

_TRIES = 2000
_MARGIN_NM = 0.5
_POINT_DEPTH_NM = 0.3


@dataclass(frozen=True)
class DefectTruth:
    """What is true of one defect.

    Parameters
    ----------
    defect
        Instance number, from 1.
    defect_class
        One of `DEFECT_CLASSES`.
    kind
        What it is exactly, such as ``"I1"`` or ``"Ga vacancy"``.
    center_nm
        Center x, y, z, nm.
    direction
        Unit vector of the line, or normal of the plane; zero for a compact defect.
    radius_nm
        Radius of the sphere or of the atmosphere around the line, half the thickness of the plane's slab; 0 for a
        point.
    volume_nm3
        Volume of the region inside the wire, nm³; 0 for a point.
    n_sites
        Lattice sites in the region; for a void and a vacancy they are empty.
    n_solute
        Solute atoms in the region before detection.
    n_ions
        Detected ions that carry this instance number; 0 for voids and vacancies.
    """

    defect: int
    defect_class: str
    kind: str
    center_nm: tuple[float, float, float]
    direction: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius_nm: float = 0.0
    volume_nm3: float = 0.0
    n_sites: int = 0
    n_solute: int = 0
    n_ions: int = 0

    @property
    def code(self) -> int:
        """Code of the class: its index in `DEFECT_CLASSES`."""
        return DEFECT_CLASSES.index(self.defect_class)


@dataclass(frozen=True)
class PointSite:
    """A lattice site that a point defect sits on: bilayer, index in its net, sublattice 0 (Ga) or 1 (N)."""

    layer: int
    net_idx: int
    sublattice: int


@dataclass(frozen=True)
class DefectPlan:
    """All defects of one wire, before any atom exists.

    Parameters
    ----------
    defects
        Truth about each, instance numbers 1..n in order; its counts are still zero.
    fault_layers
        Bilayers at which a stacking fault I1 lies.
    points
        Site of each vacancy and interstitial, by instance number.
    core
        ``"screw"``, ``"edge"`` or ``"none"``: how atoms around a dislocation are displaced.
    outer_nm
        Outer radius of the edge dislocation's field, nm.
    """

    defects: tuple[DefectTruth, ...]
    fault_layers: tuple[int, ...]
    points: dict[int, PointSite]
    core: str
    outer_nm: float

    def displaced(self, xyz_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of lattice sites in the wire with its dislocations; shape (N, 3), nm."""
        moved = xyz_nm.copy()
        for line in self.of_class("dislocation"):
            x, y, _ = line.center_nm
            if self.core == "screw":
                moved += gan.screw_displacement(xyz_nm, x, y)
            elif self.core == "edge":
                moved += gan.edge_displacement(xyz_nm, x, y, self.outer_nm)
        return moved

    def of_class(self, name: str) -> list[DefectTruth]:
        """Defects of one class."""
        return [defect for defect in self.defects if defect.defect_class == name]

    def label(self, xyz_nm: NDArray[np.float64], layer: NDArray[np.int32]) -> NDArray[np.int32]:
        """Instance number of the extended defect that each atom lies in, 0 for the matrix; shape (N,).

        A cluster or void wins over a dislocation, a dislocation over a stacking fault.
        """
        instance = np.zeros(len(xyz_nm), np.int32)
        for fault, at in zip(self.of_class("stacking_fault"), self.fault_layers, strict=True):
            instance[(layer == at) | (layer == at - 1)] = fault.defect
        for line in self.of_class("dislocation"):
            distance = np.hypot(xyz_nm[:, 0] - line.center_nm[0], xyz_nm[:, 1] - line.center_nm[1])
            instance[distance <= line.radius_nm] = line.defect
        for ball in self.of_class("solute_cluster") + self.of_class("void"):
            near = np.flatnonzero(np.abs(xyz_nm[:, 2] - ball.center_nm[2]) <= ball.radius_nm)
            distance = np.linalg.norm(xyz_nm[near] - ball.center_nm, axis=1)
            instance[near[distance <= ball.radius_nm]] = ball.defect
        return instance


def plan_defects(params: GanNanowireParams, net: NDArray[np.float64], rng: np.random.Generator) -> DefectPlan:
    """Place all defects of a wire at random, apart from each other and below the surface.

    Parameters
    ----------
    params
        The wire and its defects.
    net
        Lateral net of the bilayers, shape (M, 2), nm.
    rng
        Source of random numbers.

    Raises
    ------
    ParameterError
        If the defects don't fit into the wire.
    """
    apothem, length = params.radius_nm, params.length_nm
    found: list[DefectTruth] = []
    layers: list[int] = []
    area = gan.hexagon_area_nm2(apothem)
    for _ in range(params.n_stacking_faults):
        layer = _fault_layer(layers, length, rng)
        layers.append(layer)
        center = (0.0, 0.0, (layer - 0.5) * gan.BILAYER_NM + gan.U * gan.C_NM / 2)
        found.append(
            DefectTruth(0, "stacking_fault", "I1", center, (0.0, 0.0, 1.0), gan.BILAYER_NM, area * 2 * gan.BILAYER_NM)
        )
    for _ in range(params.n_dislocations):
        found.append(_line(params, found, rng))
    balls = [("solute_cluster", f"{params.solute}-rich cluster", params.cluster_radius_nm)] * params.n_clusters
    balls += [("void", "void", params.void_radius_nm)] * params.n_voids
    # The large ones first: they are the hardest to place.
    for name, kind, radius in sorted(balls, key=lambda ball: -ball[2]):
        center = _ball_center(radius, found, apothem, length, rng)
        found.append(DefectTruth(0, name, kind, center, radius_nm=radius, volume_nm3=4 / 3 * np.pi * radius**3))
    order = {"solute_cluster": 0, "dislocation": 1, "stacking_fault": 2, "void": 3}
    found.sort(key=lambda defect: order[defect.defect_class])
    extended = [replace(defect, defect=i) for i, defect in enumerate(found, start=1)]
    plan = DefectPlan(tuple(extended), tuple(layers), {}, params.dislocation_core, apothem)
    return _with_points(plan, params, net, rng)


def _fault_layer(taken: list[int], length: float, rng: np.random.Generator) -> int:
    last = int(length / gan.BILAYER_NM)
    for _ in range(_TRIES):
        layer = int(rng.integers(4, max(last - 4, 5)))
        if layer <= last - 4 and all(abs(layer - other) >= 4 for other in taken):
            return layer
    raise _too_crowded("stacking fault")


def _line(params: GanNanowireParams, found: list[DefectTruth], rng: np.random.Generator) -> DefectTruth:
    radius, apothem, length = params.dislocation_radius_nm, params.radius_nm, params.length_nm
    for _ in range(_TRIES):
        x, y = rng.uniform(-apothem, apothem, 2)
        side = gan.depth_below_facets_nm(np.array([[x, y, 5e8]]), apothem, 1e9)[0]
        others = [d.center_nm for d in found if d.defect_class == "dislocation"]
        if side < radius + _MARGIN_NM:
            continue
        if all(np.hypot(x - o[0], y - o[1]) > 2 * radius + _MARGIN_NM for o in others):
            return DefectTruth(
                0,
                "dislocation",
                f"{params.dislocation_core} dislocation" if params.dislocation_core != "none" else "solute line",
                (float(x), float(y), length / 2),
                (0.0, 0.0, 1.0),
                radius,
                np.pi * radius**2 * length,
            )
    raise _too_crowded("dislocation")


def _ball_center(
    radius: float, found: list[DefectTruth], apothem: float, length: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    for _ in range(_TRIES):
        center = rng.uniform([-1.2 * apothem, -apothem, 0], [1.2 * apothem, apothem, length])
        if gan.depth_below_facets_nm(center[None], apothem, length)[0] < radius + _MARGIN_NM:
            continue
        if all(_gap(center, other) > radius + _MARGIN_NM for other in found):
            return float(center[0]), float(center[1]), float(center[2])
    raise _too_crowded("cluster or void")


def _gap(point: NDArray[np.float64], other: DefectTruth) -> float:
    """Distance of a point to the region of another defect, nm."""
    offset = point - np.asarray(other.center_nm)
    if other.defect_class == "stacking_fault":
        return float(abs(offset[2])) - other.radius_nm
    if other.defect_class == "dislocation":
        return float(np.hypot(offset[0], offset[1])) - other.radius_nm
    return float(np.linalg.norm(offset)) - other.radius_nm


def _too_crowded(what: str) -> ParameterError:
    return ParameterError(f"no place left for another {what}; make the wire larger, or the defects fewer or smaller")


def _with_points(
    plan: DefectPlan, params: GanNanowireParams, net: NDArray[np.float64], rng: np.random.Generator
) -> DefectPlan:
    """Add Ga vacancies and N interstitials on matrix sites."""
    defects, points = list(plan.defects), dict(plan.points)
    for name, kind, sublattice, wanted in (
        ("vacancy", "Ga vacancy", 0, params.n_vacancies),
        ("interstitial", "N split interstitial", 1, params.n_interstitials),
    ):
        for site, place in _matrix_sites(plan, params, net, sublattice, wanted, rng):
            defects.append(DefectTruth(len(defects) + 1, name, kind, place, n_sites=1))
            points[len(defects)] = site
    return replace(plan, defects=tuple(defects), points=points)


def _matrix_sites(
    plan: DefectPlan,
    params: GanNanowireParams,
    net: NDArray[np.float64],
    sublattice: int,
    wanted: int,
    rng: np.random.Generator,
) -> list[tuple[PointSite, tuple[float, float, float]]]:
    """Different random sites of one sublattice below the surface and outside all extended defects."""
    last = int(params.length_nm / gan.BILAYER_NM)
    places = gan.stacking(last + 1, 0, plan.fault_layers)
    found: dict[PointSite, tuple[float, float, float]] = {}
    for _ in range(_TRIES):
        if len(found) >= wanted:
            return list(found.items())[:wanted]
        n = 2 * (wanted - len(found)) + 16
        layer, net_idx = rng.integers(1, max(last, 2), size=n), rng.integers(len(net), size=n)
        xyz = plan.displaced(gan.sites_nm(net[net_idx], layer, places[layer], sublattice))
        good = gan.depth_below_facets_nm(xyz, params.radius_nm, params.length_nm) >= _POINT_DEPTH_NM
        good &= plan.label(xyz, layer.astype(np.int32)) == 0
        for i in np.flatnonzero(good):
            x, y, z = (float(v) for v in xyz[i])
            found.setdefault(PointSite(int(layer[i]), int(net_idx[i]), sublattice), (x, y, z))
    raise _too_crowded("point defect")
