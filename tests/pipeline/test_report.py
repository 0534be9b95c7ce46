import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from napari_aptdefect.apt.ranging import estimate_mass_background
from napari_aptdefect.apt.topology import PlacesParams, compare_places
from napari_aptdefect.data import DEFECT_CLASSES, DEFECT_SCHEMA, DefectTable, Ion, MassRange, RangeTable, VoxelGrid
from napari_aptdefect.errors import ShapeError
from napari_aptdefect.pipeline import report_figures
from napari_aptdefect.pipeline.report import ReportData, write_report
from napari_aptdefect.pipeline.report_tables import percent, verdict
from napari_aptdefect.plot import canvas, cloud
from napari_aptdefect.stage import drain

VOID_TAGS = {"meta", "img", "br"}
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Checks that tags are balanced; keeps text, images and every tag."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.images, self.words, self.ids, self.links = [], [], [], [], set(), set()
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        attrs = dict(attrs)
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.links |= {attrs["href"]} if "href" in attrs else set()
        if tag == "img":
            self.images.append(attrs)
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def defect_table(n, names=("solute_cluster", "void")):
    rows = [
        {
            "defect": i + 1,
            "defect_class": names[i % len(names)],
            "n_ions": 12 + i,
            "centroid_x_nm": -1.0,
            "centroid_y_nm": 2.0,
            "centroid_z_nm": 3.0 + i / 10,
            "volume_nm3": 1.5,
            "axis_lengths_nm": [3.0, 2.0, 1.0],
            "axis_directions": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
            "composition": [{"element": "Mg", "count": 3, "fraction": 0.25, "fraction_error": 0.125}],
            "probability": 0.75,
            "anomaly_score": 4.25,
            "nearest_signature": None,
            "touches_surface": i == 0,
        }
        for i in range(n)
    ]
    return DefectTable(pa.Table.from_pylist(rows, schema=DEFECT_SCHEMA))


GALLIUM_NITRIDE = (Ion("Ga", (("Ga", 1),)), Ion("GaN", (("Ga", 1), ("N", 1))))


@pytest.fixture
def coarse(monkeypatch):
    """Draw with fewer pixels, for tests of the page rather than of its pictures."""
    monkeypatch.setattr(canvas, "DPI", 50)
    monkeypatch.setattr(cloud, "SUPERSAMPLE", 1)


def make(n=4000, n_defects=3, ions=GALLIUM_NITRIDE):
    rng = np.random.default_rng(0)
    xyz = (rng.uniform(-1, 1, (n, 3)) * [5, 5, 8]).astype(np.float32)
    species = rng.integers(-1, max(len(ions), 1) if ions else 0, n).astype(np.int16)
    mass = (69 + 14 * np.maximum(species, 0) + rng.normal(0, 0.1, n)).astype(np.float32)
    defect = np.zeros(n, np.int32)
    defect[: 20 * n_defects] = np.repeat(np.arange(1, n_defects + 1), 20)[:n]
    codes = np.where(defect > 0, DEFECT_CLASSES.index("solute_cluster"), 0).astype(np.int8)
    score = rng.exponential(size=n).astype(np.float32)
    origin, voxel = np.array([-5.0, -5, -8]), np.ones(3)
    grids = {
        "density": VoxelGrid(rng.uniform(20, 40, (10, 10, 16)).astype(np.float32), origin, voxel, "density", "ions/nm3")
    }
    if ions:
        values = rng.uniform(0, 1, (10, 10, 16)).astype(np.float32)
        grids[f"composition/{ions[0].name}"] = VoxelGrid(values, origin, voxel, "c", "fraction")
    record = {
        "created": "2026-01-02T03:04:05Z",
        "input": {"path": "wire.pos", "sha256": "ab" * 32, "size": 16 * n, "n_ions": n, "format": "pos"},
        "ranges": {"path": "wire.rrng", "sha256": "cd" * 32},
        "parameters": {"graph": {"cutoff_nm": 1.25, "nested": {"deep": 7}}},
        "seed": 5,
        "versions": {"napari-aptdefect": "0.1"},
        "stages": [{"name": "graph", "seconds": 1.5, "peak_rss_bytes": 3 * 2**20}],
        "issues": [{"code": "gap", "message": "A gap of 3 Da.", "severity": "warning", "stage": "read"}],
        "summary": {"k": 3, "silhouette": [[2, 0.4, 0.01], [3, 0.5, None]], "notes": ["Mind the gap."]},
    }
    ranges = tuple(MassRange(68.5 + 14 * i, 69.5 + 14 * i, i) for i in range(len(ions)))
    counts = np.bincount(species[species >= 0], minlength=len(ions)).astype(np.int64)
    cluster = rng.integers(-1, 3, n).astype(np.int32)
    return ReportData(
        "wire.pos", record, RangeTable(tuple(ions), ranges), counts, mass, xyz, species, cluster, defect, codes,
        score, score, defect_table(n_defects), grids,
    )  # fmt: skip


