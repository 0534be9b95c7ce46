"""The wires of the benchmark: mixtures of targets and controls, controls alone, and random alloys without defects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.splits import SPLITS, Span, Split, Whole
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.gan_specs import (
    DefectSpec,
    Dislocation,
    GrainBoundary,
    Insertion,
    Interstitial,
    InversionDomain,
    SoluteCluster,
    StackingFault,
    Vacancy,
    VacancyCluster,
    Void,
)
from napari_aptdefect.simulate.placement import ball_radius_nm

Kind = Literal["mixture", "controls", "empty", "relabeled", "lesson"]
Size = Literal["full", "quick"]

KINDS: Final[tuple[Kind, ...]] = ("mixture", "controls", "empty", "relabeled", "lesson")
FAULTS: Final[tuple[Any, ...]] = ("I1", "I2", "E")
CORE_NM: Final = 2.0
"""Ions this near to the surface of the wire are not scored: no neighborhood there is whole."""

_WIRE: Final = {"full": (8.0, 16.0), "quick": (5.0, 9.0)}
_SOMETIMES: Final = 0.35
_TRIES: Final = 300
_RESTARTS: Final = 1000
_GAP_NM: Final = 0.5

SPANS: Final[dict[str, Span | Whole]] = {
    "background_percent": Span(0.05, 0.3, log=True),
    "cluster_radius_nm": Span(0.8, 2.8),
    "cluster_percent": Span(1.5, 25.0, log=True),
    "void_radius_nm": Span(0.5, 2.0),
    "n_vacancies": Whole(5, 250),
    "fault_excess_per_nm2": Span(0.05, 3.0, log=True),
    "line_excess_per_nm": Span(0.3, 10.0, log=True),
    "line_radius_nm": Span(0.5, 1.1),
    "boundary_excess_per_nm2": Span(0.1, 4.0, log=True),
    "boundary_thickness_nm": Span(0.8, 1.4),
    "misorientation_deg": Span(5.0, 40.0),
    "insertion_thickness_nm": Span(1.2, 2.4),
    "insertion_percent": Span(4.0, 20.0),
}
"""Ranges of all sizes and concentrations; they straddle what can be seen at the levels."""


@dataclass(frozen=True)
class WireRecipe:
    """Which wire, measured at which level.

    Parameters
    ----------
    kind
        ``"mixture"``: all kinds of targets, and the controls; ``"controls"``: only these; ``"empty"``: a random alloy;
        ``"relabeled"``: the empty wire of the same number with the masses of its ions permuted.
    split
        What it is for.
    number
        Which one of its kind.
    level
        Difficulty level. The same wire is measured at all levels: only what the instrument does differs.
    size
        ``"full"``, or ``"quick"`` for a trial run.
    """

    kind: Kind
    split: Split
    number: int
    level: int
    size: Size = "full"

    @property
    def name(self) -> str:
        """Short name for file names and messages."""
        return f"{self.kind}-{self.split}-{self.number}-level{self.level}"

    @property
    def seed(self) -> int:
        """Seed of the crystal, the defects and the measurement: 3 n + the split's place, so no split shares one."""
        kind = KINDS.index("empty" if self.kind == "relabeled" else self.kind)
        return 3 * (kind * 100_000 + self.number) + SPLITS.index(self.split)

    def as_dict(self) -> dict[str, Any]:
        """Gather the recipe for a record."""
        return asdict(self)

    def params(self) -> GanNanowireParams:
        """Parameters of the simulation."""
        radius, length = _WIRE[self.size]
        rng = np.random.default_rng([7, self.seed])
        for _ in range(_RESTARTS):
            draw = _Draw(self, rng, radius, length)
            try:
                background, defects = draw("background_percent"), draw.defects()
                break
            except _CrowdedError:
                continue
        else:
            raise ParameterError(f"{self.name}: the defects find no room in the wire; make it larger")
        return GanNanowireParams(
            radius_nm=radius,
            length_nm=length,
            level=self.level,
            solute="Mg",
            solute_percent=background,
            n_clusters=0,
            n_dislocations=0,
            n_stacking_faults=0,
            n_voids=0,
            n_vacancies=0,
            n_interstitials=0,
            defects=defects,
        )


def ranges_of_places(recipe: WireRecipe) -> tuple[Span, Span, Span]:
    """Cells of the places x, y and z that defects of a wire are put at."""
    radius, length = _WIRE[recipe.size]
    across = radius - CORE_NM
    return (
        Span(-across, across, 60),
        Span(-across, across, 60),
        Span(CORE_NM, length - CORE_NM, 60),
    )


class _CrowdedError(Exception):
    """No place is left for something; the wire is drawn again."""


