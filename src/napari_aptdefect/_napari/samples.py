"""Sample data under File > Open Sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from napari_aptdefect.stage import Progress, Stage

_SEED: Final = 0


def gan_nanowire() -> list[Any]:
    """Make a synthetic GaN nanowire with known defects, and show it with its ranges."""
    cloud, ranges = make_gan_nanowire(sample_folder() / "gan_nanowire")
    return _layers(cloud, ranges, "GaN nanowire (synthetic)")


def silicon() -> list[Any]:
    """Fetch the real silicon set with its chromium and oxide cap, and show it with its ranges.

    Raises
    ------
    DownloadError
        If it can't be fetched; the message says how to get it by hand.
    """
    from napari_aptdefect.io.samples import fetch_si

    with _Bar("Silicon sample") as bar:
        folder = fetch_si(bar.show)
    return _layers(folder / "Si.apt", folder / "Si.RRNG", "Silicon with chromium oxide cap")


def make_gan_nanowire(folder: Path, seed: int = _SEED) -> tuple[Path, Path]:
    """Simulate the nanowire and write its cloud and ranges, which later steps read like any other file.

    Parameters
    ----------
    folder
        Folder to write into.
    seed
        Seed of the simulation.

    Returns
    -------
    Paths of the cloud and of the range file.
    """
    from napari_aptdefect.io import write
    from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams, simulate_gan_nanowire

    folder.mkdir(parents=True, exist_ok=True)
    cloud, ranges = folder / "gan_nanowire.pos", folder / "gan_nanowire.rrng"
    with _Bar("GaN nanowire") as bar:
        made = _shown(simulate_gan_nanowire(GanNanowireParams(), seed), bar)
    write(made.cloud, cloud)
    write(made.ranges, ranges)
    return cloud, ranges


def sample_folder() -> Path:
    """Folder of the samples in the user's cache."""
    import platformdirs

    return platformdirs.user_cache_path("napari-aptdefect", appauthor=False) / "samples"


def _layers(cloud: Path, ranges: Path, name: str) -> list[Any]:
    from napari_aptdefect._napari import settings
    from napari_aptdefect._napari.layers import cloud_layers
    from napari_aptdefect._napari.viewing import current_viewer, when_added
    from napari_aptdefect.io import read

    tuples = cloud_layers(read(cloud), read(ranges), name=name, budget=settings.drawn_ions())
    viewer = current_viewer()
    if viewer is not None:
        when_added(viewer, len(tuples), look=True)
    return tuples


def _shown(stage: Stage[Any], bar: _Bar) -> Any:
    from napari_aptdefect.stage import drain

    return drain(stage, bar.show)


class _Bar:
    """A bar in napari's activity dock that follows the progress of a stage and keeps the window alive."""

    def __init__(self, title: str) -> None:
        from napari.utils import progress

        self._title = title
        self._bar = progress(total=100, desc=title)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, step: Progress) -> None:
        """Move the bar to a step."""
        self._bar.set_description(f"{self._title}: {step.message}" if step.message else self._title)
        self._bar.update(100 * step.done / max(step.total, 1e-9) - self._bar.n)
