"""The full features of ions that are on display, with the regions and surfaces of the viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from napari_aptdefect.apt.features import FeatureContext, FeatureSetParams, charge_states, describe_ions
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.voronoi import voronoi_cells
from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.data.boundary import Boundary
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.feature_table import FeatureTable
from napari_aptdefect.data.region import Region
from napari_aptdefect.data.surface import Surface, boundary_of
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.pipeline.planes import PLANAR, Plane, nearest_plane
from napari_aptdefect.pipeline.ranged_ions import RangedIons
from napari_aptdefect.pipeline.regions import RegionParams
from napari_aptdefect.pipeline.run_folder import RunFolder, write_table
from napari_aptdefect.stage import Progress, Stage, scaled

_LEAST_IONS = 100


class DisplayFeaturesParams(FeatureSetParams, RegionParams):
    """Parameters of the features of ions on display."""


@dataclass(frozen=True, eq=False)
class Marks:
    """What else is known about the place of the ions.

    Parameters
    ----------
    regions
        Drawn regions by name.
    surfaces
        Surfaces by name; ions within 10 nm of them are described.
    voids
        Shape (V, 4): centers and radii, nm; None when nobody looked for voids.
    planes
        Planar defects; None when nobody looked for defects.
    """

    regions: Mapping[str, Region] = field(default_factory=dict)
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    voids: NDArray[np.float64] | None = None
    planes: tuple[Plane, ...] | None = None


@dataclass(frozen=True, eq=False)
class IonFeatures:
    """Features of the ions that have a place.

    Parameters
    ----------
    ion_idx
        Shape (M,), int64, rising: which ions of the file.
    table
        Their features.
    """

    ion_idx: NDArray[np.int64]
    table: FeatureTable

    def at(self, ion_idx: NDArray[np.integer]) -> NDArray[np.float32]:
        """Values of some ions, shape (n, number of columns); NaN for those without a place."""
        place = np.minimum(np.searchsorted(self.ion_idx, ion_idx), len(self.ion_idx) - 1)
        out = np.array(self.table.values[place])
        out[self.ion_idx[place] != ion_idx] = np.nan
        return out

    def save(self, path: Path) -> None:
        """Write the table as ``features.parquet`` of a run holds it."""
        table: pa.Table = self.table.to_arrow()
        write_table(path, table.add_column(0, pa.field("ion_idx", pa.int64()), [pa.array(self.ion_idx)]))


def features_of(ions: RangedIons, params: DisplayFeaturesParams, marks: Marks | None = None) -> Stage[IonFeatures]:
    """Compute graph, cells and features of all ions that have a place.

    Parameters
    ----------
    ions
        The ions; without ranges only what needs no species is there.
    params
        Parameters.
    marks
        Regions, surfaces, voids and planar defects.

    Raises
    ------
    EmptySelectionError
        If there are fewer than 100 ions.
    """
    marks = marks or Marks()
    rows = np.flatnonzero(finite_rows(ions.xyz_nm))
    if len(rows) < _LEAST_IONS:
        raise EmptySelectionError(f"{len(rows)} ions have a place; features need {_LEAST_IONS} at least")
    xyz, species = np.ascontiguousarray(ions.xyz_nm[rows]), ions.species_idx[rows]
    neighbors = GraphParams(k=max(GraphParams().k, params.n_shell, params.n_bonds))
    graph = yield from scaled(build_graph(xyz, neighbors), 0, 15, lambda p: f"neighbors: {p.message}")
    cells: VoronoiCells = yield from scaled(voronoi_cells(xyz), 15, 50, lambda p: f"Voronoi cells: {p.message}")
    yield Progress(50, 100, "distances from surfaces")
    context = FeatureContext(
        cells=cells,
        charge=None if ions.mass_da is None else charge_states(ions.ranges.ions, species, ions.mass_da[rows]),
        multi_hit=None if ions.multi_hit is None else ions.multi_hit[rows],
        voids=marks.voids,
        boundaries=_boundaries(xyz, marks),
        regions=marks.regions,
    )
    features = describe_ions(xyz, species, ions.ranges.ions, graph, context, params)
    table = yield from scaled(features, 55, 100, lambda p: f"features: {p.message}")
    return IonFeatures(rows.astype(np.int64), table)


def marks_of_run(run: RunFolder) -> Marks:
    """Voids and planar defects that a run found."""
    table = run.voids()
    voids = None
    if table is not None:
        names = ("center_x_nm", "center_y_nm", "center_z_nm", "radius_nm")
        voids = np.stack([table[name].to_numpy() for name in names], axis=1).reshape(-1, 4)
    planar = [row for row in run.defects().table.to_pylist() if row["defect_class"] in PLANAR]
    ions = run.ions(["x_nm", "y_nm", "z_nm", "defect"])
    defect = ions["defect"].to_numpy()
    planes = []
    for row in planar:
        inside = np.flatnonzero(defect == row["defect"])
        xyz = np.stack([ions[axis].to_numpy()[inside] for axis in ("x_nm", "y_nm", "z_nm")], axis=1)
        center = np.array([row[f"centroid_{axis}_nm"] for axis in "xyz"])
        planes.append(Plane(center, np.array(row["axis_directions"][6:9]), xyz))
    return Marks(voids=voids, planes=tuple(planes))


def _boundaries(xyz: NDArray[np.float32], marks: Marks) -> dict[str, Boundary]:
    found = {name: boundary_of(xyz, surface) for name, surface in marks.surfaces.items()}
    if marks.planes is not None:
        found["planar_defect"] = nearest_plane(xyz, marks.planes)
    return found
