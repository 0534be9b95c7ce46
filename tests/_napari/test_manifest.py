from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.resources import files

from npe2 import PluginManifest

MANIFEST = PluginManifest.from_file(str(files("napari_aptdefect") / "napari.yaml"))


def test_every_command_can_be_imported():
    MANIFEST.validate_imports()
    for command in MANIFEST.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_top_level_page_is_the_same_manifest():
    from pathlib import Path

    link = Path(__file__).resolve().parents[2] / "napari.yaml"
    assert link.resolve() == Path(str(files("napari_aptdefect") / "napari.yaml")).resolve()


def test_menus_name_known_commands_and_places(npe2pm):
    from napari._app_model.constants import MenuId

    commands = {command.id for command in MANIFEST.contributions.commands}
    submenus = {submenu.id for submenu in MANIFEST.contributions.submenus}
    places = {str(menu) for menu in MenuId.contributables()} | submenus
    assert set(MANIFEST.contributions.menus) <= places
    for items in MANIFEST.contributions.menus.values():
        for item in items:
            assert getattr(item, "command", None) in commands or getattr(item, "submenu", None) in submenus


def test_asking_the_reader_about_a_foreign_file_imports_nothing_heavy(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG")
    code = (
        "import sys; from napari_aptdefect._napari.reader import get_reader; "
        f"assert get_reader({str(path)!r}) is None; "
        "print(*(m for m in ('numba', 'torch', 'sklearn', 'napari', 'qtpy', 'pyarrow', 'h5py') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
