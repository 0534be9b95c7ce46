"""The command line: what goes to which stream, exit codes, options made from the parameter models."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_aptdefect import cli
from napari_aptdefect.cli import describe, main, options, terminal, window
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline import load_params
from napari_aptdefect.stage import Params, Progress, Stage, param


def write_pos(path: Path, n: int = 400, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.uniform(0, 10, (n, 3)), rng.normal(27.98, 0.01, n)])
    path.write_bytes(rows.astype(">f4").tobytes())
    return path


class Inner(Params):
    n_steps: int = param(3, title="Steps", description="How many steps.", ge=1, le=9)
    mode: str = param("fast", title="Mode", description="How it is done.")


class Outer(Params):
    inner: Inner = param(Inner(), title="Inner", description="The stage.")
    cutoff_nm: float = param(1.5, title="Cutoff", description="How far.", unit="nm", gt=0, le=5)


class TestOptions:
    def test_an_option_overrides_and_the_rest_stays(self) -> None:
        base = Outer(inner=Inner(n_steps=5), cutoff_nm=2)
        assert options.overridden(base, {"inner": {"mode": "slow"}}) == Outer(
            inner=Inner(n_steps=5, mode="slow"), cutoff_nm=2
        )

    def test_only_what_was_given_counts(self) -> None:
        from cyclopts import App

        app = App(result_action="return_value")

        @app.default
        def run(*, params: options.options_for(Outer) = None) -> dict[str, object]:  # type: ignore[valid-type]
            return options.given(params)

        assert app(["--inner.n-steps", "4"], exit_on_error=False) == {"inner": {"n_steps": 4}}
        assert app([], exit_on_error=False) == {}

    def test_out_of_bounds_names_the_option(self) -> None:
        with pytest.raises(ParameterError, match=r"--inner\.n-steps 12: .*less than or equal to 9"):
            options.overridden(Outer(), {"inner": {"n_steps": 12}})

    def test_help_gives_bounds_and_unit(self, capsys: pytest.CaptureFixture[str]) -> None:
        from cyclopts import App

        app = App(name="x", result_action="return_value")

        @app.default
        def run(*, params: options.options_for(Outer) = None) -> None:  # type: ignore[valid-type]
            """Run."""

        app(["--help"])
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "How many steps (1 to 9)." in said
        assert "How far (above 0 to 5 nm)." in said


class TestInfo:
    def test_cloud(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", str(write_pos(tmp_path / "a.pos")), "--json"]) == 0
        out, err = capsys.readouterr()
        result = json.loads(out)
        assert out.count("\n") == 1
        assert err == ""
        assert (result["kind"], result["format"], result["n_ions"]) == ("ions", "pos", 400)
        assert result["extent_nm"]["x"] == pytest.approx([0, 10], abs=0.2)
        assert result["mass_da"] == pytest.approx([27.98, 27.98], abs=0.06)
        assert {c["name"]: c["unit"] for c in result["columns"]} == {"xyz_nm": "nm", "mass_da": "Da"}

    def test_cloud_with_nan_is_reported_and_stays_json(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_pos(tmp_path / "a.pos")
        rows = np.fromfile(path, ">f4")
        rows[5] = np.nan
        rows.tofile(path)
        assert main(["info", str(path), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert any("1 of 400" in issue["message"] for issue in result["issues"])

    def test_text(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", str(write_pos(tmp_path / "a.pos"))]) == 0
        out = capsys.readouterr().out
        assert "400 ions, format pos, 6,400 bytes" in out
        assert "mass_da" in out

    def test_ranges(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "a.rrng"
        path.write_text(
            "[Ions]\nNumber=1\nIon1=Si\n[Ranges]\nNumber=2\n"
            "Range1=27.9 28.1 Vol:0.02 Si:1 Color:FF0000\nRange2=28.0 28.3 Vol:0.02 Si:1 Color:FF0000\n"
        )
        assert main(["info", str(path), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["n_ions"], result["n_ranges"]) == (1, 2)
        assert result["ranges"][0] == {"ion": "Si", "lo_da": 27.9, "hi_da": 28.1, "volume_nm3": 0.02}
        assert "overlap" in {issue["code"] for issue in result["issues"]}
        assert main(["info", str(path)]) == 0
        assert "2 ranges of 1 ions" in capsys.readouterr().out

    def test_image(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import tifffile

        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.arange(48, dtype=np.uint16).reshape(6, 8))
        assert main(["info", str(path), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["kind"], result["shape"], result["dtype"]) == ("image", [6, 8], "uint16")
        assert main(["info", str(path)]) == 0
        assert "image 6 x 8, uint16" in capsys.readouterr().out


class TestErrors:
    @pytest.mark.parametrize(
        ("argv", "code", "says"),
        [
            (["frobnicate"], 2, "unknown command 'frobnicate'"),
            (["analize"], 2, "did you mean 'analyze'"),
            (["info"], 2, "FILE"),
            (["info", "absent.pos"], 3, "absent.pos"),
            (["info", "a.pos", "--nonsense"], 2, "--nonsense"),
            (["analyze", "absent.pos", "--out", "run"], 3, "absent.pos"),
            (["analyze", "a.pos"], 2, "--out"),
            (["analyze", "a.pos", "--out", "run", "--seed", "-1"], 2, "seed"),
            (["analyze", "a.pos", "--out", "run", "--params", "absent.toml"], 3, "absent.toml"),
            (["analyze", "a.pos", "--out", "run", "--ranges", "absent.rrng"], 3, "absent.rrng"),
            (["analyze", "a.pos", "--out", "run", "--graph.k", "-7"], 2, "--graph.k -7"),
            (["analyze", "a.pos", "--out", "run", "--graph.nonsense", "7"], 2, "--graph.nonsense"),
            (["analyze", "a.pos", "--out", "."], 2, "is no run folder"),
            (["analyze", "odd.pos", "--out", "run"], 3, "odd.pos"),
            (["rerun", "absent", "--out", "run"], 2, "absent"),
            (["gui", "absent.pos"], 3, "absent.pos"),
            (["simulate", "gan-nanowire"], 2, "--out"),
        ],
    )
    def test_one_line_and_an_exit_code(
        self,
        argv: list[str],
        code: int,
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_pos(tmp_path / "a.pos")
        (tmp_path / "odd.pos").write_bytes(b"\0" * 17)
        before = sorted(tmp_path.iterdir())
        assert main(argv) == code
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("aptdefect: error: ")
        assert says in line
        assert sorted(tmp_path.iterdir()) == before

    def test_a_bug_is_named_as_one(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def broken(path: Path) -> object:
            raise TypeError("3 is not a cloud")

        monkeypatch.setattr(describe, "describe", broken)
        assert main(["info", "x"]) == 1
        assert "TypeError: 3 is not a cloud. This is a bug" in capsys.readouterr().err
        with pytest.raises(TypeError):
            main(["info", "x", "--traceback"])
        monkeypatch.setenv("APTDEFECT_DEBUG", "1")
        with pytest.raises(TypeError):
            main(["info", "x"])

    def test_a_reader_that_went_away_is_no_error(self, tmp_path: Path) -> None:
        path = write_pos(tmp_path / "a.pos")
        command = f"'{sys.executable}' -m napari_aptdefect info '{path}' | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_gui_without_a_plugin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str) -> None:
            raise ImportError("No module named 'napari'")

        monkeypatch.setattr(importlib, "import_module", absent)
        with pytest.raises(ImportError, match=r"napari-aptdefect\[all\]"):
            window.launch([])


class TestStreams:
    def test_json_keeps_what_others_print_off_the_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        with terminal.output(as_json=True) as write:
            sys.stdout.write("noise\n")
            write({"n": 1}, lambda: "text")
        out, err = capsys.readouterr()
        assert (out, err) == ('{"n": 1}\n', "noise\n")

    def test_progress_without_a_terminal_is_lines_at_a_sane_rate(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        clock = [0.0]
        monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])

        def stage() -> Stage[int]:
            for i in range(1000):  # 20 s in two steps
                clock[0] += 0.02
                yield Progress(i, 1000, f"{'graph' if i < 500 else 'voronoi'}: {i} of 1000 blocks")
            return 7

        assert terminal.run_stage(stage()) == 7
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert [line.split()[2] for line in lines] == ["graph:", "graph:", "voronoi:", "voronoi:"]
        assert lines[0] == "  2 %  graph: 24 of 1000 blocks"

    def test_warnings_are_lines_and_come_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            with terminal.show_warnings():
                for _ in range(3):
                    warnings.warn("an odd\nfile", UserWarning, stacklevel=1)
        assert capsys.readouterr().err == "aptdefect: warning: an odd file\n"

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        import napari_aptdefect

        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"napari-aptdefect {napari_aptdefect.__version__}\n"

    @pytest.mark.parametrize(
        "verb", [["info"], ["analyze"], ["rerun"], ["gui"], ["demo"], ["simulate", "gan-nanowire"]]
    )
    def test_the_list_of_verbs_says_what_their_help_says(
        self, verb: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*verb, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        module, _, function = cli.VERBS[" ".join(verb)][0].partition(":")
        doc = getattr(importlib.import_module(f"napari_aptdefect.cli.{module}"), function).__doc__
        assert doc.splitlines()[0] == cli.VERBS[" ".join(verb)][1]
        assert doc.splitlines()[0] in said


class TestInterrupt:
    @pytest.fixture(autouse=True)
    def _interrupts_arrive(self) -> Iterator[None]:
        """A shell without job control starts what it runs in the background deaf to Ctrl-C, with all its children."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def test_a_stage_is_closed(self) -> None:
        closed = []

        def stage() -> Stage[None]:
            try:
                yield Progress(0, 2, "first")
                signal.raise_signal(signal.SIGTERM)
                yield Progress(1, 2, "second")
            finally:
                closed.append(True)

        with pytest.raises(KeyboardInterrupt), terminal.interruptible():
            terminal.run_stage(stage())
        assert closed

    def test_one_that_a_library_swallowed_still_stops(self) -> None:
        def stage() -> Stage[str]:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            yield Progress(0, 2, "goes on")
            return "done"

        with pytest.raises(KeyboardInterrupt), terminal.interruptible():
            terminal.run_stage(stage())

    def test_the_old_handlers_come_back(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with terminal.interruptible():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX signals")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_analyze_leaves_nothing_behind(self, number: int, tmp_path: Path) -> None:
        path = write_pos(tmp_path / "a.pos", n=200_000)
        command = [sys.executable, "-m", "napari_aptdefect", "analyze", str(path), "--out", str(tmp_path / "run")]
        env = os.environ | {"PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert "%" in first, first
            time.sleep(0.3)
            process.send_signal(number)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "aptdefect: error: interrupted; nothing half-written was left behind"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pos"]


# What the command line does with a run is the same when the run is quick: one reference, few types, no extra step.
QUICK = """
[clustering]
k_max = 3
[reference]
min_ions = 0
[steps]
voids = false
consistency = false
structure = false
hull = false
"""


@pytest.mark.usefixtures("coarse")
class TestAnalyze:
    @pytest.fixture
    def coarse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Draw with fewer pixels; how the pictures look is tested elsewhere."""
        from napari_aptdefect.plot import canvas, cloud

        monkeypatch.setattr(canvas, "DPI", 50)
        monkeypatch.setattr(cloud, "SUPERSAMPLE", 1)

    def test_the_whole_way(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        sample = tmp_path / "sample"
        size = ["--radius-nm", "4", "--length-nm", "10", "--n-clusters", "1", "--n-voids", "0"]
        assert main(["simulate", "gan-nanowire", "--out", str(sample), "--seed", "1", "--json", *size]) == 0
        made = [Path(name) for name in json.loads(capsys.readouterr().out)["files"]]
        assert all(path.parent == sample for path in made)
        assert sample / "truth.parquet" in made
        cloud = next(path for path in made if path.suffix in (".pos", ".epos", ".apt"))
        ranges = next(path for path in made if path.suffix == ".rrng")

        params = tmp_path / "p.toml"
        params.write_text("[graph]\nk = 9\n[fusion]\n[clustering]\nk_max = 3\n[reference]\nmin_ions = 0\n")
        first = [
            "analyze",
            str(cloud),
            "--ranges",
            str(ranges),
            "--out",
            str(tmp_path / "run"),
            "--params",
            str(params),
        ]
        assert main([*first, "--seed", "3", "--json"]) == 0
        out, err = capsys.readouterr()
        result = json.loads(out)
        assert "%" in err
        assert Path(result["report"]).is_file()
        assert result["figures"]
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["seed"] == 3
        assert record["parameters"]["graph"]["k"] == 9

        assert main([*first, "--seed", "3"]) == 2
        assert "--overwrite" in capsys.readouterr().err
        assert record["summary"]["structure"]
        params.write_text("[graph]\nk = 9\n" + QUICK)
        assert main([*first, "--graph.k", "8", "--overwrite"]) == 0
        capsys.readouterr()
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["parameters"]["graph"]["k"] == 8
        assert record["summary"]["structure"] is None

        assert main(["rerun", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
        assert str(tmp_path / "again" / "report.html") in capsys.readouterr().out
        for table in ("ions.parquet", "defects.parquet"):
            assert (tmp_path / "again" / table).read_bytes() == (tmp_path / "run" / table).read_bytes()
        assert main(["info", str(tmp_path / "again")]) == 0
        assert "report.html" in capsys.readouterr().out

    def test_demo_without_a_display_and_the_net(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from napari_aptdefect.cli import demo
        from napari_aptdefect.errors import DownloadError
        from napari_aptdefect.simulate.gan_nanowire import GanNanowireParams

        def offline(on_progress: object = None) -> Path:
            raise DownloadError("no network")

        monkeypatch.setattr(demo, "fetch_si", offline)
        monkeypatch.setattr(demo, "SAMPLE", GanNanowireParams(radius_nm=4, length_nm=10, n_clusters=1, n_voids=0))
        monkeypatch.setattr(demo, "has_display", lambda: False)
        (tmp_path / "p.toml").write_text(QUICK)
        quick = functools.partial(demo.analysis.analyze, params=load_params(tmp_path / "p.toml"))
        monkeypatch.setattr(demo.analysis, "analyze", quick)
        for _ in range(2):  # a second demo replaces the first
            assert main(["demo", "--out", str(tmp_path)]) == 0
        out, err = capsys.readouterr()
        assert "goes on without it: no network" in err
        assert "There is no display here" in err
        report = tmp_path / "gan-nanowire-run" / "report.html"
        assert str(report) in out
        assert report.is_file()
        pictures = [line.split()[-1] for line in out.splitlines() if line.startswith("picture")]
        assert pictures
        assert all(Path(name).is_file() for name in pictures)
