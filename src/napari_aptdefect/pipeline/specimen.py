"""The chain graph -> voronoi -> features, run alike on the measured specimen and on its reference, here or on Dask."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.features import Features, FeaturesParams, describe
from napari_aptdefect.apt.graph import GraphParams, build_graph
from napari_aptdefect.apt.voronoi import VoronoiParams, voronoi_cells
from napari_aptdefect.data import NeighborGraph
from napari_aptdefect.data.cells import VoronoiCells
from napari_aptdefect.data.hull import SpecimenHull
from napari_aptdefect.errors import MissingExtraError, ParameterError, RunFolderError
from napari_aptdefect.fields import Background, Frame
from napari_aptdefect.stage import Progress, Stage, drain, scaled


@dataclass(frozen=True, eq=False)
class Specimen:
    """What the chain works on: positions (N, 3) in nm, species (N,), channels, grid, background, hull or None."""

    name: str
    xyz_nm: NDArray[np.float32]
    species_idx: NDArray[np.int16]
    channels: tuple[int, ...]
    frame: Frame
    background: Background
    graph: GraphParams
    voronoi: VoronoiParams
    features: FeaturesParams
    hull: SpecimenHull | None = None


@dataclass(frozen=True, eq=False)
class Described:
    """What the chain found."""

    graph: NeighborGraph
    cells: VoronoiCells
    features: Features


def joined(parts: Sequence[Described]) -> tuple[Features, NeighborGraph]:
    """Features and graph of several specimens as of one, with no edge between them."""
    if len(parts) == 1:
        return parts[0].features, parts[0].graph
    first = parts[0].features
    arrays: dict[str, Any] = {
        one.name: np.concatenate([getattr(part.features, one.name) for part in parts])
        for one in fields(Features)
        if isinstance(getattr(first, one.name), np.ndarray)
    }
    nodes = np.cumsum([0, *(part.graph.n_nodes for part in parts[:-1])])
    edges = np.cumsum([0, *(len(part.graph.indices) for part in parts[:-1])])
    graph = NeighborGraph(
        np.concatenate([[0], *(part.graph.indptr[1:] + e for part, e in zip(parts, edges, strict=True))]),
        np.concatenate([part.graph.indices + np.int32(n) for part, n in zip(parts, nodes, strict=True)]),
        np.concatenate([part.graph.lengths_nm for part in parts]),
    )
    return replace(first, **arrays), graph


# Where in the chain each step ends, in percent; from measured times on a million ions.
_STEPS = (0.0, 25.0, 65.0, 100.0)


def run_chain(specimen: Specimen) -> Stage[Described]:
    """Build the neighbor graph, the Voronoi cells and the features of one specimen, in progress of 0 to 100."""
    graph = yield from _scaled(build_graph(specimen.xyz_nm, specimen.graph), "graph", specimen.name, *_STEPS[0:2])
    cutting = voronoi_cells(specimen.xyz_nm, specimen.voronoi, hull=specimen.hull)
    cells = yield from _scaled(cutting, "voronoi", specimen.name, *_STEPS[1:3])
    usable = cells.bounded & (cells.volume_nm3 > 0)
    features = yield from _scaled(
        describe(
            specimen.xyz_nm,
            specimen.species_idx,
            specimen.channels,
            specimen.frame,
            specimen.background,
            graph,
            np.where(usable, cells.volume_nm3, np.nan).astype(np.float32),
            np.where(usable, cells.offset_nm, np.nan).astype(np.float32),
            specimen.features,
        ),
        "features",
        specimen.name,
        *_STEPS[2:4],
    )
    return Described(graph, cells, features)


def run_on_cluster(specimens: Sequence[Specimen], scheduler: str) -> Stage[list[Described]]:
    """Run the chain of each specimen as a task on a Dask cluster; the results equal those of a run here.

    Parameters
    ----------
    specimens
        What to work on.
    scheduler
        Address of the scheduler, such as ``tcp://host:8786``.

    Raises
    ------
    MissingExtraError
        If dask.distributed is not installed.
    RunFolderError
        If the scheduler can't be reached.
    """
    try:
        from distributed import Client
        from distributed import TimeoutError as DaskTimeoutError
    except ImportError as error:
        raise MissingExtraError(
            "a scheduler address needs dask.distributed: pip install 'napari-aptdefect[cluster]'"
        ) from error
    check_scheduler(scheduler)
    try:
        client = Client(scheduler, timeout=10, set_as_default=False)
    except (OSError, ValueError, DaskTimeoutError) as error:
        raise RunFolderError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        futures = [client.submit(_chain_result, one, pure=False) for one in specimens]
        try:
            while any(not future.done() for future in futures):
                n_done = sum(future.done() for future in futures)
                yield Progress(n_done, len(futures), f"cluster {scheduler}: {n_done} of {len(futures)} specimens")
                time.sleep(0.2)  # the client listens in a thread of its own
            results: list[Described] = client.gather(futures)
        finally:
            client.cancel(futures)
    return results


def check_scheduler(scheduler: str) -> None:
    """Make sure that something answers at the address of a scheduler, before any work is done.

    Raises
    ------
    ParameterError
        If the address is none.
    RunFolderError
        If nothing answers there.
    """
    kind, _, place = scheduler.partition("://")
    if kind == "inproc" and place:
        return
    host, _, port = place.rpartition(":")
    if kind not in ("tcp", "tls", "ws", "wss") or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ParameterError(f"{scheduler!r} is no address of a Dask scheduler; give one such as tcp://host:8786")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise RunFolderError(f"no Dask scheduler answers at {scheduler}: {error}") from error


def _chain_result(specimen: Specimen) -> Described:
    return drain(run_chain(specimen))


def _scaled(stage: Stage, name: str, specimen: str, start: float, stop: float) -> Stage:  # type: ignore[type-arg]
    """Run a stage, mapping its progress to the given stretch of 0 to 100."""
    result = yield from scaled(stage, start, stop, lambda p: f"{name} of the {specimen} specimen: {p.message}")
    return result
