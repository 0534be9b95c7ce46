"""Places of interest beside the matrix: a hole has a cavity that the matrix has not; the matrix is like itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_aptdefect.apt.topology import PlacesParams, compare_places, model
from napari_aptdefect.errors import MissingExtraError, ShapeError
from napari_aptdefect.stage import Progress, drain

HOLE = np.array([4.0, 4.0, 4.0])
QUICK = PlacesParams(n_matrix=9)


def cloud(seed: int = 0, hole_nm: float = 0.9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box of 12 nm with a hole; the ions around the hole are a defect. Positions, matrix, distance to the surface."""
    xyz = np.random.default_rng(seed).uniform(0, 12, (14_000, 3))
    off = np.linalg.norm(xyz - HOLE, axis=1)
    xyz, off = xyz[off > hole_nm], off[off > hole_nm]
    return xyz.astype(np.float32), off > hole_nm + 0.4, np.minimum(xyz, 12 - xyz).min(axis=1)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gudhi", None)
    with pytest.raises(MissingExtraError, match="topology"):
        model.load_gudhi()
    with pytest.raises(MissingExtraError, match="topology"):
        drain(compare_places(*_arguments(cloud())))


def _arguments(parts: tuple[np.ndarray, np.ndarray, np.ndarray], places: int = 1) -> tuple[np.ndarray, ...]:
    xyz, matrix, depth = parts
    centers = np.concatenate(
        [[HOLE], np.random.default_rng(9).uniform(3, 9, (places - 1, 3)) * [0.5, 1, 0.5] + [5, 0, 4]]
    )
    return xyz, centers, np.full(places, 1.4), matrix, depth


@pytest.mark.usefixtures("gudhi")
class TestCompare:
    @pytest.fixture
    def gudhi(self) -> None:
        pytest.importorskip("gudhi", reason="the extra `topology` is not installed")

    def test_a_hole_has_a_cavity_that_the_matrix_has_not(self) -> None:
        (found,) = drain(compare_places(*_arguments(cloud()), QUICK))
        assert (found.place, found.radius_nm) == (0, 1.5)
        assert found.chance[2] == pytest.approx(0.1)
        assert found.longest_nm[2] > 2 * found.longest_matrix_nm[2]
        cavities = found.diagrams.intervals_nm[2]
        death = cavities[np.argmax(np.diff(cavities, axis=1)), 1]
        assert 0.9 <= death < 1.2  # when the balls meet in the middle of the hole
        assert found.diagrams.n_ions < 0.9 * found.n_ions_matrix
        assert found.n_classes[0] == found.diagrams.n_ions - 1
        assert len(found.matrix) == 9

    def test_a_place_in_the_matrix_is_like_it(self) -> None:
        chances = []
        for seed in range(6):
            xyz, matrix, depth = cloud(seed)
            centers = np.array([[8.0, 8.0, 8.0], [8.0, 4.0, 8.0]])
            for found in drain(compare_places(xyz, centers, np.full(2, 1.5), matrix, depth, QUICK, seed=seed)):
                chances.append(found.chance[1:])
                assert found.n_classes[2] == pytest.approx(found.n_classes_matrix[2], rel=0.5)
        assert np.mean(chances) == pytest.approx(0.55, abs=0.2)  # uniform on 0.1 ... 1

    def test_matrix_balls_keep_away_from_defects_and_surface(self) -> None:
        xyz, matrix, depth = cloud()
        (found,) = drain(compare_places(*_arguments((xyz, matrix, depth)), QUICK))
        for ball in found.matrix:
            center = 0.5 * (ball.region.low_nm + ball.region.high_nm)
            assert np.linalg.norm(xyz[~matrix] - center, axis=1).min() >= 1.5
            assert np.minimum(center, 12 - center).min() >= 1.5 - 1e-5

    def test_seed_decides_and_sizes_share_their_matrix(self) -> None:
        one, again = (drain(compare_places(*_arguments(cloud(), 3), QUICK, seed=4)) for _ in range(2))
        assert [p.place for p in one] == [0, 1, 2]
        assert one[0].matrix is one[2].matrix
        np.testing.assert_array_equal(one[1].entropy_matrix, again[1].entropy_matrix)
        other = drain(compare_places(*_arguments(cloud(), 3), QUICK, seed=5))
        assert (one[1].entropy_matrix != other[1].entropy_matrix).any()

    def test_what_can_not_be_compared_is_left_out(self) -> None:
        xyz, matrix, depth = cloud()
        centers, radii = np.array([[50.0, 0, 0], HOLE, HOLE, HOLE]), np.array([1.5, 1.5, 20.0, 1.5])
        params = PlacesParams(max_places=3, most_radius_nm=7, n_matrix=2)
        seen: list[Progress] = []
        found = drain(compare_places(xyz, centers, radii, matrix, depth, params), seen.append)
        assert [one.place for one in found] == [1]  # nothing is there; fits; has no room in the matrix; is the fourth
        assert [p.done for p in seen] == sorted(p.done for p in seen)
        assert drain(compare_places(xyz, np.zeros((0, 3)), np.zeros(0), matrix, depth)) == []

    def test_arrays_that_do_not_belong_together(self) -> None:
        xyz, matrix, depth = cloud()
        with pytest.raises(ShapeError, match="matrix must have"):
            drain(compare_places(xyz, HOLE[None], np.ones(1), matrix[1:], depth))
        with pytest.raises(ShapeError, match="radius_nm must have 1"):
            drain(compare_places(xyz, HOLE[None], np.ones(2), matrix, depth))
