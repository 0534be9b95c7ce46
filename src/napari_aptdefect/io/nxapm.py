"""Ion clouds in NeXus/HDF5 after the NXapm application definition: written here, and read wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column
from napari_aptdefect.errors import AptDefectError, FormatError, Issue
from napari_aptdefect.io._binary import SourceFile, replacing_path

_ATOM_PROBE: Final = "entry1/atom_probe"
_POSITIONS: Final = "reconstruction/reconstructed_positions"
_MASSES: Final = "mass_to_charge_conversion/mass_to_charge"
# Other quantities per ion have no common place in NXapm files; NXcollection is NeXus' place for such.
_COLLECTION: Final = "ion_columns"
_LENGTHS: Final = {"nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "angstrom": 0.1, "Å": 0.1, "m": 1e9, "meter": 1e9}
_MASS_UNITS: Final = ("", "da", "u", "amu", "dalton", "unified_atomic_mass_unit")
_H5_ERRORS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)
_MAX_DATASETS: Final = 20_000
# From this version on the tree has checksums, so that damage is an error and no crash of the library; strings of fixed
# length keep everything out of the one heap that has none.
_CHECKED: Final = ("v110", "v110")


def read_nxapm(path: Path | str) -> IonCloud:
    """Open an NXapm file; only its tree is looked at, the ions are read when they are asked for.

    Parameters
    ----------
    path
        NeXus/HDF5 file with ``reconstructed_positions``, shape (N, 3), and ``mass_to_charge``, shape (N,) or (N, 1).

    Returns
    -------
    The cloud; positions and masses that are not float32 are read as float32, and that is reported.

    Raises
    ------
    FormatError
        If the file is damaged or holds no positions and masses of the same ions.
    MissingFileError
        If there is no such file.

    Notes
    -----
    Where a file holds several reconstructions, the first in the order of the tree is read, and the others are reported.

    References
    ----------
    NXapm and NXapm_reconstruction, NeXus definitions, https://fairmat-nfdi.github.io/nexus_definitions
    """
    file = SourceFile.of(path)
    issues: list[Issue] = []
    with _opened(file) as tree:
        cloud: IonCloud = _guarded(file, lambda: _cloud(file, tree, issues))
    return cloud


def holds_cloud(path: Path) -> bool:
    """Whether an HDF5 file holds reconstructed positions; False for a damaged one."""
    try:
        with h5py.File(path, "r") as tree:
            return bool(_find(tree, "reconstructed_positions"))
    except _H5_ERRORS:
        return False


def _cloud(file: SourceFile, tree: h5py.File, issues: list[Issue]) -> IonCloud:
    positions = _find(tree, "reconstructed_positions")
    masses = _find(tree, "mass_to_charge")
    for name, found in (("reconstructed_positions", positions), ("mass_to_charge", masses)):
        if not found:
            raise FormatError(
                file.path,
                expected=f"an NXapm file with a dataset {name!r}",
                found=f"the groups {', '.join(list(tree)[:10]) or '(none)'}",
            )
    if len(positions) > 1:
        text = f"the file holds {len(positions)} reconstructions; read is {positions[0]}"
        issues.append(Issue("several-reconstructions", text))
    xyz = tree[positions[0]]
    n_ions = xyz.shape[0] if xyz.shape else 0
    # The masses that lie in the same branch of the tree belong to these positions.
    masses.sort(key=lambda name: -_common(name, positions[0]))
    mass = tree[masses[0]]
    if xyz.ndim != 2 or xyz.shape[1] != 3 or mass.shape not in ((n_ions,), (n_ions, 1)):
        raise FormatError(
            file.path,
            expected="positions of shape (N, 3) and masses of shape (N,)",
            found=f"{positions[0]} {xyz.shape} and {masses[0]} {mass.shape}",
        )
    names = {"xyz_nm": positions[0], "mass_da": masses[0]}
    factors = {"xyz_nm": _length_factor(xyz, issues), "mass_da": 1.0}
    if _units(mass).lower() not in _MASS_UNITS:
        issues.append(Issue("unit", f"mass_to_charge has the unit {_units(mass)!r}; the values are taken as Da"))
    columns: dict[str, tuple[np.dtype[Any], int, str, str, tuple[str, ...]]] = {}
    for name, unit in (("xyz_nm", "nm"), ("mass_da", "Da")):
        dataset = tree[names[name]]
        _check_stored(file, dataset, issues)
        if dataset.dtype.kind not in "fiu":
            raise FormatError(file.path, expected=f"numbers in {names[name]}", found=f"{dataset.dtype}")
        if dataset.dtype.newbyteorder("=") != np.float32:
            issues.append(Issue("precision", f"{names[name]} is {dataset.dtype}; read as float32", "info"))
        columns[name] = (np.dtype(np.float32), 3 if name == "xyz_nm" else 1, unit, names[name], ())
    _extra(file, tree, n_ions, names, columns, issues)
    if n_ions == 0:
        issues.append(Issue("empty", "the file holds 0 ions"))
    reader = TreeReader(file, names, factors)
    return IonCloud(
        n_ions,
        {name: Column(name, d, w, unit, reader, text, cats) for name, (d, w, unit, text, cats) in columns.items()},
        file.path,
        "nxapm",
        _metadata(tree, positions[0]),
        tuple(issues),
    )


def _extra(
    file: SourceFile, tree: h5py.File, n_ions: int, names: dict[str, str], columns: dict[str, Any], issues: list[Issue]
) -> None:
    """Add the columns of our own collection."""
    branch = names["xyz_nm"].removesuffix("/" + _POSITIONS)
    group = tree.get(f"{branch}/{_COLLECTION}")
    for key in group if isinstance(group, h5py.Group) else ():
        dataset = group.get(key)
        good = isinstance(dataset, h5py.Dataset) and dataset.shape[:1] == (n_ions,) and dataset.ndim in (1, 2)
        if not good or dataset.dtype.kind not in "fiub" or (dataset.ndim == 2 and not dataset.shape[1]):
            issues.append(Issue("column-skipped", f"{_COLLECTION}/{key} is no column of {n_ions} ions; left out"))
            continue
        _check_stored(file, dataset, issues)
        width = dataset.shape[1] if dataset.ndim == 2 else 1
        categories = tuple(str(label) for label in json.loads(dataset.attrs.get("categories", "[]")))
        names[key] = f"{branch}/{_COLLECTION}/{key}"
        columns[key] = (dataset.dtype.newbyteorder("="), width, _units(dataset), names[key], categories)


@dataclass(frozen=True, eq=False)
class TreeReader:
    """Reads datasets of one HDF5 file; `names` are their paths by column, `factors` convert to the column's unit."""

    file: SourceFile
    names: Mapping[str, str]
    factors: Mapping[str, float]
    block: int = 1 << 18
    parallel: bool = False  # one lock guards the HDF5 library

    @contextmanager
    def open(self, names: tuple[str, ...]) -> Iterator[Any]:
        """Open the file."""
        with _opened(self.file) as tree:

            def fill(start: int, stop: int, out: Mapping[str, NDArray[Any]]) -> None:
                for name in names:
                    values = _guarded(self.file, lambda name=name: tree[self.names[name]][start:stop])
                    target = out[name]
                    if values.size != target.size:
                        found = f"shape {values.shape}"
                        raise FormatError(self.file.path, expected=f"{target.shape} in {name}", found=found)
                    with np.errstate(all="ignore"):
                        factor = self.factors.get(name, 1.0)
                        target[...] = (values if factor == 1.0 else values * factor).reshape(target.shape)

            yield fill

    def locate(self, name: str, ion: int) -> int | None:
        """Byte offset of a value where the dataset lies in one piece."""
        with _opened(self.file) as tree:
            dataset = tree[self.names[name]]
            start = dataset.id.get_offset()
            width = int(np.prod(dataset.shape[1:]))
            return None if start is None else int(start) + ion * width * dataset.dtype.itemsize


