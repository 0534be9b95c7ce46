from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from napari_aptdefect.apt.profiles import Surface
from napari_aptdefect.data import Ion, IonCloud, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.io import write
from napari_aptdefect.pipeline.display_profiles import (
    LineParams,
    ProxigramParams,
    apart,
    drawn_part,
    profile_along,
    profile_csv,
    profile_from,
    shown_elements,
    through_middle,
)
from napari_aptdefect.pipeline.ranged_ions import RangedIons, ions_of_cloud

TABLE = RangeTable((Ion("A", (("A", 1),)), Ion("B2", (("B", 2),))), (MassRange(9.5, 10.5, 0), MassRange(19.5, 20.5, 1)))
SQUARE = Surface(
    np.array([[-9, -9, 5], [9, -9, 5], [9, 9, 5], [-9, 9, 5]], np.float32),
    np.array([[0, 2, 1], [0, 3, 2]], np.int32),  # normals point down, so higher values lie above
    0.2,
    "B",
    "atomic fraction",
)


@pytest.fixture
def layers() -> RangedIons:
    """A block whose lower half is A alone, and whose upper half has one B2 to three A."""
    rng = np.random.default_rng(5)
    xyz = rng.uniform((-5, -5, 0), (5, 5, 10), (40_000, 3)).astype(np.float32)
    species = ((xyz[:, 2] > 5) & (rng.random(40_000) < 0.25)).astype(np.int16)
    species[:100] = -1
    return RangedIons(xyz, species, TABLE)


def test_a_profile_through_the_middle_sees_both_halves(layers):
    start, stop = through_middle(layers.xyz_nm, 2)
    assert start == pytest.approx([0, 0, 0], abs=0.2)
    assert stop == pytest.approx([0, 0, 10], abs=0.2)
    profile = profile_along(layers, start, stop, LineParams(bin_nm=1.0, radius_nm=3.0))
    share, error = profile.of("B")
    truth = 0.5 / 1.25  # two atoms of each B2
    assert share[:4] == pytest.approx(0)
    assert np.abs(share[6:] - truth).max() < 4 * error[6:].max()
    assert profile.n_unranged.sum() > 0


def test_a_proxigram_is_a_step_at_the_surface(layers):
    profile = profile_from(layers, SQUARE, ProxigramParams(bin_nm=0.5, reach_nm=3.0))
    share, _ = profile.of("B")
    below = profile.centers_nm < 0
    assert share[below].max() == 0
    assert share[~below].min() > 0.3
    far = Surface(SQUARE.vertices_nm + 100, SQUARE.triangles, 0.2)
    with pytest.raises(EmptySelectionError, match="no ion"):
        profile_from(layers, far, ProxigramParams())
    with pytest.raises(EmptySelectionError, match="no triangle"):
        profile_from(layers, Surface(SQUARE.vertices_nm, SQUARE.triangles[:0], 0.2), ProxigramParams())


def test_without_species_there_is_no_composition(layers):
    bare = RangedIons(layers.xyz_nm, np.full(40_000, -1, np.int16), RangeTable((), ()))
    with pytest.raises(ParameterError, match="apply a range file"):
        profile_along(bare, [0, 0, 0], [0, 0, 10], LineParams())
    with pytest.raises(ParameterError, match="apply a range file"):
        profile_from(bare, SQUARE, ProxigramParams())


def test_the_table_is_read_back(layers):
    profile = profile_along(layers, [0, 0, -2], [0, 0, 10], LineParams(bin_nm=1.0))
    text = profile_csv(profile, {"ions": "a file\nof two lines"})
    assert text.splitlines()[0] == "# ions: a file of two lines"
    table = pd.read_csv(io.StringIO(text), comment="#")
    assert list(table) == [
        "from_nm", "to_nm", "center_nm", "ions_A", "ions_B2", "ions_unranged",
        "fraction_A", "error_A", "fraction_B", "error_B",
    ]  # fmt: skip
    assert table[["ions_A", "ions_B2"]].to_numpy().sum() == profile.ion_counts.sum()
    np.testing.assert_allclose(table["fraction_B"], profile.of("B")[0], rtol=1e-5)
    assert table["fraction_A"].isna().sum() == 2  # below the ions


def test_what_is_drawn(layers):
    profile = profile_along(layers, [0, 0, -2], [0, 0, 10], LineParams(bin_nm=1.0))
    assert [profile.elements[i] for i in shown_elements(profile)] == ["A", "B"]
    assert shown_elements(profile, ("B",)) == [1]
    with pytest.raises(ParameterError, match="no Xe in this profile; it has A, B"):
        shown_elements(profile, ("Xe", "A"))
    fraction, error = drawn_part(profile, [1], 10**6)
    assert np.isnan(fraction).all()
    assert np.isnan(error).all()
    assert np.isfinite(profile.fraction[2:]).all()
    assert apart(np.array([[0.5, 0.3]])) == [[0, 1]]
    assert apart(np.empty((3, 0))) == []


def test_a_cloud_is_read_with_its_ranges(tmp_path):
    write(IonCloud.from_arrays([[0, 0, 0], [1, 2, 3], [4, 5, 6]], [10.0, 20.0, 30.0]), tmp_path / "a.pos")
    ions = ions_of_cloud(tmp_path / "a.pos", TABLE)
    assert ions.species_idx.tolist() == [0, 1, -1]
    assert ions.xyz_nm[1].tolist() == [1, 2, 3]
    assert ions_of_cloud(tmp_path / "a.pos", None).species_idx.tolist() == [-1, -1, -1]
