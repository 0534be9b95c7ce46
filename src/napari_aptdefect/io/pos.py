"""The .pos format: headerless records x, y, z (nm), mass-to-charge (Da), four big-endian float32 per ion."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column
from napari_aptdefect.errors import FormatError, Issue
from napari_aptdefect.io._binary import Field, PackedReader, SourceFile, replacing

RECORD_BYTES: Final = 16
_FIELDS: Final = {"xyz_nm": Field(0, "f4", 3), "mass_da": Field(12, "f4")}


def read_pos(path: Path | str) -> IonCloud:
    """Open a .pos file; only its size is looked at, the ions are read when they are asked for.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The cloud; columns ``xyz_nm`` and ``mass_da``.

    Raises
    ------
    FormatError
        If the file does not hold whole ions.
    MissingFileError
        If there is no such file.

    Notes
    -----
    The format has no header, so nothing says which way z points, or that the fourth number is a mass at all: see
    `IonCloud.check`. Layout: Larson et al., appendix A.

    References
    ----------
    D. J. Larson et al., Local Electrode Atom Probe Tomography, 2013, doi:10.1007/978-1-4614-8721-0
    """
    file = SourceFile.of(path)
    n_ions = whole_records(file, RECORD_BYTES, ".pos")
    reader = PackedReader(file, 0, RECORD_BYTES, ">", _FIELDS)
    columns = {
        "xyz_nm": Column("xyz_nm", np.dtype(np.float32), 3, "nm", reader, "reconstructed positions"),
        "mass_da": Column("mass_da", np.dtype(np.float32), 1, "Da", reader, "mass-to-charge ratios"),
    }
    issues = (Issue("empty", "the file is empty: 0 ions"),) if n_ions == 0 else ()
    return IonCloud(n_ions, columns, file.path, "pos", {}, issues)


def whole_records(file: SourceFile, record_bytes: int, name: str) -> int:
    """Return the number of ions in a headerless file.

    Raises
    ------
    FormatError
        If the last ion is not whole.
    """
    n_ions, rest = divmod(file.size, record_bytes)
    if rest:
        raise FormatError(
            file.path,
            expected=f"a multiple of {record_bytes} bytes, one {name} record per ion",
            found=f"{file.size} bytes: {n_ions} whole ions and {rest} bytes more",
            offset=n_ions * record_bytes,
            hint="The file was cut off or is of another format: copy it again from where it was written.",
        )
    return n_ions


def write_pos(cloud: IonCloud, path: Path | str) -> tuple[Issue, ...]:
    """Write positions and masses as .pos, in blocks and to a temporary name first.

    Returns
    -------
    What the format can't hold.
    """
    with replacing(path) as handle:
        for start, stop in cloud.chunks():
            block = cloud.read_columns(("xyz_nm", "mass_da"), start, stop)
            records = np.empty((stop - start, 4), ">u4")
            records[:, :3] = block["xyz_nm"].view(np.uint32)
            records[:, 3] = block["mass_da"].view(np.uint32)
            handle.write(records.data)
    return left_out(cloud, tuple(_FIELDS), ".pos")


def left_out(cloud: IonCloud, held: tuple[str, ...], name: str) -> tuple[Issue, ...]:
    """Report the columns of a cloud that a format does not hold."""
    lost = [column for column in cloud.columns if column not in held]
    if not lost:
        return ()
    text = f"{name} does not hold {', '.join(lost)}; write .parquet or .nxs to keep all columns"
    return (Issue("columns-left-out", text, "info"),)


def compare_pair(pos: IonCloud, epos: IonCloud) -> tuple[Issue, ...]:
    """Compare the .pos and the .epos of one run, ion by ion and bit for bit.

    Returns
    -------
    Nothing when they agree; otherwise issues that say whether one is a prefix of the other (exporters are known to
    write one ion more to the .pos) or from which ion on they differ.

    Examples
    --------
    >>> a = IonCloud.from_arrays([[0, 0, 0], [1, 0, 0]], [28.0, 14.0])
    >>> [issue.code for issue in compare_pair(a, a.take(np.array([0])))]
    ['pair-count']
    """
    n_common = min(pos.n_ions, epos.n_ions)
    for start in range(0, n_common, 1 << 20):
        stop = min(start + (1 << 20), n_common)
        a, b = (cloud.read_columns(("xyz_nm", "mass_da"), start, stop) for cloud in (pos, epos))
        differs = (a["xyz_nm"].view(np.uint32) != b["xyz_nm"].view(np.uint32)).any(axis=1)
        differs |= a["mass_da"].view(np.uint32) != b["mass_da"].view(np.uint32)
        if differs.any():
            first = start + int(np.flatnonzero(differs)[0])
            text = f"the two files hold different ions from ion {first} on ({pos.n_ions} and {epos.n_ions} ions)"
            return (Issue("pair-differs", text),)
    if pos.n_ions == epos.n_ions:
        return ()
    text = f"the .pos holds {pos.n_ions} ions, the .epos {epos.n_ions}; the first {n_common} are identical"
    return (Issue("pair-count", text),)