def write_nxapm(cloud: IonCloud, path: Path | str) -> tuple[Issue, ...]:
    """Write a cloud with all its columns as NXapm, in blocks and to a temporary name first.

    Positions and masses lie where the application definition has them; other columns in an NXcollection beside them,
    under their names. Values are stored bit by bit, without compression.
    """
    places = {name: f"{_COLLECTION}/{name.replace('/', '_')}" for name in cloud.columns}
    places |= {"xyz_nm": _POSITIONS, "mass_da": _MASSES}
    with replacing_path(path) as temporary, h5py.File(temporary, "w", libver=_CHECKED) as tree:
        tree.attrs.update({"NX_class": np.bytes_("NXroot"), "default": np.bytes_("entry1")})
        _group(tree, "entry1", "NXentry")["definition"] = np.bytes_("NXapm")
        probe = _group(tree, _ATOM_PROBE, "NXprocess")
        _group(tree, f"{_ATOM_PROBE}/reconstruction", "NXapm_reconstruction")
        _group(tree, f"{_ATOM_PROBE}/mass_to_charge_conversion", "NXprocess")
        if len(cloud.columns) > 2:
            _group(tree, f"{_ATOM_PROBE}/{_COLLECTION}", "NXcollection")
        for name, column in cloud.columns.items():
            dataset = probe.create_dataset(places[name], column.shape(cloud.n_ions), column.dtype.newbyteorder("<"))
            if column.unit:
                dataset.attrs["units"] = np.bytes_(column.unit.encode())
            if column.categories:
                dataset.attrs["categories"] = np.bytes_(json.dumps(column.categories))
        for start, stop in cloud.chunks():
            for name, values in cloud.read_columns(tuple(cloud.columns), start, stop).items():
                probe[places[name]][start:stop] = values
    return ()