def written(tmp_path, data):
    drain(write_report(tmp_path, data))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert not list(tmp_path.rglob("*.partial"))
    embedded = []
    for image in page.images:
        head, _, body = image["src"].partition(",")
        assert head == "data:image/png;base64"
        assert image["alt"]
        png = base64.b64decode(body, validate=True)
        picture = Image.open(io.BytesIO(png))
        picture.load()
        assert np.ptp(np.asarray(picture.convert("L"))) > 100  # something is drawn
        embedded.append(png)
    assert sorted(embedded) == sorted(files.values())
    assert {link[1:] for link in page.links} <= page.ids  # no link leads out of the page
    return page, files, html


def test_page_holds_what_the_run_holds(tmp_path):
    page, files, html = written(tmp_path, make())
    assert set(files) == {
        f"{name}.png"
        for name in (
            "mass_spectrum", "cloud_species", "cloud_defects", "density", "composition_1", "profiles", "clusters_map",
            "clusters_quality", "anomaly_scores", "defect_map",
        )
    }  # fmt: skip
    assert html.startswith("<!DOCTYPE html>")
    for words in (
        "3 defects were found in 4,000 ions: 2 solute clusters (probability 0.75); 1 void (probability 0.75).",
        "Single vacancies, single interstitials and undecorated stacking faults can't be judged",
        "1 of 3 defects touch the surface",
        "ab" * 32, "cd" * 32, "nested.deep", "1.25", "3 MiB", "A gap of 3 Da.", "Mind the gap.",
        "3 of 3 shown, all in defects.parquet", "Mg 25 ± 12 %", "−1.0, 2.0, 3.0",  # noqa: RUF001
        "never claimed",
    ):  # fmt: skip
        assert words in page.text, words
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object"}
    assert "http:" not in html
    assert "https:" not in html


@pytest.mark.usefixtures("coarse")
def test_two_reports_of_one_run_are_equal(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = written(tmp_path / "a", make()), written(tmp_path / "b", make())
    assert first[1] == second[1]
    assert first[2] == second[2]


@pytest.mark.usefixtures("coarse")
def test_names_from_files_can_not_inject(tmp_path):
    data = make(ions=(Ion(EVIL, (("Ga", 1),)), Ion("$\\frac{x$ & <b>")))
    record = dict(data.record)
    record |= {
        "input": {"path": EVIL, "format": EVIL},
        "issues": [{"code": EVIL, "message": EVIL, "severity": EVIL, "stage": EVIL}],
        "summary": {"notes": [EVIL]},
        "parameters": {EVIL: {EVIL: EVIL}},
        "versions": {EVIL: EVIL},
        "stages": [{"name": EVIL, "seconds": 1.0}],
        "created": EVIL,
    }
    page, _, _ = written(tmp_path, replace(data, title=EVIL, record=record))
    assert not any(tag == "script" or any(key.startswith("on") for key in attrs) for tag, attrs in page.tags)
    assert page.text.count("alert('x')") > 8  # shown as text, not lost


@pytest.mark.usefixtures("coarse")
def test_no_defects(tmp_path):
    page, files, _ = written(tmp_path, make(n_defects=0))
    assert "No defect was found in 4,000 ions. That is no proof" in page.text
    assert "defect_map.png" not in files


@pytest.mark.usefixtures("coarse")
def test_hundreds_of_defects(tmp_path):
    page, _, _ = written(tmp_path, make(n=9000, n_defects=260))
    assert "200 of 260 shown, all in defects.parquet" in page.text
    assert re.search(r"Numbers shown: \d+, \d+, \d+ of 260", page.text)


@pytest.mark.usefixtures("coarse")
def test_without_species_clusters_and_grids(tmp_path):
    data = make(ions=())
    data = replace(data, cluster=np.full(data.n_ions, -1, np.int32), grids={}, record={})
    page, files, _ = written(tmp_path, data)
    assert "No ion has a species" in page.text
    assert "clustering was skipped" in page.text
    assert "No density grid was made." in page.text
    assert "clusters_map.png" not in files


@pytest.mark.usefixtures("coarse")
def test_labels_without_ranges(tmp_path):
    data = make(ions=(Ion("precipitate A"), Ion("matrix")))
    page, _, _ = written(tmp_path, replace(data, ranges=RangeTable(data.ranges.ions, ())))
    assert "There are no ranges to shade." in page.text
    assert "not taken apart into elements: precipitate A, matrix" in page.text


@pytest.mark.usefixtures("coarse")
def test_one_species_and_skipped_silhouette(tmp_path):
    data = make(ions=(Ion("Si", (("Si", 1),)),))
    page, _, _ = written(tmp_path, replace(data, record={**data.record, "summary": {"silhouette": None}}))
    assert "No silhouette was computed." in page.text


@pytest.mark.usefixtures("coarse")
def test_positions_masses_and_scores_that_are_no_numbers(tmp_path):
    data = make()
    xyz, mass, score = data.xyz_nm.copy(), data.mass_da.copy(), data.anomaly_score.copy()
    xyz[5:9, 1], mass[:3], score[:2] = np.nan, np.inf, np.nan
    page, _, _ = written(tmp_path, replace(data, xyz_nm=xyz, mass_da=mass, anomaly_score=score))
    assert "4 ions have no finite position" in page.text
    assert "The mass of 3 ions is no number." in page.text
    assert "2 ions have no finite score" in page.text


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("n", [1, 2])
def test_almost_no_ions(tmp_path, n):
    written(tmp_path, make(n=n, n_defects=0))


@pytest.mark.usefixtures("coarse")
def test_no_ion_has_a_position(tmp_path):
    data = make(n_defects=0)
    written(tmp_path, replace(data, xyz_nm=np.full_like(data.xyz_nm, np.nan)))


@pytest.mark.usefixtures("coarse")
def test_sixty_species_with_long_names(tmp_path):
    ions = tuple(Ion(f"{'Very' * 30}Long{i}", (("Ga", 1), ("N", i + 1))) for i in range(60))
    page, _, _ = written(tmp_path, make(ions=ions))
    assert all(ion.name in page.text for ion in ions)


@pytest.mark.usefixtures("coarse")
def test_large_clouds_are_sampled_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report_figures, "MAX_DRAWN", 500)
    page, _, _ = written(tmp_path, make())
    assert re.search(r"Drawn (\d+) of 4,000 ions\.", page.text)
    assert re.search(r"Drawn 60 of 60 ions of defects and \d+ of 3,940 others", page.text)


