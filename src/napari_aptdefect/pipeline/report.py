"""The report of a run: one page that needs no other file, and its pictures as files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import as_points, as_vector
from napari_aptdefect.data import DefectTable, RangeTable, VoxelGrid
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.stage import Stage


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything the report shows.

    Parameters
    ----------
    title
        Heading of the page, such as the name of the input file.
    record
        What goes to ``run.json`` (input, ranges, parameters, seed, versions, stages, issues, summary); keys that are
        not known yet may be missing.
    ranges
        Ions and ranges that were used.
    ion_counts
        Number of ions of each entry of ``ranges.ions``, shape (n_species,).
    mass_da
        Mass-to-charge ratios, shape (N,), float32, Da.
    xyz_nm
        Positions, shape (N, 3), float32, nm; rows that are not finite are left out of pictures, and counted.
    species_idx
        Index into ``ranges.ions``, shape (N,), int16, -1 unranged.
    cluster
        Feature-space cluster, shape (N,), int32, -1 none.
    defect
        Defect instance, shape (N,), int32, 0 matrix, from 1.
    defect_class
        Index into `DEFECT_CLASSES`, shape (N,), int8.
    probability
        Probability of belonging to a defect, shape (N,), float32.
    anomaly_score
        Anomaly score, shape (N,), float32.
    defects
        One row per defect instance.
    grids
        Grids by name: ``density``, ``probability``, ``composition/<species>``; each may be missing.

    Raises
    ------
    ShapeError
        If the arrays are not of one length, or the counts do not fit the ions of the range table.
    """

    title: str
    record: Mapping[str, Any]
    ranges: RangeTable
    ion_counts: NDArray[np.int64]
    mass_da: NDArray[np.float32]
    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    cluster: NDArray[np.int32]
    defect: NDArray[np.int32]
    defect_class: NDArray[np.int8]
    probability: NDArray[np.float32]
    anomaly_score: NDArray[np.float32]
    defects: DefectTable
    grids: Mapping[str, VoxelGrid]

    def __post_init__(self) -> None:
        n = len(as_points(self.xyz_nm))
        for name in ("mass_da", "species_idx", "cluster", "defect", "defect_class", "probability", "anomaly_score"):
            values = getattr(self, name)
            as_vector(values, name, length=n, dtype=values.dtype)
        if len(self.ion_counts) != len(self.ranges.ions):
            raise ShapeError(
                f"ion_counts needs one number per ion of the range table, {len(self.ranges.ions)}, "
                f"got {len(self.ion_counts)}"
            )

    @property
    def n_ions(self) -> int:
        """Number of ions."""
        return len(self.xyz_nm)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.record.get("seed", 0))


def write_report(work: Path, data: ReportData) -> Stage[None]:
    """Write ``report.html`` and ``figures/*.png`` into a run folder that is being made.

    Parameters
    ----------
    work
        Folder to write into.
    data
        What to show.
    """
    from napari_aptdefect.pipeline.report_figures import draw_pictures
    from napari_aptdefect.pipeline.report_tables import page_context

    pictures = yield from draw_pictures(data)
    figures = work / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        _write(figures / f"{picture.name}.png", picture.png)
    context = page_context(data)
    context["pictures"] = {
        section: [
            {
                "source": "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii"),
                "name": picture.name,
                "alt": picture.alt,
                "caption": picture.caption,
                "width": picture.width_px,
                "height": picture.height_px,
            }
            for picture in pictures
            if picture.section == section
        ]
        for section in {picture.section for picture in pictures}
    }
    _write(work / "report.html", render_page(context).encode("utf-8"))


def render_page(context: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped, for names in files are written by others."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("napari_aptdefect.pipeline", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(**context)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
