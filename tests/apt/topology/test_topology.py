"""Persistent homology: shapes whose holes are known, lattices by hand, random clouds by chance."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_aptdefect.apt.topology import (
    PersistenceDiagrams,
    Region,
    TopologyParams,
    enclosed_cavities,
    persistence,
    topological_features,
)
from napari_aptdefect.errors import EmptySelectionError, MissingExtraError, ParameterError, ShapeError
from napari_aptdefect.fields import Frame
from napari_aptdefect.stage import drain


def test_without_gudhi_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gudhi", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'napari-aptdefect\[topology\]'"):
        persistence(np.eye(5, 3))


def lasting(found: PersistenceDiagrams, least_nm: float) -> list[int]:
    """Number of loops and cavities that live longer than a length."""
    return [int(np.count_nonzero(found.lifetimes_nm(d) > least_nm)) for d in (1, 2)]


def directions(n: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


class TestShapes:
    @pytest.fixture(autouse=True)
    def _needs_gudhi(self) -> None:
        pytest.importorskip("gudhi", reason="the extra `topology` is not installed")

    def test_octahedron(self) -> None:
        found = persistence(np.concatenate([np.eye(3), -np.eye(3)]))
        edge, face = np.sqrt(0.5), np.sqrt(2 / 3)
        components, loops, cavities = found.intervals_nm
        assert components[:, 1] == pytest.approx([edge] * 5 + [np.inf])
        assert loops == pytest.approx(np.tile([edge, face], (7, 1)))  # 12 edges less 5 that join the components
        assert cavities == pytest.approx(np.array([[face, 1.0]]))
        assert found.betti([0.5, 0.75, 0.9, 1.1]).tolist() == [[6, 0, 0], [1, 7, 0], [1, 0, 1], [1, 0, 0]]
        assert found.euler_characteristic([0.5, 0.75, 0.9, 1.1]).tolist() == [6, -6, 2, 1]

    @pytest.mark.parametrize("n", [4, 6])
    def test_simple_cubic_lattice(self, n: int) -> None:
        a = 0.4
        found = persistence(np.stack(np.meshgrid(*[a * np.arange(n)] * 3), axis=-1).reshape(-1, 3))
        components, loops, cavities = (
            one[one[:, 1] - one[:, 0] > 1e-6]
            for one in found.intervals_nm  # rounding splits what is simultaneous
        )
        assert components[:-1] == pytest.approx(np.tile([0, a / 2], (n**3 - 1, 1)))
        n_edges = 3 * n * n * (n - 1)
        assert loops == pytest.approx(np.tile([a / 2, a / np.sqrt(2)], (n_edges - n**3 + 1, 1)))
        assert cavities == pytest.approx(np.tile([a / np.sqrt(2), a * np.sqrt(3) / 2], ((n - 1) ** 3, 1)))

    def test_circle_sphere_and_torus(self) -> None:
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        flat = np.random.default_rng(1).normal(0, 0.01, 60)
        circle = persistence(np.column_stack([2 * np.cos(angle), 2 * np.sin(angle), flat]))
        assert lasting(circle, 0.5) == [1, 0]
        assert circle.intervals_nm[1][:, 1].max() == pytest.approx(2, abs=0.05)
        sphere = persistence(2 * directions(600))
        assert lasting(sphere, 0.6) == [0, 1]
        assert sphere.intervals_nm[2][:, 1].max() == pytest.approx(2, abs=0.05)
        u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 48, endpoint=False), np.linspace(0, 2 * np.pi, 24, endpoint=False))
        ring = 3 + np.cos(v)
        torus = np.stack([ring * np.cos(u), ring * np.sin(u), np.sin(v)], axis=-1).reshape(-1, 3)
        found = persistence(torus + np.random.default_rng(2).normal(0, 0.01, torus.shape))
        assert lasting(found, 0.4) == [2, 1]
        assert found.betti([0.6]).tolist() == [[1, 2, 1]]
        assert found.euler_characteristic([0.6]).tolist() == [0]

    def test_doubling_lengths_doubles_radii_and_order_is_no_matter(self) -> None:
        points = np.random.default_rng(3).random((200, 3)).astype(np.float32)
        one, two = persistence(points), persistence(2 * points[::-1])
        for d in range(3):
            assert 2 * one.intervals_nm[d] == pytest.approx(two.intervals_nm[d], rel=1e-6)
            assert one.entropy(d) == pytest.approx(two.entropy(d))

    def test_entropy_of_equal_lives_is_the_logarithm_of_their_number(self) -> None:
        found = persistence(np.concatenate([np.eye(3), -np.eye(3)]))
        assert found.entropy(0) == pytest.approx(np.log(5))
        assert found.entropy(2) == 0

    def test_ions_at_one_place_count_once(self) -> None:
        points = np.random.default_rng(4).random((50, 3))
        again = persistence(np.concatenate([points, points, [[np.nan] * 3]]))
        assert again.n_ions == 50
        assert again.intervals_nm[0] == pytest.approx(persistence(points).intervals_nm[0])


class TestFeatures:
    @pytest.fixture(autouse=True)
    def _needs_gudhi(self) -> None:
        pytest.importorskip("gudhi", reason="the extra `topology` is not installed")

    def test_random_ions_are_like_random_ions(self) -> None:
        points = np.random.default_rng(5).random((800, 3)) * 6
        found = drain(topological_features(points, params=TopologyParams(n_references=9), seed=1))
        assert (found.n_above <= 2).all()
        assert found.entropy == pytest.approx(found.entropy_reference, rel=0.03)
        assert found.probability == 0.1
        middle = np.abs(found.radii_nm - 0.4) < 0.1
        assert found.betti[middle] == pytest.approx(found.betti_reference[middle], rel=0.2, abs=12)
        assert found.euler[0] == found.n_ions == 800
        assert found.density_nm3 == pytest.approx(800 / 216, rel=0.02)

    def test_void_is_a_cavity_and_a_lattice_is_no_random_cloud(self) -> None:
        points = np.random.default_rng(6).random((1200, 3)) * 6
        region = Region.ball([3, 3, 3], 2.8)
        empty = points[np.linalg.norm(points - 3, axis=1) > 1.4]
        found = drain(topological_features(empty, region, seed=2))
        assert found.n_above[2] == 1
        assert found.persistence_above_nm[2] > 0.2
        lattice = np.stack(np.meshgrid(*[0.5 * np.arange(9.0)] * 3), axis=-1).reshape(-1, 3)
        same = drain(topological_features(lattice, seed=2))
        assert (same.n_above == 0).all()
        assert (same.entropy[1:] > same.entropy_reference[1:]).all()

    def test_same_seed_same_numbers(self) -> None:
        points = np.random.default_rng(7).random((300, 3))
        one, two, other = (drain(topological_features(points, seed=s)) for s in (0, 0, 1))
        assert np.array_equal(one.threshold_nm, two.threshold_nm)
        assert not np.array_equal(one.threshold_nm, other.threshold_nm)

    def test_too_large_or_too_small_regions_are_refused_with_advice(self) -> None:
        points = np.random.default_rng(8).random((300, 3))
        with pytest.raises(ParameterError, match="choose a smaller region"):
            persistence(points, params=TopologyParams(max_ions=100))
        with pytest.raises(EmptySelectionError, match="a topology needs 5"):
            persistence(points, Region.ball([5, 5, 5], 1))
        with pytest.raises(EmptySelectionError, match="finite position"):
            persistence(np.full((5, 3), np.nan))


class TestRegions:
    frame = Frame(np.zeros(3), 1.0, (4, 5, 6))

    @pytest.mark.parametrize("kind", ["ball", "box", "mask"])
    def test_random_places_lie_inside_and_fill_it(self, kind: str) -> None:
        inside = np.zeros(self.frame.shape, bool)
        inside[1:3, 2:4, 1:5] = True
        region = {
            "ball": Region.ball([1, 2, 3], 1.5),
            "box": Region.box([0, 0, 0], [1, 2, 3]),
            "mask": Region.mask(self.frame, inside),
        }[kind]
        volume = {"ball": 4 / 3 * np.pi * 1.5**3, "box": 6.0, "mask": 16.0}[kind]
        rng = np.random.default_rng(0)
        places = region.random(5000, rng)
        assert places.shape == (5000, 3)
        assert region.holds(places).all()
        assert region.volume_nm3(rng) == pytest.approx(volume, rel=0.02)
        middle = 0.5 * (region.low_nm + region.high_nm)
        assert places.mean(axis=0) == pytest.approx(middle, abs=0.1)
        assert not region.holds(middle[None] + 10).any()

    def test_bad_regions_are_errors(self) -> None:
        with pytest.raises(ParameterError, match="above 0 nm"):
            Region.ball([0, 0, 0], 0)
        with pytest.raises(ParameterError, match="upper corner"):
            Region.box([0, 0, 0], [1, 1, 0])
        with pytest.raises(ShapeError, match="three finite numbers"):
            Region.ball([0, 0], 1)
        with pytest.raises(ShapeError, match="shape of the frame"):
            Region.mask(self.frame, np.ones((2, 2, 2), bool))
        with pytest.raises(EmptySelectionError, match="no voxel"):
            Region.mask(self.frame, np.zeros(self.frame.shape, bool))


class TestCavities:
    frame = Frame(np.array([1.0, 2.0, 3.0]), 0.5, (20, 22, 24))

    @pytest.fixture(autouse=True)
    def _needs_gudhi(self) -> None:
        pytest.importorskip("gudhi", reason="the extra `topology` is not installed")

    def field(self, *holes: tuple[list[float], float]) -> np.ndarray:
        axes = [self.frame.origin_nm[i] + (np.arange(n) + 0.5) * 0.5 for i, n in enumerate(self.frame.shape)]
        place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        out = np.ones(self.frame.shape)
        for center, depth in holes:
            out -= depth * np.exp(-((place - center) ** 2).sum(axis=-1) / 1.5)
        return out

    def test_dips_are_cavities_at_their_places(self) -> None:
        found = enclosed_cavities(self.field(([4.2, 6.1, 8.3], 0.8), ([8, 10, 12], 0.3)), self.frame, 0.05)
        assert len(found) == 2
        assert found.place_nm == pytest.approx(np.array([[4.2, 6.1, 8.3], [8, 10, 12]]), abs=0.3)
        assert found.least == pytest.approx([0.2, 0.7], abs=0.05)
        assert found.closes_at == pytest.approx([1, 1], abs=0.02)
        assert found.persistence[0] > found.persistence[1]

    def test_what_is_open_to_the_outside_is_none(self) -> None:
        ratio = self.field(([4.2, 6.1, 8.3], 0.8))
        ratio[:, 8, 10] = 0.0  # a channel through it
        assert len(enclosed_cavities(ratio, self.frame, 0.05)) == 0
        assert len(enclosed_cavities(np.ones(self.frame.shape), self.frame)) == 0

    def test_bad_fields_are_errors(self) -> None:
        with pytest.raises(ShapeError, match="finite numbers"):
            enclosed_cavities(np.ones((2, 2, 2)), self.frame)
        with pytest.raises(ShapeError, match="finite numbers"):
            enclosed_cavities(np.full(self.frame.shape, np.nan), self.frame)