def _group(tree: h5py.File, name: str, nx_class: str) -> h5py.Group:
    group = tree.require_group(name)
    group.attrs["NX_class"] = np.bytes_(nx_class)
    return group


def _find(tree: h5py.File, name: str) -> list[str]:
    """Paths of the datasets of one name, in the order of the tree."""
    found: list[str] = []
    n_seen = 0

    def visit(path: str, node: Any) -> bool | None:
        nonlocal n_seen
        n_seen += 1
        if path.rsplit("/", 1)[-1] == name and isinstance(node, h5py.Dataset):
            found.append(path)
        return True if n_seen > _MAX_DATASETS else None

    tree.visititems(visit)
    return found


def _common(a: str, b: str) -> int:
    """Number of leading path parts that two paths share."""
    n = 0
    for left, right in zip(a.split("/"), b.split("/"), strict=False):
        if left != right:
            break
        n += 1
    return n


def _units(dataset: h5py.Dataset) -> str:
    units = dataset.attrs.get("units", "")
    return units.decode(errors="replace") if isinstance(units, bytes) else str(units)


def _length_factor(dataset: h5py.Dataset, issues: list[Issue]) -> float:
    units = _units(dataset).strip()
    factor = _LENGTHS.get(units, _LENGTHS.get(units.lower()))
    if factor is None and units:
        issues.append(Issue("unit", f"reconstructed_positions has the unit {units!r}; the values are taken as nm"))
    elif factor not in (None, 1.0):
        issues.append(Issue("unit", f"positions in {units} are multiplied by {factor:g} to nm", "info"))
    return 1.0 if factor is None else factor


def _check_stored(file: SourceFile, dataset: h5py.Dataset, issues: list[Issue]) -> None:
    """HDF5 gives zeros for data that were never written: find out before anyone takes them for measurements."""
    if dataset.size == 0:
        return
    name = dataset.name
    if dataset.chunks is None:
        n_stored, n_needed = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
        offset = dataset.id.get_offset()
        if n_stored < n_needed or (offset is not None and offset + n_needed > file.size):
            raise FormatError(
                file.path, expected=f"{n_needed} bytes of {name}", found="fewer in the file", offset=offset
            )
        return
    n_needed = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]))
    n_stored = dataset.id.get_num_chunks()
    if n_stored < n_needed:
        text = f"{n_needed - n_stored} of {n_needed} pieces of {name} were never written; they read as zeros"
        issues.append(Issue("unwritten", text))


def _metadata(tree: h5py.File, positions: str) -> dict[str, Any]:
    entry = tree.get(positions.split("/", 1)[0])
    definition = entry.get("definition") if isinstance(entry, h5py.Group) else None
    text = definition[()] if isinstance(definition, h5py.Dataset) and definition.shape == () else b""
    return {"path": positions, "definition": text.decode(errors="replace") if isinstance(text, bytes) else str(text)}


@contextmanager
def _opened(file: SourceFile) -> Iterator[h5py.File]:
    with file.open():  # says so if the file has changed
        pass
    tree = _guarded(file, lambda: h5py.File(file.path, "r"))
    try:
        yield tree
    finally:
        tree.close()


def _guarded(file: SourceFile, action: Any) -> Any:
    """Run an action of h5py; what it raises on damaged files becomes a `FormatError`."""
    try:
        return action()
    except AptDefectError:
        raise
    except _H5_ERRORS as error:
        found = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(
            file.path, expected="a whole HDF5 file", found=found, hint="The file is damaged or cut off."
        ) from error
