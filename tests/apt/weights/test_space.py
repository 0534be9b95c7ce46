from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.weights import FusionSpace, SpaceParams, blocks_of_groups, blocks_of_sets
from napari_aptdefect.apt.weights.space import fused, on_simplex, softmax
from napari_aptdefect.data.feature_table import FeatureColumn, FeatureTable
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError

rng = np.random.default_rng(0)
WIDE, NARROW = rng.normal(size=(500, 30)), 1e4 * rng.normal(size=(500, 3)) + 5e5


def test_sets_count_the_same_whatever_their_width_and_unit() -> None:
    projected = FusionSpace.fit(("a", "b"), (WIDE, NARROW), SpaceParams(width=8)).project((WIDE, NARROW))
    assert projected.shape == (2, 500, 8)
    assert np.mean(projected**2, axis=(1, 2)) == pytest.approx([1, 1], rel=1e-9)


def test_projection_spans_the_leading_components_of_sklearn() -> None:
    from sklearn.decomposition import PCA

    mixed = WIDE @ np.diag(np.linspace(1, 3, 30)) @ rng.normal(size=(30, 30))
    space = FusionSpace.fit(("a",), (mixed,), SpaceParams(width=5, clip=1e6))
    ours = space.axes[0] / np.linalg.norm(space.axes[0], axis=0)
    z = (mixed - space.center[0]) / space.scale[0]
    theirs = PCA(5).fit(np.concatenate([z, -z])).components_  # mirrored, so centered on the median as ours
    assert np.abs(theirs @ ours) == pytest.approx(np.eye(5), abs=1e-6)


def test_other_ions_go_through_the_projection_of_the_first() -> None:
    space = FusionSpace.fit(("a", "b"), (WIDE, NARROW), SpaceParams(width=4))
    whole, part = space.project((WIDE, NARROW)), space.project((WIDE[:7], NARROW[:7]))
    np.testing.assert_allclose(part, whole[:, :7], rtol=1e-12, atol=1e-12)


def test_missing_and_constant_features_are_unremarkable() -> None:
    x = WIDE[:, :3].copy()
    x[5], x[:, 2] = np.nan, 7.0
    projected = FusionSpace.fit(("a",), (x,), SpaceParams(width=3)).project((x,))
    assert np.all(projected[0, 5] == 0)
    assert np.isfinite(projected).all()


def test_fusion_is_the_weighted_sum() -> None:
    projected = FusionSpace.fit(("a", "b"), (WIDE, NARROW), SpaceParams(width=4)).project((WIDE, NARROW))
    np.testing.assert_allclose(fused(projected, np.array([0.3, 0.7])), 0.3 * projected[0] + 0.7 * projected[1])


def test_softmax_and_simplex() -> None:
    assert softmax([1000.0, 1000.0]).tolist() == [0.5, 0.5]
    assert on_simplex([2, 2, 0], 3).tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("wrong", [[0, 0], [-1, 2], [np.nan, 1]])
def test_refuses_what_is_no_weight(wrong: list[float]) -> None:
    with pytest.raises(ParameterError, match="not negative"):
        on_simplex(wrong, 2)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="2 feature sets need"):
        on_simplex([1, 1, 1], 2)
    with pytest.raises(ShapeError, match="same N"):
        FusionSpace.fit(("a", "b"), (WIDE, NARROW[:4]))
    with pytest.raises(ParameterError, match="differ"):
        FusionSpace.fit(("a", "a"), (WIDE, NARROW))
    with pytest.raises(EmptySelectionError):
        FusionSpace.fit(("a",), (WIDE[:0],))
    with pytest.raises(ShapeError, match="found from 30"):
        FusionSpace.fit(("a",), (WIDE,)).project((NARROW,))


def table() -> FeatureTable:
    columns = [FeatureColumn(name, "structural", "", "d", "e") for name in ("q4", "q6", "degree")]
    return FeatureTable(
        np.arange(8, dtype=np.float32).reshape(2, 4), (*columns, FeatureColumn("density", "spatial", "", "d", "e"))
    )


def test_blocks_of_a_table() -> None:
    names, blocks = blocks_of_sets(table())
    assert names == ("structural", "spatial")
    assert [b.tolist() for b in blocks] == [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]
    names, blocks = blocks_of_groups(table(), {"order": ["q"], "rest": ["degree", "dens"]})
    assert names == ("order", "rest")
    assert [b.tolist() for b in blocks] == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_groups_must_be_there_and_apart() -> None:
    with pytest.raises(ParameterError, match="no feature begins"):
        blocks_of_groups(table(), {"order": ["psi"]})
    with pytest.raises(ParameterError, match="in the groups 'a' and 'b'"):
        blocks_of_groups(table(), {"a": ["q"], "b": ["q6"]})
