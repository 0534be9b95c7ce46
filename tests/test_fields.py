"""Fields on grids: counts are conserved, and the evidence has the distribution it claims."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.errors import EmptySelectionError, ParameterError
from napari_aptdefect.fields import Frame, binomial_evidence, poisson_evidence, support


@pytest.fixture(scope="module")
def box() -> np.ndarray:
    return (np.random.default_rng(0).random((200_000, 3)) * 16).astype(np.float32)


def test_sum_over_voxels_is_number_of_ions(box: np.ndarray) -> None:
    frame = Frame.around(box, 0.7)
    assert frame.count(box).sum() == len(box)


def test_count_puts_each_ion_into_the_voxel_that_holds_it() -> None:
    xyz = np.array([[0.1, 0.1, 0.1], [0.6, 0.1, 0.1], [0.6, 0.1, 1.4]], np.float32)
    frame = Frame(np.zeros(3), 0.5, (2, 1, 3))
    expected = np.zeros((2, 1, 3))
    expected[0, 0, 0] = expected[1, 0, 0] = expected[1, 0, 2] = 1
    np.testing.assert_array_equal(frame.count(xyz), expected)


def test_squared_kernel_is_the_square_of_the_kernel() -> None:
    frame = Frame(np.zeros(3), 0.5, (41, 41, 41))
    impulse = np.zeros(frame.shape, np.float32)
    impulse[20, 20, 20] = 1
    kernel = frame.smooth(impulse, 1.5)
    squared = frame.smooth(impulse, 1.5, squared=True)
    np.testing.assert_allclose(squared.sum(), np.square(kernel).sum(), rtol=1e-3)
    np.testing.assert_allclose(squared, np.square(kernel), atol=0.01 * squared.max())


def test_self_weight_is_what_one_ion_sees_of_itself() -> None:
    xyz = np.array([[5.13, 5.37, 4.91]], np.float32)
    frame = Frame(np.zeros(3), 0.5, (21, 21, 21))
    for squared in (False, True):
        seen = frame.sample(frame.smooth(frame.count(xyz), 1.0, squared=squared), xyz)
        np.testing.assert_allclose(frame.self_weight(xyz, 1.0, squared=squared), seen, rtol=2e-3)


def test_smoothed_density_of_a_random_box_is_unbiased_inside(box: np.ndarray) -> None:
    frame = Frame.around(box, 0.5)
    density = frame.sample(frame.smooth(frame.count(box), 1.0), box) - frame.self_weight(box, 1.0)
    inner = np.all((box > 4) & (box < 12), axis=1)
    assert density[inner].mean() / 0.5**3 == pytest.approx(len(box) / 16**3, rel=0.01)


def test_support_has_the_volume_of_the_box_and_keeps_a_cavity(box: np.ndarray) -> None:
    hollow = box[np.sum((box - 8) ** 2, axis=1) > 2.0**2]
    frame = Frame.around(hollow, 0.5, 0.5)
    inside = support(frame, frame.count(hollow))
    assert inside.sum() * 0.5**3 == pytest.approx(16**3, rel=0.03)
    assert inside[tuple(int((8 - o) / 0.5) for o in frame.origin_nm)]


def test_poisson_evidence_is_standard_normal_under_the_null(box: np.ndarray) -> None:
    frame = Frame(np.zeros(3), 0.5, (32, 32, 32))
    counts = frame.count(box)
    flat = np.full(frame.shape, counts.mean(), np.float32)
    around = frame.sample(frame.smooth(counts, 1.0), box) - frame.self_weight(box, 1.0)
    z = poisson_evidence(
        around, frame.sample(frame.smooth(flat, 1.0), box), frame.sample(frame.smooth(flat, 1.0, squared=True), box)
    )
    inner = np.all((box > 4) & (box < 12), axis=1)
    assert abs(z[inner].mean()) < 0.15  # 512 nm3 hold about 12 independent kernels of 44.5 nm3
    assert z[inner].std() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("n", "p"), [(400, 0.02), (400, 0.5), (2000, 0.005)])
def test_binomial_evidence_is_standard_normal_for_unit_weights(n: int, p: float) -> None:
    hits = np.random.default_rng(1).binomial(n, p, 20_000).astype(np.float32)
    whole = np.full(len(hits), n, np.float32)
    z = binomial_evidence(whole, whole, hits, np.full(len(hits), p, np.float32))
    assert abs(z.mean()) < 0.2
    assert z.std() == pytest.approx(1.0, abs=0.1)


def test_binomial_evidence_matches_the_deviance_of_one_table() -> None:
    # 12 of 100 against 5 %: 2 (12 ln(12/5) + 88 ln(88/95)) = 7.54118; computed by hand
    one = np.array([100], np.float32)
    z = binomial_evidence(one, one, np.array([12], np.float32), np.array([0.05], np.float32))
    assert float(z[0]) == pytest.approx(np.sqrt(2 * (12 * np.log(12 / 5) + 88 * np.log(88 / 95))), rel=1e-5)
    assert float(z[0]) > 0
    low = binomial_evidence(one, one, np.array([1], np.float32), np.array([0.05], np.float32))
    assert float(low[0]) < 0


def test_evidence_of_nothing_is_zero() -> None:
    zero = np.zeros(2, np.float32)
    assert not binomial_evidence(zero, zero, zero, zero).any()
    assert not poisson_evidence(zero, zero, zero).any()


def test_frame_refuses_what_does_not_fit_and_says_what_would() -> None:
    far = np.array([[0, 0, 0], [1e6, 1e6, 1e6]], np.float32)
    with pytest.raises(ParameterError, match="voxel of at least"):
        Frame.around(far, 0.5)
    with pytest.raises(EmptySelectionError):
        Frame.around(np.empty((0, 3), np.float32), 0.5)
