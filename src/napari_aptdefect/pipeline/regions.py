"""Regions that a person drew, read from files for the features of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_aptdefect.data.region import Region
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.io.regions import read_regions
from napari_aptdefect.stage import Params, param


class RegionParams(Params):
    """Parameters of drawn regions."""

    thickness_nm: float | None = param(
        None,
        title="Region thickness",
        description="How far a drawn shape reaches across the plane it was drawn in, one half on either side. Empty: "
        "through the whole specimen.",
        unit="nm",
        gt=0,
        le=10_000,
    )


def read_all(paths: Sequence[Path], params: RegionParams) -> dict[str, Region]:
    """Read all regions of some files.

    Raises
    ------
    MissingFileError, FormatError, EmptySelectionError
        If a file is missing, holds something else, or no region.
    ParameterError
        If two regions have the same name, which is that of their file.
    """
    found: dict[str, Region] = {}
    for path in paths:
        join(found, read_regions(path, params.thickness_nm), str(path))
    return found


def join(found: dict[str, Region], more: Mapping[str, Region], where: str) -> None:
    """Add regions to others.

    Raises
    ------
    ParameterError
        If a name is taken.
    """
    twice = sorted(found.keys() & more.keys())
    if twice:
        raise ParameterError(f"{where}: there already is a region {twice[0]!r}; give one of them another name")
    found.update(more)