class _Draw:
    """Draws the defects of one wire, each value from the cells of its split."""

    def __init__(self, recipe: WireRecipe, rng: np.random.Generator, radius: float, length: float) -> None:
        self.recipe, self.rng, self.radius, self.length = recipe, rng, radius, length
        self.places = ranges_of_places(recipe)
        self.balls: list[tuple[np.ndarray[Any, Any], float]] = []
        self.lines: list[tuple[np.ndarray[Any, Any], float]] = []
        self.slabs: list[tuple[float, float]] = []  # across c
        self.walls: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]] = []

    def __call__(self, name: str) -> Any:
        return SPANS[name].draw(self.recipe.split, self.rng)

    def defects(self) -> tuple[DefectSpec, ...]:
        """All defects: what spans the wire, then what must find room beside it, then what may lie anywhere."""
        if self.recipe.kind in ("empty", "relabeled"):
            return ()
        if self.recipe.kind == "lesson":
            return tuple(self.lesson())
        controls, quick = self.recipe.kind == "controls", self.recipe.size == "quick"
        out: list[DefectSpec] = []
        if not controls:
            out += self.extended()
            out += self.compact(n_clusters=1 if quick else 2, n_voids=1 if quick else 2)
        if controls or not quick:
            fault: Any = self.choice(FAULTS)
            out.append(StackingFault(fault=fault, depth_nm=self.depth(0.5)))
            out.append(self.bare_dislocation())
        n = 2 if quick else 4
        sublattices: Sequence[Any] = ("Ga",) * n + ("N",) * 2
        out += [Vacancy(center_nm=self.point(), sublattice=one) for one in sublattices]
        sites: Sequence[Any] = ("split", "octahedral") * (n // 2)
        # beyond a boundary the simulated lattice has no octahedral channels
        out += [Interstitial(center_nm=self.point(before_walls=one == "octahedral"), site=one) for one in sites]
        return tuple(out)

    def extended(self) -> Iterable[DefectSpec]:
        """Decorated planes and lines: a fault always, a boundary in every third wire, else a dislocation."""
        third = self.recipe.number % 3
        if third == 1 and self.recipe.size == "full":
            yield self.layer()
        yield self.fault()
        if self.recipe.size == "quick":
            return
        yield self.wall() if third == 2 else self.dislocation()

    def lesson(self) -> Iterable[DefectSpec]:
        """About twelve targets: of every kind as many as find room, in ever new company.

        At level 0 there are points and a bare dislocation, too; elsewhere nothing can be learned from them.
        """
        if self.recipe.size == "quick":
            yield self.fault()
            yield from self.compact(n_clusters=1, n_voids=1)
            if self.recipe.level == 0:
                yield from self.points(3)
            return
        if self.rng.random() < _SOMETIMES:
            yield self.layer()
        for _ in range(int(self.rng.integers(1, 3))):
            yield self.fault()
        if self.rng.random() < _SOMETIMES:
            yield self.wall()
        for _ in range(int(self.rng.integers(1, 4))):
            yield self.dislocation()
        yield StackingFault(fault=self.choice(FAULTS), depth_nm=self.depth(0.5))  # nothing to be seen above level 0
        yield from self.compact(n_clusters=2, n_voids=2, n_vacancy_clusters=3)
        if self.recipe.level == 0:
            yield self.bare_dislocation()
            yield from self.points(8)

    def points(self, n: int) -> Iterable[DefectSpec]:
        """As many vacancies of each sublattice and interstitials of each site."""
        sublattices: tuple[Any, ...] = ("Ga", "N") * n
        for one in sublattices:
            yield Vacancy(center_nm=self.point(), sublattice=one)
        sites: tuple[Any, ...] = ("split", "octahedral") * n
        for one in sites:
            yield Interstitial(center_nm=self.point(before_walls=one == "octahedral"), site=one)

    def bare_dislocation(self) -> DefectSpec:
        """A threading dislocation that no solute decorates."""
        core: Any = self.choice(("screw", "edge", "mixed"))
        return Dislocation(core=core, center_nm=self.line(0.5), radius_nm=0.5)

    def layer(self) -> DefectSpec:
        """An intended layer of InGaN or AlGaN."""
        element: Any = self.choice(("In", "Al"))
        thickness = self("insertion_thickness_nm")
        depth = self.depth(thickness / 2)
        return Insertion(depth_nm=depth, thickness_nm=thickness, solute=element, percent=self("insertion_percent"))

    def fault(self) -> DefectSpec:
        """A decorated basal stacking fault."""
        fault: Any = self.choice(FAULTS)
        return StackingFault(
            fault=fault, depth_nm=self.depth(0.5), solute="Mg", excess_per_nm2=self("fault_excess_per_nm2")
        )

    def dislocation(self) -> DefectSpec:
        """A decorated threading dislocation."""
        radius = self("line_radius_nm")
        core: Any = self.choice(("screw", "edge", "mixed"))
        profile: Any = self.choice(("uniform", "gaussian"))
        return Dislocation(
            core=core,
            center_nm=self.line(radius),
            radius_nm=radius,
            solute="Mg",
            excess_per_nm=self("line_excess_per_nm"),
            profile=profile,
        )

    def wall(self) -> DefectSpec:
        """A grain boundary or an inversion domain boundary parallel to c."""
        thickness, excess = self("boundary_thickness_nm"), self("boundary_excess_per_nm2")
        angle = float(self.rng.integers(6)) * np.pi / 3
        normal = np.array([np.cos(angle), np.sin(angle), 0.0])
        across = self.radius - CORE_NM
        for _ in range(_TRIES):
            center = self.place()
            offset = float(center @ normal)
            if 0.5 * across < offset < 0.75 * across:
                break
        else:
            raise _CrowdedError("boundary")
        self.walls.append((center, normal, thickness / 2))
        where, direction = _vector(center), _vector(normal)
        if self.choice(("grain", "inversion")) == "grain":
            return GrainBoundary(
                center_nm=where,
                normal=direction,
                angle_deg=self("misorientation_deg"),
                thickness_nm=thickness,
                excess_per_nm2=excess,
            )
        return InversionDomain(center_nm=where, normal=direction, thickness_nm=thickness, excess_per_nm2=excess)

    def compact(self, n_clusters: int, n_voids: int, n_vacancy_clusters: int = 1) -> list[DefectSpec]:
        out: list[DefectSpec] = []
        for i in range(n_clusters):
            solute: Any = "In" if i % 2 else "Mg"
            radius = self("cluster_radius_nm")
            percent = self("cluster_percent")
            out.append(SoluteCluster(center_nm=self.ball(radius), radius_nm=radius, solute=solute, percent=percent))
        for _ in range(n_voids):
            radius = self("void_radius_nm")
            out.append(Void(center_nm=self.ball(radius), radius_nm=radius))
        for _ in range(n_vacancy_clusters):
            n = self("n_vacancies")
            sublattice: Any = self.choice(("both", "Ga"))
            reach = ball_radius_nm(VacancyCluster(n_vacancies=n, sublattice=sublattice))
            out.append(VacancyCluster(center_nm=self.ball(reach), n_vacancies=n, sublattice=sublattice))
        return out

    def depth(self, half: float) -> float:
        """Depth of a slab across c, apart from the other slabs."""
        for _ in range(_TRIES):
            z = self.places[2].draw(self.recipe.split, self.rng)
            if all(abs(z - other) > half + reach + _GAP_NM for other, reach in self.slabs):
                self.slabs.append((z, half))
                return z
        raise _CrowdedError("slab")

    def line(self, radius: float) -> tuple[float, float, float]:
        """A point of a line along c, off the axis, so that the middle stays free."""
        for _ in range(_TRIES):
            center = self.place()
            apart = all(np.hypot(*(center - o)[:2]) > radius + r + 2 * _GAP_NM for o, r in self.lines)
            apart &= all((c - center) @ n > radius + half + _GAP_NM for c, n, half in self.walls)
            if apart and self.inside(center) > radius / 2 and np.hypot(*center[:2]) > 0.6 * (self.radius - CORE_NM):
                self.lines.append((center, radius))
                return _vector(center)
        raise _CrowdedError("line")

    def ball(self, radius: float, gap: float = _GAP_NM, *, before_walls: bool = False) -> tuple[float, float, float]:
        for _ in range(_TRIES):
            center = self.place()
            room = radius + gap
            apart = self.inside(center) > radius / 2
            apart &= all(np.linalg.norm(center - o) > room + r for o, r in self.balls)
            apart &= all(np.hypot(*(center - o)[:2]) > room + r for o, r in self.lines)
            apart &= all(abs(center[2] - z) > room + half for z, half in self.slabs)
            apart &= all(abs((center - c) @ n) > room + half for c, n, half in self.walls)
            apart &= not before_walls or all((center - c) @ n < 0 for c, n, _ in self.walls)
            if apart:
                self.balls.append((center, radius))
                return _vector(center)
        raise _CrowdedError("ball")

    def point(self, *, before_walls: bool = False) -> tuple[float, float, float]:
        return self.ball(0.25, gap=0.1, before_walls=before_walls)

    def place(self) -> np.ndarray[Any, Any]:
        return np.array([span.draw(self.recipe.split, self.rng) for span in self.places])

    def inside(self, center: np.ndarray[Any, Any]) -> float:
        """Depth below the surface of the scored core, nm."""
        return float(gan.depth_below_facets_nm(center[None], self.radius, self.length)[0]) - CORE_NM

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]


def _vector(values: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
