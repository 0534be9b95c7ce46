"""Contracts of the package as a whole: what it ships, what it declares, what importing it loads."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "napari_aptdefect"
HEAVY = {"h5py", "matplotlib", "napari", "numba", "numpy", "pandas", "pyarrow", "pydantic", "qtpy", "rsciio", "scipy"}
HEAVY |= {"sklearn", "torch", "vispy", "zarr"}

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="runs in a checkout only")


def run(*command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


def loaded_by(code: str) -> set[str]:
    done = run(sys.executable, "-c", f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_by("import napari_aptdefect") & (HEAVY | {"cyclopts", "rich"})


def test_help_loads_nothing_heavy() -> None:
    assert not loaded_by("from napari_aptdefect.cli import main; main(['--help'])") & HEAVY


@pytest.mark.parametrize("name", ["analyze", "read", "write", "IonCloud", "RangeTable", "__version__"])
def test_top_level_names(name: str) -> None:
    import napari_aptdefect

    assert getattr(napari_aptdefect, name)
    assert name in dir(napari_aptdefect)


def test_unknown_top_level_name() -> None:
    import napari_aptdefect

    with pytest.raises(AttributeError, match="nonsense"):
        napari_aptdefect.nonsense  # noqa: B018


# What is shipped


def build(what: str, source: Path, out: Path) -> Path:
    done = run(sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(out), cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.mark.skipif(importlib.util.find_spec("hatch_vcs") is None, reason="hatchling and hatch-vcs are not installed")
class TestBuild:
    def test_wheel(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(build("wheel", ROOT, tmp_path)) as wheel:
            names = set(wheel.namelist())
            metadata = next(wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
            entry_points = next(wheel.read(n).decode() for n in names if n.endswith("entry_points.txt"))
        assert {"napari_aptdefect/napari.yaml", "napari_aptdefect/py.typed"} <= names
        sources = {str(path.relative_to(SRC.parent)) for path in SRC.rglob("*") if path.is_file()}
        assert {name for name in sources if "__pycache__" not in name and ".nb" not in name} <= names
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert not any(name.startswith(("tests", "benchmarks", "docs")) for name in names)
        assert "License-Expression: GPL-3.0-or-later" in metadata
        assert "Framework :: napari" in metadata
        assert "[napari.manifest]\nnapari-aptdefect = napari_aptdefect:napari.yaml" in entry_points

    def test_sdist(self, tmp_path: Path) -> None:
        with tarfile.open(build("sdist", ROOT, tmp_path)) as sdist:
            names = {name.partition("/")[2] for name in sdist.getnames()}
        assert {"pyproject.toml", "README.md", "LICENSE", "tox.ini", "Makefile", "constraints.txt"} <= names
        assert {"src/napari_aptdefect/napari.yaml", "tests/test_package.py", "scripts/setup.sh"} <= names

    def test_version_without_git(self, tmp_path: Path) -> None:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, tmp_path)
        done = run(sys.executable, "-m", "hatchling", "version", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"\d+\.\d+\.\d+\.dev0", done.stdout.strip())


def test_manifest_is_valid() -> None:
    done = run(sys.executable, "-m", "npe2", "validate", "napari-aptdefect")
    assert done.returncode == 0, done.stdout + done.stderr


def test_manifest_at_the_top_is_a_link() -> None:
    link = ROOT / "napari.yaml"
    assert link.is_symlink()
    assert link.resolve() == (SRC / "napari.yaml").resolve()


# What is declared


@cache
def project() -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def declared(extras: bool) -> set[str]:
    names = {normal(item) for item in project()["dependencies"]}  # type: ignore[attr-defined]
    if extras:
        names |= {normal(item) for items in project()["optional-dependencies"].values() for item in items}  # type: ignore[attr-defined]
    return names


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level name of every import of a module, and whether it happens when the module is loaded."""

    def visit(node: ast.AST, at_load: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name.partition(".")[0], at_load) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
                yield child.module.partition(".")[0], at_load
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from visit(ast.Module(child.orelse, []), at_load)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Try))
                yield from visit(child, at_load and not inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), at_load=True)


def third_party() -> set[tuple[str, bool, str]]:
    own = {"napari_aptdefect", *sys.stdlib_module_names}
    return {
        (name, at_load, str(path.relative_to(SRC)))
        for path in SRC.rglob("*.py")
        for name, at_load in imports(path)
        if name not in own
    }


def test_every_import_is_declared() -> None:
    homes = importlib.metadata.packages_distributions()
    missing = set()
    for name, at_load, where in third_party():
        dists = {normal(dist) for dist in homes.get(name, [name])}
        # An extra may be absent, so it is imported where it is used, never when a module is loaded.
        if not dists & declared(extras=not at_load):
            missing.add(f"{where} imports {name}")
    assert not missing


def test_every_dependency_is_imported() -> None:
    homes = importlib.metadata.packages_distributions()
    used = {normal(dist) for name, _, _ in third_party() for dist in homes.get(name, [name])}
    at_run_time = {"imagecodecs"}  # tifffile takes it for compressed images
    assert declared(extras=False) - used - at_run_time == set()


def test_never_a_qt_binding_in_the_base() -> None:
    assert not {name for name in declared(extras=False) if name.startswith(("pyqt", "pyside"))}


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert declared(extras=True) - {"napari-aptdefect"} <= {normal(name) for name in pins}
    assert pins["torch"] == "2.13.0"


# Which way imports run


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter is not installed")
class TestImportContract:
    @staticmethod
    def lint(source: Path) -> subprocess.CompletedProcess[str]:
        code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
        config = str(ROOT / "pyproject.toml")
        command = (sys.executable, "-P", "-c", code, "--config", config, "--no-cache")
        return run(*command, cwd=source, PYTHONPATH=str(source))

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        shutil.copytree(SRC, tmp_path / "napari_aptdefect", ignore=shutil.ignore_patterns("__pycache__"))
        return tmp_path

    def test_holds(self, copy: Path) -> None:
        done = self.lint(copy)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("module", "line", "contract"),
        [
            ("data/grid.py", "import napari", "Only _napari knows of napari and Qt"),
            ("cli/terminal.py", "from qtpy import QtWidgets", "Only _napari knows of napari and Qt"),
            ("io/pos.py", "from napari_aptdefect.apt import normalize", "Imports run downward"),
            ("apt/normalize.py", "from napari_aptdefect.apt import graph", "Stages don't import each other"),
            ("newroom.py", '"""A module that no layer names."""', "Imports run downward"),
        ],
    )
    def test_is_able_to_fail(self, copy: Path, module: str, line: str, contract: str) -> None:
        with (copy / "napari_aptdefect" / module).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
        done = self.lint(copy)
        assert done.returncode == 1, done.stderr
        assert re.search(rf"{contract}\s+BROKEN", done.stdout), done.stdout

    def test_forbids_napari_to_every_room(self) -> None:
        config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
        (contract,) = (c for c in config["contracts"] if c["type"] == "forbidden")
        rooms = {path.stem for path in SRC.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
        listed = {name.rpartition(".")[2] for name in contract["source_modules"]}
        assert rooms - {"_napari", "__init__"} == listed


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ defects, see .*report\.html\n", done.stdout)


def test_every_link_of_the_docs_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
