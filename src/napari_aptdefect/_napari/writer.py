"""The writer command: the cloud behind a layer, all of its ions and not the drawn sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_aptdefect._napari.layers import KEY
from napari_aptdefect.errors import ParameterError


def write_cloud(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write all ions of the cloud behind a Points layer in the format that the extension of `path` names.

    Parameters
    ----------
    path
        File to write, ending in ``.pos``, ``.epos``, ``.apt``, ``.parquet`` or ``.nxs``.
    data
        Positions of the drawn points; not used, because they are a sample.
    attributes
        Attributes of the layer.

    Returns
    -------
    The path that was written.

    Raises
    ------
    ParameterError
        If the points did not come from an ion cloud, or its file is gone.
    """
    from napari_aptdefect.io import read, write

    entry = attributes.get("metadata", {}).get(KEY, {})
    source = entry.get("source")
    if not source:
        raise ParameterError(
            f"the points {attributes.get('name')!r} came from no ion cloud file, so their masses are not known; "
            "save them as .csv, or choose the layer of an opened cloud"
        )
    if not Path(source).is_file():
        raise ParameterError(f"the cloud's file {source} is gone, and the layer holds only a sample of its ions")
    if Path(path).absolute() == Path(source).absolute():
        raise ParameterError(f"{path} is the file this cloud is read from; choose another name")
    write(read(source), Path(path))
    return [path]
