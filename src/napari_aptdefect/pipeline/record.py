"""Provenance: what went in, with which versions, how long each stage took and how much memory it needed."""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_BLOCK = 1 << 22
_PACKAGES = (
    "napari-aptdefect",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "zarr",
    "periodictable",
)


def sha256_of(path: Path) -> str:
    """Hash of a file's contents, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


class StageLog:
    """Seconds and peak resident memory of each stage, in the order they ran.

    The peak is sampled 20 times a second for the whole process, so it includes what earlier stages still hold.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure what runs inside under the given name."""
        process = psutil.Process()
        peak = process.memory_info().rss
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            while not done.wait(0.05):
                peak = max(peak, process.memory_info().rss)

        sampler = threading.Thread(target=sample, daemon=True)
        start = time.perf_counter()
        sampler.start()
        try:
            yield
        finally:
            done.set()
            sampler.join()
            peak = max(peak, process.memory_info().rss)
            seconds = round(time.perf_counter() - start, 3)
            known = next((entry for entry in self.entries if entry["name"] == name), None)
            if known is None:
                self.entries.append({"name": name, "seconds": seconds, "peak_rss_bytes": int(peak)})
            else:  # a stage that runs several times
                known["seconds"] = round(known["seconds"] + seconds, 3)
                known["peak_rss_bytes"] = max(known["peak_rss_bytes"], int(peak))
