"""Regions and the label convention."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_aptdefect.simulate.gan_params import GanNanowireParams
from napari_aptdefect.simulate.labels import label_places, label_points
from napari_aptdefect.simulate.regions import Region
from napari_aptdefect.simulate.truth import DefectTruth

ROOT = Path(__file__).parents[2]


def truth(number: int, name: str, region: Region, n_missing: int = 0) -> DefectTruth:
    return DefectTruth(number, name, name, "structure" if name == "matrix" else "target", region, n_missing=n_missing)


def test_labels_of_points_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 10, (60_000, 3)).astype(np.float32)
    places = rng.uniform(-0.5, 10.5, (150, 3))
    points = [truth(i + 1, "vacancy", Region("point", (x, y, z))) for i, (x, y, z) in enumerate(places.tolist())]
    instance = np.zeros(len(xyz), np.int32)
    instance[::7] = 999  # what another defect holds stays
    expected = instance.copy()
    distance = np.linalg.norm(xyz[:, None] - places.astype(np.float32), axis=2)
    nearest = np.where(distance.min(axis=1) <= 0.25, distance.argmin(axis=1) + 1, 0)
    expected[expected == 0] = nearest[expected == 0]
    label_points(xyz, points, instance)
    assert np.array_equal(instance, expected)
    assert (nearest > 0).sum() > 300


def test_later_ranks_win_and_rims_belong_to_what_is_empty() -> None:
    slab = Region("slab", (0, 0, 0), (0, 0, 1), 1.0)
    tube = Region("tube", (0, 0, 0), (0, 0, 1), 1.0)
    ball = Region("sphere", (0, 0, 0), radius_nm=1.0)
    defects = [
        truth(1, "void", ball, 400),
        truth(2, "solute_cluster", Region("sphere", (0, 0, 0), radius_nm=2.0)),
        truth(3, "dislocation", tube),
        truth(4, "stacking_fault", slab),
        truth(5, "matrix", Region("slab", (0, 0, 0), (0, 0, 1), 3.0)),
        truth(6, "vacancy", Region("point", (9, 9, 9))),
    ]
    places = np.array(
        [[0, 0, 1.4], [0, 0, 1.6], [0, 0, 2.5], [4, 0, 0.5], [4, 0, 2.5], [9, 9, 9.2], [9, 9, 9.3]], np.float32
    )
    assert label_places(places, defects).tolist() == [1, 2, 3, 4, 5, 6, 0]
    assert label_places(places, defects[::-1]).tolist() == [1, 2, 3, 4, 5, 6, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["sphere", "tube", "slab"]))
def test_distance_does_not_depend_on_the_frame(seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    direction = direction / np.linalg.norm(direction) if shape != "sphere" else np.zeros(3)
    region = Region(shape, tuple(rng.uniform(-3, 3, 3)), tuple(direction), float(rng.uniform(0.1, 2)))
    rotation, shift = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-5, 5, 3)
    xyz = rng.uniform(-5, 5, (50, 3))
    there = region.moved(rotation, shift)
    assert there.distance_nm(xyz @ rotation.T + shift) == pytest.approx(region.distance_nm(xyz), abs=1e-9)
    rows = region.rows_within(xyz, 0.7)
    assert np.array_equal(rows, np.flatnonzero(region.distance_nm(xyz) <= 0.7))
    low, high = region.reach_nm(0.7)
    assert ((xyz[rows, 2] >= low) & (xyz[rows, 2] <= high)).all()


def test_parameter_file_of_the_documentation_is_valid() -> None:
    text = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    params = GanNanowireParams.model_validate(tomllib.loads(text.split("```toml\n")[1].split("```")[0]))
    assert [spec.kind for spec in params.defects] == ["dislocation", "void"]


def test_documentation_names_every_parameter_of_every_kind_of_defect() -> None:
    text = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = {
        line.split("`")[1]: line.split("`")[3]
        for line in text.splitlines()
        if line.startswith("| `") and line.count("`") == 4
    }
    schema = GanNanowireParams.model_json_schema()
    for model in schema["$defs"].values():
        kind = model["properties"].get("kind")
        if kind is not None:
            assert rows.pop(kind["const"]).split() == [name for name in model["properties"] if name != "kind"]
    assert not rows