@pytest.mark.usefixtures("coarse")
def test_claims_that_need_perfect_resolution_are_flagged(tmp_path):
    page, _, _ = written(tmp_path, replace(make(), defects=defect_table(3, names=("vacancy",))))
    assert "The table names vacancies: only data of perfect resolution" in page.text


def test_verdict_of_one_defect_is_in_the_singular():
    assert verdict(make(n_defects=1)) == ("1 defect was found in 4,000 ions: 1 solute cluster (probability 0.75).")


def test_arrays_must_fit():
    data = make()
    with pytest.raises(ShapeError, match="cluster must have 4000 values"):
        replace(data, cluster=data.cluster[:5])
    with pytest.raises(ShapeError, match="one number per ion of the range table, 2, got 1"):
        replace(data, ion_counts=data.ion_counts[:1])


@pytest.mark.usefixtures("coarse")
def test_composition_of_molecular_ions(tmp_path):
    data = replace(make(), ion_counts=np.array([600, 400]))  # 1,000 Ga and 400 N
    page, _, _ = written(tmp_path, data)
    # ions: sqrt(0.6 * 0.4 / 1000) = 1.5 %; atoms: sqrt(600 * (2/7)**2 + 400 * (3/7)**2) / 1400 = 0.79 %
    assert "Ga 600 60.0 ± 1.5 %" in page.text
    assert "Ga 1,000 71.43 ± 0.79 %" in page.text
    assert "N 400 28.57 ± 0.79 %" in page.text


def test_percent_has_the_digits_of_its_error():
    assert percent(0.5, 0.0) == "50 %"
    assert percent(0.123456, 0.00034) == "12.346 ± 0.034 %"
    assert percent(float("nan"), 0.1) == "not known"


def test_composition_net_of_background_stands_beside_the_raw_one(tmp_path, coarse):
    data = make()
    rng = np.random.default_rng(8)
    mass = np.append(data.mass_da, (14 * rng.random(3000)) ** 2).astype(np.float32)
    found = drain(estimate_mass_background(mass, data.ranges))
    drain(write_report(tmp_path, replace(data, mass_background=found)))
    text = Page((tmp_path / "report.html").read_text()).text
    assert text.count("Net of background") == 2
    net = found.composition(data.ranges)
    assert percent(*net["Ga"]) in text
    assert f"{found.background[0]:,.1f} ± {found.background_error[0]:,.1f}" in text
    assert "which ion of a range is background can't be told" in text
    assert "Dashed: background that is even in time of flight" in text
    drain(write_report(tmp_path, data))
    assert "Net of background" not in (tmp_path / "report.html").read_text()


def test_topology_of_defects_stands_beside_that_of_the_matrix(tmp_path, coarse):
    pytest.importorskip("gudhi", reason="the extra `topology` is not installed")
    xyz = np.random.default_rng(0).uniform(0, 10, (8000, 3))
    off = np.linalg.norm(xyz - 4, axis=1)
    xyz, off = xyz[off > 0.9], off[off > 0.9]
    depth = np.minimum(xyz, 10 - xyz).min(axis=1)
    found = drain(compare_places(xyz, [[4.0] * 3], [1.5], off > 1.3, depth, PlacesParams(n_matrix=4)))
    data = replace(make(), topology=tuple(found))
    drain(write_report(tmp_path, data))
    page = Page((tmp_path / "report.html").read_text())
    assert "Persistent homology of the ball of 1.5 nm around defect 1" in page.text
    assert "live longer than any in 4 balls of the matrix" in page.text
    assert f"{found[0].longest_nm[2]:.2f} / {found[0].longest_matrix_nm[2]:.2f}" in page.text
    assert (tmp_path / "figures" / "topology.png").is_file()
    drain(write_report(tmp_path, replace(data, topology=())))
    assert "Persistent homology" not in (tmp_path / "report.html").read_text()
