"""The plugin's own settings, which napari shows under Preferences and keeps between sessions."""

from __future__ import annotations

from typing import Any, Final

from napari_aptdefect.pipeline.display import DRAWN_IONS, DRAWN_IONS_MAX

PLUGIN: Final = "napari-aptdefect"


def drawn_ions() -> int:
    """Largest number of drawn ions."""
    return int(min(max(_get("display", "drawn_ions", DRAWN_IONS), 1), DRAWN_IONS_MAX))


def seed() -> int:
    """Seed of the last analysis."""
    return int(_get("analysis", "seed", 0))


def output_folder() -> str:
    """Folder in which the last run folder was put, empty when there was none."""
    return str(_get("analysis", "output_folder", ""))


def remember(*, seed: int, output_folder: str) -> None:
    """Keep what the user chose for the next analysis."""
    group = getattr(_settings(), "analysis", None)
    if group is not None:
        group.seed = seed
        group.output_folder = output_folder


def _get(group: str, key: str, default: Any) -> Any:
    return getattr(getattr(_settings(), group, None), key, default)


def _settings() -> Any:
    """The settings, or None where the manifest is not registered, as in a script without the plugin."""
    from napari.settings import get_plugin_settings

    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:
        return None
